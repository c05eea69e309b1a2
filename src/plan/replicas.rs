//! Who decides how many replicas run: the template, Scale, or somebody else.

use serde_json::Value;

use super::Inputs;
use crate::artifacts::Artifact;
use crate::diagnostic::{Code, Diagnostic};
use crate::record::{self, Member};

/// What was decided about a controller's replicas; all empty for other kinds.
#[derive(Default)]
pub(super) struct Replicas {
    /// The template's count.
    pub(super) template: Option<i32>,
    /// The count set by Scale, as long as it applies.
    pub(super) scaled: Option<i32>,
    /// Set the replicas back to this before the object is applied.
    pub(super) take_back: Option<i32>,
    /// Whether the count on the cluster changes.
    pub(super) changes: bool,
}

/// The manifest without its replica count, for comparing everything else.
pub(super) fn ignored(manifest: &Value) -> Value {
    let mut manifest = manifest.clone();
    if let Some(spec) = manifest.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("replicas");
    }
    manifest
}

/// Decides the replicas of a controller and writes them into its manifest, or takes them out.
///
/// The template's count rules when it has changed since it was last applied, or when nobody else has set the
/// field. Otherwise the field is left out: whoever set it holds it, so leaving it out changes nothing.
pub(super) fn decide(
    inputs: &Inputs<'_>,
    artifact: &mut Artifact,
    member: Option<&Member>,
    owners: &[String],
    exists: bool,
    diagnostics: &mut Vec<Diagnostic>,
) -> Replicas {
    if !artifact.reference.kind.is_controller() {
        return Replicas::default();
    }
    let template = artifact.manifest.pointer("/spec/replicas").and_then(Value::as_i64);
    let template = template.and_then(|count| i32::try_from(count).ok()).unwrap_or(1);
    if let Some(asked) = inputs.scale.get(&artifact.component).copied() {
        set(artifact, asked);
        let template = member.and_then(|member| member.template_replicas).unwrap_or(template);
        return Replicas { template: Some(template), scaled: Some(asked), take_back: None, changes: true };
    }
    let former = inputs
        .head
        .and_then(|head| record::former(&head.inventory, &artifact.component, &artifact.reference));
    if let Some(former) = former.filter(|_| !exists) {
        return inherited(inputs, artifact, template, former, diagnostics);
    }
    let applied = member.and_then(|member| member.template_replicas);
    // A count of Scale's stands beside the template's count that it was set for, and goes with it.
    let scaled = member.and_then(|member| member.scaled_replicas);
    let kept = scaled.filter(|_| applied == Some(template));
    let (own, scale) = inputs.managers;
    let other = owners.iter().find(|owner| owner.as_str() != own);
    // Whoever goes back to a revision means its template: what an autoscaler has found since is right for the load now.
    let stays = inputs.back.is_some() && other.is_some_and(|owner| owner != scale);
    if !stays && exists && applied.is_some_and(|applied| applied != template) {
        // A controller that Scale made from a Pod is ours alone, its count is Scale's all the same.
        if other.is_some() || scaled.is_some_and(|scaled| scaled != template) {
            diagnostics.push(note(artifact, Code::ReplicasTakenBack, &format!("reset to {template}")));
        }
        return Replicas {
            template: Some(template),
            scaled: None,
            take_back: other.map(|_| template),
            changes: true,
        };
    }
    if let Some(owner) = other {
        // Scale holding the template's own count is nothing to tell.
        if owner != scale || scaled.is_some_and(|scaled| scaled != template) {
            let count = scaled.map_or_else(String::new, |count| format!("{count} "));
            diagnostics.push(note(artifact, Code::ReplicasKept, &format!("kept {count}(owner {owner})")));
        }
        unset(artifact);
    } else if let Some(scaled) = kept.filter(|scaled| *scaled != template) {
        diagnostics.push(note(artifact, Code::ReplicasKept, &format!("kept {scaled} (set by Scale)")));
        set(artifact, scaled);
    }
    Replicas { template: Some(template), scaled: kept, take_back: None, changes: false }
}

/// Decides the replicas of a controller that replaces one of another kind.
///
/// A count set by Scale moves to the new controller. A count set by anybody else is lost with the old one.
fn inherited(
    inputs: &Inputs<'_>,
    artifact: &mut Artifact,
    template: i32,
    former: &Member,
    diagnostics: &mut Vec<Diagnostic>,
) -> Replicas {
    let (own, scale) = inputs.managers;
    let seen = inputs.seen.unwrap_or_default().iter().find(|seen| seen.reference == former.reference);
    let mut owners = seen.into_iter().flat_map(|seen| &seen.replicas_owners);
    let foreign = owners.any(|owner| owner != own && owner != scale);
    let by_scale = former.scaled_replicas.filter(|count| *count != template);
    let is_same = former.template_replicas == Some(template);
    let scaled = by_scale.filter(|_| is_same && !foreign);
    if let Some(count) = scaled {
        diagnostics.push(note(artifact, Code::ReplicasKept, &format!("kept {count} (set by Scale)")));
        set(artifact, count);
    } else if foreign || by_scale.is_some() {
        diagnostics.push(note(artifact, Code::ReplicasTakenBack, &format!("reset to {template}")));
    }
    Replicas { template: Some(template), scaled, take_back: None, changes: true }
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
    if let Some(spec) = artifact.manifest.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("replicas");
    }
}
