//! Tells in the log why calls are refused that reach no service: of each connection so many, and how many more there were.
//!
//! Whoever floods would write our log, and everybody else would wait for it.

use std::sync::{Arc, Mutex, PoisonError};

use http::Extensions;
use tokio::time::Instant;
use tonic::Status;
use tracing::{Span, info, info_span};

use super::cuts::Source;
use crate::callers::Acting;
use crate::error::{Error, ErrorKind};
use crate::grpc;

/// The lines that a connection has at once, and how many more each second.
const AT_ONCE: f64 = 20.0;
const EACH_SECOND: f64 = 2.0;

/// The lines that are left to one connection; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Telling(Arc<Mutex<Left>>, Source);

#[derive(Debug)]
struct Left {
    lines: f64,
    at: Instant,
    /// The refusals since the last line that have none.
    untold: u64,
}

impl Default for Left {
    fn default() -> Self {
        Self { lines: AT_ONCE, at: Instant::now(), untold: 0 }
    }
}

impl Telling {
    /// Those of a connection of this peer.
    pub(super) fn of(peer: Source) -> Self {
        Self(Arc::default(), peer)
    }

    /// The span of a line that is told, which names the peer.
    pub(super) fn peer(&self) -> Span {
        info_span!("refused", peer = %self.1)
    }

    /// Takes a line; says whether one was left.
    pub(super) fn takes_line(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now())
    }

    /// The status of a failure outside of every service, within the span of its call; in the log, too, if a line is left
    /// or the failure is ours.
    pub(super) fn failed(&self, error: &Error, span: &Span) -> Status {
        let is_told = self.takes_line() || error.kind() == ErrorKind::Internal;
        span.in_scope(|| match is_told {
            true => self.peer().in_scope(|| grpc::failed(error)),
            false => grpc::status(error),
        })
    }
}

/// The span of a call that reaches no service; none if nobody knows whose it is.
pub(super) fn span(extensions: &Extensions) -> Span {
    let caller = extensions.get::<Acting>().and_then(Acting::name);
    caller.map_or_else(Span::none, |caller| info_span!("call", caller))
}

impl Left {
    /// Takes a line; says whether there was one.
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.lines, self.at) = ((self.lines + passed * EACH_SECOND).min(AT_ONCE), now);
        if self.lines < 1.0 {
            self.untold += 1;
            return false;
        }
        self.lines -= 1.0;
        self.tell();
        true
    }

    fn tell(&mut self) {
        if self.untold > 0 {
            info!(calls = self.untold, "more calls refused on a connection");
        }
        self.untold = 0;
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        self.tell();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_has_its_lines_and_then_two_a_second() {
        let mut left = Left::default();
        let begin = left.at;
        let told = (0..1_000).filter(|_| left.take(begin)).count();
        assert_eq!((told, left.untold), (20, 980));
        let told = (0..1_000).filter(|_| left.take(begin + Duration::from_secs(5))).count();
        assert_eq!((told, left.untold), (10, 990), "those before were told as a number");
    }
}
