//! Schedules that today's engine does not overcome: each kind with what is missing.

use super::scenarios::{SCENARIOS, Sequel};
use super::schedules::Schedule;

/// Why a schedule does not end well, if that is known of its kind.
pub fn reason(schedule: &Schedule) -> Option<&'static str> {
    let dies = schedule.faults.values().any(|fault| fault.kills());
    match (SCENARIOS[schedule.scenario].name, schedule.sequel) {
        ("image-taken-back", Sequel::Again | Sequel::Nobody) if dies => Some(
            "who dies when he has taken the form of pods back leaves no word that pods of the other's may run",
        ),
        _ => None,
    }
}
