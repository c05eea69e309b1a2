//! What a deployment's record says, and every way it may change; pure.

mod gate;
mod makers;
mod member;
mod moment;
mod operation;
mod refused;
mod requests;
mod revisions;
mod stored;
mod transitions;
mod work;
mod workloads;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::artifacts::{ComponentName, DeploymentState, ObjectRef};

pub use gate::{
    being_changed, being_deleted, check_etag, check_readable, gate, lost, not_found, there_already,
};
pub use makers::{Makers, controller_of};
pub use member::{Adopted, Member, MemberState};
pub use moment::{Moment, Standing};
pub use operation::{Operation, OperationKind};
pub use refused::{RefusedObject, RefusedWork, Refusing, foreign_finalizers, holding_finalizers};
pub use requests::{Request, RequestEntry, RequestOutcome, reused};
pub use revisions::{Cause, HeadRef, Outcome, RevisionEntry, RevisionResult};
pub use stored::{Record, Version};
pub use transitions::{Transition, Writer};
pub use work::{Applied, Begin, Work};
pub use workloads::{applied, former, pods, serving, to_be_scaled};

/// The version of the record's form that this adapter writes.
const SCHEMA: u32 = 1;

/// Everything the adapter remembers of a deployment outside its revisions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The version of this form.
    pub schema: u32,
    /// The uid of the ConfigMap that it was last written to by an operation: where it lies in another one, it was
    /// restored from a backup. `None`: it was written by a version that did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Whether it was restored from a backup and adopted since: it does not own the revisions that were stored before, so
    /// they go by name at its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restored: bool,
    /// Counts the operations; what callers see as the etag.
    pub generation: u64,
    /// The template's name as its author wrote it.
    pub template_name: String,
    /// What is happening to the deployment.
    pub phase: Phase,
    /// The revision on the cluster, complete or not; `None` before the first was stored.
    pub current: Option<HeadRef>,
    /// The last revision that was seen ready.
    pub last_good: Option<u32>,
    /// Every revision that is kept, oldest first.
    pub revisions: Vec<RevisionEntry>,
    /// The operation that holds the deployment.
    pub operation: Option<Operation>,
    /// Operations that were taken over: what they have sent before may still arrive, and is looked out for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub superseded: Vec<String>,
    /// The last operations of this record, oldest first: objects that bear the mark of one, and that no inventory has,
    /// were created late. Marks of others are of a record that was lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub begun: Vec<String>,
    /// Every object that is or may be on the cluster: written before the objects are.
    pub inventory: Vec<Member>,
    /// Volume claims that stay when everything in the inventory goes; filled when it is marked for deletion.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retained: Vec<Member>,
    /// Requests that their callers have named and that were carried out, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<RequestEntry>,
    /// What the cluster refuses to delete or to write, until it is over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedObject>,
    /// The revision that is put back if a component of the current one is seen to fail before all were ever ready: its
    /// caller waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pledge: Option<HeadRef>,
    /// The state a BASIC list shows.
    pub recorded: Recorded,
    /// When the deployment was made.
    pub created: Timestamp,
    /// When an operation last changed it.
    pub updated: Timestamp,
}

impl Head {
    /// The head of a deployment that has nothing yet.
    pub fn new(template_name: String, now: Timestamp) -> Self {
        Self {
            schema: SCHEMA,
            uid: None,
            restored: false,
            generation: 0,
            template_name,
            phase: Phase::Applying,
            current: None,
            last_good: None,
            revisions: Vec::new(),
            operation: None,
            superseded: Vec::new(),
            begun: Vec::new(),
            inventory: Vec::new(),
            retained: Vec::new(),
            requests: Vec::new(),
            refused: Vec::new(),
            pledge: None,
            recorded: Recorded::default(),
            created: now,
            updated: now,
        }
    }

    /// The inventory's entry of an object.
    pub fn member(&self, reference: &ObjectRef) -> Option<&Member> {
        self.inventory.iter().find(|member| member.reference == *reference)
    }

    /// Whether this operation is one of this record's, ended or not.
    pub fn has_begun(&self, operation: &String) -> bool {
        self.begun.contains(operation) || self.superseded.contains(operation)
    }

    /// Whether the record's form is one this adapter understands.
    pub fn is_readable(&self) -> bool {
        self.schema == SCHEMA
    }
}

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
