//! Why a command has failed: what is said on standard error, and the exit code.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write;

use tonic::{Code, Status};
use tonic_types::{FieldViolation, StatusExt};

use super::findings::{Finding, Texts};
use super::flags::spoken;

/// Refused by the adapter or by the template, or failed on the cluster.
pub const REFUSED: u8 = 1;
/// The command line, or a file that it names, cannot be used.
pub const USAGE: u8 = 2;
/// The adapter or its cluster does not answer now; the same command may succeed later.
pub const UNREACHABLE: u8 = 3;
/// The wait ended before what was waited for; the operation may go on.
pub const TIMED_OUT: u8 = 4;
/// Ctrl-C ended the wait; the operation may go on.
pub const INTERRUPTED: u8 = 130;

/// Why a command has failed.
#[derive(Default)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What is said; it may have several lines.
    pub text: String,
}

impl Failure {
    /// A failure with one sentence.
    pub fn new(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: format!("error: {}\n", text.into()) }
    }

    /// The command line, or a file that it names, cannot be used.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(USAGE, text)
    }

    /// Output that cannot be written.
    pub fn output(error: &std::io::Error) -> Self {
        Self::new(REFUSED, format!("the output cannot be written: {error}"))
    }

    /// A call that an adapter has refused, with the places of its violations in the files that were sent.
    pub fn call(status: &Status, texts: &Texts<'_>) -> Self {
        let details = status.get_error_details();
        let reason = reason(status);
        let violations = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
        let mut text = String::new();
        // Writing into a text cannot fail.
        if !violations.iter().any(|violation| repeats(status.message(), violation)) {
            let code = format!("{:?}", status.code());
            let told = if reason.is_empty() { &code } else { &reason };
            let _ = writeln!(text, "error: {} [{told}]", spoken(status.message()));
        }
        for violation in violations {
            text.push_str(&texts.show(&Finding::of_violation(violation, &reason)));
        }
        if let Some(delay) = details.retry_info().and_then(|retry| retry.retry_delay) {
            let _ = writeln!(text, "hint: try again in {} s", delay.as_secs().max(1));
        }
        let code = match fact(status, "goes_on").as_deref() {
            // What was waited for does not come about any more, however long somebody waits.
            Some("false") => REFUSED,
            _ => exit_code(status.code(), &reason),
        };
        Self { code, text }
    }
}

/// A text for a terminal, without what it acts on: a file's name may hold anything.
pub fn shown(text: &str) -> String {
    text.replace(|letter: char| letter.is_control() && letter != '\n', "\u{fffd}")
}

/// Both, or everything that is wrong with either.
pub fn both<A, B>(first: Result<A, Failure>, second: Result<B, Failure>) -> Result<(A, B), Failure> {
    match (first, second) {
        (Ok(first), Ok(second)) => Ok((first, second)),
        (Err(first), Err(second)) => {
            Err(Failure { code: first.code.max(second.code), text: first.text + &second.text })
        }
        (Err(failure), Ok(_)) | (Ok(_), Err(failure)) => Err(failure),
    }
}

/// Whether a message says what one of its violations says.
fn repeats(message: &str, violation: &FieldViolation) -> bool {
    let is_field = !violation.field.is_empty() && message.starts_with(&format!("{}: ", violation.field));
    is_field || (!violation.description.is_empty() && message.contains(&violation.description))
}

/// Why nobody has answered a call, where that is so: whoever answers gives a reason.
pub fn unanswered(status: &Status) -> Option<&(dyn Error + 'static)> {
    Error::source(status).filter(|_| reason(status).is_empty())
}

/// Refuses keys that are named twice: whoever does so means one of two values, and nobody knows which.
pub fn once<T>(flag: &str, pairs: &[(String, T)]) -> Result<(), Failure> {
    let mut named = BTreeSet::new();
    match pairs.iter().find(|(key, _)| !named.insert(key)) {
        Some((key, _)) => Err(Failure::usage(format!("{flag}: `{key}` is named twice"))),
        None => Ok(()),
    }
}

/// The innermost reason of an error: what is around it says «transport error».
pub fn cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The reason of a refusal, without its prefix; empty if nobody gave one.
pub fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// What the metadata of a refusal say under a key.
pub fn fact(status: &Status, key: &str) -> Option<String> {
    status.get_error_details().error_info().and_then(|info| info.metadata.get(key).cloned())
}

/// Whether somebody has refused what he refuses again, however often he is asked.
pub fn is_for_good(status: &Status) -> bool {
    let refuses = [Code::InvalidArgument, Code::PermissionDenied, Code::Unauthenticated, Code::Unimplemented];
    refuses.contains(&status.code())
}

/// Whether what was asked for is not there, or not yet.
pub fn is_absent(status: &Status) -> bool {
    status.code() == Code::NotFound
}

fn exit_code(code: Code, reason: &str) -> u8 {
    match reason {
        "WAIT_TIMEOUT" | "CLUSTER_TIMEOUT" => return TIMED_OUT,
        "OVERLOADED" => return UNREACHABLE,
        // The operation has ended within its time: its update failed, and may have been put back.
        "APPLY_INCOMPLETE" if code == Code::DeadlineExceeded => return REFUSED,
        _ => {}
    }
    match code {
        Code::Unavailable => UNREACHABLE,
        Code::DeadlineExceeded | Code::Cancelled => TIMED_OUT,
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => REFUSED,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    fn told(message: &str, violations: Vec<FieldViolation>) -> String {
        let mut details = ErrorDetails::with_error_info("FIELD_INVALID", "example.com", HashMap::new());
        details.set_bad_request(violations);
        let status = Status::with_error_details(Code::InvalidArgument, message, details);
        Failure::call(&status, &Texts::default()).text
    }

    #[test]
    fn an_operation_that_has_ended_does_not_go_on() {
        assert_eq!(exit_code(Code::DeadlineExceeded, "APPLY_INCOMPLETE"), REFUSED);
        assert_eq!(exit_code(Code::DeadlineExceeded, "WAIT_TIMEOUT"), TIMED_OUT);
        assert_eq!(exit_code(Code::Unavailable, "APPLY_INCOMPLETE"), UNREACHABLE);
    }

    #[test]
    fn each_fault_is_told_once() {
        let required = || FieldViolation::new("name", "is required");
        let size = || FieldViolation::new("page_size", "must not be negative");
        let one = "error: is required [FIELD_INVALID]\n       = at name\n";
        assert_eq!(told("name: is required", vec![required()]), one);
        let two = told("name: is required (and 1 more)", vec![required(), size()]);
        assert!(two.starts_with(one) && two.matches("error: ").count() == 2, "{two}");
        // What a message says beside stays.
        let beside = told("the cluster refuses Service web", vec![required()]);
        assert!(beside.starts_with("error: the cluster refuses Service web [FIELD_INVALID]\n"), "{beside}");
        assert!(told("it is refused", Vec::new()).starts_with("error: it is refused ["));
    }
}
