//! Which volume claims a teardown leaves where they are.

use crate::artifacts::Kind;
use crate::cluster::{Head, Member, Phase};

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
