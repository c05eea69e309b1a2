//! Changes of a deployment that is there: in place, replaced, pruned, failed and repaired.

use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace as CoreNamespace, Pod, ReplicationController, ResourceQuota, Service,
};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use panamax_kubernetes_adapter::proto;
use serde_json::json;
use tonic::Code;

use crate::support::adapter::{Adapter, deploy, deploy_at_once, scale, teardown};
use crate::support::calls::Recorder;
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{action, everything, members, names, recorded, refused, remove, shown, until};
use crate::support::namespace::{Namespace, namespace};
use crate::support::patience::retried;
use crate::support::templates::{WORDPRESS, wordpress_at};

#[tokio::test]
async fn a_bare_pod_changes_its_image_in_place_and_is_replaced_for_anything_else() {
    let namespace = namespace("update-pod").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    let first = members(&namespace).await;
    let newer = WORDPRESS.replace("wordpress:3.9.1", "wordpress:4.0");
    let answer = client.deploy(deploy(&namespace, "wp", &newer)).await.expect("deployed").into_inner();
    assert_eq!(answer.outcome(), proto::DeployOutcome::Updated);
    assert_eq!(action(&answer.changes, "Pod/wp-pod"), proto::ObjectAction::Update);
    assert_eq!(action(&answer.changes, "Pod/db-pod"), proto::ObjectAction::Unchanged);
    let second = members(&namespace).await;
    assert_eq!(second["Pod/wp-pod"].0, first["Pod/wp-pod"].0, "the pod is the same");
    let pod = namespace.api::<Pod>().get("wp-pod").await.expect("wp-pod");
    let image = pod.spec.expect("a spec").containers[0].image.clone();
    assert_eq!(image.as_deref(), Some("centurylink/wordpress:4.0"));
    let other = newer.replace("value: wordpress", "value: blog");
    let answer = client.deploy(deploy(&namespace, "wp", &other)).await.expect("deployed").into_inner();
    assert_eq!(action(&answer.changes, "Pod/wp-pod"), proto::ObjectAction::Replace);
    assert!(!format!("{:?}", answer.changes).contains("blog"), "values are masked: {:?}", answer.changes);
    let third = members(&namespace).await;
    assert_ne!(third["Pod/wp-pod"].0, second["Pod/wp-pod"].0, "the pod is another");
    for untouched in ["Pod/db-pod", "Service/db-1"] {
        assert_eq!(third[untouched], first[untouched]);
    }
}

#[tokio::test]
async fn a_controllers_old_pods_are_replaced() {
    let namespace = namespace("update-rc").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "wp", &wordpress_at(3))).await.expect("deployed");
    let before = members(&namespace).await;
    let newer = wordpress_at(3).replace("wordpress:3.9.1", "wordpress:4.0");
    let answer = client.deploy(deploy(&namespace, "wp", &newer)).await.expect("deployed").into_inner();
    let told = answer.diagnostics.iter().find(|one| one.code == "PODS_REPLACED").expect("it is told");
    assert_eq!(told.severity(), proto::Severity::Info);
    let controller = "ReplicationController/wp-replication-controller";
    assert_eq!(action(&answer.changes, controller), proto::ObjectAction::Update);
    let component = &answer.deployment.as_ref().expect("a deployment").components[0];
    assert_eq!((component.ready_replicas(), component.updated_replicas()), (3, 3));
    let after = members(&namespace).await;
    assert_eq!(after[controller].0, before[controller].0, "the controller is the same");
    for pod in names(&before).into_iter().filter(|name| name.starts_with("Pod/wp-")) {
        assert!(!after.contains_key(pod), "{pod} is of the old template");
    }
    let pods = namespace.api::<Pod>().list(&Default::default()).await.expect("pods");
    let images = pods.items.into_iter().filter_map(|pod| pod.spec?.containers[0].image.clone());
    assert_eq!(images.filter(|image| image == "centurylink/wordpress:4.0").count(), 3);
}

const LONE_DB: &str = "name: Db\nimages:\n- {name: DB, source: 'centurylink/mysql:5.5', expose: [3306]}\n";

#[tokio::test]
async fn what_the_template_no_longer_has_is_pruned_or_kept() {
    let namespace = namespace("update-prune").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let keep = proto::DeployOptions { prune: proto::PrunePolicy::Keep.into(), ..Default::default() };
    for (name, options) in [("kept", Some(keep)), ("pruned", None)] {
        client.deploy(deploy(&namespace, name, WORDPRESS)).await.expect("deployed");
        let before = members(&namespace).await;
        let request = proto::DeployRequest { options, ..deploy(&namespace, name, LONE_DB) };
        let answer = client.deploy(request).await.expect("deployed").into_inner();
        let after = members(&namespace).await;
        if name == "kept" {
            assert_eq!(action(&answer.changes, "Pod/wp-pod"), proto::ObjectAction::Keep);
            assert_eq!(after["Pod/wp-pod"], before["Pod/wp-pod"]);
            assert_eq!(after["Service/db-1"], before["Service/db-1"]);
            assert_eq!(answer.outcome(), proto::DeployOutcome::Updated, "the template is another");
            let told: Vec<_> =
                answer.deployment.iter().flat_map(|one| &one.components).map(|one| &*one.name).collect();
            assert_eq!(told, ["db"]);
        } else {
            assert_eq!(action(&answer.changes, "Service/db-1"), proto::ObjectAction::Delete);
            assert_eq!(names(&after), ["Pod/db-pod"]);
        }
        client.teardown(teardown(&namespace, name)).await.expect("torn down");
        assert_eq!(names(&everything(&namespace).await), [""; 0]);
    }
}

#[tokio::test]
async fn another_template_that_becomes_the_same_objects_is_recorded() {
    let namespace = namespace("update-words").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    let before = members(&namespace).await;
    let renamed = format!("{WORDPRESS}description: The same, told otherwise\n");
    for (outcome, revision) in [(proto::DeployOutcome::Updated, 2), (proto::DeployOutcome::Unchanged, 2)] {
        let answer = client.deploy(deploy(&namespace, "wp", &renamed)).await.expect("deployed").into_inner();
        assert_eq!(answer.outcome(), outcome);
        assert_eq!(answer.deployment.expect("a deployment").revision, revision);
        let written = answer.changes.iter().filter(|one| one.action() != proto::ObjectAction::Unchanged);
        assert_eq!(written.count(), 0, "no object is");
        assert_eq!(members(&namespace).await, before);
    }
    let found = shown(&adapter, &namespace, "wp", proto::DeploymentView::Full).await;
    assert_eq!(found.state(), proto::DeploymentState::Active);
    assert_eq!(found.template.expect("a template").description, "The same, told otherwise");
    // So do other rules, which Scale and Rollback go by, too.
    let mut ruled = deploy(&namespace, "wp", &renamed);
    ruled.options.get_or_insert_default().set_volumes(proto::VolumeMapping::PersistentVolumeClaim);
    for outcome in [proto::DeployOutcome::Updated, proto::DeployOutcome::Unchanged] {
        let answer = client.deploy(ruled.clone()).await.expect("deployed").into_inner();
        assert_eq!(answer.outcome(), outcome);
        assert_eq!(members(&namespace).await, before);
    }
}

#[tokio::test]
async fn a_service_changes_between_headless_and_not_by_replacement() {
    let namespace = namespace("update-headless").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let (headless, with_port) = two_with_odd_port();
    client.deploy(deploy(&namespace, "two", headless)).await.expect("deployed");
    let mut last = members(&namespace).await;
    for (template, is_headless) in [(with_port.as_str(), false), (headless, true)] {
        let answer = client.deploy(deploy(&namespace, "two", template)).await.expect("deployed").into_inner();
        assert_eq!(action(&answer.changes, "Service/odd"), proto::ObjectAction::Replace);
        let now = members(&namespace).await;
        assert_ne!(now["Service/odd"].0, last["Service/odd"].0, "the Service is another");
        let service = namespace.api::<Service>().get("odd").await.expect("it is there");
        let ip = service.spec.expect("a spec").cluster_ip.expect("an address or None");
        assert_eq!(ip == "None", is_headless, "{ip}");
        last = now;
    }
}

#[tokio::test]
async fn a_service_in_doubt_is_replaced_after_an_operation_that_died() {
    let namespace = namespace("update-doubt").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let (headless, with_port) = two_with_odd_port();
    client.deploy(deploy(&namespace, "two", headless)).await.expect("deployed");
    recorded(&namespace, "two", "ACTIVE").await;
    // The head as the dead operation left it: everything planned, nothing known to be written.
    let heads = namespace.api::<ConfigMap>();
    let head = heads.get("panamax-deployment-two").await.expect("a head");
    let text = &head.data.as_ref().expect("data")["head.json"];
    let mut record: serde_json::Value = serde_json::from_str(text).expect("a record");
    record["phase"] = json!("applying");
    record["operation"] = json!({
        "id": "dead", "kind": "deploy", "epoch": 1, "holder": "dead", "started": "2020-01-01T00:00:00Z",
        "lease_until": "2020-01-01T00:00:01Z", "lease_millis": 1000, "revision": null,
    });
    for member in record["inventory"].as_array_mut().expect("members") {
        member["state"] = json!("planned");
    }
    let patch = Patch::Merge(json!({"data": {"head.json": record.to_string()}}));
    heads.patch("panamax-deployment-two", &PatchParams::default(), &patch).await.expect("written");
    // Its lease is judged from the first sight on, whatever time the dead machine wrote.
    let deploys = || {
        let (mut client, request) = (client.clone(), deploy(&namespace, "two", &with_port));
        async move { client.deploy(request).await }
    };
    let (deployed, tries) = retried(deploys).await;
    deployed.expect("deployed");
    assert!(tries > 1, "a lease of a second was over at its first sight");
    let service = namespace.api::<Service>().get("odd").await.expect("it is there");
    assert_ne!(service.spec.expect("a spec").cluster_ip.as_deref(), Some("None"));
}

/// No port is known for Odd in the first, so its Service is headless; in the second it has one.
fn two_with_odd_port() -> (&'static str, String) {
    let headless = "name: Two\nimages:\n- name: Web\n  source: example/web:1\n  links: [{service: Odd, alias: odd}]\n\
                    - name: Odd\n  source: example/odd:1\n";
    (headless, headless.replace("odd:1\n", "odd:1\n  expose: [4000]\n"))
}

#[tokio::test]
async fn what_goes_without_grace_is_not_waited_for() {
    let namespace = namespace("update-grace").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    let zero = prost_types::Duration { seconds: 0, nanos: 0 };
    let began = std::time::Instant::now();
    let request = proto::TeardownRequest { grace_period: Some(zero), ..teardown(&namespace, "wp") };
    assert!(client.teardown(request).await.expect("torn down").into_inner().complete);
    println!("torn down without grace in {:?}", began.elapsed());
    assert_eq!(names(&everything(&namespace).await), [""; 0]);
}

/// Allows this many pods, and waits until the quota counts.
async fn quota(namespace: &Namespace, pods: u32) {
    let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": {"pods": pods.to_string()}}});
    let quota: ResourceQuota = serde_json::from_value(quota).expect("a quota");
    namespace.api().create(&PostParams::default(), &quota).await.expect("it can be made");
    let counts = |quota: Option<&ResourceQuota>| {
        quota.and_then(|quota| quota.status.as_ref()?.used.as_ref()).is_some_and(|used| !used.is_empty())
    };
    until(namespace, "few", counts).await;
}

#[tokio::test]
async fn a_first_deploy_that_fails_takes_everything_back() {
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let crowded = namespace("update-quota").await;
    quota(&crowded, 1).await;
    let strict = namespace("update-restricted").await;
    let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let namespaces: Api<CoreNamespace> = Api::all(strict.client.clone());
    namespaces.patch(&strict, &PatchParams::default(), &Patch::Merge(label)).await.expect("labelled");
    let cases = [
        (&crowded, Code::ResourceExhausted, "QUOTA_EXCEEDED"),
        (&strict, Code::FailedPrecondition, "ADMISSION_DENIED"),
    ];
    for (namespace, code, reason) in cases {
        let mut request = deploy_at_once(namespace, "wp", WORDPRESS);
        // A label on a namespace counts once every part of the API server has seen it.
        let refusal = loop {
            match adapter.deployments().deploy(request.clone()).await {
                Ok(_) => adapter.deployments().teardown(teardown(namespace, "wp")).await.expect("gone"),
                refused => break refused,
            };
        };
        refused(refusal, code, reason);
        assert_eq!(names(&everything(namespace).await), [""; 0], "everything is taken back");
        request.validate_only = true;
        let checked = adapter.deployments().deploy(request).await;
        if reason == "ADMISSION_DENIED" {
            refused(checked, code, reason);
        }
    }
}

#[tokio::test]
async fn an_update_that_fails_says_so_and_the_next_repairs_it() {
    let namespace = namespace("update-repair").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    let pod =
        json!({"metadata": {"name": "new-pod"}, "spec": {"containers": [{"name": "a", "image": "b:1"}]}});
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    namespace.api().create(&PostParams::default(), &pod).await.expect("it can be made");
    let newer = WORDPRESS.replace("wordpress:3.9.1", "wordpress:4.0");
    let newer = format!("{newer}- {{name: New, source: 'example/new:1'}}\n");
    let answer = client.deploy(deploy_at_once(&namespace, "wp", &newer)).await;
    let refusal = refused(answer, Code::AlreadyExists, "APPLY_INCOMPLETE");
    assert!(refusal.fact("objects").contains("Pod new-pod"), "{refusal:#?}");
    let get = proto::GetDeploymentRequest {
        namespace: namespace.to_string(),
        name: "wp".to_owned(),
        ..Default::default()
    };
    until(&namespace, "wp-pod", kube::runtime::conditions::is_pod_running()).await;
    let seen = client.get_deployment(get).await.expect("it is there").into_inner().deployment.expect("one");
    assert_ne!(seen.state(), proto::DeploymentState::Active);
    remove::<Pod>(&namespace, "new-pod").await;
    let answer = client.deploy(deploy(&namespace, "wp", &newer)).await.expect("repaired").into_inner();
    assert_eq!(answer.outcome(), proto::DeployOutcome::Updated);
    assert_eq!(answer.deployment.expect("a deployment").state(), proto::DeploymentState::Active);
    let again = client.deploy(deploy(&namespace, "wp", &newer)).await.expect("deployed").into_inner();
    assert_eq!(again.outcome(), proto::DeployOutcome::Unchanged);
    client.teardown(teardown(&namespace, "wp")).await.expect("torn down");
    assert_eq!(names(&everything(&namespace).await), [""; 0]);
}

#[tokio::test]
async fn an_etag_of_another_moment_is_refused() {
    let namespace = namespace("update-etag").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let with =
        |etag: &str| proto::DeployRequest { etag: etag.to_owned(), ..deploy(&namespace, "wp", WORDPRESS) };
    let refusal = refused(client.deploy(with("none-1")).await, Code::Aborted, "ETAG_MISMATCH");
    assert!(!refusal.retry, "{refusal:#?}");
    assert_eq!(names(&everything(&namespace).await), [""; 0]);
    let deployed = client.deploy(with("")).await.expect("deployed").into_inner();
    let first = deployed.deployment.expect("a deployment").etag;
    let mut request = scale(&namespace, "wp", "WP", 2);
    request.etag.clone_from(&first);
    client.scale(request.clone()).await.expect("the etag is of now");
    let before = members(&namespace).await;
    refused(client.scale(request).await, Code::Aborted, "ETAG_MISMATCH");
    refused(client.deploy(with(&first)).await, Code::Aborted, "ETAG_MISMATCH");
    let torn = proto::TeardownRequest { etag: first, ..teardown(&namespace, "wp") };
    refused(client.teardown(torn).await, Code::Aborted, "ETAG_MISMATCH");
    assert_eq!(members(&namespace).await, before);
}

#[tokio::test]
async fn checking_only_writes_nothing() {
    let namespace = namespace("update-check").await;
    let plane = control_plane();
    let adapter = Adapter::real(plane, User::Adapter).await;
    let mut client = adapter.deployments();
    let check =
        |template: &str| proto::DeployRequest { validate_only: true, ..deploy(&namespace, "wp", template) };
    let mut calls = Recorder::start(plane).namespace(&namespace).user(User::Adapter);
    let first = client.deploy(check(WORDPRESS)).await.expect("a check").into_inner();
    assert_eq!(first.outcome(), proto::DeployOutcome::Created);
    assert_eq!(action(&first.changes, "Pod/wp-pod"), proto::ObjectAction::Create);
    assert_eq!(names(&everything(&namespace).await), [""; 0]);
    let writes = |calls: &mut Recorder| {
        let mut writes = calls.requests();
        writes.retain(|call| !matches!(call.verb.as_str(), "get" | "list") && !call.dry_run);
        writes
    };
    assert!(writes(&mut calls).is_empty(), "only dry runs");
    client.deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    recorded(&namespace, "wp", "ACTIVE").await;
    let before = everything(&namespace).await;
    calls.restart();
    let newer = WORDPRESS.replace("wordpress:3.9.1", "wordpress:4.0").replace("mysql:5.5", "mysql:5.6");
    let changed = client.deploy(check(&newer)).await.expect("a check").into_inner();
    assert_eq!(changed.outcome(), proto::DeployOutcome::Updated);
    assert_eq!(action(&changed.changes, "Pod/db-pod"), proto::ObjectAction::Update);
    let same = client.deploy(check(WORDPRESS)).await.expect("a check").into_inner();
    assert_eq!(same.outcome(), proto::DeployOutcome::Unchanged);
    let scaled = proto::ScaleRequest { validate_only: true, ..scale(&namespace, "wp", "WP", 3) };
    client.scale(scaled).await.expect("a check");
    let torn = proto::TeardownRequest { validate_only: true, ..teardown(&namespace, "wp") };
    let torn = client.teardown(torn).await.expect("a check").into_inner();
    assert_eq!((torn.changes.len(), torn.complete), (3, false));
    let other = proto::DeployRequest { name: "other".to_owned(), ..check(WORDPRESS) };
    let refusal = refused(client.deploy(other).await, Code::AlreadyExists, "OBJECT_NOT_OWNED");
    assert_eq!(refusal.fact("owner"), "deployment wp");
    assert!(writes(&mut calls).is_empty(), "only dry runs");
    assert_eq!(everything(&namespace).await, before);
}

#[tokio::test]
async fn a_missing_namespace_is_made_when_asked_for() {
    let plane = control_plane();
    let adapter = Adapter::real(plane, User::Adapter).await;
    let client = plane.client(User::Harness).await;
    let mut request = deploy("update-new-namespace", "wp", WORDPRESS);
    refused(
        adapter.deployments().deploy(request.clone()).await,
        Code::FailedPrecondition,
        "NAMESPACE_NOT_FOUND",
    );
    request.options = Some(proto::DeployOptions { create_namespace: true, ..Default::default() });
    let checked = proto::DeployRequest { validate_only: true, ..request.clone() };
    adapter.deployments().deploy(checked).await.expect("a check");
    let namespaces: Api<CoreNamespace> = Api::all(client);
    let found = namespaces.get_opt("update-new-namespace").await.expect("an answer");
    assert!(found.is_none(), "a check makes no namespace");
    let answer = adapter.deployments().deploy(request).await.expect("deployed").into_inner();
    assert_eq!(answer.deployment.expect("a deployment").state(), proto::DeploymentState::Active);
    namespaces.delete("update-new-namespace", &DeleteParams::default()).await.expect("it can go");
}

#[tokio::test]
async fn a_second_operation_waits_for_nobody() {
    let namespace = namespace("update-busy").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let template = wordpress_at(2);
    adapter.deployments().deploy(deploy(&namespace, "wp", &template)).await.expect("deployed");
    // Its Service is to be replaced and cannot go: the operation stays under way as long as we like.
    let headless = template
        .replace("mysql:5.5", "odd:1")
        .replace("  ports:\n  - host_port: 3306\n    container_port: 3306\n", "");
    assert_ne!(headless, template);
    let hold = |finalizers: serde_json::Value| json!({"metadata": {"finalizers": finalizers}});
    let services = namespace.api::<Service>();
    let patch = Patch::Merge(hold(json!(["example.com/hold"])));
    services.patch("db-1", &PatchParams::default(), &patch).await.expect("held");
    let mut first = adapter.deployments();
    let update = first.deploy(deploy(&namespace, "wp", &headless));
    let others = async {
        let going = |one: Option<&Service>| one.is_some_and(|one| one.metadata.deletion_timestamp.is_some());
        until(&namespace, "db-1", going).await;
        let mut client = adapter.deployments();
        let answers = [
            refused(
                client.deploy(deploy(&namespace, "wp", &template)).await,
                Code::Aborted,
                "OPERATION_IN_PROGRESS",
            ),
            refused(
                client.scale(scale(&namespace, "wp", "WP", 1)).await,
                Code::Aborted,
                "OPERATION_IN_PROGRESS",
            ),
            refused(
                client.teardown(teardown(&namespace, "wp")).await,
                Code::Aborted,
                "OPERATION_IN_PROGRESS",
            ),
        ];
        for refusal in answers {
            assert_eq!(refusal.fact("holder"), "test", "{refusal:#?}");
            assert!(refusal.retry && !refusal.fact("since").is_empty(), "{refusal:#?}");
        }
        let patch = Patch::Merge(hold(json!(null)));
        services.patch("db-1", &PatchParams::default(), &patch).await.expect("let go");
    };
    let (updated, ()) = tokio::join!(update, others);
    assert_eq!(updated.expect("updated").into_inner().outcome(), proto::DeployOutcome::Updated);
    let controllers = namespace.api::<ReplicationController>();
    assert!(controllers.get_opt("wp-replication-controller").await.expect("an answer").is_some());
}
