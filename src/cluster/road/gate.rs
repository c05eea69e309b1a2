//! Lets one request open the connection that the others then share.
//!
//! Whether the API server speaks HTTP/2 is known only when a connection is open. Until then every request would open
//! one of its own, and all but one would be thrown away.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Mutex;

/// Stands before one client's connections.
#[derive(Default)]
pub(super) struct Gate {
    open: AtomicBool,
    turn: Mutex<()>,
}

impl Gate {
    /// Runs a request: alone, if none has been answered since the last one that failed.
    pub(super) async fn pass<T, E>(&self, request: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let turn = if self.open.load(Ordering::Acquire) { None } else { Some(self.turn.lock().await) };
        // Somebody may have opened it while this one waited for its turn.
        let turn = turn.filter(|_| !self.open.load(Ordering::Acquire));
        let answer = request.await;
        self.open.store(answer.is_ok(), Ordering::Release);
        drop(turn);
        answer
    }
}
