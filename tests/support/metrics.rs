//! Reads what an adapter measures, as Prometheus would.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::adapter::Binary;

/// Asks the operator's port; returns the status and the answer's content.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("the operator's port");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (head, content) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, content.to_owned())
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
