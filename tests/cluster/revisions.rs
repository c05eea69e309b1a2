//! The history of a deployment: what is listed of it, and going back to what is.

use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::RevisionResult::{self, Failed, InProgress, Succeeded, Superseded};
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use serde_json::json;
use tonic::Code;
use tonic::transport::Channel;

use crate::support::adapter::{Adapter, deploy, deploy_at_once, modern, scale, teardown};
use crate::support::calls::{Recorder, counted, makes};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{action, everything, members, names, recorded, refused};
use crate::support::namespace::{Namespace, namespace};
use crate::support::survey::Survey;
use crate::support::templates::{WORDPRESS, rich_chain, wordpress_at};

type Client = DeploymentServiceClient<Channel>;

/// A Rollback that waits until everything is ready.
pub fn rollback(namespace: &str, name: &str, revision: i32) -> proto::RollbackRequest {
    proto::RollbackRequest {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        revision,
        wait: proto::WaitMode::Ready.into(),
        ..Default::default()
    }
}

/// The revisions of a deployment: number, result, and which one it repeats.
pub async fn revisions(
    client: &mut Client,
    namespace: &str,
    name: &str,
) -> Vec<(i32, RevisionResult, Option<i32>)> {
    let request = proto::ListRevisionsRequest {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..Default::default()
    };
    let answer = client.list_revisions(request).await.expect("a list").into_inner();
    assert_eq!(answer.next_page_token, "");
    let told = |one: &proto::Revision| {
        assert!(one.create_time.is_some() && one.created_by.is_empty(), "{one:?}");
        (one.number, one.result(), one.rollback_of)
    };
    answer.revisions.iter().map(told).collect()
}

/// Why the newest revision has failed.
async fn why_failed(client: &mut Client, namespace: &str, name: &str) -> String {
    let request = proto::ListRevisionsRequest {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        page_size: 1,
        ..Default::default()
    };
    client.list_revisions(request).await.expect("a list").into_inner().revisions[0].message.clone()
}

/// Waits until something is known of the newest revision.
async fn failed(client: &mut Client, namespace: &str, name: &str) {
    let seen = async {
        while revisions(client, namespace, name).await[0].1 == InProgress {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), seen).await.expect("its failure is recorded");
}

fn image(edition: u32) -> String {
    wordpress_at(2).replace("wordpress:3.9.1", &format!("wordpress:{edition}"))
}

#[tokio::test]
async fn the_list_is_true_of_what_was_seen() {
    let namespace = namespace("revisions-list").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let absent = proto::ListRevisionsRequest {
        namespace: namespace.to_string(),
        name: "wp".to_owned(),
        ..Default::default()
    };
    refused(client.list_revisions(absent).await, Code::NotFound, "DEPLOYMENT_NOT_FOUND");
    client.deploy(deploy(&namespace, "wp", &image(1))).await.expect("deployed");
    // Whoever has heard that it is ready finds it so at once.
    assert_eq!(revisions(&mut client, &namespace, "wp").await, [(1, Succeeded, None)]);
    let broken = image(1).replace("centurylink/wordpress:1", "docker.io/example/missing:x");
    client.deploy(deploy_at_once(&namespace, "wp", &broken)).await.expect("deployed");
    assert_eq!(revisions(&mut client, &namespace, "wp").await[0], (2, InProgress, None));
    failed(&mut client, &namespace, "wp").await;
    let failed = [(2, Failed, None), (1, Succeeded, None)];
    assert_eq!(revisions(&mut client, &namespace, "wp").await, failed);
    let why = why_failed(&mut client, &namespace, "wp").await;
    assert!(why.starts_with("component wp: ") && why.contains("ImagePull"), "{why}");
    client
        .deploy(deploy_at_once(&namespace, "wp", &broken.replace("missing:x", "missing:y")))
        .await
        .expect("deployed");
    client.deploy(deploy(&namespace, "wp", &image(4))).await.expect("deployed");
    let listed = revisions(&mut client, &namespace, "wp").await;
    assert_eq!(listed[0], (4, Succeeded, None));
    assert!(matches!(listed[1], (3, Superseded | Failed, None)), "{listed:?}");
    assert_eq!(listed[2..], failed);
    // A crash of a pod takes back nothing.
    let heads = Survey::of(&namespace.client, &namespace).await;
    let pods: Vec<String> = heads.of_kind("Pod").map(|(name, _)| name.to_owned()).collect();
    for pod in pods {
        namespace.api::<Pod>().delete(&pod, &DeleteParams::default()).await.expect("deleted");
    }
    assert_eq!(revisions(&mut client, &namespace, "wp").await[0], (4, Succeeded, None));
    // What somebody has deleted is not listed, and nobody goes back to it.
    let survey = Survey::of(&namespace.client, &namespace).await;
    let first = survey.head("wp").expect("a record").revisions[0].revision.secret.clone();
    namespace.api::<Secret>().delete(&first, &DeleteParams::default()).await.expect("deleted");
    let numbers: Vec<i32> =
        revisions(&mut client, &namespace, "wp").await.into_iter().map(|(number, _, _)| number).collect();
    assert_eq!(numbers, [4, 3, 2]);
    let before = everything(&namespace).await;
    refused(client.rollback(rollback(&namespace, "wp", 0)).await, Code::NotFound, "REVISION_NOT_FOUND");
    refused(client.rollback(rollback(&namespace, "wp", 1)).await, Code::NotFound, "REVISION_NOT_FOUND");
    assert_eq!(names(&everything(&namespace).await), names(&before));
}

#[tokio::test]
async fn ten_are_kept_and_the_last_good_one_and_they_come_in_pages() {
    let namespace = namespace("revisions-kept").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let web = |edition: u32| {
        format!(
            "name: Web\nimages:\n- {{name: web, source: 'docker.io/example/missing:{edition}', deployment: {{count: 2}}}}\n"
        )
    };
    let good = web(0).replace("docker.io/example/missing", "example/web");
    client.deploy(deploy(&namespace, "web", &good)).await.expect("deployed");
    for edition in 1..=12 {
        client.deploy(deploy_at_once(&namespace, "web", &web(edition))).await.expect("deployed");
    }
    failed(&mut client, &namespace, "web").await;
    let numbers =
        |all: &[(i32, RevisionResult, Option<i32>)]| all.iter().map(|one| one.0).collect::<Vec<_>>();
    let all = revisions(&mut client, &namespace, "web").await;
    assert_eq!(numbers(&all), [13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 1]);
    assert_eq!((all[0].1, all[10].1), (Failed, Succeeded), "{all:?}");
    let mut paged = Vec::new();
    let mut request = proto::ListRevisionsRequest {
        namespace: namespace.to_string(),
        name: "web".to_owned(),
        page_size: 4,
        ..Default::default()
    };
    loop {
        let page = client.list_revisions(request.clone()).await.expect("a page").into_inner();
        paged.push(page.revisions.iter().map(|one| one.number).collect::<Vec<_>>());
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(paged, [vec![13, 12, 11, 10], vec![9, 8, 7, 6], vec![5, 4, 1]]);
    request.page_token = "not-ours".to_owned();
    refused(client.list_revisions(request.clone()).await, Code::Aborted, "PAGE_TOKEN_EXPIRED");
    request.page_size = -1;
    let refusal = refused(client.list_revisions(request).await, Code::InvalidArgument, "FIELD_INVALID");
    assert_eq!(refusal.fields(), ["page_size"]);
    // Twelve have failed: the one that was good is the one to go back to.
    let unknown =
        refused(client.rollback(rollback(&namespace, "web", 3)).await, Code::NotFound, "REVISION_NOT_FOUND");
    assert!(unknown.message.contains("13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 1"), "{unknown:?}");
    let back = client.rollback(rollback(&namespace, "web", 0)).await.expect("rolled back").into_inner();
    assert_eq!(back.outcome(), proto::DeployOutcome::Updated);
    assert_eq!(revisions(&mut client, &namespace, "web").await[0], (14, Succeeded, Some(1)));
    let negative = refused(
        client.rollback(rollback(&namespace, "web", -1)).await,
        Code::InvalidArgument,
        "FIELD_INVALID",
    );
    assert_eq!(negative.fields(), ["revision"]);
    client.teardown(teardown(&namespace, "web")).await.expect("torn down");
    assert_eq!(names(&everything(&namespace).await), [""; 0]);
}

#[tokio::test]
async fn a_rollback_is_a_new_revision_of_the_earlier_template() {
    let namespace = namespace("revisions-back").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    refused(client.rollback(rollback(&namespace, "wp", 0)).await, Code::NotFound, "DEPLOYMENT_NOT_FOUND");
    client.deploy(deploy(&namespace, "wp", &image(1))).await.expect("deployed");
    let none =
        refused(client.rollback(rollback(&namespace, "wp", 0)).await, Code::NotFound, "REVISION_NOT_FOUND");
    assert!(none.message.contains("kept are 1"), "{none:?}");
    let first = members(&namespace).await;
    client.deploy(deploy(&namespace, "wp", &image(2))).await.expect("deployed");
    // A check says what would be done, and an etag of another moment is refused; neither writes.
    let before = everything(&namespace).await;
    let check = proto::RollbackRequest { validate_only: true, ..rollback(&namespace, "wp", 0) };
    let checked = client.rollback(check).await.expect("a check").into_inner();
    assert_eq!(checked.outcome(), proto::DeployOutcome::Updated);
    let stale = proto::RollbackRequest { etag: "none-1".to_owned(), ..rollback(&namespace, "wp", 0) };
    refused(client.rollback(stale).await, Code::Aborted, "ETAG_MISMATCH");
    assert_eq!(everything(&namespace).await, before);
    let back = client.rollback(rollback(&namespace, "wp", 0)).await.expect("rolled back").into_inner();
    assert_eq!(back.outcome(), proto::DeployOutcome::Updated);
    let controller = "ReplicationController/wp-replication-controller";
    assert_eq!(action(&back.changes, controller), proto::ObjectAction::Update);
    assert_eq!(action(&back.changes, "Pod/db-pod"), proto::ObjectAction::Unchanged);
    let deployment = back.deployment.expect("a deployment");
    assert_eq!((deployment.revision, deployment.state()), (3, proto::DeploymentState::Active));
    let after = members(&namespace).await;
    assert_eq!(after["Pod/db-pod"], first["Pod/db-pod"], "what did not change was left alone");
    assert_eq!(Survey::of(&namespace.client, &namespace).await.faults("wp"), [""; 0]);
    let listed = [(3, Succeeded, Some(1)), (2, Succeeded, None), (1, Succeeded, None)];
    assert_eq!(revisions(&mut client, &namespace, "wp").await, listed);
    // What is in force already is left as it is.
    let same = client.rollback(rollback(&namespace, "wp", 1)).await.expect("unchanged").into_inner();
    assert_eq!(same.outcome(), proto::DeployOutcome::Unchanged);
    assert_eq!(revisions(&mut client, &namespace, "wp").await, listed);
    let deployed = client.deploy(deploy(&namespace, "wp", &image(1))).await.expect("unchanged").into_inner();
    assert_eq!(deployed.outcome(), proto::DeployOutcome::Unchanged);
}

#[tokio::test]
async fn a_name_that_was_taken_since_is_refused_before_any_change() {
    let namespace = namespace("revisions-taken").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    let lone = "name: Db\nimages:\n- {name: DB, source: 'centurylink/mysql:5.6', expose: [3306]}\n";
    client.deploy(deploy(&namespace, "wp", lone)).await.expect("deployed");
    let pod =
        json!({"metadata": {"name": "wp-pod"}, "spec": {"containers": [{"name": "a", "image": "b:1"}]}});
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    namespace.api().create(&PostParams::default(), &pod).await.expect("it can be made");
    recorded(&namespace, "wp", "ACTIVE").await;
    let ours = |all: crate::support::looking::Versions| {
        all.into_iter().filter(|(name, _)| name != "Pod/wp-pod").collect::<Vec<_>>()
    };
    let before = ours(everything(&namespace).await);
    let refusal = refused(
        client.rollback(rollback(&namespace, "wp", 1)).await,
        Code::AlreadyExists,
        "OBJECT_NOT_OWNED",
    );
    assert!(refusal.message.contains("wp-pod"), "{refusal:?}");
    assert_eq!(ours(everything(&namespace).await), before);
    namespace.api::<Pod>().delete("wp-pod", &DeleteParams::default().grace_period(0)).await.expect("it goes");
    client.rollback(rollback(&namespace, "wp", 1)).await.expect("rolled back");
    assert_eq!(Survey::of(&namespace.client, &namespace).await.faults("wp"), [""; 0]);
}

#[tokio::test]
async fn kinds_of_workload_and_pruned_secrets_come_back() {
    let namespace = namespace("revisions-kinds").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    // Pods, then a ReplicationController, then apps Deployments with a Secret and claims, then one lone component.
    client.deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    client.deploy(deploy(&namespace, "wp", &wordpress_at(2))).await.expect("deployed");
    client.deploy(modern(deploy(&namespace, "wp", WORDPRESS))).await.expect("deployed");
    let lone = "name: Lone\nimages:\n- {name: WP, source: 'example/web:1', expose: [80]}\n";
    client.deploy(modern(deploy(&namespace, "wp", lone))).await.expect("deployed");
    let gone = |all: &Survey| all.of_kind("Secret").all(|(name, _)| name != "db-environment");
    let pruned = async {
        while !gone(&Survey::of(&namespace.client, &namespace).await) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), pruned).await.expect("the Secret is pruned");
    for (target, kinds) in [(3, [2, 0]), (2, [0, 1]), (1, [0, 1]), (3, [2, 0])] {
        let back =
            client.rollback(rollback(&namespace, "wp", target)).await.expect("rolled back").into_inner();
        assert_eq!(back.deployment.expect("a deployment").state(), proto::DeploymentState::Active);
        let settled = async {
            loop {
                let survey = Survey::of(&namespace.client, &namespace).await;
                // Claims outlive the revisions that have them.
                let faults = survey.faults("wp");
                if faults.is_empty() {
                    return survey;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let survey = tokio::time::timeout(Duration::from_secs(60), settled).await.expect("it comes to rest");
        let counts = ["Deployment", "ReplicationController"].map(|kind| survey.of_kind(kind).count());
        // A component that has become a controller stays one, with the template's count.
        assert_eq!(counts, kinds, "revision {target}: {:?}", survey.names());
        assert_eq!(!gone(&survey), target == 3, "revision {target}: {:?}", survey.names());
    }
}

#[tokio::test]
async fn grown_claims_keep_their_size() {
    let namespace = namespace("revisions-claims").await;
    let name = format!("{}-class", &*namespace);
    let class = json!({"metadata": {"name": name}, "provisioner": "kubernetes.io/host-path", "allowVolumeExpansion": true});
    let class: StorageClass = serde_json::from_value(class).expect("a class");
    let classes: Api<StorageClass> = Api::all(namespace.client.clone());
    classes.create(&PostParams::default(), &class).await.expect("it is made");
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let sized = |size: &str, edition: u32| {
        let text = format!(
            "name: Db\nimages:\n- {{name: db, source: 'example/db:{edition}', volumes: [{{container_path: /data}}]}}\n"
        );
        let mut request = modern(deploy(&namespace, "db", &text));
        let options = request.options.get_or_insert_default();
        (options.volume_size, options.storage_class) = (size.to_owned(), name.clone());
        request
    };
    client.deploy(sized("1Gi", 1)).await.expect("deployed");
    client.deploy(sized("2Gi", 2)).await.expect("deployed");
    let size = async || {
        let claims =
            namespace.api::<PersistentVolumeClaim>().list(&Default::default()).await.expect("claims");
        assert_eq!(claims.items.len(), 1);
        let spec = claims.items[0].spec.clone().expect("a spec");
        spec.resources.and_then(|one| one.requests).map(|one| one["storage"].0.clone()).expect("a size")
    };
    let back = client.rollback(rollback(&namespace, "db", 0)).await.expect("rolled back").into_inner();
    assert_eq!(back.outcome(), proto::DeployOutcome::Updated);
    let told = back.diagnostics.iter().find(|one| one.code == "VOLUME_SIZE_KEPT").expect("it is told");
    assert!(told.message.contains("2Gi") && told.message.contains("1Gi"), "{told:?}");
    assert_eq!(size().await, "2Gi");
    let again = client.rollback(rollback(&namespace, "db", 1)).await.expect("unchanged").into_inner();
    assert_eq!(again.outcome(), proto::DeployOutcome::Unchanged, "{:?}", again.changes);
    // And forward again.
    client.rollback(rollback(&namespace, "db", 2)).await.expect("rolled back");
    assert_eq!(size().await, "2Gi");
    assert_eq!(Survey::of(&namespace.client, &namespace).await.faults("db"), [""; 0]);
}

#[tokio::test]
async fn counts_of_others_are_not_lowered() {
    let namespace = namespace("revisions-counts").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "wp", &image(1))).await.expect("deployed");
    client.deploy(deploy(&namespace, "wp", &image(2))).await.expect("deployed");
    client.scale(scale(&namespace, "wp", "WP", 4)).await.expect("scaled");
    let mut seen = Recorder::start(control_plane()).namespace(&namespace).user(User::Adapter);
    let back = client.rollback(rollback(&namespace, "wp", 1)).await.expect("rolled back").into_inner();
    assert!(back.diagnostics.iter().any(|one| one.code == "REPLICAS_KEPT"), "{:?}", back.diagnostics);
    assert_eq!(replicas(&namespace).await, Some(4));
    seen.restart();
    // Another count in the template, and somebody else who has set one since: theirs is right for the load now.
    client.deploy(deploy(&namespace, "wp", &wordpress_at(3))).await.expect("deployed");
    assert_eq!(replicas(&namespace).await, Some(3));
    let controller = ["scale", "rc", "wp-replication-controller", "--replicas=5"];
    let status = control_plane().kubectl(User::Admin).args(["-n", &namespace]).args(controller).status();
    assert!(status.expect("kubectl runs").success());
    let back = client.rollback(rollback(&namespace, "wp", 1)).await.expect("rolled back").into_inner();
    assert!(back.diagnostics.iter().any(|one| one.code == "REPLICAS_KEPT"), "{:?}", back.diagnostics);
    assert_eq!(replicas(&namespace).await, Some(5));
}

async fn replicas(namespace: &Namespace) -> Option<i32> {
    let controllers = namespace.api::<k8s_openapi::api::core::v1::ReplicationController>();
    let controller = controllers.get("wp-replication-controller").await.expect("a controller");
    controller.spec.expect("a spec").replicas
}

/// A Rollback costs what a changed Deploy costs, and one GET of the revision that is read; a list costs the record, and
/// a look for each revision.
#[tokio::test]
async fn calls_stay_within_their_budgets() {
    let namespace = namespace("revisions-budgets").await;
    let plane = control_plane();
    let adapter = Adapter::at(&plane.kubeconfig(User::Adapter), Duration::from_secs(30)).await;
    let mut client = adapter.deployments();
    let (components, kinds) = (8, 3);
    let template = rich_chain(components);
    let newer = template.replace("value: s3", "value: another");
    for text in [&template, &newer] {
        client.deploy(modern(deploy(&namespace, "rich", text))).await.expect("deployed");
    }
    let mut calls = Recorder::start(plane).namespace(&namespace).user(User::Adapter);
    let request = proto::RollbackRequest { wait: 0, ..rollback(&namespace, "rich", 0) };
    let back = client.rollback(request.clone()).await.expect("rolled back").into_inner();
    let changed = back.changes.iter().filter(|one| one.action() == proto::ObjectAction::Update).count();
    assert_eq!(changed, 3, "{:#?}", back.changes);
    let made = counted(&mut calls);
    println!("Rollback with {changed} changes: {} calls", made.len());
    assert!(made.len() <= 2 + kinds + components + 3 + changed + 1, "{made:#?}");
    recorded(&namespace, "rich", "ACTIVE").await;
    calls.restart();
    // Back to what is in force: read twice over, and nothing written.
    let same = client.rollback(proto::RollbackRequest { revision: 1, ..request }).await.expect("unchanged");
    assert_eq!(same.into_inner().outcome(), proto::DeployOutcome::Unchanged);
    makes(&mut calls, 2 + kinds + components + 1);
    calls.restart();
    assert_eq!(revisions(&mut client, &namespace, "rich").await.len(), 3);
    makes(&mut calls, 1 + 3);
}

#[tokio::test]
async fn a_revision_keeps_what_its_images_say() {
    let namespace = namespace("revisions-facts").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let template = |edition: u32| {
        format!(
            "name: App\nimages:\n- {{name: web, source: 'example/web:{edition}', links: [{{service: db, alias: store}}]}}\n\
             - {{name: db, source: 'example/store:1'}}\n"
        )
    };
    let exposed = |port: u16| {
        let config = format!(r#"{{"config": {{"ExposedPorts": {{"{port}/tcp": {{}}}}}}}}"#);
        [("example/store:1".to_owned(), config)].into()
    };
    let ports = async |namespace: &Namespace| -> Vec<i32> {
        let service = namespace.api::<Service>().get("store").await.expect("a Service");
        service.spec.and_then(|spec| spec.ports).unwrap_or_default().iter().map(|port| port.port).collect()
    };
    let first =
        proto::DeployRequest { image_configs: exposed(7001), ..deploy(&namespace, "app", &template(1)) };
    client.deploy(first.clone()).await.expect("deployed");
    assert_eq!(ports(&namespace).await, [7001]);
    let same = client.deploy(first).await.expect("deployed").into_inner();
    assert_eq!(same.outcome(), proto::DeployOutcome::Unchanged);
    // A bare Pod that becomes a controller is translated again, with what the revision knows.
    client.scale(scale(&namespace, "app", "web", 2)).await.expect("scaled");
    assert_eq!(ports(&namespace).await, [7001]);
    let next =
        proto::DeployRequest { image_configs: exposed(7002), ..deploy(&namespace, "app", &template(2)) };
    client.deploy(next).await.expect("deployed");
    assert_eq!(ports(&namespace).await, [7002]);
    client.rollback(rollback(&namespace, "app", 1)).await.expect("rolled back");
    assert_eq!(ports(&namespace).await, [7001]);
    let unreadable = proto::DeployRequest {
        image_configs: [("example/store:1".to_owned(), "canary".to_owned())].into(),
        ..deploy(&namespace, "app", &template(2))
    };
    let refusal = refused(client.deploy(unreadable).await, Code::InvalidArgument, "TEMPLATE_INVALID");
    assert_eq!(refusal.fields(), ["image_configs[example/store:1]"]);
    assert!(!format!("{refusal:?}").contains("canary"));
}
