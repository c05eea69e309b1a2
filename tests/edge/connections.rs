//! Connections end: idle and old ones with a word before, hostile ones without, and none of them hurts its neighbours.

use std::time::{Duration, Instant};

use panamax_kubernetes_adapter::proto::health::HealthCheckRequest;
use panamax_kubernetes_adapter::proto::health::health_client::HealthClient;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic::Code;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic_types::StatusExt;

use crate::support::adapter::{Binary, connect};
use crate::support::certificates::{Folder, authority, issued_for};
use crate::support::metrics::measured;
use crate::support::raw::{self, Raw};

const WATCH: &str = "/grpc.health.v1.Health/Watch";
const CHECK: &str = "/grpc.health.v1.Health/Check";
/// A message without a field.
const EMPTY: [u8; 5] = [0; 5];
/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

async fn start(flags: &'static [&'static str]) -> Binary {
    let flags = [&["--sandbox", "--metrics-listen", "127.0.0.1:0"], flags].concat();
    tokio::task::spawn_blocking(move || Binary::start_with(&flags)).await.expect("the binary starts")
}

fn request() -> HealthCheckRequest {
    HealthCheckRequest { service: String::new() }
}

/// Whether an honest caller is served.
async fn is_served(binary: &Binary) -> bool {
    HealthClient::new(connect(binary.address).await).check(request()).await.is_ok()
}

async fn cuts(binary: &Binary, reason: &str) -> f64 {
    measured(binary, &format!("panamax_connections_cut_total{{reason=\"{reason}\"}}")).await
}

#[tokio::test]
async fn who_says_the_preface_and_nothing_more_is_told_to_go_and_goes() {
    let binary = start(&["--connection-idle", "1s", "--max-connections", "1"]).await;
    assert!(cuts(&binary, "idle").await == 0.0);
    let mut silent = Raw::open(binary.address, None).await;
    assert!(silent.has(raw::GOAWAY, PATIENCE).await, "it is told");
    assert!(
        silent.has_ended(PATIENCE).await,
        "it never answers the PING, and its place is free all the same"
    );
    assert!(cuts(&binary, "idle").await >= 1.0);
    assert!(is_served(&binary).await);
}

#[tokio::test]
async fn a_call_that_meets_the_end_of_an_idle_connection_has_time_to_end() {
    let binary = start(&["--connection-idle", "1s", "--connection-age", "6s"]).await;
    let mut caller = Raw::open(binary.address, None).await;
    assert!(caller.has(raw::GOAWAY, PATIENCE).await);
    // Its call was on the way: it did not know yet, and the server takes it.
    assert!(caller.call(1, WATCH, &EMPTY, true).await);
    assert!(caller.has(raw::HEADERS, PATIENCE).await, "it is served");
    assert!(!caller.has_ended(Duration::from_secs(3)).await, "it was cut");
    assert!(caller.has_ended(PATIENCE).await, "in the end it goes");
}

#[tokio::test]
async fn many_calls_at_once_that_open_their_windows_are_no_flood() {
    let binary = start(&[]).await;
    let mut caller = Raw::open(binary.address, None).await;
    // As gRPC's own library does: a window for each stream, before anything is answered.
    let mut burst = Vec::new();
    for number in 0..500_u32 {
        let stream = number * 2 + 1;
        burst.extend(raw::frame(raw::HEADERS, raw::END_HEADERS, stream, &raw::head(WATCH, &[])));
        burst.extend(raw::frame(raw::WINDOW_UPDATE, 0, stream, &1_u32.to_be_bytes()));
    }
    assert!(caller.0.write_all(&burst).await.is_ok());
    for number in 0..500_u32 {
        assert!(caller.send(raw::DATA, raw::END_STREAM, number * 2 + 1, &EMPTY).await);
    }
    for answered in 0..500 {
        assert!(caller.has(raw::HEADERS, PATIENCE).await, "cut after {answered} answers");
    }
    assert_eq!(cuts(&binary, "flood").await, 0.0);
}

#[tokio::test]
async fn what_a_client_sends_because_of_many_answers_at_once_is_no_flood() {
    let binary = start(&[]).await;
    let mut caller = Raw::open(binary.address, None).await;
    for round in 0..3 {
        let streams = (0..90_u32).map(|number| (round * 90 + number) * 2 + 1);
        for stream in streams.clone() {
            assert!(caller.call(stream, CHECK, &EMPTY, true).await);
        }
        for answered in 0..90 {
            assert!(caller.has(raw::DATA, PATIENCE).await, "cut after {answered} answers");
        }
        // As gRPC's own library does: windows for each message and for the connection, and a look at the road.
        let mut burst = Vec::new();
        for stream in streams {
            burst.extend(raw::frame(raw::WINDOW_UPDATE, 0, stream, &1_u32.to_be_bytes()));
            burst.extend(raw::frame(raw::WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()));
            burst.extend(raw::frame(raw::PING, 0, 0, &[0; 8]));
            burst.extend(raw::frame(raw::SETTINGS, 0, 0, &[]));
        }
        assert!(caller.0.write_all(&burst).await.is_ok());
    }
    assert!(is_served(&binary).await);
    assert_eq!(cuts(&binary, "flood").await, 0.0);
}

#[tokio::test]
async fn an_old_connection_is_told_to_go_and_its_streams_have_time_to_end() {
    let binary = start(&["--connection-age", "2s"]).await;
    let begun = Instant::now();
    let mut old = Raw::open(binary.address, None).await;
    assert!(old.call(1, WATCH, &EMPTY, true).await);
    assert!(old.has(raw::GOAWAY, PATIENCE).await);
    let told = begun.elapsed();
    assert!(old.has_ended(PATIENCE).await);
    let ended = begun.elapsed();
    assert!(told >= Duration::from_millis(1700), "a tenth less at the most: {told:?}");
    assert!(ended >= told + Duration::from_millis(1500), "the watch went on for {:?}", ended - told);
    assert!(cuts(&binary, "age").await == 1.0);
    // A client library opens another connection and notices nothing.
    let channel = connect(binary.address).await;
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        let mut health = HealthClient::new(channel.clone());
        match health.check(request()).await {
            // The library here sends nothing again that it has taken and not sent when its connection ends; others do.
            Err(unsent) if unsent.code() == tonic::Code::Cancelled => {
                health.check(request()).await.expect("health answers");
            }
            answer => drop(answer.expect("health answers")),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn frames_for_nothing_are_cut_and_neighbours_are_served() {
    let binary = start(&[]).await;
    let rows: [(u8, u8, u32, &[u8]); 5] = [
        (raw::PING, 0, 0, &[0; 8]),
        // An acknowledgement of what was never sent.
        (raw::PING, raw::ACK, 0, &[0; 8]),
        (raw::SETTINGS, 0, 0, &[]),
        (raw::PRIORITY, 0, 1, &[0; 5]),
        (raw::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
    ];
    for (index, (kind, flags, stream, content)) in rows.into_iter().enumerate() {
        let mut hostile = Raw::open(binary.address, None).await;
        let mut sent = 0_u32;
        while hostile.send(kind, flags, stream, content).await && sent < 100_000 {
            sent += 1;
        }
        assert!(hostile.has_ended(PATIENCE).await, "frames of kind {kind}");
        assert!(sent < 100_000, "frames of kind {kind}");
        assert_eq!(cuts(&binary, "flood").await, f64::from(u32::try_from(index).expect("small")) + 1.0);
        assert!(is_served(&binary).await);
    }
    // Who floods writes no log of ours, and whoever reads it learns who that was.
    let log = binary.log();
    assert!(!log.contains(" WARN "), "{log}");
    assert_eq!(log.matches(r#""why":"flood","peer":"127.0.0.1""#).count(), 1, "{log}");
}

#[tokio::test]
async fn metadata_over_the_limit_ends_its_own_call_alone() {
    let binary = start(&[]).await;
    let mut health = HealthClient::new(connect(binary.address).await);
    let mut watch = health.watch(request()).await.expect("a watch").into_inner();
    watch.message().await.expect("a message");
    for size in [17 << 10, 60 << 10, 200 << 10] {
        let mut asked = tonic::Request::new(request());
        let value = "v".repeat(size);
        asked.metadata_mut().insert("x-large", AsciiMetadataValue::try_from(value).expect("a value"));
        let refused = health.check(asked).await.expect_err("too much");
        assert_eq!(refused.code(), Code::ResourceExhausted, "{size}: {refused:?}");
        assert_eq!(refused.get_details_error_info().expect("a reason").reason, "LIMIT_EXCEEDED");
    }
    health.check(request()).await.expect("the connection lives");
    let quiet = tokio::time::timeout(Duration::from_millis(50), watch.message()).await;
    assert!(quiet.is_err() || quiet.is_ok_and(|message| message.is_ok()), "the watch goes on");
    assert_eq!(measured(&binary, "panamax_limit_hits_total{limit=\"metadata\"}").await, 3.0);
}

#[tokio::test]
async fn a_header_that_is_of_a_connection_ends_its_own_stream() {
    let binary = start(&[]).await;
    let mut caller = Raw::open(binary.address, None).await;
    let headers = [
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
    ];
    let mut stream = 1;
    for header in headers {
        let head = raw::head(WATCH, &[header]);
        assert!(caller.send(raw::HEADERS, raw::END_HEADERS, stream, &head).await, "{header:?}");
        let reset = caller.find(raw::RST_STREAM, PATIENCE).await.expect("it is reset");
        assert_eq!(
            (reset.stream, reset.content.as_slice()),
            (stream, &1_u32.to_be_bytes()[..]),
            "{header:?}"
        );
        // The next call of the connection is served.
        assert!(caller.call(stream + 2, WATCH, &EMPTY, true).await);
        let answer = caller.find(raw::HEADERS, PATIENCE).await.expect("it is served");
        assert_eq!(answer.stream, stream + 2, "{header:?}");
        stream += 4;
    }
}

#[tokio::test]
async fn a_watch_whose_reader_takes_nothing_is_cut() {
    let binary = start(&[]).await;
    // No byte of an answer fits into its window.
    let mut slow = Raw::open(binary.address, Some(0)).await;
    assert!(slow.call(1, WATCH, &EMPTY, true).await);
    let begun = Instant::now();
    assert!(slow.has(raw::RST_STREAM, Duration::from_secs(45)).await, "its place stays taken");
    assert!(begun.elapsed() > Duration::from_secs(25), "{:?}", begun.elapsed());
    assert_eq!(cuts(&binary, "slow_reader").await, 1.0);
}

#[tokio::test]
async fn the_expiry_of_a_callers_certificate_ends_its_connection() {
    let folder = Folder::new("expiry");
    let ours = authority("ours");
    let (certificate, key) = folder.server(&ours);
    let clients = folder.write("clients.pem", &ours.pem(), 0o644);
    let flags =
        ["--sandbox", "--metrics-listen", "127.0.0.1:0", "--tls-cert", &certificate, "--tls-key", &key];
    let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let start = move || {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        Binary::start_with(&[&flags[..], &["--tls-client-ca", &clients]].concat())
    };
    let binary = tokio::task::spawn_blocking(start).await.expect("the binary starts");
    let own = issued_for(&ours, -time::Duration::DAY, time::Duration::seconds(6));
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ours.pem()))
        .domain_name("localhost")
        .identity(Identity::from_pem(own.0, own.1));
    let endpoint = Endpoint::from_shared(format!("https://{}", binary.address)).expect("an address");
    let channel: Channel = endpoint.tls_config(tls).expect("TLS").connect().await.expect("a connection");
    let mut watch = HealthClient::new(channel.clone()).watch(request()).await.expect("a watch").into_inner();
    watch.message().await.expect("a message");
    let ended = async { while matches!(watch.message().await, Ok(Some(_))) {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("the watch ends");
    assert_eq!(cuts(&binary, "certificate").await, 1.0);
    assert!(HealthClient::new(channel).check(request()).await.is_err(), "it is nobody now");
}

#[tokio::test]
async fn without_a_free_descriptor_it_waits_and_goes_on() {
    let binary = start(&["--max-connections", "200"]).await;
    assert!(is_served(&binary).await);
    let pid = Pid::from_raw(i32::try_from(binary.id()).expect("a number")).expect("a process");
    let open = std::fs::read_dir(format!("/proc/{}/fd", binary.id())).expect("its files").count();
    let current = Some(u64::try_from(open).expect("a number") + 4);
    let few = Rlimit { current, maximum: hard_limit(binary.id()) };
    let before = prlimit(Some(pid), Resource::Nofile, few).expect("a limit");
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(TcpStream::connect(binary.address).await.expect("the system's queue takes it"));
    }
    let told = async {
        while !binary.log().contains("no connection can be accepted") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("it is told");
    let ticks = processor_time(binary.id());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let spent = processor_time(binary.id()) - ticks;
    assert!(spent < 50, "the loop spins: {spent} ticks in a second");
    held.clear();
    let again = async { while !is_served(&binary).await {} };
    tokio::time::timeout(PATIENCE, again).await.expect("it is served again");
    prlimit(Some(pid), Resource::Nofile, before).expect("a limit");
    assert!(measured(&binary, "panamax_limit_hits_total{limit=\"descriptors\"}").await >= 1.0);
    let lines = binary.log().lines().filter(|line| line.contains("no connection can be accepted")).count();
    assert!(lines <= 3, "{lines} lines");
}

/// The most files that a process may ask to have open; `None`: as many as it likes.
fn hard_limit(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("its limits");
    let line = text.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    line.split_whitespace().nth(4).and_then(|word| word.parse().ok())
}

/// User and system time in ticks of the system, a hundred a second.
fn processor_time(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("its state");
    let fields = text.rsplit_once(')').expect("a name").1.split_whitespace();
    fields.skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum()
}
