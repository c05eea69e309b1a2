//! How claims are mounted, over versions of the adapter: what one has written is never hidden by the next.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment as AppsDeployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodSpec, ReplicationController, Secret};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use panamax_kubernetes_adapter::artifacts::{self, DeploymentName, Kind, field_manager};
use panamax_kubernetes_adapter::cluster::{Cluster, Guard};
use panamax_kubernetes_adapter::error::ErrorKind;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::template::validate::{Limits, from_text};
use panamax_kubernetes_adapter::translate::{Options, Profile, Rules, VolumeMapping, translate};
use serde_json::{Value, json};

use super::plans::plan;
use crate::support::adapter::{Adapter, deploy, modern, scale, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{action, recorded};
use crate::support::namespace::{Namespace, namespace};
use crate::support::survey::Survey;

const STORE: &str = "
name: Store
images:
- name: db
  source: example/db:1
  volumes: [{container_path: /data}, {container_path: /log}]
- {name: backup, source: 'example/backup:1', volumes_from: [db]}
";
const LAYOUT: &str = "panamax.io/layout";

/// Leaves the claims of the store as a Teardown of the version before layouts has left them.
async fn old_claims(namespace: &Namespace, rules: &Rules) {
    let template = from_text(STORE, None, &Limits::default()).0.template.expect("a template");
    let name = DeploymentName::new("store").expect("a name");
    let new = translate(&template, &Options::with(name.clone(), rules.clone())).artifacts.expect("objects");
    let claims = new.objects().iter().map(|artifact| &artifact.reference);
    let claims = claims.filter(|one| one.kind == Kind::PersistentVolumeClaim).map(|one| one.name.clone());
    let options = Options { claims_at_root: claims.collect(), ..Options::with(name.clone(), rules.clone()) };
    let old = translate(&template, &options).artifacts.expect("objects");
    let claims = old.objects().iter().filter(|one| one.reference.kind == Kind::PersistentVolumeClaim);
    for claim in claims {
        assert_eq!(claim.manifest.pointer("/metadata/annotations").and_then(|all| all.get(LAYOUT)), None);
        let parameters = PatchParams::apply(&field_manager(&name));
        let api = namespace.api::<PersistentVolumeClaim>();
        api.patch(claim.reference.name.as_str(), &parameters, &Patch::Apply(&claim.manifest))
            .await
            .expect("made");
    }
}

/// Changes every stored revision.
pub async fn rewrite_revisions(namespace: &Namespace, change: impl Fn(&mut Value)) {
    let api = namespace.api::<Secret>();
    let revisions = ListParams::default().labels("panamax.io/record=revision");
    for mut secret in api.list(&revisions).await.expect("revisions").items {
        let data = secret.data.as_mut().expect("data");
        let text = zstd::decode_all(data["revision"].0.as_slice()).expect("unpacked");
        let mut revision: Value = serde_json::from_slice(&text).expect("a revision");
        change(&mut revision);
        let packed = zstd::encode_all(revision.to_string().as_bytes(), 3).expect("packed");
        data.insert("revision".to_owned(), ByteString(packed));
        api.delete(&secret.name_any(), &DeleteParams::default()).await.expect("deleted");
        secret.metadata.resource_version = None;
        secret.metadata.uid = None;
        secret.metadata.managed_fields = None;
        api.create(&PostParams::default(), &secret).await.expect("stored");
    }
}

/// Makes of every stored revision what that version would have stored.
async fn age(namespace: &Namespace) {
    rewrite_revisions(namespace, |revision| {
        let options = revision["options"].as_object_mut().expect("options");
        options.remove("claims_at_root").expect("the claims of the store");
        let text = revision.to_string();
        assert!(!text.contains(LAYOUT) && !text.contains("subPath"), "{text}");
    })
    .await;
}

/// The directory of the claim at each path of a pod; empty: its root.
fn sub_paths(spec: &PodSpec) -> BTreeMap<&str, &str> {
    let mounts = spec.containers[0].volume_mounts.iter().flatten();
    mounts.map(|mount| (mount.mount_path.as_str(), mount.sub_path.as_deref().unwrap_or_default())).collect()
}

/// Checks that both components mount both claims in this directory, and that the claims say so.
async fn mounted(namespace: &Namespace, directory: &str) {
    for component in ["db", "backup"] {
        let deployment = namespace.api::<AppsDeployment>().get(component).await.expect("it is there");
        let pod = deployment.spec.and_then(|spec| spec.template.spec).expect("a pod");
        assert_eq!(sub_paths(&pod), [("/data", directory), ("/log", directory)].into(), "{component}");
    }
    let claims = namespace.api::<PersistentVolumeClaim>().list(&ListParams::default()).await.expect("claims");
    assert_eq!(claims.items.len(), 2);
    for claim in claims.items {
        let said = claim.annotations().get(LAYOUT).map(String::as_str);
        assert_eq!(said.unwrap_or_default(), directory, "{}", claim.name_any());
    }
}

async fn pods(namespace: &Namespace) -> Vec<String> {
    let pods = namespace.api::<Pod>().list(&ListParams::default()).await.expect("pods").items;
    let mut uids: Vec<String> = pods.into_iter().filter_map(|pod| pod.metadata.uid).collect();
    uids.sort();
    uids
}

fn store(namespace: &str) -> proto::DeployRequest {
    modern(deploy(namespace, "store", STORE))
}

#[tokio::test]
async fn claims_of_the_version_before_stay_mounted_at_their_roots() {
    let namespace = namespace("layout-old").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    old_claims(&namespace, &Rules::of(Profile::Modern)).await;
    // A first Deploy meets them, and a plan of it says the same.
    let request = store(&namespace);
    let planned = client.plan_deploy(plan(request.clone())).await.expect("a plan").into_inner();
    let answer = client.deploy(proto::DeployRequest { plan_id: planned.plan_id, ..request }).await;
    let answer = answer.expect("deployed").into_inner();
    let claim = "PersistentVolumeClaim/db-bd47413b";
    assert_eq!(action(&answer.changes, claim), proto::ObjectAction::Update, "it was there");
    mounted(&namespace, "").await;
    // From here on it is a deployment of that version; to deploy it again changes nothing.
    recorded(&namespace, "store", "ACTIVE").await;
    age(&namespace).await;
    let before = pods(&namespace).await;
    let again = client.deploy(store(&namespace)).await.expect("deployed").into_inner();
    assert_eq!(again.outcome(), proto::DeployOutcome::Unchanged, "{:#?}", again.changes);
    assert_eq!(pods(&namespace).await, before);
    // Newer revisions, and older ones again, mount what the programs have written to.
    let newer = STORE.replace("example/db:1", "example/db:2");
    let answer =
        client.deploy(modern(deploy(&namespace, "store", &newer))).await.expect("deployed").into_inner();
    let object = "Deployment/backup";
    assert_eq!(action(&answer.changes, object), proto::ObjectAction::Unchanged);
    mounted(&namespace, "").await;
    let rollback = proto::RollbackRequest {
        namespace: namespace.to_string(),
        name: "store".to_owned(),
        revision: 1,
        wait: proto::WaitMode::Ready.into(),
        ..Default::default()
    };
    client.rollback(rollback).await.expect("rolled back");
    mounted(&namespace, "").await;
    client.scale(scale(&namespace, "store", "db", 2)).await.expect("scaled");
    mounted(&namespace, "").await;
    // They outlive the deployment, and are the same in the next.
    client.teardown(teardown(&namespace, "store")).await.expect("torn down");
    client.deploy(store(&namespace)).await.expect("deployed");
    mounted(&namespace, "").await;
    assert_eq!(Survey::of(&namespace.client, &namespace).await.faults("store"), [""; 0]);
    let volumes = proto::VolumePolicy::Delete.into();
    client
        .teardown(proto::TeardownRequest { volumes, ..teardown(&namespace, "store") })
        .await
        .expect("all gone");
    client.deploy(store(&namespace)).await.expect("deployed");
    mounted(&namespace, "data").await;
}

#[tokio::test]
async fn new_claims_keep_their_layout() {
    let namespace = namespace("layout-new").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(store(&namespace)).await.expect("deployed");
    mounted(&namespace, "data").await;
    client.teardown(teardown(&namespace, "store")).await.expect("torn down");
    client.deploy(store(&namespace)).await.expect("deployed");
    mounted(&namespace, "data").await;
    // Somebody removes the word: the data still lie where they were put.
    recorded(&namespace, "store", "ACTIVE").await;
    let before = pods(&namespace).await;
    let claims = namespace.api::<PersistentVolumeClaim>();
    for claim in claims.list(&ListParams::default()).await.expect("claims").items {
        let without = json!({"metadata": {"annotations": {LAYOUT: null}}});
        claims
            .patch(&claim.name_any(), &PatchParams::default(), &Patch::Merge(without))
            .await
            .expect("removed");
    }
    let answer = client.deploy(store(&namespace)).await.expect("deployed").into_inner();
    assert_eq!(answer.outcome(), proto::DeployOutcome::Updated);
    mounted(&namespace, "data").await;
    assert_eq!(pods(&namespace).await, before);
}

#[tokio::test]
async fn what_scale_makes_of_an_old_pod_mounts_the_roots_too() {
    let namespace = namespace("layout-scale").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let rules = Rules { volumes: VolumeMapping::PersistentVolumeClaim, ..Rules::default() };
    old_claims(&namespace, &rules).await;
    let mut request = deploy(&namespace, "store", STORE);
    request.options.get_or_insert_default().set_volumes(proto::VolumeMapping::PersistentVolumeClaim);
    client.deploy(request).await.expect("deployed");
    recorded(&namespace, "store", "ACTIVE").await;
    age(&namespace).await;
    client.scale(scale(&namespace, "store", "db", 2)).await.expect("scaled");
    let controller = namespace.api::<ReplicationController>().get("db-replication-controller").await;
    let template = controller.expect("it is there").spec.and_then(|spec| spec.template).expect("a template");
    assert_eq!(sub_paths(&template.spec.expect("a pod")), [("/data", ""), ("/log", "")].into());
}

#[tokio::test]
async fn a_claim_that_appears_after_the_look_is_left_as_it_is() {
    let namespace = namespace("layout-late").await;
    let rules = Rules::of(Profile::Modern);
    old_claims(&namespace, &rules).await;
    let kubeconfig = Kubeconfig::read_from(control_plane().kubeconfig(User::Adapter)).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let cluster = Cluster::new(config.expect("a configuration")).expect("a cluster");
    let template = from_text(STORE, None, &Limits::default()).0.template.expect("a template");
    let name = DeploymentName::new("store").expect("a name");
    let new = translate(&template, &Options::with(name.clone(), rules)).artifacts.expect("objects");
    let claims = new.objects().iter().filter(|one| one.reference.kind == Kind::PersistentVolumeClaim);
    let place = artifacts::Namespace::new(&*namespace).expect("a name");
    for claim in claims {
        let refused =
            cluster.apply(&place, &name, claim, Guard::CreateOnly, false).await.expect_err("refused");
        assert_eq!(refused.kind(), ErrorKind::OperationInProgress, "{}", refused.message());
    }
    let claims = namespace.api::<PersistentVolumeClaim>().list(&ListParams::default()).await.expect("claims");
    assert!(claims.items.iter().all(|claim| !claim.annotations().contains_key(LAYOUT)), "{claims:#?}");
}

/// A volume that a version before took for a directory.
const SEEDED: &str = "
name: Seeded
images:
- name: db
  source: example/db:1
  volumes: [{host_path: /srv/init.sql, container_path: /docker-entrypoint-initdb.d/init.sql}]
";

/// Where the pods of a controller mount claims.
async fn mounted_by(namespace: &Namespace, controller: &str) -> Vec<String> {
    let deployment = namespace.api::<AppsDeployment>().get(controller).await.expect("it is there");
    let pod = deployment.spec.and_then(|spec| spec.template.spec).expect("a pod");
    sub_paths(&pod).into_keys().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_claim_whose_path_looks_like_a_file_is_met_again() {
    let namespace = namespace("layout-file").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let mounted = || mounted_by(&namespace, "db");
    let request = modern(deploy(&namespace, "seeded", SEEDED));
    client.deploy(request.clone()).await.expect("deployed");
    assert_eq!(mounted().await, [""; 0], "a new one is no claim");
    client.teardown(teardown(&namespace, "seeded")).await.expect("torn down");
    leave_claim(&namespace).await;
    client.deploy(request.clone()).await.expect("deployed");
    assert_eq!(mounted().await, ["/docker-entrypoint-initdb.d/init.sql"]);
    let again = client.deploy(request).await.expect("deployed").into_inner();
    assert_eq!(again.outcome(), proto::DeployOutcome::Unchanged, "{:#?}", again.changes);
    assert_eq!(Survey::of(&namespace.client, &namespace).await.faults("seeded"), [""; 0]);
}

/// Leaves the claim that a version before files were known has made for the seed of the database.
async fn leave_claim(namespace: &Namespace) {
    let digest = <sha2::Sha256 as sha2::Digest>::digest("/docker-entrypoint-initdb.d/init.sql");
    let digits: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let name = format!("db-{digits}");
    let claim = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": { "name": name, "labels": {
            "name": "db", "app.kubernetes.io/name": "db", "app.kubernetes.io/instance": "seeded",
            "app.kubernetes.io/managed-by": "panamax-kubernetes-adapter",
        } },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    });
    let manager = field_manager(&DeploymentName::new("seeded").expect("a name"));
    let claims = namespace.api::<PersistentVolumeClaim>();
    claims.patch(&name, &PatchParams::apply(&manager), &Patch::Apply(&claim)).await.expect("made");
}

/// Deploys what comes first, and then the template with the file: that Deploy mounts the claim which is there meanwhile.
async fn update_meets_claim(namespace: Namespace, first: proto::DeployRequest) {
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(first).await.expect("deployed");
    leave_claim(&namespace).await;
    let request = modern(deploy(&namespace, "seeded", SEEDED));
    client.deploy(request.clone()).await.expect("deployed");
    assert_eq!(mounted_by(&namespace, "db").await, ["/docker-entrypoint-initdb.d/init.sql"]);
    let again = client.deploy(request).await.expect("deployed").into_inner();
    assert_eq!(again.outcome(), proto::DeployOutcome::Unchanged, "{:#?}", again.changes);
    assert_eq!(Survey::of(&namespace.client, &namespace).await.faults("seeded"), [""; 0]);
}

#[tokio::test]
async fn an_update_meets_such_a_claim_too() {
    let namespace = namespace("layout-file-update").await;
    let (without, _) = SEEDED.split_once("  volumes").expect("volumes come last");
    let first = modern(deploy(&namespace, "seeded", without));
    update_meets_claim(namespace, first).await;
}

#[tokio::test]
async fn a_change_of_the_rules_alone_meets_such_a_claim_too() {
    let namespace = namespace("layout-file-rules").await;
    let mut first = modern(deploy(&namespace, "seeded", SEEDED));
    let volumes = proto::VolumeMapping::EmptyDir.into();
    first.options.get_or_insert_default().volumes = volumes;
    update_meets_claim(namespace, first).await;
}
