//! Change: which object, and what was or would be done to it.

use super::{ComponentName, ObjectRef};

/// What happens to one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It is created.
    Create,
    /// It is changed in place.
    Update,
    /// It is deleted and created again, because Kubernetes cannot change it in place.
    Replace,
    /// It stays as it is; nothing is sent.
    Unchanged,
    /// It is deleted.
    Delete,
    /// It stays although the template no longer has it.
    Keep,
}

/// One object and what happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The object.
    pub reference: ObjectRef,
    /// Its uid, once the cluster has given one.
    pub uid: Option<String>,
    /// What happens to it.
    pub action: Action,
    /// The component it belongs to.
    pub component: Option<ComponentName>,
    /// Which fields change; values of the environment and of Secrets are masked.
    pub fields: Vec<FieldChange>,
    /// How many more fields change than are listed.
    pub more_fields: usize,
}

/// One field that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// The path in the manifest, as `spec.replicas`.
    pub path: String,
    /// The value before, as JSON; `None` if there was none.
    pub before: Option<String>,
    /// The value after, as JSON; `None` if it is removed.
    pub after: Option<String>,
}
