//! Schedules that today's engine does not overcome: each kind with what is missing.

use super::road::{Call, Fault};
use super::schedules::{SCENARIOS, Schedule, Sequel};

/// The faults that random histories meet.
pub fn usual() -> Vec<Fault> {
    Fault::ALL.to_vec()
}

/// Seeds of histories that do not end well.
pub const HISTORIES: [u64; 0] = [];

/// Why a schedule is left out, if it is.
pub fn reason(schedule: &Schedule, _calls: &[Call]) -> Option<&'static str> {
    let dies = schedule.faults.values().any(|fault| fault.kills());
    let is_late = schedule.faults.values().any(|fault| matches!(fault, Fault::Late));
    let scenario = SCENARIOS[schedule.scenario].name;
    match (scenario, schedule.sequel) {
        ("scale", Sequel::Other) if dies => Some(
            "Scale writes the count to the cluster before the record: death in between loses whose it is",
        ),
        ("convert", Sequel::Teardown) if is_late && schedule.faults.len() > 1 => {
            Some("a create that arrives after the Teardown finds no record that knows it, and stays")
        }
        _ => None,
    }
}
