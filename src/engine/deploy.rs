//! Deploy: the lock, the stages, and then what ends it well or takes it back.

mod back;

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::awake::wake;
use super::decide::{Choices, Wanted, decide};
use super::done::{Done, Outcome, applied, done, repeated};
use super::lock::Lock;
use super::rehearsal::{checked, settled};
use super::requests::{self, Known};
use super::{Engine, allowed, look, removal, stages, teardown, telling};
use crate::artifacts::{Action, Artifact, Change, Stage, Target};
use crate::callers::{Ask, Deed};
use crate::cluster;
use crate::error::{Error, ErrorKind, Refusal, Result};
use crate::plan::{self, Decided, Prepared, PrunePolicy};
use crate::record::{
    self, Applied, Head, Operation, OperationKind, Record, RequestEntry, RequestOutcome, Transition, Work,
};
use crate::template::Template;

pub(super) use back::{adopt, put_back_failed};

/// How long a caller who hears of a failure waits for deleted objects to go as well.
const PATIENCE: Duration = Duration::from_secs(3);

/// Brings the deployment to what the template says, in a task of its own.
///
/// A name that is taken, a lost lock: nothing is written. A first Deploy that fails takes back what it made; an
/// update that fails in part is APPLY_INCOMPLETE and repaired by the next.
pub async fn deploy(engine: &Engine, target: &Target, prepared: Prepared, choices: Choices) -> Result<Done> {
    bring_about(engine, target, Wanted::Template(Box::new(prepared)), choices).await
}

/// Deploys a stored revision again, as a new one, in a task of its own; 0: the newest good one below the current.
///
/// Fails as a Deploy does, and with REVISION_NOT_FOUND. A name that was taken since is found before anything is written.
pub async fn rollback(engine: &Engine, target: &Target, number: u32, choices: Choices) -> Result<Done> {
    bring_about(engine, target, Wanted::Earlier(number), choices).await
}

async fn bring_about(engine: &Engine, target: &Target, wanted: Wanted, choices: Choices) -> Result<Done> {
    let (target, deadline) = (target.clone(), choices.deadline);
    let work = |own: Engine| async move {
        // Its state is too large to be handed from stack to stack.
        let work = Box::pin(deploy_now(&own, &target, wanted, &choices));
        let (result, warnings) = cluster::collecting(work).await;
        result.map(|done| Done { warnings, ..done })
    };
    engine.detached(deadline, work).await
}

async fn deploy_now(engine: &Engine, target: &Target, mut wanted: Wanted, choices: &Choices) -> Result<Done> {
    // Where a watch shows no such deployment, the lock itself finds out whether that is true.
    let is_template = matches!(wanted, Wanted::Template(_));
    let is_bound = !choices.etag.is_empty() || !choices.plan_id.is_empty();
    let may_believe = is_template && !is_bound && !choices.validate_only;
    let mut believed = may_believe && engine.cluster.shows_none(target);
    if let Wanted::Template(prepared) = &mut wanted {
        // What is checked or bound to a plan is decided at once.
        prepared.looks_back =
            choices.validate_only || !choices.plan_id.is_empty() || prepared.may_find_claims();
    }
    loop {
        // 1. What is there, and what has to happen to it.
        let is_read = !believed && !matches!(wanted, Wanted::Recovered(_));
        let mut record = if is_read { look::read(engine, target).await? } else { None };
        if let Some(named) = choices.request.as_ref().filter(|_| !choices.validate_only) {
            record = match requests::known(engine, target, record, named, true, choices.deadline).await? {
                Known::Answered(record, outcome) => {
                    if matches!(wanted, Wanted::Earlier(_)) {
                        // It may have been another caller's.
                        let rights = allowed::of_repeated_rollback(&record.head);
                        engine.allows(Deed::Rollback, &target.namespace, rights).await?;
                    }
                    return Ok(repeated(record, outcome));
                }
                Known::New(record) => record,
            };
        }
        let again = match wanted {
            Wanted::Earlier(number) => Some(number),
            Wanted::Template(_) | Wanted::Recovered(_) => None,
        };
        let decided = decide(engine, target, wanted, choices, record).await?;
        let deed = if again.is_some() { Deed::Rollback } else { Deed::Deploy };
        engine.allows(deed, &target.namespace, allowed::of_plan(&decided.plan)).await?;
        if choices.validate_only {
            return Ok(validated(checked(engine, target, decided, choices).await?));
        }
        let decided = settled(engine, target, decided, choices).await?;
        engine.begins_in_time(choices.deadline)?;
        if decided.is_unchanged() || decided.only_deletes() {
            return without_revision(engine, target, decided).await;
        }
        // 2. Lock, write-ahead log and record of the request: one compare-and-swap.
        let packed = decided.pack()?;
        match take_lock(engine, target, &decided, choices.create_namespace).await {
            Ok(lock) => {
                let may_meet = is_template && decided.is_first() && !decided.prepared.looks_back;
                let spare = may_meet && decided.prepared.may_claim();
                let spare = spare.then(|| decided.prepared.clone());
                let (begun, story) = (lock.record().clone(), story(&decided));
                let written = write(engine, target, decided, lock, packed, choices).await;
                match (written, spare) {
                    // It has met claims that are mounted otherwise, and taken back what it made.
                    (Err(error), Some(mut prepared)) if error.refusal() == Some(&Refusal::Unseen) => {
                        engine.is_in_time(choices.deadline)?;
                        info!("claims of an earlier deployment met, beginning again");
                        prepared.looks_back = true;
                        wanted = Wanted::Template(Box::new(prepared));
                        believed = false;
                    }
                    (written, _) => {
                        telling::deployed(engine, &begun, &story, written.as_ref().err());
                        return written;
                    }
                }
            }
            // Another operation came first; it may be this very request.
            Err(error)
                if error.kind() == ErrorKind::OperationInProgress
                    && (believed
                        || choices.request.is_some() && engine.is_in_time(choices.deadline).is_ok()) =>
            {
                wanted = again.map_or_else(|| Wanted::Template(Box::new(decided.prepared)), Wanted::Earlier);
                believed = false;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Ends a Deploy that writes no object: at most what was to be deleted already is asked to go again.
async fn without_revision(engine: &Engine, target: &Target, decided: Decided) -> Result<Done> {
    let record = decided.record.as_ref().ok_or_else(|| record::not_found(target))?;
    let (outcome, answer) = if decided.is_unchanged() {
        (Outcome::Unchanged, RequestOutcome::Unchanged)
    } else {
        (Outcome::Updated, RequestOutcome::Updated)
    };
    // The entries of objects that were seen gone are dropped.
    let gone = Transition::Gone { objects: decided.plan.gone.clone() };
    let mut record = engine.amend(record, &gone).await?;
    engine.beginning.promise();
    if outcome == Outcome::Updated {
        let pruned = removal::prune(engine, target, record.clone(), &decided.plan.removals).await;
        wake(engine, &record);
        record = pruned?;
        telling::pruned(engine, &record);
    }
    if let Some(request) = decided.request.clone() {
        let entry = RequestEntry { request, outcome: answer, time: engine.clock.now() };
        record = engine.cluster.change(&record, &Transition::Answered(entry)).await?;
    }
    wake(engine, &record);
    Ok(done(record, decided, outcome))
}

/// Writes what was decided, under the lock, and ends it.
async fn write(
    engine: &Engine,
    target: &Target,
    decided: Decided,
    mut lock: Lock,
    packed: Vec<u8>,
    choices: &Choices,
) -> Result<Done> {
    let first = decided.is_first();
    // 3. and 4. The revision and the first stage, then the workloads.
    let record = lock.record().clone();
    let report = lock.during(apply_all(engine, target, &decided, &record, packed)).await?;
    if !report.failures.is_empty() {
        lock.fails();
    }
    // Objects that were there before, with their record lost, are not this Deploy's to take back.
    if first && !report.failures.is_empty() && !report.adopted {
        return Err(undo(engine, target, &decided.prepared.template, lock, report, choices.deadline).await);
    }
    // What is refused as a whole has changed nothing, its record included; all else that fails is left in part.
    let in_part = refused_at(&decided, &lock, &report).is_none();
    if let Some(earlier) = decided.back_to().filter(|_| !report.failures.is_empty() && in_part) {
        return Err(Box::pin(back::take_back(engine, target, decided, lock, report, earlier)).await);
    }
    // 5. The lock ends before any waiting. 6. Then what the template no longer has goes.
    let ended = end(engine, target, lock, &decided, &report, choices.waits_ready);
    let record = Box::pin(ended).await?;
    let met: Vec<_> = report.met_claims(&decided.plan).cloned().collect();
    if let Some(error) = incomplete(&decided.prepared.template, report.failures, in_part) {
        return Err(error);
    }
    let mut done = done(record, decided, if first { Outcome::Created } else { Outcome::Updated });
    for change in done.changes.iter_mut().filter(|change| met.contains(&change.reference)) {
        change.action = Action::Update;
    }
    let is_effective = |change: &&Change| !matches!(change.action, Action::Unchanged | Action::Keep);
    let changes = done.changes.iter().filter(is_effective).count();
    info!(outcome = ?done.outcome, changes, "deployed");
    Ok(done)
}

/// What is told of a Deploy once it has ended.
fn story(decided: &Decided) -> telling::Deploy {
    telling::Deploy {
        revision: decided.revision.number,
        is_first: decided.is_first(),
        rollback_of: decided.course.rollback_of,
    }
}

/// The answer to a Deploy that was only to be checked.
fn validated(decided: Decided) -> Done {
    let outcome = match &decided.record {
        None => Outcome::Created,
        Some(_) if decided.is_unchanged() => Outcome::Unchanged,
        Some(_) => Outcome::Updated,
    };
    Done {
        record: decided.record.clone(),
        diagnostics: decided.diagnostics(),
        changes: decided.plan.changes,
        warnings: Vec::new(),
        outcome,
    }
}

/// Takes the lock; creates a missing namespace first if that is wanted.
async fn take_lock(
    engine: &Engine,
    target: &Target,
    decided: &Decided,
    create_namespace: bool,
) -> Result<Lock> {
    let id = decided.operation.clone();
    let work = Work::Deploy {
        revision: decided.revision.clone(),
        template_name: decided.prepared.template.name.clone(),
        recorded: decided.recorded(),
        inventory: decided.plan.union(),
        back_to: decided.back_to(),
        rollback_of: decided.course.rollback_of,
        takes_back: decided.course.takes_back(),
        prunes: decided.course.prune == PrunePolicy::DeleteRemoved,
    };
    let request = decided.request.clone();
    let record = decided.record.as_ref();
    match Lock::take(engine, target, record, id.clone(), work.clone(), request.clone()).await {
        Err(error) if error.kind() == ErrorKind::NamespaceNotFound && create_namespace => {
            engine.acting.may(&Ask::new_namespace(&target.namespace)).await?;
            engine.cluster.create_namespace(&target.namespace).await?;
            Lock::take(engine, target, record, id, work, request).await
        }
        other => other,
    }
}

/// Stores the revision and applies both stages; the workloads start only when the revision is stored.
///
/// A first Deploy stores it beside the first stage; an update stores it before anything, so that a revision which the
/// cluster refuses costs the running version nothing.
async fn apply_all(
    engine: &Engine,
    target: &Target,
    decided: &Decided,
    record: &Record,
    packed: Vec<u8>,
) -> stages::Report {
    let plan = &decided.plan;
    let mut report = stages::Report::default();
    let store = engine.cluster.store_revision(record, &decided.revision, packed);
    let stored = if decided.is_first() {
        let foundation = stages::apply(engine, target, plan, Stage::Foundation, &mut report);
        let (stored, ()) = tokio::join!(store, foundation);
        stored
    } else {
        let stored = store.await;
        match &stored {
            Ok(()) => stages::apply(engine, target, plan, Stage::Foundation, &mut report).await,
            Err(_) => stages::skip(plan, Stage::Foundation, &mut report),
        }
        stored
    };
    report.stored = stored.is_ok();
    if let (Err(error), Some(step)) = (stored, plan.steps.first()) {
        report.failures.insert(0, (step.artifact.clone(), error));
    }
    if report.failures.is_empty() {
        stages::apply(engine, target, plan, Stage::Workload, &mut report).await;
    } else {
        stages::skip(plan, Stage::Workload, &mut report);
    }
    report
}

/// Undoes a first Deploy that failed, and returns the failure.
async fn undo(
    engine: &Engine,
    target: &Target,
    template: &Template,
    mut lock: Lock,
    report: stages::Report,
    deadline: Instant,
) -> Error {
    let error = plan::first_failure(template, report.failures)
        .unwrap_or_else(|| Error::internal("a Deploy failed without a failure"));
    warn!(context = ?error.context(), "first Deploy failed, deleting what it created");
    // A claim that was there before, or of which nobody knows, holds what is not this Deploy's to delete.
    let stays = |claim: &record::Member| !report.made_claims.contains(&claim.reference);
    let (inventory, retained) = plan::set_aside(&lock.record().head, stays);
    let taken_back = Transition::TakeBack { inventory, retained, is_in_doubt: lock.is_in_doubt() };
    if let Err(undo) = lock.change(&taken_back).await {
        warn!(context = ?undo.context(), "nothing was deleted");
        return error.prefixed("what was created could not be deleted, call Teardown; ");
    }
    // Pods may take their time; the caller need not wait for them to hear why. Who begins again waits: until all of it is
    // gone, that would find its own operation in progress.
    let begins_again = error.refusal() == Some(&Refusal::Unseen);
    let until = if begins_again { deadline } else { Instant::now() + PATIENCE };
    let (own, work_target) = (engine.clone(), target.clone());
    let work = engine.tasks.spawn(async move { teardown::take_back(&own, &work_target, lock).await });
    match tokio::time::timeout_at(until, work).await {
        Ok(Ok(Ok(left))) if left.is_empty() => error,
        Ok(Ok(Ok(left))) => {
            error.prefixed(&format!("what was created is still being deleted ({}); ", names(&left)))
        }
        Ok(Err(_)) | Err(_) => error.prefixed("what was created is still being deleted; "),
        Ok(Ok(Err(undo))) => {
            warn!(context = ?undo.context(), "not everything was deleted");
            let objects = undo.metadata().get("objects").cloned().unwrap_or_default();
            let told = format!("not everything that was created could be deleted ({}); ", undo.message());
            error.prefixed(&told).with("left", objects)
        }
    }
}

/// Those objects, with the finalizers that hold them.
fn names(left: &[cluster::Terminating]) -> String {
    let name = |going: &cluster::Terminating| match going.finalizers.join(", ") {
        held if held.is_empty() => going.reference.to_string(),
        held => format!("{} is held by finalizer {held}", going.reference),
    };
    left.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Ends the lock, deletes what the template no longer has, and wakes the keeper for the rest.
async fn end(
    engine: &Engine,
    target: &Target,
    lock: Lock,
    decided: &Decided,
    report: &stages::Report,
    waits: bool,
) -> Result<Record> {
    let now = engine.clock.now();
    if let Some(earlier) = refused_at(decided, &lock, report) {
        // The deployment is what it was, and says so.
        let (earlier, revision) = (Box::new(earlier.clone()), Some(decided.revision.clone()));
        let record = lock.release(&Transition::Refused { earlier, revision, now }).await?;
        wake(engine, &record);
        return Ok(record);
    }
    let complete = report.failures.is_empty();
    let pledge = decided.back_to().filter(|_| complete && waits);
    let applied = Applied { pledge, ..applied(decided, report, now) };
    let record = lock.release(&Transition::Applied(Box::new(applied))).await?;
    let ended = if complete {
        removal::prune(engine, target, record.clone(), &decided.plan.removals).await
    } else {
        Ok(record.clone())
    };
    wake(engine, ended.as_ref().unwrap_or(&record));
    ended
}

/// The record as it was, if an update of it ends that has changed nothing: refused, or not even attempted.
///
/// A dead Deploy that it has taken over stands there again: what it has stored is still to be put in force. Of a dead Scale
/// nothing is stored.
fn refused_at<'a>(decided: &Decided, lock: &'a Lock, report: &stages::Report) -> Option<&'a Head> {
    let earlier = lock.before()?;
    let is_dead = |operation: &Operation| operation.kind == OperationKind::Deploy && lock.has_taken_over();
    let was_in_order = earlier.operation.as_ref().is_none_or(is_dead) && earlier.current.is_some();
    (was_in_order && report.is_refused(&decided.plan)).then_some(earlier)
}

/// The error of an update that failed; if it has changed nothing, its record included, that is the failure itself.
fn incomplete(template: &Template, failures: Vec<(Artifact, Error)>, in_part: bool) -> Option<Error> {
    let listing = plan::listing(&failures);
    let first = plan::first_failure(template, failures)?;
    Some(if in_part { Error::incomplete(first, listing) } else { first })
}
