//! How much is served at once, and how long what is on its way may take.

use std::time::Duration;

/// How much is served at once, of all callers together and of each connection; the defaults are those of the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// The most connections; one more is closed.
    pub connections: usize,
    /// The most calls; one more is refused.
    pub calls: usize,
    /// The most watches; one more is refused.
    pub watches: usize,
    /// How long a connection may be without a call.
    pub idle: Duration,
    /// How old a connection may become, a tenth more or less.
    pub age: Duration,
    /// The most calls and watches of one connection; its client waits with one more.
    pub streams: u32,
    /// The most watches of one connection, fewer than its streams; one more is refused.
    pub watches_of_connection: usize,
    /// The most bytes of a request.
    pub message: usize,
    /// The most bytes of a request's metadata, as HTTP/2 counts them.
    pub metadata: usize,
    /// The most bytes that all requests which are coming may hold.
    pub memory: usize,
    /// The most bytes that those of one connection may hold.
    pub memory_of_connection: usize,
    /// How long a request may take to come, whole and ended.
    pub coming: Duration,
    /// The most connections in their TLS handshake; one more ends the oldest of them.
    pub handshakes: usize,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// How long a reader may take nothing of what there is for it.
    pub taking: Duration,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            connections: 1_000,
            calls: 256,
            watches: 10_000,
            idle: Duration::from_secs(300),
            age: Duration::from_secs(3600),
            streams: 1_000,
            watches_of_connection: 900,
            message: 1024 * 1024,
            metadata: 16 * 1024,
            memory: 64 * 1024 * 1024,
            memory_of_connection: 16 * 1024 * 1024,
            coming: Duration::from_secs(30),
            handshakes: 64,
            handshake: Duration::from_secs(5),
            taking: Duration::from_secs(30),
        }
    }
}
