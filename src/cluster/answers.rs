//! What an answer of the API server means: one table, by code, details and, where these do not suffice, its text.
//!
//! A row says whose business it is: it passes and is repeated, it is the caller's, an operator's, or the adapter's.

use kube::core::Status;
use kube::core::response::StatusDetails;

use crate::artifacts::{Kind, ObjectRef};

/// The object that a write is about, as answers name it: a conflict about anything else says nothing of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    /// The plural in the API's paths, by which most answers name it.
    pub(super) resource: &'static str,
    /// The kind, by which the answer to a DELETE names it whose uid is another's.
    pub(super) kind: &'static str,
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
        Self { resource, kind: object.kind.as_str(), name: object.name.as_str() }
    }
}

/// What a 409 says about the object that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conflict {
    /// There is an object of that name.
    Exists,
    /// The object, or its form, is not the one that was meant; reading it shows which.
    Changed,
    /// Other field managers hold fields of it.
    Fields,
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Passes: a server, its store or a webhook cannot answer now, or was overtaken.
    Passing,
    /// Passes: a server does not know what became of the call, since its store, or the server behind it, has not
    /// answered in time.
    Unsure,
    /// Passes: the API server asks to slow down.
    Throttled,
    /// Passes: a quota has not been counted yet.
    QuotaUnknown,
    /// Passes once an operator has made room: the store of the cluster is full.
    StoreFull,
    /// About the object: there is none.
    NotFound,
    /// The namespace does not exist.
    NamespaceMissing,
    /// The object exists already.
    Conflict(Conflict),
    /// What was to be continued or watched from is too old.
    Expired,
    /// The caller's: a field is invalid.
    Invalid,
    /// The caller's: a claim cannot grow.
    ClaimFixed,
    /// The caller's: a quota is used up.
    Quota,
    /// The caller's: a LimitRange does not allow the size.
    LimitRange,
    /// The caller's: admission refuses it.
    Denied,
    /// The caller's: the namespace is being deleted.
    Terminating,
    /// The caller's: the object is larger than the cluster takes.
    TooLarge,
    /// An operator's: the credentials.
    Unauthorized,
    /// An operator's: a right, as ` to get pods`.
    MissingRight(String),
    /// An operator's: something forbids it, and it is not a missing right.
    Forbidden,
    /// The adapter's: the request itself is wrong.
    Rejected,
}

impl Meaning {
    /// Reads an answer that was no success.
    pub(super) fn of(status: &Status, subject: Option<Subject<'_>>) -> Self {
        let text = status.message.as_str();
        let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
        // The store's own words come under several codes.
        if says(&["request is too large", "message larger than max"]) || status.code == 413 {
            return Meaning::TooLarge;
        }
        if says(&["database space exceeded", "no space left on device"]) {
            return Meaning::StoreFull;
        }
        // Webhooks choose their own code, and policies answer 422; a webhook that does not answer is a 500 that passes.
        if says(&["admission webhook", "ValidatingAdmissionPolicy"]) && !says(&["failed calling webhook"]) {
            return Meaning::Denied;
        }
        match status.code {
            401 => Meaning::Unauthorized,
            403 => forbidden(status),
            404 if details(status).is_some_and(|details| details.kind == "namespaces")
                && subject.is_none_or(|subject| subject.resource != "namespaces") =>
            {
                Meaning::NamespaceMissing
            }
            404 => Meaning::NotFound,
            409 => conflict(status, subject).map_or(Meaning::Passing, Meaning::Conflict),
            410 => Meaning::Expired,
            422 => Meaning::Invalid,
            429 => Meaning::Throttled,
            // An apply that does not fit the schema.
            500 if says(&["failed to create typed patch object"]) => Meaning::Rejected,
            // Admission comes before the store.
            500 if says(&["failed calling webhook", "quota evaluation timed out"]) => Meaning::Passing,
            500 | 502 | 504 => Meaning::Unsure,
            500.. => Meaning::Passing,
            _ => Meaning::Rejected,
        }
    }

    /// Whether the same call may succeed later with nothing changed in it.
    pub(super) fn passes(&self) -> bool {
        matches!(
            self,
            Meaning::Passing
                | Meaning::Unsure
                | Meaning::Throttled
                | Meaning::QuotaUnknown
                | Meaning::StoreFull
        )
    }
}

fn details(status: &Status) -> Option<&StatusDetails> {
    status.details.as_ref()
}

/// What a 409 says about the subject; `None` if it is about anything else, or does not say.
fn conflict(status: &Status, subject: Option<Subject<'_>>) -> Option<Conflict> {
    let (details, subject) = (details(status)?, subject?);
    // These name no object, and nothing but an apply to the subject brings them.
    if details.causes.iter().any(|cause| cause.reason == "FieldManagerConflict") {
        return Some(Conflict::Fields);
    }
    if ![subject.resource, subject.kind].contains(&details.kind.as_str()) || details.name != subject.name {
        return None;
    }
    match status.reason.as_str() {
        "AlreadyExists" => Some(Conflict::Exists),
        "Conflict" => Some(Conflict::Changed),
        _ => None,
    }
}

/// A 403 has many meanings; only the API server's text distinguishes them.
fn forbidden(status: &Status) -> Meaning {
    let causes = details(status).map_or(&[][..], |details| &details.causes);
    // Names of objects come before, and say nothing.
    let form = " is forbidden: ";
    let (is_admission, text) = match status.message.split_once(form) {
        Some((_, text)) => (true, text),
        None => (false, status.message.as_str()),
    };
    let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if let Some(right) = missing_right(text) {
        return Meaning::MissingRight(right);
    }
    if causes.iter().any(|cause| cause.reason == "NamespaceTerminating") || says(&["being terminated"]) {
        return Meaning::Terminating;
    }
    // A namespace is furnished a moment after it was created.
    if says(&["error looking up service account"]) {
        return Meaning::Passing;
    }
    if says(&["violates PodSecurity"]) {
        return Meaning::Denied;
    }
    if says(&["status unknown for quota"]) {
        return Meaning::QuotaUnknown;
    }
    if says(&["quota"]) {
        return Meaning::Quota;
    }
    if says(&["dynamically provisioned pvc can be resized"]) {
        return Meaning::ClaimFixed;
    }
    if says(&[" usage per ", " ratio per "]) {
        return Meaning::LimitRange;
    }
    if is_admission { Meaning::Denied } else { Meaning::Forbidden }
}

/// The right that is missing, from `... cannot get resource "pods" in API group "" ...`, which is how authorizers
/// refuse; names alone, no text.
fn missing_right(text: &str) -> Option<String> {
    let (verb, rest) = text.split_once(" cannot ")?.1.split_once(' ')?;
    let is_name = |name: &str| {
        name.len() < 100 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-./".contains(&byte))
    };
    if let Some(path) = rest.strip_prefix("path \"") {
        let (path, _) = path.split_once('"')?;
        return (is_name(verb) && is_name(path)).then(|| format!(" to {verb} {path}"));
    }
    let (resource, rest) = rest.strip_prefix("resource \"")?.split_once("\" in API group \"")?;
    let (group, _) = rest.split_once('"')?;
    let group = if group.is_empty() { String::new() } else { format!(".{group}") };
    (is_name(verb) && is_name(resource) && is_name(&group)).then(|| format!(" to {verb} {resource}{group}"))
}

#[cfg(test)]
mod tests;
