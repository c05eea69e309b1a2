//! Tells in the log who has changed what: a line before the first write, and one afterwards.

use crate::artifacts::Target;
use crate::error::{Error, Result, contract_word};

/// What an audit line is about; no value of a template is in it.
#[derive(Clone, Debug)]
pub struct Audited {
    /// The method.
    pub method: &'static str,
    /// The deployment.
    pub target: Target,
    /// What its caller has named the request; empty: nothing.
    pub request_id: String,
}

/// One mutating call; dropped without an end, its caller has left and the work goes on.
pub(super) struct Audit<'a> {
    caller: &'a str,
    of: &'a Audited,
    is_ended: bool,
}

macro_rules! line {
    ($audit:expr, $outcome:expr, $text:literal) => {
        tracing::info!(
            target: "audit",
            caller = $audit.caller,
            method = $audit.of.method,
            namespace = %$audit.of.target.namespace,
            deployment = %$audit.of.target.name,
            request_id = $audit.of.request_id,
            outcome = $outcome,
            $text
        )
    };
}

impl<'a> Audit<'a> {
    /// Writes the line before the first write.
    pub(super) fn begin(caller: &'a str, of: &'a Audited) -> Self {
        let audit = Self { caller, of, is_ended: false };
        line!(audit, "BEGUN", "call begins");
        audit
    }

    /// Writes the line of a call that is refused before anything is written.
    pub(super) fn refused(caller: &'a str, of: &'a Audited, error: &Error) {
        let audit = Self { caller, of, is_ended: true };
        line!(audit, contract_word(&error.kind()), "call refused");
    }

    /// Writes the line afterwards.
    pub(super) fn end<T>(mut self, result: &Result<T>) {
        self.is_ended = true;
        let outcome = result.as_ref().map_or_else(|error| contract_word(&error.kind()), |_| "OK".to_owned());
        line!(self, outcome, "call ended");
    }
}

impl Drop for Audit<'_> {
    fn drop(&mut self) {
        if !self.is_ended {
            line!(self, "CALLER_LEFT", "call left, the work goes on");
        }
    }
}
