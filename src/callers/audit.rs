//! Tells in the log who has changed what: a line before the first write, and one afterwards.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bounds::Place;
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

macro_rules! line {
    ($caller:expr, $of:expr, $outcome:expr, $text:literal) => {
        tracing::info!(
            target: "audit",
            caller = $caller,
            method = $of.method,
            namespace = %$of.target.namespace,
            deployment = %$of.target.name,
            request_id = $of.request_id,
            outcome = $outcome,
            $text
        )
    };
}

/// Writes the line of a call that is refused before anything is written.
pub(super) fn refused(caller: &str, of: &Audited, error: &Error) {
    line!(caller, of, contract_word(&error.kind()), "call refused");
}

/// One call that changes something: it takes its caller's place until nobody works at it any more.
pub(super) struct Call {
    caller: String,
    of: Audited,
    state: Mutex<State>,
    _place: Option<Place>,
}

#[derive(Default)]
struct State {
    /// Whether a task works at it.
    is_under_way: bool,
    /// Whether its caller has left meanwhile, with or without an answer.
    has_left: bool,
    /// What came of the work.
    outcome: Option<String>,
}

impl Call {
    /// Writes the line before the first write.
    pub(super) fn begin(caller: &str, of: &Audited, place: Option<Place>) -> Arc<Self> {
        line!(caller, of, "BEGUN", "call begins");
        let (caller, of, state) = (caller.to_owned(), of.clone(), Mutex::default());
        Arc::new(Self { caller, of, state, _place: place })
    }

    /// Its caller, who waits.
    pub(super) fn waiting(self: &Arc<Self>) -> Waiting {
        Waiting { call: Arc::clone(self), is_answered: false }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The caller waits no more; `outcome`: what it was answered.
    fn left(&self, outcome: Option<String>) {
        let mut state = self.state();
        if state.is_under_way {
            state.has_left = true;
            line!(self.caller, self.of, "CALLER_LEFT", "call left, the work goes on");
            return;
        }
        let outcome = outcome.or_else(|| state.outcome.take());
        line!(self.caller, self.of, outcome.as_deref().unwrap_or("CALLER_LEFT"), "call ended");
    }

    /// A task has ended.
    fn worked(&self, outcome: String) {
        let mut state = self.state();
        state.is_under_way = false;
        if state.has_left {
            line!(self.caller, self.of, outcome, "work ended that its caller has left");
        }
        state.outcome = Some(outcome);
    }
}

fn outcome<T>(result: &Result<T>) -> String {
    result.as_ref().map_or_else(|error| contract_word(&error.kind()), |_| "OK".to_owned())
}

/// The caller of a call, until it has its answer.
pub(super) struct Waiting {
    call: Arc<Call>,
    is_answered: bool,
}

impl Waiting {
    /// Writes the line afterwards; where the work goes on, that comes with its end.
    pub(super) fn answered<T>(mut self, result: &Result<T>) {
        self.is_answered = true;
        self.call.left(Some(outcome(result)));
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.is_answered {
            self.call.left(None);
        }
    }
}

/// A task that works at a call; dropped without an end, nobody knows what came of it.
pub struct Task(Option<Arc<Call>>);

impl Task {
    pub(super) fn of(call: Option<Arc<Call>>) -> Self {
        if let Some(call) = &call {
            call.state().is_under_way = true;
        }
        Self(call)
    }

    /// The work has ended.
    pub fn ended<T>(mut self, result: &Result<T>) {
        if let Some(call) = self.0.take() {
            call.worked(outcome(result));
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call.worked("UNKNOWN".to_owned());
        }
    }
}
