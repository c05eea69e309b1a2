//! What the head record says, as it lies in `head.json`.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::artifacts::{ComponentName, ObjectRef, Stage};

/// The version of the record's form that this adapter writes.
const SCHEMA: u32 = 1;
/// How far the clocks of two adapters may be apart.
const CLOCK_SKEW: Duration = Duration::from_secs(5);

/// Everything the adapter remembers of a deployment outside its revisions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The version of this form.
    pub schema: u32,
    /// Counts the operations; what callers see as the etag.
    pub generation: u64,
    /// The template's name as its author wrote it.
    pub template_name: String,
    /// Where the deployment stands.
    pub phase: Phase,
    /// The revision on the cluster, complete or not; `None` before the first was stored.
    pub current: Option<HeadRef>,
    /// The last revision that was seen ready.
    pub last_good: Option<u32>,
    /// Every revision that is kept, oldest first.
    pub revisions: Vec<RevisionEntry>,
    /// The operation that holds the deployment.
    pub operation: Option<Operation>,
    /// Every object that is or may be on the cluster: written before the objects are.
    pub inventory: Vec<Member>,
    /// Volume claims that stay when everything in the inventory goes; filled when it is marked for deletion.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retained: Vec<Member>,
    /// The state a BASIC list shows.
    pub recorded: Recorded,
    /// When the deployment was made.
    pub created: Timestamp,
    /// When an operation last changed it.
    pub updated: Timestamp,
}

impl Head {
    /// The head of a deployment that has nothing yet.
    pub fn new(template_name: String) -> Self {
        let now = Timestamp::now();
        Self {
            schema: SCHEMA,
            generation: 0,
            template_name,
            phase: Phase::Applying,
            current: None,
            last_good: None,
            revisions: Vec::new(),
            operation: None,
            inventory: Vec::new(),
            retained: Vec::new(),
            recorded: Recorded::default(),
            created: now,
            updated: now,
        }
    }

    /// The inventory's entry of an object.
    pub fn member(&self, reference: &ObjectRef) -> Option<&Member> {
        self.inventory.iter().find(|member| member.reference == *reference)
    }

    /// Whether the record's form is one this adapter understands.
    pub fn is_readable(&self) -> bool {
        self.schema == SCHEMA
    }
}

/// Where a deployment stands; also a label of the head.
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

/// Names a revision and the Secret that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadRef {
    /// The revision's number, from 1.
    pub number: u32,
    /// The Secret's name.
    pub secret: String,
}

/// One revision of the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionEntry {
    /// Number and Secret.
    #[serde(flatten)]
    pub revision: HeadRef,
    /// When it was deployed.
    pub time: Timestamp,
    /// Whether all of its objects were written.
    pub complete: bool,
}

/// Which operation holds a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationKind {
    /// Objects of a template are being written.
    Deploy,
    /// Replica counts are being set, controllers made.
    Scale,
    /// Everything is being deleted.
    Teardown,
}

/// The operation that holds a deployment until its lease ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Random, unique.
    pub id: String,
    /// What it does.
    pub kind: OperationKind,
    /// Grows with every takeover.
    pub epoch: u64,
    /// The adapter that runs it.
    pub holder: String,
    /// When it started.
    pub started: Timestamp,
    /// When others may take over unless it is renewed.
    pub lease_until: Timestamp,
    /// How long each renewal lasts, in milliseconds.
    pub lease_millis: u64,
    /// The revision it writes.
    pub revision: Option<HeadRef>,
}

impl Operation {
    /// How long others must still leave it alone; zero once it may be taken over.
    pub fn remaining(&self, now: Timestamp) -> Duration {
        // A lease shorter than the skew is a choice of somebody who has one clock.
        let skew = CLOCK_SKEW.min(Duration::from_millis(self.lease_millis));
        let end = self.lease_until.checked_add(skew).unwrap_or(self.lease_until);
        Duration::try_from(end.duration_since(now)).unwrap_or(Duration::ZERO)
    }
}

/// One object of the inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Kind and name.
    pub reference: ObjectRef,
    /// Its component.
    pub component: ComponentName,
    /// How far it got.
    pub state: MemberState,
    /// Its uid, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Of a workload: the revision in which its pods last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_revision: Option<u32>,
    /// Of a controller: the template's count when it was last applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_replicas: Option<i32>,
    /// Of a controller: the count Scale made it with, while the template's count is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaled_replicas: Option<i32>,
    /// Whether the object with this uid is to be deleted and made anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
    /// Of a controller: the generation our last write made; an older form of it is not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Of a controller: the Pod of ours that it takes over. Kubernetes does that a moment later, and never once
    /// the controller is being deleted: until both were seen together the Pod must go by its own uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopts: Option<Adopted>,
    /// A digest of the names of the fields we own; another manager's edit changes it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owned: String,
}

/// A Pod that was handed to a controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// Kind and name.
    pub reference: ObjectRef,
    /// Its uid.
    pub uid: String,
}

impl Member {
    /// The stage it is applied in.
    pub fn stage(&self) -> Stage {
        self.reference.kind.stage()
    }
}

/// How far an object got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// To be written; may be there or not.
    Planned,
    /// Written as its revision says.
    Applied,
    /// To be deleted; may be gone or not.
    Deleting,
}

/// What a BASIC list shows without looking at the workloads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The deployment's state as last seen, in the contract's spelling; empty before anything was seen.
    pub state: String,
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
