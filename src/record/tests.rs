//! Records that earlier versions have written.

use super::*;

/// A record at rest as the version before leases by observation, marks and a typed state has written it.
const EARLIER: &str = r#"{
  "schema": 1, "generation": 4, "template_name": "Shop", "phase": "idle",
  "current": {"number": 2, "secret": "panamax-deployment-shop-r2-0123abcd"}, "last_good": 2,
  "revisions": [
    {"number": 1, "secret": "panamax-deployment-shop-r1-89abcdef", "time": "2026-01-01T00:00:00Z", "complete": true},
    {"number": 2, "secret": "panamax-deployment-shop-r2-0123abcd", "time": "2026-01-02T00:00:00Z", "complete": true}
  ],
  "operation": null,
  "inventory": [{
    "reference": {"kind": "ReplicationController", "name": "web-replication-controller"}, "component": "web",
    "state": "applied", "uid": "3f", "pod_revision": 2, "template_replicas": 2, "scaled_replicas": 3,
    "generation": 5, "owned": "c0ffee"
  }],
  "recorded": {"state": "ACTIVE", "components": [{"name": "web", "image_name": "WEB", "image": "example/web:1"}]},
  "created": "2026-01-01T00:00:00Z", "updated": "2026-01-02T00:00:00Z"
}"#;

#[test]
fn a_record_of_an_earlier_version_is_read_and_written_as_it_was() {
    let head: Head = serde_json::from_str(EARLIER).expect("a record");
    assert!(head.is_readable());
    assert_eq!(head.recorded.state, DeploymentState::Active);
    assert_eq!(head.superfluous_revisions(), []);
    let [earlier, now] = [EARLIER, &serde_json::to_string(&head).expect("JSON")]
        .map(|text| serde_json::from_str::<serde_json::Value>(text).expect("JSON"));
    assert_eq!(now, earlier, "an earlier version beside this one reads it, too");
}

#[test]
fn a_deployment_that_was_never_looked_at_is_deploying() {
    let text = EARLIER.replace("\"ACTIVE\"", "\"\"");
    let head: Head = serde_json::from_str(&text).expect("a record");
    assert_eq!(head.recorded.state, DeploymentState::Deploying);
}
