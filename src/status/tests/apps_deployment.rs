//! Components that an apps Deployment runs, and pods that wait for a volume claim.

use super::*;

/// An apps Deployment that asks for two and has them, changed, with its pods; revision 2 is the current one.
fn deployed(change: impl Fn(&mut Value), pods: Vec<Value>) -> Status {
    let mut deployment = json!({
        "metadata": {"name": "web", "uid": "web-uid", "generation": 3},
        "spec": {"replicas": 2, "selector": {}, "template": {"metadata": {"labels": {"panamax.io/revision": "2"}}}},
        "status": {
            "replicas": 2, "readyReplicas": 2, "availableReplicas": 2, "updatedReplicas": 2, "observedGeneration": 3,
            "conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}],
        },
    });
    change(&mut deployment);
    let observed = Observed {
        pods: pods.into_iter().map(from_json).collect(),
        deployments: vec![from_json(deployment)],
        ..Observed::default()
    };
    conclude(&expected(Kind::Deployment, "web"), &observed)
}

/// A pod of component web that a ReplicaSet made.
fn member(name: &str, revision: u32, ready: bool, waiting: Value) -> Value {
    let mut pod = pod(name, revision, ready, waiting, false);
    pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-x", "uid": "x", "controller": true}]);
    pod
}

fn two(revision: u32) -> Vec<Value> {
    ["a", "b"].map(|name| member(name, revision, true, Value::Null)).to_vec()
}

#[test]
fn it_is_ready_with_all_its_pods() {
    let status = deployed(|_| {}, two(2));
    assert_eq!((status.state, status.reason), (DeploymentState::Active, None));
    let component = &status.components[0];
    assert_eq!((component.desired, component.ready, component.updated), (2, 2, 2));
    let lagging = deployed(|_| {}, [two(2), vec![member("old", 1, true, Value::Null)]].concat());
    assert_eq!(lagging.components[0].ready, 2, "its own status knows that the old one is gone");
    let lagging = deployed(|_| {}, [two(2), vec![member("more", 2, true, Value::Null)]].concat());
    assert_eq!(
        (lagging.components[0].ready, lagging.components[0].updated),
        (2, 2),
        "and so is one too many"
    );
}

#[test]
fn it_is_not_ready_while_any_count_lags() {
    for (field, value) in
        [("replicas", 3), ("availableReplicas", 1), ("updatedReplicas", 1), ("observedGeneration", 2)]
    {
        let status = deployed(|deployment| deployment["status"][field] = json!(value), two(2));
        assert_eq!(status.state, DeploymentState::Deploying, "{field}");
    }
    let older = |deployment: &mut Value| {
        deployment["metadata"]["generation"] = json!(2);
        deployment["status"]["observedGeneration"] = json!(2);
    };
    assert_eq!(deployed(older, two(2)).state, DeploymentState::Deploying, "older than our last write");
    assert_eq!(deployed(|_| {}, two(1)).state, DeploymentState::Deploying, "its counts lag behind its pods");
}

#[test]
fn pods_of_another_workload_are_not_its_own() {
    let pods = vec![pod("web-pod", 2, true, Value::Null, false), pod("rc-pod", 2, true, Value::Null, true)];
    let status = deployed(|_| {}, pods);
    assert_eq!((status.state, status.components[0].ready), (DeploymentState::Deploying, 0));
}

#[test]
fn old_pods_that_serve_make_a_failed_rollout_degraded() {
    let mut pods = two(1);
    pods.push(member("c", 2, false, json!({"reason": "ImagePullBackOff"})));
    let rolling = |deployment: &mut Value| {
        deployment["status"]["updatedReplicas"] = json!(1);
        deployment["status"]["replicas"] = json!(3);
    };
    let status = deployed(rolling, pods);
    assert_eq!((status.state, status.reason), (DeploymentState::Degraded, Some(Reason::ImagePullFailed)));
    let component = &status.components[0];
    assert_eq!((component.ready, component.updated), (2, 1));
}

/// The pods that serve are ready, and not those that are waited for: each number says what it counts.
#[test]
fn what_is_ready_and_what_is_awaited_are_told_apart() {
    let status = deployed(|_| {}, two(1));
    let component = &status.components[0];
    assert_eq!((component.ready, component.desired), (2, 2));
    assert_eq!(component.message, "0 of 2 replicas of the current revision are ready");
    let status = deployed(|_| {}, vec![member("a", 2, true, json!(null))]);
    assert_eq!(status.components[0].message, "1 of 2 replicas are ready");
}

#[test]
fn a_rollout_without_progress_has_failed() {
    let late = |deployment: &mut Value| {
        deployment["status"]["availableReplicas"] = json!(0);
        deployment["status"]["conditions"] =
            json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]);
    };
    let pods = || ["a", "b"].map(|name| member(name, 2, false, Value::Null)).to_vec();
    let status = deployed(late, pods());
    assert_eq!(
        (status.state, status.reason),
        (DeploymentState::Failed, Some(Reason::ProgressDeadlineExceeded))
    );
    let seen_before = |deployment: &mut Value| {
        late(deployment);
        deployment["status"]["observedGeneration"] = json!(2);
    };
    assert_eq!(deployed(seen_before, pods()).state, DeploymentState::Deploying, "that was an earlier form's");
}

#[test]
fn a_quota_is_told_and_zero_is_stopped() {
    let full = |deployment: &mut Value| {
        deployment["status"] = json!({"observedGeneration": 3, "conditions":
            [{"type": "ReplicaFailure", "status": "True", "message": "pods are forbidden: exceeded quota"}]});
    };
    let status = deployed(full, Vec::new());
    assert_eq!((status.state, status.reason), (DeploymentState::Failed, Some(Reason::QuotaExceeded)));
    let zero = |deployment: &mut Value| {
        deployment["spec"]["replicas"] = json!(0);
        deployment["status"] = json!({"observedGeneration": 3});
    };
    assert_eq!(deployed(zero, Vec::new()).state, DeploymentState::Stopped);
}

#[test]
fn a_pod_without_a_node_names_the_claim_it_waits_for() {
    let waiting = |phase: Option<&str>| {
        let mut pod = pod("web-pod", 2, false, Value::Null, false);
        pod["status"]["phase"] = json!("Pending");
        pod["spec"] = json!({"containers": [], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "web-1"}}]});
        let claims =
            phase.map(|phase| from_json(json!({"metadata": {"name": "web-1"}, "status": {"phase": phase}})));
        let observed = Observed {
            pods: vec![from_json(pod)],
            claims: claims.into_iter().collect(),
            ..Observed::default()
        };
        conclude(&expected(Kind::Pod, "web-pod"), &observed)
    };
    for phase in [None, Some("Pending"), Some("Lost")] {
        let status = waiting(phase);
        assert_eq!((status.state, status.reason), (DeploymentState::Deploying, Some(Reason::VolumePending)));
        assert!(status.message.contains("web-1"), "{}", status.message);
    }
    assert_eq!(waiting(Some("Bound")).reason, Some(Reason::Progressing));
}

#[test]
fn what_ran_the_component_before_and_stands_still_keeps_it_from_being_ready() {
    let ready = |former: Value| {
        let deployment = json!({
            "metadata": {"name": "web", "uid": "web-uid", "generation": 3},
            "spec": {"replicas": 2, "selector": {}, "template": {}},
            "status": {"replicas": 2, "availableReplicas": 2, "updatedReplicas": 2, "observedGeneration": 3},
        });
        let observed = Observed {
            pods: two(2).into_iter().map(from_json).collect(),
            deployments: vec![from_json(deployment)],
            controllers: vec![from_json(former)],
            ..Observed::default()
        };
        let mut expected = expected(Kind::Deployment, "web");
        let name = ObjectName::new("web-replication-controller").expect("a name");
        expected.components[0].superseded = vec![ObjectRef::new(Kind::ReplicationController, name)];
        conclude(&expected, &observed)
    };
    let status = ready(json!({"metadata": {"name": "web-replication-controller"}}));
    assert_eq!(status.state, DeploymentState::Deploying);
    assert!(status.message.contains("web-replication-controller"), "{}", status.message);
    let going = json!({"metadata": {"name": "web-replication-controller", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
    for former in [going, json!({"metadata": {"name": "another"}})] {
        assert_eq!(ready(former).state, DeploymentState::Active);
    }
}

#[test]
fn a_rollout_that_somebody_holds_up_has_a_cause() {
    let paused = |deployment: &mut Value| {
        deployment["spec"]["paused"] = json!(true);
        deployment["status"]["updatedReplicas"] = json!(0);
    };
    let undone = |deployment: &mut Value| {
        deployment["spec"]["template"]["metadata"]["labels"]["panamax.io/revision"] = json!("1");
    };
    let held_up = [(&paused as &dyn Fn(&mut Value), "is paused"), (&undone, "another revision")];
    for (change, told) in held_up {
        let status = deployed(change, two(1));
        assert_eq!((status.state, status.reason), (DeploymentState::Degraded, Some(Reason::ReplicaFailure)));
        assert!(status.message.contains(told), "{}", status.message);
        let unseen = |deployment: &mut Value| {
            change(deployment);
            deployment["status"]["observedGeneration"] = json!(2);
        };
        assert_eq!(
            deployed(unseen, two(1)).state,
            DeploymentState::Deploying,
            "its newest form is not known"
        );
    }
    let ready = |deployment: &mut Value| deployment["spec"]["paused"] = json!(true);
    assert_eq!(deployed(ready, two(2)).state, DeploymentState::Active, "nothing is left to be replaced");
}
