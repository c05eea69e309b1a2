//! Reads what an adapter measures, as Prometheus would.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::adapter::Binary;

/// How long a series may take on a busy machine to become what it is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Asks the operator's port; returns the status and the answer's content.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let (status, _, content) = asked(address, path).await;
    (status, content)
}

/// What is measured, with its content type, as Prometheus gets it; `None` if nobody answers.
pub async fn scrape(address: SocketAddr) -> Option<(String, String)> {
    TcpStream::connect(address).await.ok()?;
    let (status, head, text) = asked(address, "/metrics").await;
    assert_eq!(status, 200);
    let kind = head.lines().find_map(|line| line.strip_prefix("content-type: "));
    Some((kind.expect("a content type").to_owned(), text))
}

async fn asked(address: SocketAddr, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.expect("the operator's port");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (head, content) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, head.to_owned(), content.to_owned())
}

/// The value of one series in a text; 0 if it is not there.
pub fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.trim().parse().expect("a number"))
}

/// The value of one series of the built binary.
pub async fn measured(binary: &Binary, series: &str) -> f64 {
    let (status, text) = get(binary.metrics.expect("it shows what it measures"), "/metrics").await;
    assert_eq!(status, 200);
    value(&text, series)
}

/// Waits until a series has a value.
pub async fn becomes(binary: &Binary, series: &str, wanted: f64) {
    until(binary, series, &format!("not {wanted}"), |value| (value - wanted).abs() < f64::EPSILON).await;
}

/// Waits until a series has at least a value.
pub async fn reaches(binary: &Binary, series: &str, wanted: f64) {
    until(binary, series, &format!("less than {wanted}"), |value| value >= wanted).await;
}

async fn until(binary: &Binary, series: &str, wrong: &str, is_right: impl Fn(f64) -> bool) {
    let come = async {
        while !is_right(measured(binary, series).await) {
            tokio::time::sleep(LOOK).await;
        }
    };
    let come = tokio::time::timeout(PATIENCE, come).await;
    assert!(come.is_ok(), "{series} is {}, {wrong}", measured(binary, series).await);
}
