//! Whose evidence counts: that of the form last written, of the pods that are alive, of the containers by their names.

use super::rollouts::rolling;
use super::*;
use crate::artifacts::HoldUp;

fn dead(name: &str, phase: &str, owner: bool) -> Value {
    let mut pod = pod(name, 2, false, Value::Null, owner);
    pod["status"]["phase"] = json!(phase);
    pod["status"]["reason"] = json!("Evicted");
    pod
}

#[test]
fn dead_pods_beside_a_full_controller_count_for_nothing() {
    for phase in ["Failed", "Succeeded"] {
        let mut pods = two_pods(2);
        pods.push(dead("c", phase, true));
        let status = controlled(|_| {}, pods);
        assert_eq!((status.state, status.reason), (DeploymentState::Active, None), "{phase}");
        assert_eq!((status.components[0].ready, status.components[0].updated), (2, 2));
        // Nor do they hold a rollout back: of an older revision they are nobody's to replace.
        let mut old = dead("old", phase, true);
        old["metadata"]["labels"]["panamax.io/revision"] = json!("1");
        let mut pods = two_pods(2);
        pods.push(old);
        assert_eq!(controlled(|_| {}, pods.clone()).state, DeploymentState::Active);
        assert_eq!(rolling(3, 2, pods), Rollout::default());
    }
}

#[test]
fn a_bare_pod_that_has_ended_has_failed_and_says_what_to_do() {
    for (phase, reason) in [("Failed", Reason::PodFailed), ("Succeeded", Reason::PodSucceeded)] {
        let status = bare(dead("web-pod", phase, false));
        assert_eq!((status.state, status.reason), (DeploymentState::Failed, Some(reason)));
        assert!(status.is_hopeless());
        assert!(status.message.contains("(Evicted)"), "{}", status.message);
        assert!(status.message.contains("the next Deploy replaces it"), "{}", status.message);
    }
}

/// A pod whose image was changed in place to `wanted`, while its kubelet still speaks of the crashing `example/web:1`.
fn changed_in_place(wanted: &str, generation: Option<i64>, seen: Option<i64>) -> Status {
    let mut pod = pod("web-pod", 2, false, json!({"reason": "CrashLoopBackOff"}), false);
    pod["metadata"]["generation"] = json!(generation);
    pod["status"]["observedGeneration"] = json!(seen);
    pod["spec"] = json!({"containers": [{"name": "web", "image": wanted}]});
    bare(pod)
}

#[test]
fn the_former_containers_crash_is_not_the_new_ones() {
    for (wanted, generation, seen, is_former) in [
        ("example/web:2", Some(2), Some(1), true),
        ("example/web:2", Some(2), None, true),
        ("example/web:2", None, None, true),
        ("example/web:1", Some(2), Some(1), true),
        ("example/web:1", Some(2), Some(2), false),
        // A kubelet says that it has seen the change before it ends the former container.
        ("example/web:2", Some(2), Some(2), true),
        ("example/web:2", Some(1), None, false),
        ("example/web:1", None, None, false),
    ] {
        let status = changed_in_place(wanted, generation, seen);
        let state = if is_former { DeploymentState::Deploying } else { DeploymentState::Failed };
        assert_eq!(status.state, state, "{wanted} {generation:?} {seen:?}");
    }
}

/// A pod whose image was changed in place from `example/web:1` to `example/web:2`; its kubelet has seen that.
fn seen_in_place(shown: &str, ready: bool, waiting: Value, overdue: bool) -> Status {
    let mut pod = pod("web-pod", 2, ready, waiting, false);
    pod["metadata"]["generation"] = json!(2);
    pod["status"]["observedGeneration"] = json!(2);
    pod["status"]["containerStatuses"][0]["image"] = json!(shown);
    pod["spec"] = json!({"containers": [{"name": "web", "image": "example/web:2"}]});
    let overdue = overdue.then(|| HoldUp::Former { pod: "web-pod".to_owned() }).into_iter().collect();
    let observed = Observed { pods: vec![from_json(pod)], overdue, ..Observed::default() };
    conclude(&expected(Kind::Pod, "web-pod"), &observed)
}

#[test]
fn the_former_containers_readiness_is_not_the_new_ones() {
    let former = seen_in_place("docker.io/example/web:1", true, Value::Null, false);
    assert_eq!((former.state, former.components[0].ready), (DeploymentState::Deploying, 0));
    assert!(former.message.contains("former image"), "{}", former.message);
    assert!(!former.components[0].pods[0].ready);
    assert_eq!(former.held_up(), [HoldUp::Former { pod: "web-pod".to_owned() }]);
    let new = seen_in_place("docker.io/example/web:2", true, Value::Null, false);
    assert_eq!((new.state, new.held_up()), (DeploymentState::Active, vec![]));
    // A runtime may call an image by any of its names.
    let renamed = seen_in_place("docker.io/example/web:stable", true, Value::Null, true);
    assert_eq!((renamed.state, renamed.components[0].ready), (DeploymentState::Active, 1));
}

#[test]
fn what_the_new_container_waits_for_is_told_beside_the_former_one() {
    let waits = |reason: &str| seen_in_place("example/web:1", false, json!({"reason": reason}), false);
    assert_eq!(waits("ErrImagePull").reason, Some(Reason::ImagePullFailed));
    assert_eq!(waits("CreateContainerConfigError").reason, Some(Reason::ConfigError));
    for former in ["CrashLoopBackOff", "RunContainerError", "ContainerCreating"] {
        let status = waits(former);
        assert_eq!((status.state, status.is_hopeless()), (DeploymentState::Deploying, false), "{former}");
    }
    let crashing = seen_in_place("example/web:other", false, json!({"reason": "CrashLoopBackOff"}), true);
    assert_eq!(crashing.reason, Some(Reason::CrashLooping));
}

#[test]
fn a_pod_of_a_lost_node_is_not_ready_and_says_so() {
    let lost = |change: &dyn Fn(&mut Value)| {
        let mut pod = pod("web-pod", 2, true, Value::Null, false);
        pod["status"]["conditions"] = json!([
            {"type": "ContainersReady", "status": "True"}, {"type": "Ready", "status": "True"}]);
        change(&mut pod);
        bare(pod)
    };
    let ready = |status: &'static str, reason: &'static str| {
        move |pod: &mut Value| {
            pod["status"]["conditions"][1]["status"] = json!(status);
            pod["status"]["conditions"][1]["reason"] = json!(reason);
        }
    };
    let crashes = |pod: &mut Value| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"] = json!({"reason": "CrashLoopBackOff"});
        pod["status"]["phase"] = json!("Unknown");
    };
    let evicted = |pod: &mut Value| {
        ready("False", "")(pod);
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    };
    let ways: [&dyn Fn(&mut Value); 5] = [
        &ready("False", ""),
        &ready("Unknown", "NodeStatusUnknown"),
        &|pod: &mut Value| pod["status"]["reason"] = json!("NodeLost"),
        &crashes,
        &evicted,
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let status = lost(way);
        // Its node may come back; else the pod is evicted, and then it is missing.
        assert_eq!(status.reason, Some(Reason::NodeLost), "{number}: {}", status.message);
        assert_eq!((status.state, status.is_hopeless()), (DeploymentState::Deploying, false));
        assert_eq!(status.components[0].state, ComponentState::Progressing);
        assert_eq!(status.components[0].pods[0].reason, Some(Reason::NodeLost));
        assert_eq!(status.components[0].ready, 0, "{number}");
    }
    // A kubelet gives a reason whenever it says that a pod is not ready.
    for reason in ["ContainersNotReady", "ReadinessGatesNotReady"] {
        assert_eq!(lost(&ready("False", reason)).reason, Some(Reason::Progressing), "{reason}");
    }
}

#[test]
fn a_generation_counts_for_the_same_object_alone() {
    let again = |controller: &mut Value| {
        controller["metadata"]["uid"] = json!("another");
        controller["metadata"]["generation"] = json!(1);
        controller["status"]["observedGeneration"] = json!(1);
    };
    let pods = || {
        let pods = two_pods(2).into_iter().map(|mut pod| {
            pod["metadata"]["ownerReferences"][0]["uid"] = json!("another");
            pod
        });
        pods.collect::<Vec<_>>()
    };
    let status = controlled(again, pods());
    assert_eq!((status.state, status.components[0].ready), (DeploymentState::Deploying, 2));
    assert!(status.message.contains("another object"), "{}", status.message);
    assert!(matches!(status.held_up().as_slice(), [HoldUp::Missing { uid, .. }] if uid == "rc-uid"));
    assert!(!status.is_hopeless(), "the record may only be behind");
}

#[test]
fn whatever_another_object_shows_is_told_only_once_a_look_has_shown_that_it_is_another() {
    let ended = |mut pod: Value| {
        pod["status"]["phase"] = json!("Failed");
        pod
    };
    // What a watch still has of an object that was deleted and made again: of the revision before, or failed.
    let former = |controller: &mut Value| {
        controller["metadata"]["uid"] = json!("another");
        controller["spec"]["template"] = json!({"metadata": {"labels": {"panamax.io/revision": "1"}}});
    };
    let refused = |controller: &mut Value| {
        controller["metadata"]["uid"] = json!("another");
        controller["status"]["conditions"] = json!([{"type": "ReplicaFailure", "status": "True"}]);
    };
    let gone = |controller: &mut Value| {
        controller["metadata"]["uid"] = json!("another");
        controller["spec"]["replicas"] = json!(0);
        controller["status"]["replicas"] = json!(0);
    };
    for status in
        [controlled(former, two_pods(1)), controlled(refused, Vec::new()), controlled(gone, Vec::new())]
    {
        assert_eq!(status.state, DeploymentState::Deploying, "{}", status.message);
        assert!(!status.is_hopeless(), "{}", status.message);
    }
    let mut expected = expected(Kind::Pod, "web-pod");
    expected.components[0].uid = Some("another".to_owned());
    let pods = vec![from_json(ended(pod("web-pod", 2, false, Value::Null, false)))];
    let seen = Observed { pods, ..Observed::default() };
    let status = conclude(&expected, &seen);
    assert_eq!(status.state, DeploymentState::Deploying, "{}", status.message);
    let seen = seen.with_overdue(status.held_up().into_iter().collect());
    assert_eq!(conclude(&expected, &seen).reason, Some(Reason::WorkloadNotOwned));
}

#[test]
fn while_an_operation_applies_a_planned_workload_is_judged_by_the_form_that_it_has() {
    let mut expected = expected(Kind::ReplicationController, "rc");
    expected.applying = true;
    let component = &mut expected.components[0];
    (component.pod_revision, component.generation, component.uid) = (None, None, None);
    let observed = Observed {
        pods: two_pods(1).into_iter().map(from_json).collect(),
        controllers: vec![from_json(json!({
            "metadata": {"name": "rc", "uid": "rc-uid", "generation": 3},
            "spec": {"replicas": 2, "template": {"metadata": {"labels": {"panamax.io/revision": "1"}}}},
            "status": {"replicas": 2, "readyReplicas": 2, "availableReplicas": 2, "observedGeneration": 3},
        }))],
        ..Observed::default()
    };
    let status = conclude(&expected, &observed);
    assert_eq!(status.state, DeploymentState::Deploying);
    assert_eq!((status.components[0].state, status.components[0].ready), (ComponentState::Ready, 2));
}

/// A pod with what a mesh puts in: an init container and a sidecar before ours.
fn meshed(init: Value, sidecar: Value, own: Value) -> Status {
    let mut pod = pod("web-pod", 2, false, Value::Null, false);
    let container = |name: &str, state: Value, ready: bool| {
        json!({"name": name, "image": "", "imageID": "", "ready": ready, "restartCount": 5, "state": state,
            "lastState": {"terminated": {"exitCode": 3}}})
    };
    pod["status"]["initContainerStatuses"] = json!([container("mesh-init", init, false)]);
    let beside = container("mesh-proxy", sidecar, false);
    pod["status"]["containerStatuses"] = json!([beside, container("web", own, true)]);
    bare(pod)
}

#[test]
fn injected_containers_are_named_and_not_mistaken_for_ours() {
    let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
    let running = || json!({"running": {}});
    let init = meshed(waiting("CrashLoopBackOff"), waiting("PodInitializing"), waiting("PodInitializing"));
    assert_eq!((init.state, init.reason), (DeploymentState::Failed, Some(Reason::CrashLooping)));
    assert!(
        init.message.contains("init container mesh-init, which is not of the template"),
        "{}",
        init.message
    );
    let image = meshed(waiting("ImagePullBackOff"), waiting("PodInitializing"), waiting("PodInitializing"));
    assert_eq!(image.reason, Some(Reason::ImagePullFailed));
    let sidecar = meshed(json!({"terminated": {"exitCode": 0}}), waiting("CrashLoopBackOff"), running());
    assert!(sidecar.message.contains("container mesh-proxy, which is not of"), "{}", sidecar.message);
    let unready = meshed(json!({"terminated": {"exitCode": 0}}), running(), running());
    assert_eq!((unready.state, unready.reason), (DeploymentState::Deploying, Some(Reason::NotReady)));
    assert!(unready.message.contains("mesh-proxy"), "{}", unready.message);
    // Restarts and exit code are those of the component's own container, wherever it stands.
    let own = meshed(json!({"terminated": {"exitCode": 0}}), running(), waiting("CrashLoopBackOff"));
    assert!(own.message.contains("container web: CrashLoopBackOff"), "{}", own.message);
    assert_eq!((own.components[0].pods[0].restarts, own.components[0].pods[0].exit_code), (5, Some(3)));
}

#[test]
fn a_container_that_ends_without_a_fault_is_told_what_to_do() {
    let mut pod = pod("web-pod", 2, false, json!({"reason": "CrashLoopBackOff"}), false);
    pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] = json!(0);
    let status = bare(pod);
    assert_eq!(status.reason, Some(Reason::CrashLooping));
    assert!(status.message.contains("give it a command that keeps running"), "{}", status.message);
}

#[test]
fn a_first_crash_is_told_and_ends_no_wait() {
    let crash = |restarts: i32| {
        let mut pod = pod("web-pod", 2, false, json!({"reason": "CrashLoopBackOff"}), false);
        pod["status"]["containerStatuses"][0]["restartCount"] = json!(restarts);
        bare(pod)
    };
    assert_eq!((crash(1).state, crash(1).is_hopeless()), (DeploymentState::Failed, false));
    assert_eq!((crash(3).state, crash(3).is_hopeless()), (DeploymentState::Failed, true));
}

#[test]
fn what_waits_for_a_node_or_a_volume_fails_once_it_is_overdue() {
    let unplaced = |message: &str, overdue: bool| {
        let mut pod = pod("web-pod", 2, false, Value::Null, false);
        pod["status"] = json!({"phase": "Pending", "conditions":
            [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]});
        pod["spec"] = json!({"containers": [], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "web-1"}}]});
        let overdue = overdue.then(|| HoldUp::Waiting { pod: "web-pod".to_owned() }).into_iter().collect();
        let claim = json!({"metadata": {"name": "web-1"}, "status": {"phase": "Pending"}});
        let claims = vec![from_json(claim)];
        let observed = Observed { pods: vec![from_json(pod)], claims, overdue, ..Observed::default() };
        conclude(&expected(Kind::Pod, "web-pod"), &observed)
    };
    // A claim that is bound with its first pod is no cause where the scheduler names another one.
    for (message, reason) in [
        ("0/3 nodes are available: 3 Insufficient cpu.", Reason::Unschedulable),
        ("0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.", Reason::VolumePending),
        ("", Reason::VolumePending),
    ] {
        let waiting = unplaced(message, false);
        assert_eq!((waiting.state, waiting.reason), (DeploymentState::Deploying, Some(reason)));
        assert_eq!(waiting.held_up(), [HoldUp::Waiting { pod: "web-pod".to_owned() }]);
        let overdue = unplaced(message, true);
        assert_eq!((overdue.state, overdue.reason), (DeploymentState::Failed, Some(reason)));
        assert!(overdue.is_hopeless());
    }
}

#[test]
fn an_image_that_cannot_be_pulled_is_told_at_once_and_ends_a_wait_after_a_while() {
    let pulling = |reason: &str, overdue: bool| {
        let pod = pod("web-pod", 2, false, json!({"reason": reason}), false);
        let overdue = overdue.then(|| HoldUp::Pulling { pod: "web-pod".to_owned() }).into_iter().collect();
        let observed = Observed { pods: vec![from_json(pod)], overdue, ..Observed::default() };
        conclude(&expected(Kind::Pod, "web-pod"), &observed)
    };
    for (reason, overdue, is_hopeless) in [
        ("ImagePullBackOff", false, false),
        ("ErrImagePull", false, false),
        ("ImagePullBackOff", true, true),
        ("InvalidImageName", false, true),
    ] {
        let status = pulling(reason, overdue);
        assert_eq!((status.state, status.reason), (DeploymentState::Failed, Some(Reason::ImagePullFailed)));
        assert_eq!(status.is_hopeless(), is_hopeless, "{reason} {overdue}");
    }
}
