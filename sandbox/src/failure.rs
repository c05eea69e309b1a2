//! Says no the way Kubernetes does: an HTTP code and a Status object.
use super::kinds::Kind;
use super::store::Key;
use serde_json::{Value, json};

/// A refusal; becomes the answer's code and its Status.
#[derive(Debug)]
pub struct Failure {
    pub code: u16,
    reason: &'static str,
    message: String,
    details: Value,
}

/// One field that was refused: (reason, field, message).
pub type Cause = (&'static str, String, String);

impl Failure {
    /// A refusal that is about no object.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null }
    }

    fn because(mut self, causes: &[Cause]) -> Self {
        let cause = |(reason, field, message): &Cause| json!({ "reason": reason, "field": field, "message": message });
        self.details["causes"] = causes.iter().map(cause).collect();
        self
    }

    fn about(code: u16, reason: &'static str, kind: Kind, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" {why}", kind.plural());
        Self { details: json!({ "name": name, "kind": kind.plural() }), ..Self::new(code, reason, message) }
    }

    pub fn not_found(key: &Key) -> Self {
        Self::about(404, "NotFound", key.kind, &key.name, "not found")
    }

    pub fn exists(key: &Key) -> Self {
        Self::about(409, "AlreadyExists", key.kind, &key.name, "already exists")
    }

    pub fn conflict(key: &Key, why: &str) -> Self {
        Self::about(409, "Conflict", key.kind, &key.name, &format!("cannot be changed: {why}"))
    }

    pub fn forbidden(key: &Key, why: &str) -> Self {
        Self::about(403, "Forbidden", key.kind, &key.name, &format!("is forbidden: {why}"))
    }

    pub fn namespace_terminating(key: &Key) -> Self {
        let why = format!("namespace {} is being terminated", key.namespace);
        Self::forbidden(key, &why).because(&[("NamespaceTerminating", "metadata.namespace".to_owned(), why)])
    }

    /// Fields that other managers own; causes are `FieldManagerConflict`s.
    pub fn apply_conflict(causes: &[Cause]) -> Self {
        let list: Vec<_> = causes.iter().map(|(_, field, message)| format!("{message}: {field}")).collect();
        let plural = if causes.len() == 1 { "" } else { "s" };
        let message = format!("Apply failed with {} conflict{plural}: {}", causes.len(), list.join(", "));
        Self::new(409, "Conflict", message).because(causes)
    }

    pub fn invalid(key: &Key, causes: &[Cause]) -> Self {
        let list: Vec<_> = causes.iter().map(|(_, field, message)| format!("{field}: {message}")).collect();
        let (kind, name) = (key.kind.name(), &key.name);
        let message = format!("{kind} \"{name}\" is invalid: {}", list.join(", "));
        let details = json!({ "name": name, "kind": kind });
        Self { details, ..Self::new(422, "Invalid", message) }.because(causes)
    }

    /// An apply without a name for its manager.
    pub fn no_manager() -> Self {
        let cause = ("FieldValueRequired", "fieldManager".to_owned(), "Required value".to_owned());
        Self::new(422, "Invalid", "fieldManager: Required value: is required for apply patch")
            .because(&[cause])
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// What the real server answers for bodies of an apply that do not fit the schema: a 500 without a reason.
    pub fn schema(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// The Status object.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": self.code,
            "message": self.message, "reason": self.reason, "details": self.details,
        });
        if let Some(status) = status.as_object_mut() {
            status.retain(|_, value| !value.is_null() && *value != "");
        }
        status
    }
}
