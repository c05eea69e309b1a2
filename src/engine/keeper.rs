//! The keeper: sees to what is left of every deployment, from what the cluster shows alone, so that it can die anywhere.
//!
//! There is no leader. Every duty is guarded by a uid or by a compare-and-swap, and every keeper picks the same pod.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{Instrument, debug, info, info_span, warn};

use super::patience::{Sighting, overdue};
use super::refusals::{Answers, Refusals};
use super::removal::Asked;
use super::{Engine, deploy, leftovers, look, removal, teardown};
use crate::artifacts::{
    DeploymentState, Form, HoldUp, Kind, ListedObject, ObjectName, ObjectRef, Observed, Target,
};
use crate::cluster::{RevisionDeletion, Snapshot};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{self, Duty};
use crate::record::{HeadRef, Phase, Record, Seen, Transition};

/// The first pause before a retry. It doubles with each failure.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a finished operation may take until its objects are gone.
const PATIENCE: Duration = Duration::from_secs(600);

/// What one task remembers of its own doing; if it dies, everything is only asked for again.
#[derive(Default)]
struct Memory {
    /// Removed objects that were asked to go, by uid.
    asked: BTreeMap<String, Asked>,
    /// The uids of earlier pods that were asked to go.
    replaced: BTreeSet<String>,
    /// What was refused, and when it is tried again.
    refusals: Refusals,
    /// What was last said about waiting.
    waits: Vec<String>,
}

/// What a task does next.
enum Next {
    /// Waits for a change, or until then.
    Wait(Option<Instant>),
    /// Ends: nothing is left to do.
    Rest,
}

/// Starts a task for every deployment that is called, until the adapter shuts down.
pub(super) fn start(engine: &Engine) {
    let own = engine.clone();
    let keeper = async move {
        loop {
            let called = tokio::select! {
                biased;
                () = own.shutdown.cancelled() => return,
                called = own.awake.called() => called,
            };
            for record in called {
                let span = info_span!("keeper", deployment = %record.name, namespace = %record.namespace);
                let engine = own.clone();
                own.tasks.spawn(async move { see_to(&engine, &record).await }.instrument(span));
            }
        }
    };
    engine.tasks.spawn(keeper);
}

/// Sees to a deployment until nothing is left to do, or the adapter shuts down.
async fn see_to(engine: &Engine, called_for: &Record) {
    let target = &called_for.target();
    let mut memory = Memory::default();
    let mut subscription = look::subscribe(engine, target, Some(called_for));
    let mut pause = PAUSE;
    let mut until = None;
    loop {
        let forever = Instant::now() + PATIENCE;
        let next = subscription.next(until.unwrap_or(forever).min(forever));
        let snapshot = tokio::select! {
            biased;
            () = engine.shutdown.cancelled() => return,
            snapshot = next => snapshot,
        };
        let done = match snapshot {
            // A duty may be cut off anywhere: whoever comes next sees what is left of it.
            Ok(Some(snapshot)) => tokio::select! {
                biased;
                () = engine.shutdown.cancelled() => return,
                done = Box::pin(step(engine, target, &snapshot, &mut memory)) => done,
            },
            // Nothing has changed: the time to ask again has come.
            Ok(None) => {
                subscription.replay();
                until = None;
                continue;
            }
            Err(error) => Err(error),
        };
        match done {
            Ok(Next::Wait(again)) => {
                pause = PAUSE;
                until = again;
            }
            Ok(Next::Rest) => return,
            Err(error) => {
                debug!(context = ?error.context(), "a duty failed, trying again");
                tokio::select! {
                    biased;
                    () = engine.shutdown.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = LONGEST_PAUSE.min(pause * 2);
                subscription.replay();
                until = None;
            }
        }
    }
}

/// Does what a snapshot asks for, and says what comes next.
async fn step(engine: &Engine, target: &Target, snapshot: &Snapshot, memory: &mut Memory) -> Result<Next> {
    let Some(record) = &snapshot.head else { return missing(engine, target).await };
    if engine.awake.is_stale(record) {
        return Ok(Next::Wait(None));
    }
    let mut observed = Cow::Borrowed(&snapshot.observed);
    let mut duties = plan::duties(record, &observed, engine.unrenewed_for(record));
    let overdue = overdue(engine, record, &duties.held_up, Sighting::Watched).await;
    if !overdue.held_up.is_empty() {
        observed = Cow::Owned(observed.with_overdue(overdue.held_up));
        duties = plan::duties(record, &observed, engine.unrenewed_for(record));
    }
    if duties.waits != memory.waits {
        for why in &duties.waits {
            info!(why, "waits");
        }
        memory.waits.clone_from(&duties.waits);
    }
    if duties.now.is_empty() && plan::is_at_rest(record) && engine.awake.rest(record) {
        return Ok(Next::Rest);
    }
    let mut again = duties.again_in.into_iter().chain(overdue.again_in).min();
    // One that fails keeps nobody from the others.
    let mut failure = None;
    for duty in duties.now {
        match Box::pin(carry_out(engine, record, &observed, duty, memory)).await {
            Ok(pause) => again = again.into_iter().chain(pause).min(),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    Ok(Next::Wait(again.map(|again| Instant::now() + again)))
}

/// Ends a task whose watches show no record: they may only lag behind a record that was just made.
async fn missing(engine: &Engine, target: &Target) -> Result<Next> {
    let called_for = engine.awake.moment(target);
    let record = look::read(engine, target).await?;
    let is_there = record.is_some();
    // Without its labels no watch shows it: a write puts them back.
    if let Some(record) = record.filter(Record::lacks_marks) {
        engine.amend(&record, &Transition::Gone { objects: Vec::new() }).await?;
    }
    // A deployment of the same name may have been created, and called for, since the look.
    if is_there || !engine.awake.forget(target, called_for.as_ref()) {
        return Ok(Next::Wait(Some(Instant::now() + PAUSE)));
    }
    Ok(Next::Rest)
}

/// Carries one duty out; returns when to ask again if the watches would not show its effect.
async fn carry_out(
    engine: &Engine,
    record: &Record,
    observed: &Observed,
    duty: Duty,
    memory: &mut Memory,
) -> Result<Option<Duration>> {
    let target = &record.target();
    match duty {
        Duty::Adopt | Duty::TearDown => finish(engine, target).await.map(|()| Some(PAUSE)),
        Duty::Replace(pods) => replace(engine, record, pods, memory).await,
        Duty::ClearLeft(components) => {
            let cleared = leftovers::clear_beside(engine, record, &components);
            Box::pin(cleared).await.map(|()| Some(PAUSE))
        }
        Duty::Delete(removals) => {
            let Memory { asked, refusals, .. } = memory;
            removal::delete(engine, record, observed, &removals, asked, refusals).await
        }
        Duty::DeleteLate(late) => delete_late(engine, target, observed, late).await.map(|()| None),
        Duty::ClearDoubts(operations) => clear_doubts(engine, record, operations).await.map(|()| None),
        Duty::DropRevisions(revisions) => drop_revisions(engine, record, revisions, memory).await,
        Duty::ForgetRefused(accepted) => {
            let answered = Transition::DeletesAnswered { refused: Vec::new(), accepted };
            engine.amend(record, &answered).await.map(|_| None)
        }
        Duty::Settle(seen) => settle(engine, record, seen).await.map(|()| None),
        Duty::TakeBack(earlier, _) => {
            let now = engine.clock.elapsed();
            let key = format!("back to {}", earlier.secret);
            // Each try writes the record, so what the watches show next must not bring the next one.
            if memory.refusals.is_due(&key, now) {
                let Err(error) = Box::pin(take_back(engine, record, &earlier)).await else {
                    return Ok(Some(PAUSE));
                };
                debug!(context = ?error.context(), "going back failed, trying again");
                memory.refusals.refused(&key, engine.clock.elapsed());
            }
            Ok(memory.refusals.again_in(std::iter::once(key), now))
        }
    }
}

/// Finishes the operation of a holder that died, as a fresh look shows it.
async fn finish(engine: &Engine, target: &Target) -> Result<()> {
    let Some(record) = look::read(engine, target).await? else { return Ok(()) };
    // The watch may have missed a renewal, or another keeper may have come first.
    let Some(operation) = &record.head.operation else { return Ok(()) };
    if record.terminating || operation.remaining(engine.unrenewed_for(&record)) > Duration::ZERO {
        return Ok(());
    }
    info!(holder = operation.holder, kind = ?operation.kind, "finishing the operation of a holder that died");
    let deadline = Instant::now() + PATIENCE;
    let finished = if record.is_deleting() {
        Box::pin(teardown::finish(engine, target, record, deadline)).await
    } else {
        Box::pin(deploy::adopt(engine, target, record, deadline)).await.map(|_| ())
    };
    ended_by_others(finished)
}

/// Takes it for done if another keeper or a call took it over, or it ended with the deployment.
fn ended_by_others(finished: Result<()>) -> Result<()> {
    let is_anothers = |error: &Error| {
        matches!(error.kind(), ErrorKind::OperationInProgress | ErrorKind::DeploymentNotFound)
    };
    match finished {
        Err(error) if is_anothers(&error) => Ok(()),
        other => other,
    }
}

/// Puts the revision before back, if a fresh look shows, too, that the current one has failed.
async fn take_back(engine: &Engine, record: &Record, earlier: &HeadRef) -> Result<()> {
    let Some((now, duties)) = seen_afresh(engine, record).await? else { return Ok(()) };
    let cause = duties.into_iter().find_map(|duty| match duty {
        Duty::TakeBack(again, cause) if again == *earlier => Some(cause),
        _ => None,
    });
    let Some(cause) = cause else { return Ok(()) };
    let (target, deadline) = (&record.target(), Instant::now() + PATIENCE);
    ended_by_others(deploy::put_back_failed(engine, target, now, earlier, cause, deadline).await)
}

/// What a look asks for that shows the record and its objects together; `None` if the record has changed since.
async fn seen_afresh(engine: &Engine, record: &Record) -> Result<Option<(Record, Vec<Duty>)>> {
    let now = look::read(engine, &record.target()).await?;
    let Some(now) = now.filter(|now| now.head == record.head) else { return Ok(None) };
    let observed = look::look_at(engine, &now).await?;
    let mut held_up = plan::duties(&now, &observed, engine.unrenewed_for(&now)).held_up;
    // What was written from outside is compared by those who tell it.
    held_up.retain(|one| !matches!(one, HoldUp::Drifted { .. }));
    let overdue = overdue(engine, &now, &held_up, Sighting::Looked).await;
    let observed = observed.with_overdue(overdue.held_up);
    let duties = plan::duties(&now, &observed, engine.unrenewed_for(&now));
    Ok(Some((now, duties.now)))
}

/// Deletes pods of an earlier revision, once each; returns when to try those again that could not be deleted.
async fn replace(
    engine: &Engine,
    record: &Record,
    pods: Vec<(ObjectRef, Form)>,
    memory: &mut Memory,
) -> Result<Option<Duration>> {
    let now = engine.clock.elapsed();
    let mut answers = Answers::default();
    let uids: Vec<String> = pods.iter().map(|(_, form)| form.uid.clone()).collect();
    for (reference, form) in pods {
        if memory.replaced.contains(&form.uid) || !memory.refusals.is_due(&form.uid, now) {
            continue;
        }
        // What was seen of a pod that has changed since is no reason to delete it: it may have become ready.
        match engine.cluster.delete_form(&record.namespace, &reference, &form).await {
            Ok(true) => {
                answers.accepted(reference, Some(form.uid.clone()));
                memory.replaced.insert(form.uid);
            }
            Ok(false) => {}
            Err(error) => {
                memory.refusals.refused(&form.uid, now);
                answers.refused(engine, reference, Some(form.uid), &error);
            }
        }
    }
    answers.note(engine, record).await?;
    Ok(memory.refusals.again_in(uids.into_iter(), now))
}

/// Deletes objects that no inventory has, if a fresh look at the record says so, too: a record is always written before
/// the objects that it lists. An operation that begins meanwhile and takes such an object over writes it.
async fn delete_late(
    engine: &Engine,
    target: &Target,
    observed: &Observed,
    late: Vec<(ObjectRef, Form)>,
) -> Result<()> {
    let Some(now) = look::read(engine, target).await? else { return Ok(()) };
    let still = plan::late(&now, observed);
    for (reference, form) in late.iter().filter(|late| still.contains(late)) {
        warn!(%reference, "deleting an object that a dead operation has created late, or a lost record has left");
        engine.cluster.delete_form(&target.namespace, reference, form).await?;
    }
    Ok(())
}

/// Looks by name for what nobody may watch, deletes it, and forgets the operations that were in doubt.
async fn clear_doubts(engine: &Engine, record: &Record, operations: Vec<String>) -> Result<()> {
    let target = record.target();
    for member in record.head.inventory.iter().filter(|member| member.may_still_arrive()) {
        let (namespace, reference) = (&target.namespace, &member.reference);
        let found = engine.cluster.find_ours(namespace, &target.name, reference).await?;
        let is_late = |seen: &ListedObject| seen.operation.as_ref().is_some_and(|id| operations.contains(id));
        if let Some(seen) = found.filter(is_late) {
            let form = Form::new(seen.uid, Some(seen.version));
            engine.cluster.delete_form(namespace, reference, &form).await?;
        }
    }
    engine.amend(record, &Transition::DoubtsCleared { operations }).await.map(|_| ())
}

/// Deletes revisions that are no longer kept, and drops the entries of those that are gone. Returns when to ask again for
/// the others, which nobody may watch.
async fn drop_revisions(
    engine: &Engine,
    record: &Record,
    revisions: Vec<HeadRef>,
    memory: &mut Memory,
) -> Result<Option<Duration>> {
    let now = engine.clock.elapsed();
    let (mut gone, mut answers) = (Vec::new(), Answers::default());
    let names: Vec<String> = revisions.iter().map(|revision| revision.secret.clone()).collect();
    for revision in revisions {
        if !memory.refusals.is_due(&revision.secret, now) {
            continue;
        }
        let name = ObjectName::new(revision.secret.clone());
        let name = name.map_err(|_| Error::internal(format!("{} is no name", revision.secret)))?;
        let reference = ObjectRef::new(Kind::Secret, name);
        match engine.cluster.delete_revision(record, &revision).await {
            Ok(RevisionDeletion::Gone) => gone.push(revision),
            Ok(RevisionDeletion::Terminating(finalizers)) => {
                memory.refusals.refused(&revision.secret, now);
                answers.held(reference, None, &finalizers, engine.clock.now());
            }
            Err(error) => {
                memory.refusals.refused(&revision.secret, now);
                answers.refused(engine, reference, None, &error);
            }
        }
    }
    let record = engine.amend(record, &Transition::RevisionsDropped { revisions: gone }).await?;
    answers.note(engine, &record).await?;
    Ok(memory.refusals.again_in(names.into_iter(), now))
}

/// Writes down a state that was seen, and why.
///
/// The watch of records and those of objects do not show one moment: what was deployed is ready, or was, once they say so;
/// a failure, and whatever contradicts what was recorded of it since, is written down only as a look shows it.
async fn settle(engine: &Engine, record: &Record, seen: Seen) -> Result<()> {
    let head = &record.head;
    let is_new = head.phase == Phase::Progressing || head.recorded.state == DeploymentState::Deploying;
    let seen =
        if is_new && seen.state.is_ready() { Some(seen) } else { settled_afresh(engine, record).await? };
    let Some(seen) = seen else { return Ok(()) };
    let state = seen.state;
    let settled = Transition::Settled { seen: Some(seen), gone: BTreeSet::new() };
    if engine.amend(record, &settled).await?.head.recorded.state == state {
        info!(state = state.as_str(), "state recorded");
    }
    Ok(())
}

/// What a look shows that is still to be written down; `None` if nothing is.
async fn settled_afresh(engine: &Engine, record: &Record) -> Result<Option<Seen>> {
    let duties = seen_afresh(engine, record).await?.map(|(_, duties)| duties).unwrap_or_default();
    Ok(duties.into_iter().find_map(|duty| match duty {
        Duty::Settle(seen) => Some(seen),
        _ => None,
    }))
}
