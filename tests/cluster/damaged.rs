//! What somebody else has damaged of what was written down: it is told as that, hides nothing else, and can be mended.

use k8s_openapi::api::apps::v1::Deployment as Workload;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::DeploymentView::{Basic, Full};
use panamax_kubernetes_adapter::proto::RevisionResult::{Failed, Succeeded};
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use panamax_kubernetes_adapter::proto::{DeployOutcome, DeploymentState};
use serde_json::{Value, json};
use tonic::Code;
use tonic::transport::Channel;

use super::revisions::{revisions, rollback};
use crate::support::adapter::{Adapter, deploy, modern, scale, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{everything, recorded, refused, remove, shown, until};
use crate::support::namespace::{Namespace, namespace};

type Client = DeploymentServiceClient<Channel>;

const HEAD: &str = "panamax-deployment-shop";

/// One Pod, in an edition of its own.
fn shop(edition: u32) -> String {
    format!(
        "name: Shop\nimages:\n- {{name: web, source: 'example/web:{edition}', ports: [{{container_port: 80}}], \
         environment: [{{variable: A_PASSWORD, value: canary-{edition}}}]}}\n"
    )
}

/// The Secret of a revision.
async fn secret_of(namespace: &Namespace, number: u32) -> Secret {
    let all = namespace.api::<Secret>().list(&Default::default()).await.expect("Secrets").items;
    let prefix = format!("{HEAD}-r{number}-");
    all.into_iter().find(|secret| secret.name_any().starts_with(&prefix)).expect("it is stored")
}

/// Puts other content into the Secret of a revision; `None`: it is deleted. Returns its name.
async fn damage(namespace: &Namespace, number: u32, data: Option<Value>) -> String {
    let secret = secret_of(namespace, number).await;
    let name = secret.name_any();
    remove::<Secret>(namespace, &name).await;
    if let Some(data) = data {
        let mut other = secret;
        (other.metadata.uid, other.metadata.resource_version) = (None, None);
        other.data = serde_json::from_value(data).expect("data");
        namespace.api().create(&PostParams::default(), &other).await.expect("it can be made");
    }
    name
}

/// What lists show: name, state and message of each.
async fn listed(
    client: &mut Client,
    namespace: &Namespace,
    view: proto::DeploymentView,
    states: &[DeploymentState],
) -> Vec<(String, DeploymentState, String)> {
    let request = proto::ListDeploymentsRequest {
        namespace: namespace.to_string(),
        view: view.into(),
        states: states.iter().map(|state| (*state).into()).collect(),
        ..Default::default()
    };
    let answer = client.list_deployments(request).await.expect("a list").into_inner();
    let shown = |one: proto::Deployment| (one.name.clone(), one.state(), one.message);
    answer.deployments.into_iter().map(shown).collect()
}

/// Two revisions of a deployment, both good, and another deployment beside it.
async fn two_revisions(namespace: &Namespace, client: &mut Client) {
    for edition in [1, 2] {
        client.deploy(deploy(namespace, "shop", &shop(edition))).await.expect("deployed");
        recorded(namespace, "shop", "ACTIVE").await;
    }
    let other = "name: Other\nimages:\n- {name: other, source: 'example/other:1'}\n";
    client.deploy(deploy(namespace, "other", other)).await.expect("deployed");
}

#[tokio::test]
async fn a_revision_in_force_that_is_damaged_hides_nothing_and_is_repaired_by_a_deploy() {
    for (prefix, data) in [
        ("damaged-content", Some(json!({"revision": "AAAA"}))),
        ("damaged-key", Some(json!({"other": "AAAA"}))),
        ("damaged-gone", None),
    ] {
        let namespace = namespace(prefix).await;
        let adapter = Adapter::real(control_plane(), User::Adapter).await;
        let mut client = adapter.deployments();
        two_revisions(&namespace, &mut client).await;
        let secret = damage(&namespace, 2, data.clone()).await;
        // Reads show the rest, and name it.
        let told = shown(&adapter, &namespace, "shop", Full).await;
        assert_eq!((told.state(), &told.template), (DeploymentState::Active, &None));
        assert!(told.message.contains(&secret) && told.message.contains("next Deploy"), "{}", told.message);
        let names = listed(&mut client, &namespace, Full, &[]).await;
        assert_eq!(names.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), ["other", "shop"]);
        // What needs it says so.
        let refusal = refused(
            client.scale(scale(&namespace, "shop", "web", 2)).await,
            Code::FailedPrecondition,
            "RECORD_UNREADABLE",
        );
        assert!(
            refusal.message.contains(&secret) && refusal.message.contains("deploy again"),
            "{refusal:#?}"
        );
        if data.is_some() {
            let refusal = refused(
                client.rollback(rollback(&namespace, "shop", 2)).await,
                Code::FailedPrecondition,
                "RECORD_UNREADABLE",
            );
            assert!(
                refusal.message.contains(&secret) && refusal.message.ends_with("kept are 1"),
                "{refusal:#?}"
            );
        }
        // And the way out is what it says.
        let again = client.deploy(deploy(&namespace, "shop", &shop(2))).await.expect("repaired").into_inner();
        assert_eq!(again.outcome(), DeployOutcome::Updated);
        let told = shown(&adapter, &namespace, "shop", Full).await;
        assert_eq!((told.message.as_str(), told.template.is_some()), ("", true));
        client.scale(scale(&namespace, "shop", "web", 2)).await.expect("scaled");
        client.teardown(teardown(&namespace, "shop")).await.expect("torn down");
    }
}

#[tokio::test]
async fn rollback_goes_by_a_damaged_revision() {
    let namespace = namespace("damaged-back").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    two_revisions(&namespace, &mut client).await;
    client.deploy(deploy(&namespace, "shop", &shop(3))).await.expect("deployed");
    recorded(&namespace, "shop", "ACTIVE").await;
    damage(&namespace, 2, Some(json!({"revision": "KLUv/QBYAQAAe30="}))).await;
    client.rollback(rollback(&namespace, "shop", 0)).await.expect("the one before it");
    recorded(&namespace, "shop", "ACTIVE").await;
    let newest = revisions(&mut client, &namespace, "shop").await[0];
    assert_eq!(newest, (4, Succeeded, Some(1)));
    // The revision in force is of no matter where another is asked for.
    damage(&namespace, 4, Some(json!({"revision": "AAAA"}))).await;
    client.rollback(rollback(&namespace, "shop", 3)).await.expect("an intact one");
    let told = shown(&adapter, &namespace, "shop", Full).await;
    assert_eq!((told.message.as_str(), told.template.is_some()), ("", true));
}

/// Changes the ConfigMap of the record.
async fn changed(namespace: &Namespace, patch: Value) {
    let maps: Api<ConfigMap> = namespace.api();
    maps.patch(HEAD, &PatchParams::default(), &Patch::Merge(patch)).await.expect("a change");
}

#[tokio::test]
async fn a_damaged_record_is_named_by_every_call_and_hides_no_other() {
    let namespace = namespace("damaged-record").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    two_revisions(&namespace, &mut client).await;
    let record: ConfigMap = namespace.api().get(HEAD).await.expect("a record");
    for (damage, told) in [
        (json!({"data": {"head.json": "{\"schema\":1,\"canary\":\"canary\"}"}}), "was changed from outside"),
        (json!({"data": {"head.json": null, "other": "canary"}}), "was changed from outside"),
        (
            json!({"data": {"head.json": "{\"schema\":2,\"canary\":\"canary\"}"}}),
            "by a later version of the adapter",
        ),
    ] {
        changed(&namespace, damage).await;
        let name = || (namespace.to_string(), "shop".to_owned());
        let get = |(namespace, name)| proto::GetDeploymentRequest { namespace, name, view: Full.into() };
        let list = |(namespace, name)| proto::ListRevisionsRequest { namespace, name, ..Default::default() };
        let watch =
            |(namespace, name)| proto::WatchDeploymentRequest { namespace, name, ..Default::default() };
        let (code, reason) = (Code::FailedPrecondition, "RECORD_UNREADABLE");
        for refusal in [
            refused(client.get_deployment(get(name())).await, code, reason),
            refused(client.list_revisions(list(name())).await, code, reason),
            refused(client.watch_deployment(watch(name())).await, code, reason),
            refused(client.deploy(deploy(&namespace, "shop", &shop(2))).await, code, reason),
            refused(client.scale(scale(&namespace, "shop", "web", 2)).await, code, reason),
            refused(client.rollback(rollback(&namespace, "shop", 1)).await, code, reason),
            refused(client.teardown(teardown(&namespace, "shop")).await, code, reason),
        ] {
            assert!(refusal.message.contains(HEAD) && refusal.message.contains(told), "{refusal:#?}");
            assert!(!refusal.message.contains("canary"), "{refusal:#?}");
        }
        for view in [Basic, Full] {
            let all = listed(&mut client, &namespace, view, &[]).await;
            assert_eq!(all.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), ["other", "shop"]);
            assert!(all[1].1 == DeploymentState::Failed && all[1].2.contains(HEAD), "{all:#?}");
        }
        assert_eq!(listed(&mut client, &namespace, Basic, &[DeploymentState::Failed]).await.len(), 1);
        // Whoever has the content restores it.
        changed(&namespace, json!({"data": record.data})).await;
        assert_eq!(shown(&adapter, &namespace, "shop", Full).await.state(), DeploymentState::Active);
    }
    // Who has not deletes it and deploys again.
    changed(&namespace, json!({"data": {"head.json": "{}"}})).await;
    namespace.api::<ConfigMap>().delete(HEAD, &DeleteParams::default()).await.expect("deleted");
    let gone = kube::runtime::conditions::is_deleted(record.metadata.uid.as_deref().expect("a uid"));
    until::<ConfigMap>(&namespace, HEAD, gone).await;
    client.deploy(deploy(&namespace, "shop", &shop(2))).await.expect("what runs is taken over");
    let told = shown(&adapter, &namespace, "shop", Full).await;
    assert_eq!((told.state(), told.message.as_str()), (DeploymentState::Active, ""));
    for name in ["shop", "other"] {
        client.teardown(teardown(&namespace, name)).await.expect("torn down");
    }
    assert_eq!(everything(&namespace).await.into_keys().collect::<Vec<_>>(), Vec::<String>::new());
}

#[tokio::test]
async fn a_watch_says_that_a_record_cannot_be_read_any_more() {
    let namespace = namespace("damaged-watch").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "shop", &shop(1))).await.expect("deployed");
    let request = proto::WatchDeploymentRequest {
        namespace: namespace.to_string(),
        name: "shop".to_owned(),
        ..Default::default()
    };
    let mut updates = client.watch_deployment(request).await.expect("a watch").into_inner();
    updates.message().await.expect("a message").expect("a snapshot");
    changed(&namespace, json!({"data": {"head.json": "{}"}})).await;
    let ended = async {
        loop {
            match updates.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ends as if all were well"),
                Err(status) => break status,
            }
        }
    };
    let status = tokio::time::timeout(std::time::Duration::from_secs(30), ended).await.expect("in time");
    assert_eq!(
        (status.code(), crate::support::adapter::reason(&status).as_str()),
        (Code::FailedPrecondition, "RECORD_UNREADABLE")
    );
}

#[tokio::test]
async fn a_record_is_the_deployments_whose_name_it_has() {
    let namespace = namespace("damaged-labels").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "shop", &shop(1))).await.expect("deployed");
    recorded(&namespace, "shop", "ACTIVE").await;
    let labels = |map: &ConfigMap| map.labels().clone();
    let before: ConfigMap = namespace.api().get(HEAD).await.expect("a record");
    for (key, value) in [
        ("panamax.io/record", Value::Null),
        ("app.kubernetes.io/managed-by", Value::Null),
        ("app.kubernetes.io/instance", Value::Null),
        ("app.kubernetes.io/instance", json!("other")),
    ] {
        changed(&namespace, json!({"metadata": {"labels": {key: value}}})).await;
        let told = shown(&adapter, &namespace, "shop", Full).await;
        assert_eq!((told.name.as_str(), told.state()), ("shop", DeploymentState::Active), "{key}");
        let other = proto::GetDeploymentRequest {
            namespace: namespace.to_string(),
            name: "other".to_owned(),
            ..Default::default()
        };
        refused(client.get_deployment(other).await, Code::NotFound, "DEPLOYMENT_NOT_FOUND");
        // Every Deploy puts them back.
        let same = client.deploy(deploy(&namespace, "shop", &shop(1))).await.expect("nothing").into_inner();
        assert_eq!(same.outcome(), DeployOutcome::Unchanged, "{key}");
        let after: ConfigMap = namespace.api().get(HEAD).await.expect("a record");
        assert_eq!(labels(&after), labels(&before), "{key}");
    }
    changed(&namespace, json!({"metadata": {"labels": {"panamax.io/record": null}}})).await;
    client.teardown(teardown(&namespace, "shop")).await.expect("torn down");
    assert_eq!(everything(&namespace).await.into_keys().collect::<Vec<_>>(), Vec::<String>::new());
}

#[tokio::test]
async fn a_copy_of_a_record_is_nobodys() {
    let namespace = namespace("damaged-copy").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "shop", &shop(1))).await.expect("deployed");
    let record: ConfigMap = namespace.api().get(HEAD).await.expect("a record");
    let mut copy = ConfigMap { data: record.data.clone(), ..ConfigMap::default() };
    copy.metadata.name = Some("panamax-deployment-copy".to_owned());
    copy.metadata.labels = record.metadata.labels.clone();
    namespace.api().create(&PostParams::default(), &copy).await.expect("a copy");
    for view in [Basic, Full] {
        let all = listed(&mut client, &namespace, view, &[]).await;
        assert_eq!(all.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), ["shop"]);
    }
    let refusal = refused(
        client.deploy(deploy(&namespace, "copy", &shop(1))).await,
        Code::AlreadyExists,
        "OBJECT_NOT_OWNED",
    );
    assert!(refusal.message.contains("delete that ConfigMap"), "{refusal:#?}");
}

#[tokio::test]
async fn a_scale_that_sets_some_counts_says_what_sets_the_others() {
    let namespace = namespace("damaged-scale").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let two =
        "name: Two\nimages:\n- {name: web, source: 'example/web:1'}\n- {name: db, source: 'example/db:1'}\n";
    client.deploy(modern(deploy(&namespace, "shop", two))).await.expect("deployed");
    recorded(&namespace, "shop", "ACTIVE").await;
    remove::<Workload>(&namespace, "db").await;
    let mut request = scale(&namespace, "shop", "web", 2);
    request.replicas.insert("db".to_owned(), 2);
    request.wait = proto::WaitMode::None.into();
    let refusal = refused(client.scale(request).await, Code::NotFound, "APPLY_INCOMPLETE");
    assert!(refusal.message.contains("the same Scale again"), "{refusal:#?}");
    assert!(!refusal.message.contains("Deploy repairs"), "{refusal:#?}");
    assert_eq!(refusal.fact("objects"), "Deployment web", "{refusal:#?}");
}

#[tokio::test]
async fn a_revision_whose_failing_component_was_stopped_is_not_good() {
    let namespace = namespace("damaged-good").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let two = |image: &str| {
        format!(
            "name: Two\nimages:\n- {{name: web, source: '{image}', deployment: {{count: 2}}}}\n- {{name: db, source: 'example/db:1'}}\n"
        )
    };
    client.deploy(deploy(&namespace, "shop", &two("example/web:1"))).await.expect("deployed");
    recorded(&namespace, "shop", "ACTIVE").await;
    let crashing = crate::support::adapter::deploy_at_once(&namespace, "shop", &two("example/crashing:2"));
    client.deploy(crashing).await.expect("written");
    let has_failed = async {
        while revisions(&mut client.clone(), &namespace, "shop").await[0].1 != Failed {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), has_failed).await.expect("it fails");
    client.scale(scale(&namespace, "shop", "web", 0)).await.expect("stopped");
    recorded(&namespace, "shop", "ACTIVE").await;
    assert_eq!(revisions(&mut client, &namespace, "shop").await[0], (2, Failed, None));
    client.rollback(rollback(&namespace, "shop", 0)).await.expect("the good one");
    assert_eq!(revisions(&mut client, &namespace, "shop").await[0].2, Some(1));
}
