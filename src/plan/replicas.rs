//! Who decides how many replicas run: the template, Scale, or somebody else.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Inputs;
use crate::artifacts::{
    Artifact, Artifacts, ComponentName, DeploymentName, Kind, ListedObject, ObjectRef, field_manager,
    scale_manager,
};
use crate::diagnostic::{Code, Diagnostic};
use crate::record::{self, Head, Member, MemberState};

/// Whose replica count holds when a deployment is deployed again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplicasPolicy {
    /// The template's where it has changed since it was last applied; else the one that is found.
    #[default]
    Auto,
    /// The one that is found.
    Preserve,
    /// The template's.
    Template,
    /// The template's as with AUTO, but never in the place of one that somebody else has set: a Rollback changes the
    /// template's count without anybody having asked for that.
    Rollback,
}

/// What was decided about a controller's replicas; all empty for other kinds.
#[derive(Default)]
pub(super) struct Replicas {
    /// The template's count, the last one if it has none any more.
    pub(super) template: Option<i32>,
    /// Whether the template has no count.
    pub(super) uncounted: bool,
    /// The count that is in force instead, if it is this adapter's to keep.
    pub(super) scaled: Option<i32>,
    /// Whether that count was found, and Scale has not set it.
    pub(super) found: bool,
    /// The count that is in force, as far as it is known.
    pub(super) in_force: Option<i32>,
    /// Set the replicas back to this before the object is applied.
    pub(super) take_back: Option<i32>,
    /// Whether the count on the cluster changes.
    pub(super) changes: bool,
}

/// Whether two manifests are the same but for their replica counts. Most are the same in everything.
pub(super) fn same_but_count(one: &Value, other: &Value) -> bool {
    one == other || ignored(one) == ignored(other)
}

/// The count that a controller's manifest has; `None`: it has none.
pub(super) fn written(artifact: &Artifact) -> Option<i32> {
    let count = artifact.manifest.pointer("/spec/replicas")?.as_i64()?;
    i32::try_from(count).ok()
}

/// The count that a controller's manifest means.
fn count_of(artifact: &Artifact) -> i32 {
    written(artifact).unwrap_or(1)
}

/// The manifest without its replica count.
pub(super) fn ignored(manifest: &Value) -> Value {
    let mut manifest = manifest.clone();
    ignore(&mut manifest);
    manifest
}

/// What is known of the count in force, on this controller or on the one of another kind that it takes the place of.
struct Known<'a> {
    /// The template's count when it was last applied.
    applied: Option<i32>,
    /// Whether the template had a count then.
    was_written: bool,
    /// The count by the record.
    recorded: Option<i32>,
    /// Somebody else, Scale included, who owns the count on the cluster.
    other: Option<&'a str>,
    /// Whether that is somebody else than Scale.
    is_foreign: bool,
    /// The count on the cluster, where somebody has looked.
    found: Option<i32>,
}

impl<'a> Known<'a> {
    fn new(inputs: &Inputs<'a>, member: Option<&Member>, seen: Option<&'a ListedObject>) -> Self {
        let (own, scale) = inputs.managers;
        let owners = seen.map_or(&[][..], |seen| seen.replicas_owners.as_slice());
        let foreign = owners.iter().find(|owner| owner.as_str() != own && owner.as_str() != scale);
        let other = foreign.or_else(|| owners.iter().find(|owner| owner.as_str() != own));
        Self {
            applied: member.and_then(|member| member.template_replicas),
            was_written: member.is_none_or(|member| !member.uncounted),
            recorded: member.and_then(|member| member.scaled_replicas.or(member.template_replicas)),
            other: other.map(String::as_str),
            is_foreign: foreign.is_some(),
            found: seen.and_then(|seen| seen.replicas),
        }
    }

    /// The count that is in force: what somebody else has set only a look can tell.
    fn in_force(&self) -> Option<i32> {
        self.found.or(self.recorded.filter(|_| !self.is_foreign))
    }

    /// Whether the template's count is to be set, whatever is there.
    ///
    /// A template without a count has no opinion. What somebody else owns is only set where the author has changed the
    /// number, or the caller asks for it.
    fn is_templates(&self, policy: ReplicasPolicy, count: i32, is_written: bool) -> bool {
        let is_changed = self.applied.is_some_and(|applied| applied != count || !self.was_written);
        is_written
            && match policy {
                ReplicasPolicy::Auto => is_changed,
                ReplicasPolicy::Preserve => false,
                ReplicasPolicy::Template => true,
                ReplicasPolicy::Rollback => is_changed && !self.is_foreign,
            }
    }
}

/// Decides the replicas of a controller and writes them into its manifest, or takes them out.
///
/// The count is left out where somebody else owns it and it is to stay: then it stays. What this adapter alone owns is
/// always sent: left out, it would fall to 1.
pub(super) fn decide(
    inputs: &Inputs<'_>,
    artifact: &mut Artifact,
    member: Option<&Member>,
    exists: bool,
    diagnostics: &mut Vec<Diagnostic>,
) -> Replicas {
    if !artifact.reference.kind.is_controller() {
        return Replicas::default();
    }
    let count = count_of(artifact);
    let uncounted = inputs.uncounted.contains(&artifact.component);
    if let Some(asked) = inputs.scale.get(&artifact.component).copied() {
        set(artifact, asked);
        let template = member.and_then(|member| member.template_replicas).unwrap_or(count);
        let (template, scaled) = (Some(template), Some(asked));
        // Of a Pod, no count and a count of 1 are the same.
        let in_force = member.and_then(|member| member.scaled_replicas.or(member.template_replicas));
        return Replicas { template, scaled, in_force, changes: true, ..Replicas::default() };
    }
    let former = inputs
        .head
        .and_then(|head| record::former(&head.inventory, &artifact.component, &artifact.reference))
        .filter(|_| !exists);
    let known = match former {
        Some(former) => Known::new(inputs, Some(former), seen(inputs, &former.reference)),
        None => Known::new(inputs, member, seen(inputs, &artifact.reference).filter(|_| exists)),
    };
    if known.is_templates(inputs.replicas, count, !uncounted) {
        return templates(inputs, artifact, count, &known, exists, diagnostics);
    }
    let template = if uncounted { known.applied.unwrap_or(count) } else { count };
    let note = |what: String| note(artifact, Code::ReplicasKept, &what);
    if let Some(owner) = known.other.filter(|_| exists) {
        let scaled = member.and_then(|member| member.scaled_replicas);
        // Scale holding the template's own count is nothing to tell.
        if known.is_foreign || scaled.is_some_and(|scaled| scaled != count) {
            let shown =
                scaled.filter(|_| !known.is_foreign).map_or_else(String::new, |count| format!("{count} "));
            diagnostics.push(note(format!("kept {shown}(owner {owner})")));
        }
        unset(artifact);
        let found = scaled.is_some() && member.is_some_and(|member| member.found_replicas);
        let in_force = known.in_force();
        return Replicas {
            template: Some(template),
            uncounted,
            scaled,
            found,
            in_force,
            ..Replicas::default()
        };
    }
    // A controller that takes the place of another is born with the count that is found.
    let kept = known.found.or(known.recorded).unwrap_or(count);
    // Of a count that was found the record does not know more than that it is none of Scale's.
    let is_scales = |member: &Member| member.scaled_replicas == Some(kept) && !member.found_replicas;
    let by_scale = member.or(former).is_some_and(is_scales) && !known.is_foreign;
    if kept != count {
        let why = match known.other.filter(|_| known.is_foreign) {
            Some(owner) => format!("owner {owner}"),
            None if by_scale => "set by Scale".to_owned(),
            None if uncounted => "the template has no count".to_owned(),
            None => "as it was found".to_owned(),
        };
        diagnostics.push(note(format!("kept {kept} ({why})")));
        set(artifact, kept);
    }
    let scaled = (kept != template).then_some(kept);
    let found = scaled.is_some() && !by_scale;
    let in_force = known.in_force();
    Replicas {
        template: Some(template),
        uncounted,
        scaled,
        found,
        in_force,
        take_back: None,
        changes: !exists,
    }
}

/// Sets the template's count, and takes it back from whoever else has set one.
fn templates(
    inputs: &Inputs<'_>,
    artifact: &Artifact,
    count: i32,
    known: &Known<'_>,
    exists: bool,
    diagnostics: &mut Vec<Diagnostic>,
) -> Replicas {
    let is_others = known.in_force() != Some(count) && known.other.is_some();
    // A controller that Scale made from a Pod is ours alone, its count is Scale's all the same.
    if is_others || known.other.is_none() && known.recorded != known.applied && known.recorded != Some(count)
    {
        diagnostics.push(note(artifact, Code::ReplicasTakenBack, &format!("reset to {count}")));
    }
    let is_new = known.applied != Some(count) || !known.was_written;
    let differs = is_others || known.recorded != Some(count);
    let changes = !exists || is_new || inputs.replicas == ReplicasPolicy::Template && differs;
    let take_back = known.other.filter(|_| exists && (is_others || is_new)).map(|_| count);
    let in_force = known.in_force();
    Replicas { template: Some(count), in_force, take_back, changes, ..Replicas::default() }
}

/// The controllers whose count must be read, since somebody else owns it: those that another kind takes the place of,
/// and those whose count is set, since what is the template's already is no change, and what is not is told. So must those
/// whose count Scale owns and the record does not have.
pub fn counts_to_read(
    head: &Head,
    after: &Artifacts,
    seen: &[ListedObject],
    (policy, uncounted): (ReplicasPolicy, &BTreeSet<ComponentName>),
    deployment: &DeploymentName,
) -> Vec<ObjectRef> {
    let ours = [field_manager(deployment), scale_manager(deployment)];
    let controllers = seen.iter().filter(|seen| seen.reference.kind.is_controller());
    let is_foreign = |seen: &&ListedObject| seen.replicas_owners.iter().any(|owner| !ours.contains(owner));
    let is_asked = |member: &Member| match (after.get(&member.reference), policy) {
        (None, _) | (Some(_), ReplicasPolicy::Template) => true,
        (Some(_), ReplicasPolicy::Preserve | ReplicasPolicy::Rollback) => false,
        (Some(artifact), ReplicasPolicy::Auto) => {
            let is_changed = member.uncounted || member.template_replicas != Some(count_of(artifact));
            is_changed && !uncounted.contains(&member.component)
        }
    };
    let is_read = |seen: &&ListedObject| {
        head.member(&seen.reference).is_some_and(|member| {
            is_foreign(seen) && is_asked(member) || is_unrecorded(member, seen, deployment)
        })
    };
    controllers.filter(is_read).map(|seen| seen.reference.clone()).collect()
}

/// Whether Scale owns a controller's count on the cluster although the record has none: that Scale died before it wrote
/// the count down. Nobody else leaves such an owner behind: whoever takes the count back ends it.
fn is_unrecorded(member: &Member, seen: &ListedObject, deployment: &DeploymentName) -> bool {
    let is_same = member.uid.as_ref() == Some(&seen.uid) && member.state == MemberState::Applied;
    is_same && member.scaled_replicas.is_none() && seen.replicas_owners.contains(&scale_manager(deployment))
}

/// The record with the counts of Scales that died before they wrote them down.
pub fn with_scaled_counts(head: &Head, seen: &[ListedObject], deployment: &DeploymentName) -> Head {
    head.understood(|member| {
        let seen = seen.iter().find(|seen| seen.reference == member.reference);
        let count =
            seen.filter(|seen| is_unrecorded(member, seen, deployment)).and_then(|seen| seen.replicas);
        member.found_replicas &= count.is_none();
        member.scaled_replicas = count.or(member.scaled_replicas);
    })
}

/// The components that would become bare Pods, and lose a count that somebody else has set.
pub fn autoscaled(
    head: &Head,
    after: &Artifacts,
    seen: &[ListedObject],
    deployment: &DeploymentName,
) -> BTreeSet<ComponentName> {
    let ours = [field_manager(deployment), scale_manager(deployment)];
    let is_foreign = |reference: &ObjectRef| {
        let mut seen = seen.iter().filter(|seen| seen.reference == *reference);
        seen.any(|seen| seen.replicas_owners.iter().any(|owner| !ours.contains(owner)))
    };
    let controllers = head.inventory.iter().filter(|member| {
        member.reference.kind.is_controller()
            && member.state != MemberState::Deleting
            && is_foreign(&member.reference)
    });
    let becomes_pod = |component: &&ComponentName| {
        after.objects().iter().any(|one| one.component == **component && one.reference.kind == Kind::Pod)
    };
    controllers.map(|member| &member.component).filter(becomes_pod).cloned().collect()
}

fn seen<'a>(inputs: &Inputs<'a>, reference: &ObjectRef) -> Option<&'a ListedObject> {
    inputs.seen.unwrap_or_default().iter().find(|seen| seen.reference == *reference)
}

fn note(artifact: &Artifact, code: Code, what: &str) -> Diagnostic {
    let field = format!("{}.deployment.count", artifact.origin);
    Diagnostic::new(code, field, format!("replicas of component {}: {what}", artifact.component))
}

fn set(artifact: &mut Artifact, count: i32) {
    if let Some(spec) = artifact.manifest.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("replicas".to_owned(), Value::from(count));
    }
}

fn unset(artifact: &mut Artifact) {
    ignore(&mut artifact.manifest);
}

fn ignore(manifest: &mut Value) {
    if let Some(spec) = manifest.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("replicas");
    }
}
