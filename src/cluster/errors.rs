//! Failures of API calls, and the errors they become; the API server's own text stays here.

use std::time::Duration;

use kube::core::Status;
use kube::core::response::StatusCause;

use super::answers::{Conflict, Meaning, Subject};
use super::large::too_large;
use crate::artifacts::{Denial, ObjectRef};
use crate::error::{Error, ErrorKind, Refusal};

/// How long a cluster is left alone that does not mend by itself.
const LASTING: Duration = Duration::from_secs(5);

/// Why one API call gave no answer that can be used.
pub(super) struct Failure {
    purpose: &'static str,
    cause: Cause,
    asked: Option<Duration>,
}

/// What the call met.
enum Cause {
    /// The API server said no.
    Refused(Box<Status>, Meaning),
    /// There was no answer within the time of one call.
    Timeout,
    /// There was no connection, or the answer could not be read.
    Broken(String),
    /// There is more of the answer than is taken.
    TooLarge(String),
}

impl Failure {
    pub(super) fn new(purpose: &'static str, subject: Option<Subject<'_>>, error: kube::Error) -> Self {
        let cause = if let kube::Error::Api(status) = error {
            let meaning = Meaning::of(&status, subject);
            Cause::Refused(status, meaning)
        } else if let Some(answer) = too_large(&error) {
            Cause::TooLarge(answer.to_string())
        } else {
            Cause::Broken(describe(&error))
        };
        Self { purpose, cause, asked: None }
    }

    pub(super) fn timeout(purpose: &'static str) -> Self {
        Self { purpose, cause: Cause::Timeout, asked: None }
    }

    pub(super) fn broken(purpose: &'static str, text: &str) -> Self {
        Self { purpose, cause: Cause::Broken(text.to_owned()), asked: None }
    }

    /// Adds for how long a header of the answer asked to wait.
    pub(super) fn asking(mut self, asked: Option<Duration>) -> Self {
        self.asked = asked;
        self
    }

    fn status(&self) -> Option<&Status> {
        match &self.cause {
            Cause::Refused(status, _) => Some(status),
            Cause::Timeout | Cause::Broken(_) | Cause::TooLarge(_) => None,
        }
    }

    fn meaning(&self) -> Option<&Meaning> {
        match &self.cause {
            Cause::Refused(_, meaning) => Some(meaning),
            Cause::Timeout | Cause::Broken(_) | Cause::TooLarge(_) => None,
        }
    }

    pub(super) fn code(&self) -> u16 {
        self.status().map_or(0, |status| status.code)
    }

    /// The object, or its namespace, is not there.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self.meaning(), Some(Meaning::NotFound | Meaning::NamespaceMissing))
    }

    /// What a 409 says about the object that was to be written; `None` if it says nothing, and passes.
    pub(super) fn conflict(&self) -> Option<Conflict> {
        match self.meaning() {
            Some(Meaning::Conflict(conflict)) => Some(*conflict),
            _ => None,
        }
    }

    pub(super) fn is_invalid(&self) -> bool {
        self.meaning() == Some(&Meaning::Invalid)
    }

    /// The watched version is too old to start from.
    pub(super) fn is_gone(&self) -> bool {
        self.meaning() == Some(&Meaning::Expired)
    }

    pub(super) fn causes(&self) -> &[StatusCause] {
        self.status().and_then(|status| status.details.as_ref()).map_or(&[], |details| &details.causes)
    }

    /// Whether the same call may succeed later with nothing changed in it.
    pub(super) fn is_transient(&self) -> bool {
        match &self.cause {
            Cause::Refused(_, meaning) => meaning.passes(),
            Cause::Timeout | Cause::Broken(_) => true,
            // It would come again.
            Cause::TooLarge(_) => false,
        }
    }

    /// Whether a write may have been carried out, or is still: nobody has answered, or a server that does not know it
    /// itself, because the store or the server behind it has not answered in time.
    pub(super) fn leaves_doubt(&self) -> bool {
        match &self.cause {
            Cause::Refused(_, meaning) => *meaning == Meaning::Unsure,
            Cause::Timeout | Cause::Broken(_) => true,
            Cause::TooLarge(_) => false,
        }
    }

    /// Whether it passes only once somebody has acted.
    pub(super) fn is_lasting(&self) -> bool {
        self.meaning() == Some(&Meaning::StoreFull)
    }

    /// How long to wait at least before the call is repeated; as the API server asked, in a header or in its answer.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let seconds = self.status()?.details.as_ref().map_or(0, |details| details.retry_after_seconds);
        let told = (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)));
        let least = self.is_lasting().then_some(LASTING);
        told.or(self.asked).max(least)
    }

    /// What happened, without the API server's text, which may quote values of the environment.
    pub(super) fn summary(&self) -> String {
        match &self.cause {
            Cause::Timeout => "no answer in time".to_owned(),
            Cause::Broken(text) | Cause::TooLarge(text) => text.clone(),
            Cause::Refused(status, _) => {
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
            Cause::TooLarge(why) => {
                let failed = format!("failed to {} ({object}): {why}", self.purpose);
                Error::new(ErrorKind::LimitExceeded, failed)
            }
            Cause::Refused(status, meaning) => self.refusal(status, meaning, object),
        };
        let error = if name.is_empty() { error } else { error.about(kind, name) };
        error.because(format!("{} {object}: {}", self.purpose, self.summary()))
    }

    /// Chooses by what the caller can do next.
    fn refusal(&self, status: &Status, meaning: &Meaning, object: &str) -> Error {
        let failed = format!("failed to {} ({object})", self.purpose);
        let soon = self.retry_after().unwrap_or(Duration::from_secs(1));
        let error = |kind: ErrorKind, why: &str| Error::new(kind, format!("{failed}: {why}"));
        let denied = |unnamed: &str| {
            Denial::of(&status.message).map_or_else(|| unnamed.to_owned(), |denial| denial.told("it"))
        };
        match meaning {
            Meaning::Passing | Meaning::Unsure => {
                error(ErrorKind::ClusterUnreachable, "the cluster cannot answer now").retry_after(soon)
            }
            Meaning::Throttled => {
                error(ErrorKind::ClusterThrottled, "the cluster asks the adapter to slow down")
                    .retry_after(soon)
            }
            Meaning::QuotaUnknown => {
                error(ErrorKind::QuotaExceeded, "a ResourceQuota of the namespace is not counted yet")
                    .retry_after(soon)
            }
            Meaning::StoreFull => error(
                ErrorKind::ClusterUnreachable,
                "the store of the cluster (etcd) is full; an operator must free space in it",
            )
            .retry_after(soon),
            Meaning::Unauthorized => error(
                ErrorKind::ClusterCredentialsRejected,
                "the cluster does not accept the adapter's credentials",
            )
            .retry_after(Duration::from_secs(5)),
            Meaning::MissingRight(right) => error(
                ErrorKind::ClusterForbidden,
                &format!(
                    "the cluster does not allow this; an operator must grant the adapter the right{right}"
                ),
            ),
            Meaning::Forbidden => error(
                ErrorKind::ClusterForbidden,
                "the cluster, or a proxy in front of it, does not allow this and does not name a missing right",
            ),
            Meaning::NamespaceMissing => {
                let name = status.details.as_ref().map(|details| details.name.as_str()).unwrap_or_default();
                Error::new(
                    ErrorKind::NamespaceNotFound,
                    format!("namespace {name} does not exist; create it, or set options.create_namespace"),
                )
            }
            Meaning::Terminating => error(ErrorKind::NamespaceTerminating, "the namespace is being deleted"),
            Meaning::Quota => {
                error(ErrorKind::QuotaExceeded, &denied("a ResourceQuota of the namespace refuses it"))
            }
            Meaning::LimitRange => error(
                ErrorKind::QuotaExceeded,
                "a LimitRange of the namespace does not allow an object of that size",
            ),
            Meaning::Denied => {
                error(ErrorKind::AdmissionDenied, &denied("the cluster's admission rules refuse it"))
            }
            Meaning::ClaimFixed => error(
                ErrorKind::VolumeImmutable,
                "its storage class does not allow it to grow; set options.volume_size to what it was",
            ),
            Meaning::TooLarge => {
                error(ErrorKind::LimitExceeded, "it is larger than the cluster accepts; make it smaller")
            }
            Meaning::Invalid if self.is_immutable_claim(object) => Error::new(
                ErrorKind::VolumeImmutable,
                format!(
                    "{object} cannot become what is asked: a claim only grows, and keeps its storage class and \
                     access modes; set options.volume_size and options.storage_class as they were"
                ),
            ),
            Meaning::Invalid => self.invalid(&failed),
            Meaning::NotFound | Meaning::Conflict(_) | Meaning::Expired | Meaning::Rejected => error(
                ErrorKind::ManifestRejected,
                &format!("the cluster refused it with HTTP {}", status.code),
            ),
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
        Error::new(ErrorKind::ManifestRejected, format!("{failed}: the cluster rejects it as invalid"))
            .with("fields", fields.join(","))
            .refused(Refusal::Invalid { fields })
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
