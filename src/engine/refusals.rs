//! Deletes that the cluster refuses: noted in the record, and tried again after a pause that doubles.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Engine;
use crate::artifacts::ObjectRef;
use crate::cluster::Terminating;
use crate::error::{Error, Result};
use crate::record::{Record, RefusedObject, Transition, foreign_finalizers};

/// The pause before what was refused is tried again: it doubles to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How deletes were answered.
#[derive(Default)]
pub(super) struct Answers {
    refused: Vec<RefusedObject>,
    accepted: Vec<(ObjectRef, Option<String>)>,
}

impl Answers {
    /// Notes that an object goes or is gone.
    pub(super) fn accepted(&mut self, reference: ObjectRef, uid: Option<String>) {
        self.accepted.push((reference, uid));
    }

    /// Notes that an object could not be deleted.
    pub(super) fn refused(
        &mut self,
        engine: &Engine,
        reference: ObjectRef,
        uid: Option<String>,
        error: &Error,
    ) {
        self.stays(engine, reference, uid, &why(error));
    }

    /// Notes why an object is not deleted.
    pub(super) fn stays(&mut self, engine: &Engine, reference: ObjectRef, uid: Option<String>, why: &str) {
        self.refused.push(RefusedObject::delete(reference, uid, why, engine.clock.now()));
    }

    /// Notes what holds an object that is marked, if that is somebody else's finalizer.
    pub(super) fn going(&mut self, engine: &Engine, going: &Terminating) {
        let uid = Some(going.uid.clone());
        let since = going.since.unwrap_or_else(|| engine.clock.now());
        self.held(going.reference.clone(), uid, &going.finalizers, since);
    }

    /// The same, of finalizers alone.
    pub(super) fn held(
        &mut self,
        reference: ObjectRef,
        uid: Option<String>,
        finalizers: &[String],
        since: jiff::Timestamp,
    ) {
        let finalizers = foreign_finalizers(finalizers);
        if !finalizers.is_empty() {
            let why = format!("held by finalizer {}", finalizers.join(", "));
            self.refused.push(RefusedObject::delete(reference, uid, &why, since));
        }
    }

    /// Writes into the record what is refused, and drops from it what is not any more.
    pub(super) async fn note(self, engine: &Engine, record: &Record) -> Result<Record> {
        if self.refused.is_empty() && record.head.refused.is_empty() {
            return Ok(record.clone());
        }
        let Self { refused, accepted } = self;
        // One that goes and is held by a finalizer is both.
        let is_refused = |one: &(ObjectRef, Option<String>)| {
            refused.iter().any(|refused| (&refused.reference, &refused.uid) == (&one.0, &one.1))
        };
        let accepted = accepted.into_iter().filter(|one| !is_refused(one)).collect();
        engine.amend(record, &Transition::DeletesAnswered { refused, accepted }).await
    }
}

/// Why something is refused: the sentence for the caller, without what was tried.
pub(super) fn why(error: &Error) -> String {
    let message = error.message();
    message.split_once("): ").map_or(message, |(_, why)| why).to_owned()
}

/// What was refused lately, and until when each is left alone.
#[derive(Default)]
pub(super) struct Refusals(BTreeMap<String, (u32, Instant)>);

impl Refusals {
    /// Whether it may be tried now.
    pub(super) fn is_due(&self, key: &str, now: Instant) -> bool {
        self.0.get(key).is_none_or(|(_, until)| *until <= now)
    }

    /// Notes that it was refused.
    pub(super) fn refused(&mut self, key: &str, now: Instant) {
        let (times, until) = self.0.entry(key.to_owned()).or_insert((0, now));
        *until = now + LONGEST_PAUSE.min(PAUSE * 2_u32.saturating_pow(*times));
        *times += 1;
    }

    /// When the first of these is to be tried again; what was never refused is none of them.
    pub(super) fn again_in(&self, keys: impl Iterator<Item = String>, now: Instant) -> Option<Duration> {
        let left = keys.filter_map(|key| self.0.get(&key));
        left.map(|(_, until)| until.saturating_duration_since(now).max(Duration::from_millis(1))).min()
    }
}
