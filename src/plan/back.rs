//! How a template is brought about, and what is different where it is that of an earlier revision.

use serde::{Deserialize, Serialize};

use super::{ConflictPolicy, ReplicasPolicy};
use crate::artifacts::Artifact;
use crate::record::{Cause, Head, Member, MemberState};

/// What becomes of objects that the template no longer has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PrunePolicy {
    /// They are deleted.
    #[default]
    DeleteRemoved,
    /// They stay, and go with the deployment.
    Keep,
}

/// What becomes of an update that fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailurePolicy {
    /// What was written stays, and the next Deploy repairs it.
    #[default]
    Keep,
    /// The revision before is put back.
    Rollback,
}

/// How a template is brought about.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// What becomes of removed objects.
    pub prune: PrunePolicy,
    /// What becomes of it if it fails.
    pub on_failure: FailurePolicy,
    /// What is done where others hold fields.
    pub conflicts: ConflictPolicy,
    /// Whose replica counts hold.
    pub replicas: ReplicasPolicy,
    /// The revision that it repeats.
    pub rollback_of: Option<u32>,
    /// What is different because the template was stored; `None`: it came with a request.
    pub back: Option<Back>,
}

/// What is different where a stored revision is put in force again.
///
/// A volume claim cannot shrink, so it keeps its size; and a count that somebody else has set is not lowered.
#[derive(Clone, Debug, Default)]
pub struct Back {
    /// Whether an operation is ended that has failed or died: then this one is not taken back itself.
    pub recovers: bool,
    /// Whether only such removed objects are deleted as the inventory says: the operation that is finished decided it.
    pub deletes_marked_only: bool,
    /// Why the operation before it, whose revision was stored, is taken back; `None`: it is not.
    pub takes_back: Option<Cause>,
    /// Operations whose objects go with them, whatever becomes of other removed objects.
    pub undone: Vec<String>,
    /// The objects of a revision that was written in part.
    pub doubted: Vec<Artifact>,
}

impl Course {
    /// Whether all removed objects are deleted.
    pub(super) fn deletes_removed(&self) -> bool {
        let marked_only = self.back.as_ref().is_some_and(|back| back.deletes_marked_only);
        self.prune == PrunePolicy::DeleteRemoved && !marked_only
    }

    /// Whether it is taken back if it fails.
    pub(super) fn is_taken_back(&self) -> bool {
        let recovers = self.back.as_ref().is_some_and(|back| back.recovers);
        self.on_failure == FailurePolicy::Rollback && !recovers
    }

    /// What is done where others hold fields: whoever ends an operation that has failed or died has nobody to refuse it
    /// to, so what others hold stays, and the next Deploy decides.
    pub(super) fn conflicts_now(&self) -> ConflictPolicy {
        let recovers = self.back.as_ref().is_some_and(|back| back.recovers);
        if recovers && self.conflicts == ConflictPolicy::Fail {
            ConflictPolicy::Yield
        } else {
            self.conflicts
        }
    }

    /// Whether what others hold stays without anybody having asked for that.
    pub(super) fn yields_unasked(&self) -> bool {
        self.conflicts_now() != self.conflicts
    }

    /// Why an operation before it is taken back by it.
    pub fn takes_back(&self) -> Option<Cause> {
        self.back.as_ref()?.takes_back.clone()
    }
}

impl Back {
    /// Whether an operation that is undone has made this object.
    pub(super) fn undoes(&self, member: &Member) -> bool {
        member.operation.as_ref().is_some_and(|id| self.undone.contains(id))
    }
}

/// The record without the marks of an operation that has not ended, on objects that the current revision has: nothing is
/// deleted before an operation has ended, so they are as they were.
pub fn restored(head: &Head, current: &[Artifact]) -> Head {
    let mut head = head.clone();
    for member in &mut head.inventory {
        let is_of_current = current.iter().any(|artifact| artifact.reference == member.reference);
        if member.state == MemberState::Deleting && member.uid.is_some() && is_of_current {
            member.state = MemberState::Applied;
        }
    }
    head
}
