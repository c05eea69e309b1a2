//! Whether the work of a call has begun to write when its caller's time ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const LEFT: u8 = 2;

/// What the work of a call and whoever waits for it decide together: either it begins to write, or it is left before.
#[derive(Clone, Debug, Default)]
pub(super) struct Beginning(Arc<AtomicU8>);

impl Beginning {
    /// Begins to write; `false` if nobody waits for it any more.
    pub(super) fn begin(&self) -> bool {
        let begins = self.0.compare_exchange(WAITING, BEGUN, Ordering::AcqRel, Ordering::Acquire);
        begins.is_ok() || begins == Err(BEGUN)
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
        assert!(begun.begin() && begun.begin() && !begun.leave());
    }
}
