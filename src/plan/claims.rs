//! Volume claims: they contain what must not be lost, so they only grow and are never recreated.

use serde_json::Value;

use super::{Inputs, existing};
use crate::artifacts::{Artifact, Kind, LAYOUT_DATA, ListedClaim, ListedObject, StorageSize};
use crate::diagnostic::{Code, Diagnostic};
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Head, Member, Phase};

/// Refuses, before anything is written, a change for which a claim would have to be recreated.
///
/// What the cluster shows is what counts: an earlier update may have asked for something that was refused.
pub fn check(inputs: &Inputs<'_>) -> Result<()> {
    let artifacts = inputs.after.objects().iter();
    for artifact in artifacts.filter(|artifact| artifact.reference.kind == Kind::PersistentVolumeClaim) {
        let Some(seen) = find(inputs, artifact) else { continue };
        if seen.terminating {
            // It would be waited for, and goes only with the last pod that uses it.
            let hint = "it is deleted with the last pod that uses it, and so is its data; save that, \
                        tear the deployment down, then deploy again";
            return Err(refused(artifact, &format!("is being deleted: {hint}")));
        }
        // Whoever goes back to a smaller size means the template, not the loss of what has been written since.
        let keeps_size = inputs.back.is_some();
        if let Some((what, hint)) =
            seen.claim.as_ref().and_then(|claim| obstacle(claim, artifact, keeps_size))
        {
            let hint =
                format!("{what}; {hint}, or tear the deployment down with volumes VOLUME_POLICY_DELETE");
            return Err(refused(artifact, &hint));
        }
    }
    Ok(())
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

/// Leaves the size of a claim as somebody has set it, unless more is asked for.
///
/// The field is left out then: whoever set it holds it, so leaving it out changes nothing.
pub(super) fn decide_size(inputs: &Inputs<'_>, artifact: &mut Artifact, diagnostics: &mut Vec<Diagnostic>) {
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

/// What keeps the claim from becoming as the artifact has it, and what to do about it.
fn obstacle(claim: &ListedClaim, artifact: &Artifact, keeps_size: bool) -> Option<(String, String)> {
    let spec = |path: &str| artifact.manifest.pointer(path).and_then(Value::as_str);
    let asked = asked(artifact);
    if let Some(layout) = claim.layout.as_ref().filter(|layout| *layout != LAYOUT_DATA) {
        let what = format!("has layout {layout}, which this version does not know");
        return Some((what, "deploy with the version that made it".to_owned()));
    }
    // A size that this adapter cannot read is the API server's to compare.
    if let (Some(has), Some(wants)) = (bytes(&claim.size), bytes(asked))
        && wants < has
        && !claim.size_is_others
        && !keeps_size
    {
        let what = format!("has {} and cannot shrink to {asked}", claim.size);
        return Some((what, format!("set options.volume_size to {} or more", claim.size)));
    }
    let class = spec("/spec/storageClassName");
    let is_same_class = match (&claim.class, class) {
        (Some(has), Some(wants)) => has == wants,
        (Some(_), None) => !claim.class_is_ours,
        // The API server lets a claim without a class take one while it is not bound.
        (None, _) => true,
    };
    if let Some(has) = claim.class.as_ref().filter(|_| !is_same_class) {
        let wants = class.map_or_else(|| "the cluster's default".to_owned(), ToOwned::to_owned);
        let what = format!("has storage class {has} and cannot change to {wants}");
        return Some((what, format!("set options.storage_class to {has}")));
    }
    let modes = artifact.manifest.pointer("/spec/accessModes").and_then(Value::as_array);
    let is_same_mode = modes.is_none_or(|modes| {
        modes.len() == claim.modes.len() && modes.iter().all(|mode| claim.modes.iter().any(|has| mode == has))
    });
    (!is_same_mode).then(|| {
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
