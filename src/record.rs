//! What a deployment's record says, and every way it may change; pure.

mod again;
mod gate;
mod head;
mod makers;
mod member;
mod moment;
mod operation;
mod refused;
mod requests;
mod revisions;
mod stored;
mod transitions;
mod unreadable;
mod work;
mod workloads;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::artifacts::{ComponentName, DeploymentState};

pub use gate::{
    being_changed, being_deleted, check_etag, check_joins, check_readable, gate, lost, not_found,
    there_already,
};
pub use head::{Head, HeadFields};
pub use makers::{Makers, controller_of};
pub use member::{Adopted, Member, MemberState};
pub use moment::{Moment, Standing};
pub use operation::{Operation, OperationKind};
pub use refused::{RefusedObject, RefusedWork, Refusing, foreign_finalizers, holding_finalizers};
pub use requests::{Request, RequestEntry, RequestOutcome, reused};
pub use revisions::{Cause, HeadRef, NotPutBack, Outcome, RevisionEntry, RevisionResult, Seen};
pub use stored::{Record, Version, deployment_of, head_name, lacks_marks, marks};
pub use transitions::{Transition, Writer};
pub use unreadable::{
    Unread, Unreadable, damaged_record, damaged_revision, later_record, lost_revision, tell_lost_revision,
    unended,
};
pub use work::{Applied, Begin, Work};
pub use workloads::{applied, former, pods, serving, to_be_scaled};

/// What is happening to a deployment; also a label of the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// An operation is writing objects.
    Applying,
    /// Everything is written; the workloads are getting ready.
    Progressing,
    /// An update wrote some objects and failed at others.
    Incomplete,
    /// Nothing is in progress.
    Idle,
    /// It is being torn down.
    Deleting,
}

impl Phase {
    /// The phase as a label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Applying => "applying",
            Phase::Progressing => "progressing",
            Phase::Incomplete => "incomplete",
            Phase::Idle => "idle",
            Phase::Deleting => "deleting",
        }
    }
}

/// What a BASIC list shows without looking at the workloads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The deployment's state as last seen.
    pub state: DeploymentState,
    /// The caller's labels: the record itself carries them, so that a list finds it by them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its components, in the template's order.
    pub components: Vec<RecordedComponent>,
}

/// One component of a [`Recorded`] state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedComponent {
    /// Its name.
    pub name: ComponentName,
    /// The image's name in the template.
    pub image_name: String,
    /// The container image.
    pub image: String,
}

#[cfg(test)]
mod tests;
