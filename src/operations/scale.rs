//! Scale: replica counts of named components; a bare Pod becomes a ReplicationController without being lost.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use tokio::time::Instant;
use tracing::info;

use super::deploy::controllers;
use super::lock::{self, Lock};
use super::plan::{self, Inputs, Plan};
use super::revision::Revision;
use super::translate::Prepared;
use super::view::{self, DeploymentView, Moment};
use super::{Operations, Target, blame, execute};
use crate::artifacts::{
    Action, Change, ComponentName, DeploymentName, FieldChange, Kind, Namespace, ObjectRef, Stage,
    field_manager, scale_manager,
};
use crate::cluster::{Head, Held, Member, MemberState, OperationKind, Phase};
use crate::diagnostic::Diagnostic;
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::status::DeploymentState;
use crate::template::did_you_mean;

/// A Scale, decoded.
#[derive(Clone, Debug)]
pub struct ScaleCall {
    /// The namespace.
    pub namespace: Namespace,
    /// The deployment.
    pub name: DeploymentName,
    /// Replicas by image name or component name; at least one.
    pub replicas: BTreeMap<String, i32>,
    /// Check everything, write nothing.
    pub validate_only: bool,
    /// The etag the caller has seen; empty: any.
    pub etag: String,
    /// Wait until every component is ready, at most until then.
    pub wait_ready: Option<Instant>,
    /// When the caller's own deadline ends.
    pub deadline: Instant,
}

/// The answer to a Scale.
#[derive(Clone, Debug)]
pub struct Scaled {
    /// The deployment.
    pub deployment: DeploymentView,
    /// What was done to each object that was named or made.
    pub changes: Vec<Change>,
    /// What the caller should know.
    pub diagnostics: Vec<Diagnostic>,
    moment: Moment,
}

/// What a Scale has to do.
struct Wanted {
    /// Controllers whose count is set, with their entries.
    set: Vec<(Member, i32)>,
    /// Bare Pods that become controllers.
    convert: BTreeMap<ComponentName, i32>,
    /// Bare Pods that are to be one, as they are.
    unchanged: Vec<Member>,
}

impl Operations {
    /// Sets the replica counts of the named components and of nothing else.
    pub async fn scale(&self, call: ScaleCall) -> Result<Scaled> {
        Self::check_namespace(&call.namespace)?;
        let target = Target { namespace: call.namespace.clone(), name: call.name.clone() };
        let (operations, work_target) = (self.clone(), target.clone());
        let (deadline, wait) = (call.deadline, call.wait_ready);
        let mut scaled =
            self.detached(deadline, async move { operations.scale_now(&work_target, &call).await }).await?;
        if let Some(until) = wait {
            scaled.deployment = self.wait_ready(&target, until, &scaled.moment).await?;
        }
        Ok(scaled)
    }

    async fn scale_now(&self, target: &Target, call: &ScaleCall) -> Result<Scaled> {
        // 1. What is there; an operation that died is finished first, so that there is one thing to scale.
        let mut held = self.must_read(target).await?;
        lock::check_etag(Some(&held), &call.etag)?;
        lock::gate(&held)?;
        if held.is_deleting() {
            return Err(lock::being_deleted(&held));
        }
        if held.head.operation.is_some() && !call.validate_only {
            held = self.finish_deploy(target, held, call.deadline).await?;
        }
        // 2. Which components, and what each needs.
        let counts = counts(&held, &call.replicas)?;
        let wanted = wanted(&held, counts)?;
        if call.validate_only {
            return self.validated_scale(target, &held, &wanted).await;
        }
        let mut changes: Vec<Change> =
            wanted.unchanged.iter().map(|member| change(member, Action::Unchanged, None)).collect();
        let mut diagnostics = Vec::new();
        // 3. Pods that become controllers: under the lock, with the objects of the current revision.
        if !wanted.convert.is_empty() {
            let (converted, made, mut found) = self.convert(target, held, &wanted.convert).await?;
            held = converted;
            changes.extend(made);
            diagnostics.append(&mut found);
        }
        // 4. Controllers that are there: one guarded write each, which can never make an object.
        let sets = wanted.set.iter().map(|(member, replicas)| self.set(target, member, *replicas, false));
        let (set, failed) = split(join_all(sets).await);
        changes.extend(
            wanted.set.iter().map(|(member, replicas)| change(member, Action::Update, Some(*replicas))),
        );
        if !set.is_empty() {
            held = self.remember(target, held, &set).await?;
        }
        info!(components = changes.len(), "scaled");
        self.follow(target, &view::moment(&held));
        if let Some(error) = failed {
            let done: Vec<String> = set.iter().map(|member| member.reference.to_string()).collect();
            return Err(if set.is_empty() { error } else { Error::incomplete(error, done.join(", ")) });
        }
        Ok(Scaled { deployment: view::recorded(&held), changes, diagnostics, moment: view::moment(&held) })
    }

    /// Lets the API server check every change without making any.
    async fn validated_scale(&self, target: &Target, held: &Held, wanted: &Wanted) -> Result<Scaled> {
        let mut changes = planned_changes(wanted);
        let mut diagnostics = Vec::new();
        let tries = wanted.set.iter().map(|(member, replicas)| self.set(target, member, *replicas, true));
        if let (_, Some(error)) = split(join_all(tries).await) {
            return Err(error);
        }
        if !wanted.convert.is_empty() {
            let revision = self.current_revision(target, held).await?;
            let (plan, _) = self.plan_conversion(target, held, &revision, &wanted.convert)?;
            if let Some(error) = blame::first(&revision.template, self.dry_run(target, &plan).await) {
                return Err(error);
            }
            changes.extend(made(plan.changes));
            diagnostics = plan.diagnostics;
        }
        Ok(Scaled { deployment: view::recorded(held), changes, diagnostics, moment: view::moment(held) })
    }

    async fn current_revision(&self, target: &Target, held: &Held) -> Result<Revision> {
        let revision = self.read_revision(target, held.head.current.as_ref()).await?;
        revision.ok_or_else(|| {
            Error::internal("the current revision is not stored")
                .prefixed("the record of what is deployed is lost, deploy again to repair it; ")
        })
    }

    /// Sets one controller's count; returns its entry as it is then.
    async fn set(&self, target: &Target, member: &Member, replicas: i32, dry_run: bool) -> Result<Member> {
        let uid = member.uid.as_deref().unwrap_or_default();
        let reference = &member.reference;
        let generation =
            self.cluster.scale(&target.namespace, &target.name, reference, uid, replicas, dry_run).await?;
        Ok(Member { scaled_replicas: Some(replicas), generation, ..member.clone() })
    }

    /// Writes the counts into the inventory; whoever wrote the head meanwhile is read again.
    async fn remember(&self, target: &Target, held: Held, set: &[Member]) -> Result<Held> {
        let mut held = held;
        for _ in 0..5 {
            let mut head = held.head.clone();
            head.generation += 1;
            head.updated = jiff::Timestamp::now();
            head.recorded.state = DeploymentState::Deploying.as_str().to_owned();
            for scaled in set {
                let entry = head.inventory.iter_mut().find(|member| member.reference == scaled.reference);
                if let Some(member) = entry {
                    member.scaled_replicas = scaled.scaled_replicas;
                    member.generation = member.generation.max(scaled.generation);
                }
            }
            match self.cluster.write_head(&held, head).await {
                Err(error) if error.kind() == ErrorKind::OperationInProgress => {
                    held = self.must_read(target).await?;
                    // A head that another operation holds is that operation's alone to write.
                    lock::gate(&held)?;
                    if held.is_deleting() || held.head.operation.is_some() {
                        return Err(lock::being_changed(&held));
                    }
                }
                other => return other,
            }
        }
        Err(lock::being_changed(&held))
    }

    /// Turns bare Pods into ReplicationControllers that adopt them.
    async fn convert(
        &self,
        target: &Target,
        held: Held,
        convert: &BTreeMap<ComponentName, i32>,
    ) -> Result<(Held, Vec<Change>, Vec<Diagnostic>)> {
        let revision = self.current_revision(target, &held).await?;
        let (plan, is_open) = self.plan_conversion(target, &held, &revision, convert)?;
        let mut head = held.head.clone();
        head.phase = Phase::Applying;
        head.inventory = plan.union();
        let id = lock::operation_id();
        let mut lock = Lock::take(self, target, Some(&held), head, OperationKind::Scale, id, None).await?;
        let report = lock
            .during(async {
                let mut report = execute::Report::default();
                self.apply_stage(target, &plan, Stage::Foundation, &mut report).await;
                if report.failures.is_empty() {
                    self.apply_stage(target, &plan, Stage::Workload, &mut report).await;
                } else {
                    Self::skip_stage(&plan, Stage::Workload, &mut report);
                }
                report
            })
            .await?;
        let mut head = lock.held().head.clone();
        head.inventory = report.applied.iter().chain(&report.open).chain(&plan.kept).cloned().collect();
        let complete = report.failures.is_empty();
        if !complete {
            head.inventory.extend(plan.handed_over.iter().cloned());
        }
        // What an earlier Deploy could not delete stays the next one's to delete.
        head.inventory.extend(execute::deleting(&plan.doomed));
        head.recorded.state = DeploymentState::Deploying.as_str().to_owned();
        // An update that was refused before stays the next Deploy's to carry out.
        let phase = if complete && !is_open { Phase::Progressing } else { Phase::Incomplete };
        let held = lock.release(head, phase).await?;
        let listing = blame::listing(&report.failures);
        if let Some(first) = blame::first(&revision.template, report.failures) {
            return Err(Error::incomplete(first, listing));
        }
        Ok((held, made(plan.changes), plan.diagnostics))
    }

    /// Plans what makes controllers of these components, and says whether an update stays refused beside them.
    fn plan_conversion(
        &self,
        target: &Target,
        held: &Held,
        revision: &Revision,
        convert: &BTreeMap<ComponentName, i32>,
    ) -> Result<(Plan, bool)> {
        let now = controllers(&held.head);
        let then: BTreeSet<ComponentName> = now.iter().chain(convert.keys()).cloned().collect();
        let before = revision.rendered_with(now);
        let prepared = Prepared::stored(revision.template.clone(), &revision.options);
        let (after, ..) = super::translate::render(&prepared, then)?;
        let (own, scale) = (field_manager(&target.name), scale_manager(&target.name));
        // A refused update may have asked for another kind of workload.
        let is_made = |component: &ComponentName| {
            after.objects().iter().any(|artifact| {
                artifact.component == *component && artifact.reference.kind == Kind::ReplicationController
            })
        };
        if let Some(component) = convert.keys().find(|component| !is_made(component)) {
            return Err(not_scalable(component));
        }
        let mut plan = plan::plan(&Inputs {
            head: Some(&held.head),
            before: &before,
            after: &after,
            // Scaling a component never renews the pods that are linked to it.
            links: &BTreeMap::new(),
            seen: None,
            revision: held.head.current.as_ref().map_or(1, |current| current.number),
            prune: false,
            scale: convert,
            managers: (&own, &scale),
        });
        let is_open = restrict(&mut plan, &held.head, convert);
        Ok((plan, is_open))
    }
}

/// Finds the component behind each name; every unknown name is a fault.
fn counts(held: &Held, replicas: &BTreeMap<String, i32>) -> Result<BTreeMap<ComponentName, i32>> {
    let components = &held.head.recorded.components;
    let mut counts = BTreeMap::new();
    for (name, count) in replicas {
        let exact = components.iter().find(|component| component.image_name == *name);
        let found = exact.or_else(|| components.iter().find(|component| component.name.as_str() == name));
        let Some(component) = found else {
            let names = components.iter().map(|component| component.image_name.as_str());
            return Err(unknown(held, name, names));
        };
        if counts.insert(component.name.clone(), *count).is_some_and(|other| other != *count) {
            let text = format!("component {} is named twice with different counts", component.name);
            return Err(Error::fields(vec![Fault::field(format!("replicas[{name}]"), text)]));
        }
    }
    Ok(counts)
}

fn unknown<'a>(held: &Held, name: &str, names: impl Iterator<Item = &'a str>) -> Error {
    let names: Vec<&str> = names.collect();
    let hint = did_you_mean(name, names.iter().copied());
    Error::new(
        ErrorKind::ComponentNotFound,
        format!("deployment {} has no component {name:?}{hint}", held.name),
    )
    .with("components", names.join(","))
}

/// Sorts the components by what each needs; an update that was refused is nothing that Scale carries out.
fn wanted(held: &Held, counts: BTreeMap<ComponentName, i32>) -> Result<Wanted> {
    let mut wanted = Wanted { set: Vec::new(), convert: BTreeMap::new(), unchanged: Vec::new() };
    for (component, count) in counts {
        // The newest stand first in the inventory, and of equals the last is taken.
        let workloads = held.head.inventory.iter().rev().filter(|member| {
            member.component == component
                && member.stage() == Stage::Workload
                && member.state != MemberState::Deleting
        });
        // A controller without a uid was never made: what runs is the Pod that it was to take over.
        let made = workloads.filter(|member| member.uid.is_some());
        match made.max_by_key(|member| member.reference.kind.is_controller()) {
            Some(member) if member.reference.kind.is_controller() => {
                wanted.set.push((member.clone(), count));
            }
            Some(member) if count == 1 => wanted.unchanged.push(member.clone()),
            // The form that a refused update asked for is none to go on from.
            Some(member) if member.state == MemberState::Applied => {
                wanted.convert.insert(component, count);
            }
            _ => return Err(not_scalable(&component)),
        }
    }
    Ok(wanted)
}

/// The answer where no workload stands as the records have it.
fn not_scalable(component: &ComponentName) -> Error {
    Error::new(
        ErrorKind::ComponentNotFound,
        format!("component {component} has no workload that can be scaled; deploy again to make it"),
    )
}

/// Leaves everything as it is but for these components: a Scale carries out no update that was refused.
///
/// Returns whether there is such an update.
fn restrict(plan: &mut Plan, head: &Head, components: &BTreeMap<ComponentName, i32>) -> bool {
    let is_other = |component: &ComponentName| !components.contains_key(component);
    let open: Vec<ObjectRef> = plan
        .steps
        .extract_if(.., |step| step.action != Action::Unchanged && is_other(&step.artifact.component))
        .map(|step| step.artifact.reference)
        .collect();
    plan.changes.retain(|change| !open.contains(&change.reference));
    plan.kept.extend(open.iter().filter_map(|reference| head.member(reference)).cloned());
    let waiting = plan.handed_over.extract_if(.., |member| is_other(&member.component));
    plan.kept.extend(waiting);
    // Nor does it delete what such an update has superseded.
    let superseded = plan.doomed.extract_if(.., |doomed| doomed.member.state != MemberState::Deleting);
    plan.kept.extend(superseded.map(|doomed| doomed.member));
    !open.is_empty()
}

/// The successes, and the first failure.
fn split(results: Vec<Result<Member>>) -> (Vec<Member>, Option<Error>) {
    let mut failure = None;
    let successes = results.into_iter().filter_map(|result| match result {
        Ok(member) => Some(member),
        Err(error) => {
            failure.get_or_insert(error);
            None
        }
    });
    (successes.collect(), failure)
}

/// The changes that a conversion makes; what an earlier Deploy could not delete is not its work.
fn made(changes: Vec<Change>) -> Vec<Change> {
    changes.into_iter().filter(|one| !matches!(one.action, Action::Unchanged | Action::Delete)).collect()
}

fn planned_changes(wanted: &Wanted) -> Vec<Change> {
    let set = wanted.set.iter().map(|(member, count)| change(member, Action::Update, Some(*count)));
    set.chain(wanted.unchanged.iter().map(|member| change(member, Action::Unchanged, None))).collect()
}

fn change(member: &Member, action: Action, replicas: Option<i32>) -> Change {
    let before = member.scaled_replicas.or(member.template_replicas);
    let fields = replicas.map(|count| FieldChange {
        path: "spec.replicas".to_owned(),
        before: before.map(|before| before.to_string()),
        after: Some(count.to_string()),
    });
    Change {
        reference: member.reference.clone(),
        uid: member.uid.clone(),
        action,
        component: Some(member.component.clone()),
        fields: fields.into_iter().collect(),
    }
}
