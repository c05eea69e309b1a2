//! The table, row by row, on answers as API servers write them.

use super::*;
use serde_json::json;

const SECRET: Subject<'static> = Subject { resource: "secrets", kind: "Secret", name: "x" };

fn read(code: u16, reason: &str, message: &str, details: &serde_json::Value) -> Meaning {
    let status = json!({ "code": code, "reason": reason, "message": message, "details": details });
    Meaning::of(&serde_json::from_value(status).unwrap(), Some(SECRET))
}

fn text(code: u16, message: &str) -> Meaning {
    read(code, "", message, &serde_json::Value::Null)
}

#[test]
fn a_409_counts_only_about_the_object_that_was_written() {
    let of =
        |reason: &str, kind: &str, name: &str| read(409, reason, "", &json!({ "kind": kind, "name": name }));
    assert_eq!(of("AlreadyExists", "secrets", "x"), Meaning::Conflict(Conflict::Exists));
    assert_eq!(of("Conflict", "secrets", "x"), Meaning::Conflict(Conflict::Changed));
    assert_eq!(of("Conflict", "Secret", "x"), Meaning::Conflict(Conflict::Changed));
    assert_eq!(of("Conflict", "resourcequotas", "x"), Meaning::Passing);
    assert_eq!(of("AlreadyExists", "secrets", "y"), Meaning::Passing);
    assert_eq!(of("Unheard", "secrets", "x"), Meaning::Passing);
    assert_eq!(text(409, "a proxy's own conflict"), Meaning::Passing);
    let causes = json!({ "causes": [{ "reason": "FieldManagerConflict", "field": ".spec" }] });
    assert_eq!(read(409, "Conflict", "", &causes), Meaning::Conflict(Conflict::Fields));
}

#[test]
fn what_fails_inside_passes() {
    for (code, message, meaning) in [
        (500, "etcdserver: leader changed", Meaning::Unsure),
        (500, "etcdserver: request timed out", Meaning::Unsure),
        (500, "rpc error: code = Unavailable desc = error reading from server: EOF", Meaning::Unsure),
        (
            500,
            "Internal error occurred: failed calling webhook \"a.b\": context deadline exceeded",
            Meaning::Passing,
        ),
        (500, "Internal error occurred: resource quota evaluation timed out", Meaning::Passing),
        (500, "This is unheard of", Meaning::Unsure),
        (502, "Bad Gateway", Meaning::Unsure),
        (503, "the server is currently unable to handle the request", Meaning::Passing),
        (504, "Timeout: request did not complete within the allotted timeout", Meaning::Unsure),
    ] {
        assert_eq!(text(code, message), meaning, "{message}");
        assert!(text(code, message).passes());
    }
    assert_eq!(text(429, "Too many requests, please try again later."), Meaning::Throttled);
    assert!(text(429, "").passes());
}

#[test]
fn what_does_not_pass_is_known() {
    for message in [
        "etcdserver: request is too large",
        "rpc error: code = ResourceExhausted desc = trying to send message larger than max (2097285 vs. 2097152)",
    ] {
        assert_eq!(text(500, message), Meaning::TooLarge);
        assert!(!text(500, message).passes());
    }
    assert_eq!(text(413, "Request entity too large: limit is 3145728"), Meaning::TooLarge);
    assert_eq!(text(500, "etcdserver: mvcc: database space exceeded"), Meaning::StoreFull);
    let schema =
        "failed to create typed patch object (a/b; v1, Kind=Service): .spec.ports: duplicate entries for key";
    assert_eq!(text(500, schema), Meaning::Rejected);
    assert_eq!(text(400, "strict decoding error: unknown field"), Meaning::Rejected);
    assert_eq!(text(401, "Unauthorized"), Meaning::Unauthorized);
    assert_eq!(text(410, "too old resource version"), Meaning::Expired);
    assert_eq!(text(422, "Pod \"x\" is invalid"), Meaning::Invalid);
}

#[test]
fn missing_namespaces_are_not_missing_objects() {
    let kind = |kind: &str| read(404, "NotFound", "", &json!({ "kind": kind, "name": "x" }));
    assert_eq!(kind("secrets"), Meaning::NotFound);
    assert_eq!(kind("namespaces"), Meaning::NamespaceMissing);
}

#[test]
fn a_refusal_of_admission_is_no_missing_right() {
    let denied = "admission webhook \"quota.example.com\" denied the request: no";
    for code in [400, 403, 409, 422, 500] {
        assert_eq!(text(code, denied), Meaning::Denied, "{code}");
    }
    let policy = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no";
    assert_eq!(text(422, policy), Meaning::Denied);
    let forbidden = |why: &str| text(403, &format!("pods \"quota-web\" is forbidden: {why}"));
    for (why, meaning) in [
        ("exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1", Meaning::Quota),
        ("failed quota: q: must specify limits.cpu for: web", Meaning::Quota),
        ("insufficient quota to consume: cpu", Meaning::Quota),
        ("status unknown for quota: q, resources: pods", Meaning::QuotaUnknown),
        ("violates PodSecurity \"restricted:latest\": privileged", Meaning::Denied),
        ("maximum memory usage per Container is 1Gi, but limit is 2Gi", Meaning::LimitRange),
        ("cpu max limit to request ratio per Container is 2, but provided ratio is 4", Meaning::LimitRange),
        ("no PriorityClass with name high was found", Meaning::Denied),
        ("unable to create new content in namespace a because it is being terminated", Meaning::Terminating),
        (
            "error looking up service account a/default: serviceaccount \"default\" not found",
            Meaning::Passing,
        ),
        (
            "only dynamically provisioned pvc can be resized and the storageclass must support it",
            Meaning::ClaimFixed,
        ),
    ] {
        assert_eq!(forbidden(why), meaning, "{why}");
    }
    assert_eq!(text(403, "<html>blocked by the firewall</html>"), Meaning::Forbidden);
}

#[test]
fn a_missing_right_is_named_and_nothing_else_of_the_text() {
    let right = |message: &str| match text(403, message) {
        Meaning::MissingRight(right) => Some(right),
        _ => None,
    };
    let message = "configmaps \"x\" is forbidden: User \"alice\" cannot get resource \"configmaps\" in API group \"\" in the namespace \"y\"";
    assert_eq!(right(message).as_deref(), Some(" to get configmaps"));
    let message = "resourcequotas is forbidden: User \"quota\" cannot list resource \"resourcequotas\" in API group \"\" in the namespace \"quota\"";
    assert_eq!(right(message).as_deref(), Some(" to list resourcequotas"));
    let message = "User \"a\" cannot patch resource \"deployments/scale\" in API group \"apps\"";
    assert_eq!(right(message).as_deref(), Some(" to patch deployments/scale.apps"));
    let message = "forbidden: User \"system:anonymous\" cannot get path \"/version\"";
    assert_eq!(right(message).as_deref(), Some(" to get /version"));
    assert_eq!(right("User cannot get resource \"a b=secret\" in API group \"\""), None);
    assert_eq!(right("forbidden"), None);
}
