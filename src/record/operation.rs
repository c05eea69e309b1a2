//! The operation that holds a deployment, and for how long.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::HeadRef;

/// How far the clocks of two adapters may be apart.
const CLOCK_SKEW: Duration = Duration::from_secs(5);

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
    /// When others may take over unless it is renewed.
    pub lease_until: Timestamp,
    /// How long each renewal lasts, in milliseconds.
    pub lease_millis: u64,
    /// The revision it writes.
    pub revision: Option<HeadRef>,
}

impl Operation {
    /// How long others must still leave it alone; zero once it may be taken over.
    pub fn remaining(&self, now: Timestamp) -> Duration {
        // A lease shorter than the skew is a choice of somebody who has one clock.
        let skew = CLOCK_SKEW.min(Duration::from_millis(self.lease_millis));
        let end = self.lease_until.checked_add(skew).unwrap_or(self.lease_until);
        Duration::try_from(end.duration_since(now)).unwrap_or(Duration::ZERO)
    }
}
