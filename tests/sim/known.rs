//! Schedules that today's engine does not overcome: each kind with what is missing.

use super::road::{Call, Fault};
use super::scenarios::{SCENARIOS, Sequel};
use super::schedules::Schedule;

/// The faults that random histories meet.
pub fn usual() -> Vec<Fault> {
    Fault::ALL.to_vec()
}

/// How far a fault moves the calls that come after it, at the most.
const SHIFT: usize = 4;

/// Seeds of histories that do not end well.
pub const HISTORIES: [u64; 0] = [];

/// Why a schedule is left out, if it is.
pub fn reason(schedule: &Schedule, calls: &[Call]) -> Option<&'static str> {
    let late = schedule.faults.iter().filter(|(_, fault)| **fault == Fault::Late);
    // Beyond the calls of the undisturbed run nobody knows what a fault meets, and behind another fault only about.
    let met = |at: usize| -> Vec<Option<&Call>> {
        let is_first = schedule.faults.range(..at).next().is_none();
        let about = if is_first { at..=at } else { at.saturating_sub(SHIFT)..=at + SHIFT };
        about.map(|at| calls.get(at)).collect()
    };
    let mut late = late.flat_map(|(at, _)| met(*at));
    let creates = |call: Option<&Call>| call.is_none_or(|call| call.method == "PATCH");
    // What the other template does not have: bare Pods, and the database.
    let is_removed = |call: &Call| call.path.starts_with("pods/") || call.path.contains("/db");
    // What the template that crashes has alone.
    let is_of_failed = |call: &Call| call.path.starts_with("pods/cache");
    // The write that ends the update.
    let ends = |call: &Call| call.method == "PUT" && call.path.starts_with("configmaps/");
    let mut lost = schedule.faults.iter().filter(|(_, fault)| **fault == Fault::LoseAnswer);
    let is_lost = lost.any(|(at, _)| calls.get(*at).is_none_or(ends));
    let dies = schedule.faults.values().any(|fault| fault.kills());
    match (SCENARIOS[schedule.scenario].name, schedule.sequel) {
        ("on-failure-ready", Sequel::Other | Sequel::Scale) if dies => Some(
            "whoever comes before the promise is kept finds the failed update in force, which is a third end",
        ),
        ("on-failure-ready", _) if late.any(|call| creates(call) && call.is_none_or(is_of_failed)) => Some(
            "a create of the failed update that arrives when everybody is at rest is the next Deploy's, too",
        ),
        ("on-failure-ready", _) if is_lost => Some(
            "who does not hear that its update is written, while its promise is kept elsewhere, is told of that operation",
        ),
        (_, Sequel::Teardown) if late.any(creates) => {
            Some("a create that arrives after the Teardown finds no record that knows it, and stays")
        }
        (_, Sequel::Other) if late.any(|call| creates(call) && call.is_none_or(is_removed)) => {
            Some("a create that arrives when everybody is at rest is deleted by the next Deploy alone")
        }
        _ => None,
    }
}
