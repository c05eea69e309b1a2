//! The clock: wall time for records and answers, a monotonic one for leases and deadlines.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

/// Where time comes from; cheap to clone.
#[derive(Clone)]
pub struct Clock {
    wall: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Clock {
    /// The machine's own clock.
    pub fn system() -> Self {
        Self::new(Timestamp::now)
    }

    /// A clock whose wall time somebody else decides, for simulations.
    pub fn new(wall: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { wall: Arc::new(wall) }
    }

    /// The wall time: written into records and answers, and never compared with another machine's.
    pub fn now(&self) -> Timestamp {
        (self.wall)()
    }

    /// The monotonic time: what leases, limits and deadlines are measured by.
    pub fn elapsed(&self) -> Instant {
        Instant::now()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Clock")
    }
}
