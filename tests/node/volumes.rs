//! Volumes in real containers: mounted where the template says, shared and kept as each mapping promises.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, PersistentVolume};
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use panamax_kubernetes_adapter::proto::{
    DeployOptions, DeployRequest, Profile, VolumeFilling, VolumeMapping, WorkloadKind,
};
use serde_json::json;

use super::place::Place;
use crate::support::adapter::deploy;
use crate::support::node::Container;

/// A store with two volumes, and a worker that has them from it. The path of the node lies in a folder whose
/// changes never leave the node.
const TEMPLATE: &str = "
name: Volumes
images:
- name: STORE
  source: example/store:1
  volumes:
  - {container_path: /data}
  - {container_path: /var/cache/shared, host_path: /var/lib/panamax-test/shared}
- name: WORKER
  source: example/worker:1
  volumes_from: [STORE]
";

async fn mapped(prefix: &str, volumes: VolumeMapping, workload: WorkloadKind) -> Option<Place> {
    let place = Place::new(prefix).await?;
    let options =
        DeployOptions { volumes: volumes.into(), workload: workload.into(), ..DeployOptions::default() };
    place.deploy(TEMPLATE, options).await;
    for component in ["store", "worker"] {
        let container = place.container(component).await;
        for path in ["/data", "/var/cache/shared"] {
            assert!(container.mounts(path).await, "{component} {path}");
        }
        assert!(!container.mounts("/var/cache").await);
    }
    Some(place)
}

#[tokio::test]
async fn an_empty_directory_is_a_pods_own() {
    let volumes = VolumeMapping::EmptyDir;
    let Some(place) = mapped("empty", volumes, WorkloadKind::PodOrReplicationController).await else {
        return;
    };
    let store = place.container("store").await;
    store.write("/data/note", "kept").await;
    assert_eq!(store.file("/data/note").await.as_deref(), Some("kept"));
    assert_eq!(place.container("worker").await.file("/data/note").await, None);
}

#[tokio::test]
async fn a_path_of_the_node_is_shared() {
    let volumes = VolumeMapping::HostPath;
    let Some(place) = mapped("host", volumes, WorkloadKind::PodOrReplicationController).await else { return };
    place.container("store").await.write("/var/cache/shared/note", "shared").await;
    let note = place.container("worker").await.file("/var/cache/shared/note").await;
    assert_eq!(note.as_deref(), Some("shared"));
}

#[tokio::test]
async fn a_claim_outlives_its_pods_and_is_lent() {
    let volumes = VolumeMapping::PersistentVolumeClaim;
    let Some(place) = mapped("claim", volumes, WorkloadKind::Deployment).await else { return };
    let before = place.container("store").await;
    before.write("/data/note", "kept").await;
    place.scale("STORE", 0).await;
    place.scale("STORE", 1).await;
    let after = place.container("store").await;
    assert_ne!(after.told().await.host, before.pod.metadata.name.clone().expect("a name"));
    assert_eq!(after.file("/data/note").await.as_deref(), Some("kept"));
    let lent = place.container("worker").await;
    assert_eq!(lent.file("/data/note").await.as_deref(), Some("kept"));
}

#[tokio::test]
async fn modern_keeps_volumes_in_claims() {
    let Some(place) = Place::new("kept").await else { return };
    let options = DeployOptions { profile: Profile::Modern.into(), ..DeployOptions::default() };
    place.deploy(TEMPLATE, options).await;
    place.container("worker").await.write("/data/note", "written by who lends").await;
    let note = place.container("store").await.file("/data/note").await;
    assert_eq!(note.as_deref(), Some("written by who lends"));
}

/// Disks of the node as block storage gives them: root's, with `lost+found` at the root. Returns the container that sees
/// them below `/disks`; claims of a class that is called after the namespace get them.
async fn disks(place: &Place, count: usize) -> Container {
    let (namespace, folder) = (&*place.namespace, format!("/var/lib/panamax-test/{}", &*place.namespace));
    let volume = format!("{{host_path: {folder}, container_path: /disks}}");
    let template =
        format!("name: Disks\nimages:\n- {{name: maker, source: 'example/maker:1', volumes: [{volume}]}}\n");
    let options = DeployOptions { volumes: VolumeMapping::HostPath.into(), ..DeployOptions::default() };
    let request = deploy(namespace, "disks", &template);
    place.carry_out(DeployRequest { options: Some(options), ..request }).await;
    let maker = place.container("maker").await;
    let nodes: Api<Node> = Api::all(place.namespace.client.clone());
    let node =
        nodes.list(&ListParams::default()).await.expect("nodes").items[0].labels()["kubernetes.io/hostname"]
            .clone();
    let volumes: Api<PersistentVolume> = Api::all(place.namespace.client.clone());
    for index in 0..count {
        maker.write(&format!("/disks/{index}/lost+found/"), "").await;
        let is_on_node = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [node]});
        let volume = json!({
            "metadata": { "name": format!("{namespace}-{index}") },
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "capacity": { "storage": "1Gi" },
                "local": { "path": format!("{folder}/{index}") },
                "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [is_on_node] }] } },
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": namespace,
            },
        });
        let volume = serde_json::from_value(volume).expect("a volume");
        volumes.create(&PostParams::default(), &volume).await.expect("it is made");
    }
    maker
}

/// A Deploy in profile MODERN whose claims get those disks.
fn on_disks(place: &Place, name: &str, template: &str) -> DeployRequest {
    let options = DeployOptions {
        profile: Profile::Modern.into(),
        storage_class: place.namespace.to_string(),
        ..DeployOptions::default()
    };
    DeployRequest { options: Some(options), ..deploy(&place.namespace, name, template) }
}

#[tokio::test]
async fn a_program_finds_a_fresh_disk_empty_and_lends_what_it_writes() {
    let Some(place) = Place::new("disk").await else { return };
    let maker = disks(&place, 1).await;
    let template = "
name: Records
images:
- {name: store, source: 'example/store:1', volumes: [{host_path: /srv/data, container_path: /data}]}
- {name: worker, source: 'example/worker:1', volumes_from: [store]}
";
    place.carry_out(on_disks(&place, "app", template)).await;
    let (store, worker) = (place.container("store").await, place.container("worker").await);
    assert_eq!(store.names("/data").await, [""; 0]);
    store.write("/data/note", "kept").await;
    assert_eq!(worker.names("/data").await, ["note"]);
    assert_eq!(worker.file("/data/note").await.as_deref(), Some("kept"));
    // It was not empty.
    assert_eq!(maker.names("/disks/0").await, ["data", "lost+found"]);
    assert_eq!(maker.names("/disks/0/data").await, ["note"]);
}

#[tokio::test]
async fn a_program_that_is_not_root_writes_to_its_claim_where_its_user_is_known() {
    let Some(place) = Place::new("user").await else { return };
    disks(&place, 2).await;
    let template = |name: &str| {
        format!(
            "name: Boards\nimages:\n- {{name: {name}, source: 'example/user-1000:1', volumes: [{{container_path: /data}}]}}\n"
        )
    };
    let config = (String::from("example/user-1000:1"), String::from(r#"{"config": {"User": "1000"}}"#));
    let known = on_disks(&place, "known", &template("board"));
    place.carry_out(DeployRequest { image_configs: [config].into(), ..known }).await;
    place.carry_out(on_disks(&place, "unknown", &template("other"))).await;
    let (board, other) = (place.container("board").await, place.container("other").await);
    for container in [&board, &other] {
        let status = container.file("/proc/self/status").await.expect("every process has one");
        assert!(status.contains("Uid:\t1000\t"), "{status}");
    }
    board.write("/data/note", "written").await;
    assert_eq!(board.file("/data/note").await.as_deref(), Some("written"));
    let refused = other.try_write("/data/note", "lost").await.expect_err("the claim is root's");
    assert!(refused.contains("permission denied"), "{refused}");
}

/// The same Deploy, with claims that are filled.
fn filled(request: DeployRequest) -> DeployRequest {
    let mut options = request.options.clone().unwrap_or_default();
    options.set_volume_filling(VolumeFilling::FromImage);
    DeployRequest { options: Some(options), ..request }
}

#[tokio::test]
async fn a_new_claim_is_filled_once_with_what_the_image_has() {
    let Some(place) = Place::new("filled").await else { return };
    let maker = disks(&place, 1).await;
    // What an earlier pod has left that broke off while it copied.
    maker.write("/disks/0/.panamax-fill-dead/", "").await;
    maker.write("/disks/0/.panamax-fill-dead/seed", "a half").await;
    // Its USER is 1000, to whom the content belongs; nobody says so.
    let template = "
name: Filled
images:
- {name: STORE, source: 'example/filled:1', volumes: [{container_path: /data}]}
- {name: WORKER, source: 'example/worker:1', volumes_from: [STORE]}
";
    place.carry_out(filled(on_disks(&place, "app", template))).await;
    let store = place.container("store").await;
    assert_eq!(store.names("/data").await, [".hidden", "seed"]);
    assert_eq!(store.file("/data/seed").await.as_deref(), Some("from the image"));
    assert_eq!(place.container("worker").await.file("/data/seed").await.as_deref(), Some("from the image"));
    store.write("/data/seed", "changed").await;
    // Neither a restart nor another pod overwrites what was changed.
    for component in ["STORE", "WORKER"] {
        place.scale(component, 0).await;
        place.scale(component, 1).await;
        let container = place.container(&component.to_lowercase()).await;
        assert_eq!(container.file("/data/seed").await.as_deref(), Some("changed"), "{component}");
    }
    assert_eq!(maker.names("/disks/0").await, ["data", "lost+found"]);
}

#[tokio::test]
async fn an_image_without_a_shell_cannot_fill_a_claim_and_that_is_told() {
    let Some(place) = Place::new("shell").await else { return };
    disks(&place, 1).await;
    let template = "name: Bare\nimages:\n- {name: store, source: 'example/store:1', volumes: [{container_path: /data}]}\n";
    let refused = place.try_carry_out(filled(on_disks(&place, "app", template))).await.expect_err("no shell");
    assert!(refused.message().contains(", which fills new claims"), "{refused:?}");
}

#[tokio::test]
async fn a_file_of_the_node_is_mounted_as_a_file_or_not_at_all() {
    let Some(place) = Place::new("file").await else { return };
    let maker = disks(&place, 1).await;
    maker.write("/disks/app.conf", "of the node").await;
    let folder = format!("/var/lib/panamax-test/{}", &*place.namespace);
    let template = format!(
        "name: File\nimages:\n- name: app\n  source: example/app:1\n  volumes:\n  \
         - {{host_path: {folder}/app.conf, container_path: '/settings/app.conf:ro'}}\n  \
         - {{host_path: {folder}, container_path: /all}}\n"
    );
    let options = DeployOptions { volumes: VolumeMapping::HostPath.into(), ..DeployOptions::default() };
    let request = deploy(&place.namespace, "app", &template);
    place.carry_out(DeployRequest { options: Some(options), ..request.clone() }).await;
    let app = place.container("app").await;
    assert!(app.mounts("/settings/app.conf").await && !app.mounts("/settings").await);
    assert_eq!(app.file("/settings/app.conf").await.as_deref(), Some("of the node"));
    app.try_write("/settings/app.conf", "changed").await.expect_err("it is read-only");
    // Where no path of the node is mounted, nothing stands for the file; the directory beside it becomes a claim.
    place.carry_out(on_disks(&place, "app", &template)).await;
    let app = place.container("app").await;
    assert!(!app.mounts("/settings/app.conf").await && app.mounts("/all").await);
    assert_eq!(app.file("/settings/app.conf").await, None);
}

#[tokio::test]
async fn a_container_that_only_owns_volumes_is_named_with_what_to_do() {
    let Some(place) = Place::new("owns").await else { return };
    let template = "
name: Store
images:
- {name: Data, source: 'example/tools:1', command: '/bin/sh -c \"exit 0\"', volumes: [{container_path: /data}]}
- {name: DB, source: 'example/db:1', expose: [3306], volumes_from: [{service: Data}]}
";
    let options = DeployOptions { profile: Profile::Modern.into(), ..DeployOptions::default() };
    let request = DeployRequest { options: Some(options), ..deploy(&place.namespace, "app", template) };
    // It may be seen running for a moment; else the wait ends with what is wrong.
    if let Err(status) = place.carry_out_within(request, Duration::from_secs(25)).await {
        assert!(status.message().contains("exit code 0"), "{status:?}");
    }
    let said = place.component_says("data", "exit code 0").await;
    assert!(said.contains("give it a command that keeps running"), "{said}");
    // Who borrows the volumes runs all the same.
    let db = place.container("db").await;
    db.write("/data/note", "kept").await;
    assert_eq!(db.file("/data/note").await.as_deref(), Some("kept"));
}
