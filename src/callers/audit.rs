//! Tells in the log who has changed what: a line before the first write, and one afterwards.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bounds::Place;
use crate::artifacts::Target;
use crate::error::{Error, Result};

/// The outcome of a call that has succeeded.
const OK: &str = "OK";

/// What an audit line is about; no value of a template is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    /// The method.
    pub method: &'static str,
    /// The namespace; empty: the request names none that can be.
    pub namespace: String,
    /// The deployment; empty: the request names none that can be, and it is not known what its template would be called.
    pub deployment: String,
    /// What its caller has named the request; empty: nothing.
    pub request_id: String,
}

impl Audited {
    fn target(&mut self, target: &Target) {
        self.namespace = target.namespace.to_string();
        self.deployment = target.name.to_string();
    }
}

macro_rules! line {
    ($caller:expr, $of:expr, $outcome:expr, $text:literal) => {
        tracing::info!(
            target: "audit",
            caller = $caller,
            method = $of.method,
            namespace = $of.namespace,
            deployment = $of.deployment,
            request_id = $of.request_id,
            outcome = $outcome,
            $text
        )
    };
}

/// What the audit tells of one call that changes something, from the moment at which it is known what it asks for until
/// its caller has its answer and nobody works at it any more. What is done within it may be several changes; the outcome
/// is that of the call.
pub(super) struct Ledger {
    caller: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    of: Audited,
    /// Whether the line before the first write is written.
    is_begun: bool,
    /// How many tasks work at it.
    tasks: usize,
    /// Whether its caller has left meanwhile, with or without an answer.
    has_left: bool,
    /// What came of the work.
    outcome: Option<String>,
}

impl Ledger {
    pub(super) fn open(caller: &str, of: Audited) -> Arc<Self> {
        let state = Mutex::new(State { of, ..State::default() });
        Arc::new(Self { caller: caller.to_owned(), state })
    }

    /// Its caller, who waits.
    pub(super) fn waiting(self: &Arc<Self>) -> Waiting {
        Waiting { ledger: Arc::clone(self), is_answered: false }
    }

    /// Says which deployment it is about.
    pub(super) fn is_about(&self, target: &Target) {
        self.state().of.target(target);
    }

    /// Writes the line before the first write, once.
    pub(super) fn begins(&self) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.is_begun, true) {
            line!(self.caller, state.of, "BEGUN", "call begins");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The caller waits no more; `outcome`: what it was answered.
    fn left(&self, outcome: Option<String>) {
        let mut state = self.state();
        if !state.is_begun {
            // Nothing was changed: a success has only looked.
            if let Some(outcome) = outcome.filter(|outcome| outcome != OK) {
                line!(self.caller, state.of, outcome, "call refused");
            }
            return;
        }
        if state.tasks > 0 {
            state.has_left = true;
            line!(self.caller, state.of, "CALLER_LEFT", "call left before its work has ended");
            return;
        }
        let outcome = outcome.or_else(|| state.outcome.take());
        line!(self.caller, state.of, outcome.as_deref().unwrap_or("CALLER_LEFT"), "call ended");
    }

    /// A task has ended.
    fn worked(&self, outcome: String) {
        let mut state = self.state();
        state.tasks = state.tasks.saturating_sub(1);
        if state.has_left && state.tasks == 0 {
            line!(self.caller, state.of, outcome, "work ended that its caller has left");
        }
        state.outcome = Some(outcome);
    }
}

/// One change of a call: it takes its caller's place until nobody works at it any more.
pub(super) struct Change {
    ledger: Arc<Ledger>,
    _place: Option<Place>,
}

impl Change {
    pub(super) fn of(ledger: &Arc<Ledger>, place: Option<Place>) -> Arc<Self> {
        Arc::new(Self { ledger: Arc::clone(ledger), _place: place })
    }
}

fn outcome<T>(result: &Result<T>) -> String {
    result.as_ref().map_or_else(Error::word, |_| OK.to_owned())
}

/// The caller of a call, until it has its answer.
pub(super) struct Waiting {
    ledger: Arc<Ledger>,
    is_answered: bool,
}

impl Waiting {
    /// Writes the line afterwards; where the work goes on, that comes with its end.
    pub(super) fn answered<T, E>(mut self, result: &Result<T, E>, reason: impl FnOnce(&E) -> String) {
        self.is_answered = true;
        let outcome = result.as_ref().map_or_else(reason, |_| OK.to_owned());
        self.ledger.left(Some(outcome));
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.is_answered {
            self.ledger.left(None);
        }
    }
}

/// A task that works at a call; dropped without an end, nobody knows what came of it.
pub struct Task(Option<Arc<Change>>);

impl Task {
    pub(super) fn of(change: Option<Arc<Change>>) -> Self {
        if let Some(change) = &change {
            change.ledger.state().tasks += 1;
        }
        Self(change)
    }

    /// The work has ended.
    pub fn ended<T>(mut self, result: &Result<T>) {
        if let Some(change) = self.0.take() {
            change.ledger.worked(outcome(result));
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(change) = self.0.take() {
            change.ledger.worked("UNKNOWN".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::artifacts::{DeploymentName, Namespace};
    use crate::error::ErrorKind;

    /// A call that has begun, and its change.
    struct Begun(Arc<Ledger>, Arc<Change>);

    impl Begun {
        fn waiting(&self) -> Waiting {
            self.0.waiting()
        }

        fn task(&self) -> Task {
            Task::of(Some(Arc::clone(&self.1)))
        }
    }

    /// What a course of events writes into the log: the outcome and the text of each line.
    fn lines(course: impl FnOnce(&Begun)) -> Vec<(String, String)> {
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
            let ledger = Ledger::open("alice", Audited { method: "Deploy", ..Audited::default() });
            ledger.is_about(&target);
            ledger.begins();
            let change = Change::of(&ledger, None);
            course(&Begun(ledger, change));
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
    const LEFT: (&str, &str) = ("CALLER_LEFT", "call left before its work has ended");

    #[test]
    fn who_waits_gets_one_line_with_the_answer() {
        let told = lines(|call| {
            let waiting = call.waiting();
            call.task().ended(&Ok(()));
            waiting.answered(&Err::<(), _>(Error::new(ErrorKind::WaitTimeout, "late")), Error::word);
        });
        assert_eq!(told, pairs(&[BEGUN, ("WAIT_TIMEOUT", "call ended")]));
    }

    #[test]
    fn a_call_of_several_changes_begins_once_and_ends_as_it_is_answered() {
        let told = lines(|call| {
            let waiting = call.waiting();
            // The first change fails, and the call goes on.
            call.task().ended(&Err::<(), _>(Error::new(ErrorKind::EtagMismatch, "there is one")));
            call.0.begins();
            call.task().ended(&Ok(()));
            waiting.answered(&Ok(()), Error::word);
        });
        assert_eq!(told, pairs(&[BEGUN, ("OK", "call ended")]));
    }

    #[test]
    fn a_call_that_is_refused_before_it_begins_has_one_line() {
        let refused = |result: Result<()>| {
            lines(|_| {
                let of = Audited { method: "Deploy", ..Audited::default() };
                Ledger::open("alice", of).waiting().answered(&result, Error::word);
            })
        };
        let wrong = refused(Err(Error::new(ErrorKind::FieldInvalid, "wrong")));
        assert_eq!(wrong, pairs(&[BEGUN, ("FIELD_INVALID", "call refused")]));
        assert_eq!(refused(Ok(())), pairs(&[BEGUN]), "it has only looked");
    }

    #[test]
    fn work_that_its_caller_has_left_tells_its_own_end() {
        let told = lines(|call| {
            let waiting = call.waiting();
            let task = call.task();
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
            let task = call.task();
            waiting.answered(&Ok(()), Error::word);
            task.ended(&Ok(()));
        });
        assert_eq!(told, pairs(&[BEGUN, LEFT, ("OK", "work ended that its caller has left")]));
    }

    #[test]
    fn work_that_is_given_up_says_that_its_end_is_not_known() {
        let told = lines(|call| {
            let waiting = call.waiting();
            let task = call.task();
            drop(waiting);
            drop(task);
        });
        assert_eq!(told, pairs(&[BEGUN, LEFT, ("UNKNOWN", "work ended that its caller has left")]));
    }

    #[test]
    fn a_caller_that_leaves_after_the_work_has_its_outcome_written() {
        let told = lines(|call| {
            let waiting = call.waiting();
            call.task().ended(&Ok(()));
            drop(waiting);
        });
        assert_eq!(told, pairs(&[BEGUN, ("OK", "call ended")]));
    }
}
