//! Which deployments are seen to: whoever reads or writes a record with something left to do wakes the keeper for it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Engine;
use crate::artifacts::Target;
use crate::plan;
use crate::record::{Moment, Record, Standing};

/// The deployments that are seen to, each by one task.
#[derive(Debug, Default)]
pub(super) struct Awake {
    state: Mutex<State>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// What each task must have seen before it may find that nothing is left to do.
    moments: BTreeMap<Target, Moment>,
    /// The records of those that have no task yet.
    called: Vec<Record>,
}

/// Has the keeper see to what is left of a deployment, as it was just read or written.
///
/// Does nothing if nothing is left, or if a task sees to it already.
pub fn wake(engine: &Engine, record: &Record) {
    if !plan::is_at_rest(record) && !engine.shutdown.is_cancelled() {
        engine.awake.call(record);
    }
}

impl Awake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, record: &Record) {
        let mut state = self.state();
        if state.moments.insert(record.target(), record.moment()).is_none() {
            state.called.push(record.clone());
            self.bell.notify_one();
        }
    }

    /// Waits until deployments were called that have no task yet; their records as they were then.
    pub(super) async fn called(&self) -> Vec<Record> {
        loop {
            let called = std::mem::take(&mut self.state().called);
            if !called.is_empty() {
                return called;
            }
            self.bell.notified().await;
        }
    }

    /// Whether a record is older than what its task must have seen.
    pub(super) fn is_stale(&self, record: &Record) -> bool {
        let state = self.state();
        state.moments.get(&record.target()).is_some_and(|moment| moment.standing(record) == Standing::Earlier)
    }

    /// Ends a deployment's task, unless somebody has written the record since it was seen so; says whether it did.
    pub(super) fn rest(&self, record: &Record) -> bool {
        let mut state = self.state();
        let target = record.target();
        let moment = state.moments.get(&target);
        let is_newest = moment.is_none_or(|moment| moment.standing(record) != Standing::Earlier);
        if is_newest {
            state.moments.remove(&target);
        }
        is_newest
    }

    /// What a deployment's task must have seen.
    pub(super) fn moment(&self, target: &Target) -> Option<Moment> {
        self.state().moments.get(target).cloned()
    }

    /// Ends the task of a deployment that is gone, unless it was called for since; says whether it did.
    pub(super) fn forget(&self, target: &Target, called_for: Option<&Moment>) -> bool {
        let mut state = self.state();
        let is_last_call = state.moments.get(target) == called_for;
        if is_last_call {
            state.moments.remove(target);
        }
        is_last_call
    }
}
