//! Operations that died where somebody else holds a field: a keeper ends them, and the next Deploy decides.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{Patch, PatchParams};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::{ConflictPolicy, DeploymentState};
use serde_json::{Value, json};
use tonic::Code;

use crate::support::adapter::{Adapter, deploy, deploy_at_once};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{members, pod_uids, recorded, refused, until};
use crate::support::namespace::{Namespace, namespace};
use crate::support::proxy::{Point, Proxy};
use crate::support::templates::WORDPRESS;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

fn with(request: proto::DeployRequest, policy: ConflictPolicy) -> proto::DeployRequest {
    let mut options = request.options.clone().unwrap_or_default();
    options.set_conflicts(policy);
    proto::DeployRequest { options: Some(options), ..request }
}

/// Deploys, lets somebody change the Service, and lets an update die that takes the change back, before its revision is
/// stored; then nobody calls.
async fn died(namespace: &Namespace, change: Value) -> Adapter {
    let road = Proxy::start(control_plane().client(User::Adapter).await, Duration::ZERO).await;
    let victim = Adapter::serve(road.config(), None).await;
    victim.deployments().deploy(deploy(namespace, "wp", WORDPRESS)).await.expect("deployed");
    recorded(namespace, "wp", "ACTIVE").await;
    let how = PatchParams { field_manager: Some("somebody".to_owned()), ..PatchParams::default() };
    namespace.api::<Service>().patch("db-1", &how, &Patch::Strategic(change)).await.expect("a change");
    // Not a look at the revision before.
    road.trap("/secrets?", Some((1, Point::Unsent)));
    let newer = WORDPRESS.replace("wordpress:3.9.1", "wordpress:4.0");
    let request = with(deploy_at_once(namespace, "wp", &newer), ConflictPolicy::Force);
    let mut client = victim.deployments();
    let dies = async {
        tokio::time::timeout(PATIENCE, road.sprung()).await.expect("it gets there");
    };
    tokio::select! {
        biased;
        () = dies => {}
        answer = client.deploy(request) => panic!("it dies before it answers: {answer:?}"),
    }
    assert_eq!(phase(namespace).await, "applying", "it holds the lock");
    let kubeconfig = namespace.plane.kubeconfig(User::Adapter);
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await;
    Adapter::keeping(config.expect("a configuration"), namespace).await
}

async fn phase(namespace: &Namespace) -> String {
    let head = namespace.api::<ConfigMap>().get("panamax-deployment-wp").await.expect("a head");
    head.metadata.labels.expect("labels")["panamax.io/phase"].clone()
}

/// Waits until no operation is under way.
async fn ended(namespace: &Namespace, phase: &str) {
    let phase = phase.to_owned();
    let is_so = move |head: Option<&ConfigMap>| {
        let labels = head.and_then(|head| head.metadata.labels.as_ref());
        labels.is_some_and(|labels| labels["panamax.io/phase"] == phase)
    };
    until::<ConfigMap>(namespace, "panamax-deployment-wp", is_so).await;
}

async fn service(namespace: &Namespace) -> Value {
    let service = namespace.api::<Service>().get("db-1").await.expect("a Service");
    serde_json::to_value(&service).expect("JSON")["spec"].clone()
}

#[tokio::test]
async fn what_others_hold_stays_when_an_operation_is_ended_that_died() {
    let namespace = namespace("ended-field").await;
    let port = json!({"spec": {"ports": [{"port": 3306, "targetPort": 3307}]}});
    let keeper = died(&namespace, port).await;
    let before = pod_uids(&members(&namespace).await);
    ended(&namespace, "idle").await;
    recorded(&namespace, "wp", "ACTIVE").await;
    assert_eq!(service(&namespace).await["ports"][0]["targetPort"], json!(3307), "the other's value stays");
    assert_eq!(pod_uids(&members(&namespace).await), before, "nobody is restarted");
    decided(&namespace, &keeper).await;
}

#[tokio::test]
async fn what_cannot_be_left_to_others_leaves_the_operation_ended_and_incomplete() {
    let namespace = namespace("ended-selector").await;
    let keeper = died(&namespace, json!({"spec": {"selector": {"name": "theirs"}}})).await;
    ended(&namespace, "incomplete").await;
    assert_eq!(service(&namespace).await["selector"]["name"], json!("theirs"));
    let request =
        proto::GetDeploymentRequest { namespace: namespace.to_string(), name: "wp".to_owned(), view: 0 };
    let told = keeper.deployments().get_deployment(request).await.expect("a look").into_inner();
    let told = told.deployment.expect("a deployment");
    assert_ne!(told.state(), DeploymentState::Active, "{told:#?}");
    decided(&namespace, &keeper).await;
}

/// The next Deploy refuses to decide, and one that may takes the field back.
async fn decided(namespace: &Namespace, keeper: &Adapter) {
    let mut client = keeper.deployments();
    let answer = client.deploy(deploy_at_once(namespace, "wp", WORDPRESS)).await;
    let refusal = refused(answer, Code::FailedPrecondition, "FIELD_CONFLICT");
    assert_eq!(refusal.fact("manager"), "somebody", "{refusal:#?}");
    let request = with(deploy(namespace, "wp", WORDPRESS), ConflictPolicy::Force);
    let answer = client.deploy(request).await.expect("deployed").into_inner();
    assert_eq!(answer.deployment.expect("a deployment").state(), DeploymentState::Active);
    let spec = service(namespace).await;
    assert_eq!((&spec["ports"][0]["targetPort"], &spec["selector"]["name"]), (&json!(3306), &json!("db")));
    recorded(namespace, "wp", "ACTIVE").await;
}
