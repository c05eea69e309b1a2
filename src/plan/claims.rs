//! Volume claims: they contain what must not be lost, so they only grow and are never recreated.

use serde_json::Value;

use super::{Inputs, blame, existing};
use crate::artifacts::{Artifact, FieldChange, Kind, LAYOUT_DATA, ListedClaim, ListedObject, StorageSize};
use crate::diagnostic::{Code, Diagnostic};
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Head, Member, Phase};

/// The field of a claim that names its storage class.
const CLASS: &str = "storageClassName";

/// Refuses, before anything is written, changes for which claims would have to be recreated; tells all of them.
///
/// What the cluster shows is what counts: an earlier update may have asked for something that was refused.
pub fn check(inputs: &Inputs<'_>) -> Result<()> {
    let artifacts = inputs.after.objects().iter();
    let claims = artifacts.filter(|artifact| artifact.reference.kind == Kind::PersistentVolumeClaim);
    let errors = claims.filter_map(|artifact| refusal(inputs, artifact, find(inputs, artifact)?));
    blame::joined(errors.collect()).map_or(Ok(()), Err)
}

/// Why a claim that is there cannot become what is asked, with everything that keeps it from that.
fn refusal(inputs: &Inputs<'_>, artifact: &Artifact, seen: &ListedObject) -> Option<Error> {
    if seen.terminating {
        // It would be waited for, and goes only with the last pod that uses it.
        let hint = "it is deleted with the last pod that uses it, and so is its data; save that, tear the \
                    deployment down, then deploy again";
        return Some(refused(artifact, &format!("is being deleted: {hint}")));
    }
    // Whoever goes back to a smaller size means the template, not the loss of what has been written since.
    let obstacles = obstacles(seen.claim.as_ref()?, artifact, inputs.back.is_some());
    let told: Vec<String> = obstacles.iter().map(|(what, hint)| format!("{what}; {hint}")).collect();
    // A Teardown deletes what the record has, and there must be one: a claim may be left of a deployment that is gone.
    let is_known = inputs.head.is_some_and(|head| head.member(&artifact.reference).is_some());
    let other = if is_known {
        "tear the deployment down with volumes VOLUME_POLICY_DELETE".to_owned()
    } else {
        format!("delete {} and what lies on it, which no deployment uses", artifact.reference)
    };
    (!told.is_empty()).then(|| refused(artifact, &format!("{}, or {other}", told.join("; it "))))
}

fn find<'a>(inputs: &Inputs<'a>, artifact: &Artifact) -> Option<&'a ListedObject> {
    let mut seen = inputs.seen.unwrap_or_default().iter();
    seen.find(|seen| seen.reference == artifact.reference && existing::is_ours(inputs, seen))
}

fn refused(artifact: &Artifact, what: &str) -> Error {
    let text = format!("{} of component {} {what}", artifact.reference, artifact.component);
    Error::new(ErrorKind::VolumeImmutable, text)
        .with("component", artifact.component.as_str())
        .about(Kind::PersistentVolumeClaim.as_str(), artifact.reference.name.as_str())
}

fn bytes(size: &str) -> Option<u128> {
    StorageSize::new(size).map(|size| size.bytes()).ok()
}

/// The size that a claim's manifest asks for.
fn asked(artifact: &Artifact) -> &str {
    let size = artifact.manifest.pointer("/spec/resources/requests/storage").and_then(Value::as_str);
    size.unwrap_or_default()
}

/// Leaves of a claim that is there as it is what it keeps: its class where none is asked for, and its size.
pub(super) fn decide(inputs: &Inputs<'_>, artifact: &mut Artifact, diagnostics: &mut Vec<Diagnostic>) {
    decide_size(inputs, artifact, diagnostics);
    keep_class(inputs, artifact);
}

/// Leaves the size of a claim as somebody has set it, unless more is asked for.
///
/// The field is left out then: whoever set it holds it, so leaving it out changes nothing.
fn decide_size(inputs: &Inputs<'_>, artifact: &mut Artifact, diagnostics: &mut Vec<Diagnostic>) {
    let seen = find(inputs, artifact).filter(|seen| !seen.terminating);
    let Some(claim) = seen.and_then(|seen| seen.claim.as_ref()) else { return };
    let (Some(has), Some(wants)) = (bytes(&claim.size), bytes(asked(artifact))) else { return };
    if !claim.size_is_others {
        if inputs.back.is_some() && has > wants {
            keep_grown(claim, artifact, diagnostics);
        }
        return;
    }
    if has > wants {
        let text = format!(
            "{} of component {} keeps its size {}, which somebody has set; {} was requested",
            artifact.reference,
            artifact.component,
            claim.size,
            asked(artifact)
        );
        diagnostics.push(Diagnostic::new(Code::VolumeSizeKept, artifact.origin.clone(), text));
    }
    if has >= wants
        && let Some(spec) = artifact.manifest.get_mut("spec").and_then(Value::as_object_mut)
    {
        spec.remove("resources");
    }
}

/// Leaves the storage class of a claim as it is where none is asked for: that asks for nothing of a claim that is there.
///
/// A class that we hold is sent again, since left out it would be taken away.
fn keep_class(inputs: &Inputs<'_>, artifact: &mut Artifact) {
    let seen = find(inputs, artifact).filter(|seen| !seen.terminating);
    let claim = seen.and_then(|seen| seen.claim.as_ref()).filter(|claim| claim.class_is_ours);
    let spec = artifact.manifest.get_mut("spec").and_then(Value::as_object_mut);
    if let (Some(class), Some(spec)) = (claim.and_then(|claim| claim.class.as_ref()), spec)
        && !spec.contains_key(CLASS)
    {
        spec.insert(CLASS.to_owned(), Value::from(class.as_str()));
    }
}

/// Leaves changes out that a claim does not take, since it keeps what it has; `applied` as it is written.
pub(super) fn without_kept(
    mut changes: Vec<FieldChange>,
    wanted: &Value,
    applied: &Artifact,
) -> Vec<FieldChange> {
    if applied.reference.kind == Kind::PersistentVolumeClaim {
        changes.retain(|change| {
            let pointer = format!("/{}", change.path.replace('.', "/"));
            wanted.pointer(&pointer) == applied.manifest.pointer(&pointer)
        });
    }
    changes
}

/// Asks for the size that a claim has grown to: it cannot shrink, and nobody else holds the field.
fn keep_grown(claim: &ListedClaim, artifact: &mut Artifact, diagnostics: &mut Vec<Diagnostic>) {
    let text = format!(
        "{} of component {} keeps its size {}, since a claim cannot shrink; {} was requested",
        artifact.reference,
        artifact.component,
        claim.size,
        asked(artifact)
    );
    diagnostics.push(Diagnostic::new(Code::VolumeSizeKept, artifact.origin.clone(), text));
    if let Some(size) = artifact.manifest.pointer_mut("/spec/resources/requests/storage") {
        *size = Value::from(claim.size.as_str());
    }
}

/// All that keeps the claim from becoming as the artifact has it, and what to do about each.
fn obstacles(claim: &ListedClaim, artifact: &Artifact, keeps_size: bool) -> Vec<(String, String)> {
    if let Some(layout) = claim.layout.as_ref().filter(|layout| *layout != LAYOUT_DATA) {
        let what = format!("has layout {layout}, which this version does not know");
        return vec![(what, "deploy with the version that made it".to_owned())];
    }
    let size = smaller(claim, artifact).filter(|_| !keeps_size);
    size.into_iter().chain(other_class(claim, artifact)).chain(other_modes(claim, artifact)).collect()
}

fn smaller(claim: &ListedClaim, artifact: &Artifact) -> Option<(String, String)> {
    let asked = asked(artifact);
    // A size that this adapter cannot read is the API server's to compare.
    let (has, wants) = (bytes(&claim.size)?, bytes(asked)?);
    (wants < has && !claim.size_is_others).then(|| {
        let what = format!("has {} and cannot shrink to {asked}", claim.size);
        (what, format!("set options.volume_size to {} or more", claim.size))
    })
}

/// No class asks for nothing. The API server lets a claim without a class take one while it is not bound.
fn other_class(claim: &ListedClaim, artifact: &Artifact) -> Option<(String, String)> {
    let wants = artifact.manifest.pointer("/spec").and_then(|spec| spec.get(CLASS)?.as_str())?;
    let has = claim.class.as_ref().filter(|has| *has != wants)?;
    let what = format!("has storage class {has} and cannot change to {wants}");
    Some((what, format!("set options.storage_class to {has}, or leave it out")))
}

fn other_modes(claim: &ListedClaim, artifact: &Artifact) -> Option<(String, String)> {
    let modes = artifact.manifest.pointer("/spec/accessModes").and_then(Value::as_array);
    let is_same = modes.is_none_or(|modes| {
        modes.len() == claim.modes.len() && modes.iter().all(|mode| claim.modes.iter().any(|has| mode == has))
    });
    (!is_same).then(|| {
        let what = format!("has access modes {} and cannot change them", claim.modes.join(", "));
        (what, "deploy under another name".to_owned())
    })
}

/// What becomes of volume claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VolumePolicy {
    /// They stay, and the next Deploy of the same name meets them again.
    #[default]
    Retain,
    /// They are deleted, and with them what lies on the volumes.
    Delete,
}

/// Sorts what a teardown deletes from the volume claims that stay, unless that was settled before: the inventory as
/// it is written with the mark is what goes, whoever finishes it.
pub fn set_aside(head: &Head, stays: impl Fn(&Member) -> bool) -> (Vec<Member>, Vec<Member>) {
    let (mut inventory, mut retained) = (head.inventory.clone(), head.retained.clone());
    if head.phase != Phase::Deleting {
        let stays =
            |member: &mut Member| member.reference.kind == Kind::PersistentVolumeClaim && stays(member);
        retained.extend(inventory.extract_if(.., stays));
    }
    (inventory, retained)
}
