//! Promises that hold when the cluster says no: nothing begins too late, nothing is half recorded, nothing is blamed on a stranger.

use std::process::Stdio;
use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::PostParams;
use panamax_kubernetes_adapter::proto;
use serde_json::json;
use tonic::{Code, Request};

use crate::support::adapter::{Adapter, deploy, deploy_at_once, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{everything, members, names, recorded, refused, until};
use crate::support::namespace::{Namespace, namespace};
use crate::support::proxy::{Fault, Proxy};
use crate::support::survey::Survey;

/// A component with a port and a Secret.
const WEB: &str = "name: Web\nimages:\n- name: web\n  source: example/web:1\n  ports: [{host_port: 80, container_port: 80}]\n  deployment: {count: 2}\n";

/// An adapter whose road to the API server can have faults.
async fn behind_a_proxy() -> (Adapter, Proxy) {
    let proxy = Proxy::start(control_plane().client(User::Adapter).await, Duration::ZERO).await;
    (Adapter::serve(proxy.config(), None).await, proxy)
}

async fn state(adapter: &Adapter, namespace: &Namespace) -> proto::DeploymentState {
    let request = proto::GetDeploymentRequest {
        namespace: namespace.to_string(),
        name: "web".to_owned(),
        ..Default::default()
    };
    let answer = adapter.deployments().get_deployment(request).await.expect("it is there").into_inner();
    answer.deployment.expect("a deployment").state()
}

/// The phase that the record says.
async fn phase(namespace: &Namespace) -> String {
    let survey = Survey::of(&namespace.client, namespace).await;
    survey.head("web").expect("a record").phase.as_str().to_owned()
}

#[tokio::test]
async fn an_update_whose_revision_cannot_be_stored_touches_nothing() {
    let namespace = namespace("promise-revision").await;
    let (adapter, proxy) = behind_a_proxy().await;
    adapter.deployments().deploy(deploy(&namespace, "web", WEB)).await.expect("deployed");
    recorded(&namespace, "web", "ACTIVE").await;
    let before = members(&namespace).await;
    let changed = WEB.replace("web:1", "web:2").replace("host_port: 80", "host_port: 81");

    // The API server does not take it for now.
    proxy.befall("POST", "/secrets", usize::MAX, Fault::status(503, "ServiceUnavailable", "no", &json!({})));
    let mut request = Request::new(deploy_at_once(&namespace, "web", &changed));
    request.set_timeout(Duration::from_secs(10));
    refused(adapter.deployments().deploy(request).await, Code::Unavailable, "CLUSTER_UNREACHABLE");
    assert_eq!(members(&namespace).await, before);
    assert_eq!(
        (phase(&namespace).await.as_str(), state(&adapter, &namespace).await),
        ("idle", proto::DeploymentState::Active)
    );
    proxy.heal();

    // A quota does not take it at all.
    let secrets = everything(&namespace).await.keys().filter(|name| name.starts_with("Secret/")).count();
    let quota =
        json!({"metadata": {"name": "few"}, "spec": {"hard": {"count/secrets": secrets.to_string()}}});
    let quota: ResourceQuota = serde_json::from_value(quota).expect("a quota");
    namespace.api().create(&PostParams::default(), &quota).await.expect("it can be made");
    let counts = |quota: Option<&ResourceQuota>| {
        quota.and_then(|quota| quota.status.as_ref()?.used.as_ref()).is_some_and(|used| !used.is_empty())
    };
    until(&namespace, "few", counts).await;
    let refusal = adapter.deployments().deploy(deploy_at_once(&namespace, "web", &changed)).await;
    refused(refusal, Code::ResourceExhausted, "QUOTA_EXCEEDED");
    assert_eq!(members(&namespace).await, before);
    assert_eq!(
        (phase(&namespace).await.as_str(), state(&adapter, &namespace).await),
        ("idle", proto::DeploymentState::Active)
    );
    let same =
        adapter.deployments().deploy(deploy(&namespace, "web", WEB)).await.expect("the same").into_inner();
    assert_eq!(same.outcome(), proto::DeployOutcome::Unchanged);
}

#[tokio::test]
async fn nothing_begins_after_its_callers_deadline() {
    let namespace = namespace("promise-deadline").await;
    let (adapter, proxy) = behind_a_proxy().await;
    // A call that has been made before, so that only the record is still to be read.
    adapter.deployments().deploy(deploy_at_once(&namespace, "other", WEB)).await.expect("deployed");
    adapter.deployments().teardown(teardown(&namespace, "other")).await.expect("torn down");
    proxy.close();
    let mut request = Request::new(deploy_at_once(&namespace, "web", WEB));
    request.set_timeout(Duration::from_secs(1));
    let late = adapter.deployments().deploy(request).await.expect_err("nobody answers");
    assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Unavailable), "{late:?}");
    proxy.open();
    // What was held up has gone on by the time another whole life has passed on the same road.
    adapter.deployments().deploy(deploy(&namespace, "other", WEB)).await.expect("deployed");
    adapter.deployments().teardown(teardown(&namespace, "other")).await.expect("torn down");
    let written = |name: &str| {
        let head = format!("panamax-deployment-{name}\"");
        let passed = proxy.passed();
        let mut writes = passed.iter().filter(|call| call.method != "GET");
        writes.any(|call| String::from_utf8_lossy(&call.sent).contains(&head))
    };
    assert!(written("other") && !written("web"));
    assert_eq!(names(&everything(&namespace).await), [""; 0]);
}

#[tokio::test]
async fn an_exported_manifest_that_somebody_applied_is_told_as_what_it_is() {
    let namespace = namespace("promise-exported").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let request = proto::TranslateTemplateRequest {
        template_source: Some(proto::translate_template_request::TemplateSource::TemplateYaml(
            WEB.to_owned(),
        )),
        name: "web".to_owned(),
        ..Default::default()
    };
    let manifest =
        adapter.templates().translate_template(request).await.expect("translated").into_inner().manifest_yaml;
    let mut kubectl = control_plane()
        .kubectl(User::Harness)
        .args(["-n", &namespace, "apply", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("kubectl runs");
    std::io::Write::write_all(&mut kubectl.stdin.take().expect("a pipe"), manifest.as_bytes())
        .expect("it reads");
    assert!(kubectl.wait().expect("kubectl ends").success());
    // Pods come by themselves.
    let applied = async || {
        let members = members(&namespace).await;
        let applied = names(&members).into_iter().filter(|name| !name.starts_with("Pod/"));
        applied.map(|name| name.to_string()).collect::<Vec<_>>()
    };
    let before = applied().await;
    let refusal = refused(
        adapter.deployments().deploy(deploy_at_once(&namespace, "web", WEB)).await,
        Code::AlreadyExists,
        "OBJECT_NOT_OWNED",
    );
    for part in [
        "has the labels of deployment web",
        "whose record does not have it",
        "kubectl-client-side-apply",
        "Delete it",
    ] {
        assert!(refusal.message.contains(part), "{part}: {}", refusal.message);
    }
    assert!(!refusal.fact("owner").contains("deployment web"), "{refusal:?}");
    assert_eq!(applied().await, before);
}
