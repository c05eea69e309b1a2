//! Which volume claims a teardown leaves where they are, and which a Deploy meets again.

use super::{Engine, look};
use crate::artifacts::{Artifacts, ComponentName, Kind, ListedObject, ObjectName, ObjectRef, Target};
use crate::error::Result;
use crate::record::{Head, Member, MemberState};

/// Looks at what is there of a deployment and of what it is to have.
///
/// Where there is no record, there may be claims of an earlier deployment of the name all the same, and how they are
/// mounted decides about the pods. Few have any, so a first Deploy looks only once it has met one.
pub(super) async fn met(
    engine: &Engine,
    target: &Target,
    head: Option<&Head>,
    looks_back: bool,
    objects: &Artifacts,
) -> Result<Vec<ListedObject>> {
    let Some(head) = head else {
        return if looks_back { left_behind(engine, target).await } else { Ok(Vec::new()) };
    };
    let wanted = objects.objects().iter().map(|artifact| &artifact.reference);
    // A Secret that is new to the deployment needs no look: it is made only where there is none.
    let wanted = wanted.filter(|reference| reference.kind != Kind::Secret);
    let members = head.inventory.iter().map(|member| &member.reference).chain(wanted).cloned().collect();
    look::members(engine, target, &head.inventory, &members).await
}

/// The claims that decide what is mounted by a Deploy that changes the template or its rules, although it would make
/// none of them: where no object is a claim, wanted or there, [`met`] has looked at no claims.
pub(super) async fn met_again(
    engine: &Engine,
    target: &Target,
    head: &Head,
    objects: &Artifacts,
) -> Result<Vec<ListedObject>> {
    let mut members = head.inventory.iter().map(|member| &member.reference);
    let mut wanted = objects.objects().iter().map(|artifact| &artifact.reference);
    let is_claim = |reference: &ObjectRef| reference.kind == Kind::PersistentVolumeClaim;
    let has_looked = members.any(is_claim) || wanted.any(is_claim);
    if has_looked { Ok(Vec::new()) } else { left_behind(engine, target).await }
}

/// The claims that a deployment of the name has left, this one or an earlier.
async fn left_behind(engine: &Engine, target: &Target) -> Result<Vec<ListedObject>> {
    // All claims are listed; the name of this one is no matter.
    let claim = ObjectName::new(target.name.as_str()).ok();
    let claims = claim.map(|name| ObjectRef::new(Kind::PersistentVolumeClaim, name)).into_iter().collect();
    let mut seen = engine.cluster.list_members(&target.namespace, &target.name, &claims).await?;
    // What goes is waited for where it is to be made anew.
    seen.retain(|seen| !seen.terminating);
    Ok(seen)
}

/// The claims of earlier deployments of the name, which a Teardown leaves that deletes those of this one.
pub(super) async fn beside(engine: &Engine, target: &Target, inventory: &[Member]) -> Result<Vec<Member>> {
    let seen = left_behind(engine, target).await?;
    let beside = seen.into_iter().filter(|seen| {
        let is_known = inventory.iter().any(|member| member.reference == seen.reference);
        seen.ours && !is_known && seen.reference.kind == Kind::PersistentVolumeClaim
    });
    let entry = |seen: ListedObject| {
        let component = ComponentName::new(seen.component).ok()?;
        let entry = Member::new(seen.reference, component, MemberState::Applied);
        Some(Member { uid: Some(seen.uid), ..entry })
    };
    Ok(beside.filter_map(entry).collect())
}

/// Looks at the claims that are to stay: a claim that is not there, or goes already, is not said to be kept.
pub(super) async fn standing(engine: &Engine, target: &Target, retained: Vec<Member>) -> Result<Vec<Member>> {
    if retained.is_empty() {
        return Ok(retained);
    }
    let claims = retained.iter().map(|claim| claim.reference.clone()).collect();
    let seen = look::members(engine, target, &retained, &claims).await?;
    let standing = retained.into_iter().filter_map(|claim| {
        let is_found =
            |seen: &&ListedObject| seen.reference == claim.reference && seen.is_ours(claim.uid.as_deref());
        let found = seen.iter().find(is_found).filter(|seen| !seen.terminating)?;
        Some(Member { uid: Some(found.uid.clone()), ..claim })
    });
    Ok(standing.collect())
}
