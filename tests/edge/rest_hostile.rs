//! Peers of the façade that mean no good: none of them keeps others out, costs much memory, or holds up the end.

use std::time::{Duration, Instant};

use super::rest::{agent, start};
use crate::support::agent::{Agent, recorded};
use crate::support::metrics::measured;

/// The head of a POST with a body of so many bytes.
fn head(length: usize) -> String {
    format!("POST /v1/services HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")
}

#[tokio::test]
async fn who_does_not_end_what_it_begins_is_cut() {
    let binary = start(&[]).await;
    let begun = Instant::now();
    let drip = async |beginning: String| {
        let mut peer = agent(&binary).await;
        peer.raw(beginning.as_bytes()).await;
        let mut answered = None;
        while begun.elapsed() < Duration::from_secs(50) {
            peer.raw(b"x").await;
            // An answer that has begun is read to its end.
            if peer.hears(Duration::from_millis(500)).await {
                answered = peer.answer("POST").await.map(|answer| answer.status);
                break;
            }
        }
        (peer.has_ended(Duration::from_secs(5)).await, answered, begun.elapsed())
    };
    let silent = async {
        let mut peer = agent(&binary).await;
        (peer.has_ended(Duration::from_secs(50)).await, None::<u16>, begun.elapsed())
    };
    let (slow_head, slow_body, silent) =
        tokio::join!(drip("GET /v1/services HTTP/1.1\r\nX-A: ".to_owned()), drip(head(100_000)), silent);
    assert_eq!((slow_head.0, slow_head.1), (true, None));
    assert_eq!((slow_body.0, slow_body.1), (true, Some(408)));
    assert!(silent.0, "who says nothing at all");
    for (took, least) in [(slow_head.2, 4), (slow_body.2, 9), (silent.2, 4)] {
        assert!((least..30).contains(&took.as_secs()), "{took:?}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_much_is_refused_in_words() {
    let binary = start(&["--metrics-listen", "127.0.0.1:0"]).await;
    let ask = async |bytes: usize, fields: usize| {
        let mut peer = agent(&binary).await;
        let more: String = (0..fields).map(|index| format!("X-{index}: a\r\n")).collect();
        let padding = "x".repeat(bytes);
        peer.raw(
            format!("GET /v1/services HTTP/1.1\r\nHost: localhost\r\nX-A: {padding}\r\n{more}\r\n")
                .as_bytes(),
        )
        .await;
        peer.answer("GET").await.expect("an answer")
    };
    for (bytes, fields) in [(32_000, 0), (0, 98)] {
        assert_eq!(ask(bytes, fields).await.status, 200, "{bytes} {fields}");
    }
    for (bytes, fields) in [(32_768, 0), (45_000, 0), (60_000, 0), (0, 100), (0, 150)] {
        let refused = ask(bytes, fields).await;
        assert_eq!(refused.refusal(), (431, "LIMIT_EXCEEDED".to_owned()), "{bytes} {fields}");
    }
    assert_eq!(ask(0, 300).await.status, 431);
    assert_eq!(measured(&binary, "panamax_limit_hits_total{limit=\"metadata\"}").await, 5.0);
}

/// A head with these lines, of a request that has a list of one service as its body.
fn asking(method: &str, path: &str, lines: &str) -> String {
    let body = r#"[{"name":"P","source":"evil/miner:1"}]"#;
    format!("{method} {path} HTTP/1.1\r\n{lines}Content-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_web_page_that_somebody_opens_asks_for_nothing() {
    let binary = start(&[]).await;
    let ask = async |method: &str, path: &str, lines: &str| {
        let mut peer = agent(&binary).await;
        peer.raw(asking(method, path, lines).as_bytes()).await;
        peer.answer(method).await.expect("an answer")
    };
    // A form of another site, and a name that leads here.
    for lines in [
        "Host: localhost:8001\r\nOrigin: https://evil.example\r\nContent-Type: text/plain\r\n",
        "Host: localhost:8001\r\nSec-Fetch-Site: cross-site\r\nContent-Type: text/plain\r\n",
        "Host: rebind.evil.example:8001\r\nOrigin: http://rebind.evil.example:8001\r\n",
        "Host: rebind.evil.example:8001\r\nSec-Fetch-Site: same-origin\r\n",
    ] {
        for (method, path) in [("POST", "/v1/services"), ("GET", "/v1/services"), ("GET", "/v1/metadata")] {
            let refused = ask(method, path, lines).await;
            assert_eq!(refused.refusal(), (403, "PAGE_FORBIDDEN".to_owned()), "{method} {path} {lines}");
        }
    }
    let listed = agent(&binary).await.call("GET", "/v1/services", None).await;
    assert_eq!(listed.body, "[]", "nothing is deployed");
    // A body that cannot be read as it is says so.
    let encoded = ask("POST", "/v1/services", "Host: localhost\r\nContent-Encoding: gzip\r\n").await;
    assert_eq!(encoded.refusal(), (415, "FIELD_INVALID".to_owned()));
    assert!(binary.log().contains("PAGE_FORBIDDEN"));
    for host in ["localhost", "127.0.0.1:8001", "172.17.0.5:8001", "[::1]"] {
        assert_eq!(ask("POST", "/v1/services", &format!("Host: {host}\r\n")).await.status, 201, "{host}");
    }
}

#[tokio::test]
async fn a_template_that_asks_for_too_much_is_counted() {
    let binary = start(&["--metrics-listen", "127.0.0.1:0", "--max-replicas", "1"]).await;
    let refusal = agent(&binary).await.post(&recorded("go")).await.refusal();
    assert_eq!(refusal, (400, "TEMPLATE_INVALID".to_owned()));
    assert_eq!(measured(&binary, "panamax_limit_hits_total{limit=\"replicas\"}").await, 1.0);
}

#[tokio::test]
async fn what_is_too_large_is_told_so_and_costs_no_memory() {
    let binary = start(&["--metrics-listen", "127.0.0.1:0"]).await;
    let mut honest = agent(&binary).await;
    honest.post(&recorded("go")).await.ids();
    let before = binary.resident_bytes().expect("its memory");
    let large = format!("[\"{}\"]", "x".repeat(256 * 1024));
    // Its length is told, or it is not.
    let mut told = agent(&binary).await;
    assert_eq!(told.post(&large).await.refusal(), (413, "LIMIT_EXCEEDED".to_owned()));
    let mut chunked = agent(&binary).await;
    chunked.raw(b"POST /v1/services HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    for _ in 0..64 {
        chunked.raw(format!("1000\r\n{}\r\n", "x".repeat(4096)).as_bytes()).await;
    }
    chunked.raw(format!("1000\r\n{}\r\n0\r\n\r\n", "x".repeat(4096)).as_bytes()).await;
    assert_eq!(chunked.answer("POST").await.expect("an answer").refusal().0, 413);
    // One that goes on for ever, on many connections.
    let endless = (0..40).map(|_| async {
        let mut peer = agent(&binary).await;
        peer.raw(head(1_000_000_000).as_bytes()).await;
        let block = vec![b'x'; 64 * 1024];
        for _ in 0..200 {
            peer.raw(&block).await;
        }
        peer.has_ended(Duration::from_secs(20)).await
    });
    let ended = futures::future::join_all(endless).await;
    assert!(ended.into_iter().all(|ended| ended));
    let after = binary.resident_bytes().expect("its memory");
    assert!(after < before + 64 * 1024 * 1024, "{before} {after}");
    assert!(measured(&binary, "panamax_limit_hits_total{limit=\"request\"}").await >= 2.0);
    // Just what fits is read, and is a template or not.
    let fits = format!("[{}\"\"]", " ".repeat(256 * 1024 - 4));
    assert_eq!(honest.post(&fits).await.refusal(), (400, "TEMPLATE_INVALID".to_owned()));
    // A head has its bound, too.
    let mut wide = agent(&binary).await;
    wide.raw(
        format!("GET /healthcheck HTTP/1.1\r\nHost: localhost\r\nX-A: {}\r\n\r\n", "x".repeat(64 * 1024))
            .as_bytes(),
    )
    .await;
    // Whoever still sends may not see the answer.
    let answered = wide.answer("GET").await.map(|answer| answer.status);
    assert!([Some(431), None].contains(&answered), "{answered:?}");
}

#[tokio::test]
async fn what_is_no_http_1_is_not_understood() {
    let binary = start(&[]).await;
    for bytes in
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"hello\r\n\r\n", b"GET /healthcheck HTTP/1.1\r\n\r\n\0\0"]
    {
        let mut peer = agent(&binary).await;
        peer.raw(bytes).await;
        let _ = peer.answer("GET").await;
        assert!(peer.has_ended(Duration::from_secs(15)).await, "{bytes:?}");
    }
    // Two lengths are one request too many.
    let mut peer = agent(&binary).await;
    peer.raw(
        b"POST /v1/services HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 40\r\n\r\n[]",
    )
    .await;
    assert_eq!(peer.answer("POST").await.map(|answer| answer.status), Some(400));
    // Whose request it is, and what its body is, is said once and in words that are known.
    for more in [
        "",
        "Host: localhost\r\nHost: localhost\r\n",
        "Host: localhost\r\nTransfer-Encoding: gzip, chunked\r\n",
    ] {
        let mut peer = agent(&binary).await;
        peer.raw(format!("POST /v1/services HTTP/1.1\r\n{more}\r\n0\r\n\r\n").as_bytes()).await;
        let refusal = peer.answer("POST").await.expect("an answer").refusal();
        assert_eq!(refusal, (400, "FRAMING_INVALID".to_owned()), "{more:?}");
    }
    // A body that is none has not come too late.
    let binary = start(&["--metrics-listen", "127.0.0.1:0"]).await;
    let mut peer = agent(&binary).await;
    peer.raw(
        b"POST /v1/services HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n",
    )
    .await;
    let refusal = peer.answer("POST").await.expect("an answer").refusal();
    assert_eq!(refusal, (400, "FRAMING_INVALID".to_owned()));
    assert!(measured(&binary, "panamax_limit_hits_total{limit=\"request_time\"}").await == 0.0);
}

#[tokio::test]
async fn many_connections_keep_nobody_out() {
    let binary = start(&["--metrics-listen", "127.0.0.1:0"]).await;
    let mut honest = agent(&binary).await;
    let ids = honest.post(&recorded("go")).await.ids();
    let mut crowd: Vec<Agent> = Vec::new();
    for number in 0..400 {
        let mut peer = agent(&binary).await;
        // Half have asked something and are idle, others begin a head, a body, or nothing.
        match number % 6 {
            0 => {}
            1 => peer.raw(b"GET / HT").await,
            2 => peer.raw(head(1000).as_bytes()).await,
            _ => assert_eq!(peer.call("GET", "/healthcheck", None).await.status, 200),
        }
        crowd.push(peer);
        if number % 50 == 0 {
            // Whoever comes now is served at once, before and after the crowd is full.
            let begun = Instant::now();
            let mut newcomer = agent(&binary).await;
            assert_eq!(newcomer.get(&ids[0]).await.status, 200, "{number}");
            assert!(begun.elapsed() < Duration::from_secs(3), "{number}: {:?}", begun.elapsed());
        }
    }
    let closed = measured(&binary, "panamax_limit_hits_total{limit=\"connections\"}").await;
    assert!(closed >= 72.0, "{closed}");
    let begun = Instant::now();
    while measured(&binary, "panamax_connections").await > 128.0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "more connections are open than may be");
    }
    drop(crowd);
    let mut after = agent(&binary).await;
    assert_eq!(after.post(&recorded("go")).await.ids(), ids);
}

#[tokio::test]
async fn nobody_holds_up_the_end() {
    let mut binary = start(&["--drain-timeout", "60s"]).await;
    let mut idle = agent(&binary).await;
    idle.post(&recorded("go")).await.ids();
    let mut crowd = vec![idle];
    for beginning in ["", "GET / HT", &head(1000), &head(1_000_000)] {
        for _ in 0..10 {
            let mut peer = agent(&binary).await;
            peer.raw(beginning.as_bytes()).await;
            crowd.push(peer);
        }
    }
    let begun = Instant::now();
    let ended = tokio::task::spawn_blocking(move || binary.signal("TERM", Duration::from_secs(30)));
    assert_eq!(ended.await.expect("it ends"), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(crowd);
}

/// A POST of which so much has come that nobody can take it for whole.
async fn half_a_post(peer: &mut Agent) -> String {
    let body = recorded("go");
    let (first, rest) = body.split_at(10);
    peer.raw(format!("{}{first}", head(body.len())).as_bytes()).await;
    rest.to_owned()
}

#[tokio::test]
async fn a_body_that_comes_is_answered_whatever_ends_its_connection() {
    // The end: it is told so, however long ago it began.
    for since in [Duration::from_millis(500), Duration::from_secs(2)] {
        let mut binary = start(&["--drain-timeout", "60s"]).await;
        let mut peer = agent(&binary).await;
        half_a_post(&mut peer).await;
        tokio::time::sleep(since).await;
        let ended = tokio::task::spawn_blocking(move || binary.signal("TERM", Duration::from_secs(30)));
        let refused = peer.answer("POST").await.expect("an answer");
        assert_eq!(refused.refusal(), (503, "SHUTTING_DOWN".to_owned()), "{since:?}");
        assert_eq!(refused.header("connection").as_deref(), Some("close"));
        assert_eq!(ended.await.expect("it ends"), Some(0));
    }
    // The age of its connection: that has time to end, as a stream has.
    let binary = start(&["--connection-age", "5s"]).await;
    let mut peer = agent(&binary).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let rest = half_a_post(&mut peer).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    peer.raw(rest.as_bytes()).await;
    assert_eq!(peer.answer("POST").await.expect("an answer").ids().len(), 2);
    assert!(peer.has_ended(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn whoever_floods_does_not_write_our_log() {
    let binary = start(&[]).await;
    let begun = Instant::now();
    let mut peer = agent(&binary).await;
    for number in 0..1_000 {
        let (method, path, status) = match number % 3 {
            0 => ("GET", "/nowhere", 404),
            1 => ("PATCH", "/v1/services", 405),
            _ => ("GET", "/v1/services/a/b", 404),
        };
        assert_eq!(peer.call(method, path, None).await.status, status);
    }
    let most = 21 + 2 * usize::try_from(begun.elapsed().as_secs()).expect("a short time");
    drop(peer);
    let untold = async {
        while !binary.log().contains("more calls refused on a connection") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), untold).await.expect("the rest is a number");
    let lines = binary.whole_log().lines().filter(|line| line.contains("call refused")).count();
    assert!((20..=most).contains(&lines), "{lines} of {most}");
}
