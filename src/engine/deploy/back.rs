//! Ends an operation that has failed or died: forward to what it stored, or back to the revision before.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::super::decide::{Choices, Recovered, Wanted};
use super::super::done::applied;
use super::super::lock::Lock;
use super::super::{Engine, look, stages, teardown};
use super::deploy_now;
use crate::artifacts::Target;
use crate::error::{Error, Result};
use crate::plan::{
    self, Back, ConflictPolicy, Decided, FailurePolicy, PrunePolicy, ReplicasPolicy, Revision,
};
use crate::record::{
    self, Applied, Cause, Head, HeadRef, NotPutBack, OperationKind, Phase, Record, Transition,
};

/// How long going back may take until its objects are written.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is said of an update that nobody has ended.
const STOPPED: &str = "the adapter that carried it out stopped before its end";

/// Takes an update back that has failed, under its own lock, and returns its failure.
///
/// Whoever finds the record before that is done goes the same way: the operation in it says where to. Where the way back
/// is refused for good, the update ends as one that is not taken back, and the record says why.
pub(super) async fn take_back(
    engine: &Engine,
    target: &Target,
    decided: Decided,
    lock: Lock,
    report: stages::Report,
    earlier: HeadRef,
) -> Error {
    let head = lock.record().head.with_inventory(report.inventory_before(&decided.plan));
    let record = Record { head, ..lock.record().clone() };
    let (number, deadline) = (earlier.number, Instant::now() + PATIENCE);
    warn!(revision = number, "the update failed, putting the revision before back");
    let applied = applied(&decided, &report, engine.clock.now());
    let template = decided.prepared.template;
    let listing = plan::listing(&report.failures);
    let component = report.failures.first().map(|(artifact, _)| artifact.component.clone());
    let failure = plan::first_failure(&template, report.failures)
        .unwrap_or_else(|| Error::internal("an update failed without a failure"));
    let back = Back {
        recovers: true,
        takes_back: report.stored.then(|| Cause::new(component, failure.message())),
        undone: undone(&record.head),
        doubted: decided.rendered.artifacts.objects().to_vec(),
        ..Back::default()
    };
    match put_back(engine, target, record, &earlier, back, deadline).await {
        Ok(()) => Error::rolled_back(failure, listing, number),
        Err(error) => {
            warn!(told = error.message(), context = ?error.context(), "the revision before was not put back");
            if plan::is_for_good(error.kind()) {
                let not_put_back = Some(NotPutBack::new(number, error.message()));
                let ended = Transition::Applied(Box::new(Applied { not_put_back, ..applied }));
                // If going back has begun, it has ended the operation itself.
                if let Err(error) = lock.release(&ended).await {
                    debug!(context = ?error.context(), "the update was ended by others");
                }
            }
            Error::not_rolled_back(failure, listing, number, &error)
        }
    }
}

/// Puts the revision before back: the current one was written whole, and has failed before it was ever ready.
pub(in super::super) async fn put_back_failed(
    engine: &Engine,
    target: &Target,
    record: Record,
    earlier: &HeadRef,
    cause: Cause,
    deadline: Instant,
) -> Result<()> {
    let Some(stored) = look::read_revision(engine, target, Some(earlier)).await? else {
        warn!(revision = earlier.number, "the revision that was to be put back cannot be read");
        let why = format!("somebody has changed or deleted Secret {}", earlier.secret);
        return drop_pledge(engine, &record, earlier, &why).await;
    };
    let (uid, current) = (record.uid.clone(), record.head.current.clone());
    let promises_still = |now: &Record| {
        let is_it = now.uid == uid && now.head.current == current;
        is_it && now.head.pledge.as_ref() == Some(earlier)
    };
    warn!(revision = earlier.number, "the update has failed, putting the revision before back");
    let undone = written_by(&record.head).collect();
    let back = Back { recovers: true, takes_back: Some(cause), undone, ..Back::default() };
    match Box::pin(go_back(engine, target, record, (earlier.number, stored), back, deadline)).await {
        Err(error) if plan::is_for_good(error.kind()) => {
            warn!(told = error.message(), context = ?error.context(), "the revision before was not put back");
            // Another update may have promised the same of itself.
            match look::read(engine, target).await?.filter(promises_still) {
                Some(now) => drop_pledge(engine, &now, earlier, error.message()).await,
                None => Ok(()),
            }
        }
        Err(error) => {
            let now = look::read(engine, target).await?;
            if let Some(now) = now.filter(promises_still) {
                note_delay(engine, &now, earlier.number, &error).await;
            }
            Err(error)
        }
        Ok(()) => Ok(()),
    }
}

/// Notes what somebody has to end before the revision can be put in force, which is tried again until then.
async fn note_delay(engine: &Engine, record: &Record, revision: u32, error: &Error) {
    let why = NotPutBack::for_now(revision, error.message());
    let is_noted = record.head.not_put_back.as_ref() == Some(&why);
    if !plan::waits_for_somebody(error.kind()) || is_noted {
        return;
    }
    warn!(revision, told = error.message(), "the revision cannot be put in force yet");
    if let Err(error) = engine.amend(record, &Transition::NotPutBack(why)).await {
        debug!(context = ?error.context(), "the record does not say so");
    }
}

/// Notes that a promise cannot be kept, as long as the record has it.
async fn drop_pledge(engine: &Engine, record: &Record, earlier: &HeadRef, why: &str) -> Result<()> {
    if record.head.pledge.as_ref() != Some(earlier) {
        return Ok(());
    }
    let dropped = Transition::NotPutBack(NotPutBack::new(earlier.number, why));
    engine.amend(record, &dropped).await.map(|_| ())
}

/// Deploys the earlier revision in the name of the operation that the record shows.
async fn put_back(
    engine: &Engine,
    target: &Target,
    record: Record,
    earlier: &HeadRef,
    back: Back,
    deadline: Instant,
) -> Result<()> {
    let stored = look::read_revision(engine, target, Some(earlier)).await?;
    let stored = stored.ok_or_else(|| record::unended(&target.name, std::slice::from_ref(earlier)))?;
    go_back(engine, target, record, (earlier.number, stored), back, deadline).await
}

async fn go_back(
    engine: &Engine,
    target: &Target,
    mut record: Record,
    (number, stored): (u32, Revision),
    back: Back,
    deadline: Instant,
) -> Result<()> {
    if record.head.current.as_ref().is_some_and(|current| current.number == number) {
        record.head = plan::restored(&record.head, &stored.rendered);
    }
    // Rolled back, what a Deploy was asked for was not done; a Scale is finished all the same.
    let dead = record.head.operation.as_ref().filter(|dead| dead.kind == OperationKind::Scale);
    let request = dead.and_then(|dead| dead.request.clone());
    let wanted = Recovered { request, ..Recovered::new(record, &stored, Some(number), back) };
    recover(engine, target, wanted, deadline).await
}

async fn recover(engine: &Engine, target: &Target, wanted: Recovered, deadline: Instant) -> Result<()> {
    let choices = Choices {
        create_namespace: false,
        prune: PrunePolicy::Keep,
        on_failure: FailurePolicy::Keep,
        conflicts: ConflictPolicy::default(),
        replicas: ReplicasPolicy::default(),
        plan_id: String::new(),
        waits_ready: false,
        validate_only: false,
        must_be_new: false,
        etag: String::new(),
        request: None,
        deadline,
    };
    let engine = &engine.finishing(&wanted.record);
    Box::pin(deploy_now(engine, target, Wanted::Recovered(Box::new(wanted)), &choices)).await.map(|_| ())
}

/// The operations whose objects go when the revision before is put back.
fn undone(head: &Head) -> Vec<String> {
    let begun = head.operation.iter().map(|operation| operation.id.clone());
    begun.chain(head.superseded.iter().cloned()).collect()
}

/// The operation that made the current revision.
fn written_by(head: &Head) -> impl Iterator<Item = String> {
    let wrote = |id: &&String| head.current.as_ref().is_some_and(|current| current.is_of(id));
    head.begun.iter().filter(wrote).cloned()
}

/// Finishes a Deploy or Scale that died: back to the revision before if that was its choice for a failure, else forward
/// to the revision it stored; back, too, if it stored none.
///
/// A first Deploy that never stored its revision is taken back; then there is no such deployment. An operation whose way
/// is refused for good ends where it is, and the record says why.
pub(in super::super) async fn adopt(
    engine: &Engine,
    target: &Target,
    record: Record,
    deadline: Instant,
) -> Result<Record> {
    match finish(engine, target, record.clone(), deadline).await {
        Err(error) => {
            // Its own try has written the record, and has put the dead operation back into it.
            let id = |record: &Record| record.head.operation.as_ref().map(|dead| dead.id.clone());
            let now = look::read(engine, target).await?;
            let Some(now) = now.filter(|now| now.uid == record.uid && id(now) == id(&record)) else {
                return Err(error);
            };
            if plan::is_for_good(error.kind()) {
                return abandon(engine, target, now, &error).await;
            }
            if let Some(wanted) = wanted(&now) {
                note_delay(engine, &now, wanted.number, &error).await;
            }
            Err(error)
        }
        Ok(record) => Ok(record),
    }
}

/// The revision that ends a dead operation.
fn wanted(record: &Record) -> Option<&HeadRef> {
    let dead = record.head.operation.as_ref()?;
    dead.back_to.as_ref().or(dead.revision.as_ref())
}

/// Ends a dead operation as one that has failed in part: nobody can finish it as things are.
async fn abandon(engine: &Engine, target: &Target, record: Record, why: &Error) -> Result<Record> {
    warn!(told = why.message(), context = ?why.context(), "the operation of a holder that died cannot be finished");
    let begun = record.head.operation.as_ref().and_then(|dead| dead.revision.clone());
    let stored = look::read_revision(engine, target, begun.as_ref()).await?;
    let not_put_back = wanted(&record).map(|wanted| NotPutBack::new(wanted.number, why.message()));
    let applied = Applied {
        inventory: record.head.inventory.clone(),
        revision: begun.filter(|_| stored.is_some()),
        complete: false,
        phase: Phase::Incomplete,
        refused: Vec::new(),
        untouched: Vec::new(),
        pledge: None,
        not_put_back,
        now: engine.clock.now(),
    };
    // What the dead holder has sent may still arrive.
    let ended = Transition::Doubted(Box::new(Transition::Applied(Box::new(applied))));
    engine.cluster.change(&record, &ended).await
}

/// Goes the way of a dead operation to its end.
async fn finish(engine: &Engine, target: &Target, record: Record, deadline: Instant) -> Result<Record> {
    let operation = record.head.operation.as_ref();
    let (back_to, begun) = operation
        .map(|operation| (operation.back_to.clone(), operation.revision.clone()))
        .unwrap_or_default();
    if let Some(earlier) = back_to
        && let Some(stored) = look::read_revision(engine, target, Some(&earlier)).await?
    {
        info!(revision = earlier.number, "putting the revision before back");
        let begun = look::read_revision(engine, target, begun.as_ref()).await?;
        let back = Back {
            recovers: true,
            takes_back: begun.is_some().then(|| Cause::new(None, STOPPED)),
            undone: undone(&record.head),
            doubted: begun.map(|begun| begun.rendered).unwrap_or_default(),
            ..Back::default()
        };
        go_back(engine, target, record, (earlier.number, stored), back, deadline).await?;
        return look::must_read(engine, target).await;
    }
    for candidate in record.head.candidates() {
        let Some(stored) = look::read_revision(engine, target, Some(&candidate)).await? else { continue };
        let back = Back { recovers: true, deletes_marked_only: true, ..Back::default() };
        if record.head.current.as_ref() == Some(&candidate) {
            // Whoever died was putting another one in the place of the current one, which has failed.
            if let Some(earlier) = record.head.being_put_back().cloned()
                && let Some(stored) = look::read_revision(engine, target, Some(&earlier)).await?
            {
                let begun = undone(&record.head);
                let undone = begun.into_iter().chain(written_by(&record.head)).collect();
                let back = Back { recovers: true, undone, ..Back::default() };
                go_back(engine, target, record, (earlier.number, stored), back, deadline).await?;
                return look::must_read(engine, target).await;
            }
            go_back(engine, target, record, (candidate.number, stored), back, deadline).await?;
        } else {
            // Rolled forward, what the dead operation was asked for is done.
            let dead = record.head.operation.as_ref();
            let is_of_it = dead.filter(|dead| dead.revision.as_ref() == Some(&candidate));
            let request = is_of_it.and_then(|dead| dead.request.clone());
            let wanted = Recovered { request, ..Recovered::new(record, &stored, None, back) };
            recover(engine, target, wanted, deadline).await?;
        }
        return look::must_read(engine, target).await;
    }
    if record.head.current.is_some() {
        return Err(record::unended(&target.name, &record.head.candidates()));
    }
    teardown::finish(engine, target, record, deadline).await?;
    Err(record::not_found(target))
}
