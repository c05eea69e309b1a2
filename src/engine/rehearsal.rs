//! A Deploy up to its first write: what it would do, and whether the API server would let it.

use futures::future::join_all;

use super::decide::{Choices, Wanted, decide};
use super::stages::{Attempt, attempt};
use super::{Engine, allowed, look};
use crate::artifacts::{Action, Artifact, Artifacts, Change, Target};
use crate::callers::Deed;
use crate::cluster::{self, Guard};
use crate::diagnostic::Diagnostic;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{self, Decided, Plan, Prepared, Step};

/// What a Deploy would do.
pub struct Planned {
    /// The objects as the template makes them, in the order of applying.
    pub artifacts: Artifacts,
    /// What would be done to each object.
    pub changes: Vec<Change>,
    /// What would be lost, changed or assumed.
    pub diagnostics: Vec<Diagnostic>,
    /// What the API server warns of.
    pub warnings: Vec<String>,
    /// The plan's id.
    pub id: String,
}

/// Tells what a Deploy would do: it is one up to its first write.
pub async fn plan_deploy(
    engine: &Engine,
    target: &Target,
    prepared: Prepared,
    choices: Choices,
) -> Result<Planned> {
    let (target, deadline) = (target.clone(), choices.deadline);
    let work = |own: Engine| async move {
        let work = Box::pin(plan_now(&own, &target, prepared, &choices));
        let (result, warnings) = cluster::collecting(work).await;
        result.map(|planned| Planned { warnings, ..planned })
    };
    engine.detached(deadline, work).await
}

async fn plan_now(
    engine: &Engine,
    target: &Target,
    mut prepared: Prepared,
    choices: &Choices,
) -> Result<Planned> {
    prepared.looks_back = true;
    let record = look::read(engine, target).await?;
    let decided = decide(engine, target, Wanted::Template(Box::new(prepared)), choices, record).await?;
    engine.allows(Deed::Plan, &target.namespace, allowed::of_plan(&decided.plan)).await?;
    let decided = checked(engine, target, decided, choices).await?;
    let id = plan::id(target, &decided);
    let (diagnostics, changes) = (decided.diagnostics(), decided.plan.changes);
    let artifacts = decided.rendered.artifacts;
    Ok(Planned { artifacts, changes, diagnostics, warnings: Vec::new(), id })
}

/// Lets the API server check every object, ownership included, without writing any.
///
/// What it cannot check is told: a new form of what is there still, and whatever its namespace is missing for.
pub(super) async fn checked(
    engine: &Engine,
    target: &Target,
    mut decided: Decided,
    choices: &Choices,
) -> Result<Decided> {
    let mut failures = rehearse(engine, target, &mut decided.plan, |_| true).await;
    let is_missing = |(_, error): &(Artifact, Error)| error.kind() == ErrorKind::NamespaceNotFound;
    let missing = choices.create_namespace && failures.iter().any(is_missing);
    if missing {
        failures.retain(|failure| !is_missing(failure));
    }
    bound(target, decided, choices, failures, missing)
}

/// Finds out, before anything is written, what others say to the changes of what they have changed, too.
///
/// Costs nothing where nobody else holds a field. Whoever ends a dead operation has nobody to refuse it to: what cannot be
/// left to others is then the writes' own to meet, so that the operation ends, incomplete, and the next Deploy decides.
pub(super) async fn settled(
    engine: &Engine,
    target: &Target,
    mut decided: Decided,
    choices: &Choices,
) -> Result<Decided> {
    // A name may have been taken since an earlier revision was in force.
    let back = decided.course.back.as_ref();
    let (tries_new, recovers) =
        (back.is_some_and(|back| !back.recovers), back.is_some_and(|back| back.recovers));
    let is_meant = |step: &Step| step.is_contested() || tries_new && step.action == Action::Create;
    let failures = rehearse(engine, target, &mut decided.plan, is_meant).await;
    // Any other refusal is the write's own to meet.
    let counts =
        |(_, error): &(Artifact, Error)| tries_new || !recovers && error.kind() == ErrorKind::FieldConflict;
    let failures = failures.into_iter().filter(counts).collect();
    bound(target, decided, choices, failures, false)
}

/// Fails with the first refusal, or if something else would be done than the plan said that the caller is bound to.
fn bound(
    target: &Target,
    mut decided: Decided,
    choices: &Choices,
    failures: Vec<(Artifact, Error)>,
    namespace_is_missing: bool,
) -> Result<Decided> {
    if let Some(error) = plan::first_failure(&decided.prepared.template, failures) {
        // There is no plan of what is refused: this is not what that one said.
        let is_answer = matches!(error.kind(), ErrorKind::FieldConflict | ErrorKind::ObjectNotOwned);
        let is_stale = is_answer && !choices.plan_id.is_empty();
        return Err(if is_stale { plan::stale(target).because(error.message()) } else { error });
    }
    plan::check_id(target, &decided, &choices.plan_id)?;
    if choices.validate_only {
        plan::tell_untried(&mut decided.plan, namespace_is_missing);
    }
    Ok(decided)
}

/// Tries the steps that are meant, as a dry run; what is decided about others' fields goes into the plan.
///
/// What is to be replaced is still there, so its new form cannot be tried.
pub(super) async fn rehearse(
    engine: &Engine,
    target: &Target,
    plan: &mut Plan,
    is_meant: impl Fn(&Step) -> bool,
) -> Vec<(Artifact, Error)> {
    let mut tries = Vec::new();
    for step in plan.steps.iter().filter(|step| is_meant(step)) {
        let guard = match (step.action, step.form()) {
            (Action::Update, Some(form)) => Guard::UpdateOnly(form),
            (Action::Create, _) => Guard::CreateOnly,
            _ => continue,
        };
        let conflicts = plan.conflicts;
        tries.push(async move {
            (step.artifact.clone(), attempt(engine, target, step, conflicts, guard, true).await)
        });
    }
    let seen = plan.to_be_seen();
    let looks = seen.iter().map(|reference| engine.cluster.content(&target.namespace, reference));
    let (tried, looked) = tokio::join!(join_all(tries), join_all(looks));
    let mut failures = Vec::new();
    for (artifact, result) in tried {
        match result {
            Ok(Attempt::Written(_, decision)) => plan.decide(&artifact.reference, &decision),
            Ok(Attempt::Replace(_)) => {}
            Err(error) => failures.push((artifact, error)),
        }
    }
    for (reference, found) in seen.iter().zip(looked) {
        match found {
            Ok(found) => plan.tell_seen(reference, &found),
            Err(error) => failures.extend(plan.artifact(reference).map(|artifact| (artifact.clone(), error))),
        }
    }
    failures
}
