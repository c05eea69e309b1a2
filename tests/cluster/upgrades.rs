//! The first Deploy after an upgrade: what it replaces of a deployment that the version before made, and why.
//!
//! The version before offered fewer ports: the one that the template lists, or the one that a word of the image's name
//! suggested. Objects like its own are made by telling this version that the image exposes nothing else; then the stored
//! revisions lose that word, and record and objects the marks that the version before did not set.

use k8s_openapi::api::apps::v1::Deployment as AppsDeployment;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::{DeployOutcome, ObjectAction};
use serde_json::{Value, json};

use super::drift::{APPLIED, applied_as_ours, forget_traces, unmark};
use super::layouts::rewrite_revisions;
use super::plans::plan;
use super::revisions::rollback;
use crate::support::adapter::{Adapter, deploy, modern};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{action, members, pod_uids, recorded};
use crate::support::namespace::{Namespace, namespace};
use crate::support::survey::Survey;

/// A queue that lists its console alone, in MODERN.
const QUEUE: &str = "
name: Queue
images:
- {name: worker, source: 'example/worker:1', links: [{service: queue, alias: mq}]}
- name: queue
  source: rabbitmq:3.13-management
  ports: [{host_port: 15672, container_port: 15672}]
  environment: [{variable: RABBITMQ_DEFAULT_PASS, value: first-secret}]
";
/// A database that is known by a word of its name, in CLASSIC.
const SITE: &str = "
name: Site
images:
- {name: site, source: 'example/site:1', links: [{service: db, alias: DB_1}]}
- {name: db, source: 'shop/docker-mysql:1'}
";

/// A component with a port that is published and one that links reach alone, in MODERN.
const APART: &str = "
name: Apart
images:
- {name: web, source: 'example/web:1', links: [{service: a}]}
- name: a
  source: example/a:1
  ports: [{host_port: 8080, container_port: 80}]
  expose: [5432]
";

/// A Deploy whose objects are those of the version before.
fn before(request: proto::DeployRequest, source: &str, port: u16) -> proto::DeployRequest {
    let exposed = format!("{port}/tcp");
    let config = json!({ "config": { "ExposedPorts": { exposed: {} } } }).to_string();
    proto::DeployRequest { image_configs: [(source.to_owned(), config)].into(), ..request }
}

/// Makes of record, revisions and objects what the version before has left.
async fn age(namespace: &Namespace, name: &str) {
    recorded(namespace, name, "ACTIVE").await;
    rewrite_revisions(namespace, |revision| {
        let rules = revision["options"]["rules"].as_object_mut().expect("rules");
        rules.remove("facts").expect("what the image exposes");
    })
    .await;
    forget_traces(namespace, name).await;
    let manager = format!("panamax:{name}");
    for one in members(namespace).await.into_keys() {
        match one.split_once('/').expect("kind and name") {
            ("Service", object) => applied_as_ours::<Service>(namespace, &manager, object, unmark).await,
            ("Deployment", object) => {
                applied_as_ours::<AppsDeployment>(namespace, &manager, object, unmark).await;
            }
            // Those of apps Deployments are not ours to mark.
            // Whoever applied a whole Pod would own what its node has set, too.
            ("Pod", object) if object.ends_with("-pod") => {
                let without = json!({"metadata": {"annotations": {APPLIED: null}}});
                let parameters =
                    PatchParams { field_manager: Some(manager.clone()), ..PatchParams::default() };
                let patched = namespace.api::<Pod>().patch(object, &parameters, &Patch::Merge(without)).await;
                patched.expect("unmarked");
            }
            _ => {}
        }
    }
    let secrets = ListParams::default().labels(&format!("app.kubernetes.io/instance={name}"));
    for secret in namespace.api::<Secret>().list(&secrets).await.expect("Secrets").items {
        if secret.labels().get("panamax.io/record").is_none() {
            applied_as_ours::<Secret>(namespace, &manager, &secret.name_any(), unmark).await;
        }
    }
}

/// What the version before made of exposed ports: the Service of the link itself was reached from outside.
async fn age_exposure(namespace: &Namespace, name: &str) {
    recorded(namespace, name, "ACTIVE").await;
    rewrite_revisions(namespace, |revision| {
        revision["options"]["rules"]["exposure"] = "NodePort".into();
    })
    .await;
    forget_traces(namespace, name).await;
    let manager = format!("panamax:{name}");
    let opened = |object: &mut Value| {
        unmark(object);
        object["spec"]["type"] = "NodePort".into();
    };
    applied_as_ours::<Service>(namespace, &manager, "a", opened).await;
    for object in ["web", "a"] {
        applied_as_ours::<AppsDeployment>(namespace, &manager, object, unmark).await;
    }
}

/// The type of a Service, and its ports, each with that of the nodes.
async fn ways_in(namespace: &Namespace, name: &str) -> (String, Vec<(i32, Option<i32>)>) {
    let service = namespace.api::<Service>().get(name).await.expect("a Service");
    let spec = service.spec.expect("a specification");
    let ports = spec.ports.unwrap_or_default().into_iter().map(|port| (port.port, port.node_port));
    (spec.type_.unwrap_or_default(), ports.collect())
}

/// The ports of a Service.
async fn ports(namespace: &Namespace, name: &str) -> Vec<i32> {
    let service = namespace.api::<Service>().get(name).await.expect("a Service");
    service.spec.and_then(|spec| spec.ports).unwrap_or_default().iter().map(|port| port.port).collect()
}

fn told(diagnostics: &[proto::Diagnostic], code: &str, words: &str) -> bool {
    diagnostics.iter().any(|one| one.code == code && one.message.contains(words))
}

/// The names of pods whose names begin so.
async fn pods(namespace: &Namespace, prefix: &str) -> Vec<String> {
    let mut pods = pod_uids(&members(namespace).await);
    pods.retain(|pod| pod.starts_with(&format!("Pod/{prefix}")));
    pods
}

#[tokio::test]
async fn an_unchanged_template_of_modern_replaces_what_its_links_reach_and_tells_why() {
    let namespace = namespace("upgrade-modern").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let request = modern(deploy(&namespace, "app", QUEUE));
    client.deploy(before(request.clone(), "rabbitmq:3.13-management", 15672)).await.expect("deployed");
    assert_eq!(ports(&namespace, "mq").await, [15672]);
    age(&namespace, "app").await;
    let queue = pods(&namespace, "queue").await;
    let planned = client.plan_deploy(plan(request.clone())).await.expect("a plan").into_inner();
    let answer = client.deploy(proto::DeployRequest { plan_id: planned.plan_id.clone(), ..request.clone() });
    let answer = answer.await.expect("as planned").into_inner();
    for (changes, diagnostics) in
        [(&planned.changes, &planned.diagnostics), (&answer.changes, &answer.diagnostics)]
    {
        assert_eq!(action(changes, "Service/mq"), ObjectAction::Update);
        assert_eq!(action(changes, "Deployment/worker"), ObjectAction::Update);
        assert!(told(diagnostics, "PORT_INFERRED", "5672"), "{diagnostics:#?}");
        let fields = changes.iter().flat_map(|change| &change.fields);
        let fields: Vec<_> = fields.map(|field| field.path.as_str()).collect();
        assert!(fields.iter().any(|field| field.starts_with("spec.ports")), "{fields:?}");
        assert!(fields.iter().any(|field| field.contains(".env")), "{fields:?}");
    }
    assert!(ports(&namespace, "mq").await.contains(&5672));
    // What no link reaches is marked at most, and restarts nobody.
    assert_eq!(pods(&namespace, "queue").await, queue);
    let again = client.deploy(request).await.expect("deployed").into_inner();
    assert_eq!(again.outcome(), DeployOutcome::Unchanged, "{:#?}", again.changes);
    // The template of the old revision, as this version translates it.
    let back = client.rollback(rollback(&namespace, "app", 1)).await.expect("rolled back").into_inner();
    assert_eq!(back.outcome(), DeployOutcome::Unchanged, "{:#?}", back.changes);
    assert!(ports(&namespace, "mq").await.contains(&5672));
    assert_eq!(pods(&namespace, "queue").await, queue);
    assert_eq!(Survey::of(&namespace.client, &namespace).await.faults("app"), [""; 0]);
}

#[tokio::test]
async fn an_unchanged_template_of_classic_replaces_the_service_of_a_guess_and_tells_why() {
    let namespace = namespace("upgrade-classic").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let request = deploy(&namespace, "app", SITE);
    client.deploy(before(request.clone(), "shop/docker-mysql:1", 3306)).await.expect("deployed");
    assert_eq!(ports(&namespace, "db-1").await, [3306]);
    age(&namespace, "app").await;
    let (site, db) = (pods(&namespace, "site").await, pods(&namespace, "db").await);
    let planned = client.plan_deploy(plan(request.clone())).await.expect("a plan").into_inner();
    let answer = client.deploy(proto::DeployRequest { plan_id: planned.plan_id.clone(), ..request.clone() });
    let answer = answer.await.expect("as planned").into_inner();
    for (changes, diagnostics) in
        [(&planned.changes, &planned.diagnostics), (&answer.changes, &answer.diagnostics)]
    {
        assert_eq!(action(changes, "Service/db-1"), ObjectAction::Replace);
        assert_eq!(action(changes, "Pod/site-pod"), ObjectAction::Replace);
        assert!(told(diagnostics, "OBJECT_REPLACED", "cannot change between headless and not"));
        assert!(told(diagnostics, "OBJECT_REPLACED", "Pod site-pod"), "{diagnostics:#?}");
        assert!(told(diagnostics, "PORT_UNKNOWN", "suppose 3306"), "{diagnostics:#?}");
    }
    assert_eq!(ports(&namespace, "db-1").await, [0; 0]);
    assert_ne!(pods(&namespace, "site").await, site);
    assert_eq!(pods(&namespace, "db").await, db);
    let again = client.deploy(request).await.expect("deployed").into_inner();
    assert_eq!(again.outcome(), DeployOutcome::Unchanged, "{:#?}", again.changes);
    assert_eq!(Survey::of(&namespace.client, &namespace).await.faults("app"), [""; 0]);
}

#[tokio::test]
async fn who_goes_back_past_the_upgrade_gets_the_old_template_as_this_version_translates_it() {
    let namespace = namespace("upgrade-back").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let request = |text: &str| deploy(&namespace, "app", text);
    let source = "shop/docker-mysql:1";
    client.deploy(before(request(SITE), source, 3306)).await.expect("deployed");
    let newer = SITE.replace("example/site:1", "example/site:2");
    client.deploy(before(request(&newer), source, 3306)).await.expect("deployed");
    age(&namespace, "app").await;
    let back = client.rollback(rollback(&namespace, "app", 1)).await.expect("rolled back").into_inner();
    assert_eq!(action(&back.changes, "Service/db-1"), ObjectAction::Replace);
    assert_eq!(action(&back.changes, "Pod/site-pod"), ObjectAction::Replace);
    assert!(told(&back.diagnostics, "OBJECT_REPLACED", "cannot change between headless and not"));
    let pod = namespace.api::<Pod>().get("site-pod").await.expect("a pod").spec.expect("a specification");
    assert_eq!(pod.containers[0].image.as_deref(), Some("example/site:1"));
    assert_eq!(ports(&namespace, "db-1").await, [0; 0]);
    let again = client.deploy(request(SITE)).await.expect("deployed").into_inner();
    assert_eq!(again.outcome(), DeployOutcome::Unchanged, "{:#?}", again.changes);
    assert_eq!(Survey::of(&namespace.client, &namespace).await.faults("app"), [""; 0]);
}

#[tokio::test]
async fn a_service_that_was_open_for_links_is_closed_and_what_is_published_gets_one_beside_it() {
    let namespace = namespace("upgrade-apart").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let inside = modern(deploy(&namespace, "app", APART));
    client.deploy(inside.clone()).await.expect("deployed");
    age_exposure(&namespace, "app").await;
    let (kind, before) = ways_in(&namespace, "a").await;
    assert_eq!(kind, "NodePort");
    assert!(before.iter().any(|(port, node)| *port == 5432 && node.is_some()), "{before:?}");
    let running = [pods(&namespace, "web").await, pods(&namespace, "a-").await];
    let mut options = inside.options.clone().expect("options");
    options.set_exposure(proto::Exposure::NodePort);
    let request = proto::DeployRequest { options: Some(options), ..inside };
    let planned = client.plan_deploy(plan(request.clone())).await.expect("a plan").into_inner();
    let answer = client.deploy(proto::DeployRequest { plan_id: planned.plan_id.clone(), ..request.clone() });
    let answer = answer.await.expect("as planned").into_inner();
    for (changes, diagnostics) in
        [(&planned.changes, &planned.diagnostics), (&answer.changes, &answer.diagnostics)]
    {
        assert_eq!(action(changes, "Service/a"), ObjectAction::Update);
        assert_eq!(action(changes, "Service/a-outside"), ObjectAction::Create);
        assert!(told(diagnostics, "PUBLISHED_APART", "`a-outside`"), "{diagnostics:#?}");
        assert!(!told(diagnostics, "OBJECT_DRIFTED", ""), "{diagnostics:#?}");
    }
    let (kind, after) = ways_in(&namespace, "a").await;
    assert_eq!(kind, "ClusterIP");
    // Links reach what they did, and no node opens it any more.
    let numbers = |ports: &[(i32, Option<i32>)]| ports.iter().map(|(port, _)| *port).collect::<Vec<_>>();
    assert_eq!((numbers(&after), numbers(&after).contains(&5432)), (numbers(&before), true));
    assert!(after.iter().all(|(_, node)| node.is_none()), "{after:?}");
    let (kind, outside) = ways_in(&namespace, "a-outside").await;
    assert_eq!(kind, "NodePort");
    assert!(outside.iter().all(|(port, node)| *port != 5432 && node.is_some()), "{outside:?}");
    assert!(numbers(&outside).contains(&8080), "{outside:?}");
    // Marks alone restart nobody.
    assert_eq!([pods(&namespace, "web").await, pods(&namespace, "a-").await], running);
    let again = client.deploy(request.clone()).await.expect("deployed").into_inner();
    assert_eq!(again.outcome(), DeployOutcome::Unchanged, "{:#?}", again.changes);
    // The record of the version before, as this version translates it.
    let back = client.rollback(rollback(&namespace, "app", 1)).await.expect("rolled back").into_inner();
    assert_eq!(back.outcome(), DeployOutcome::Unchanged, "{:#?}", back.changes);
    assert_eq!(ways_in(&namespace, "a").await.0, "ClusterIP");
    assert_eq!(Survey::of(&namespace.client, &namespace).await.faults("app"), [""; 0]);
}
