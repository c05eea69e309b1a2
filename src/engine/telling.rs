//! Tells what became of operations in Events on the deployment's record: afterwards, beside everything, and at most once.
//!
//! No operation waits for it or fails by it, and nothing depends on it: whoever wants to know how a deployment stands asks
//! its record.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::{Instrument, debug};

use super::Engine;
use crate::artifacts::{Namespace, ObjectRef};
use crate::cluster::Told;
use crate::error::{Error, ErrorKind, contract_word};
use crate::record::{Operation, Record};

/// Events that are under way at a time; what would be more is not told.
const AT_ONCE: usize = 16;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// What was told so short a time ago, or may not be told, is not tried again.
const AGAIN: Duration = Duration::from_secs(600);
/// How much of that is remembered.
const LIMIT: usize = 1_000;

/// What was told, and where it may not be.
#[derive(Debug)]
pub(super) struct Telling {
    slots: Arc<Semaphore>,
    told: Mutex<BTreeMap<(String, String), Instant>>,
    forbidden: Mutex<BTreeMap<Namespace, Instant>>,
}

impl Default for Telling {
    fn default() -> Self {
        Self { slots: Arc::new(Semaphore::new(AT_ONCE)), told: Mutex::default(), forbidden: Mutex::default() }
    }
}

impl Telling {
    /// Whether this is to be told; from then on it is not for a while.
    fn begins(&self, record: &Record, told: &Told, now: Instant) -> bool {
        let is_recent = |since: &Instant| now.saturating_duration_since(*since) < AGAIN;
        let forbidden = self.forbidden.lock().unwrap_or_else(PoisonError::into_inner);
        if forbidden.get(&record.namespace).is_some_and(is_recent) {
            return false;
        }
        let mut known = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, since| is_recent(since));
        if known.len() >= LIMIT {
            known.pop_first();
        }
        let key = (format!("{} {}", record.uid, told.reason), told.of.clone());
        let is_new = !known.contains_key(&key);
        if is_new {
            known.insert(key, now);
        }
        is_new
    }

    /// Notes that a namespace's Events may not be created.
    fn forbid(&self, namespace: &Namespace, now: Instant) {
        self.forbidden.lock().unwrap_or_else(PoisonError::into_inner).insert(namespace.clone(), now);
    }
}

/// Tells it in a task of its own.
fn tell(engine: &Engine, record: &Record, told: Told) {
    if !engine.telling.begins(record, &told, engine.clock.elapsed()) {
        return;
    }
    let Ok(slot) = Arc::clone(&engine.telling.slots).try_acquire_owned() else {
        debug!(reason = told.reason, "not told, too much is being told");
        return;
    };
    let (own, record) = (engine.clone(), record.clone());
    let work = async move {
        let telling = own.cluster.tell(&record, &own.settings.holder, &told);
        match tokio::time::timeout(PATIENCE, telling).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.kind() == ErrorKind::ClusterForbidden => {
                own.cluster.log_missing_right(&record.namespace, "create");
                own.telling.forbid(&record.namespace, own.clock.elapsed());
            }
            Ok(Err(error)) => debug!(reason = told.reason, context = ?error.context(), "not told"),
            Err(_) => debug!(reason = told.reason, "not told in time"),
        }
        drop(slot);
    };
    engine.tasks.spawn(Box::pin(work).in_current_span());
}

/// What kind of Deploy has ended.
pub(super) struct Deploy {
    /// The number of its revision.
    pub(super) revision: u32,
    /// Whether there was no such deployment before.
    pub(super) is_first: bool,
    /// The revision that it repeats.
    pub(super) rollback_of: Option<u32>,
}

/// Tells how a Deploy, a Rollback or a way back has ended; `record` is the record as it began.
pub(super) fn deployed(engine: &Engine, record: &Record, deploy: &Deploy, failure: Option<&Error>) {
    let number = deploy.revision;
    let (reason, message) = match (failure, deploy.rollback_of) {
        // Somebody else has it now, and tells.
        (Some(error), _) if error.kind() == ErrorKind::OperationInProgress => return,
        (Some(error), _) if error.metadata().contains_key("rolled_back_to") => {
            ("DeployFailed", format!("revision {number} failed and was taken back{}", because(error)))
        }
        (Some(error), _) if error.kind() == ErrorKind::ApplyIncomplete => (
            "DeployFailed",
            format!(
                "revision {number} was not carried out whole{}; the next Deploy repairs it",
                because(error)
            ),
        ),
        (Some(error), _) if deploy.is_first => {
            ("DeployFailed", format!("the first Deploy failed and is taken back{}", because(error)))
        }
        (Some(error), _) => {
            ("DeployFailed", format!("revision {number} was not carried out{}", because(error)))
        }
        (None, Some(earlier)) => {
            let taken_back = record.head.revisions.iter().max_by_key(|entry| entry.revision.number);
            let cause = taken_back.and_then(|entry| entry.cause.as_ref());
            let why = cause.map(|cause| format!(", since it failed: {}", cause.why)).unwrap_or_default();
            ("RolledBack", format!("revision {earlier} is in force again, as revision {number}{why}"))
        }
        (None, None) if deploy.is_first => ("Deployed", format!("created as revision {number}")),
        (None, None) => ("Deployed", format!("updated to revision {number}")),
    };
    tell(engine, record, told(engine, reason, failure.is_some(), message, generation(record)));
}

/// Tells that a Deploy has deleted what was to be deleted, and nothing else.
pub(super) fn pruned(engine: &Engine, record: &Record) {
    let message = "what the template no longer has was asked to go again".to_owned();
    tell(engine, record, told(engine, "Pruned", false, message, record.version.as_str().to_owned()));
}

/// Tells how a Scale has ended; `record` is the record afterwards.
pub(super) fn scaled(engine: &Engine, record: &Record, counts: &[(String, i32)], failure: Option<&Error>) {
    let counts: Vec<String> =
        counts.iter().map(|(workload, count)| format!("{workload} to {count}")).collect();
    let (reason, message) = match failure {
        None => ("Scaled", format!("scaled {}", counts.join(", "))),
        Some(error) => ("ScaleFailed", format!("not everything was scaled{}", because(error))),
    };
    tell(
        engine,
        record,
        told(engine, reason, failure.is_some(), message, record.version.as_str().to_owned()),
    );
}

/// Tells that a Teardown has begun.
pub(super) fn tearing_down(engine: &Engine, record: &Record) {
    let (goes, stays) = (record.head.inventory.len(), record.head.retained.len());
    let message = format!("a teardown has begun: {goes} objects go, {stays} volume claims stay");
    tell(engine, record, told(engine, "TearingDown", false, message, generation(record)));
}

/// Tells that an operation was taken over whose holder died.
pub(super) fn taken_over(engine: &Engine, record: &Record, dead: &Operation) {
    let message = format!("{:?} of {} was not renewed any more and was taken over", dead.kind, dead.holder);
    tell(engine, record, told(engine, "TakenOver", true, message, dead.id.clone()));
}

/// Tells that an object which is to go could not be deleted.
pub(super) fn not_deleted(engine: &Engine, record: &Record, object: &ObjectRef, failure: &Error) {
    let cause = failure.deciding_kind();
    // What passes is tried again in a moment.
    if cause.retryable() {
        return;
    }
    let message = format!("{object} is to go and was refused to be deleted: {}", contract_word(&cause));
    tell(engine, record, told(engine, "PruneRefused", true, message, object.to_string()));
}

fn told(engine: &Engine, reason: &'static str, is_warning: bool, message: String, of: String) -> Told {
    let by = |by: &Arc<str>| format!(" (for {by})");
    let message = message + &engine.by.as_ref().map(by).unwrap_or_default();
    Told { reason, is_warning, message, of, time: engine.clock.now() }
}

/// Which operation of this record it was.
fn generation(record: &Record) -> String {
    record.head.generation.to_string()
}

/// The reason of a failure in the words of the contract, and the object that it is about; no text of anybody's.
fn because(error: &Error) -> String {
    let mut text = format!(": {}", contract_word(&error.kind()));
    if error.deciding_kind() != error.kind() {
        text.push_str(&format!(", caused by {}", contract_word(&error.deciding_kind())));
    }
    if let Some((kind, name)) = error.object() {
        text.push_str(&format!(" ({kind} {name})"));
    }
    text
}
