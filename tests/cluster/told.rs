//! What plans and Deploys say that changes is what changes on the cluster, whoever has written there.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::{ConflictPolicy, ReplicasPolicy};
use serde_json::{Value, json};
use tonic::Code;

use super::plans::plan;
use crate::support::adapter::{Adapter, deploy, deploy_at_once, modern, scale};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{Object, recorded, refused, shown};
use crate::support::namespace::{Namespace, namespace};

const WEB: &str = "name: Web\nimages:\n\
    - {name: web, source: 'example/web:1', ports: [{container_port: 80}], deployment: {count: 2}}\n";

/// Changes an object as a program of another name would.
async fn changed<K: Object>(namespace: &Namespace, name: &str, patch: &Patch<Value>) {
    let parameters = PatchParams { field_manager: Some("somebody".to_owned()), ..PatchParams::default() };
    namespace.api::<K>().patch(name, &parameters, patch).await.expect("a change");
}

fn with(
    text: &str,
    namespace: &Namespace,
    set: impl FnOnce(&mut proto::DeployOptions),
) -> proto::DeployRequest {
    let mut request = modern(deploy_at_once(namespace, "web", text));
    set(request.options.get_or_insert_default());
    request
}

/// The fields of the apps Deployment that a plan says it changes: path, before and after.
async fn planned(adapter: &Adapter, request: proto::DeployRequest) -> Vec<String> {
    let planned = adapter.deployments().plan_deploy(plan(request)).await.expect("a plan").into_inner();
    fields(&planned.changes)
}

fn fields(changes: &[proto::ObjectChange]) -> Vec<String> {
    let of_workload = changes
        .iter()
        .filter(|change| change.r#ref.as_ref().is_some_and(|object| object.kind == "Deployment"));
    let value = |value: &Option<String>| value.clone().unwrap_or_default().replace('"', "");
    let field =
        |one: &proto::FieldChange| format!("{} {} {}", one.path, value(&one.before), value(&one.after));
    of_workload.flat_map(|change| change.fields.iter().map(field)).collect()
}

#[tokio::test]
async fn counts_are_told_from_the_one_in_force() {
    let namespace = namespace("told-counts").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(modern(deploy(&namespace, "web", WEB))).await.expect("ready");
    client.scale(scale(&namespace, "web", "web", 3)).await.expect("scaled");
    let counted = |count: i32| WEB.replace("count: 2", &format!("count: {count}"));
    let asked = |text: &str, policy: ReplicasPolicy| {
        with(text, &namespace, |options| options.set_replicas_policy(policy))
    };
    let template = asked(WEB, ReplicasPolicy::Template);
    assert_eq!(planned(&adapter, template).await, ["spec.replicas 3 2"]);
    assert_eq!(planned(&adapter, asked(&counted(4), ReplicasPolicy::Auto)).await, ["spec.replicas 3 4"]);
    assert_eq!(planned(&adapter, asked(&counted(3), ReplicasPolicy::Auto)).await, [""; 0]);
    changed::<Deployment>(&namespace, "web", &Patch::Merge(json!({"spec": {"replicas": 5}}))).await;
    let four = asked(&counted(4), ReplicasPolicy::Auto);
    assert_eq!(planned(&adapter, four.clone()).await, ["spec.replicas 5 4"]);
    let deployed = client.deploy(four).await.expect("deployed").into_inner();
    assert_eq!(fields(&deployed.changes), ["spec.replicas 5 4"]);
}

#[tokio::test]
async fn fields_of_others_are_told_as_they_are_and_as_they_will_be() {
    let namespace = namespace("told-fields").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(modern(deploy(&namespace, "web", WEB))).await.expect("ready");
    recorded(&namespace, "web", "ACTIVE").await;
    let image = json!({"name": "web", "image": "example/web:9"});
    let image = json!({"spec": {"template": {"spec": {"containers": [image]}}}});
    changed::<Deployment>(&namespace, "web", &Patch::Strategic(image)).await;
    let path = "spec.template.spec.containers[0].image";
    let newer = WEB.replace("web:1", "web:2");
    let asked =
        |text: &str, policy: ConflictPolicy| with(text, &namespace, |options| options.set_conflicts(policy));
    let same = asked(WEB, ConflictPolicy::Force);
    assert_eq!(planned(&adapter, same).await, [format!("{path} example/web:9 example/web:1")]);
    let left = asked(&newer, ConflictPolicy::Yield);
    assert_eq!(planned(&adapter, left.clone()).await, [""; 0]);
    let deployed = client.deploy(left).await.expect("deployed").into_inner();
    assert_eq!(fields(&deployed.changes), [""; 0]);
    let taken = asked(&newer, ConflictPolicy::Force);
    let told = [format!("{path} example/web:9 example/web:2")];
    assert_eq!(planned(&adapter, taken.clone()).await, told);
    let deployed = client.deploy(taken).await.expect("deployed").into_inner();
    assert_eq!(fields(&deployed.changes), told);
}

#[tokio::test]
async fn a_port_in_the_place_of_ours_is_taken_away_by_force_and_that_is_what_the_refusal_advises() {
    let namespace = namespace("told-port").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let exposed = |policy: ConflictPolicy| {
        with(WEB, &namespace, |options| {
            options.set_exposure(proto::Exposure::NodePort);
            options.set_conflicts(policy);
        })
    };
    client.deploy(exposed(ConflictPolicy::Fail)).await.expect("deployed");
    recorded(&namespace, "web", "ACTIVE").await;
    let moved = json!({"spec": {"ports": [{"port": 81, "targetPort": 80, "protocol": "TCP"}]}});
    changed::<Service>(&namespace, "web", &Patch::Merge(moved)).await;
    let refusal = client.deploy(exposed(ConflictPolicy::Fail)).await;
    let refusal = refused(refusal, Code::FailedPrecondition, "FIELD_CONFLICT");
    assert!(refusal.message.contains("CONFLICT_POLICY_FORCE"), "{refusal:#?}");
    client.deploy(exposed(ConflictPolicy::Force)).await.expect("taken");
    let service = namespace.api::<Service>().get("web").await.expect("a Service");
    let ports = service.spec.and_then(|spec| spec.ports).expect("ports");
    assert_eq!(ports.iter().map(|port| port.port).collect::<Vec<_>>(), [80]);
    let deployment = shown(&adapter, &namespace, "web", proto::DeploymentView::Basic).await;
    assert_eq!(deployment.message, "");
}
