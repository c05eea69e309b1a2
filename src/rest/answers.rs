//! Answers: what was asked for as JSON, and each refusal as a status, a message of one line and a reason.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use tracing::{error, info};

use super::spoken::spoken;
use crate::error::{Beyond, Error, ErrorKind};

/// The longest message: whoever shows it has a line.
const MAX_MESSAGE: usize = 8 * 1024;
/// When to try again, where nobody says when.
const AGAIN: Duration = Duration::from_secs(1);

/// The status of each kind of failure.
fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::TemplateInvalid
        | ErrorKind::FieldInvalid
        | ErrorKind::LimitExceeded
        | ErrorKind::RequestIdReused
        | ErrorKind::FramingInvalid => StatusCode::BAD_REQUEST,
        ErrorKind::CredentialsMissing | ErrorKind::CredentialsInvalid => StatusCode::UNAUTHORIZED,
        ErrorKind::CallerForbidden => StatusCode::FORBIDDEN,
        ErrorKind::DeploymentNotFound | ErrorKind::ComponentNotFound | ErrorKind::RevisionNotFound => {
            StatusCode::NOT_FOUND
        }
        ErrorKind::ObjectNotOwned
        | ErrorKind::FieldConflict
        | ErrorKind::ReplicasOwned
        | ErrorKind::EtagMismatch
        | ErrorKind::PlanStale
        | ErrorKind::PageTokenExpired => StatusCode::CONFLICT,
        ErrorKind::NamespaceReserved
        | ErrorKind::NamespaceNotFound
        | ErrorKind::NamespaceTerminating
        | ErrorKind::ClusterForbidden
        | ErrorKind::AdmissionDenied
        | ErrorKind::RecordUnreadable
        | ErrorKind::VolumeImmutable
        | ErrorKind::QuotaExceeded => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::OperationInProgress
        | ErrorKind::Overloaded
        | ErrorKind::ShuttingDown
        | ErrorKind::ClusterUnreachable
        | ErrorKind::ClusterThrottled
        | ErrorKind::ClusterCredentialsRejected
        | ErrorKind::WaitTimeout
        | ErrorKind::ClusterTimeout => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::ManifestRejected | ErrorKind::ApplyIncomplete | ErrorKind::Internal => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// Why a request is refused.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    reason: String,
    message: String,
    context: Vec<String>,
    retry_after: Option<Duration>,
    /// The limit that the request was beyond.
    beyond: Option<Beyond>,
    /// The methods that there are.
    allowed: Option<&'static str>,
}

impl Refusal {
    fn new(status: StatusCode, reason: &str, message: impl Into<String>) -> Self {
        let (reason, message) = (reason.to_owned(), message.into());
        Self { status, reason, message, context: Vec::new(), retry_after: None, beyond: None, allowed: None }
    }

    /// Services of these names are deployed already, with another content: nobody's deployment is changed.
    pub(super) fn deployed_otherwise(name: &str, namespace: &str) -> Self {
        let message = format!(
            "services of these names are deployed already, with another content, as {name} in namespace {namespace}; \
             delete those, or rename these"
        );
        Self::new(StatusCode::CONFLICT, "DEPLOYMENT_EXISTS", message)
    }

    pub(super) fn unknown_service() -> Self {
        Self::new(StatusCode::NOT_FOUND, "SERVICE_NOT_FOUND", "there is no service of this id")
    }

    pub(super) fn unknown_route() -> Self {
        let text = "nothing is served here; there are /v1/services, /v1/metadata and /healthcheck";
        Self::new(StatusCode::NOT_FOUND, "ROUTE_NOT_FOUND", text)
    }

    pub(super) fn method(allowed: &'static str) -> Self {
        let text = format!("this has the methods {allowed}");
        Self {
            allowed: Some(allowed),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", text)
        }
    }

    pub(super) fn not_implemented() -> Self {
        let text = "a service cannot be changed; delete it, and post its template again";
        Self::new(StatusCode::NOT_IMPLEMENTED, "NOT_IMPLEMENTED", text)
    }

    /// More of the body has come than is taken.
    pub fn too_large() -> Self {
        let text = format!("the body is larger than {} KiB", super::MAX_BODY_BYTES / 1024);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "LIMIT_EXCEEDED", text)
    }

    /// The head is too much.
    pub fn head_too_large(why: String) -> Self {
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "LIMIT_EXCEEDED", why)
    }

    /// The body is compressed.
    pub fn encoded() -> Self {
        let text = "a body with a Content-Encoding is not taken; send it as it is";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "FIELD_INVALID", text)
    }

    /// A web page asks for it, not an agent.
    pub fn of_page(why: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "PAGE_FORBIDDEN", why)
    }

    /// The body has not come in time.
    pub fn too_late() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", "the body has not come in time")
    }

    /// Its word, for the audit.
    pub(super) fn word(&self) -> String {
        self.reason.clone()
    }

    /// Whether the same request may succeed later.
    pub(super) fn is_passing(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
    }

    /// Whether the failure is ours.
    pub(super) fn is_ours(&self) -> bool {
        self.status == StatusCode::INTERNAL_SERVER_ERROR
    }

    /// Tells the log of it: never a value.
    pub(super) fn log(&self, method: &'static str) {
        let (status, reason, told) = (self.status.as_u16(), self.reason.as_str(), self.message.as_str());
        let context = &self.context;
        if self.is_ours() {
            error!(method, status, reason, told, ?context, "call failed");
        } else {
            info!(method, status, reason, told, ?context, "call refused");
        }
    }

    /// The answer; a silent one has no body.
    pub(super) fn answer(&self, is_silent: bool) -> Response {
        let mut answer = match is_silent {
            true => empty(self.status),
            false => json(self.status, &json!({ "message": self.message, "reason": self.reason })),
        };
        if let Some(beyond) = self.beyond {
            answer.extensions_mut().insert(beyond);
        }
        let headers = answer.headers_mut();
        if let Some(time) = self.retry_after {
            let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if let Some(allowed) = self.allowed {
            headers.insert(ALLOW, HeaderValue::from_static(allowed));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"panamax\""));
        }
        answer
    }
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        let status = status(error.deciding_kind());
        let is_passing = status == StatusCode::SERVICE_UNAVAILABLE;
        let faults = error.faults().iter().map(|fault| (fault.field.as_str(), fault.reason));
        Self {
            context: error.context().to_vec(),
            beyond: Beyond::of_faults(faults),
            retry_after: error.retry_delay().or(Some(AGAIN)).filter(|_| is_passing),
            ..Self::new(status, &error.word(), one_line(&spoken(&message(error))))
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

/// The whole message: of a request that is wrong, all faults with their paths, and what to do about each.
fn message(error: &Error) -> String {
    let faults = error.faults();
    if faults.len() < 2 {
        return error.message().to_owned();
    }
    let mut text = String::new();
    for (index, fault) in faults.iter().enumerate() {
        let next = format!("{}: {}", fault.field, fault.explained());
        if text.len() + next.len() > MAX_MESSAGE {
            let more = format!("and {} more", faults.len() - index);
            return [text, more].join("; ");
        }
        let gap = if index == 0 { "" } else { "; " };
        text = [text, next].join(gap);
    }
    text
}

fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, value: &impl serde::Serialize) -> Response {
    // What is told is made of texts and lists: it has a form in JSON.
    let text = serde_json::to_string(value).unwrap_or_else(|_| Value::Null.to_string());
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// An answer in words.
pub(super) fn text(text: &str) -> Response {
    let mut answer = Response::new(Body::from(text.to_owned()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;

    #[test]
    fn all_faults_are_on_one_line() {
        let fault = |number: usize| Fault::field(format!("images[{number}].source"), "is\nwrong");
        let refusal = Refusal::from(Error::fields((0..3).map(fault).collect()));
        assert_eq!(
            refusal.message,
            "images[0].source: is wrong; images[1].source: is wrong; images[2].source: is wrong"
        );
        let many = Refusal::from(Error::fields((0..5_000).map(fault).collect()));
        assert!(many.message.len() < MAX_MESSAGE + 64 && many.message.ends_with(" more"), "{}", many.message);
    }

    #[test]
    fn a_fault_has_its_remedy_however_many_there_are_and_the_agents_keys() {
        let fault = |field: &str| {
            let hint = "write a `container_port`".to_owned();
            crate::error::Fault { hint, ..Fault::field(field, "is missing") }
        };
        let both = vec![fault("images[0].ports[0].container_port"), fault("images[0].links[0].service")];
        assert_eq!(
            Refusal::from(Error::fields(both)).message,
            "images[0].ports[0].containerPort: is missing; hint: write a `containerPort`; images[0].links[0].name: is \
             missing; hint: write a `containerPort`"
        );
    }

    #[test]
    fn what_passes_says_when_to_come_again() {
        let error = Error::new(ErrorKind::ClusterUnreachable, "no").retry_after(Duration::from_millis(1200));
        let answer = Refusal::from(&error).answer(false);
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers().get(RETRY_AFTER).unwrap(), "2");
        let error = Error::new(ErrorKind::EtagMismatch, "no").retry_after(Duration::from_secs(1));
        let answer = Refusal::from(&error).answer(true);
        assert_eq!((answer.status(), answer.headers().len()), (StatusCode::CONFLICT, 0));
    }

    #[test]
    fn an_incomplete_deploy_has_the_status_of_its_first_failure() {
        let first = Error::new(ErrorKind::QuotaExceeded, "no room");
        let refusal = Refusal::from(Error::incomplete(first, "Pod a: QuotaExceeded".to_owned()));
        assert_eq!((refusal.status.as_u16(), refusal.reason.as_str()), (422, "APPLY_INCOMPLETE"));
    }
}
