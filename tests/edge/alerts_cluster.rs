//! Every alert whose fault is the cluster's: it is made to happen to the real control plane, and the engine is asked.

use std::time::Duration;

use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use serde_json::json;
use tonic::Code;

use super::alerts::{Deployments, get, reading, start};
use crate::support::adapter::{Binary, connect, deploy, deploy_at_once};
use crate::support::alerts::History;
use crate::support::control_plane::{User, control_plane};
use crate::support::metrics::{becomes, measured};
use crate::support::namespace::{Namespace, namespace};
use crate::support::proxy::{Fault, Proxy};
use crate::support::relay::{Relay, free_address, kubeconfig_at};

/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The built binary at the real control plane, keeping one namespace.
async fn serving(namespace: &Namespace, user: User) -> (Binary, Deployments) {
    let kubeconfig = namespace.plane.kubeconfig(user);
    let kubeconfig = kubeconfig.to_str().expect("a path");
    let binary = start(&["--kubeconfig", kubeconfig, "--namespaces", namespace]).await;
    let client = DeploymentServiceClient::new(connect(binary.address).await);
    (binary, client)
}

fn template(name: &str, image: &str) -> String {
    format!("images: [{{name: {name}, source: '{image}'}}]")
}

#[tokio::test]
async fn a_cluster_that_goes_away() {
    let address = free_address().await;
    let relay = Relay::start(address, Duration::ZERO).await;
    let kubeconfig = kubeconfig_at(address);
    let binary = start(&["--kubeconfig", kubeconfig.to_str().expect("a path")]).await;
    let mut history = History::quiet(&[binary.metrics]).await;
    drop(relay);
    becomes(&binary, "panamax_cluster_reachable", 0.0).await;
    history.minutes(&binary, 4).await;
    let _back = Relay::start(address, Duration::ZERO).await;
    becomes(&binary, "panamax_cluster_reachable", 1.0).await;
    history.minutes(&binary, 2).await;
    history.fires(&["PanamaxClusterUnreachable"]).await;
}

#[tokio::test]
async fn a_deployment_that_fails() {
    let namespace = namespace("alerts-failed").await;
    let (binary, mut client) = serving(&namespace, User::Adapter).await;
    client.deploy(deploy(&namespace, "well", &template("web", "example/web:1"))).await.expect("deployed");
    becomes(&binary, "panamax_deployments{state=\"ACTIVE\"}", 1.0).await;
    let failed = "panamax_deployments{state=\"FAILED\"}";
    assert!(measured(&binary, failed).await == 0.0);
    let mut history = History::quiet(&[binary.metrics]).await;
    let crashing = template("ill", "docker.io/example/crashing:x");
    client.deploy(deploy_at_once(&namespace, "ill", &crashing)).await.expect("written");
    becomes(&binary, failed, 1.0).await;
    history.minutes(&binary, 12).await;
    history.fires(&["PanamaxDeploymentsFailed"]).await;
}

#[tokio::test]
async fn a_call_that_fails_for_a_reason_of_our_own() {
    let namespace = namespace("alerts-internal").await;
    let proxy = Proxy::start(control_plane().client(User::Adapter).await, Duration::ZERO).await;
    let kubeconfig = proxy.kubeconfig();
    let kubeconfig = kubeconfig.to_str().expect("a path");
    let binary = start(&["--kubeconfig", kubeconfig, "--namespaces", &namespace]).await;
    let mut client = DeploymentServiceClient::new(connect(binary.address).await);
    client.deploy(deploy(&namespace, "shop", &template("web", "example/web:1"))).await.expect("deployed");
    client.get_deployment(get(&namespace, "shop")).await.expect("it is there");
    let mut history = History::quiet(&[binary.metrics]).await;
    // What is answered to no question that the adapter means to ask.
    let refusal = Fault::status(405, "MethodNotAllowed", "the server does not allow this method", &json!({}));
    proxy.befall("GET", "/configmaps/panamax-deployment-shop", 1, refusal);
    let failed = client.get_deployment(get(&namespace, "shop")).await.expect_err("it cannot be read");
    assert_eq!(failed.code(), Code::Internal);
    let series = "panamax_rpcs_total{method=\"DeploymentService/GetDeployment\",code=\"INTERNAL\"}";
    becomes(&binary, series, 1.0).await;
    // A single one is told.
    history.minutes(&binary, 2).await;
    history.fires(&["PanamaxInternalErrors"]).await;
}

#[tokio::test]
async fn a_namespace_that_is_named_without_rights_is_told_once_and_in_our_words() {
    let namespace = namespace("alerts-unkept").await;
    let kubeconfig = control_plane().kubeconfig(User::Bob);
    let kubeconfig = kubeconfig.to_str().expect("a path");
    let binary = start(&["--kubeconfig", kubeconfig, "--namespaces", &namespace]).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let tries = measured(&binary, "panamax_api_calls_total{verb=\"list\",code=\"403\"}").await;
    assert!((2.0..=8.0).contains(&tries), "the pauses grow: {tries}");
    let log = binary.log();
    assert_eq!(log.matches("its deployments are not kept").count(), 1, "{log}");
    assert!(!log.contains("kube_runtime"), "{log}");
}

#[tokio::test]
async fn rights_that_are_taken_away() {
    let namespace = namespace("alerts-rights").await;
    let admin = control_plane().client(User::Admin).await;
    let bindings: Api<RoleBinding> = Api::namespaced(admin, &namespace);
    let binding = serde_json::from_value(json!({
        "metadata": {"name": "all"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": User::Bob.name()}],
    }));
    bindings.create(&PostParams::default(), &binding.expect("a binding")).await.expect("a binding");
    let (binary, client) = serving(&namespace, User::Bob).await;
    let becomes_known = async |wanted: Code| {
        let known = async {
            while client.clone().get_deployment(get(&namespace, "absent")).await.expect_err("none").code()
                != wanted
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, known).await.expect("the API server learns of it");
    };
    becomes_known(Code::NotFound).await;
    let mut history = History::quiet(&[binary.metrics]).await;
    bindings.delete("all", &DeleteParams::default()).await.expect("deleted");
    becomes_known(Code::PermissionDenied).await;
    let refused = ("panamax_api_calls_total{verb=\"get\",code=\"403\"}", 8.0);
    history.under(reading(&client, &namespace, "absent", 2), &binary, 16, refused).await;
    history.fires(&["PanamaxApiRefuses"]).await;
}
