//! How the server serves, beside what its operations know: GetServerInfo tells it.

use std::time::Duration;

use crate::callers::Bounds;

/// How the server serves.
#[derive(Clone, Copy, Debug)]
pub struct Serving {
    /// Whether the cluster is the one in memory.
    pub sandbox: bool,
    /// The most bytes of a request.
    pub message: usize,
    /// The most bytes of a request's metadata.
    pub metadata: usize,
    /// The most bytes that all requests which are coming may hold.
    pub memory: usize,
    /// How long a request may take to come.
    pub coming: Duration,
    /// The most connections at once.
    pub connections: usize,
    /// The most TLS handshakes at once.
    pub handshakes: usize,
    /// How long one may take.
    pub handshake: Duration,
    /// The most calls and watches on a connection at once.
    pub streams: u32,
    /// The most watches on a connection at once.
    pub watches_of_connection: usize,
    /// How long a reader may take nothing of what there is for it.
    pub taking: Duration,
    /// The most calls at once.
    pub calls: usize,
    /// The most watches at once.
    pub watches: usize,
    /// The most of one caller at once.
    pub each: Bounds,
    /// The most connections of the old agents at once, and the most bytes of a body; `None`: they are not served.
    pub rest: Option<(usize, usize)>,
    /// How long a connection may be without a call.
    pub idle: Duration,
    /// How old a connection may become.
    pub age: Duration,
    /// The most calls to the API server at once.
    pub api_calls: usize,
}
