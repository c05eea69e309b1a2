//! How much one caller has served at once; what is beyond is refused at once and may be repeated.

use std::time::Duration;

use super::tally::{Opened, Tally};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{Limit, Metrics};

/// When a caller that was told so may try again.
const AGAIN: Duration = Duration::from_secs(1);

/// How much is served of one caller at once.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Calls that change something.
    pub calls: usize,
    /// Calls that only look.
    pub reads: usize,
    /// Watches.
    pub watches: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { calls: 8, reads: 128, watches: 1_000 }
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Counted {
    Calls,
    Looks,
    Watches,
}

/// Counts what callers have open.
pub(super) struct Counting {
    bounds: Bounds,
    open: Tally<(String, Counted)>,
    metrics: Metrics,
}

impl Counting {
    pub(super) fn new(bounds: Bounds, metrics: Metrics) -> Self {
        Self { bounds, open: Tally::default(), metrics }
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// A place for one more; fails with OVERLOADED if the caller has as many as it may.
    pub(super) fn place(&self, caller: &str, counted: Counted) -> Result<Place> {
        let (most, what, limit) = match counted {
            Counted::Calls => (self.bounds.calls, "calls that change something", Limit::CallsOfCaller),
            Counted::Looks => (self.bounds.reads, "calls that look", Limit::ReadsOfCaller),
            Counted::Watches => (self.bounds.watches, "watches", Limit::WatchesOfCaller),
        };
        self.open.open((caller.to_owned(), counted), most).map(|opened| Place { _opened: opened }).ok_or_else(
            || {
                self.metrics.limit_hit(limit);
                let text = format!("the caller has {most} {what} open, and may have no more at once");
                Error::new(ErrorKind::Overloaded, text).retry_after(AGAIN)
            },
        )
    }
}

/// One of a caller's places, until it is dropped.
pub struct Place {
    _opened: Opened<(String, Counted)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_places_of_its_own() {
        let metrics = Metrics::default();
        let hits = |limit: &str| {
            let (text, series) = (metrics.text(), format!("panamax_limit_hits_total{{limit=\"{limit}\"}} "));
            text.lines().find_map(|line| line.strip_prefix(&series)?.parse::<u32>().ok())
        };
        let counting = Counting::new(Bounds { calls: 1, reads: 1, watches: 2 }, metrics.clone());
        assert_eq!(["calls_of_caller", "watches_of_caller"].map(hits), [Some(0); 2]);
        let call = counting.place("alice", Counted::Calls).unwrap();
        let refused = counting.place("alice", Counted::Calls).err().unwrap();
        assert_eq!((refused.kind(), refused.retry_delay()), (ErrorKind::Overloaded, Some(AGAIN)));
        let others = [("bob", Counted::Calls), ("alice", Counted::Watches), ("alice", Counted::Watches)];
        let held: Vec<_> = others.map(|(who, what)| counting.place(who, what).unwrap()).into();
        assert_eq!(["calls_of_caller", "watches_of_caller"].map(hits), [Some(1), Some(0)]);
        assert!(counting.place("alice", Counted::Watches).is_err());
        assert_eq!(["calls_of_caller", "watches_of_caller"].map(hits), [Some(1); 2]);
        let look = counting.place("alice", Counted::Looks).unwrap();
        assert!(counting.place("alice", Counted::Looks).is_err());
        assert_eq!(["calls_of_caller", "reads_of_caller"].map(hits), [Some(1); 2]);
        drop((call, held, look));
        assert!(counting.open.is_empty());
        assert!(counting.place("alice", Counted::Calls).is_ok());
    }
}
