//! How much one caller has served at once; what is beyond is refused at once and may be repeated.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// When a caller that was told so may try again.
const AGAIN: Duration = Duration::from_secs(1);

/// Calls that only look: half of what the server has places for, if nobody has set that otherwise.
const LOOKS: usize = 128;

/// How much is served of one caller at once.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Calls that change something.
    pub calls: usize,
    /// Watches.
    pub watches: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { calls: 8, watches: 1_000 }
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Counted {
    Calls,
    Looks,
    Watches,
}

/// What each caller has open.
type Open = Arc<Mutex<HashMap<(String, Counted), usize>>>;

/// Counts what callers have open.
pub(super) struct Counting {
    bounds: Bounds,
    open: Open,
}

impl Counting {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, open: Open::default() }
    }

    /// A place for one more; fails with OVERLOADED if the caller has as many as it may.
    pub(super) fn place(&self, caller: &str, counted: Counted) -> Result<Place> {
        let (most, what) = match counted {
            Counted::Calls => (self.bounds.calls, "calls that change something"),
            Counted::Looks => (LOOKS, "calls that look"),
            Counted::Watches => (self.bounds.watches, "watches"),
        };
        let key = (caller.to_owned(), counted);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(key.clone()).or_default();
        if *count >= most {
            let text = format!("the caller has {most} {what} open, and may have no more at once");
            return Err(Error::new(ErrorKind::Overloaded, text).retry_after(AGAIN));
        }
        *count += 1;
        Ok(Place { key, open: Arc::clone(&self.open) })
    }
}

/// One of a caller's places, until it is dropped.
pub struct Place {
    key: (String, Counted),
    open: Open,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_places_of_its_own() {
        let counting = Counting::new(Bounds { calls: 1, watches: 2 });
        let call = counting.place("alice", Counted::Calls).unwrap();
        let refused = counting.place("alice", Counted::Calls).err().unwrap();
        assert_eq!((refused.kind(), refused.retry_delay()), (ErrorKind::Overloaded, Some(AGAIN)));
        let others = [("bob", Counted::Calls), ("alice", Counted::Watches), ("alice", Counted::Watches)];
        let held: Vec<_> = others.map(|(who, what)| counting.place(who, what).unwrap()).into();
        assert!(counting.place("alice", Counted::Watches).is_err());
        drop((call, held));
        assert!(counting.open.lock().unwrap().is_empty());
        assert!(counting.place("alice", Counted::Calls).is_ok());
    }
}
