//! Volume claims: they hold what must not be lost, so they only grow and are never made anew.

use serde_json::Value;

use super::Inputs;
use crate::artifacts::{Artifact, Kind, StorageSize};
use crate::cluster::SeenClaim;
use crate::error::{Error, ErrorKind, Result};

/// Refuses, before anything is written, what would need a claim to be made anew.
///
/// What the cluster shows is what counts: an earlier update may have asked for something that was refused.
pub(in crate::operations) fn check(inputs: &Inputs<'_>) -> Result<()> {
    let artifacts = inputs.after.objects().iter();
    for artifact in artifacts.filter(|artifact| artifact.reference.kind == Kind::PersistentVolumeClaim) {
        let seen = inputs
            .seen
            .unwrap_or_default()
            .iter()
            .find(|seen| seen.reference == artifact.reference && seen.ours && !seen.terminating);
        let Some(claim) = seen.and_then(|seen| seen.claim.as_ref()) else { continue };
        if let Some((what, hint)) = obstacle(claim, artifact) {
            let name = artifact.reference.name.as_str();
            return Err(Error::new(
                ErrorKind::VolumeImmutable,
                format!(
                    "{} of component {} {what}; {hint}, or take the deployment down with volumes DELETE",
                    artifact.reference, artifact.component
                ),
            )
            .with("component", artifact.component.as_str())
            .about(Kind::PersistentVolumeClaim.as_str(), name));
        }
    }
    Ok(())
}

/// What keeps the claim from becoming as the artifact has it, and what to do about it.
fn obstacle(claim: &SeenClaim, artifact: &Artifact) -> Option<(String, String)> {
    let spec = |path: &str| artifact.manifest.pointer(path).and_then(Value::as_str);
    let size = |text: &str| StorageSize::new(text).map(|size| size.bytes()).ok();
    let asked = spec("/spec/resources/requests/storage").unwrap_or_default();
    // A size that this adapter cannot read is the API server's to compare.
    if let (Some(has), Some(wants)) = (size(&claim.size), size(asked))
        && wants < has
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
