//! Why a controller cannot create pods, read from its condition.

use crate::artifacts::Denial;
use crate::status::{Cause, Reason};

/// Why a controller cannot make pods; the text names quotas and webhooks, never values of the environment.
pub(super) fn replica_failure(text: &str) -> Cause {
    let Some(denial) = Denial::of(text) else {
        return Cause::failed(Reason::ReplicaFailure, "its controller cannot create pods");
    };
    let message = denial.told("its pods");
    match denial {
        Denial::QuotaUncounted(_) => Cause::waiting(Reason::QuotaExceeded, message),
        Denial::QuotaUsedUp(_) | Denial::QuotaUnspecified(_) => Cause::failed(Reason::QuotaExceeded, message),
        Denial::Webhook(_) | Denial::Policy(_) | Denial::PodSecurity(_) | Denial::LimitRange => {
            Cause::failed(Reason::AdmissionDenied, message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Grade;

    #[test]
    fn a_quota_that_is_not_counted_yet_may_pass_and_all_else_has_failed() {
        for (text, grade, reason) in [
            (
                "pods \"a\" is forbidden: exceeded quota: few, requested: pods=1",
                Grade::Failed,
                Reason::QuotaExceeded,
            ),
            ("pods \"a\" is forbidden: status unknown for quota: few", Grade::Waiting, Reason::QuotaExceeded),
            (
                "admission webhook \"no.example.com\" denied the request",
                Grade::Failed,
                Reason::AdmissionDenied,
            ),
            ("PASSWORD=secret", Grade::Failed, Reason::ReplicaFailure),
        ] {
            let cause = replica_failure(text);
            assert_eq!((cause.grade, cause.reason), (grade, reason));
            assert!(!cause.message.contains("secret"));
        }
    }
}
