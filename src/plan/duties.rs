//! What is left to do for a deployment: one question, asked by the operation itself, the next call and every keeper.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Removal, drift, waits};
use crate::artifacts::{
    ANNOTATION_OPERATION, ComponentName, DeploymentState, Form, HoldUp, Kind, LABEL_NAME, ObjectName,
    ObjectRef, Observed, field_manager,
};
use crate::record::{Cause, Head, HeadRef, Member, MemberState, Phase, Record, Seen, Transition};
use crate::status::{self, ComponentState, Status, expected};

/// How long what an operation has sent is looked out for after it was taken over, or has ended without every answer:
/// longer than any call of ours may take, and than the API server works on one.
pub const DOUBT: Duration = Duration::from_secs(60);

/// What is left to do for a deployment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Duties {
    /// What can be done now, in this order.
    pub now: Vec<Duty>,
    /// Why the rest waits, for people.
    pub waits: Vec<String>,
    /// When to ask again, if nothing on the cluster changes until then.
    pub again_in: Option<Duration>,
    /// What holds components up or was written from outside, and is told as a failure once it was seen for long enough.
    pub held_up: Vec<HoldUp>,
}

/// One thing to do; done twice, it changes nothing the second time.
#[derive(Clone, Debug, PartialEq)]
pub enum Duty {
    /// Finish the Deploy or Scale of a holder that died: forward if its revision was stored, else back.
    Adopt,
    /// Finish the teardown of a holder that died.
    TearDown,
    /// Delete pods of an earlier revision, in the form that was seen: one that has become ready since is left alone.
    Replace(Vec<(ObjectRef, Form)>),
    /// Delete the pods and ReplicaSets of controllers that these components have lost: each is ready without them.
    ClearLeft(Vec<ComponentName>),
    /// Delete objects that the template no longer has, by uid.
    Delete(Vec<Removal>),
    /// Delete objects that an operation which was taken over has created late, or a lost record has left, in this form,
    /// unless a fresh look at the record knows them.
    DeleteLate(Vec<(ObjectRef, Form)>),
    /// Look once more for what may still have arrived, and forget the operations that were taken over.
    ClearDoubts(Vec<String>),
    /// Delete revisions that are no longer kept.
    DropRevisions(Vec<HeadRef>),
    /// Forget deletes that were refused, of objects that are gone.
    ForgetRefused(Vec<(ObjectRef, Option<String>)>),
    /// Write down the state that was seen, and why, if something has failed.
    Settle(Seen),
    /// Put this revision back: a component of the current one has failed before all were ever ready.
    TakeBack(HeadRef, Cause),
}

/// What is left to do for a record, by an observer that has seen neither a renewal nor another operation for so long.
pub fn duties(record: &Record, observed: &Observed, unrenewed_for: Duration) -> Duties {
    let head = &record.head;
    if record.terminating {
        return Duties { waits: vec!["its record is being deleted".to_owned()], ..Duties::default() };
    }
    if let Some(operation) = &head.operation {
        let remaining = operation.remaining(unrenewed_for);
        if remaining > Duration::ZERO {
            let why = format!("an operation of {} has not ended", operation.holder);
            return Duties { waits: vec![why], again_in: Some(remaining), ..Duties::default() };
        }
        let duty = if head.phase == Phase::Deleting { Duty::TearDown } else { Duty::Adopt };
        return Duties { now: vec![duty], ..Duties::default() };
    }
    let mut duties = Duties::default();
    let expected = expected(record);
    for rollout in status::rollouts(&expected, observed) {
        if !rollout.replace.is_empty() {
            duties.now.push(Duty::Replace(rollout.replace));
        }
        duties.waits.extend(rollout.waits);
    }
    let dead = never_adopted(head, observed);
    if !dead.is_empty() {
        duties.now.push(Duty::Replace(dead));
    }
    let status = status::conclude(&expected, observed);
    let state = status.of_components;
    let drift = drift(record, observed, &[]).into_iter().map(|one| one.held_up());
    duties.held_up = status.held_up().into_iter().chain(drift).collect();
    let left = status.components.iter().filter(|component| component.has_left);
    let left: Vec<ComponentName> = left.map(|component| component.name.clone()).collect();
    if !left.is_empty() {
        duties.now.push(Duty::ClearLeft(left));
    }
    delete(head, state, &mut duties);
    let late = late(record, observed);
    if !late.is_empty() {
        duties.now.push(Duty::DeleteLate(late));
    }
    if head.doubts().next().is_some() {
        match DOUBT.saturating_sub(unrenewed_for) {
            Duration::ZERO => duties.now.push(Duty::ClearDoubts(head.doubts().cloned().collect())),
            left => duties.again_in = Some(left),
        }
    }
    let superfluous = head.superfluous_revisions();
    if !superfluous.is_empty() {
        duties.now.push(Duty::DropRevisions(superfluous));
    }
    let ended = ended(head, observed);
    if !ended.is_empty() {
        duties.now.push(Duty::ForgetRefused(ended));
    }
    let cause = || {
        let component = status.blocking().map(|component| component.name.clone());
        Cause::new(component, &status.message)
    };
    if !is_recorded(head, &status) {
        let has_failed = matches!(state, DeploymentState::Failed | DeploymentState::Degraded);
        duties.now.push(Duty::Settle(seen(head, &status, has_failed.then(cause))));
    }
    // Last: whatever else is noted of this revision is noted before it is taken back.
    if let Some(earlier) = head.pledge.clone().filter(|_| status.is_hopeless()) {
        duties.now.push(Duty::TakeBack(earlier, cause()));
    }
    duties
}

/// Whether there is nothing to write down of a state that was seen.
pub fn is_recorded(head: &Head, status: &Status) -> bool {
    let is_conclusive =
        !matches!(status.of_components, DeploymentState::Deploying | DeploymentState::Deleting);
    let settled = Transition::Settled { seen: Some(seen(head, status, None)), gone: BTreeSet::new() };
    !is_conclusive || settled.apply(head) == *head
}

/// What a status says of a deployment, and so of its revision.
fn seen(head: &Head, status: &Status, cause: Option<Cause>) -> Seen {
    // Whoever asked for no replicas has them.
    let wants_none = |component: &ComponentName| {
        let of_it = head.inventory.iter().filter(|member| member.component == *component);
        of_it
            .filter(|member| member.state == MemberState::Applied)
            .any(|member| member.template_replicas == Some(0))
    };
    let mut components = status.components.iter();
    let ran = components.all(|one| one.state != ComponentState::Stopped || wants_none(&one.name));
    Seen { state: status.of_components, cause, ran }
}

/// Whether nothing is left to do for a deployment whatever its objects do: then it need not be watched.
pub fn is_at_rest(record: &Record) -> bool {
    let head = &record.head;
    let is_recorded = match head.phase {
        // What was ready once and has failed since may be ready again, and nobody else would say so.
        Phase::Idle => head.recorded.state.is_ready(),
        // An update was not written whole, which the next Deploy repairs; once its state is recorded it may change, and a
        // look at it tells.
        Phase::Incomplete => head.recorded.state != DeploymentState::Deploying,
        Phase::Applying | Phase::Progressing | Phase::Deleting => false,
    };
    let deletes = head.phase == Phase::Idle && removals(head).next().is_some();
    let drops = !head.superfluous_revisions().is_empty() || head.refused_deletes().next().is_some();
    head.operation.is_none() && head.doubts().next().is_none() && is_recorded && !deletes && !drops
}

/// Objects that an operation has created late: they bear its mark, and no inventory has them. Where the last Deploy prunes
/// also those with any other mark of ours, which a record that was lost has left.
///
/// The same rules as for a plan: nobody else applies as our field manager, what a controller has taken over is its own,
/// and what lies on a volume stays.
pub fn late(record: &Record, observed: &Observed) -> Vec<(ObjectRef, Form)> {
    let head = &record.head;
    if head.operation.is_some() {
        return Vec::new();
    }
    let manager = field_manager(&record.name);
    let is_late = |(kind, metadata): (Kind, &ObjectMeta)| {
        let name = ObjectName::new(metadata.name.clone()?).ok()?;
        let (reference, uid) = (ObjectRef::new(kind, name), metadata.uid.clone()?);
        let mut entries = metadata.managed_fields.iter().flatten();
        let is_ours = entries.any(|entry| {
            entry.manager.as_ref() == Some(&manager) && entry.operation.as_deref() == Some("Apply")
        });
        let mark = metadata.annotations.as_ref().and_then(|marks| marks.get(ANNOTATION_OPERATION));
        let component = metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_NAME));
        let component = component.map(String::as_str).unwrap_or_default();
        let is_marked =
            mark.is_some_and(|operation| is_of_nobody(head, &reference, component, operation, head.prunes));
        let mut owners = metadata.owner_references.iter().flatten();
        let is_controlled = owners.any(|owner| owner.controller == Some(true));
        let is_known = head.knows(&reference, &uid) || is_controlled;
        let stays = kind == Kind::PersistentVolumeClaim || metadata.deletion_timestamp.is_some();
        let form = Form::new(uid, metadata.resource_version.clone());
        (is_ours && is_marked && !is_known && !stays).then_some((reference, form))
    };
    observed.metadata().filter_map(is_late).collect()
}

/// Whether an object that no inventory has, with the mark of this operation, is one that came late or that a lost record has
/// left.
///
/// A Pod whose component a ReplicationController runs may have been that one's, and was let go: it came late only if
/// something of the operation may still arrive. What is left beside what runs goes once that is ready.
pub(super) fn is_of_nobody(
    head: &Head,
    object: &ObjectRef,
    component: &str,
    operation: &str,
    prunes: bool,
) -> bool {
    let is_of = |member: &Member| {
        let own = member.component.as_str();
        component == own || object.name.as_str() == Kind::Pod.workload_name(own)
    };
    let mut controllers =
        head.inventory.iter().filter(|member| member.reference.kind == Kind::ReplicationController);
    match object.kind == Kind::Pod && controllers.any(is_of) {
        true => head.doubts().any(|doubted| doubted == operation),
        false => prunes || head.has_begun(operation),
    }
}

/// Pods that were handed to a controller and have ended: none adopts such a pod, so nobody else deletes it.
fn never_adopted(head: &Head, observed: &Observed) -> Vec<(ObjectRef, Form)> {
    let handed_over = head.inventory.iter().filter_map(|member| member.adopts.as_ref());
    let dead = handed_over.filter_map(|adopted| {
        let mut pods = observed.pods.iter();
        let pod = pods.find(|pod| pod.metadata.uid.as_ref() == Some(&adopted.uid))?;
        let is_left = status::has_ended(pod) && pod.metadata.deletion_timestamp.is_none();
        let form = Form::new(adopted.uid.clone(), pod.metadata.resource_version.clone());
        is_left.then(|| (adopted.reference.clone(), form))
    });
    dead.collect()
}

/// Objects whose delete was refused and that are gone: somebody else has deleted them.
fn ended(head: &Head, observed: &Observed) -> Vec<(ObjectRef, Option<String>)> {
    let is_gone = |reference: &ObjectRef, uid: &Option<String>| {
        uid.as_ref().is_some_and(|uid| observed.has(reference.kind, uid) == Some(false))
    };
    let refused = head.refused_deletes().filter(|one| is_gone(&one.reference, &one.uid));
    // What the inventory has goes with its entry, which only the API server's own word drops.
    let refused = refused.filter(|one| head.member(&one.reference).is_none());
    refused.map(|one| (one.reference.clone(), one.uid.clone())).collect()
}

/// The objects that an operation left to be deleted.
fn removals(head: &Head) -> impl Iterator<Item = Removal> {
    let deleting = head.inventory.iter().filter(|member| member.state == MemberState::Deleting);
    deleting.filter_map(|member| Some(Removal { uid: member.uid.clone()?, member: member.clone() }))
}

/// Decides about removed objects: Secrets wait until the rollout has settled.
fn delete(head: &Head, state: DeploymentState, duties: &mut Duties) {
    // After an update that was not written whole, the former workload may be the one that serves.
    if !matches!(head.phase, Phase::Progressing | Phase::Idle) {
        return;
    }
    let (later, now): (Vec<Removal>, Vec<Removal>) =
        removals(head).partition(|removals| waits(removals) && !state.is_ready());
    if !now.is_empty() {
        duties.now.push(Duty::Delete(now));
    }
    if let Some(first) = later.first() {
        let text = format!("{} is deleted once every component is ready", first.member.reference);
        duties.waits.push(text);
    }
}

#[cfg(test)]
mod tests;
