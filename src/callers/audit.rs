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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::artifacts::{DeploymentName, Namespace};
    use crate::error::ErrorKind;

    /// What a course of events writes into the log: the outcome and the text of each line.
    fn lines(course: impl FnOnce(&Arc<Call>)) -> Vec<(String, String)> {
        #[derive(Clone, Default)]
        struct Log(Arc<Mutex<Vec<u8>>>);
        impl Write for Log {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let log = Log::default();
        let written = log.clone();
        let subscriber =
            tracing_subscriber::fmt().json().with_writer(move || written.clone()).with_target(true).finish();
        tracing::subscriber::with_default(subscriber, || {
            let target = Target {
                namespace: Namespace::new("shop").unwrap(),
                name: DeploymentName::new("web").unwrap(),
            };
            let of = Audited { method: "Deploy", target, request_id: String::new() };
            course(&Call::begin("alice", &of, None));
        });
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let line = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!((&line["target"], &line["fields"]["caller"]), (&"audit".into(), &"alice".into()));
            let field = |name: &str| line["fields"][name].as_str().unwrap().to_owned();
            (field("outcome"), field("message"))
        };
        text.lines().map(line).collect()
    }

    fn pairs(lines: &[(&str, &str)]) -> Vec<(String, String)> {
        lines.iter().map(|(outcome, text)| ((*outcome).to_owned(), (*text).to_owned())).collect()
    }

    const BEGUN: (&str, &str) = ("BEGUN", "call begins");
    const LEFT: (&str, &str) = ("CALLER_LEFT", "call left, the work goes on");

    #[test]
    fn who_waits_gets_one_line_with_the_answer() {
        let told = lines(|call| {
            let waiting = call.waiting();
            Task::of(Some(Arc::clone(call))).ended(&Ok(()));
            waiting.answered(&Err::<(), _>(Error::new(ErrorKind::WaitTimeout, "late")));
        });
        assert_eq!(told, pairs(&[BEGUN, ("WAIT_TIMEOUT", "call ended")]));
    }

    #[test]
    fn work_that_its_caller_has_left_tells_its_own_end() {
        let told = lines(|call| {
            let waiting = call.waiting();
            let task = Task::of(Some(Arc::clone(call)));
            drop(waiting);
            task.ended(&Err::<(), _>(Error::new(ErrorKind::FieldConflict, "again")));
        });
        let end = ("FIELD_CONFLICT", "work ended that its caller has left");
        assert_eq!(told, pairs(&[BEGUN, LEFT, end]));
    }

    #[test]
    fn a_caller_that_is_answered_while_the_work_goes_on_has_left_it() {
        let told = lines(|call| {
            let waiting = call.waiting();
            let task = Task::of(Some(Arc::clone(call)));
            waiting.answered(&Ok(()));
            task.ended(&Ok(()));
        });
        assert_eq!(told, pairs(&[BEGUN, LEFT, ("OK", "work ended that its caller has left")]));
    }

    #[test]
    fn work_that_is_given_up_says_that_its_end_is_not_known() {
        let told = lines(|call| {
            let waiting = call.waiting();
            let task = Task::of(Some(Arc::clone(call)));
            drop(waiting);
            drop(task);
        });
        assert_eq!(told, pairs(&[BEGUN, LEFT, ("UNKNOWN", "work ended that its caller has left")]));
    }

    #[test]
    fn a_caller_that_leaves_after_the_work_has_its_outcome_written() {
        let told = lines(|call| {
            let waiting = call.waiting();
            Task::of(Some(Arc::clone(call))).ended(&Ok(()));
            drop(waiting);
        });
        assert_eq!(told, pairs(&[BEGUN, ("OK", "call ended")]));
    }
}
