//! Deploy: the lock, the stages, and then what ends it well or takes it back.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::awake::wake;
use super::decide::{Choices, decide};
use super::lock::Lock;
use super::rehearsal::{checked, settled};
use super::{Engine, look, removal, stages, teardown};
use crate::artifacts::{Action, Artifact, Change, Stage, Target};
use crate::cluster;
use crate::diagnostic::Diagnostic;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{self, Decided, Prepared, PrunePolicy};
use crate::record::{self, Applied, Head, Held, Phase, Recorded, Transition, Work};
use crate::template::Template;

/// How long a caller who hears of a failure waits for deleted objects to go as well.
const PATIENCE: Duration = Duration::from_secs(3);

/// How a Deploy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was no such deployment before.
    Created,
    /// It was changed.
    Updated,
    /// It was as the template says already; nothing was written.
    Unchanged,
}

/// What a Deploy did, or, if it was only to be checked, would do.
pub struct Done {
    /// The record; `None`: a deployment that is not there was only to be checked.
    pub held: Option<Held>,
    /// What a list would show of it.
    pub recorded: Recorded,
    /// The template's name.
    pub template_name: String,
    /// What was done to each object.
    pub changes: Vec<Change>,
    /// What was lost, changed or assumed.
    pub diagnostics: Vec<Diagnostic>,
    /// What the API server warned of.
    pub warnings: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
}

/// Brings the deployment to what the template says, in a task of its own.
///
/// A name that is taken, a lost lock: nothing is written. A first Deploy that fails takes back what it made; an
/// update that fails in part is APPLY_INCOMPLETE and repaired by the next.
pub async fn deploy(engine: &Engine, target: &Target, prepared: Prepared, choices: Choices) -> Result<Done> {
    let (own, target, deadline) = (engine.clone(), target.clone(), choices.deadline);
    let work = async move {
        // Its state is too large to be handed from stack to stack.
        let work = Box::pin(deploy_now(&own, &target, prepared, &choices));
        let (result, warnings) = cluster::collecting(work).await;
        result.map(|done| Done { warnings, ..done })
    };
    engine.detached(deadline, work).await
}

async fn deploy_now(
    engine: &Engine,
    target: &Target,
    mut prepared: Prepared,
    choices: &Choices,
) -> Result<Done> {
    // Where a watch shows no such deployment, the lock itself finds out whether that is true.
    let may_believe = choices.etag.is_empty() && choices.plan_id.is_empty() && !choices.validate_only;
    let mut believed = may_believe && engine.known.is_absent(target);
    loop {
        // 1. What is there, and what has to happen to it.
        let decided = decide(engine, target, prepared, choices, believed).await?;
        if choices.validate_only {
            return Ok(validated(checked(engine, target, decided, choices).await?));
        }
        let decided = settled(engine, target, decided, choices).await?;
        if let Some(held) = decided.held.as_ref().filter(|_| decided.is_unchanged()) {
            // Nothing else is to be written: only the entries of objects that were seen gone are dropped.
            let gone = Transition::Gone { objects: decided.plan.gone.clone() };
            let held = engine.amend(held, &gone).await?;
            wake(engine, &held);
            return Ok(done(held, decided, Outcome::Unchanged));
        }
        // 2. Lock, write-ahead log and record of the request: one compare-and-swap.
        let packed = decided.pack()?;
        engine.begins_in_time(choices.deadline)?;
        match take_lock(engine, target, &decided, choices.create_namespace).await {
            Ok(lock) => return write(engine, target, decided, lock, packed).await,
            Err(error) if believed && error.kind() == ErrorKind::OperationInProgress => {
                prepared = decided.prepared;
                believed = false;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Writes what was decided, under the lock, and ends it.
async fn write(
    engine: &Engine,
    target: &Target,
    decided: Decided,
    mut lock: Lock,
    packed: Vec<u8>,
) -> Result<Done> {
    let first = decided.is_first();
    // 3. and 4. The revision and the first stage, then the workloads.
    let held = lock.held().clone();
    let report = lock.during(apply_all(engine, target, &decided, &held, packed)).await?;
    // Objects that were there before, with their record lost, are not this Deploy's to take back.
    if first && !report.failures.is_empty() && !report.adopted {
        return Err(undo(engine, target, &decided.prepared.template, lock, report).await);
    }
    // 5. The lock ends before any waiting. 6. Then what the template no longer has goes.
    let held = end(engine, target, lock, &decided, &report).await?;
    let touched = report.touched(&decided.plan);
    let met: Vec<_> = report.met_claims(&decided.plan).cloned().collect();
    if let Some(error) = incomplete(&decided.prepared.template, report.failures, touched) {
        return Err(error);
    }
    let mut done = done(held, decided, if first { Outcome::Created } else { Outcome::Updated });
    for change in done.changes.iter_mut().filter(|change| met.contains(&change.reference)) {
        change.action = Action::Update;
    }
    let is_effective = |change: &&Change| !matches!(change.action, Action::Unchanged | Action::Keep);
    let changes = done.changes.iter().filter(is_effective).count();
    info!(outcome = ?done.outcome, changes, "deployed");
    Ok(done)
}

/// Finishes a Deploy or Scale that died: forward to the revision it stored, or back to the one before.
///
/// A first Deploy that never stored its revision is taken back; then there is no such deployment.
pub(super) async fn adopt(engine: &Engine, target: &Target, held: Held, deadline: Instant) -> Result<Held> {
    let mut stored = None;
    for candidate in held.head.candidates() {
        stored = look::read_revision(engine, target, Some(&candidate)).await?;
        if stored.is_some() {
            break;
        }
    }
    let Some(revision) = stored else {
        if held.head.current.is_some() {
            return Err(Error::internal("neither the revision that was begun nor the current one is stored")
                .prefixed("the record of what is deployed is lost, deploy again to repair it; "));
        }
        teardown::finish(engine, target, held, deadline).await?;
        return Err(record::not_found(target));
    };
    let prepared = Prepared::stored(revision.template, &revision.options);
    let choices = Choices {
        create_namespace: false,
        // What the dead operation meant to delete is marked so in the inventory.
        prune: PrunePolicy::Keep,
        conflicts: revision.conflicts,
        replicas: revision.replicas,
        validate_only: false,
        etag: String::new(),
        plan_id: String::new(),
        deadline,
    };
    Box::pin(deploy_now(engine, target, prepared, &choices)).await?;
    look::must_read(engine, target).await
}

/// The answer to a Deploy that was only to be checked.
fn validated(decided: Decided) -> Done {
    let outcome = match &decided.held {
        None => Outcome::Created,
        Some(_) if decided.is_unchanged() => Outcome::Unchanged,
        Some(_) => Outcome::Updated,
    };
    Done {
        held: decided.held.clone(),
        recorded: decided.recorded(),
        template_name: decided.prepared.template.name.clone(),
        diagnostics: decided.diagnostics(),
        changes: decided.plan.changes,
        warnings: Vec::new(),
        outcome,
    }
}

/// The answer to a Deploy that has ended well, with the uids that are known now.
fn done(held: Held, decided: Decided, outcome: Outcome) -> Done {
    let diagnostics = decided.diagnostics();
    let recorded = decided.recorded();
    let mut changes = decided.plan.changes;
    if outcome != Outcome::Unchanged {
        for change in &mut changes {
            let member = held.head.member(&change.reference);
            change.uid = member.and_then(|member| member.uid.clone()).or(change.uid.take());
        }
    }
    Done {
        held: Some(held),
        recorded,
        template_name: decided.prepared.template.name.clone(),
        changes,
        diagnostics,
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
    };
    match Lock::take(engine, target, decided.held.as_ref(), id.clone(), work.clone()).await {
        Err(error) if error.kind() == ErrorKind::NamespaceNotFound && create_namespace => {
            engine.cluster.create_namespace(&target.namespace).await?;
            Lock::take(engine, target, decided.held.as_ref(), id, work).await
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
    held: &Held,
    packed: Vec<u8>,
) -> stages::Report {
    let plan = &decided.plan;
    let mut report = stages::Report::default();
    let store = engine.cluster.store_revision(held, &decided.revision, packed);
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
) -> Error {
    let error = plan::first_failure(template, report.failures)
        .unwrap_or_else(|| Error::internal("a Deploy failed without a failure"));
    warn!(context = ?error.context(), "first Deploy failed, deleting what it created");
    // A claim that was there before, or of which nobody knows, holds what is not this Deploy's to delete.
    let stays = |claim: &record::Member| !report.made_claims.contains(&claim.reference);
    let (inventory, retained) = plan::set_aside(&lock.held().head, stays);
    if let Err(undo) = lock.change(&Transition::TakeBack { inventory, retained }).await {
        warn!(context = ?undo.context(), "nothing was deleted");
        return error.prefixed("what was created could not be deleted, call Teardown; ");
    }
    // Pods may take their time; the caller need not wait for them to hear why.
    let (own, work_target) = (engine.clone(), target.clone());
    let work = engine.tasks.spawn(async move { teardown::take_back(&own, &work_target, lock).await });
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(Ok(left))) if left.is_empty() => error,
        Ok(Ok(Ok(_)) | Err(_)) | Err(_) => error.prefixed("what was created is still being deleted; "),
        Ok(Ok(Err(undo))) => {
            warn!(context = ?undo.context(), "not everything was deleted");
            error.prefixed("not everything that was created could be deleted, call Teardown; ")
        }
    }
}

/// Ends the lock, deletes what the template no longer has, and wakes the keeper for the rest.
async fn end(
    engine: &Engine,
    target: &Target,
    lock: Lock,
    decided: &Decided,
    report: &stages::Report,
) -> Result<Held> {
    let now = engine.clock.now();
    let revision = decided.revision.clone();
    if let Some(earlier) = refused_at(decided, report) {
        // The deployment is what it was, and says so.
        let earlier = Box::new(earlier.clone());
        let held = lock.release(&Transition::Refused { earlier, revision, now }).await?;
        wake(engine, &held);
        return Ok(held);
    }
    let complete = report.failures.is_empty();
    let plan = &decided.plan;
    let applied = Applied {
        inventory: report.inventory(plan),
        revision: report.stored.then_some(revision),
        complete,
        phase: if complete { Phase::Progressing } else { Phase::Incomplete },
        now,
    };
    let held = lock.release(&Transition::Applied(Box::new(applied))).await?;
    let ended = if complete {
        removal::prune(engine, target, held.clone(), &plan.doomed).await
    } else {
        Ok(held.clone())
    };
    wake(engine, ended.as_ref().unwrap_or(&held));
    ended
}

/// The record as it was, if an update of it ends that has changed nothing: refused, or not even attempted.
fn refused_at<'a>(decided: &'a Decided, report: &stages::Report) -> Option<&'a Head> {
    let earlier = decided.held.as_ref().map(|held| &held.head)?;
    let was_in_order = earlier.operation.is_none() && earlier.current.is_some();
    (was_in_order && report.is_refused(&decided.plan)).then_some(earlier)
}

/// The error of an update that failed; if it has changed nothing, that is the failure itself.
fn incomplete(template: &Template, failures: Vec<(Artifact, Error)>, touched: bool) -> Option<Error> {
    let listing = plan::listing(&failures);
    let first = plan::first_failure(template, failures)?;
    Some(if touched { Error::incomplete(first, listing) } else { first })
}
