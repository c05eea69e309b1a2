//! Carries out a plan: stage by stage, all of a stage at once, and keeps count of what was written.

use std::collections::BTreeSet;

use futures::future::join_all;
use jiff::Timestamp;
use tracing::{Instrument, info, info_span, warn};

use super::Engine;
use super::refusals::why;
use crate::artifacts::{Action, Artifact, Form, HeldField, Kind, ObjectRef, Stage, Target};
use crate::cluster::{Deletion, Guard, Terminating, Written};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{self, ConflictPolicy, Displaced, Plan, Remedy, Step, is_refusal};
use crate::record::{Member, MemberState, RefusedObject};

/// How long one object may take to go before it is made again.
const GOING: std::time::Duration = std::time::Duration::from_secs(90);

/// What became of every object of a plan.
#[derive(Default)]
pub(super) struct Report {
    /// The inventory's entries of objects that are there as planned.
    pub(super) applied: Vec<Member>,
    /// The entries of objects that are not, or nobody knows.
    pub(super) open: Vec<Member>,
    /// Whether an object was ours already although no record had it; claims apart, which outlive deployments.
    pub(super) adopted: bool,
    /// The volume claims that were made, and not there before.
    pub(super) made_claims: BTreeSet<ObjectRef>,
    /// The objects that were not reached.
    skipped: BTreeSet<ObjectRef>,
    /// Whether the revision is stored.
    pub(super) stored: bool,
    /// What failed, in the order of applying.
    pub(super) failures: Vec<(Artifact, Error)>,
}

impl Report {
    /// Whether the cluster may differ from what it was before the plan.
    pub(super) fn touched(&self, plan: &Plan) -> bool {
        let reached = |step: &&Step| !self.skipped.contains(&step.artifact.reference);
        let mut changed = plan.steps.iter().filter(|step| step.action != Action::Unchanged).filter(reached);
        let is_applied =
            |step: &Step| self.applied.iter().any(|member| member.reference == step.artifact.reference);
        changed.any(|step| step.has_preludes() || is_applied(step))
    }

    /// Whether the cluster is certainly as it was before the plan: the API server has refused every change, or none
    /// was attempted.
    pub(super) fn is_refused(&self, plan: &Plan) -> bool {
        let is_attempted = |step: &Step| {
            step.action != Action::Unchanged && !self.skipped.contains(&step.artifact.reference)
        };
        let mut kinds = self.failures.iter().map(|(_, error)| error.kind());
        let is_certain = !plan.steps.iter().any(is_attempted) || kinds.all(is_refusal);
        !self.failures.is_empty() && is_certain && !self.touched(plan)
    }

    /// The claims that were to be made and were there already, with what lies on them.
    pub(super) fn met_claims<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = &'a ObjectRef> {
        let to_be_made = plan.steps.iter().filter(|step| step.action == Action::Create);
        let to_be_made = to_be_made.map(|step| &step.artifact.reference);
        to_be_made.filter(|reference| {
            reference.kind == Kind::PersistentVolumeClaim
                && !self.made_claims.contains(reference)
                && self.applied.iter().any(|member| member.reference == **reference)
        })
    }

    /// The inventory after this report: everything that is or may be there.
    ///
    /// Only a complete update hands over and deletes; otherwise everything stays what it was. A ReplicationController that
    /// was certainly not made is none that its component has become.
    pub(super) fn inventory(&self, plan: &Plan) -> Vec<Member> {
        let written = self.applied.iter().chain(&self.open).chain(&plan.kept);
        if self.failures.is_empty() {
            return written.cloned().chain(plan::deleting(&plan.removals)).collect();
        }
        let is_unmade = |member: &&Member| {
            let is_unwritten = self.skipped.contains(&member.reference) || self.refuses(&member.reference);
            member.reference.kind == Kind::ReplicationController && member.uid.is_none() && is_unwritten
        };
        let written = written.filter(|member| !is_unmade(member)).cloned();
        let removals = plan.removals.iter().map(|removals| removals.member.clone());
        written.chain(plan.handed_over.iter().cloned()).chain(removals).collect()
    }

    /// Whether the cluster has refused to write this object, so that it was certainly not written.
    fn refuses(&self, reference: &ObjectRef) -> bool {
        let mut failures = self.failures.iter();
        failures.any(|(artifact, error)| artifact.reference == *reference && is_refusal(error.kind()))
    }

    /// What was not written, with why; what was not reached, without.
    pub(super) fn refused(&self, now: Timestamp) -> Vec<RefusedObject> {
        let failed = self.failures.iter();
        let failed = failed
            .map(|(artifact, error)| RefusedObject::write(artifact.reference.clone(), &why(error), now));
        let skipped = self
            .skipped
            .iter()
            .filter(|skipped| !self.failures.iter().any(|(artifact, _)| artifact.reference == **skipped));
        failed.chain(skipped.map(|skipped| RefusedObject::write(skipped.clone(), "", now))).collect()
    }

    /// The objects that stand as they were, of a plan that was not carried out whole.
    pub(super) fn untouched(&self, plan: &Plan) -> Vec<ObjectRef> {
        if self.failures.is_empty() {
            return Vec::new();
        }
        let left = self.open.iter().filter(|member| member.state == MemberState::Applied);
        let left = left.chain(plan.removals.iter().map(|removals| &removals.member)).chain(&plan.handed_over);
        left.map(|member| member.reference.clone()).collect()
    }

    /// The inventory for going back to what was before the plan: what was certainly not written is as it was, and all
    /// else that was to be written is in doubt.
    pub(super) fn inventory_before(&self, plan: &Plan) -> Vec<Member> {
        let before = |step: &Step| {
            if step.action == Action::Unchanged {
                return Some(step.member.clone());
            }
            let reference = &step.artifact.reference;
            if self.skipped.contains(reference) || self.refuses(reference) && !step.has_preludes() {
                return step.former.clone();
            }
            let written = self.applied.iter().find(|member| member.reference == *reference);
            let uid = written.and_then(|written| written.uid.clone()).or(step.member.uid.clone());
            // The counts that decide about its replicas are those of the revision that is put back.
            let former = step.former.as_ref().unwrap_or(&step.member);
            let (template_replicas, scaled_replicas) = (former.template_replicas, former.scaled_replicas);
            Some(Member { uid, template_replicas, scaled_replicas, ..step.member.clone() })
        };
        let others = plan.removals.iter().map(|removals| removals.member.clone());
        let others = others.chain(plan.handed_over.iter().cloned()).chain(plan.kept.iter().cloned());
        plan.steps.iter().filter_map(before).chain(others).collect()
    }

    fn take(&mut self, step: &Step, result: Result<Written>) {
        match result {
            Ok(written) => {
                if step.artifact.reference.kind != Kind::PersistentVolumeClaim {
                    self.adopted |= written.adopted;
                } else if step.action == Action::Create && !written.adopted {
                    self.made_claims.insert(step.artifact.reference.clone());
                }
                self.applied.push(Member {
                    state: MemberState::Applied,
                    replace: false,
                    pods_before: None,
                    retaken: false,
                    template_replicas: step.template_replicas,
                    scaled_replicas: step.scaled_replicas,
                    found_replicas: step.found_replicas,
                    uncounted: step.uncounted,
                    uid: Some(written.uid),
                    owned: written.owned,
                    trace: Some(written.trace),
                    other_image: step.member.other_image || written.other_image,
                    generation: written.generation.filter(|_| step.artifact.reference.kind.is_controller()),
                    ..step.member.clone()
                });
            }
            Err(error) => {
                // What belongs to somebody else is none of ours: it must not stand in the inventory.
                if error.kind() != ErrorKind::ObjectNotOwned {
                    let unwritten = is_refusal(error.kind()) && !step.has_preludes();
                    self.open.push(if unwritten { step.untouched() } else { step.member.clone() });
                }
                self.failures.push((step.artifact.clone(), error));
            }
        }
    }
}

/// Applies the steps of one stage, all at once; unchanged ones are counted as applied.
///
/// A failure does not stop its siblings.
pub(super) async fn apply(engine: &Engine, target: &Target, plan: &Plan, stage: Stage, report: &mut Report) {
    let mut changed = Vec::new();
    for step in &plan.steps {
        if step.artifact.reference.kind.stage() != stage {
            continue;
        }
        if step.action == Action::Unchanged {
            report.applied.push(step.member.clone());
        } else {
            let reference = &step.artifact.reference;
            let span = info_span!("object", kind = reference.kind.as_str(), name = %reference.name);
            changed
                .push(async move { (step, apply_step(engine, target, plan, step).instrument(span).await) });
        }
    }
    // How many calls are really under way at once is the cluster handle's to limit.
    for (step, result) in join_all(changed).await {
        report.take(step, result);
    }
}

/// Counts every step of a stage that is not reached as open.
pub(super) fn skip(plan: &Plan, stage: Stage, report: &mut Report) {
    for step in &plan.steps {
        if step.artifact.reference.kind.stage() != stage {
            continue;
        }
        if step.action == Action::Unchanged {
            report.applied.push(step.member.clone());
        } else {
            report.open.push(step.untouched());
            report.skipped.insert(step.artifact.reference.clone());
        }
    }
}

async fn apply_step(engine: &Engine, target: &Target, plan: &Plan, step: &Step) -> Result<Written> {
    let mut form = step.form();
    if let (Some(replicas), Some(form)) = (step.take_back, form.as_mut()) {
        let (namespace, reference) = (&target.namespace, &step.artifact.reference);
        let scaled = engine.cluster.scale(namespace, &target.name, reference, form, replicas, false).await?;
        (form.version, form.generation) = (scaled.version, scaled.generation);
    }
    let written = match (step.action, form) {
        (Action::Replace, Some(form)) => replace(engine, target, &step.artifact, &form.uid).await?,
        (Action::Update, Some(form)) => update(engine, target, plan, step, form).await?,
        _ => create(engine, target, plan, step).await?,
    };
    if let (Some(_), Some(uid)) = (step.take_back, step.uid.as_deref()) {
        // Otherwise Scale's manager would stay owner beside us, and our next change would conflict with it.
        let reference = &step.artifact.reference;
        engine.cluster.release_scale(&target.namespace, &target.name, reference, uid).await?;
    }
    info!(action = ?step.action, "object written");
    Ok(written)
}

/// How often what a refusal leads to is tried: a count is left out, fields are left out or taken.
const TURNS: usize = 4;

/// What one object took, or would take.
pub(super) enum Attempt {
    /// It is written as it was to be, but for what was decided about others' fields.
    Written(Written, plan::Decision),
    /// It cannot become so in place, and may be replaced.
    Replace(Error),
}

/// Writes one object under a guard, and does what refusals of that lead to.
pub(super) async fn attempt(
    engine: &Engine,
    target: &Target,
    step: &Step,
    conflicts: ConflictPolicy,
    mut guard: Guard,
    dry_run: bool,
) -> Result<Attempt> {
    let (namespace, name) = (&target.namespace, &target.name);
    let mut artifact = if dry_run { step.tried() } else { step.artifact.clone() };
    let mut decision = plan::Decision::default();
    let (mut turns, mut displaced) = (0, Vec::new());
    loop {
        let tried = match guard.form().filter(|_| dry_run && !displaced.is_empty()) {
            // Nobody has taken these fields over yet, so an apply would leave them.
            Some(form) => {
                let merged = plan::without_displaced(&artifact, &displaced);
                engine.cluster.try_merged(namespace, name, &merged, form).await
            }
            None => engine.cluster.apply(namespace, name, &artifact, guard.clone(), dry_run).await,
        };
        let refused = match tried {
            Ok(written) => return Ok(Attempt::Written(written, decision)),
            Err(refused) => plan::blamed(refused, step),
        };
        turns += 1;
        match plan::remedy(&refused, step, conflicts) {
            Remedy::Replace => return Ok(Attempt::Replace(refused)),
            Remedy::LeaveOut(holds) if turns < TURNS => {
                let Some(left) = plan::without(&artifact, &holds) else { return Err(refused) };
                artifact = left;
                decision.yielded.extend(holds);
            }
            Remedy::Take(holds) if turns < TURNS => {
                let Guard::UpdateOnly(form) = guard else { return Err(refused) };
                guard = Guard::TakeFields(form);
                decision.taken.extend(holds);
            }
            Remedy::Displace(fields) if turns < TURNS => {
                let Some(form) = guard.form() else { return Err(refused) };
                if !dry_run {
                    let held: Vec<HeldField> = fields.iter().map(|one| one.held.clone()).collect();
                    let reference = &artifact.reference;
                    let form = engine.cluster.take_over(namespace, name, reference, &form.uid, &held).await?;
                    guard = Guard::TakeFields(form);
                }
                let taken = fields.iter().map(Displaced::hold);
                decision.taken.extend(taken);
                displaced.extend(fields);
            }
            Remedy::Fail | Remedy::LeaveOut(_) | Remedy::Take(_) | Remedy::Displace(_) => {
                return Err(refused);
            }
        }
    }
}

/// Changes the object in place, or replaces it where that turns out impossible.
async fn update(engine: &Engine, target: &Target, plan: &Plan, step: &Step, form: Form) -> Result<Written> {
    let uid = form.uid.clone();
    let attempt = attempt(engine, target, step, plan.conflicts, Guard::UpdateOnly(form), false);
    match Box::pin(attempt).await? {
        Attempt::Written(mut written, decision) => {
            written.other_image = decision.leaves_image();
            if plan.leaves_unasked(&step.artifact.reference, &decision) {
                // Then it is not as it was deployed, and reads and the next Deploy say so.
                written.owned.clear();
            }
            Ok(written)
        }
        Attempt::Replace(refused) => {
            info!(context = ?refused.context(), "cannot change in place, replaced");
            replace(engine, target, &step.artifact, &uid).await
        }
    }
}

/// Makes the object, or adopts our own that the records have lost.
async fn create(engine: &Engine, target: &Target, plan: &Plan, step: &Step) -> Result<Written> {
    let (namespace, artifact) = (&target.namespace, &step.artifact);
    let attempt = attempt(engine, target, step, plan.conflicts, Guard::CreateOnly, false);
    match Box::pin(attempt).await? {
        Attempt::Written(written, _) => Ok(written),
        Attempt::Replace(refused) => {
            match engine.cluster.find_ours(namespace, &target.name, &artifact.reference).await? {
                Some(seen) => {
                    engine.allows_replacing(namespace, &artifact.reference).await?;
                    info!(context = ?refused.context(), "cannot change in place, replaced");
                    replace(engine, target, artifact, &seen.uid).await
                }
                None => Err(refused),
            }
        }
    }
}

/// Deletes the object, sees it gone, and makes it anew.
async fn replace(engine: &Engine, target: &Target, artifact: &Artifact, uid: &str) -> Result<Written> {
    let reference = &artifact.reference;
    let deletion = engine.cluster.delete(&target.namespace, reference, uid, None).await?;
    if let Deletion::Terminating(going) = deletion {
        let deadline = tokio::time::Instant::now() + GOING;
        let left = engine.cluster.wait_gone(&target.namespace, &target.name, vec![going], deadline).await?;
        if !left.is_empty() {
            return Err(Error::new(
                ErrorKind::OperationInProgress,
                format!("{reference} is still being deleted; look at its finalizers, then deploy again"),
            ));
        }
    }
    engine.cluster.apply(&target.namespace, &target.name, artifact, Guard::CreateOnly, false).await
}

/// Deletes objects by uid, all at once; returns what became of each.
pub(super) async fn delete_each(
    engine: &Engine,
    target: &Target,
    objects: Vec<(ObjectRef, String)>,
    grace_seconds: Option<u32>,
) -> Vec<(ObjectRef, String, Result<Deletion>)> {
    let mut deletions = Vec::new();
    for (reference, uid) in objects {
        deletions.push(async move {
            let deletion = engine.cluster.delete(&target.namespace, &reference, &uid, grace_seconds).await;
            if let Err(error) = &deletion {
                warn!(%reference, context = ?error.context(), "object not deleted");
            }
            (reference, uid, deletion)
        });
    }
    join_all(deletions).await
}

/// Deletes objects by uid, all at once; returns those that are still going.
pub(super) async fn delete_all(
    engine: &Engine,
    target: &Target,
    objects: Vec<(ObjectRef, String)>,
    grace_seconds: Option<u32>,
) -> Result<Vec<Terminating>> {
    let mut going = Vec::new();
    let mut failure = None;
    for (_, _, deletion) in delete_each(engine, target, objects, grace_seconds).await {
        match deletion {
            Ok(Deletion::Terminating(object)) => going.push(object),
            Ok(Deletion::Gone | Deletion::Replaced) => {}
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    // Everything was tried; one failure is enough to say that it is not done.
    failure.map_or(Ok(going), Err)
}
