//! All that a record holds: everybody reads it, and transitions alone change it.

use std::ops::Deref;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    HeadRef, Member, NotPutBack, Operation, Phase, Recorded, RefusedObject, RequestEntry, RevisionEntry,
};
use crate::artifacts::ObjectRef;

/// The version of the record's form that this adapter writes.
const SCHEMA: u32 = 1;

/// Everything the adapter remembers of a deployment outside its revisions.
///
/// Everybody reads its [`HeadFields`]; what is stored changes by a [`Transition`](super::Transition) alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Head(pub(super) HeadFields);

impl Deref for Head {
    type Target = HeadFields;

    fn deref(&self) -> &HeadFields {
        &self.0
    }
}

/// Tests lay records before the rules as a cluster may have them.
#[cfg(test)]
impl std::ops::DerefMut for Head {
    fn deref_mut(&mut self) -> &mut HeadFields {
        &mut self.0
    }
}

/// What a [`Head`] consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadFields {
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
    /// Operations that ended and had not heard every answer: what they have sent may still arrive, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubted: Vec<String>,
    /// The last operations that ended by themselves, counts that Scale has set included: who has not heard the answer to its own end finds it here, whatever
    /// others have written since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<String>,
    /// The last operations of this record, oldest first: objects that bear the mark of one, and that no inventory has,
    /// were created late. Marks of others are of a record that was lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub begun: Vec<String>,
    /// Every object that is or may be on the cluster: written before the objects are.
    pub inventory: Vec<Member>,
    /// Volume claims that stay when everything in the inventory goes; filled when it is marked for deletion.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retained: Vec<Member>,
    /// Whether the last Deploy deletes what no template has: then so does whoever finds objects that a lost record has left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prunes: bool,
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
    /// Why the revision that was promised for a failure is not put back, until the next Deploy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_put_back: Option<NotPutBack>,
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
        Self(HeadFields {
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
            doubted: Vec::new(),
            ended: Vec::new(),
            begun: Vec::new(),
            inventory: Vec::new(),
            retained: Vec::new(),
            prunes: false,
            requests: Vec::new(),
            refused: Vec::new(),
            pledge: None,
            not_put_back: None,
            recorded: Recorded::default(),
            created: now,
            updated: now,
        })
    }

    /// The head as it lies in the ConfigMap of this uid; `restored`: it came back from a backup and was adopted since.
    pub fn lying_in(mut self, uid: Option<String>, restored: bool) -> Self {
        (self.0.uid, self.0.restored) = (uid, restored);
        self
    }

    /// The head as whoever knows more of the cluster understands it: plans are made from it, it is not stored itself.
    pub fn understood(&self, mut change: impl FnMut(&mut Member)) -> Self {
        let mut inventory = self.inventory.clone();
        inventory.iter_mut().for_each(&mut change);
        self.with_inventory(inventory)
    }

    /// The same where the whole inventory is known better.
    pub fn with_inventory(&self, inventory: Vec<Member>) -> Self {
        Self(HeadFields { inventory, ..self.0.clone() })
    }

    /// Whether a form of this version is one this adapter understands.
    pub fn knows(schema: u32) -> bool {
        schema == SCHEMA
    }
}

impl HeadFields {
    /// The inventory's entry of an object.
    pub fn member(&self, reference: &ObjectRef) -> Option<&Member> {
        self.inventory.iter().find(|member| member.reference == *reference)
    }

    /// The operations of which something may still arrive.
    pub fn doubts(&self) -> impl Iterator<Item = &String> {
        self.superseded.iter().chain(&self.doubted)
    }

    /// Whether this operation is one of this record's, ended or not.
    pub fn has_begun(&self, operation: &str) -> bool {
        self.begun.iter().chain(&self.superseded).any(|begun| begun == operation)
    }
}
