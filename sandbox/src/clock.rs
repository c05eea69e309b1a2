//! Tells the time as objects carry it.

use jiff::Timestamp;
use std::sync::Arc;

/// What time it is, as whoever made the sandbox says.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time in so many seconds.
    pub fn after(&self, seconds: i64) -> String {
        let second = (self.0)().as_second().saturating_add(seconds);
        Timestamp::from_second(second).unwrap_or_default().to_string()
    }
}
