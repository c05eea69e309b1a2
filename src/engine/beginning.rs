//! Whether the work of a call has begun to write when its caller's time ends, and whether it will be finished for certain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const LEFT: u8 = 2;
const PROMISED: u8 = 3;

/// What the work of a call and whoever waits for it decide together: either it begins to write, or it is left before.
#[derive(Clone, Debug, Default)]
pub(super) struct Beginning(Arc<AtomicU8>);

impl Beginning {
    /// Begins to write; `false` if nobody waits for it any more.
    pub(super) fn begin(&self) -> bool {
        let begins = self.0.compare_exchange(WAITING, BEGUN, Ordering::AcqRel, Ordering::Acquire);
        begins.is_ok() || matches!(begins, Err(BEGUN | PROMISED))
    }

    /// Notes that the cluster has answered a write of what has begun: whoever waits no more leaves something behind.
    pub(super) fn promise(&self) {
        let _ = self.0.compare_exchange(BEGUN, PROMISED, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Whether the cluster has answered a write. Until then nobody knows whether what was sent has arrived.
    pub(super) fn is_promised(&self) -> bool {
        self.0.load(Ordering::Acquire) == PROMISED
    }

    /// Leaves the work; `false` if it has begun, and so goes on.
    pub(super) fn leave(&self) -> bool {
        self.0.compare_exchange(WAITING, LEFT, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_never_begins_and_what_has_begun_is_never_left() {
        let (left, begun) = (Beginning::default(), Beginning::default());
        assert!(left.leave() && !left.begin());
        left.promise();
        assert!(!left.is_promised() && !left.begin(), "what is left stays so");
        assert!(begun.begin() && begun.begin() && !begun.leave() && !begun.is_promised());
        begun.promise();
        assert!(begun.begin() && !begun.leave() && begun.is_promised());
    }
}
