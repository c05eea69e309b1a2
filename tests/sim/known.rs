//! Schedules that today's engine does not overcome: each kind with what is missing.

use super::road::{Call, Fault};
use super::schedules::Schedule;

/// The faults that random histories meet.
pub fn usual() -> Vec<Fault> {
    Fault::ALL.to_vec()
}

/// Seeds of histories that do not end well.
pub const HISTORIES: [u64; 0] = [];

/// Why a schedule is left out, if it is.
pub fn reason(_schedule: &Schedule, _calls: &[Call]) -> Option<&'static str> {
    None
}
