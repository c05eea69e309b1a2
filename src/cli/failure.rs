//! Why a command has failed: what is said on standard error, and the exit code.

use std::fmt::Write;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::findings::{Finding, Texts};

/// Refused by the adapter or by the template, or failed on the cluster.
pub const REFUSED: u8 = 1;
/// The command line, or a file that it names, cannot be used.
pub const USAGE: u8 = 2;
/// The adapter or its cluster does not answer now; the same command may succeed later.
pub const UNREACHABLE: u8 = 3;
/// The wait ended before what was waited for; the operation goes on.
pub const TIMED_OUT: u8 = 4;
/// Ctrl-C ended the wait; the operation goes on.
pub const INTERRUPTED: u8 = 130;

/// Why a command has failed.
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

    /// Output that cannot be written; whoever closes it early has seen enough.
    pub fn output(error: &std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self { code: 0, text: String::new() };
        }
        Self::new(REFUSED, format!("the output cannot be written: {error}"))
    }

    /// A call that an adapter has refused, with the places of its violations in the files that were sent.
    pub fn call(status: &Status, texts: &Texts<'_>) -> Self {
        let details = status.get_error_details();
        let reason = reason(status);
        if let Some(lost) = std::error::Error::source(status).filter(|_| reason.is_empty()) {
            // Nobody has answered: a certificate that is refused is told only now, by TLS itself.
            return Self::new(UNREACHABLE, format!("the connection was lost: {}", cause(lost)));
        }
        let mut text = String::new();
        let told = if reason.is_empty() { format!("{:?}", status.code()) } else { reason.clone() };
        // Writing into a text cannot fail.
        let _ = writeln!(text, "error: {} [{told}]", status.message());
        for violation in details.bad_request().iter().flat_map(|bad| &bad.field_violations) {
            let finding = Finding::of_violation(violation, &reason);
            text.push_str(&texts.show(&finding));
        }
        if let Some(delay) = details.retry_info().and_then(|retry| retry.retry_delay) {
            let _ = writeln!(text, "hint: try again in {} s", delay.as_secs().max(1));
        }
        Self { code: exit_code(status.code(), &reason), text }
    }
}

/// The innermost reason of an error: what is around it says «transport error».
pub fn cause(error: &dyn std::error::Error) -> String {
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

fn exit_code(code: Code, reason: &str) -> u8 {
    match reason {
        "WAIT_TIMEOUT" | "CLUSTER_TIMEOUT" => return TIMED_OUT,
        "OVERLOADED" => return UNREACHABLE,
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
