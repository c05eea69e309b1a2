//! Fields and counts that others hold: who wins, and how it is told, in plans and in what carries them out.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController, Service};
use kube::api::{Patch, PatchParams};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::{ConflictPolicy, ReplicasPolicy, WorkloadKind};
use serde_json::{Value, json};
use tonic::Code;

use crate::support::adapter::{Adapter, deploy, deploy_at_once, scale};
use crate::support::calls::{Recorder, counted};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{Object, everything, members, recorded, refused, until};
use crate::support::namespace::{Namespace, namespace};
use crate::support::templates::{STILL, WORDPRESS, wordpress_at};

const CONTROLLER: &str = "wp-replication-controller";

/// Changes an object as a program of this name would.
async fn changed_by<K: Object>(namespace: &Namespace, manager: &str, name: &str, patch: &Patch<Value>) {
    let parameters = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    namespace.api::<K>().patch(name, &parameters, patch).await.expect("a change");
}

/// Sets a count as an autoscaler does.
async fn autoscaled<K: Object>(namespace: &Namespace, name: &str, count: i32) {
    let parameters =
        PatchParams { field_manager: Some("horizontal-pod-autoscaler".to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({"spec": {"replicas": count}}));
    namespace.api::<K>().patch_scale(name, &parameters, &patch).await.expect("a count");
}

fn with(request: proto::DeployRequest, set: impl FnOnce(&mut proto::DeployOptions)) -> proto::DeployRequest {
    let mut options = request.options.clone().unwrap_or_default();
    set(&mut options);
    proto::DeployRequest { options: Some(options), ..request }
}

fn conflicts(request: proto::DeployRequest, policy: ConflictPolicy) -> proto::DeployRequest {
    with(request, |options| options.set_conflicts(policy))
}

fn told<'d>(diagnostics: &'d [proto::Diagnostic], code: &str) -> &'d str {
    let found = diagnostics.iter().find(|one| one.code == code);
    &found.unwrap_or_else(|| panic!("{code} among {diagnostics:#?}")).message
}

async fn target_port(namespace: &Namespace) -> Value {
    let service = namespace.api::<Service>().get("db-1").await.expect("a Service");
    serde_json::to_value(&service).expect("JSON")["spec"]["ports"][0]["targetPort"].clone()
}

#[tokio::test]
async fn a_field_in_conflict_is_refused_yielded_or_taken() {
    let namespace = namespace("owners-policy").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    recorded(&namespace, "wp", "ACTIVE").await;
    let change = Patch::Strategic(json!({"spec": {"ports": [{"port": 3306, "targetPort": 3307}]}}));
    changed_by::<Service>(&namespace, "somebody", "db-1", &change).await;
    let before = everything(&namespace).await;
    // The image changes, too: it is not written either, and neither is the revision.
    let newer = WORDPRESS.replace("wordpress:3.9.1", "wordpress:4.0");
    let request = conflicts(deploy_at_once(&namespace, "wp", &newer), ConflictPolicy::Fail);
    let refusal = refused(client.deploy(request).await, Code::FailedPrecondition, "FIELD_CONFLICT");
    assert_eq!(refusal.fact("manager"), "somebody", "{refusal:#?}");
    assert!(refusal.message.contains("options.conflicts"), "{refusal:#?}");
    assert_eq!(everything(&namespace).await, before);
    let request = deploy(&namespace, "wp", WORDPRESS);
    let cases =
        [(ConflictPolicy::Yield, "FIELD_YIELDED", 3307), (ConflictPolicy::Force, "FIELD_TAKEN", 3306)];
    for (policy, code, port) in cases {
        let request = conflicts(request.clone(), policy);
        let checked = proto::DeployRequest { validate_only: true, ..request.clone() };
        let checked = client.deploy(checked).await.expect("a check that agrees").into_inner();
        let deployed = client.deploy(request.clone()).await.expect("deployed").into_inner();
        for diagnostics in [&checked.diagnostics, &deployed.diagnostics] {
            let message = told(diagnostics, code);
            assert!(message.contains("targetPort") && message.contains("somebody"), "{message}");
        }
        assert_eq!(target_port(&namespace).await, json!(port));
        changed_by::<Service>(&namespace, "somebody", "db-1", &change).await;
    }
}

#[tokio::test]
async fn no_policy_adopts_what_is_somebody_elses_or_gives_a_mark_away() {
    let namespace = namespace("owners-marks").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    recorded(&namespace, "wp", "ACTIVE").await;
    let change = Patch::Merge(json!({"spec": {"selector": {"name": "theirs"}}}));
    changed_by::<Service>(&namespace, "somebody", "db-1", &change).await;
    let before = members(&namespace).await;
    let request = conflicts(deploy_at_once(&namespace, "wp", WORDPRESS), ConflictPolicy::Yield);
    let refusal = refused(client.deploy(request).await, Code::FailedPrecondition, "FIELD_CONFLICT");
    assert!(refusal.fact("field").contains("selector"), "{refusal:#?}");
    assert_eq!(members(&namespace).await, before);
    for policy in [ConflictPolicy::Yield, ConflictPolicy::Force] {
        let request = conflicts(deploy_at_once(&namespace, "other", WORDPRESS), policy);
        refused(client.deploy(request).await, Code::AlreadyExists, "OBJECT_NOT_OWNED");
        assert_eq!(members(&namespace).await, before);
    }
    let request = conflicts(deploy(&namespace, "wp", WORDPRESS), ConflictPolicy::Force);
    client.deploy(request).await.expect("deployed");
    let service = namespace.api::<Service>().get("db-1").await.expect("a Service");
    assert_eq!(service.spec.and_then(|spec| spec.selector).expect("a selector")["name"], "db");
}

#[tokio::test]
async fn a_field_that_is_given_up_while_somebody_holds_it_is_told() {
    let namespace = namespace("owners-given").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let plain = || deploy(&namespace, "wp", WORDPRESS);
    let labelled = with(plain(), |options| _ = options.labels.insert("team".to_owned(), "blog".to_owned()));
    client.deploy(labelled).await.expect("deployed");
    let shared = Patch::Apply(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "db-1", "labels": {"team": "blog"}},
    }));
    changed_by::<Service>(&namespace, "somebody", "db-1", &shared).await;
    let checked = proto::DeployRequest { validate_only: true, ..plain() };
    let checked = client.deploy(checked).await.expect("a check that agrees").into_inner();
    let deployed = client.deploy(plain()).await.expect("deployed").into_inner();
    for diagnostics in [&checked.diagnostics, &deployed.diagnostics] {
        let message = told(diagnostics, "FIELD_STAYS");
        assert!(message.contains("metadata.labels.team") && message.contains("somebody"), "{message}");
    }
    // Each later Deploy says that it is there still, and whose it is.
    let again = client.deploy(plain()).await.expect("deployed").into_inner();
    assert_eq!(again.outcome(), proto::DeployOutcome::Unchanged, "{again:#?}");
    let message = told(&again.diagnostics, "FIELD_BESIDE");
    assert!(message.contains("metadata.labels.team") && message.contains("somebody"), "{message}");
    let service = namespace.api::<Service>().get("db-1").await.expect("a Service");
    assert_eq!(service.metadata.labels.expect("labels")["team"], "blog");
}

#[tokio::test]
async fn what_others_set_beside_the_template_stays_and_is_told() {
    let namespace = namespace("owners-beside").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let request = |image: &str| {
        let text = STILL.replace("example/web:1", image);
        with(deploy(&namespace, "still", &text), |options| options.set_workload(WorkloadKind::Deployment))
    };
    client.deploy(request("example/web:1")).await.expect("deployed");
    recorded(&namespace, "still", "STOPPED").await;
    let workload = json!({
        "metadata": {"annotations": {"owner": "us"}},
        "spec": {"template": {"spec": {"containers": [
            {"name": "web", "env": [{"name": "THEIRS", "value": "third-secret"}]},
            {"name": "side", "image": "example/side:1"},
        ]}}},
    });
    let service = json!({"spec": {"publishNotReadyAddresses": true}});
    changed_by::<Deployment>(&namespace, "somebody", "web", &Patch::Strategic(workload)).await;
    changed_by::<Service>(&namespace, "somebody", "web", &Patch::Strategic(service)).await;
    let fields = [
        "metadata.annotations.owner",
        "env[name=\"THEIRS\"]",
        "containers[name=\"side\"]",
        "publishNotReady",
    ];
    // Unchanged, and changed; told by the plan alike.
    for image in ["example/web:1", "example/web:2"] {
        for validate_only in [true, false] {
            let request = proto::DeployRequest { validate_only, ..request(image) };
            let answer = client.deploy(request).await.expect("deployed").into_inner();
            let told = answer.diagnostics.iter().filter(|one| one.code == "FIELD_BESIDE");
            let told: Vec<&str> = told.map(|one| one.message.as_str()).collect();
            assert_eq!(told.len(), fields.len(), "{told:#?}");
            for field in fields {
                let is_told = |message: &&str| message.contains(field) && message.contains("somebody");
                assert!(told.iter().any(is_told), "{field}: {told:#?}");
            }
            assert!(!told.concat().contains("third-secret"));
        }
    }
    let object = namespace.api::<Deployment>().get("web").await.expect("it is there");
    let object = serde_json::to_value(object).expect("JSON").to_string();
    assert!(
        ["THEIRS", "example/side:1", "example/web:2"].iter().all(|part| object.contains(part)),
        "{object}"
    );
    // Reads tell nothing of it: all is as it was deployed.
    recorded(&namespace, "still", "STOPPED").await;
    let get =
        proto::GetDeploymentRequest { namespace: namespace.to_string(), name: "still".to_owned(), view: 0 };
    let seen = client.get_deployment(get).await.expect("seen").into_inner().deployment.expect("one");
    assert_eq!((seen.state(), seen.message.as_str()), (proto::DeploymentState::Stopped, ""), "{seen:#?}");
}

/// What is refused beside a field of somebody else's, before anything is written.
async fn excluded(namespace: &Namespace, adapter: &Adapter, request: proto::DeployRequest, field: &str) {
    let before = everything(namespace).await;
    for validate_only in [true, false] {
        let request = proto::DeployRequest { validate_only, ..request.clone() };
        let answer = adapter.deployments().deploy(request).await;
        let refusal = refused(answer, Code::FailedPrecondition, "FIELD_CONFLICT");
        assert_eq!(refusal.fact("manager"), "somebody", "{refusal:#?}");
        assert!(refusal.fact("field").contains(field), "{refusal:#?}");
        assert_eq!(everything(namespace).await, before);
    }
}

/// The same with FORCE: told alike by the plan and by what carries it out, and what is there then is ours alone.
async fn displaced<K: Object>(
    namespace: &Namespace,
    adapter: &Adapter,
    request: proto::DeployRequest,
    field: &str,
) {
    let request = conflicts(request, ConflictPolicy::Force);
    let name = request.name.clone();
    let before = everything(namespace).await;
    let checked = proto::DeployRequest { validate_only: true, ..request.clone() };
    let checked = adapter.deployments().deploy(checked).await.expect("a check that agrees").into_inner();
    assert_eq!(everything(namespace).await, before, "nothing was written");
    let pods = pod_templates(namespace, &name).await;
    let deployed = adapter.deployments().deploy(request.clone()).await.expect("deployed").into_inner();
    for diagnostics in [&checked.diagnostics, &deployed.diagnostics] {
        let message = told(diagnostics, "FIELD_TAKEN");
        assert!(message.contains(field) && message.contains("somebody"), "{message}");
    }
    let object =
        serde_json::to_value(namespace.api::<K>().get(&name).await.expect("it is there")).expect("JSON");
    let last = field.rsplit('.').next().expect("a name");
    assert!(!object["spec"].to_string().contains(&format!("\"{last}\":")), "{}", object["spec"]);
    let entries = object["metadata"]["managedFields"].as_array().expect("entries");
    let theirs = entries.iter().filter(|entry| entry["manager"] == "somebody");
    assert!(theirs.clone().all(|entry| !entry.to_string().contains(&format!("f:{last}\""))), "{entries:#?}");
    assert!(pod_templates(namespace, &name).await <= pods + 1, "no pod is made from a form in between");
    let again = adapter.deployments().deploy(request).await.expect("deployed").into_inner();
    assert_eq!(again.outcome(), proto::DeployOutcome::Unchanged, "{again:#?}");
}

/// How many forms of its pods an apps Deployment has had.
async fn pod_templates(namespace: &Namespace, name: &str) -> usize {
    let sets = namespace.api::<ReplicaSet>().list(&Default::default()).await.expect("ReplicaSets").items;
    let is_its = |set: &&ReplicaSet| set.metadata.name.as_ref().is_some_and(|set| set.starts_with(name));
    sets.iter().filter(is_its).count()
}

#[tokio::test]
async fn what_cannot_be_beside_a_field_of_somebody_elses_is_a_conflict_with_them() {
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let namespace = namespace("owners-oneof").await;
    let mut client = adapter.deployments();
    let still = |name: &str| {
        let text = STILL.replace("name: web", &format!("name: {name}"));
        with(deploy(&namespace, name, &text), |options| {
            options.set_workload(WorkloadKind::Deployment);
            options.set_host_ports(proto::HostPorts::Drop);
        })
    };
    // A value, and where it is kept.
    client.deploy(still("value")).await.expect("deployed");
    recorded(&namespace, "value", "STOPPED").await;
    let value = json!([{"name": "A_PASSWORD", "value": "third-secret"}]);
    let change = json!({"spec": {"template": {"spec": {"containers": [{"name": "value", "env": value}]}}}});
    changed_by::<Deployment>(&namespace, "somebody", "value", &Patch::Strategic(change)).await;
    let settle = |name: &str| {
        let name = name.to_owned();
        let namespace = &namespace;
        async move {
            let is_seen = |one: Option<&Deployment>| {
                one.is_some_and(|one| {
                    one.metadata.generation
                        == one.status.as_ref().and_then(|status| status.observed_generation)
                })
            };
            until::<Deployment>(namespace, &name, is_seen).await;
        }
    };
    settle("value").await;
    let secret = with(still("value"), |options| options.set_secrets(proto::SecretHandling::Secret));
    excluded(&namespace, &adapter, secret.clone(), "value").await;
    displaced::<Deployment>(&namespace, &adapter, secret, "env[name=\"A_PASSWORD\"].value").await;
    // And the other way round, where the template has not changed.
    client.deploy(still("from")).await.expect("deployed");
    recorded(&namespace, "from", "STOPPED").await;
    let from = json!({"configMapKeyRef": {"name": "theirs", "key": "k"}});
    let from = json!([{"name": "A_PASSWORD", "value": null, "valueFrom": from}]);
    let change = json!({"spec": {"template": {"spec": {"containers": [{"name": "from", "env": from}]}}}});
    changed_by::<Deployment>(&namespace, "somebody", "from", &Patch::Strategic(change)).await;
    settle("from").await;
    excluded(&namespace, &adapter, still("from"), "valueFrom").await;
    displaced::<Deployment>(&namespace, &adapter, still("from"), "env[name=\"A_PASSWORD\"].valueFrom").await;
    // A strategy, and what belongs to another one.
    client.deploy(still("strategy")).await.expect("deployed");
    recorded(&namespace, "strategy", "STOPPED").await;
    let change = json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": 3}}}});
    changed_by::<Deployment>(&namespace, "somebody", "strategy", &Patch::Strategic(change)).await;
    settle("strategy").await;
    let text = STILL
        .replace("name: web", "name: strategy")
        .replace("  deployment", "  volumes: [{container_path: /d}]\n  deployment");
    let claimed = with(deploy(&namespace, "strategy", &text), |options| {
        options.set_workload(WorkloadKind::Deployment);
        options.set_host_ports(proto::HostPorts::Drop);
        options.set_volumes(proto::VolumeMapping::PersistentVolumeClaim);
    });
    excluded(&namespace, &adapter, claimed.clone(), "rollingUpdate").await;
    displaced::<Deployment>(&namespace, &adapter, claimed, "spec.strategy.rollingUpdate").await;
    // A type of Service, and what belongs to another one.
    let exposed = |exposure| with(still("service"), |options| options.set_exposure(exposure));
    client.deploy(exposed(proto::Exposure::LoadBalancer)).await.expect("deployed");
    recorded(&namespace, "service", "STOPPED").await;
    let change = json!({"spec": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}});
    changed_by::<Service>(&namespace, "somebody", "service", &Patch::Merge(change)).await;
    let closed = exposed(proto::Exposure::ClusterIp);
    excluded(&namespace, &adapter, closed.clone(), "loadBalancerSourceRanges").await;
    displaced::<Service>(&namespace, &adapter, closed, "spec.loadBalancerSourceRanges").await;
}

async fn replicas(namespace: &Namespace) -> Option<i32> {
    let controllers = namespace.api::<ReplicationController>();
    controllers.get(CONTROLLER).await.expect("it is there").spec.expect("a spec").replicas
}

/// The template with a count, or with none, and another image tag.
fn counted_template(count: Option<u32>, tag: &str) -> String {
    let text = count.map_or_else(|| WORDPRESS.to_owned(), wordpress_at);
    text.replace("wordpress:3.9.1", &format!("wordpress:{tag}"))
}

#[tokio::test]
async fn a_count_that_leaves_the_template_is_no_opinion() {
    let namespace = namespace("owners-absent").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let request = |count, tag: &str| deploy(&namespace, "wp", &counted_template(count, tag));
    client.deploy(request(Some(3), "1")).await.expect("deployed");
    // Nobody else has set it: it stays what it was, and is not 1.
    for tag in ["1", "2"] {
        client.deploy(request(None, tag)).await.expect("deployed");
        assert_eq!(replicas(&namespace).await, Some(3), "{tag}");
    }
    autoscaled::<ReplicationController>(&namespace, CONTROLLER, 4).await;
    for tag in ["2", "3"] {
        let answer = client.deploy(request(None, tag)).await.expect("deployed").into_inner();
        assert!(told(&answer.diagnostics, "REPLICAS_KEPT").contains("horizontal-pod-autoscaler"));
        assert_eq!(replicas(&namespace).await, Some(4), "{tag}");
    }
    // The number that the template had before is no other one.
    client.deploy(request(Some(2), "3")).await.expect("deployed");
    assert_eq!(replicas(&namespace).await, Some(2), "a written, changed number takes it back");
}

#[tokio::test]
async fn a_policy_decides_whose_count_holds() {
    let namespace = namespace("owners-count").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let request = |count, policy| {
        with(deploy(&namespace, "wp", &wordpress_at(count)), |options| options.set_replicas_policy(policy))
    };
    client.deploy(request(2, ReplicasPolicy::Auto)).await.expect("deployed");
    autoscaled::<ReplicationController>(&namespace, CONTROLLER, 4).await;
    let answer = client.deploy(request(3, ReplicasPolicy::Preserve)).await.expect("deployed").into_inner();
    told(&answer.diagnostics, "REPLICAS_KEPT");
    assert_eq!(replicas(&namespace).await, Some(4));
    let answer = client.deploy(request(2, ReplicasPolicy::Template)).await.expect("deployed").into_inner();
    told(&answer.diagnostics, "REPLICAS_TAKEN_BACK");
    assert_eq!(replicas(&namespace).await, Some(2));
    let answer = client.deploy(request(2, ReplicasPolicy::Template)).await.expect("deployed").into_inner();
    assert_eq!(answer.outcome(), proto::DeployOutcome::Unchanged, "{:#?}", answer.changes);
    client.scale(scale(&namespace, "wp", "WP", 3)).await.expect("scaled");
    client.deploy(request(5, ReplicasPolicy::Preserve)).await.expect("deployed");
    assert_eq!(replicas(&namespace).await, Some(3));
}

#[tokio::test]
async fn a_workload_of_another_kind_is_born_with_the_count_that_is_found() {
    let namespace = namespace("owners-kind").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "wp", &wordpress_at(2))).await.expect("deployed");
    autoscaled::<ReplicationController>(&namespace, CONTROLLER, 4).await;
    let request = with(deploy(&namespace, "wp", &wordpress_at(2)), |options| {
        options.set_workload(WorkloadKind::Deployment);
    });
    let answer = client.deploy(request.clone()).await.expect("deployed").into_inner();
    assert!(told(&answer.diagnostics, "REPLICAS_KEPT").contains('4'), "{:#?}", answer.diagnostics);
    let count = || async {
        let deployment = namespace.api::<Deployment>().get("wp").await.expect("it is there");
        (deployment.metadata.generation, deployment.spec.expect("a spec").replicas)
    };
    assert_eq!(count().await, (Some(1), Some(4)), "it never had another one");
    client.deploy(request).await.expect("deployed");
    assert_eq!(count().await.1, Some(4));
    autoscaled::<Deployment>(&namespace, "wp", 3).await;
    client.deploy(deploy(&namespace, "wp", &wordpress_at(2))).await.expect("deployed");
    assert_eq!(replicas(&namespace).await, Some(3));
}

#[tokio::test]
async fn what_an_autoscaler_scales_is_not_scaled_beside_it() {
    let namespace = namespace("owners-scale").await;
    let plane = control_plane();
    let adapter = Adapter::real(plane, User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "wp", &wordpress_at(2))).await.expect("deployed");
    autoscaled::<ReplicationController>(&namespace, CONTROLLER, 4).await;
    for validate_only in [true, false] {
        let request = proto::ScaleRequest { validate_only, ..scale(&namespace, "wp", "WP", 3) };
        let refusal = refused(client.scale(request).await, Code::FailedPrecondition, "REPLICAS_OWNED");
        assert_eq!(refusal.fact("manager"), "horizontal-pod-autoscaler", "{refusal:#?}");
        assert!(refusal.message.contains("deploy with a count in the template"), "{refusal:#?}");
        assert_eq!(replicas(&namespace).await, Some(4));
    }
    let request = deploy(&namespace, "wp", &wordpress_at(2));
    let request = with(request, |options| options.set_replicas_policy(ReplicasPolicy::Template));
    client.deploy(request).await.expect("deployed");
    // A person is no autoscaler.
    changed_by::<ReplicationController>(
        &namespace,
        "kubectl-edit",
        CONTROLLER,
        &Patch::Merge(json!({"spec": {"replicas": 3}})),
    )
    .await;
    // Its controller still writes what has become of that; a Scale between those writes has to be repeated.
    until::<ReplicationController>(&namespace, CONTROLLER, |found: Option<&ReplicationController>| {
        let status = found.and_then(|found| found.status.as_ref());
        let counts = status.map(|all| (all.replicas, all.ready_replicas, all.available_replicas));
        counts == Some((3, Some(3), Some(3)))
    })
    .await;
    recorded(&namespace, "wp", "ACTIVE").await;
    let mut calls = Recorder::start(plane).namespace(&namespace).user(User::Adapter);
    let sent = jiff::Timestamp::now();
    client.scale(proto::ScaleRequest { wait: 0, ..scale(&namespace, "wp", "WP", 1) }).await.expect("scaled");
    // The keeper may still look at what that person has changed when the call is sent.
    let own = counted(&mut calls).into_iter().filter(|call| call.received >= sent).count();
    assert!(own <= 3 + 1, "{:#?}", calls.calls());
    assert_eq!(replicas(&namespace).await, Some(1));
}

#[tokio::test]
async fn objects_whose_field_owners_were_wiped_are_ours() {
    let namespace = namespace("owners-wiped").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "wp", &wordpress_at(2))).await.expect("deployed");
    recorded(&namespace, "wp", "ACTIVE").await;
    let uids = || async {
        let all = members(&namespace).await;
        all.into_iter().map(|(name, (uid, _))| (name, uid)).collect::<Vec<_>>()
    };
    let before = uids().await;
    let wipe = json!({"metadata": {"managedFields": [{}]}});
    changed_by::<Service>(&namespace, "somebody", "db-1", &Patch::Merge(wipe.clone())).await;
    changed_by::<Pod>(&namespace, "somebody", "db-pod", &Patch::Merge(wipe.clone())).await;
    changed_by::<ReplicationController>(&namespace, "somebody", CONTROLLER, &Patch::Merge(wipe)).await;
    client.deploy(deploy(&namespace, "wp", &wordpress_at(2))).await.expect("deployed");
    assert_eq!(uids().await, before);
    let again =
        client.deploy(deploy(&namespace, "wp", &wordpress_at(2))).await.expect("deployed").into_inner();
    assert_eq!(again.outcome(), proto::DeployOutcome::Unchanged);
    client.teardown(crate::support::adapter::teardown(&namespace, "wp")).await.expect("torn down");
    assert!(everything(&namespace).await.is_empty());
}

#[tokio::test]
async fn an_empty_value_of_the_environment_is_nobodys() {
    let namespace = namespace("owners-empty").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let text = "name: Empty\nimages:\n- name: web\n  source: example/web:1\n  environment: [{variable: A, value: ''}]\n  \
                deployment: {count: 2}\n";
    client.deploy(deploy(&namespace, "empty", text)).await.expect("deployed");
    let set = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "web", "env": [{"name": "A", "value": "theirs"}]}]}}}});
    let name = "web-replication-controller";
    changed_by::<ReplicationController>(&namespace, "somebody", name, &Patch::Strategic(set)).await;
    let newer = text.replace("example/web:1", "example/web:2");
    client.deploy(deploy_at_once(&namespace, "empty", &newer)).await.expect("no conflict");
}

#[tokio::test]
async fn what_an_autoscaler_scales_never_becomes_a_bare_pod() {
    let namespace = namespace("owners-pod").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let request = with(deploy(&namespace, "wp", WORDPRESS), |options| {
        options.set_workload(WorkloadKind::Deployment);
    });
    client.deploy(request).await.expect("deployed");
    autoscaled::<Deployment>(&namespace, "wp", 3).await;
    client.deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    assert_eq!(replicas(&namespace).await, Some(3));
}

#[tokio::test]
async fn what_is_advised_against_an_autoscaler_that_is_gone_works_where_the_template_has_no_count() {
    let namespace = namespace("owners-uncounted").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let template =
        |count: &str| format!("name: Shop\nimages:\n- {{name: web, source: 'example/web:1'{count}}}\n");
    let deployment = |request| with(request, |options| options.set_workload(WorkloadKind::Deployment));
    client.deploy(deployment(deploy(&namespace, "shop", &template("")))).await.expect("deployed");
    autoscaled::<Deployment>(&namespace, "web", 3).await;
    refused(
        client.scale(scale(&namespace, "shop", "web", 1)).await,
        Code::FailedPrecondition,
        "REPLICAS_OWNED",
    );
    let request = deployment(deploy(&namespace, "shop", &template(", deployment: {count: 2}")));
    let request = with(request, |options| options.set_replicas_policy(ReplicasPolicy::Template));
    client.deploy(request).await.expect("deployed");
    client.scale(scale(&namespace, "shop", "web", 1)).await.expect("scaled");
}
