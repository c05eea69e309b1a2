//! A client of HTTP/2 that sends whatever it is told to: what no library would send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
/// The setting of the window with which each stream begins.
const INITIAL_WINDOW: u16 = 4;

/// A frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub content: Vec<u8>,
}

/// A connection.
pub struct Raw(pub TcpStream);

impl Raw {
    /// Connects and says that it speaks HTTP/2, with these settings.
    pub async fn open(address: SocketAddr, window: Option<u32>) -> Self {
        let mut raw = Self(TcpStream::connect(address).await.expect("a connection"));
        let _ = raw.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let settings =
            window.map(|window| [&INITIAL_WINDOW.to_be_bytes()[..], &window.to_be_bytes()].concat());
        raw.send(SETTINGS, 0, 0, &settings.unwrap_or_default()).await;
        raw
    }

    /// Sends a frame; says whether the other end still takes it.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, content: &[u8]) -> bool {
        self.0.write_all(&frame(kind, flags, stream, content)).await.is_ok()
    }

    /// Begins a call, and sends these bytes as its request; `ends` says whether that is all.
    pub async fn call(&mut self, stream: u32, path: &str, body: &[u8], ends: bool) -> bool {
        let head = head(path, &[]);
        let flags = if ends { END_STREAM } else { 0 };
        self.send(HEADERS, END_HEADERS, stream, &head).await && self.send(DATA, flags, stream, body).await
    }

    /// The next frame; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut content = vec![0; usize::try_from(length).expect("a length")];
        self.0.read_exact(&mut content).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, content })
    }

    /// Reads until a frame of this kind comes; `None` if the connection ends or the time passes before.
    pub async fn find(&mut self, kind: u8, patience: Duration) -> Option<Frame> {
        let found = async {
            loop {
                let frame = self.next().await?;
                if frame.kind == kind {
                    return Some(frame);
                }
            }
        };
        tokio::time::timeout(patience, found).await.ok().flatten()
    }

    /// Whether a frame of this kind comes before the connection ends or the time passes.
    pub async fn has(&mut self, kind: u8, patience: Duration) -> bool {
        self.find(kind, patience).await.is_some()
    }

    /// Reads until the connection ends; `false` if the time passes before.
    pub async fn has_ended(&mut self, patience: Duration) -> bool {
        let ended = async { while self.next().await.is_some() {} };
        tokio::time::timeout(patience, ended).await.is_ok()
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), content].concat()
}

/// The head of a call of gRPC, with more headers; every one is written out.
pub fn head(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ];
    usual
        .iter()
        .chain(more)
        .flat_map(|(name, value)| [&[0][..], &text(name), &text(value)].concat())
        .collect()
}

/// A text behind its length, by RFC 7541, 5.1 and 5.2.
fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut length = text.len();
    if length < 127 {
        bytes.push(u8::try_from(length).expect("it is short"));
    } else {
        bytes.push(127);
        length -= 127;
        while length >= 128 {
            bytes.push(u8::try_from(length % 128).expect("it is short") | 128);
            length /= 128;
        }
        bytes.push(u8::try_from(length).expect("it is short"));
    }
    bytes.extend(text.as_bytes());
    bytes
}
