//! How long this process has not seen an operation renewed: what a lease is judged by.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::artifacts::Target;
use crate::record::Record;

/// Operations that are kept in sight; more would mean that records are made faster than leases end.
const LIMIT: usize = 10_000;

/// What a renewal, or another operation, changes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Turn {
    uid: String,
    generation: u64,
    id: Option<String>,
    epoch: u64,
    lease_until: Option<Timestamp>,
}

/// The turn of an operation, or, once it has ended, of the doubts that are left by it and by those it has taken over.
fn turn(record: &Record) -> Option<Turn> {
    let operation = record.head.operation.as_ref();
    if operation.is_none() && record.head.doubts().next().is_none() {
        return None;
    }
    Some(Turn {
        uid: record.uid.clone(),
        generation: record.head.generation,
        id: operation.map(|operation| operation.id.clone()),
        epoch: operation.map_or(0, |operation| operation.epoch),
        lease_until: operation.map(|operation| operation.lease_until),
    })
}

/// When each operation under way was first seen in its present form, by this process's own monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Sights(Mutex<BTreeMap<Target, (Turn, Instant)>>);

impl Sights {
    /// Notes a record as it was just read, and says how long it was not seen renewed: zero at the first sight.
    pub(super) fn unrenewed_for(&self, record: &Record, now: Instant) -> Duration {
        let mut sights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(turn) = turn(record) else {
            sights.remove(&record.target());
            return Duration::ZERO;
        };
        if let Some((seen, since)) = sights.get(&record.target())
            && *seen == turn
        {
            return now.saturating_duration_since(*since);
        }
        if sights.len() >= LIMIT {
            // Forgetting a sight makes its lease begin anew: it can only be waited for longer.
            sights.pop_first();
        }
        sights.insert(record.target(), (turn, now));
        Duration::ZERO
    }

    /// Forgets a deployment that is gone.
    pub(super) fn forget(&self, target: &Target) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(target);
    }
}
