//! Bad requests and clusters that say no: exact code, reason and path, and nothing written.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace as CoreNamespace};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use panamax_kubernetes_adapter::proto;
use serde_json::json;
use tonic::Code;

use crate::support::adapter::{Adapter, deploy, deploy_at_once, scale, teardown};
use crate::support::calls::Recorder;
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{Refusal, everything, names, refused};
use crate::support::namespace::namespace;
use crate::support::templates::WORDPRESS;

pub(super) const GOOD: &str = "name: Web\nimages:\n- name: web\n  source: example/web:1\n  ports: [{host_port: 80, container_port: 80}]\n";

/// A good template with one thing changed, the path of the fault and its code.
fn bad_templates() -> Vec<(String, &'static str, &'static str)> {
    let with = |line: &str| format!("{GOOD}  {line}\n");
    let ports = |text: &str| GOOD.replace("{host_port: 80, container_port: 80}", text);
    let port = "images[0].ports[0].container_port";
    vec![
        ("images: [".to_owned(), "template_yaml", "YAML_SYNTAX"),
        ("".to_owned(), "template_yaml", "NOT_A_MAPPING"),
        ("name: Web\nimages: 5\n".to_owned(), "images", "NOT_A_LIST"),
        ("name: Web\nimages: []\n".to_owned(), "images", "NO_IMAGES"),
        (with("environment: [{variable: A, value: [b]}]"), "images[0].environment[0].value", "NOT_A_SCALAR"),
        (with("environment: [{variable: 'A=B', value: b}]"), "images[0].environment[0].variable", "ENV_NAME"),
        (with("links: [{service: none, alias: x}]"), "images[0].links[0].service", "LINK_TARGET_MISSING"),
        (with("deployment: {count: 101}"), "images[0].deployment.count", "LIMIT"),
        (with("deployment: {count: -1}"), "images[0].deployment.count", "COUNT_NOT_A_NUMBER"),
        (ports("{container_port: 0}"), port, "PORT_RANGE"),
        (ports("{container_port: 65536}"), port, "PORT_RANGE"),
        (ports("{host_port: 0, container_port: 80}"), "images[0].ports[0].host_port", "PORT_RANGE"),
        (ports("{host_port: 65536, container_port: 80}"), "images[0].ports[0].host_port", "PORT_RANGE"),
        (ports("{container_port: 80.0}"), port, "PORT_NOT_DECIMAL"),
        (ports("{host_port: 80}"), port, "PORT_MISSING"),
        (ports("{container_port: 80, proto: SCTP}"), "images[0].ports[0].proto", "PORT_PROTOCOL"),
        (GOOD.replace("  source: example/web:1\n", ""), "images[0].source", "SOURCE_MISSING"),
        (GOOD.replace("example/web:1", "Example/Web"), "images[0].source", "IMAGE_REFERENCE"),
        (format!("{GOOD}- {{name: WEB, source: 'b:1'}}\n"), "images[1].name", "NAME_COLLISION"),
    ]
}

#[tokio::test]
async fn a_bad_template_is_refused_with_its_path_before_the_cluster_is_asked() {
    let namespace = namespace("refuse-template").await;
    let plane = control_plane();
    let adapter = Adapter::real(plane, User::Adapter).await;
    let mut calls = Recorder::start(plane).namespace(&namespace);
    for (template, path, code) in bad_templates() {
        let answer = adapter.deployments().deploy(deploy(&namespace, "web", &template)).await;
        let refusal = refused(answer, Code::InvalidArgument, "TEMPLATE_INVALID");
        assert_eq!(refusal.violations, [(path.to_owned(), code.to_owned())], "{template}\n{refusal:#?}");
        assert!(refusal.message.contains(path), "a message that stands alone: {refusal:#?}");
    }
    let several = GOOD.replace("container_port: 80", "container_port: 0").replace("example/web:1", "A B");
    let answer = adapter.deployments().deploy(deploy(&namespace, "web", &several)).await;
    let refusal = refused(answer, Code::InvalidArgument, "TEMPLATE_INVALID");
    assert_eq!(refusal.violations.len(), 2, "all faults at once: {refusal:#?}");
    let mut missing = deploy(&namespace, "web", GOOD);
    missing.r#override = Some(proto::Template {
        images: vec![proto::Image { name: "other".to_owned(), ..Default::default() }],
        ..Default::default()
    });
    let refusal =
        refused(adapter.deployments().deploy(missing).await, Code::InvalidArgument, "TEMPLATE_INVALID");
    assert_eq!(refusal.violations[0].1, "OVERRIDE_IMAGE_MISSING", "{refusal:#?}");
    assert!(calls.calls().is_empty(), "{:#?}", calls.calls());
}

/// A change to a good request, and the path of its fault.
pub(super) type Broken<T> = (fn(&mut T), &'static str);

pub(super) fn broken<T: Clone>(good: &T, cases: Vec<Broken<T>>) -> Vec<(T, &'static str)> {
    let breaking = |(change, path): Broken<T>| {
        let mut request = good.clone();
        change(&mut request);
        (request, path)
    };
    cases.into_iter().map(breaking).collect()
}

const NEGATIVE: prost_types::Duration = prost_types::Duration { seconds: -1, nanos: 0 };

/// Sends each broken request; every one is refused as a wrong field at its path.
macro_rules! check_fields {
    ($client:expr, $method:ident, $good:expr, [$(($change:expr, $path:literal)),+ $(,)?]) => {
        for (request, path) in broken(&$good, vec![$(($change, $path)),+]) {
            let refusal = refused($client.$method(request).await, Code::InvalidArgument, "FIELD_INVALID");
            assert_eq!(refusal.violations, [(path.to_owned(), "FIELD_INVALID".to_owned())], "{refusal:#?}");
            assert!(refusal.message.contains(path), "a message that stands alone: {refusal:#?}");
        }
    };
}

#[tokio::test]
async fn a_wrong_field_is_refused_with_its_path() {
    let namespace = namespace("refuse-field").await;
    let plane = control_plane();
    let adapter = Adapter::real(plane, User::Adapter).await;
    let mut client = adapter.deployments();
    let mut calls = Recorder::start(plane).namespace(&namespace);
    check_fields!(
        client,
        deploy,
        deploy(&namespace, "web", GOOD),
        [
            (|one| one.namespace = "No_Good".to_owned(), "namespace"),
            (|one| one.namespace = "../kube-system".to_owned(), "namespace"),
            (|one| one.name = "a/b".to_owned(), "name"),
            (|one| one.name = "a".repeat(64), "name"),
            (|one| one.template_source = None, "template_source"),
            (|one| one.wait = 99, "wait"),
            (|one| one.wait_timeout = Some(NEGATIVE), "wait_timeout"),
            (|one| one.wait_timeout = Some(Default::default()), "wait_timeout"),
            (
                |one| one.options = Some(proto::DeployOptions { prune: 99, ..Default::default() }),
                "options.prune"
            ),
            (
                |one| one.options = Some(proto::DeployOptions { profile: -1, ..Default::default() }),
                "options.profile"
            ),
        ]
    );
    check_fields!(
        client,
        scale,
        scale(&namespace, "web", "web", 1),
        [
            (|one| one.name.clear(), "name"),
            (|one| one.replicas.clear(), "replicas"),
            (|one| one.replicas = [("web".to_owned(), -1)].into(), "replicas[web]"),
            (|one| one.wait = 99, "wait"),
            (|one| one.wait_timeout = Some(NEGATIVE), "wait_timeout"),
        ]
    );
    let many = client.scale(scale(&namespace, "web", "web", 101)).await;
    let refusal = refused(many, Code::InvalidArgument, "FIELD_INVALID");
    assert_eq!(refusal.violations, [("replicas[web]".to_owned(), "LIMIT".to_owned())], "{refusal:#?}");
    check_fields!(
        client,
        teardown,
        teardown(&namespace, "web"),
        [
            (|one| one.name = "Web".to_owned(), "name"),
            (|one| one.volumes = 99, "volumes"),
            (|one| one.wait = 99, "wait"),
            (|one| one.grace_period = Some(NEGATIVE), "grace_period"),
        ]
    );
    assert!(calls.calls().is_empty(), "{:#?}", calls.calls());
}

#[tokio::test]
async fn a_wrong_field_of_a_question_is_refused_with_its_path() {
    let namespace = namespace("refuse-question").await;
    let plane = control_plane();
    let adapter = Adapter::real(plane, User::Adapter).await;
    let mut client = adapter.deployments();
    let mut calls = Recorder::start(plane).namespace(&namespace);
    let of = namespace.to_string();
    let get =
        proto::GetDeploymentRequest { namespace: of.clone(), name: "web".to_owned(), ..Default::default() };
    check_fields!(
        client,
        get_deployment,
        get,
        [(|one| one.name.clear(), "name"), (|one| one.view = 99, "view"),]
    );
    let list = proto::ListDeploymentsRequest { namespace: of.clone(), ..Default::default() };
    check_fields!(
        client,
        list_deployments,
        list,
        [
            (|one| one.page_size = -1, "page_size"),
            (|one| one.states = vec![1, 99], "states[1]"),
            (|one| one.states = vec![1, 0], "states[1]"),
            (|one| one.page_token = "a".repeat(70_000), "page_token"),
            (|one| one.view = 99, "view"),
            (|one| one.namespace = "--".to_owned(), "namespace"),
        ]
    );
    let watch = proto::WatchDeploymentRequest { namespace: of, name: "web".to_owned(), ..Default::default() };
    check_fields!(
        client,
        watch_deployment,
        watch,
        [
            (|one| one.until = 99, "until"),
            (|one| one.heartbeat_interval = Some(Default::default()), "heartbeat_interval"),
            (
                |one| one.heartbeat_interval = Some(prost_types::Duration { seconds: 601, nanos: 0 }),
                "heartbeat_interval"
            ),
        ]
    );
    assert!(calls.calls().is_empty(), "{:#?}", calls.calls());
}

#[tokio::test]
async fn namespaces_that_cannot_take_it_are_named() {
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    for reserved in ["kube-system", "kube-public", "kube-node-lease"] {
        let refusal = refused(
            client.deploy(deploy(reserved, "web", GOOD)).await,
            Code::FailedPrecondition,
            "NAMESPACE_RESERVED",
        );
        assert!(refusal.message.contains(reserved), "{refusal:#?}");
        let answer = client.scale(scale(reserved, "web", "web", 1)).await;
        refused(answer, Code::FailedPrecondition, "NAMESPACE_RESERVED");
        refused(
            client.teardown(teardown(reserved, "web")).await,
            Code::FailedPrecondition,
            "NAMESPACE_RESERVED",
        );
    }
    let answer = client.deploy(deploy("refuse-unknown", "web", GOOD)).await;
    refused(answer, Code::FailedPrecondition, "NAMESPACE_NOT_FOUND");
    let checked = proto::DeployRequest { validate_only: true, ..deploy("refuse-unknown", "web", GOOD) };
    refused(client.deploy(checked).await, Code::FailedPrecondition, "NAMESPACE_NOT_FOUND");
    refused(
        client.scale(scale("refuse-unknown", "web", "web", 1)).await,
        Code::NotFound,
        "DEPLOYMENT_NOT_FOUND",
    );
    let ending = namespace("refuse-ending").await;
    let held = json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}});
    let held: ConfigMap = serde_json::from_value(held).expect("a map");
    ending.api().create(&PostParams::default(), &held).await.expect("it can be made");
    let namespaces: Api<CoreNamespace> = Api::all(ending.client.clone());
    namespaces.delete(&ending, &DeleteParams::default()).await.expect("it begins to go");
    let answer = client.deploy(deploy(&ending, "web", GOOD)).await;
    refused(answer, Code::FailedPrecondition, "NAMESPACE_TERMINATING");
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    ending.api::<ConfigMap>().patch("held", &PatchParams::default(), &free).await.expect("let go");
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let namespace = namespace("refuse-missing").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let answer = client.teardown(teardown(&namespace, "none")).await;
    refused(answer, Code::NotFound, "DEPLOYMENT_NOT_FOUND");
    let allowed = proto::TeardownRequest { allow_missing: true, ..teardown(&namespace, "none") };
    assert!(client.teardown(allowed).await.expect("nothing to do").into_inner().complete);
    client.deploy(deploy_at_once(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    let before = everything(&namespace).await;
    let refusal =
        refused(client.scale(scale(&namespace, "wp", "WPP", 2)).await, Code::NotFound, "COMPONENT_NOT_FOUND");
    assert!(refusal.message.ends_with(", but WP, DB; did you mean `WP`?"), "{refusal:#?}");
    assert_eq!(names(&everything(&namespace).await), names(&before));
}

#[tokio::test]
async fn a_cluster_that_is_down_is_said_within_the_deadline() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let config = || kube::Config::new(url.parse().expect("an address"));
    // Nobody answers, though the connection opens.
    let silent = Adapter::serve(config(), None).await;
    let (answer, took) = deploy_within(&silent, Duration::from_secs(3)).await;
    let refusal = Refusal::of(&answer);
    assert_eq!(
        (refusal.code, refusal.reason.as_str()),
        (Code::DeadlineExceeded, "CLUSTER_TIMEOUT"),
        "{refusal:#?}"
    );
    assert!(took < Duration::from_secs(3), "{took:?}");
    drop(listener);
    let closed = Adapter::serve(config(), None).await;
    let (answer, took) = deploy_within(&closed, Duration::from_secs(10)).await;
    let refusal = Refusal::of(&answer);
    assert_eq!(
        (refusal.code, refusal.reason.as_str()),
        (Code::Unavailable, "CLUSTER_UNREACHABLE"),
        "{refusal:#?}"
    );
    assert!(refusal.retry && took < Duration::from_secs(10), "{took:?}: {refusal:#?}");
    println!("a closed port is said after {took:?}");
    let request = proto::TranslateTemplateRequest {
        template_source: Some(proto::translate_template_request::TemplateSource::TemplateYaml(
            GOOD.to_owned(),
        )),
        ..Default::default()
    };
    closed.templates().translate_template(request).await.expect("translation needs no cluster");
}

async fn deploy_within(adapter: &Adapter, deadline: Duration) -> (tonic::Status, Duration) {
    let mut request = tonic::Request::new(deploy("default", "web", GOOD));
    request.set_timeout(deadline);
    let began = Instant::now();
    let answer = adapter.deployments().deploy(request).await.expect_err("no cluster");
    (answer, began.elapsed())
}

#[tokio::test]
async fn a_cluster_that_forbids_is_said_for_every_call() {
    let namespace = namespace("refuse-forbidden").await;
    let plane = control_plane();
    let alice = Adapter::real(plane, User::Alice).await;
    let kubeconfig = std::fs::read_to_string(plane.kubeconfig(User::Adapter)).expect("a kubeconfig");
    let kubeconfig = kubeconfig.replace(plane.token(User::Adapter), "nobody-knows-this-token");
    let kubeconfig = kube::config::Kubeconfig::from_yaml(&kubeconfig).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await;
    let unknown = Adapter::serve(config.expect("a configuration"), None).await;
    let cases = [
        (alice, Code::PermissionDenied, "CLUSTER_FORBIDDEN"),
        (unknown, Code::Unavailable, "CLUSTER_CREDENTIALS_REJECTED"),
    ];
    for (adapter, code, reason) in cases {
        let mut client = adapter.deployments();
        let (of, name) = (namespace.to_string(), "web".to_owned());
        refused(client.deploy(deploy(&namespace, "web", GOOD)).await, code, reason);
        refused(client.scale(scale(&namespace, "web", "web", 1)).await, code, reason);
        refused(client.teardown(teardown(&namespace, "web")).await, code, reason);
        let get =
            proto::GetDeploymentRequest { namespace: of.clone(), name: name.clone(), ..Default::default() };
        refused(client.get_deployment(get).await, code, reason);
        for of in [of.clone(), "-".to_owned()] {
            let list = proto::ListDeploymentsRequest { namespace: of, ..Default::default() };
            refused(client.list_deployments(list).await, code, reason);
        }
        let watch = proto::WatchDeploymentRequest { namespace: of, name, ..Default::default() };
        refused(client.watch_deployment(watch).await, code, reason);
    }
    assert_eq!(names(&everything(&namespace).await), [""; 0]);
}

#[tokio::test]
async fn rights_that_end_half_way_leave_nothing_behind() {
    let namespace = namespace("refuse-half").await;
    let plane = control_plane();
    let kubectl = |arguments: &[&str]| {
        let output = plane.kubectl(User::Admin).args(["-n", &namespace]).args(arguments).output();
        let output = output.expect("kubectl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let most = "--resource=configmaps,secrets,services,replicationcontrollers";
    kubectl(&["create", "role", "most", "--verb=*", most]);
    kubectl(&["create", "role", "look", "--verb=get,list,watch,delete", "--resource=pods"]);
    kubectl(&["create", "rolebinding", "most", "--role=most", "--user=bob"]);
    kubectl(&["create", "rolebinding", "look", "--role=look", "--user=bob"]);
    let adapter = Adapter::real(plane, User::Bob).await;
    let give_up = Instant::now() + Duration::from_secs(20);
    let refusal = loop {
        let answer = adapter.deployments().deploy(deploy(&namespace, "wp", WORDPRESS)).await;
        let refusal = refused(answer, Code::PermissionDenied, "CLUSTER_FORBIDDEN");
        // The roles count once the API server has seen them.
        if refusal.message.contains("Pod") || Instant::now() > give_up {
            break refusal;
        }
    };
    assert!(refusal.message.contains("Pod"), "{refusal:#?}");
    assert_eq!(names(&everything(&namespace).await), [""; 0]);
}
