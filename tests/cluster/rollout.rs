//! The pods of a changed ReplicationController are replaced one ready pod at a time, whoever lives to do it.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;

use crate::support::adapter::{Adapter, Binary, connect, deploy, deploy_at_once, modern};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::recorded;
use crate::support::namespace::{Namespace, namespace};
use crate::support::survey::Survey;

/// How long the whole rollout may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn template(edition: u32, replicas: usize) -> String {
    format!(
        "name: Web\nimages:\n- {{name: web, source: 'example/web:{edition}', deployment: {{count: {replicas}}}}}\n"
    )
}

/// What the watch has shown of a pod: its image, and whether it serves.
type ListedObject = BTreeMap<String, (String, bool)>;

fn look(pod: &Pod) -> (String, bool) {
    let image = pod.spec.as_ref().and_then(|spec| spec.containers.first()?.image.clone()).unwrap_or_default();
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True");
    (image, ready && pod.metadata.deletion_timestamp.is_none())
}

/// Follows the pods until all are of the new image and serve; returns the fewest that ever served at once.
///
/// `told` hears how many of the new image serve.
async fn follow(
    namespace: &Namespace,
    image: &str,
    replicas: usize,
    began: tokio::sync::oneshot::Sender<()>,
    told: tokio::sync::watch::Sender<usize>,
) -> usize {
    let events = watcher::watcher(namespace.api::<Pod>(), watcher::Config::default());
    let mut events = pin!(events);
    let (mut seen, mut began, mut fewest) = (ListedObject::new(), Some(began), replicas);
    while let Some(event) = events.try_next().await.expect("the watch goes on") {
        match event {
            Event::Apply(pod) | Event::InitApply(pod) => {
                seen.insert(pod.metadata.name.clone().expect("a name"), look(&pod));
            }
            Event::Delete(pod) => {
                seen.remove(pod.metadata.name.as_deref().expect("a name"));
            }
            Event::Init => continue,
            Event::InitDone => {
                if let Some(began) = began.take() {
                    began.send(()).expect("the test waits for it");
                }
            }
        }
        if began.is_some() {
            continue;
        }
        let serving = seen.values().filter(|(_, serves)| *serves).count();
        fewest = fewest.min(serving);
        let new = seen.values().filter(|(of, serves)| *serves && of == image).count();
        told.send_replace(new);
        if new == replicas && seen.len() == replicas {
            return fewest;
        }
    }
    panic!("the watch ended");
}

async fn replica(namespace: &Namespace) -> Binary {
    let (kubeconfig, name) = (control_plane().kubeconfig(User::Adapter), namespace.to_string());
    let start = move || Binary::start(&kubeconfig, &["--lease", "3s", "--namespaces", &name]);
    tokio::task::spawn_blocking(start).await.expect("the binary starts")
}

/// A change of the image: whether the adapter that began it dies in the middle, and how many others there are.
struct Change {
    dies: bool,
    others: usize,
}

/// Changes the image again and again, and holds each rollout to one missing pod at a time.
async fn roll(namespace: &Namespace, replicas: usize, changes: &[Change]) {
    let mut binary = replica(namespace).await;
    let client = |binary: &Binary| {
        let address = binary.address;
        async move { DeploymentServiceClient::new(connect(address).await) }
    };
    let mut first = client(&binary).await;
    first.deploy(deploy(namespace, "web", &template(1, replicas))).await.expect("deployed");
    recorded(namespace, "web", "ACTIVE").await;
    let mut edition = 1;
    for Change { dies, others } in changes {
        edition += 1;
        let image = format!("example/web:{edition}");
        let mut more = Vec::new();
        for _ in 0..*others {
            more.push(replica(namespace).await);
        }
        let (began, begins) = tokio::sync::oneshot::channel();
        let (told, mut hears) = tokio::sync::watch::channel(0);
        let following = follow(namespace, &image, replicas, began, told);
        let acting = async {
            begins.await.expect("the watch begins");
            let mut client = client(&binary).await;
            let request = deploy_at_once(namespace, "web", &template(edition, replicas));
            client.deploy(request).await.expect("deployed");
            if *dies {
                hears.wait_for(|new| *new >= replicas / 3).await.expect("pods are replaced");
                binary.kill();
                if *others == 0 {
                    binary = replica(namespace).await;
                }
            }
        };
        let started = Instant::now();
        let both = async { tokio::join!(following, acting) };
        let (fewest, ()) = tokio::time::timeout(PATIENCE, both).await.expect("the rollout ends");
        eprintln!("rollout: {replicas} pods in {:.1?}, at least {fewest} served", started.elapsed());
        assert_eq!(fewest, replicas - 1, "one at a time");
        recorded(namespace, "web", "ACTIVE").await;
        let survey = Survey::of(&namespace.client, namespace).await;
        assert_eq!(survey.unrest("web"), [""; 0], "{:#?}", survey.names());
        if let Some(survivor) = more.pop() {
            binary = survivor;
        }
    }
    let mut last = client(&binary).await;
    let same = last
        .deploy(deploy(namespace, "web", &template(edition, replicas)))
        .await
        .expect("deployed")
        .into_inner();
    assert_eq!(same.outcome(), proto::DeployOutcome::Unchanged);
}

#[tokio::test]
async fn never_two_pods_are_missing_though_the_adapter_dies_in_the_middle() {
    let changes = [
        Change { dies: false, others: 0 },
        Change { dies: true, others: 0 },
        Change { dies: false, others: 2 },
    ];
    roll(&namespace("rollout").await, 6, &changes).await;
}

#[tokio::test]
async fn two_of_three_pods_serve_though_one_of_three_adapters_dies() {
    let changes = [Change { dies: false, others: 0 }, Change { dies: true, others: 2 }];
    roll(&namespace("rollout-of-three").await, 3, &changes).await;
}

#[tokio::test]
async fn an_image_that_is_left_to_somebody_else_is_told_and_makes_no_revision_good() {
    let namespace = namespace("rollout-yield").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let of = |source: &str, conflicts: proto::ConflictPolicy| {
        let template = format!("name: Web\nimages:\n- {{name: web, source: 'example/{source}'}}\n");
        let mut request = modern(deploy(&namespace, "web", &template));
        request.options.get_or_insert_default().set_conflicts(conflicts);
        request
    };
    client.deploy(of("web:1", proto::ConflictPolicy::Fail)).await.expect("deployed");
    recorded(&namespace, "web", "ACTIVE").await;
    let mut kubectl = namespace.plane.kubectl(User::Admin);
    kubectl.args(["-n", &namespace, "set", "image", "deployment/web", "web=example/web:9"]);
    assert!(kubectl.output().expect("kubectl runs").status.success());
    let yielded = client.deploy(of("missing:3", proto::ConflictPolicy::Yield)).await.expect("deployed");
    let deployment = yielded.into_inner().deployment.expect("a deployment");
    assert_eq!(deployment.state(), proto::DeploymentState::Active, "{deployment:#?}");
    assert_eq!(deployment.components[0].image, "example/web:9", "that one runs");
    recorded(&namespace, "web", "ACTIVE").await;
    let revisions = async || {
        let (namespace, name) = (namespace.to_string(), "web".to_owned());
        let request = proto::ListRevisionsRequest { namespace, name, ..Default::default() };
        let list = adapter.deployments().list_revisions(request).await.expect("a list").into_inner();
        list.revisions.iter().map(|one| (one.result(), one.rollback_of)).collect::<Vec<_>>()
    };
    use proto::RevisionResult::{InProgress, Succeeded, Superseded};
    assert_eq!(revisions().await, [(InProgress, None), (Succeeded, None)]);
    client.deploy(of("web:4", proto::ConflictPolicy::Force)).await.expect("deployed");
    client.rollback(super::revisions::rollback(&namespace, "web", 0)).await.expect("rolled back");
    let expected = [(Succeeded, Some(1)), (Succeeded, None), (Superseded, None), (Succeeded, None)];
    assert_eq!(revisions().await, expected, "revision 2 was never seen with its own image");
}
