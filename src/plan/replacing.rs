//! What cannot change in place: objects that are deleted and created again, pods that a changed controller leaves.

use serde_json::Value;

use super::existing::Existing;
use super::{ConflictPolicy, Inputs, Plan, Step, fields, remedy, stamp};
use crate::artifacts::{Action, Artifact, Kind, Others};
use crate::diagnostic::{Code, Diagnostic};
use crate::record::{Member, MemberState};

/// Whether this very object was to be deleted: a DELETE may be under way, or have been forgotten by a crash.
fn is_going(member: &Member, uid: &str) -> bool {
    (member.replace || member.state == MemberState::Deleting) && member.uid.as_deref() == Some(uid)
}

/// Why an object that is there is deleted and created again; `None`: it changes in place. `forms`: those that it may have.
pub(super) fn why<'a>(
    inputs: &Inputs<'_>,
    existing: &Existing<'_>,
    member: Option<&Member>,
    artifact: &Artifact,
    forms: &mut impl Iterator<Item = &'a Artifact>,
) -> Option<&'static str> {
    if member.is_some_and(|member| is_going(member, existing.uid)) {
        Some("an earlier operation has begun to")
    } else if existing.ended {
        Some("its pod has ended, and is never started again")
    } else if is_sealed(inputs, existing, artifact) {
        Some("somebody has made it immutable, and its fields are taken")
    } else {
        forms.find_map(|before| obstacle(inputs, before, artifact))
    }
}

/// Why Kubernetes cannot change the object in place; `None` if it can.
fn obstacle(inputs: &Inputs<'_>, before: &Artifact, after: &Artifact) -> Option<&'static str> {
    match after.reference.kind {
        Kind::Pod if without_images(&before.manifest) != without_images(&after.manifest) => {
            Some("of a Pod only the image and the metadata can change in place")
        }
        Kind::Pod if stamp::environment_changed(inputs, after) => {
            Some("a Pod learns of a changed link or Secret only when it starts")
        }
        Kind::Service if is_headless(&before.manifest) != is_headless(&after.manifest) => {
            Some("a Service cannot change between headless and not")
        }
        Kind::Pod
        | Kind::Service
        | Kind::Secret
        | Kind::PersistentVolumeClaim
        | Kind::ReplicationController
        | Kind::Deployment => None,
    }
}

/// Whether somebody has made a Secret immutable and every field is to be taken from whoever holds it: nobody can take
/// that mark away, so the Secret goes with it.
fn is_sealed(inputs: &Inputs<'_>, existing: &Existing<'_>, artifact: &Artifact) -> bool {
    inputs.conflicts == ConflictPolicy::Force && remedy::sealed_by(existing.others, artifact).is_some()
}

fn without_images(manifest: &Value) -> Value {
    let mut spec = manifest.get("spec").cloned().unwrap_or_default();
    for container in spec.get_mut("containers").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(container) = container.as_object_mut() {
            container.remove("image");
        }
    }
    spec
}

fn is_headless(manifest: &Value) -> bool {
    manifest.pointer("/spec/clusterIP").and_then(Value::as_str) == Some("None")
}

/// The revision of a ReplicationController's pods, if this Deploy takes back what somebody has written into their form, or
/// one that died has: those that were made meanwhile are of that form, which nothing on them tells, and only the adapter
/// replaces them.
pub(super) fn renewed(
    inputs: &Inputs<'_>,
    existing: Option<&Existing<'_>>,
    member: Option<&Member>,
    artifact: &Artifact,
) -> Option<u32> {
    let existing = existing.filter(|_| artifact.reference.kind == Kind::ReplicationController)?;
    let taken = |other: &Others| fields::taken(&artifact.manifest, &other.fields, existing.held);
    let mut taken = existing.others.iter().flat_map(taken);
    let is_theirs = taken.any(|field| field.starts_with("spec.template.spec."));
    let was_retaken = member.is_some_and(|member| member.state == MemberState::Planned && member.retaken);
    let is_renewed = if is_theirs { inputs.conflicts == ConflictPolicy::Force } else { was_retaken };
    is_renewed.then_some(inputs.revision)
}

/// Reports that an object is replaced, and why.
pub(super) fn told(artifact: &Artifact, why: &str) -> Diagnostic {
    let message = format!("{} is deleted and created again: {why}", artifact.reference);
    Diagnostic::new(Code::ObjectReplaced, artifact.origin.clone(), message)
}

/// Reports which objects are created only once those of their names are gone, which somebody has deleted.
pub(super) fn tell_going(inputs: &Inputs<'_>, plan: &mut Plan) {
    let going = |step: &&Step| {
        let mut seen = inputs.seen.into_iter().flatten();
        step.action == Action::Create
            && seen.any(|seen| seen.terminating && seen.reference == step.artifact.reference)
    };
    let told = plan.steps.iter().filter(going).map(|step| {
        let message = format!(
            "{} is being deleted: it is created again once it is gone, which is waited for",
            step.artifact.reference
        );
        Diagnostic::new(Code::ObjectGoing, step.artifact.origin.clone(), message)
    });
    plan.diagnostics.extend(told.collect::<Vec<_>>());
}

/// Reports which ReplicationControllers get a new template. They leave their pods running, so the keeper replaces
/// these.
pub(super) fn tell_pods(inputs: &Inputs<'_>, plan: &mut Plan) {
    for step in plan.steps.iter().filter(|step| step.artifact.reference.kind == Kind::ReplicationController) {
        let member = inputs.head.and_then(|head| head.member(&step.artifact.reference));
        let renewed = member.is_some_and(|member| member.pod_revision != step.member.pod_revision);
        if step.action == Action::Update && renewed {
            let component = &step.artifact.component;
            let message = format!("component {component}: its pods are replaced, one ready pod at a time");
            let field = step.artifact.origin.clone();
            plan.diagnostics.push(Diagnostic::new(Code::PodsReplaced, field, message));
        }
    }
}

/// Reports what no dry run can try: a new form of what is there still, and everything if its namespace is not there.
pub fn tell_untried(plan: &mut Plan, namespace_is_missing: bool) {
    let is_untried = |step: &&Step| match step.action {
        Action::Replace => true,
        Action::Create => namespace_is_missing,
        Action::Update | Action::Unchanged | Action::Delete | Action::Keep => false,
    };
    let why = if namespace_is_missing { "its namespace does not exist yet" } else { "it is replaced" };
    let untried = plan.steps.iter().filter(is_untried).map(|step| {
        let message = format!("{} was planned without a dry run: {why}", step.artifact.reference);
        Diagnostic::new(Code::NotTried, step.artifact.origin.clone(), message)
    });
    plan.diagnostics.extend(untried.collect::<Vec<_>>());
}
