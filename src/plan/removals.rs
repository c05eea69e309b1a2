//! What becomes of objects that the template no longer has: deleted, kept, or taken over.

use std::collections::BTreeSet;

use super::duties::is_of_nobody;
use super::{Inputs, Plan, Removal, Step, existing, replicas};
use crate::artifacts::{Action, Change, ComponentName, Kind, Stage};
use crate::diagnostic::{Code, Diagnostic};
use crate::record::{Adopted, Member, MemberState};

/// Decides about everything the template no longer has.
pub(super) fn decide(inputs: &Inputs<'_>, plan: &mut Plan) {
    let Some(head) = inputs.head else { return };
    // A Pod is handed to a ReplicationController alone: an apps Deployment would not count it as its own.
    let adopting = components(inputs, |kind| kind == Kind::ReplicationController);
    let running = components(inputs, |kind| kind.stage() == Stage::Workload);
    for member in &head.inventory {
        if inputs.after.get(&member.reference).is_some() {
            continue;
        }
        let seen = inputs.seen.map(|seen| {
            seen.iter()
                .find(|seen| seen.reference == member.reference && existing::is_ours(inputs, seen))
                .map(|seen| seen.uid.clone())
        });
        let uid = match seen {
            Some(seen) => seen,
            None => member.uid.clone(),
        };
        let member = &existing::restored(inputs, uid.as_deref(), member.clone());
        let kind = member.reference.kind;
        let adopted = kind == Kind::Pod && adopting.contains(&member.component);
        // Another workload runs the component now: two of them would run it twice.
        let superseded = kind.stage() == Stage::Workload && running.contains(&member.component);
        let is_undone = inputs.back.is_some_and(|back| back.undoes(member));
        let action = match uid {
            // A dead operation's creation of a Secret may still arrive, and nobody may watch Secrets.
            None if kind == Kind::Secret && (head.operation.is_some() || head.doubts().next().is_some()) => {
                plan.kept.push(Member { state: MemberState::Deleting, uid: None, ..member.clone() });
                continue;
            }
            // Gone already: the entry leaves with the next write of the head.
            None => {
                plan.gone.push(member.reference.clone());
                continue;
            }
            Some(uid) if adopted => {
                let count = hand_over(&mut plan.steps, member, uid);
                plan.handed_over.push(member.clone());
                // A controller that is to have none deletes what it takes over.
                if count == Some(0) { Action::Delete } else { Action::Keep }
            }
            // What lies on a volume goes only when a Teardown says so.
            Some(_) if kind == Kind::PersistentVolumeClaim => {
                plan.kept.push(Member { kept: true, ..member.clone() });
                Action::Keep
            }
            Some(uid) if inputs.prune || superseded || is_undone || member.state == MemberState::Deleting => {
                if superseded && member.state != MemberState::Deleting {
                    tell_interruption(plan, member);
                }
                plan.removals.push(Removal { member: member.clone(), uid });
                Action::Delete
            }
            Some(_) => {
                plan.kept.push(Member { kept: true, ..member.clone() });
                Action::Keep
            }
        };
        plan.changes.push(Change {
            reference: member.reference.clone(),
            uid: member.uid.clone(),
            action,
            component: Some(member.component.clone()),
            fields: Vec::new(),
        });
    }
}

/// Decides about objects of ours that no inventory has: an operation that was taken over has created them late.
///
/// What people have made is never meant, nor a copy with all our marks: nobody else applies as our field manager. What a
/// controller has taken over is its own, and what lies on a volume goes only when a Teardown says so.
pub(super) fn decide_late(inputs: &Inputs<'_>, plan: &mut Plan) {
    let Some(head) = inputs.head else { return };
    for seen in inputs.seen.unwrap_or_default() {
        let is_known = head.knows(&seen.reference, &seen.uid) || inputs.after.get(&seen.reference).is_some();
        let is_claim = seen.reference.kind == Kind::PersistentVolumeClaim;
        let Some(operation) = seen.operation.as_ref().filter(|_| seen.ours && !seen.terminating) else {
            continue;
        };
        let Ok(component) = ComponentName::new(seen.component.clone()) else { continue };
        // A record that was lost and begun anew knows not everything that was there: such objects go as removed ones do.
        let goes = is_of_nobody(head, &seen.reference, component.as_str(), operation, inputs.prune);
        if is_known || is_claim || seen.controlled || !goes {
            continue;
        }
        let member =
            Member::late(seen.reference.clone(), component.clone(), seen.uid.clone(), operation.clone());
        plan.changes.push(Change {
            reference: seen.reference.clone(),
            uid: Some(seen.uid.clone()),
            action: Action::Delete,
            component: Some(component),
            fields: Vec::new(),
        });
        plan.removals.push(Removal { uid: seen.uid.clone(), member });
    }
}

/// Says that the component runs nowhere from its former workload's end until the new pods are ready.
fn tell_interruption(plan: &mut Plan, former: &Member) {
    let steps = plan.steps.iter();
    let mut workloads = steps.filter(|step| {
        step.artifact.component == former.component && step.artifact.reference.kind.stage() == Stage::Workload
    });
    let Some(step) = workloads.next() else { return };
    let text = format!(
        "component {} changes its kind of workload, so it is interrupted until the new pods are ready",
        former.component
    );
    plan.diagnostics.push(Diagnostic::new(Code::WorkloadReplaced, step.artifact.origin.clone(), text));
}

/// The components that have an object of such a kind.
fn components<'a>(inputs: &'a Inputs<'_>, is_meant: impl Fn(Kind) -> bool) -> BTreeSet<&'a ComponentName> {
    let objects = inputs.after.objects().iter();
    objects.filter(|artifact| is_meant(artifact.reference.kind)).map(|artifact| &artifact.component).collect()
}

/// Notes with the controller that it takes this Pod over.
///
/// Answers how many pods that is to have.
fn hand_over(steps: &mut [Step], pod: &Member, uid: String) -> Option<i32> {
    let controller = steps.iter_mut().find(|step| {
        step.artifact.reference.kind == Kind::ReplicationController
            && step.artifact.component == pod.component
    });
    let step = controller?;
    step.member.adopts = Some(Adopted { reference: pod.reference.clone(), uid });
    replicas::written(&step.artifact)
}

/// Whether pods of the former kind may read it still: they are started again from it until the new ones serve.
pub fn waits(removals: &Removal) -> bool {
    removals.member.reference.kind == Kind::Secret
}

impl Removal {
    /// Whether its turn comes when the rollout has settled, and that is written down already.
    pub fn is_deferred(&self) -> bool {
        waits(self) && self.member.state == MemberState::Deleting
    }
}

/// Entries of objects that were to be deleted and are not known to be gone.
pub fn deleting(removals: &[Removal]) -> Vec<Member> {
    let deleting = removals.iter().map(|removals| Member {
        state: MemberState::Deleting,
        uid: Some(removals.uid.clone()),
        ..removals.member.clone()
    });
    deleting.collect()
}
