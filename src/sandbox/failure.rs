//! Says no the way Kubernetes does: an HTTP code and a Status object.
use super::kinds::Kind;
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
    fn new(code: u16, reason: &'static str, message: impl Into<String>, details: Value) -> Self {
        Self { code, reason, message: message.into(), details }
    }

    pub fn not_found(kind: &Kind, name: &str) -> Self {
        Self::new(
            404,
            "NotFound",
            format!("{} \"{name}\" not found", kind.resource()),
            details(kind, name, &[]),
        )
    }

    pub fn namespace_missing(name: &str) -> Self {
        let message = format!("namespaces \"{name}\" not found");
        Self::new(404, "NotFound", message, json!({ "name": name, "kind": "namespaces" }))
    }

    /// No such path; the real server answers so for kinds that it does not know.
    pub fn no_route() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource", json!({}))
    }

    pub fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
            json!({}),
        )
    }

    pub fn exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", kind.resource());
        Self::new(409, "AlreadyExists", message, details(kind, name, &[]))
    }

    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.resource());
        Self::new(409, "Conflict", message, details(kind, name, &[]))
    }

    /// Fields that other managers own; causes are `FieldManagerConflict`s.
    pub fn apply_conflict(causes: &[Cause]) -> Self {
        let list: Vec<_> = causes.iter().map(|(_, field, message)| format!("{message}: {field}")).collect();
        let plural = if causes.len() == 1 { "" } else { "s" };
        let message = format!("Apply failed with {} conflict{plural}: {}", causes.len(), list.join(", "));
        Self::new(409, "Conflict", message, json!({ "causes": as_json(causes) }))
    }

    pub fn invalid(kind: &Kind, name: &str, causes: &[Cause]) -> Self {
        let list: Vec<_> = causes.iter().map(|(_, field, message)| format!("{field}: {message}")).collect();
        let message = format!("{} \"{name}\" is invalid: {}", named(kind), list.join(", "));
        Self::new(422, "Invalid", message, details(kind, name, causes))
    }

    pub fn forbidden(kind: &Kind, name: &str, why: &str, causes: &[Cause]) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", kind.resource());
        Self::new(403, "Forbidden", message, details(kind, name, causes))
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message, Value::Null)
    }

    pub fn unsupported_media() -> Self {
        let message = "the body of the request was in an unknown format";
        Self::new(415, "UnsupportedMediaType", message, json!({}))
    }

    pub fn not_acceptable(message: &str) -> Self {
        Self::new(406, "NotAcceptable", message, Value::Null)
    }

    /// An apply without a name for its manager.
    pub fn no_manager() -> Self {
        let cause = (
            "FieldValueRequired",
            "fieldManager".to_owned(),
            "Required value: is required for apply patch".to_owned(),
        );
        let message = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
        let details = json!({ "group": "meta.k8s.io", "kind": "PatchOptions", "causes": as_json(&[cause]) });
        Self::new(422, "Invalid", message, details)
    }

    /// A resourceVersion that the history no longer reaches.
    pub fn expired(asked: u64, oldest: u64) -> Self {
        Self::new(410, "Expired", format!("too old resource version: {asked} ({oldest})"), Value::Null)
    }

    /// What the real server answers for bodies of an apply that do not fit the schema: a 500 without a reason.
    pub fn schema(message: impl Into<String>) -> Self {
        Self::new(500, "", message, Value::Null)
    }

    /// The Status object.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}

fn named(kind: &Kind) -> String {
    if kind.group.is_empty() { kind.name.to_owned() } else { format!("{}.{}", kind.name, kind.group) }
}

fn as_json(causes: &[Cause]) -> Vec<Value> {
    let cause =
        |(reason, field, message): &Cause| json!({ "reason": reason, "field": field, "message": message });
    causes.iter().map(cause).collect()
}

fn details(kind: &Kind, name: &str, causes: &[Cause]) -> Value {
    // A refused field is reported under the kind's name, everything else under the plural.
    let shown = if causes.is_empty() { kind.plural } else { kind.name };
    let mut details = json!({ "name": name, "kind": shown });
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    if !causes.is_empty() {
        details["causes"] = json!(as_json(causes));
    }
    details
}
