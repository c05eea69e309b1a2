//! Errors to gRPC status; the only file that names a code.

use std::collections::BTreeSet;

use tonic::codegen::http::HeaderMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};
use tracing::{Span, error, info};

use crate::error::{Beyond, Error, ErrorKind, Fault};
use crate::proto::{ERROR_DOMAIN, ErrorReason};

/// Limits that keep the status within what common clients take as trailers.
const MAX_MESSAGE: usize = 1024;
const MAX_VIOLATIONS: usize = 20;
const MAX_VIOLATIONS_BYTES: usize = 2200;
/// The longest description of a violation, and the longest with its hint.
const MAX_DESCRIPTION: usize = 300;
const MAX_EXPLAINED: usize = 480;
const MAX_METADATA_VALUE: usize = 256;

/// The code and the published reason of every kind.
fn code_and_reason(kind: ErrorKind) -> (Code, ErrorReason) {
    match kind {
        ErrorKind::TemplateInvalid => (Code::InvalidArgument, ErrorReason::TemplateInvalid),
        ErrorKind::FieldInvalid => (Code::InvalidArgument, ErrorReason::FieldInvalid),
        ErrorKind::ManifestRejected => (Code::Internal, ErrorReason::ManifestRejected),
        ErrorKind::DeploymentNotFound => (Code::NotFound, ErrorReason::DeploymentNotFound),
        ErrorKind::ComponentNotFound => (Code::NotFound, ErrorReason::ComponentNotFound),
        ErrorKind::RevisionNotFound => (Code::NotFound, ErrorReason::RevisionNotFound),
        ErrorKind::RecordUnreadable => (Code::FailedPrecondition, ErrorReason::RecordUnreadable),
        ErrorKind::RequestIdReused => (Code::InvalidArgument, ErrorReason::RequestIdReused),
        ErrorKind::ReplicasOwned => (Code::FailedPrecondition, ErrorReason::ReplicasOwned),
        ErrorKind::NamespaceReserved => (Code::FailedPrecondition, ErrorReason::NamespaceReserved),
        ErrorKind::ShuttingDown => (Code::Unavailable, ErrorReason::ShuttingDown),
        ErrorKind::ObjectNotOwned => (Code::AlreadyExists, ErrorReason::ObjectNotOwned),
        ErrorKind::FieldConflict => (Code::FailedPrecondition, ErrorReason::FieldConflict),
        ErrorKind::EtagMismatch => (Code::Aborted, ErrorReason::EtagMismatch),
        ErrorKind::OperationInProgress => (Code::Aborted, ErrorReason::OperationInProgress),
        ErrorKind::PlanStale => (Code::Aborted, ErrorReason::PlanStale),
        ErrorKind::PageTokenExpired => (Code::Aborted, ErrorReason::PageTokenExpired),
        ErrorKind::CredentialsMissing => (Code::Unauthenticated, ErrorReason::CredentialsMissing),
        ErrorKind::CredentialsInvalid => (Code::Unauthenticated, ErrorReason::CredentialsInvalid),
        ErrorKind::CallerForbidden => (Code::PermissionDenied, ErrorReason::CallerForbidden),
        ErrorKind::NamespaceNotFound => (Code::FailedPrecondition, ErrorReason::NamespaceNotFound),
        ErrorKind::NamespaceTerminating => (Code::FailedPrecondition, ErrorReason::NamespaceTerminating),
        ErrorKind::ClusterForbidden => (Code::PermissionDenied, ErrorReason::ClusterForbidden),
        ErrorKind::AdmissionDenied => (Code::FailedPrecondition, ErrorReason::AdmissionDenied),
        ErrorKind::VolumeImmutable => (Code::FailedPrecondition, ErrorReason::VolumeImmutable),
        ErrorKind::QuotaExceeded => (Code::ResourceExhausted, ErrorReason::QuotaExceeded),
        ErrorKind::LimitExceeded => (Code::ResourceExhausted, ErrorReason::LimitExceeded),
        ErrorKind::Overloaded => (Code::ResourceExhausted, ErrorReason::Overloaded),
        ErrorKind::NotImplemented => (Code::Unimplemented, ErrorReason::NotImplemented),
        ErrorKind::FramingInvalid => (Code::Internal, ErrorReason::FramingInvalid),
        ErrorKind::ClusterUnreachable => (Code::Unavailable, ErrorReason::ClusterUnreachable),
        ErrorKind::ClusterThrottled => (Code::Unavailable, ErrorReason::ClusterThrottled),
        ErrorKind::ClusterCredentialsRejected => (Code::Unavailable, ErrorReason::ClusterCredentialsRejected),
        ErrorKind::WaitTimeout => (Code::DeadlineExceeded, ErrorReason::WaitTimeout),
        ErrorKind::ClusterTimeout => (Code::DeadlineExceeded, ErrorReason::ClusterTimeout),
        // Carries another kind that decides the code; alone it would be ours.
        ErrorKind::ApplyIncomplete => (Code::Internal, ErrorReason::ApplyIncomplete),
        ErrorKind::Internal => (Code::Internal, ErrorReason::Internal),
    }
}

/// The status of an error, details included.
pub fn status(error: &Error) -> Status {
    let (code, _) = code_and_reason(error.deciding_kind());
    let (_, reason) = code_and_reason(error.kind());
    let reason = reason.as_str_name().trim_start_matches("ERROR_REASON_");
    let metadata =
        error.metadata().iter().map(|(key, value)| ((*key).to_owned(), cut(value, MAX_METADATA_VALUE)));
    let mut details = ErrorDetails::with_error_info(
        reason,
        ERROR_DOMAIN,
        metadata.collect::<std::collections::HashMap<_, _>>(),
    );
    if !error.faults().is_empty() {
        details.set_bad_request(violations(error.faults(), the_others(error.kind())));
    }
    if let Some((kind, name)) = error.object() {
        let owner = error.metadata().get("owner").map(String::as_str).unwrap_or_default();
        details.set_resource_info(kind, name, owner, "");
    }
    let subject = error.object().map(|(kind, name)| format!("{kind}/{name}")).unwrap_or_default();
    if code == Code::FailedPrecondition {
        details.add_precondition_failure_violation(reason, subject, cut(error.message(), 300));
    } else if code == Code::ResourceExhausted {
        details.add_quota_failure_violation(subject, cut(error.message(), 300));
    }
    if error.kind().retryable() || error.retry_delay().is_some() {
        details.set_retry_info(Some(error.retry_delay().unwrap_or(std::time::Duration::from_secs(1))));
    }
    Status::with_error_details(code, cut(error.message(), MAX_MESSAGE), details)
}

/// The violations that fit, and how many do not. Where not all fit with their hints, equal hints are told once, and
/// none where that is still too much.
fn violations(faults: &[Fault], others: &str) -> Vec<FieldViolation> {
    let fits = |violations: &[FieldViolation]| violations.iter().all(|one| !one.reason.is_empty());
    let explained = |fault: &Fault| cut(&fault.explained(), MAX_EXPLAINED);
    let mut told = BTreeSet::new();
    let mut once = |fault: &Fault| match told.insert(fault.hint.clone()) {
        true => explained(fault),
        false => cut(&fault.description, MAX_DESCRIPTION),
    };
    let first_violations =
        |describe: &mut dyn FnMut(&Fault) -> String| first_violations(faults, others, describe);
    let all = first_violations(&mut { explained });
    if fits(&all) {
        return all;
    }
    let shorter = first_violations(&mut once);
    if fits(&shorter) || faults.len() > MAX_VIOLATIONS {
        return shorter;
    }
    first_violations(&mut |fault| cut(&fault.description, MAX_DESCRIPTION))
}

/// What shows the faults that do not fit.
fn the_others(kind: ErrorKind) -> &'static str {
    match kind {
        // It lists thousands.
        ErrorKind::TemplateInvalid | ErrorKind::LimitExceeded => "call ValidateTemplate",
        _ => "correct these, and the call tells the others",
    }
}

fn first_violations(
    faults: &[Fault],
    others: &str,
    describe: &mut dyn FnMut(&Fault) -> String,
) -> Vec<FieldViolation> {
    let mut violations = Vec::new();
    let mut bytes = 0;
    for fault in faults {
        let violation = FieldViolation {
            field: cut(&fault.field, 200),
            description: describe(fault),
            reason: fault.reason.to_owned(),
            localized_message: None,
        };
        bytes += violation.field.len() + violation.description.len() + violation.reason.len();
        if violations.len() == MAX_VIOLATIONS || bytes > MAX_VIOLATIONS_BYTES {
            let more = faults.len() - violations.len();
            violations.push(FieldViolation::new("", format!("and {more} more: {others}")));
            break;
        }
        violations.push(violation);
    }
    violations
}

/// The text, cut at a character and marked when it is too long.
fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut end = limit.saturating_sub(3);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", text.get(..end).unwrap_or_default())
}

/// Converts an error that ends a call into its status, and logs it.
pub(super) fn logged(error: &Error, span: &Span) -> Status {
    let (code, reason) = code_and_reason(error.deciding_kind());
    let reason = reason.as_str_name();
    let _entered = span.enter();
    // What cannot be found in a request's bytes is INTERNAL by gRPC's specification, and not our failure.
    if code == Code::Internal && error.deciding_kind() != ErrorKind::FramingInvalid {
        error!(?code, reason, told = error.message(), context = ?error.context(), "call failed");
    } else {
        info!(?code, reason, told = error.message(), context = ?error.context(), "call refused");
    }
    status(error)
}

/// The status of a failure outside of every service, logged.
pub fn failed(error: &Error) -> Status {
    logged(error, &Span::current())
}

/// The name of the code that an answer ends with, if these headers or trailers say it.
pub fn outcome(headers: &HeaderMap) -> Option<&'static str> {
    let status = Status::from_header_map(headers)?;
    Some(match status.code() {
        Code::Ok => "OK",
        Code::Cancelled => CANCELLED,
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal if has_reason(&status, ErrorReason::FramingInvalid) => NONE,
        Code::Internal => INTERNAL,
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    })
}

/// The name of the code of a call that failed for a reason of our own.
pub const INTERNAL: &str = "INTERNAL";

/// What stands for the code of an answer to what is no call of gRPC, or to one whose message cannot be found: it is no
/// failure of ours.
pub const NONE: &str = "NONE";

/// The name of the code of a call that its caller has left.
pub const CANCELLED: &str = "CANCELLED";

/// Whether nothing is served under the path: the router says so without a word.
pub fn is_unknown_method(status: &Status) -> bool {
    status.code() == Code::Unimplemented && status.message().is_empty()
}

/// Whether it is the status of a success.
pub fn has_succeeded(status: &Status) -> bool {
    status.code() == Code::Ok
}

/// A request that is no message of its method.
pub fn undecodable() -> Error {
    let text = "is no message of this method: it cannot be decoded; generate the client from the contract";
    Error::fields(vec![Fault::field("request", text)])
}

fn has_reason(status: &Status, reason: ErrorReason) -> bool {
    let details = status.get_details_error_info();
    details.is_some_and(|info| reason.as_str_name().strip_prefix("ERROR_REASON_") == Some(&info.reason))
}

/// Which limit of a template or of time an answer says that its call was beyond; `None`: none of these.
pub fn beyond(answer: &HeaderMap) -> Option<Beyond> {
    let status = Status::from_header_map(answer)?;
    match status.code() {
        Code::DeadlineExceeded if has_reason(&status, ErrorReason::ClusterTimeout) => Some(Beyond::Deadline),
        Code::InvalidArgument => {
            let faults = status.get_details_bad_request()?.field_violations;
            Beyond::of_faults(faults.iter().map(|fault| (fault.field.as_str(), fault.reason.as_str())))
        }
        _ => None,
    }
}

/// What the library's words begin with where a message cannot be decompressed.
const BROKEN: &str = "Error decompressing";

/// What health or reflection have refused, as an error of ours; `None` if it is none of their own. Its code stays that of
/// their protocols, see [`coded`].
pub fn refused_by_protocol(status: &Status) -> Option<Error> {
    let text = match status.code() {
        Code::NotFound => {
            "names nothing that there is; health's List and reflection's list_services name all"
        }
        Code::InvalidArgument => "asks nothing",
        _ => return None,
    };
    Some(Error::fields(vec![Fault::field("request", text)]))
}

/// A status of ours, with the code of another.
pub fn coded(ours: &Status, theirs: &Status) -> Status {
    Status::with_details(theirs.code(), ours.message(), ours.details().to_vec().into())
}

/// What the gRPC library has refused on its own, as an error of ours; `None` if it is no failure. `longest` is the
/// size of the longest request, as people write it.
///
/// The library's own words are dropped: they may quote the request.
pub fn failure_of_library(status: &Status, longest: &str) -> Option<Error> {
    let error = match status.code() {
        Code::Ok => return None,
        Code::OutOfRange | Code::ResourceExhausted => Error::new(
            ErrorKind::LimitExceeded,
            format!("the request is larger than {longest} once it is decompressed"),
        ),
        Code::Unimplemented => Error::new(
            ErrorKind::NotImplemented,
            "the request is compressed in a way that is not taken; use gzip, or none",
        ),
        Code::Cancelled | Code::DeadlineExceeded => {
            Error::new(ErrorKind::ClusterTimeout, "the deadline passed before the call was answered")
        }
        Code::Internal if status.message().starts_with(BROKEN) => {
            let text =
                "cannot be decompressed: it is not what grpc-encoding says; send it again, or uncompressed";
            Error::fields(vec![Fault::field("request", text)])
        }
        Code::Internal => undecodable(),
        other => Error::internal(format!("the gRPC library failed with {other:?}")),
    };
    Some(error)
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use super::*;

    #[test]
    fn a_hundred_faults_fit_into_trailers() {
        let faults = (0..100).map(|index| Fault::field(format!("images[{index}].source"), "x".repeat(500)));
        let error = Error::fields(faults.collect());
        let status = status(&error);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.details().len() <= 3 * 1024, "{} bytes of details", status.details().len());
        assert!(status.message().len() <= MAX_MESSAGE);
        let details = status.get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        // No other call shows the fields of a request; those of a template ValidateTemplate does.
        assert!(violations.last().unwrap().description.ends_with("the call tells the others"));
        let template = Error::new(ErrorKind::TemplateInvalid, "no").with_faults(error.faults().to_vec());
        let details = super::status(&template).get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        assert!(violations.last().unwrap().description.ends_with("call ValidateTemplate"));
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "FIELD_INVALID");
    }

    #[test]
    fn an_incomplete_update_has_the_code_of_its_first_failure() {
        let first = Error::new(ErrorKind::QuotaExceeded, "no room");
        let status = status(&Error::incomplete(first, "Pod a: QUOTA_EXCEEDED".to_owned()));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.get_error_details().error_info().unwrap().reason, "APPLY_INCOMPLETE");
    }

    #[test]
    fn only_what_may_succeed_as_it_is_says_when_to_try_again() {
        let again = |kind| status(&Error::new(kind, "no")).get_details_retry_info().is_some();
        for kind in [ErrorKind::EtagMismatch, ErrorKind::PlanStale, ErrorKind::PageTokenExpired] {
            assert!(!again(kind), "{kind:?}");
        }
        for kind in [ErrorKind::OperationInProgress, ErrorKind::ShuttingDown, ErrorKind::ClusterUnreachable] {
            assert!(again(kind), "{kind:?}");
        }
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        assert_eq!(cut("ääää", 6), "ä...");
        assert_eq!(cut("short", 6), "short");
    }
}
