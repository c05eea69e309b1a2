//! What is left of a deployment, and what only looks so.

use serde_json::{Value, json};

use super::*;

fn head() -> Head {
    Head::new("Web".to_owned(), jiff::Timestamp::UNIX_EPOCH)
}

fn meta(value: Value) -> ObjectMeta {
    serde_json::from_value(value).expect("metadata")
}

/// A pod as the controllers make it, with some of it changed.
fn pod(change: &Value) -> ObjectMeta {
    let mut pod = json!({
        "name": "web-replication-controller-x7k2q", "generateName": "web-replication-controller-", "uid": "p",
        "labels": { "name": "web" },
        "managedFields": [{
            "manager": "kube-controller-manager", "operation": "Update",
            "fieldsV1": { "f:metadata": { "f:generateName": {} } },
        }],
    });
    for (key, value) in change.as_object().expect("an object") {
        pod[key] = value.clone();
    }
    meta(pod)
}

fn pods_left(pods: &[ObjectMeta], restored: bool) -> usize {
    let name = DeploymentName::new("wp").expect("a name");
    leftovers(&name, &head(), pods, &[], restored).pods.len()
}

#[test]
fn a_pod_that_has_lost_its_controller_is_left() {
    assert_eq!(pods_left(&[pod(&json!({}))], false), 1);
    let wiped = pod(&json!({ "managedFields": [{}] }));
    assert_eq!(pods_left(&[wiped], false), 1, "nobody says that somebody else asked for it");
    let owner = json!([{ "apiVersion": "v1", "kind": "X", "name": "x", "uid": "u", "controller": true }]);
    assert_eq!(pods_left(&[pod(&json!({ "ownerReferences": owner }))], false), 0, "another has it");
    let applied = json!({
        "name": "web-pod", "generateName": null,
        "managedFields": [{ "manager": "panamax:wp", "operation": "Apply", "fieldsV1": {} }],
    });
    assert_eq!(pods_left(&[pod(&applied)], false), 1, "a bare Pod that no record has");
}

#[test]
fn a_copy_is_somebodys() {
    for change in [
        json!({ "name": "web-debug" }),
        json!({ "name": "web-replication-controller-x7k2q-copy" }),
        json!({ "name": "web-replication-controller-debug" }),
        json!({ "generateName": null }),
        json!({ "generateName": "other-", "name": "other-x7k2q" }),
        json!({ "labels": { "name": "db" } }),
        json!({ "managedFields": [{
            "manager": "kubectl-create", "operation": "Update",
            "fieldsV1": { "f:metadata": { "f:generateName": {} } },
        }] }),
    ] {
        assert_eq!(pods_left(&[pod(&change)], false), 0, "{change}");
    }
}

#[test]
fn what_a_backup_has_brought_back_is_known_by_its_name() {
    let by_tool = json!([{
        "manager": "backup", "operation": "Update", "fieldsV1": { "f:metadata": { "f:generateName": {} } },
    }]);
    assert_eq!(pods_left(&[pod(&json!({ "managedFields": by_tool }))], true), 1);
    assert_eq!(pods_left(&[pod(&json!({ "managedFields": by_tool, "name": "web-debug" }))], true), 0);
}

#[test]
fn a_replica_set_goes_with_its_pods() {
    let labels = json!({ "name": "web", "pod-template-hash": "5d4f8c7b9c" });
    let set = |name: &str| meta(json!({ "name": name, "uid": "s", "labels": labels }));
    let owned = pod(&json!({
        "name": "web-5d4f8c7b9c-x7k2q", "generateName": "web-5d4f8c7b9c-", "labels": labels,
        "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": "s", "controller": true }],
    }));
    let name = DeploymentName::new("wp").expect("a name");
    let left = leftovers(&name, &head(), std::slice::from_ref(&owned), &[set("web-5d4f8c7b9c")], false);
    assert_eq!((left.pods.len(), left.pods_of_sets.len()), (0, 1));
    assert_eq!(left.sets, [("web-5d4f8c7b9c".to_owned(), "s".to_owned())]);
    let left = leftovers(&name, &head(), &[owned], &[set("web-copy")], false);
    assert_eq!(left, Leftovers::default(), "a person's, with its pods");
    // One whose ReplicaSet was lost as well.
    let free =
        pod(&json!({ "name": "web-5d4f8c7b9c-x7k2q", "generateName": "web-5d4f8c7b9c-", "labels": labels }));
    assert_eq!(pods_left(&[free], false), 1);
}
