//! What an operation is about to do when it begins, and what it has done when it ends.

use jiff::Timestamp;

use super::{Cause, HeadRef, Member, NotPutBack, Operation, OperationKind, Phase, Recorded, RefusedObject};
use crate::artifacts::ObjectRef;

/// How an operation begins.
#[derive(Clone, Debug)]
pub struct Begin {
    /// The operation.
    pub operation: Operation,
    /// What it is about to do.
    pub work: Work,
}

/// What an operation is about to do; the inventory lists everything that is or may be on the cluster from then on.
#[derive(Clone, Debug)]
pub enum Work {
    /// Objects of a template are written.
    Deploy {
        /// The revision that is written.
        revision: HeadRef,
        /// The template's name as its author wrote it.
        template_name: String,
        /// What a BASIC list shows.
        recorded: Recorded,
        /// The objects.
        inventory: Vec<Member>,
        /// The revision that is put back if the operation fails or dies.
        back_to: Option<HeadRef>,
        /// The revision that is repeated.
        rollback_of: Option<u32>,
        /// Why it takes back the operation before it, whose revision was stored: that one was in force, in part.
        takes_back: Option<Cause>,
        /// Whether it deletes what no template has.
        prunes: bool,
    },
    /// Pods become controllers.
    Scale {
        /// The objects.
        inventory: Vec<Member>,
    },
    /// Everything is deleted.
    Teardown {
        /// The objects that go.
        inventory: Vec<Member>,
        /// The volume claims that stay.
        retained: Vec<Member>,
    },
}

impl Work {
    /// The kind of operation.
    pub fn kind(&self) -> OperationKind {
        match self {
            Work::Deploy { .. } => OperationKind::Deploy,
            Work::Scale { .. } => OperationKind::Scale,
            Work::Teardown { .. } => OperationKind::Teardown,
        }
    }

    /// The revision that is put back if it fails or dies.
    pub fn back_to(&self) -> Option<&HeadRef> {
        match self {
            Work::Deploy { back_to, .. } => back_to.as_ref(),
            Work::Scale { .. } | Work::Teardown { .. } => None,
        }
    }

    /// Why it takes back what was in force, in part or whole; `None`: it does not.
    pub fn takes_back(&self) -> Option<&Cause> {
        match self {
            Work::Deploy { takes_back, .. } => takes_back.as_ref(),
            Work::Scale { .. } | Work::Teardown { .. } => None,
        }
    }

    /// The revision that is repeated.
    pub fn rollback_of(&self) -> Option<u32> {
        match self {
            Work::Deploy { rollback_of, .. } => *rollback_of,
            Work::Scale { .. } | Work::Teardown { .. } => None,
        }
    }

    /// The revision that is written.
    pub fn revision(&self) -> Option<&HeadRef> {
        match self {
            Work::Deploy { revision, .. } => Some(revision),
            Work::Scale { .. } | Work::Teardown { .. } => None,
        }
    }
}

/// How an operation that writes objects ends.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Everything that is or may be on the cluster.
    pub inventory: Vec<Member>,
    /// The revision that was stored; `None` if there is none.
    pub revision: Option<HeadRef>,
    /// Whether every object is as planned.
    pub complete: bool,
    /// The phase from now on.
    pub phase: Phase,
    /// What could not be written, with why; what was not reached, without.
    pub refused: Vec<RefusedObject>,
    /// Objects that were certainly not written, and stand as an earlier revision.
    pub untouched: Vec<ObjectRef>,
    /// What is put back if this is seen to fail before it was ever ready.
    pub pledge: Option<HeadRef>,
    /// Why it ends so and was not taken back, where that was its choice.
    pub not_put_back: Option<NotPutBack>,
    /// When it ended.
    pub now: Timestamp,
}
