//! Volumes in real containers: mounted where the template says, shared and kept as each mapping promises.

use panamax_kubernetes_adapter::proto::{DeployOptions, Profile, VolumeMapping, WorkloadKind};

use super::place::Place;

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
