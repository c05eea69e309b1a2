//! The process dies while it makes, changes or deletes what profile MODERN makes; no data is lost on the way.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use kube::api::ListParams;
use panamax_kubernetes_adapter::proto;

use super::{Client, Moment, Run, interrupt, made};
use crate::support::adapter::{Adapter, deploy, deploy_at_once, modern, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::namespace::{Namespace, namespace};
use crate::support::patience::retried;
use crate::support::survey::Survey;
use crate::support::templates::rich_chain;

/// Components of the deployments that are interrupted, of four objects each.
const COMPONENTS: usize = 6;

/// Waits until exactly the objects of profile MODERN stand and run.
async fn is_whole(namespace: &Namespace, client: &Client) {
    let (ready, _) = retried(|| {
        let mut client = client.clone();
        let request = modern(deploy(namespace, "app", &rich_chain(COMPONENTS)));
        async move { client.deploy(request).await }
    })
    .await;
    let deployment = ready.expect("ready").deployment.expect("a deployment");
    assert_eq!(deployment.state(), proto::DeploymentState::Active);
    let survey = Survey::of(&namespace.client, namespace).await;
    assert_eq!(survey.faults("app"), [""; 0], "{:#?}", survey.names());
    assert_eq!(survey.members("app").len(), 4 * COMPONENTS, "{:#?}", survey.members("app"));
}

/// Tears everything down, volumes too; nothing may be left.
async fn leaves_nothing(namespace: &Namespace, client: &Client) {
    let volumes = proto::VolumePolicy::Delete.into();
    let request = proto::TeardownRequest { volumes, ..teardown(namespace, "app") };
    let (torn_down, _) = retried(|| {
        let (mut client, request) = (client.clone(), request.clone());
        async move { client.teardown(request).await }
    })
    .await;
    assert!(torn_down.expect("torn down").complete);
    assert_eq!(Survey::of(&namespace.client, namespace).await.names(), [""; 0]);
}

/// Deploys what a scenario begins with, as another user than the process that dies.
async fn prepared(prefix: &str, classic: bool) -> Namespace {
    let namespace = namespace(prefix).await;
    let adapter = Adapter::real(control_plane(), User::Admin).await;
    let request = deploy(&namespace, "app", &rich_chain(COMPONENTS));
    let request = if classic { request } else { modern(request) };
    adapter.deployments().deploy(request).await.expect("deployed");
    namespace
}

/// The uids of all claims.
async fn claims(namespace: &Namespace) -> Vec<Option<String>> {
    let list = namespace.api::<PersistentVolumeClaim>().list(&ListParams::default()).await.expect("a list");
    list.items.iter().map(ResourceExt::uid).collect()
}

/// Deploys with profile MODERN, interrupted at a moment, until everything stands; then all of it goes.
async fn deployed(namespace: Namespace, moment: Option<Moment>) -> Run {
    let request = modern(deploy_at_once(&namespace, "app", &rich_chain(COMPONENTS)));
    let call = |mut client: Client| {
        let request = request.clone();
        async move { client.deploy(request).await }
    };
    let (run, client, _binary) = made(&namespace, moment, call).await;
    is_whole(&namespace, &client).await;
    leaves_nothing(&namespace, &client).await;
    run
}

#[tokio::test]
async fn a_first_deploy_that_dies_is_finished_by_the_same_call() {
    let scenario = |moment| async move { deployed(namespace("crash-modern").await, moment).await };
    interrupt("a Deploy with MODERN", 6, 6, scenario).await;
}

#[tokio::test]
async fn a_change_of_kinds_that_dies_is_finished_by_the_same_call() {
    let scenario = |moment| async move { deployed(prepared("crash-switch", true).await, moment).await };
    interrupt("a change to MODERN", 7, 6, scenario).await;
}

#[tokio::test]
async fn a_teardown_that_dies_keeps_the_claims_it_was_to_keep() {
    let scenario = |moment| async move {
        let namespace = prepared("crash-retain", false).await;
        let before = claims(&namespace).await;
        let call = |mut client: Client| {
            let request = teardown(&namespace, "app");
            async move { client.teardown(request).await }
        };
        let (run, _client, _binary) = made(&namespace, moment, call).await;
        assert_eq!(claims(&namespace).await, before);
        assert_eq!(Survey::of(&namespace.client, &namespace).await.names().len(), before.len());
        run
    };
    interrupt("a Teardown that retains", 8, 6, scenario).await;
}

#[tokio::test]
async fn a_first_deploy_that_dies_never_takes_data_with_it() {
    let scenario = |moment| async move {
        let namespace = prepared("crash-data", false).await;
        let adapter = Adapter::real(control_plane(), User::Admin).await;
        adapter.deployments().teardown(teardown(&namespace, "app")).await.expect("torn down");
        let before = claims(&namespace).await;
        let call = |mut client: Client| {
            let request = modern(deploy_at_once(&namespace, "app", &rich_chain(COMPONENTS)));
            async move { client.deploy(request).await }
        };
        // Whoever finishes it, and however it ends: what was there before is there after.
        let (run, client, _binary) = made(&namespace, moment, call).await;
        assert_eq!(claims(&namespace).await, before);
        is_whole(&namespace, &client).await;
        assert_eq!(claims(&namespace).await, before);
        leaves_nothing(&namespace, &client).await;
        run
    };
    interrupt("a Deploy that meets its data", 9, 6, scenario).await;
}
