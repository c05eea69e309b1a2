//! Failures of API calls, and the errors they become; the API server's own text stays here.

use std::time::Duration;

use kube::core::Status;
use kube::core::response::StatusCause;

use crate::artifacts::{Kind, ObjectRef};
use crate::error::{Error, ErrorKind, Refusal};

/// The object that a write is about, as answers name it: a conflict about anything else says nothing of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    /// The plural in the API's paths.
    pub(super) resource: &'static str,
    pub(super) name: &'a str,
}

impl<'a> Subject<'a> {
    pub(super) fn member(object: &'a ObjectRef) -> Self {
        let resource = match object.kind {
            Kind::Secret => "secrets",
            Kind::PersistentVolumeClaim => "persistentvolumeclaims",
            Kind::Service => "services",
            Kind::ReplicationController => "replicationcontrollers",
            Kind::Deployment => "deployments",
            Kind::Pod => "pods",
        };
        Self { resource, name: object.name.as_str() }
    }
}

/// What a 409 says about the object that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conflict {
    /// There is an object of that name.
    Exists,
    /// It is another object, or in another form, than the one that was meant; a look at it tells which.
    Changed,
    /// Other field managers hold fields of it.
    Fields,
}

/// Why one API call gave no answer that can be used.
pub(super) struct Failure {
    purpose: &'static str,
    cause: Cause,
    conflict: Option<Conflict>,
}

/// What the call met.
enum Cause {
    /// The API server said no.
    Refused(Box<Status>),
    /// There was no answer within the time of one call.
    Timeout,
    /// There was no connection, or the answer could not be read.
    Broken(String),
}

impl Failure {
    pub(super) fn new(purpose: &'static str, subject: Option<Subject<'_>>, error: kube::Error) -> Self {
        let (cause, conflict) = if let kube::Error::Api(status) = error {
            let conflict = conflict(&status, subject);
            (Cause::Refused(status), conflict)
        } else {
            (Cause::Broken(describe(&error)), None)
        };
        Self { purpose, cause, conflict }
    }

    pub(super) fn timeout(purpose: &'static str) -> Self {
        Self { purpose, cause: Cause::Timeout, conflict: None }
    }

    pub(super) fn broken(purpose: &'static str, text: &str) -> Self {
        Self { purpose, cause: Cause::Broken(text.to_owned()), conflict: None }
    }

    fn status(&self) -> Option<&Status> {
        match &self.cause {
            Cause::Refused(status) => Some(status),
            Cause::Timeout | Cause::Broken(_) => None,
        }
    }

    pub(super) fn code(&self) -> u16 {
        self.status().map_or(0, |status| status.code)
    }

    pub(super) fn is_not_found(&self) -> bool {
        self.status().is_some_and(Status::is_not_found)
    }

    /// What a 409 says about the object that was to be written; `None` if it says nothing, and passes.
    pub(super) fn conflict(&self) -> Option<Conflict> {
        self.conflict
    }

    pub(super) fn is_invalid(&self) -> bool {
        self.status().is_some_and(Status::is_invalid)
    }

    /// The watched version is too old to start from.
    pub(super) fn is_gone(&self) -> bool {
        self.code() == 410
    }

    pub(super) fn causes(&self) -> &[StatusCause] {
        self.status().and_then(|status| status.details.as_ref()).map_or(&[], |details| &details.causes)
    }

    /// Whether the namespace, and not the object, is what is missing.
    pub(super) fn is_namespace_missing(&self) -> bool {
        self.is_not_found()
            && self
                .status()
                .and_then(|status| status.details.as_ref())
                .is_some_and(|details| details.kind == "namespaces")
    }

    /// Whether the same call may succeed in a moment.
    pub(super) fn is_transient(&self) -> bool {
        match &self.cause {
            Cause::Timeout | Cause::Broken(_) => true,
            Cause::Refused(status) => match status.code {
                429 | 502 | 503 | 504 => true,
                // A quota's own bookkeeping was overtaken, say, or a webhook's: nothing about the object.
                409 => self.conflict.is_none(),
                // etcd's answers arrive as 500: a leader's change passes, a request that is too large never does.
                500 => {
                    status.message.contains("leader changed")
                        || status.message.contains("failed calling webhook")
                        || status.reason == "ServerTimeout"
                }
                _ => false,
            },
        }
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        let seconds = self.status()?.details.as_ref()?.retry_after_seconds;
        (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
    }

    /// What happened, without the API server's text, which may quote values of the environment.
    pub(super) fn summary(&self) -> String {
        match &self.cause {
            Cause::Timeout => "no answer in time".to_owned(),
            Cause::Broken(text) => text.clone(),
            Cause::Refused(status) => {
                let mut text = format!("HTTP {} {}", status.code, status.reason);
                for cause in self.causes() {
                    text.push_str(&format!(" [{} at {}]", cause.reason, cause.field));
                }
                text
            }
        }
    }

    /// The error for the caller when this happened to a member object.
    pub(super) fn about(self, object: &ObjectRef) -> Error {
        self.into_error(object.kind.as_str(), object.name.as_str())
    }

    /// The error for the caller.
    pub(super) fn into_error(self, kind: &str, name: &str) -> Error {
        let object = format!("{kind} {name}");
        let object = object.trim_end();
        let error = match &self.cause {
            Cause::Timeout => Error::new(
                ErrorKind::ClusterUnreachable,
                format!("failed to {} ({object}): the cluster did not answer in time", self.purpose),
            )
            .retry_after(Duration::from_secs(1)),
            Cause::Broken(_) => Error::new(
                ErrorKind::ClusterUnreachable,
                format!("failed to {} ({object}): the cluster cannot be reached", self.purpose),
            )
            .retry_after(Duration::from_secs(1)),
            Cause::Refused(status) => self.refusal(status, object),
        };
        let error = if name.is_empty() { error } else { error.about(kind, name) };
        error.because(format!("{} {object}: {}", self.purpose, self.summary()))
    }

    /// Chooses by what the caller can do next.
    fn refusal(&self, status: &Status, object: &str) -> Error {
        let failed = format!("failed to {} ({object})", self.purpose);
        // Webhooks choose their own code, and policies answer 422.
        let text = status.message.as_str();
        if status.code != 500
            && ["admission webhook", "ValidatingAdmissionPolicy"].iter().any(|by| text.contains(by))
        {
            return Error::new(
                ErrorKind::AdmissionDenied,
                format!("{failed}: the cluster's admission rules refuse it"),
            );
        }
        match status.code {
            401 => Error::new(
                ErrorKind::ClusterCredentialsRejected,
                format!("{failed}: the cluster does not accept the adapter's credentials"),
            )
            .retry_after(Duration::from_secs(5)),
            403 => self.forbidden(status, &failed),
            404 if self.is_namespace_missing() => {
                let name = status.details.as_ref().map(|details| details.name.as_str()).unwrap_or_default();
                Error::new(
                    ErrorKind::NamespaceNotFound,
                    format!("namespace {name} does not exist; create it, or set options.create_namespace"),
                )
            }
            429 => {
                Error::new(ErrorKind::ClusterThrottled, format!("{failed}: the cluster asks to slow down"))
                    .retry_after(self.retry_after().unwrap_or(Duration::from_secs(1)))
            }
            422 if self.is_immutable_claim(object) => Error::new(
                ErrorKind::VolumeImmutable,
                format!(
                    "{object} cannot become what is asked: a claim only grows, and keeps its storage class and \
                     access modes; set options.volume_size and options.storage_class as they were"
                ),
            ),
            422 => self.invalid(&failed),
            409 | 500 | 502 | 503 | 504 if self.is_transient() => {
                Error::new(ErrorKind::ClusterUnreachable, format!("{failed}: the cluster cannot answer now"))
                    .retry_after(self.retry_after().unwrap_or(Duration::from_secs(1)))
            }
            code => Error::new(
                ErrorKind::ManifestRejected,
                format!("{failed}: the cluster refused it with HTTP {code}"),
            ),
        }
    }

    /// 403 has four meanings; the API server tells them apart in its text alone.
    fn forbidden(&self, status: &Status, failed: &str) -> Error {
        let text = status.message.as_str();
        let terminating = self.causes().iter().any(|cause| cause.reason == "NamespaceTerminating");
        if terminating || text.contains("being terminated") {
            Error::new(ErrorKind::NamespaceTerminating, format!("{failed}: the namespace is being deleted"))
        } else if text.contains("exceeded quota") {
            Error::new(
                ErrorKind::QuotaExceeded,
                format!("{failed}: a ResourceQuota of the namespace is used up"),
            )
        } else if text.contains("dynamically provisioned pvc can be resized") {
            Error::new(
                ErrorKind::VolumeImmutable,
                format!(
                    "{failed}: its storage class does not let it grow; set options.volume_size as it was"
                ),
            )
        } else if text.contains(" usage per ") {
            Error::new(
                ErrorKind::QuotaExceeded,
                format!("{failed}: a LimitRange of the namespace does not allow an object of that size"),
            )
        } else if text.contains("violates PodSecurity") || text.contains("admission webhook") {
            Error::new(
                ErrorKind::AdmissionDenied,
                format!("{failed}: the cluster's admission rules refuse it"),
            )
        } else {
            let right = right(text).unwrap_or_default();
            Error::new(
                ErrorKind::ClusterForbidden,
                format!(
                    "{failed}: the cluster forbids it to the adapter; an operator must grant the right{right}"
                ),
            )
        }
    }

    /// Whether a volume claim that is there was to become something it cannot.
    fn is_immutable_claim(&self, object: &str) -> bool {
        object.starts_with("PersistentVolumeClaim ")
            && self.causes().iter().any(|cause| cause.reason == "FieldValueForbidden")
    }

    /// Keeps the causes' fields and reasons; `operations` maps the fields back to the template.
    fn invalid(&self, failed: &str) -> Error {
        let fields: Vec<String> = self.causes().iter().map(|cause| cause.field.clone()).collect();
        Error::new(ErrorKind::ManifestRejected, format!("{failed}: the cluster finds it invalid"))
            .with("fields", fields.join(","))
            .refused(Refusal::Invalid { fields })
    }
}

/// What a 409 says about the subject; `None` if it is about anything else, or does not say.
fn conflict(status: &Status, subject: Option<Subject<'_>>) -> Option<Conflict> {
    let (details, subject) = (status.details.as_ref()?, subject?);
    if status.code != 409 {
        return None;
    }
    // These name no object, and nothing but an apply to the subject brings them.
    if details.causes.iter().any(|cause| cause.reason == "FieldManagerConflict") {
        return Some(Conflict::Fields);
    }
    if details.kind != subject.resource || details.name != subject.name {
        return None;
    }
    match status.reason.as_str() {
        "AlreadyExists" => Some(Conflict::Exists),
        "Conflict" => Some(Conflict::Changed),
        _ => None,
    }
}

/// A client error as text; kube's own errors quote addresses at most.
pub(super) fn describe(error: &kube::Error) -> String {
    // serde quotes what it could not read, and that may be a value.
    if matches!(error, kube::Error::SerdeError(_)) {
        return "the answer cannot be read".to_owned();
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

/// The right that is missing, from `... cannot get resource "pods" in API group "" ...`; names alone, no text.
fn right(text: &str) -> Option<String> {
    let (verb, rest) = text.split_once(" cannot ")?.1.split_once(" resource \"")?;
    let (resource, rest) = rest.split_once("\" in API group \"")?;
    let (group, _) = rest.split_once('"')?;
    let is_name = |name: &str| {
        name.len() < 100 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-./".contains(&byte))
    };
    let group = if group.is_empty() { String::new() } else { format!(".{group}") };
    (is_name(verb) && is_name(resource) && is_name(&group)).then(|| format!(" to {verb} {resource}{group}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_409_counts_only_about_the_object_that_was_written() {
        let subject = Subject { resource: "secrets", name: "x" };
        let read = |reason: &str, details: serde_json::Value| {
            let status = serde_json::json!({ "code": 409, "reason": reason, "details": details });
            conflict(&serde_json::from_value(status).unwrap(), Some(subject))
        };
        let of = |kind: &str, name: &str| serde_json::json!({ "kind": kind, "name": name });
        assert_eq!(read("AlreadyExists", of("secrets", "x")), Some(Conflict::Exists));
        assert_eq!(read("Conflict", of("secrets", "x")), Some(Conflict::Changed));
        assert_eq!(read("Conflict", of("resourcequotas", "x")), None);
        assert_eq!(read("AlreadyExists", of("secrets", "y")), None);
        assert_eq!(read("AlreadyExists", serde_json::Value::Null), None);
        assert_eq!(read("Unheard", of("secrets", "x")), None);
        let causes =
            serde_json::json!({ "causes": [{ "reason": "FieldManagerConflict", "field": ".spec" }] });
        assert_eq!(read("Conflict", causes), Some(Conflict::Fields));
    }

    #[test]
    fn the_missing_right_is_named_and_nothing_else_of_the_text() {
        let text = "configmaps \"x\" is forbidden: User \"alice\" cannot get resource \"configmaps\" in API group \"\" in the namespace \"y\"";
        assert_eq!(right(text).as_deref(), Some(" to get configmaps"));
        let text = "User \"a\" cannot patch resource \"deployments/scale\" in API group \"apps\"";
        assert_eq!(right(text).as_deref(), Some(" to patch deployments/scale.apps"));
        assert_eq!(right("User cannot get resource \"a b=secret\" in API group \"\""), None);
        assert_eq!(right("forbidden"), None);
    }
}
