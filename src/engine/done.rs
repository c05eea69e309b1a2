//! What a Deploy answers, and how it ends in its record.

use jiff::Timestamp;

use super::stages;
use crate::artifacts::Change;
use crate::diagnostic::Diagnostic;
use crate::plan::Decided;
use crate::record::{Applied, Phase, Record, RequestOutcome};

/// How a Deploy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was no such deployment before.
    Created,
    /// It was changed.
    Updated,
    /// It was as the template says already; nothing was written.
    Unchanged,
}

/// What a Deploy did, or, if it was only to be checked, would do.
pub struct Done {
    /// The record; `None`: a deployment that is not there was only to be checked.
    pub record: Option<Record>,
    /// What was done to each object.
    pub changes: Vec<Change>,
    /// What was lost, changed or assumed.
    pub diagnostics: Vec<Diagnostic>,
    /// What the API server warned of.
    pub warnings: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
}

/// The answer to a request that was carried out before: its outcome, and the deployment as it is now.
pub(super) fn repeated(record: Record, outcome: RequestOutcome) -> Done {
    Done {
        record: Some(record),
        changes: Vec::new(),
        diagnostics: Vec::new(),
        warnings: Vec::new(),
        outcome: match outcome {
            RequestOutcome::Created => Outcome::Created,
            RequestOutcome::Updated | RequestOutcome::Scaled => Outcome::Updated,
            RequestOutcome::Unchanged => Outcome::Unchanged,
        },
    }
}

/// The answer to a Deploy that has ended well, with the uids that are known now.
pub(super) fn done(record: Record, decided: Decided, outcome: Outcome) -> Done {
    let diagnostics = decided.diagnostics();
    let mut changes = decided.plan.changes;
    if outcome != Outcome::Unchanged {
        know(&record, &mut changes);
    }
    Done { record: Some(record), changes, diagnostics, warnings: Vec::new(), outcome }
}

/// Adds the uids of what was made.
pub(super) fn know(record: &Record, changes: &mut [Change]) {
    for change in changes {
        let member = record.head.member(&change.reference);
        change.uid = member.and_then(|member| member.uid.clone()).or(change.uid.take());
    }
}

/// How a Deploy ends, whole or not.
pub(super) fn applied(decided: &Decided, report: &stages::Report, now: Timestamp) -> Applied {
    let complete = report.failures.is_empty();
    Applied {
        inventory: report.inventory(&decided.plan),
        revision: report.stored.then(|| decided.revision.clone()),
        complete,
        phase: if complete { Phase::Progressing } else { Phase::Incomplete },
        refused: report.refused(now),
        untouched: report.untouched(&decided.plan),
        pledge: None,
        not_put_back: None,
        now,
    }
}
