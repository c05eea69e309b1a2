//! What becomes of objects that the template no longer has: deleted, kept, or taken over.

use std::collections::BTreeSet;

use super::{Doomed, Inputs, Plan, Step};
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
                .find(|seen| seen.reference == member.reference && seen.ours)
                .map(|seen| seen.uid.clone())
        });
        let uid = match seen {
            Some(seen) => seen,
            None => member.uid.clone(),
        };
        let kind = member.reference.kind;
        let adopted = kind == Kind::Pod && adopting.contains(&member.component);
        // Another workload runs the component now: two of them would run it twice.
        let superseded = kind.stage() == Stage::Workload && running.contains(&member.component);
        let action = match uid {
            // Gone already: the entry leaves with the next write of the head.
            None => {
                plan.gone.push(member.reference.clone());
                continue;
            }
            Some(uid) if adopted => {
                hand_over(&mut plan.steps, member, uid);
                plan.handed_over.push(member.clone());
                Action::Keep
            }
            // What lies on a volume goes only when a Teardown says so.
            Some(_) if kind == Kind::PersistentVolumeClaim => {
                plan.kept.push(member.clone());
                Action::Keep
            }
            Some(uid) if inputs.prune || superseded || member.state == MemberState::Deleting => {
                if superseded && member.state != MemberState::Deleting {
                    tell_interruption(plan, member);
                }
                plan.doomed.push(Doomed { member: member.clone(), uid });
                Action::Delete
            }
            Some(_) => {
                plan.kept.push(member.clone());
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
fn hand_over(steps: &mut [Step], pod: &Member, uid: String) {
    let controller = steps.iter_mut().find(|step| {
        step.artifact.reference.kind == Kind::ReplicationController
            && step.artifact.component == pod.component
    });
    if let Some(step) = controller {
        step.member.adopts = Some(Adopted { reference: pod.reference.clone(), uid });
    }
}

/// Whether pods of the former kind may read it still: they are started again from it until the new ones serve.
pub fn waits(doomed: &Doomed) -> bool {
    doomed.member.reference.kind == Kind::Secret
}

impl Doomed {
    /// Whether its turn comes when the rollout has settled, and that is written down already.
    pub fn is_deferred(&self) -> bool {
        waits(self) && self.member.state == MemberState::Deleting
    }
}

/// Entries of objects that were to be deleted and are not known to be gone.
pub fn deleting(doomed: &[Doomed]) -> Vec<Member> {
    let deleting = doomed.iter().map(|doomed| Member {
        state: MemberState::Deleting,
        uid: Some(doomed.uid.clone()),
        ..doomed.member.clone()
    });
    deleting.collect()
}
