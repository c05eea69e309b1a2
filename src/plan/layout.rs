//! How volume claims are mounted: in a directory of theirs, or at their roots, as all were before.
//!
//! A mount that moves hides what the program has written. So a claim stays mounted as it was when it was made, whatever
//! version of the adapter deploys next.

use std::collections::BTreeSet;

use crate::artifacts::{ANNOTATION_LAYOUT, Artifact, Kind, ListedObject, ObjectName, ObjectRef};

/// Whether a claim's manifest says how it is mounted; `None` for what is no claim.
fn has_layout(artifact: &Artifact) -> Option<bool> {
    let is_claim = artifact.reference.kind == Kind::PersistentVolumeClaim;
    let annotations = artifact.manifest.pointer("/metadata/annotations");
    is_claim.then(|| annotations.is_some_and(|annotations| annotations.get(ANNOTATION_LAYOUT).is_some()))
}

/// The claims among the objects of a revision that are mounted at their roots.
pub(super) fn of_revision(rendered: &[Artifact]) -> BTreeSet<ObjectName> {
    let claims = rendered.iter().filter(|artifact| has_layout(artifact) == Some(false));
    claims.map(|claim| claim.reference.name.clone()).collect()
}

/// Which claims of the deployment are mounted at their roots, of all that are there; `previous` are the objects of the
/// current revision.
///
/// The claim itself says so. Where it says nothing although the current revision has given it a layout, somebody has
/// removed the word, and the data lie where that revision has put them.
pub fn at_root(previous: &[Artifact], seen: &[ListedObject]) -> BTreeSet<ObjectName> {
    let was_laid_out = |claim: &ObjectRef| {
        previous.iter().any(|artifact| artifact.reference == *claim && has_layout(artifact) == Some(true))
    };
    let is_silent = |seen: &&ListedObject| seen.claim.as_ref().is_none_or(|claim| claim.layout.is_none());
    let claims = seen.iter().filter(|seen| seen.reference.kind == Kind::PersistentVolumeClaim);
    let silent = claims.filter(|seen| !seen.terminating).filter(is_silent).map(|seen| &seen.reference);
    silent.filter(|claim| !was_laid_out(claim)).map(|claim| claim.name.clone()).collect()
}
