//! The operation that holds a deployment, and for how long.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{HeadRef, Request};

/// The longest lease that others wait for.
const LONGEST_LEASE: Duration = Duration::from_secs(600);

/// Which operation holds a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationKind {
    /// Objects of a template are being written.
    Deploy,
    /// Replica counts are being set, controllers made.
    Scale,
    /// Everything is being deleted.
    Teardown,
}

/// The operation that holds a deployment until its lease ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Random, unique.
    pub id: String,
    /// What it does.
    pub kind: OperationKind,
    /// Grows with every takeover.
    pub epoch: u64,
    /// The adapter that runs it.
    pub holder: String,
    /// When it started.
    pub started: Timestamp,
    /// When the lease ends by the holder's own clock; what others see of it is that a renewal changes it.
    pub lease_until: Timestamp,
    /// How long each renewal lasts, in milliseconds.
    pub lease_millis: u64,
    /// The revision it writes.
    pub revision: Option<HeadRef>,
    /// The request that it carries out, if its caller has named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// The revision that is put back if the operation fails or dies; `None`: what was written stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_to: Option<HeadRef>,
    /// The revision that its own repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_of: Option<u32>,
    /// The caller that it was begun for, as it is shown; `None`: nobody is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl Operation {
    /// How long its holder may be silent before others take over; the longest lease is ten minutes, whatever is
    /// written.
    pub fn lease(&self) -> Duration {
        LONGEST_LEASE.min(Duration::from_millis(self.lease_millis))
    }

    /// How long others must still leave it alone, for an observer that has seen no renewal for this long; zero once it
    /// may be taken over.
    ///
    /// The lease is judged by one monotonic clock, the observer's own: two machines' wall clocks are never compared.
    pub fn remaining(&self, unrenewed_for: Duration) -> Duration {
        self.lease().saturating_sub(unrenewed_for)
    }
}
