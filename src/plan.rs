//! The plan: what happens to every object, decided before anything is touched.

mod back;
mod beside;
mod blame;
mod claims;
mod decided;
mod diff;
mod displaced;
mod drift;
mod duties;
mod existing;
mod fields;
mod id;
mod layout;
mod leftovers;
mod named;
mod owners;
mod prepared;
mod remedy;
mod removals;
mod replacing;
mod replicas;
mod revision;
mod scale;
mod shown;
mod stamp;
mod standing;

use std::collections::{BTreeMap, BTreeSet};

use crate::artifacts::{
    Action, Artifact, Artifacts, Change, ComponentName, Form, Kind, ListedObject, ObjectRef, Others, Stage,
};
use crate::diagnostic::Diagnostic;
use crate::record::{Head, Member, MemberState};

pub use back::{Back, Course, FailurePolicy, PrunePolicy, restored};
pub use beside::Beside;
pub use blame::{first as first_failure, joined, listing};
pub use claims::{VolumePolicy, check as check_claims, set_aside};
pub use decided::{Decided, decide};
pub use displaced::{Displaced, without_displaced};
pub use drift::{Drift, drift, same_again, tell_drift};
pub use duties::{DOUBT, Duty, duties, is_at_rest, is_recorded, late};
pub use id::{check_id, id, stale};
pub use layout::at_root;
pub use leftovers::leftovers;
pub use named::{Mixed, Named};
pub use owners::{Decision, check_autoscalers};
pub use prepared::{
    Prepared, Reading, Rendered, Source, Standing, TemplateCall, check_renders, combine, deployment_name,
    judge, prepare, read, render,
};
pub use remedy::{
    ConflictPolicy, Remedy, blamed, is_for_good, is_refusal, remedy, waits_for_somebody, without,
};
pub use removals::{deleting, waits};
pub use replacing::tell_untried;
pub use replicas::{ReplicasPolicy, autoscaled, counts_to_read, with_scaled_counts};
pub use revision::Revision;
pub use scale::{Conversion, ScalePlan, still_scaled};
pub use standing::{stood_as, without_lost};

use replicas::Replicas;

/// Everything a plan is made from.
pub struct Inputs<'a> {
    /// The head, if the deployment exists.
    pub head: Option<&'a Head>,
    /// The objects as the current revision rendered them.
    pub before: &'a [Artifact],
    /// The objects as earlier revisions rendered them, by number: as these stand what a later one was never written to.
    pub earlier: &'a BTreeMap<u32, Vec<Artifact>>,
    /// The objects as they shall be.
    pub after: &'a Artifacts,
    /// For each component, the Services its links lead to.
    pub links: &'a BTreeMap<ComponentName, BTreeSet<ObjectRef>>,
    /// What is on the cluster; `None`: not looked, the inventory is believed.
    pub seen: Option<&'a [ListedObject]>,
    /// Whether the record was restored from a backup, and the objects with it.
    pub restored: bool,
    /// The number of the revision to come.
    pub revision: u32,
    /// The id of the operation to come.
    pub operation: &'a str,
    /// Whether objects that the template no longer has are deleted.
    pub prune: bool,
    /// What is done where others hold fields.
    pub conflicts: ConflictPolicy,
    /// Whose replica counts hold.
    pub replicas: ReplicasPolicy,
    /// The components for which the template has no count.
    pub uncounted: &'a BTreeSet<ComponentName>,
    /// Replica counts asked for by Scale.
    pub scale: &'a BTreeMap<ComponentName, i32>,
    /// The field managers of this deployment: of its objects, and of Scale.
    pub managers: (&'a str, &'a str),
    /// What is different where an earlier revision is put back.
    pub back: Option<&'a Back>,
}

/// One object to be applied, or to be left as it is.
#[derive(Clone, Debug)]
pub struct Step {
    /// The object, stamped.
    pub artifact: Artifact,
    /// What happens to it.
    pub action: Action,
    /// The uid of the object that is there.
    pub uid: Option<String>,
    /// The version of the object that is there, as the plan saw it; `None`: nobody looked.
    pub version: Option<String>,
    /// Its entry in the inventory, before it is written.
    pub member: Member,
    /// Its entry as it was before the plan.
    pub former: Option<Member>,
    /// Set the replicas back to this first, since another manager holds them.
    pub take_back: Option<i32>,
    /// Of a controller: the template's count, and the one Scale asked for, once it is written.
    pub template_replicas: Option<i32>,
    /// See above.
    pub scaled_replicas: Option<i32>,
    /// Whether that was found and is not Scale's.
    pub found_replicas: bool,
    /// Of a controller: whether the template has no count.
    pub uncounted: bool,
    /// The count that is in force, as far as it is known.
    pub(crate) replicas_in_force: Option<i32>,
    /// What it was and is to be, where others hold fields of it.
    pub(crate) shapes: Option<Box<shown::Shapes>>,
    /// What other field managers hold of it that may get into the way.
    pub others: Vec<Others>,
    /// Whether nobody knows any more who holds its fields: the entries were wiped.
    pub is_wiped: bool,
    /// Whether an update that turns out impossible may become a replacement: nobody knows which form is there.
    pub may_replace: bool,
}

impl Step {
    /// The form of the object that is there, as the plan saw it.
    pub fn form(&self) -> Option<Form> {
        let generation = self.former.as_ref().and_then(|former| former.generation);
        self.uid.clone().map(|uid| Form { uid, version: self.version.clone(), generation })
    }

    /// The object as a dry run can try it: a count that is taken back first would still conflict there.
    pub fn tried(&self) -> Artifact {
        if self.take_back.is_some() { self.without_replicas() } else { self.artifact.clone() }
    }

    /// The entry of a step that was certainly not written: of what was applied before, as it was.
    pub fn untouched(&self) -> Member {
        let is_applied = |former: &&Member| former.state == MemberState::Applied && former.uid.is_some();
        let former = self.former.as_ref().filter(is_applied);
        former.filter(|former| former.uid == self.uid).cloned().unwrap_or_else(|| self.unwritten())
    }

    /// The same, where its state is uncertain: its pods keep their former revision.
    fn unwritten(&self) -> Member {
        let pods = self.former.as_ref().map_or(self.member.pod_revision, |former| former.pod_revision);
        Member { pod_revision: pods, ..self.member.clone() }
    }

    /// Whether a refused attempt may already have changed the cluster: a delete, or a changed replica count, comes
    /// first.
    pub fn has_preludes(&self) -> bool {
        let may_delete = self.action == Action::Replace || self.may_replace && self.uid.is_some();
        may_delete || self.take_back.is_some()
    }

    /// Whether others may object to an update: somebody else holds fields of it, or nobody knows who does.
    pub fn is_contested(&self) -> bool {
        self.action == Action::Update && (self.is_wiped || !self.others.is_empty())
    }

    /// The object without its replica count, for when another manager holds that.
    fn without_replicas(&self) -> Artifact {
        let manifest = replicas::ignored(&self.artifact.manifest);
        Artifact { manifest, ..self.artifact.clone() }
    }
}

/// An object to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Its entry in the inventory.
    pub member: Member,
    /// The uid that is meant.
    pub uid: String,
}

impl Removal {
    /// The object and the uid that is meant, with the Pod that a controller may not have taken over yet.
    pub fn objects(&self) -> impl Iterator<Item = (ObjectRef, String)> {
        let adopted = self.member.adopts.iter().map(|pod| (pod.reference.clone(), pod.uid.clone()));
        std::iter::once((self.member.reference.clone(), self.uid.clone())).chain(adopted)
    }
}

/// Everything that will happen, complete and not to be changed any more.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The objects of the template, in the order of applying.
    pub steps: Vec<Step>,
    /// Objects the template no longer has.
    pub removals: Vec<Removal>,
    /// Entries that stay in the inventory although the template no longer has them.
    pub kept: Vec<Member>,
    /// Entries that leave the inventory undeleted: a controller takes the pod over.
    pub handed_over: Vec<Member>,
    /// Objects in the inventory that the template no longer has and the cluster neither.
    pub gone: Vec<ObjectRef>,
    /// What others set beside the template's.
    pub beside: Vec<Beside>,
    /// What else the caller should know.
    pub diagnostics: Vec<Diagnostic>,
    /// The changes, for the answer.
    pub changes: Vec<Change>,
    /// What is done where others hold fields.
    pub conflicts: ConflictPolicy,
    /// Whether they keep them without anybody having asked for that, and the objects of which some are kept.
    pub(crate) yields_unasked: bool,
    pub(crate) left: BTreeSet<ObjectRef>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_noop(&self) -> bool {
        self.steps.iter().all(|step| step.action == Action::Unchanged)
            && self.removals.iter().all(Removal::is_deferred)
            && self.handed_over.is_empty()
    }

    /// Whether all there is to do is to delete what the record says is to be deleted already.
    pub fn only_deletes(&self, head: &Head) -> bool {
        let is_known = |removals: &Removal| {
            let entry = head.member(&removals.member.reference);
            entry.is_some_and(|entry| entry.state == MemberState::Deleting)
        };
        self.steps.iter().all(|step| step.action == Action::Unchanged)
            && self.removals.iter().all(is_known)
            && self.handed_over.is_empty()
    }

    /// The inventory to write before the first object is: everything that is or may be there.
    pub fn union(&self) -> Vec<Member> {
        let deleting = self
            .removals
            .iter()
            .map(|removals| Member { state: MemberState::Deleting, ..removals.member.clone() });
        let steps = self.steps.iter().map(|step| step.member.clone());
        steps
            .chain(deleting)
            .chain(self.kept.iter().cloned())
            .chain(self.handed_over.iter().cloned())
            .collect()
    }
}

/// Decides what happens to every object.
pub fn plan(inputs: &Inputs<'_>) -> Plan {
    let mut plan = Plan { conflicts: inputs.conflicts, ..Plan::default() };
    let pod_revisions = stamp::pod_revisions(inputs);
    for artifact in inputs.after.objects() {
        let pod_revision = pod_revisions.get(&artifact.component).copied();
        let mut step = step(inputs, artifact, pod_revision, &mut plan);
        plan.changes.push(Change {
            reference: step.artifact.reference.clone(),
            uid: step.uid.clone(),
            action: step.action,
            component: Some(step.artifact.component.clone()),
            fields: shown::fields(inputs, artifact, &mut step),
        });
        plan.steps.push(step);
    }
    removals::decide(inputs, &mut plan);
    removals::decide_late(inputs, &mut plan);
    replacing::tell_pods(inputs, &mut plan);
    replacing::tell_going(inputs, &mut plan);
    plan
}

fn find<'a>(artifacts: &'a [Artifact], reference: &ObjectRef) -> Option<&'a Artifact> {
    artifacts.iter().find(|artifact| artifact.reference == *reference)
}

/// Decides what happens to one object.
fn step(inputs: &Inputs<'_>, artifact: &Artifact, pod_revision: Option<u32>, plan: &mut Plan) -> Step {
    let diagnostics = &mut plan.diagnostics;
    let member = inputs.head.and_then(|head| head.member(&artifact.reference));
    let existing = existing::find(inputs, &artifact.reference);
    let before = find(inputs.before, &artifact.reference);
    let mut stamped = artifact.clone();
    let is_workload = artifact.reference.kind.stage() == Stage::Workload;
    let renewed = replacing::renewed(inputs, existing.as_ref(), member, artifact);
    let pod_revision = renewed.or(pod_revision).filter(|_| is_workload);
    if let Some(revision) = pod_revision {
        stamp::stamp(&mut stamped, revision);
    }
    if artifact.reference.kind == Kind::PersistentVolumeClaim {
        claims::decide(inputs, &mut stamped, diagnostics);
    }
    let replicas = replicas::decide(inputs, &mut stamped, member, existing.is_some(), diagnostics);
    let known = member.filter(|member| member.state == MemberState::Applied).and(before);
    // An operation that died may have left the Service as it was; a change in place would be lost in silence.
    let in_doubt = before.filter(|_| artifact.reference.kind == Kind::Service);
    let may_be = inputs.back.and_then(|back| find(&back.doubted, &artifact.reference));
    let may_be = may_be.filter(|_| known.is_none() && artifact.reference.kind == Kind::Service);
    let same_content = known
        .is_some_and(|before| replicas::same_but_count(&before.manifest, &artifact.manifest))
        && member.is_some_and(|member| member.pod_revision == pod_revision)
        && !replicas.changes;
    let same_object = existing::is_same_object(inputs, existing.as_ref(), member, &stamped);
    let forms = known.or(in_doubt).into_iter().chain(may_be);
    let replacement = replacing::why(inputs, existing.as_ref(), member, artifact, forms);
    let action = match &existing {
        None => Action::Create,
        Some(existing) if same_content && same_object && !existing.ended => Action::Unchanged,
        Some(_) if replacement.is_some() => Action::Replace,
        Some(_) => Action::Update,
    };
    if let Some(why) = replacement.filter(|_| action == Action::Replace) {
        diagnostics.push(replacing::told(artifact, why));
    }
    // What a dead operation still writes to an object in doubt names the version it saw: the new mark makes a later one.
    let is_marked_anew = action != Action::Unchanged && known.is_none();
    let earlier = member.and_then(|member| member.operation.clone());
    let operation = match action {
        Action::Create | Action::Replace => Some(inputs.operation.to_owned()),
        _ if is_marked_anew => Some(inputs.operation.to_owned()),
        _ => earlier,
    };
    stamp::mark(
        &mut stamped,
        operation.as_deref(),
        Some(inputs.operation).filter(|_| action != Action::Unchanged),
    );
    stamp::leave_out_empty_values(&mut stamped);
    let others = existing.as_ref().map_or(&[][..], |existing| existing.others);
    existing::tell(action, known, existing.as_ref(), member, (artifact, &stamped), plan);
    let planned = planned_member(&stamped, member, action, pod_revision, operation, &replicas);
    let uid = existing.as_ref().map(|existing| existing.uid);
    Step {
        action,
        uid: uid.map(str::to_owned),
        version: existing.as_ref().and_then(|existing| existing.version).map(str::to_owned),
        member: Member {
            pods_before: stamp::earlier(inputs, &artifact.component)
                .filter(|_| action != Action::Unchanged && is_workload),
            retaken: renewed.is_some(),
            ..existing::restored(inputs, uid, planned)
        },
        former: member.map(|member| existing::restored(inputs, uid, member.clone())),
        take_back: replicas.take_back,
        template_replicas: replicas.template,
        scaled_replicas: replicas.scaled,
        found_replicas: replicas.found,
        uncounted: replicas.uncounted,
        replicas_in_force: replicas.in_force,
        shapes: None,
        others: owners::concerned(others, &stamped),
        is_wiped: existing.as_ref().is_some_and(|existing| existing.owned == Some("")),
        may_replace: artifact.reference.kind == Kind::Pod && known.is_none(),
        artifact: stamped,
    }
}

/// The inventory's entry of an object that is about to be written, or stays.
fn planned_member(
    artifact: &Artifact,
    member: Option<&Member>,
    action: Action,
    pod_revision: Option<u32>,
    operation: Option<String>,
    replicas: &Replicas,
) -> Member {
    if let (Action::Unchanged, Some(member)) = (action, member) {
        return member.clone();
    }
    Member {
        uid: member.and_then(|member| member.uid.clone()),
        pod_revision,
        // Until the object is written, the counts that were last applied are what decides about its replicas.
        template_replicas: member.map_or(replicas.template, |member| member.template_replicas),
        scaled_replicas: member.map_or(replicas.scaled, |member| member.scaled_replicas),
        found_replicas: member.map_or(replicas.found, |member| member.found_replicas),
        uncounted: member.map_or(replicas.uncounted, |member| member.uncounted),
        replace: action == Action::Replace,
        adopts: member.and_then(|member| member.adopts.clone()),
        adopted: member.and_then(|member| member.adopted.clone()),
        operation,
        ..Member::new(artifact.reference.clone(), artifact.component.clone(), MemberState::Planned)
    }
}

#[cfg(test)]
mod tests;
