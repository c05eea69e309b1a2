//! Which volume claims a teardown leaves where they are.

use crate::artifacts::Kind;
use crate::cluster::{Head, Held, Member, Phase};
use crate::error::Result;
use crate::operations::{Operations, Target};

/// What becomes of volume claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VolumePolicy {
    /// They stay, and the next Deploy of the same name meets them again.
    #[default]
    Retain,
    /// They are deleted, and with them what lies on the volumes.
    Delete,
}

/// Takes volume claims that are to stay out of what is deleted, unless that was settled before.
///
/// From the mark on the inventory is what goes, whoever finishes it.
pub(in crate::operations) fn set_aside(head: &mut Head, stays: impl Fn(&Member) -> bool) {
    if head.phase == Phase::Deleting {
        return;
    }
    let claims = head
        .inventory
        .extract_if(.., |member| member.reference.kind == Kind::PersistentVolumeClaim && stays(member));
    head.retained.extend(claims);
}

impl Operations {
    /// Looks at the claims that are to stay: one that is not there, or goes already, is not said to be kept.
    pub(in crate::operations) async fn keep_standing_claims(
        &self,
        target: &Target,
        held: &mut Held,
    ) -> Result<()> {
        if held.head.retained.is_empty() {
            return Ok(());
        }
        let claims = held.head.retained.iter().map(|claim| claim.reference.clone()).collect();
        let seen = self.cluster.list_members(&target.namespace, &target.name, &claims).await?;
        held.head.retained.retain_mut(|claim| {
            let standing =
                seen.iter().find(|seen| seen.reference == claim.reference && seen.ours && !seen.terminating);
            claim.uid = standing.map(|seen| seen.uid.clone());
            standing.is_some()
        });
        Ok(())
    }
}
