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
pub fn reason(schedule: &Schedule, calls: &[Call]) -> Option<&'static str> {
    let dies = schedule.faults.values().any(|fault| fault.kills());
    // Beyond the calls of the undisturbed run nobody knows what a fault meets.
    let may_create = |at: &usize| calls.get(*at).is_none_or(|call| call.method == "PATCH");
    let is_late = schedule.faults.iter().any(|(at, fault)| *fault == Fault::Late && may_create(at));
    let scenario = SCENARIOS[schedule.scenario].name;
    match (scenario, schedule.sequel) {
        ("scale", Sequel::Other) if dies => Some(
            "Scale writes the count to the cluster before the record: death in between loses whose it is",
        ),
        ("on-failure-ready", Sequel::Other | Sequel::Scale) if dies => Some(
            "whoever comes before the promise is kept finds the failed update in force, which is a third end",
        ),
        (_, Sequel::Teardown) if is_late => {
            Some("a create that arrives after the Teardown finds no record that knows it, and stays")
        }
        (_, Sequel::Other) if is_late && dies => {
            Some("a create that arrives when everybody is at rest is deleted by the next Deploy alone")
        }
        _ => None,
    }
}
