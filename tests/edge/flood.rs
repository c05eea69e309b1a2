//! Hostile peers by the dozen, and an honest caller beside them.
//!
//! `cargo test` floods from a few connections. `FLOOD_CONNECTIONS=50 cargo test --release --test main edge::flood --
//! --nocapture` floods from as many for each line, and prints what the honest caller has felt; and what the same flood
//! does to a bare tonic server, which has the same cores.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, join_all};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::template_service_client::TemplateServiceClient;
use panamax_kubernetes_adapter::proto::validate_template_request::TemplateSource;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::adapter::{Binary, connect};
use crate::support::raw::{self, Raw};
use crate::support::templates::WORDPRESS;

const VALIDATE: &str = "/panamax.kubernetes.v1.TemplateService/ValidateTemplate";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const CHECK: &str = "/grpc.health.v1.Health/Check";
const EMPTY: [u8; 5] = [0; 5];
/// The most frames of one connection, and the longest that it floods.
const FRAMES: u32 = 20_000;
const SECONDS: Duration = Duration::from_secs(3);
/// How long a peer that was cut may take to notice, and an honest one may wait for an answer.
const NOTICED: Duration = Duration::from_secs(5);
/// The most memory that the process may have meanwhile.
const MEMORY: u64 = 256 << 20;

/// What a hostile peer does; says whether it was cut.
type Attack = fn(SocketAddr) -> BoxFuture<'static, bool>;

/// Sends what `next` makes until it is cut or has sent enough; says whether it was cut.
async fn flood(mut raw: Raw, mut next: impl FnMut(u32) -> Vec<u8>) -> bool {
    let until = Instant::now() + SECONDS;
    for number in 0..FRAMES {
        // Nothing is read meanwhile: the other end may stop reading, too.
        match tokio::time::timeout_at(until.into(), raw.0.write_all(&next(number))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return true,
            Err(_) => break,
        }
    }
    raw.has_ended(NOTICED).await
}

fn stream(number: u32) -> u32 {
    number * 2 + 1
}

fn opening(number: u32, flags: u8) -> Vec<u8> {
    raw::frame(raw::HEADERS, flags, stream(number), &raw::head(VALIDATE, &[]))
}

/// Every line: its name, whether it must be cut, and what it does.
const ATTACKS: [(&str, bool, Attack); 16] = [
    ("H1 rapid reset", true, |address| {
        Box::pin(async move {
            let raw = Raw::open(address, None).await;
            flood(raw, |number| {
                let reset = raw::frame(raw::RST_STREAM, 0, stream(number), &8_u32.to_be_bytes());
                [opening(number, raw::END_HEADERS), reset].concat()
            })
            .await
        })
    }),
    ("H2 malformed heads", true, |address| {
        Box::pin(async move {
            let raw = Raw::open(address, None).await;
            let upper = [&[0, 1, b'A', 1, b'b'][..], &raw::head(VALIDATE, &[])].concat();
            flood(raw, move |number| raw::frame(raw::HEADERS, raw::END_HEADERS, stream(number), &upper)).await
        })
    }),
    ("H3 made to reset", true, |address| {
        Box::pin(async move {
            let raw = Raw::open(address, None).await;
            flood(raw, |number| {
                // A window that grows by nothing is an error of its stream.
                let wrong = raw::frame(raw::WINDOW_UPDATE, 0, stream(number), &[0; 4]);
                [opening(number, raw::END_HEADERS), wrong].concat()
            })
            .await
        })
    }),
    ("H4 endless head", true, |address| {
        Box::pin(async move {
            let raw = Raw::open(address, None).await;
            flood(raw, |number| match number {
                0 => opening(0, 0),
                _ => raw::frame(raw::CONTINUATION, 0, 1, &[]),
            })
            .await
        })
    }),
    ("H5 empty DATA", true, |address| {
        Box::pin(async move {
            let raw = Raw::open(address, None).await;
            flood(raw, |number| match number {
                0 => opening(0, raw::END_HEADERS),
                _ => raw::frame(raw::DATA, 0, 1, &[]).repeat(8),
            })
            .await
        })
    }),
    ("H6 PING", true, |address| {
        Box::pin(async move {
            flood(Raw::open(address, None).await, |_| raw::frame(raw::PING, 0, 0, &[0; 8])).await
        })
    }),
    ("H7 SETTINGS", true, |address| {
        Box::pin(async move {
            flood(Raw::open(address, None).await, |_| raw::frame(raw::SETTINGS, 0, 0, &[])).await
        })
    }),
    ("H8 WINDOW_UPDATE and PRIORITY", true, |address| {
        Box::pin(async move {
            flood(Raw::open(address, None).await, |_| {
                let window = raw::frame(raw::WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes());
                [window, raw::frame(raw::PRIORITY, 0, 1, &[0; 5])].concat()
            })
            .await
        })
    }),
    ("H9 paths that are none", false, |address| {
        Box::pin(async move {
            let raw = Raw::open(address, None).await;
            let paths = ["x", "", "http://localhost/S/M"];
            flood(raw, move |number| {
                let path = paths[usize::try_from(number).unwrap_or_default() % paths.len()];
                raw::frame(
                    raw::HEADERS,
                    raw::END_HEADERS | raw::END_STREAM,
                    stream(number),
                    &raw::head(path, &[]),
                )
            })
            .await
        })
    }),
    ("H13 heads of 250 KiB", false, |address| {
        Box::pin(async move {
            let raw = Raw::open(address, None).await;
            let head = raw::head(VALIDATE, &[("x-large", &"v".repeat(250 << 10))]);
            flood(raw, move |number| {
                let mut pieces = head.chunks(16 << 10).peekable();
                let mut bytes = Vec::new();
                let mut kind = raw::HEADERS;
                while let Some(piece) = pieces.next() {
                    let flags = if pieces.peek().is_none() { raw::END_HEADERS } else { 0 };
                    bytes.extend(raw::frame(kind, flags, stream(number), piece));
                    kind = raw::CONTINUATION;
                }
                bytes
            })
            .await
        })
    }),
    ("H15 streams without end", false, |address| {
        Box::pin(async move {
            let raw = Raw::open(address, None).await;
            flood(raw, |number| {
                let body = raw::frame(raw::DATA, 0, stream(number), &EMPTY[..3]);
                [opening(number, raw::END_HEADERS), body].concat()
            })
            .await
        })
    }),
    ("H21 large requests without end", false, |address| {
        Box::pin(async move {
            let raw = Raw::open(address, None).await;
            flood(raw, |number| {
                // A mebibyte but for its last byte, by as many as a connection may have.
                let (call, piece) = (number / 64, number % 64);
                let begin = match piece {
                    0 => {
                        let prefix = raw::frame(raw::DATA, 0, stream(call), &[0, 0, 16, 0, 0]);
                        [opening(call, raw::END_HEADERS), prefix].concat()
                    }
                    _ => Vec::new(),
                };
                let data = if piece == 63 { (16 << 10) - 1 } else { 16 << 10 };
                [begin, raw::frame(raw::DATA, 0, stream(call), &vec![0; data])].concat()
            })
            .await
        })
    }),
    ("H22 questions about health without end", false, |address| {
        Box::pin(async move {
            let raw = Raw::open(address, None).await;
            flood(raw, |number| {
                let body = [&[0, 0, 0, 15, 0][..], &[0; 3_000]].concat();
                let head = raw::frame(raw::HEADERS, raw::END_HEADERS, stream(number), &raw::head(CHECK, &[]));
                [head, raw::frame(raw::DATA, 0, stream(number), &body)].concat()
            })
            .await
        })
    }),
    ("H16 byte by byte", false, |address| {
        Box::pin(async move {
            let Ok(mut stream) = TcpStream::connect(address).await else { return true };
            for byte in b"PRI * HTTP/2.0" {
                if stream.write_all(&[*byte]).await.is_err() {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(600)).await;
            }
            false
        })
    }),
    ("H18 watches that nobody reads", false, |address| {
        Box::pin(async move {
            let mut raw = Raw::open(address, Some(0)).await;
            for number in 0..100 {
                if !raw.call(stream(number), WATCH, &EMPTY, true).await {
                    return true;
                }
            }
            raw.has_ended(SECONDS).await
        })
    }),
    ("H19 bytes that are no HTTP", true, |address| {
        Box::pin(async move {
            let Ok(mut stream) = TcpStream::connect(address).await else { return true };
            let _ = stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 13, 10, 13, 10]).await;
            Raw(stream).has_ended(NOTICED).await
        })
    }),
];

/// A call of an honest caller.
type Call = Box<dyn Fn() -> BoxFuture<'static, ()>>;

fn validating(channel: Channel) -> Call {
    Box::new(move || {
        let mut client = TemplateServiceClient::new(channel.clone());
        let request = proto::ValidateTemplateRequest {
            template_source: Some(TemplateSource::TemplateYaml(WORDPRESS.to_owned())),
            ..proto::ValidateTemplateRequest::default()
        };
        Box::pin(async move {
            let answer = client.validate_template(request).await.expect("an honest caller is served");
            assert!(answer.into_inner().valid);
        })
    })
}

fn checking(channel: Channel) -> Call {
    Box::new(move || {
        let mut client = HealthClient::new(channel.clone());
        Box::pin(async move {
            client.check(HealthCheckRequest::default()).await.expect("an honest caller is served");
        })
    })
}

/// How long calls took that a caller has made one after the other until a moment; every one is answered.
async fn honest(call: &Call, until: impl Fn() -> bool) -> Vec<Duration> {
    let mut took = Vec::new();
    while !until() || took.len() < 20 {
        let begun = Instant::now();
        tokio::time::timeout(NOTICED, call()).await.expect("an answer in time");
        took.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    took
}

async fn honest_when_idle(call: &Call) -> Duration {
    // The first calls meet what nobody has asked for yet.
    honest(call, || true).await;
    let until = Instant::now() + Duration::from_secs(1);
    slowest_of_a_hundred(honest(call, || Instant::now() > until).await)
}

/// How many of so many hostile peers were cut, and how long an honest caller's calls took meanwhile.
async fn flooded(
    attack: Attack,
    address: SocketAddr,
    connections: usize,
    call: &Call,
) -> (usize, Vec<Duration>) {
    let over = std::sync::atomic::AtomicBool::new(false);
    let attacks = async {
        let cut = join_all((0..connections).map(|_| attack(address))).await;
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        cut
    };
    let is_over = || over.load(std::sync::atomic::Ordering::Relaxed);
    let (cut, took) = tokio::join!(attacks, honest(call, is_over));
    (cut.into_iter().filter(|cut| *cut).count(), took)
}

fn slowest_of_a_hundred(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took.get(took.len() * 99 / 100).copied().unwrap_or_default()
}

/// A bare tonic server that serves gRPC's health, on threads of its own until the process ends.
fn bare() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("threads").block_on(async {
            let (_, health) = tonic_health::server::health_reporter();
            let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).expect("a socket"));
            let server = Server::builder().max_concurrent_streams(Some(1_000)).add_service(health);
            server.serve_with_incoming(incoming.with_nodelay(Some(true))).await
        })
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_caller_is_served_whatever_others_do() {
    let asked = std::env::var("FLOOD_CONNECTIONS").ok().and_then(|text| text.parse().ok());
    let connections = asked.unwrap_or(2);
    let start = || Binary::start_with(&["--sandbox", "--log", "info"]);
    let binary = tokio::task::spawn_blocking(start).await.expect("the binary starts");
    let call = validating(connect(binary.address).await);
    let idle = honest_when_idle(&call).await;
    // What the machine alone does to an honest caller while there is such a flood on it.
    let bare = if asked.is_some() {
        let address = bare();
        let call = checking(connect(address).await);
        let idle = honest_when_idle(&call).await;
        Some((address, call, idle))
    } else {
        None
    };
    for (name, must_be_cut, attack) in ATTACKS {
        let (were_cut, took) = flooded(attack, binary.address, connections, &call).await;
        let memory = binary.resident_bytes().unwrap_or_default();
        let (calls, slowest) = (took.len(), slowest_of_a_hundred(took));
        let mut beside = String::new();
        if let Some((address, call, idle)) = &bare {
            let (_, took) = flooded(attack, *address, connections, call).await;
            beside = format!("; bare {:.1?} ({idle:.1?} when idle)", slowest_of_a_hundred(took));
        }
        eprintln!(
            "flood: {name} from {connections}: {were_cut} cut; {} MiB; {calls} honest calls, 99 of 100 within \
             {slowest:.1?} ({idle:.1?} when idle){beside}",
            memory >> 20
        );
        assert!(!must_be_cut || were_cut == connections, "{name}: {were_cut} of {connections} were cut");
        assert!(memory <= MEMORY, "{name}: {memory} bytes");
    }
}
