//! The fold, from objects as the cluster shows them: one test per state and per cause.

mod apps_deployment;
mod evidence;
mod recorded;
mod refusals;
mod rollouts;

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::artifacts::Namespace;
use crate::artifacts::{ByName, Kind, ObjectName};
use crate::record::Makers;

fn from_json<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).expect("an object"))
}

fn expected(kind: Kind, name: &str) -> Expected {
    let uid = match kind {
        Kind::ReplicationController => "rc-uid",
        Kind::Deployment => "web-uid",
        _ => name,
    };
    Expected {
        not_put_back: None,
        namespace: Namespace::new("default").expect("a namespace"),
        components: vec![ExpectedComponent {
            name: ComponentName::new("web").expect("a name"),
            image_name: "Web".to_owned(),
            image: "example/web:1".to_owned(),
            workload: Some(ObjectRef::new(kind, ObjectName::new(name).expect("a name"))),
            superseded: Vec::new(),
            workload_uid: Some(uid.to_owned()),
            uid: Some(uid.to_owned()),
            pod_revision: Some(2),
            generation: Some(3),
            replicas: Some(2),
        }],
        deleting: false,
        applying: false,
        incomplete: false,
        restored: false,
        refused: Vec::new(),
        cause: None,
        makers: Makers::default(),
    }
}

/// A pod of component web; the controller's uid makes it its own.
fn pod(name: &str, revision: u32, ready: bool, waiting: Value, owner: bool) -> Value {
    let owners = json!([{"apiVersion": "v1", "kind": "ReplicationController", "name": "rc", "uid": "rc-uid", "controller": true}]);
    let mut pod = json!({
        "metadata": {
            "name": name, "uid": name,
            "labels": {"name": "web", "panamax.io/revision": revision.to_string()},
            "ownerReferences": if owner { owners } else { json!([]) },
        },
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
            "containerStatuses": [{
                "name": "web", "image": "example/web:1", "imageID": "", "ready": ready, "restartCount": 4,
                "lastState": {"terminated": {"exitCode": 7}},
            }],
        },
    });
    pod["status"]["containerStatuses"][0]["state"]["waiting"] = waiting;
    pod
}

fn bare(pod: Value) -> Status {
    let observed = Observed { pods: vec![from_json(pod)], ..Observed::default() };
    conclude(&expected(Kind::Pod, "web-pod"), &observed)
}

/// A controller that asks for two and has them.
fn controller() -> Value {
    json!({
        "metadata": {"name": "rc", "uid": "rc-uid", "generation": 3},
        "spec": {"replicas": 2},
        "status": {"replicas": 2, "readyReplicas": 2, "availableReplicas": 2, "observedGeneration": 3},
    })
}

/// A controller that asks for two, with these counts in its status, and its pods.
fn controlled(change: impl Fn(&mut Value), pods: Vec<Value>) -> Status {
    let mut controller = controller();
    change(&mut controller);
    let observed = Observed {
        pods: pods.into_iter().map(from_json).collect(),
        controllers: vec![from_json(controller)],
        ..Observed::default()
    };
    conclude(&expected(Kind::ReplicationController, "rc"), &observed)
}

fn two_pods(revision: u32) -> Vec<Value> {
    ["a", "b"].map(|name| pod(name, revision, true, Value::Null, true)).to_vec()
}

#[test]
fn a_ready_pod_of_the_current_revision_is_active() {
    let status = bare(pod("web-pod", 2, true, Value::Null, false));
    assert_eq!((status.state, status.reason), (DeploymentState::Active, None));
    assert_eq!(status.components[0].state, ComponentState::Ready);
}

#[test]
fn a_ready_pod_of_an_earlier_revision_is_not() {
    assert_eq!(bare(pod("web-pod", 1, true, Value::Null, false)).state, DeploymentState::Deploying);
}

#[test]
fn a_pod_whose_kubelet_has_not_seen_its_newest_form_is_not_ready() {
    let mut changed = pod("web-pod", 2, true, Value::Null, false);
    changed["metadata"]["generation"] = json!(2);
    changed["status"]["observedGeneration"] = json!(1);
    assert_eq!(bare(changed.clone()).state, DeploymentState::Deploying);
    changed["status"]["observedGeneration"] = json!(2);
    assert_eq!(bare(changed).state, DeploymentState::Active);
}

#[test]
fn causes_are_told_at_once_in_our_own_words() {
    let image = bare(pod("web-pod", 2, false, json!({"reason": "ErrImagePull", "message": "secret"}), false));
    assert_eq!((image.state, image.reason), (DeploymentState::Failed, Some(Reason::ImagePullFailed)));
    assert!(!image.message.contains("secret"), "{}", image.message);
    let crash = bare(pod("web-pod", 2, false, json!({"reason": "CrashLoopBackOff"}), false));
    assert_eq!(crash.reason, Some(Reason::CrashLooping));
    assert!(crash.message.contains("exit code 7, 4 restarts"), "{}", crash.message);
    let config = bare(pod("web-pod", 2, false, json!({"reason": "CreateContainerConfigError"}), false));
    assert_eq!(config.reason, Some(Reason::ConfigError));
    let starting = bare(pod("web-pod", 2, false, json!({"reason": "ContainerCreating"}), false));
    assert_eq!((starting.state, starting.reason), (DeploymentState::Deploying, Some(Reason::Progressing)));
}

#[test]
fn a_workload_that_is_not_there_is_pending_while_something_is_applied_and_else_missing() {
    for (kind, name) in
        [(Kind::Pod, "web-pod"), (Kind::ReplicationController, "rc"), (Kind::Deployment, "web")]
    {
        let expected = expected(kind, name);
        let applying = conclude(&Expected { applying: true, ..expected.clone() }, &Observed::default());
        assert_eq!(applying.components[0].state, ComponentState::Pending);
        assert_eq!((applying.state, applying.held_up()), (DeploymentState::Deploying, vec![]));
        // The watches may lag: at first it is only not seen yet.
        let unseen = conclude(&expected, &Observed::default());
        assert_eq!((unseen.state, unseen.is_hopeless()), (DeploymentState::Deploying, false));
        assert_eq!(unseen.held_up().len(), 1);
        let overdue = unseen.held_up().into_iter().collect();
        let missing = conclude(&expected, &Observed { overdue, ..Observed::default() });
        assert_eq!((missing.state, missing.reason), (DeploymentState::Failed, Some(Reason::WorkloadMissing)));
        assert!(missing.is_hopeless() && missing.message.contains("the next Deploy creates it again"));
        assert!(!missing.components[0].is_counted, "nobody knows its counts");
    }
}

#[test]
fn a_controller_is_ready_with_all_its_pods() {
    let status = controlled(|_| {}, two_pods(2));
    assert_eq!(status.state, DeploymentState::Active);
    let component = &status.components[0];
    assert_eq!((component.desired, component.ready, component.updated), (2, 2, 2));
}

#[test]
fn a_controller_that_knows_of_no_others_has_no_more_pods_than_asked_for() {
    let more = [two_pods(2), vec![pod("c", 2, true, Value::Null, true)]].concat();
    let component = &controlled(|_| {}, more).components[0];
    assert_eq!((component.state, component.ready, component.updated), (ComponentState::Ready, 2, 2));
}

#[test]
fn a_controller_is_not_ready_while_any_count_lags() {
    for (field, value) in
        [("replicas", 3), ("readyReplicas", 1), ("availableReplicas", 1), ("observedGeneration", 2)]
    {
        let status = controlled(|controller| controller["status"][field] = json!(value), two_pods(2));
        assert_eq!(status.state, DeploymentState::Deploying, "{field}");
    }
}

#[test]
fn a_controller_older_than_our_last_write_is_not_believed() {
    let older = |controller: &mut Value| {
        controller["metadata"]["generation"] = json!(2);
        controller["status"]["observedGeneration"] = json!(2);
    };
    assert_eq!(controlled(older, two_pods(2)).state, DeploymentState::Deploying);
}

#[test]
fn pods_of_an_earlier_revision_hold_a_controller_back() {
    let mut pods = two_pods(2);
    pods.push(pod("c", 1, true, Value::Null, true));
    assert_eq!(controlled(|_| {}, pods).state, DeploymentState::Deploying);
    assert_eq!(controlled(|_| {}, two_pods(1)).state, DeploymentState::Deploying);
}

#[test]
fn nothing_is_stopped_while_a_pod_is_still_ending() {
    let zero = |controller: &mut Value| {
        controller["spec"]["replicas"] = json!(0);
        for field in ["replicas", "readyReplicas", "availableReplicas"] {
            controller["status"][field] = json!(0);
        }
    };
    assert_eq!(controlled(zero, Vec::new()).state, DeploymentState::Stopped);
    let mut ending = pod("a", 2, true, Value::Null, true);
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(controlled(zero, vec![ending]).state, DeploymentState::Deploying);
}

#[test]
fn counts_of_old_pods_never_make_new_ones_ready() {
    let starting = ["a", "b"].map(|name| pod(name, 2, false, Value::Null, true)).to_vec();
    assert_eq!(controlled(|_| {}, starting).state, DeploymentState::Deploying);
}

#[test]
fn what_an_earlier_revision_failed_at_is_over() {
    let failing = pod("web-pod", 1, false, json!({"reason": "CrashLoopBackOff"}), false);
    assert_eq!(bare(failing).state, DeploymentState::Deploying);
    let mut pods = two_pods(2);
    pods.push(pod("old", 1, false, json!({"reason": "CrashLoopBackOff"}), true));
    assert_eq!(controlled(|_| {}, pods).state, DeploymentState::Deploying);
}

#[test]
fn one_failing_pod_of_two_is_degraded() {
    let mut pods = two_pods(2);
    pods[1] = pod("b", 2, false, json!({"reason": "CrashLoopBackOff"}), true);
    let status = controlled(|controller| controller["status"]["readyReplicas"] = json!(1), pods);
    assert_eq!((status.state, status.reason), (DeploymentState::Degraded, Some(Reason::CrashLooping)));
}

#[test]
fn a_quota_is_told() {
    let full = |controller: &mut Value| {
        controller["status"]["readyReplicas"] = json!(0);
        controller["status"]["conditions"] = json!([{"type": "ReplicaFailure", "status": "True", "message": "pods are forbidden: exceeded quota"}]);
    };
    assert_eq!(controlled(full, Vec::new()).reason, Some(Reason::QuotaExceeded));
}

#[test]
fn a_count_of_zero_waits_for_nothing() {
    let zero = |controller: &mut Value| {
        controller["spec"]["replicas"] = json!(0);
        controller["status"] = json!({"replicas": 0, "conditions":
            [{"type": "ReplicaFailure", "status": "True", "message": "pods are forbidden: exceeded quota"}]});
    };
    assert_eq!(controlled(zero, Vec::new()).state, DeploymentState::Stopped, "its status is yet to come");
    let mut dead = pod("a", 2, false, Value::Null, true);
    dead["status"]["phase"] = json!("Failed");
    assert_eq!(controlled(zero, vec![dead]).state, DeploymentState::Stopped, "dead pods run nothing");
}

#[test]
fn zero_replicas_are_stopped() {
    let zero = |controller: &mut Value| {
        controller["spec"]["replicas"] = json!(0);
        controller["status"] = json!({"replicas": 0, "observedGeneration": 3});
    };
    assert_eq!(controlled(zero, Vec::new()).state, DeploymentState::Stopped);
}

#[test]
fn deleting_outweighs_everything() {
    let expected = Expected { deleting: true, ..expected(Kind::Pod, "web-pod") };
    let pods = vec![from_json(pod("web-pod", 2, true, Value::Null, false))];
    let status = conclude(&expected, &Observed { pods, ..Observed::default() });
    assert_eq!((status.state, status.reason), (DeploymentState::Deleting, Some(Reason::Terminating)));
    assert_eq!(status.message, "component web: it is being deleted");
}

#[test]
fn a_restored_workload_is_as_ready_as_it_is_and_one_created_again_is_not_owned() {
    let pods = vec![from_json(pod("web-pod", 2, true, Value::Null, false))];
    let mut expected = expected(Kind::Pod, "web-pod");
    expected.components[0].uid = Some("another".to_owned());
    let seen = Observed { pods, ..Observed::default() };
    let seen = seen.with_overdue(conclude(&expected, &seen).held_up().into_iter().collect());
    let again = conclude(&expected, &seen);
    assert_eq!((again.state, again.reason), (DeploymentState::Degraded, Some(Reason::WorkloadNotOwned)));
    let restored = conclude(&Expected { restored: true, ..expected.clone() }, &seen);
    assert_eq!((restored.state, restored.message.as_str()), (DeploymentState::Active, ""));
    assert_eq!(restored.held_up(), []);
    // What was not restored with the rest is missing.
    let absent = Observed { overdue: seen.overdue, ..Observed::default() };
    let absent = conclude(&Expected { restored: true, ..expected }, &absent);
    assert_eq!((absent.state, absent.reason), (DeploymentState::Failed, Some(Reason::WorkloadMissing)));
}

#[test]
fn the_image_that_is_told_is_the_one_that_runs() {
    let mut other = pod("web-pod", 2, true, Value::Null, false);
    other["spec"] = json!({"containers": [{"name": "web", "image": "example/other:9"}]});
    assert_eq!(bare(other).components[0].image, "example/other:9");
    let nothing = conclude(&expected(Kind::Pod, "web-pod"), &Observed::default());
    assert_eq!(nothing.components[0].image, expected(Kind::Pod, "web-pod").components[0].image);
}

#[test]
fn what_stands_under_the_name_of_a_missing_workload_says_what_the_next_deploy_does() {
    let mut expected = expected(Kind::Pod, "web-pod");
    expected.components[0].uid = Some("uid".to_owned());
    let unseen = conclude(&expected, &Observed::default());
    // As long as it may come yet, nobody has deleted it.
    assert_eq!((unseen.state, unseen.reason), (DeploymentState::Deploying, Some(Reason::Progressing)));
    let overdue: std::collections::BTreeSet<_> = unseen.held_up().into_iter().collect();
    let reference = expected.components[0].workload.clone().expect("a workload");
    for (by_name, reason, words) in [
        (None, Reason::WorkloadMissing, "the next Deploy creates it again"),
        (Some(ByName::Unlabelled), Reason::WorkloadMissing, "the next Deploy puts them back"),
        (Some(ByName::Relabelled), Reason::WorkloadMissing, "the next Deploy refuses that"),
        (Some(ByName::Foreign), Reason::WorkloadNotOwned, "Deploy refuses to write it"),
    ] {
        let by_name = by_name.map(|found| (reference.clone(), found)).into_iter().collect();
        let seen = Observed { overdue: overdue.clone(), by_name, ..Observed::default() };
        let status = conclude(&expected, &seen);
        assert_eq!((status.state, status.reason), (DeploymentState::Failed, Some(reason)));
        assert!(status.message.contains(words), "{}", status.message);
    }
}

#[test]
fn an_incomplete_update_is_degraded_even_if_all_runs() {
    let expected = Expected { incomplete: true, ..expected(Kind::Pod, "web-pod") };
    let pods = vec![from_json(pod("web-pod", 2, true, Value::Null, false))];
    let status = conclude(&expected, &Observed { pods, ..Observed::default() });
    assert_eq!((status.state, status.reason), (DeploymentState::Degraded, Some(Reason::ApplyIncomplete)));
}

/// Two ready pods of a controller, and one that nothing controls.
fn beside(name: &str) -> Status {
    let mut free = pod(name, 1, true, Value::Null, false);
    free["metadata"]["generateName"] = json!("web-replication-controller-");
    let mut pods = two_pods(2);
    pods.push(free);
    controlled(|_| {}, pods)
}

#[test]
fn a_pod_of_a_lost_controller_keeps_its_component_from_being_ready_and_a_copy_does_not() {
    let left = beside("web-replication-controller-x7k2q");
    assert_eq!(left.state, DeploymentState::Deploying);
    assert!(left.components[0].has_left && left.message.contains("x7k2q"), "{}", left.message);
    let copy = beside("web-replication-controller-debug");
    assert_eq!((copy.state, copy.components[0].has_left), (DeploymentState::Active, false));
}
