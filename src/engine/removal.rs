//! Deletes removed objects, drops their entries once they were seen gone, and remembers what is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use super::dependents::{self, Owners, Question};
use super::refusals::{Answers, Refusals};
use super::{Engine, stages, telling};
use crate::artifacts::{Kind, ObjectRef, Observed, Target};
use crate::cluster::{Deletion, Terminating};
use crate::error::{Error, Result};
use crate::plan::{Removal, waits};
use crate::record::{Record, Transition};

/// How long a caller waits for deleted objects to go as well.
const PATIENCE: Duration = Duration::from_secs(3);
/// When a Secret that is still there is looked at again: the pause doubles to the longest.
const AGAIN: Duration = Duration::from_secs(1);
const LONGEST_AGAIN: Duration = Duration::from_secs(30);

/// A delete that was taken, of an object that is still there.
pub(super) struct Asked {
    /// How often it was asked for.
    times: u32,
    /// When the cluster is asked why what the object owns does not go before it.
    question: Question,
}

/// What became of deletes that were asked for.
#[derive(Default)]
struct DeleteResults {
    /// The uids of objects that are gone.
    gone: BTreeSet<String>,
    /// Those that are still there.
    going: Vec<Terminating>,
    /// Those of them that are gone or go without anything that holds them.
    accepted: Vec<(ObjectRef, String)>,
    /// Those that could not be deleted, and why.
    failures: Vec<(ObjectRef, String, Error)>,
}

/// Deletes by uid what the template no longer has; Secrets, which pods of the former kind may still read, are left to
/// the keeper.
///
/// Entries leave the inventory when seen gone; what takes longer than a moment is the keeper's to see.
pub(super) async fn prune(
    engine: &Engine,
    target: &Target,
    record: Record,
    removals: &[Removal],
) -> Result<Record> {
    let now: Vec<_> = removals.iter().filter(|one| !waits(one)).flat_map(Removal::objects).collect();
    if now.is_empty() {
        return Ok(record);
    }
    let mut results = delete_each(engine, target, now).await;
    results.tell_failures(engine, &record);
    if !results.failures.is_empty() {
        let answers = results.answers(engine);
        // What the call says the record says from now on.
        answers.note(engine, &record).await?;
        let kinds =
            results.failures.iter().map(|(reference, _, error)| format!("{reference}: {:?}", error.kind()));
        let failed = kinds.collect::<Vec<_>>().join(", ");
        let (_, _, first) = results.failures.swap_remove(0);
        return Err(Error::not_deleted(first, failed));
    }
    let uids: Vec<String> = results.going.iter().map(|going| going.uid.clone()).collect();
    let deadline = Instant::now() + PATIENCE;
    let going =
        engine.cluster.wait_gone(&target.namespace, &target.name, results.going.clone(), deadline).await;
    // Their deletes were accepted; the keeper sees them go, when the cluster can be asked again.
    let left = going.unwrap_or_else(|error| {
        debug!(context = ?error.context(), "nobody knows yet what is gone");
        results.going
    });
    let is_left = |uid: &String| left.iter().any(|going| going.uid == *uid);
    results.gone.extend(uids.into_iter().filter(|uid| !is_left(uid)));
    let record = drop_entries(engine, &record, removals, &results.gone).await?;
    let mut answers = Answers::default();
    for (reference, uid) in results.accepted {
        answers.accepted(reference, Some(uid));
    }
    left.iter().for_each(|going| answers.going(engine, going));
    answers.note(engine, &record).await
}

/// Deletes objects that an operation left to be deleted, and drops the entries of those that are gone.
///
/// What was asked to go and is still shown is waited for; what is shown no more is asked for again, so that only the
/// API server's own word makes an entry go. What is refused is remembered, and tried again after a pause that doubles.
/// Returns when to look again at that, and at Secrets, which nobody may watch.
pub(super) async fn delete(
    engine: &Engine,
    record: &Record,
    observed: &Observed,
    removals: &[Removal],
    asked: &mut BTreeMap<String, Asked>,
    refusals: &mut Refusals,
) -> Result<Option<Duration>> {
    let now = engine.clock.elapsed();
    let is_due = |reference: &ObjectRef, uid: &String| {
        (!asked.contains_key(uid) || observed.has(reference.kind, uid) != Some(true))
            && refusals.is_due(uid, now)
    };
    let objects = removals.iter().flat_map(Removal::objects);
    let due: Vec<_> = objects.filter(|(reference, uid)| is_due(reference, uid)).collect();
    let results = delete_each(engine, &record.target(), due).await;
    results.tell_failures(engine, record);
    let mut again = None;
    for going in &results.going {
        let first = || Asked { times: 0, question: Question::first(now) };
        let asked = asked.entry(going.uid.clone()).or_insert_with(first);
        if going.reference.kind == Kind::Secret {
            let pause = LONGEST_AGAIN.min(AGAIN * 2_u32.saturating_pow(asked.times));
            again = Some(again.map_or(pause, |again: Duration| again.min(pause)));
        }
        asked.times += 1;
    }
    for (_, uid, _) in &results.failures {
        refusals.refused(uid, now);
    }
    let record = drop_entries(engine, record, removals, &results.gone).await?;
    let record = results.answers(engine).note(engine, &record).await?;
    again = again.into_iter().chain(ask(engine, &record, observed, removals, asked).await?).min();
    let tried = removals.iter().flat_map(Removal::objects).map(|(_, uid)| uid);
    Ok(again.into_iter().chain(refusals.again_in(tried, now)).min())
}

/// Asks why the pods of controllers that are going do not go before them; returns when to ask again.
async fn ask(
    engine: &Engine,
    record: &Record,
    observed: &Observed,
    removals: &[Removal],
    asked: &mut BTreeMap<String, Asked>,
) -> Result<Option<Duration>> {
    let now = engine.clock.elapsed();
    let is_there = |(reference, uid): &(ObjectRef, String)| {
        reference.kind.is_controller() && observed.has(reference.kind, uid) == Some(true)
    };
    let (mut due, mut is_late, mut next) = (Vec::new(), true, None);
    for (reference, uid) in removals.iter().flat_map(Removal::objects).filter(is_there) {
        // One that the cluster refuses to delete keeps its pods by right.
        let Some(Asked { question, .. }) = asked.get_mut(&uid) else { continue };
        if question.at() <= now {
            is_late &= question.is_late();
            *question = question.again(now);
            due.push((reference, uid));
        }
        next = next.into_iter().chain([question.at() - now]).min();
    }
    if !due.is_empty() {
        dependents::ask(engine, record, Owners::Controllers(&due), is_late).await?;
    }
    Ok(next)
}

impl DeleteResults {
    /// How each of these deletes was answered, for the record.
    fn answers(&self, engine: &Engine) -> Answers {
        let mut answers = Answers::default();
        for (reference, uid) in &self.accepted {
            answers.accepted(reference.clone(), Some(uid.clone()));
        }
        self.going.iter().for_each(|going| answers.going(engine, going));
        for (reference, uid, error) in &self.failures {
            answers.refused(engine, reference.clone(), Some(uid.clone()), error);
        }
        answers
    }
}

impl DeleteResults {
    fn tell_failures(&self, engine: &Engine, record: &Record) {
        for (object, _, failure) in &self.failures {
            telling::not_deleted(engine, record, object, failure);
        }
    }
}

async fn delete_each(engine: &Engine, target: &Target, objects: Vec<(ObjectRef, String)>) -> DeleteResults {
    let mut results = DeleteResults::default();
    for (reference, uid, deletion) in stages::delete_each(engine, target, objects, None).await {
        match deletion {
            Ok(Deletion::Gone | Deletion::Replaced) => {
                results.accepted.push((reference, uid.clone()));
                results.gone.insert(uid);
            }
            Ok(Deletion::Terminating(going)) => {
                results.accepted.push((reference, uid));
                results.going.push(going);
            }
            Err(error) => results.failures.push((reference, uid, error)),
        }
    }
    results
}

/// Drops the entries that are gone: a controller's with the Pod that it may not have taken over.
async fn drop_entries(
    engine: &Engine,
    record: &Record,
    removals: &[Removal],
    gone: &BTreeSet<String>,
) -> Result<Record> {
    let is_gone = |removals: &&Removal| removals.objects().all(|(_, uid)| gone.contains(&uid));
    let gone = removals.iter().filter(is_gone).map(|removals| removals.uid.clone()).collect();
    engine.amend(record, &Transition::Settled { seen: None, gone }).await
}
