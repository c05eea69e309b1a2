//! Why a controller cannot create pods, read from its condition.

use crate::status::{Cause, Reason};

/// Why a controller cannot make pods; the text names quotas and webhooks, never values of the environment.
pub(super) fn replica_failure(text: &str) -> Cause {
    if let Some(quota) = named_after(text, "status unknown for quota: ") {
        let message = format!("the cluster has yet to count what ResourceQuota{quota} allows");
        return Cause::waiting(Reason::QuotaExceeded, message);
    }
    if let Some(quota) = named_after(text, "exceeded quota: ") {
        let message = format!("ResourceQuota{quota} of the namespace is used up");
        return Cause::failed(Reason::QuotaExceeded, message);
    }
    if let Some(quota) = named_after(text, "failed quota: ") {
        let message =
            format!("ResourceQuota{quota} of the namespace asks for requests or limits of every pod");
        return Cause::failed(Reason::QuotaExceeded, message);
    }
    if let Some(webhook) = named_after(text, "admission webhook \"") {
        let message = format!("admission webhook{webhook} refuses its pods");
        return Cause::failed(Reason::AdmissionDenied, message);
    }
    if let Some(policy) = policy(text) {
        let message = format!("ValidatingAdmissionPolicy{policy} refuses its pods");
        return Cause::failed(Reason::AdmissionDenied, message);
    }
    let (reason, message) = if text.contains("exceeded quota") {
        (Reason::QuotaExceeded, "a ResourceQuota of the namespace is used up")
    } else if text.contains("violates PodSecurity") {
        (Reason::AdmissionDenied, "the namespace's Pod Security level refuses its pods")
    } else if text.contains("usage per ") || text.contains("limits.") && text.contains("forbidden") {
        (Reason::AdmissionDenied, "a LimitRange of the namespace refuses its pods")
    } else {
        (Reason::ReplicaFailure, "its controller cannot create pods")
    };
    Cause::failed(reason, message)
}

/// The name of the policy that refuses pods, after a blank, where one does: `ValidatingAdmissionPolicy 'few' with binding
/// 'few' denied request: …`.
fn policy(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("ValidatingAdmissionPolicy '")?;
    let (_, told) = rest.split_once('\'')?;
    let is_refusal = told.trim_start().starts_with("with binding '") && told.contains("denied request");
    named_after(text, "ValidatingAdmissionPolicy '").filter(|_| is_refusal)
}

/// The name that follows these words, after a blank; empty if what follows is none.
fn named_after(text: &str, words: &str) -> Option<String> {
    let (_, rest) = text.split_once(words)?;
    let is_part =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter);
    let end = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
    let name = rest.get(..end).unwrap_or_default();
    Some(if name.is_empty() { String::new() } else { format!(" {name}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Grade;

    #[test]
    fn quotas_and_webhooks_are_named_and_nothing_else_is_quoted() {
        for (text, grade, reason, message) in [
            (
                "pods \"a\" is forbidden: exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1",
                Grade::Failed,
                Reason::QuotaExceeded,
                "ResourceQuota few of the namespace is used up",
            ),
            (
                "pods \"a\" is forbidden: status unknown for quota: few, resources: pods",
                Grade::Waiting,
                Reason::QuotaExceeded,
                "the cluster has yet to count what ResourceQuota few allows",
            ),
            (
                "pods \"a\" is forbidden: failed quota: cpu: must specify limits.cpu for: web",
                Grade::Failed,
                Reason::QuotaExceeded,
                "ResourceQuota cpu of the namespace asks for requests or limits of every pod",
            ),
            (
                "admission webhook \"no.example.com\" denied the request: env PASSWORD=secret",
                Grade::Failed,
                Reason::AdmissionDenied,
                "admission webhook no.example.com refuses its pods",
            ),
            (
                "pods \"a\" is forbidden: ValidatingAdmissionPolicy 'few.example.com' with binding 'few' denied \
                 request: failed expression: PASSWORD=secret",
                Grade::Failed,
                Reason::AdmissionDenied,
                "ValidatingAdmissionPolicy few.example.com refuses its pods",
            ),
            ("PASSWORD=secret", Grade::Failed, Reason::ReplicaFailure, "its controller cannot create pods"),
        ] {
            let cause = replica_failure(text);
            assert_eq!((cause.grade, cause.reason, cause.message.as_str()), (grade, reason, message));
        }
    }
}
