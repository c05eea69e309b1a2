//! Knobs turned between revisions of one deployment: every change arrives, in place where Kubernetes lets it.

use k8s_openapi::api::apps::v1::Deployment as AppsDeployment;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use panamax_kubernetes_adapter::artifacts::Kind;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::record::MemberState;
use proto::{Exposure, HostPorts, LinkEnvironment, Profile, SecretHandling, VolumeMapping, WorkloadKind};
use serde_json::json;

use crate::support::adapter::{Adapter, deploy, modern, scale, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{action, at_rest, recorded, remove};
use crate::support::namespace::namespace;
use crate::support::survey::Survey;

const SHOP: &str = "
name: Shop
images:
- name: web
  source: example/web:1
  links: [{service: db, alias: DB}]
  ports: [{host_port: 8080, container_port: 80}]
  environment: [{variable: API_TOKEN, value: t1}, {variable: MODE, value: shop}]
- name: db
  source: example/db:1
  ports: [{container_port: 5432}]
  volumes: [{host_path: /srv/db, container_path: /data}]
  environment: [{variable: DB_PASSWORD, value: p1}]
";

/// The knobs of one revision.
fn knobs(profile: Profile, turn: impl Fn(&mut proto::DeployOptions)) -> proto::DeployOptions {
    let mut options = proto::DeployOptions::default();
    options.set_profile(profile);
    turn(&mut options);
    options
}

#[tokio::test]
async fn every_knob_can_be_turned_on_a_deployment_that_runs() {
    let namespace = namespace("knobs-turned").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let revisions = [
        knobs(Profile::Modern, |_| {}),
        knobs(Profile::Modern, |one| one.set_volumes(VolumeMapping::EmptyDir)),
        knobs(Profile::Modern, |_| {}),
        knobs(Profile::Classic, |one| one.set_workload(WorkloadKind::Deployment)),
        knobs(Profile::Modern, |one| {
            one.set_volumes(VolumeMapping::HostPath);
            one.set_exposure(Exposure::NodePort);
        }),
        knobs(Profile::Modern, |one| {
            one.set_host_ports(HostPorts::Keep);
            one.set_exposure(Exposure::LoadBalancer);
            one.labels = [("team".to_owned(), "web".to_owned())].into();
            one.annotations = [("example.com/owner".to_owned(), "all of us".to_owned())].into();
        }),
        knobs(Profile::Classic, |one| {
            one.set_secrets(SecretHandling::Secret);
            one.set_volumes(VolumeMapping::PersistentVolumeClaim);
            one.set_link_environment(LinkEnvironment::Declared);
        }),
        knobs(Profile::Classic, |_| {}),
        knobs(Profile::Modern, |one| one.set_secrets(SecretHandling::Plain)),
        knobs(Profile::Modern, |_| {}),
    ];
    for (number, options) in revisions.into_iter().enumerate() {
        let request = proto::DeployRequest { options: Some(options), ..deploy(&namespace, "shop", SHOP) };
        let answer = client.deploy(request.clone()).await;
        let answer = answer.unwrap_or_else(|status| panic!("revision {number}: {status:?}")).into_inner();
        let deployment = answer.deployment.expect("a deployment");
        assert_eq!(deployment.state(), proto::DeploymentState::Active, "revision {number}");
        at_rest(&namespace, "shop").await;
        let again = client.deploy(request).await.expect("deployed again").into_inner();
        assert_eq!(
            again.outcome(),
            proto::DeployOutcome::Unchanged,
            "revision {number}: {:#?}",
            again.changes
        );
    }
    let all = proto::VolumePolicy::Delete.into();
    let torn_down = proto::TeardownRequest { volumes: all, ..teardown(&namespace, "shop") };
    client.teardown(torn_down).await.expect("torn down");
    assert_eq!(Survey::of(&namespace.client, &namespace).await.names(), [""; 0]);
}

#[tokio::test]
async fn ways_in_from_outside_are_shown() {
    let namespace = namespace("knobs-ways").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let template = SHOP.replace("ports: [{container_port: 5432}]", "expose: [5432]");
    for exposure in [Exposure::NodePort, Exposure::LoadBalancer] {
        let options = knobs(Profile::Modern, |one| one.set_exposure(exposure));
        let request =
            proto::DeployRequest { options: Some(options), ..deploy(&namespace, "shop", &template) };
        // Nobody provides load balancers here, and nobody waits for one.
        client.deploy(request).await.expect("deployed");
    }
    let services = namespace.api::<Service>();
    let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}});
    let given = services.patch_status("web", &PatchParams::default(), &Patch::Merge(ingress)).await;
    let spec = given.expect("an address is given").spec.expect("a spec");
    let node_port = spec.ports.expect("ports")[0].node_port;
    assert!(node_port.is_some());
    let request = proto::GetDeploymentRequest {
        namespace: namespace.to_string(),
        name: "shop".to_owned(),
        view: proto::DeploymentView::Basic.into(),
    };
    let deployment = client.get_deployment(request).await.expect("a deployment").into_inner();
    let endpoints = deployment.deployment.expect("a deployment").endpoints;
    let published = endpoints.iter().find(|one| one.service == "web" && one.port == 8080);
    let published = published.unwrap_or_else(|| panic!("8080 among {endpoints:#?}"));
    assert_eq!((published.node_port, published.load_balancer()), (node_port, "192.0.2.7"));
    let inner = endpoints.iter().find(|one| one.service == "db").expect("db");
    assert_eq!((inner.node_port, &inner.load_balancer), (None, &None));
}

#[tokio::test]
async fn a_secret_of_a_bare_pod_renews_it_and_goes_with_its_variable() {
    let namespace = namespace("knobs-secret").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let request = |template: &str| {
        let options = knobs(Profile::Classic, |one| one.set_secrets(SecretHandling::Secret));
        proto::DeployRequest { options: Some(options), ..deploy(&namespace, "shop", template) }
    };
    client.deploy(request(SHOP)).await.expect("deployed");
    let uid = async |name: &str| namespace.api::<Pod>().get(name).await.expect("a pod").uid();
    let first = [uid("web-pod").await, uid("db-pod").await];
    let answer = client.deploy(request(&SHOP.replace("p1", "p2"))).await.expect("deployed").into_inner();
    assert_eq!(action(&answer.changes, "Secret/db-environment"), proto::ObjectAction::Update);
    assert_eq!(action(&answer.changes, "Pod/db-pod"), proto::ObjectAction::Replace);
    assert_eq!(action(&answer.changes, "Pod/web-pod"), proto::ObjectAction::Unchanged);
    assert_eq!(uid("web-pod").await, first[0]);
    assert_ne!(uid("db-pod").await, first[1]);
    // What somebody deleted is made again, and no pod is renewed for it.
    remove::<Secret>(&namespace, "web-environment").await;
    let answer = client.deploy(request(&SHOP.replace("p1", "p2"))).await.expect("deployed").into_inner();
    assert_eq!(action(&answer.changes, "Secret/web-environment"), proto::ObjectAction::Create);
    assert_eq!(uid("web-pod").await, first[0]);
    // Without a secret variable there is no Secret.
    let open = SHOP.replace("{variable: API_TOKEN, value: t1}, ", "");
    let answer = client.deploy(request(&open)).await.expect("deployed").into_inner();
    assert_eq!(action(&answer.changes, "Secret/web-environment"), proto::ObjectAction::Delete);
    recorded(&namespace, "shop", "ACTIVE").await;
    assert!(namespace.api::<Secret>().get_opt("web-environment").await.expect("an answer").is_none());
    assert_eq!(Survey::of(&namespace.client, &namespace).await.faults("shop"), [""; 0]);
}

#[tokio::test]
async fn a_changed_count_takes_replicas_back_from_scale() {
    use crate::support::adapter::scale;
    let namespace = namespace("knobs-count").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let counted = |count: u32| {
        let template = SHOP.replace("- name: db", &format!("  deployment: {{count: {count}}}\n- name: db"));
        modern(deploy(&namespace, "shop", &template))
    };
    client.deploy(counted(1)).await.expect("deployed");
    client.scale(scale(&namespace, "shop", "web", 4)).await.expect("scaled");
    for (count, told) in [(2, true), (3, false)] {
        let answer = client.deploy(counted(count)).await.expect("deployed").into_inner();
        let codes: Vec<&str> = answer.diagnostics.iter().map(|one| one.code.as_str()).collect();
        assert_eq!(codes.contains(&"REPLICAS_TAKEN_BACK"), told, "{codes:?}");
        let component = &answer.deployment.expect("a deployment").components[0];
        let counts = (component.desired_replicas(), component.ready_replicas());
        assert_eq!(counts, (i32::try_from(count).expect("a count"), i32::try_from(count).expect("a count")));
    }
    // Somebody else's count is left alone while the template's stays.
    let three = json!({"spec": {"replicas": 5}});
    let deployments = namespace.api::<k8s_openapi::api::apps::v1::Deployment>();
    deployments.patch("web", &PatchParams::default(), &Patch::Merge(three)).await.expect("a person scales");
    let answer = client.deploy(counted(3)).await.expect("deployed").into_inner();
    assert!(answer.diagnostics.iter().any(|one| one.code == "REPLICAS_KEPT"), "{:?}", answer.diagnostics);
    let newer = |request: proto::DeployRequest| {
        let Some(proto::deploy_request::TemplateSource::TemplateYaml(text)) = request.template_source else {
            panic!("a text")
        };
        modern(deploy(&namespace, "shop", &text.replace("example/web:1", "example/web:2")))
    };
    let answer = client.deploy(newer(counted(3))).await.expect("deployed").into_inner();
    let component = &answer.deployment.expect("a deployment").components[0];
    assert_eq!((component.ready_replicas(), component.updated_replicas()), (5, 5));
}

#[tokio::test]
async fn a_secret_stays_until_no_pod_needs_it() {
    let namespace = namespace("knobs-secret").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(modern(deploy(&namespace, "shop", SHOP))).await.expect("deployed");
    let plain = |text: &str| proto::DeployRequest {
        options: Some(knobs(Profile::Modern, |one| one.set_secrets(SecretHandling::Plain))),
        wait: 0,
        ..deploy(&namespace, "shop", text)
    };
    let missing = SHOP.replace("example/web:1", "example/missing:1");
    client.deploy(plain(&missing)).await.expect("written");
    recorded(&namespace, "shop", "DEGRADED").await;
    let secrets = namespace.api::<Secret>();
    for name in ["web-environment", "db-environment"] {
        secrets.get(name).await.expect("the old pod is started again from it");
    }
    // The same again changes nothing of that.
    let again = client.deploy(plain(&missing)).await.expect("unchanged").into_inner();
    assert_eq!(again.outcome(), proto::DeployOutcome::Unchanged, "{:#?}", again.changes);
    let ready = proto::DeployRequest { wait: proto::WaitMode::Ready.into(), ..plain(SHOP) };
    client.deploy(ready).await.expect("deployed");
    recorded(&namespace, "shop", "ACTIVE").await;
    for name in ["web-environment", "db-environment"] {
        assert!(secrets.get_opt(name).await.expect("a look").is_none(), "{name} is needed no more");
    }
    assert_eq!(Survey::of(&namespace.client, &namespace).await.faults("shop"), [""; 0]);
}

#[tokio::test]
async fn a_change_of_kinds_that_fails_leaves_the_former_workloads_as_they_were() {
    let namespace = namespace("knobs-fails").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "shop", SHOP)).await.expect("deployed");
    let pods = namespace.api::<Pod>();
    let before = pods.get("db-pod").await.expect("it is there").uid();
    let container = json!({"containers": [{"name": "x", "image": "example/x:1"}]});
    let foreign = json!({"metadata": {"name": "db"}, "spec": {"replicas": 0, "selector": {"matchLabels": {"x": "y"}},
        "template": {"metadata": {"labels": {"x": "y"}}, "spec": container}}});
    let foreign: AppsDeployment = serde_json::from_value(foreign).expect("an apps Deployment");
    namespace.api::<AppsDeployment>().create(&PostParams::default(), &foreign).await.expect("it is made");
    client.deploy(modern(deploy(&namespace, "shop", SHOP))).await.expect_err("the name is taken");
    let head = Survey::of(&namespace.client, &namespace).await.head("shop").expect("a record");
    let states = head.inventory.iter().filter(|member| member.reference.kind == Kind::Pod);
    let states: Vec<_> = states.map(|member| member.state).collect();
    assert_eq!(states, [MemberState::Applied; 2], "{:#?}", head.inventory);
    client.deploy(deploy(&namespace, "shop", SHOP)).await.expect("back");
    assert_eq!(pods.get("db-pod").await.expect("it is there").uid(), before, "nothing was to be deleted");
}

#[tokio::test]
async fn what_scale_has_set_outlives_a_change_to_a_kind_that_knows_one_pod_alone() {
    let namespace = namespace("knobs-scaled").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(modern(deploy(&namespace, "shop", SHOP))).await.expect("deployed");
    client.scale(scale(&namespace, "shop", "db", 2)).await.expect("scaled");
    let answer = client.deploy(deploy(&namespace, "shop", SHOP)).await.expect("deployed").into_inner();
    assert!(answer.diagnostics.iter().any(|one| one.code == "REPLICAS_KEPT"), "{:?}", answer.diagnostics);
    let components = answer.deployment.expect("a deployment").components;
    assert_eq!(components.iter().map(|one| one.ready_replicas()).collect::<Vec<_>>(), [1, 2]);
}
