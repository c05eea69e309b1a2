//! Seen: the marks of one object, as a look at the cluster showed them.

use super::{LABEL_INSTANCE, LABEL_MANAGED_BY, ObjectRef, Traces};

/// One object with our labels, as the cluster showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// Kind and name.
    pub reference: ObjectRef,
    /// Its uid.
    pub uid: String,
    /// Its version: a write that names it does not land on any later form.
    pub version: String,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Whether it carries this deployment's labels.
    pub labelled: bool,
    /// Whether this deployment's field manager applied it: it is ours, not made by a controller or a person.
    pub ours: bool,
    /// Whether a controller counts it as its own.
    pub controlled: bool,
    /// Of a pod: whether it has ended for good.
    pub ended: bool,
    /// The digest of the fields that our field manager owns; empty if none.
    pub owned: String,
    /// What it shows of its writers.
    pub traces: Traces,
    /// The field managers that own its replica count.
    pub replicas_owners: Vec<String>,
    /// Its replica count, where somebody has looked for it.
    pub replicas: Option<i32>,
    /// What other field managers hold.
    pub others: Vec<Others>,
    /// What our own holds, in the same form; null if nothing.
    pub held: serde_json::Value,
    /// The `name` label: the component.
    pub component: String,
    /// The operation that it is marked with.
    pub operation: Option<String>,
    /// Of a pod: the revision it is of.
    pub revision: Option<u32>,
    /// Of a volume claim: what it asks for.
    pub claim: Option<ListedClaim>,
}

impl ListedObject {
    /// Whether somebody else holds one of the labels by which it is found: no write takes that without being asked to.
    pub fn is_relabelled(&self) -> bool {
        let labels = [LABEL_MANAGED_BY, LABEL_INSTANCE].map(|label| format!("f:{label}"));
        self.others.iter().any(|other| {
            let held = other.fields.get("f:metadata").and_then(|fields| fields.get("f:labels"));
            held.is_some_and(|held| labels.iter().any(|label| held.get(label).is_some()))
        })
    }

    /// Whether it is this deployment's, whose record has this uid for it: two of these three, our labels, the entry of our
    /// field manager and that uid. Somebody may have taken the labels away, or wiped the entries.
    pub fn is_ours(&self, recorded: Option<&str>) -> bool {
        let is_recorded = recorded == Some(self.uid.as_str());
        self.ours || is_recorded && (self.labelled || !self.owned.is_empty())
    }
}

/// The fields of an object that another field manager holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Others {
    /// The field manager.
    pub manager: String,
    /// The fields, as the API server writes them (`fieldsV1`): names, and no values but the keys of list items.
    pub fields: serde_json::Value,
}

/// One field that another field manager holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldField {
    /// The field manager.
    pub manager: String,
    /// The steps that lead to it in its managed fields: `f:spec`, `f:strategy`.
    pub steps: Vec<String>,
}

/// What a volume claim on the cluster asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedClaim {
    /// Its size, as the cluster spells it.
    pub size: String,
    /// Whether another field manager holds the size.
    pub size_is_others: bool,
    /// Its storage class; `None`: it has none.
    pub class: Option<String>,
    /// Whether this deployment chose the class, and not the cluster.
    pub class_is_ours: bool,
    /// Its access modes.
    pub modes: Vec<String>,
    /// How it is mounted, as it says itself; `None`: at its root.
    pub layout: Option<String>,
}

/// The form of an object that a write is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// Its uid: no other object is written.
    pub uid: String,
    /// Its version: no later form is written, so that a write which was sent by an operation that has lost its lock
    /// since does not land. `None`: nobody looked.
    pub version: Option<String>,
    /// The generation that was last written, if that is known.
    pub generation: Option<i64>,
}

impl Form {
    /// A form of which no generation is known.
    pub fn new(uid: String, version: Option<String>) -> Self {
        Self { uid, version, generation: None }
    }

    /// Whether a later version that has this generation differs in its status alone.
    pub fn has_generation(&self, generation: Option<i64>) -> bool {
        self.generation.is_some() && self.generation == generation
    }
}
