//! Every field of every answer is real: something on a cluster sets it, or a line here says why nothing does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace as CoreNamespace, Pod, Service};
use kube::api::{Api, Patch, PatchParams};
use panamax_kubernetes_adapter::proto;
use prost::Message;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};
use serde_json::json;

use crate::support::adapter::{Adapter, deploy, deploy_at_once, modern, scale, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::recorded;
use crate::support::namespace::{Namespace, namespace};

/// Fields that no answer of this test has, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("Revision.created_by", "the tests' adapters know no callers; cluster::callers has it"),
    ("BlockedObject.message", "here no policy refuses a delete; cluster::removal has it"),
    ("ServerKeeper.all_namespaces", "the tests' adapters keep one namespace"),
    ("DeployOptions.volume_size", "the default profile makes no volume claims"),
    ("DeployOptions.storage_class", "the default is none"),
    ("DeployOptions.image_pull_secrets", "the default is none"),
    ("DeployOptions.labels", "the default is none"),
    ("DeployOptions.annotations", "the default is none"),
    ("DeployOptions.create_namespace", "the default is no"),
    (
        "WatchHeartbeat.cluster_unreachable",
        "here the cluster answers; in `lifecycle` it goes away for a while",
    ),
    ("ServerLimits.max_rest_connections", "here the old agents are not served; edge::start has it"),
    ("ServerLimits.max_rest_body_bytes", "the same"),
];

const PACKAGE: &str = ".panamax.kubernetes.v1.";

/// The contract's messages, and the fields that answers had.
struct Contract {
    messages: BTreeMap<String, DescriptorProto>,
    answers: BTreeMap<String, String>,
    seen: BTreeSet<String>,
    /// The objects that an answer has named without their uid, of methods whose objects all exist.
    without_uid: Vec<String>,
}

/// Methods that name objects which may not exist yet.
const AHEAD: [&str; 2] = ["PlanDeploy", "TranslateTemplate"];

impl Contract {
    fn read() -> Self {
        let set = FileDescriptorSet::decode(proto::DESCRIPTOR_SET).expect("the contract");
        let files = set.file.iter().filter(|file| PACKAGE == format!(".{}.", file.package()));
        let (mut messages, mut answers) = (BTreeMap::new(), BTreeMap::new());
        for file in files {
            for message in &file.message_type {
                let name = format!("{PACKAGE}{}", message.name());
                for nested in &message.nested_type {
                    messages.insert(format!("{name}.{}", nested.name()), nested.clone());
                }
                messages.insert(name, message.clone());
            }
            for method in file.service.iter().flat_map(|service| &service.method) {
                answers.insert(method.name().to_owned(), method.output_type().to_owned());
            }
        }
        Self { messages, answers, seen: BTreeSet::new(), without_uid: Vec::new() }
    }

    /// Notes the fields of an answer to this method.
    fn note(&mut self, method: &str, answer: &impl Message) {
        let name = self.answers[method].clone();
        self.walk(method, &name, &answer.encode_to_vec());
    }

    fn walk(&mut self, method: &str, name: &str, mut bytes: &[u8]) {
        let Some(message) = self.messages.get(name).cloned() else { return };
        if name.ends_with(".ObjectRef") && !AHEAD.contains(&method) {
            let object = proto::ObjectRef::decode(bytes).expect("an object");
            if object.uid.is_empty() {
                self.without_uid.push(format!("{method}: {} {}", object.kind, object.name));
            }
        }
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let field = message.field.iter().find(|field| i64::from(field.number()) == (tag >> 3) as i64);
            let field = field.expect("a field of the contract");
            self.seen.insert(format!("{}.{}", name.trim_start_matches(PACKAGE), field.name()));
            let length = match tag & 7 {
                0 => {
                    varint(&mut bytes);
                    0
                }
                1 => 8,
                2 => usize::try_from(varint(&mut bytes)).expect("a length"),
                _ => 4,
            };
            let (content, rest) = bytes.split_at(length);
            bytes = rest;
            if field.r#type() == Type::Message {
                self.walk(method, field.type_name(), content);
            }
        }
    }

    /// Every field that an answer to these methods can have.
    fn all(&self, methods: &BTreeSet<String>) -> BTreeSet<String> {
        let mut left: Vec<&String> =
            self.answers.iter().filter(|(method, _)| methods.contains(*method)).map(|one| one.1).collect();
        let (mut done, mut fields) = (BTreeSet::new(), BTreeSet::new());
        while let Some(name) = left.pop() {
            let Some(message) = self.messages.get(name).filter(|_| done.insert(name)) else { continue };
            for field in &message.field {
                let is_entry = message.options.as_ref().is_some_and(|options| options.map_entry());
                if !is_entry {
                    fields.insert(format!("{}.{}", name.trim_start_matches(PACKAGE), field.name()));
                }
                if let Some((known, _)) = self.messages.get_key_value(field.type_name()) {
                    left.push(known);
                }
            }
        }
        fields
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    prost::encoding::decode_varint(bytes).expect("a number")
}

const SHOP: &str = "
name: Shop
description: Sells.
keywords: shop, web
type: Default
documentation: About it.
recommended: true
authors: [us]
images:
- name: web
  source: example/web:1
  category: Web
  type: Default
  description: The front.
  command: serve --fast
  links: [{service: db, alias: DB}]
  ports:
  - {host_port: 8080, container_port: 80, proto: TCP}
  - {host_interface: 127.0.0.1, host_port: 8081, container_port: 81}
  expose: [9090]
  environment: [{variable: MODE, value: shop, required: true}]
  volumes: [{host_path: /srv/web, container_path: /data, read_only: true}]
  volumes_from: [{service: db, read_only: true}]
  deployment: {count: 2}
- name: db
  source: example/db:1
  expose: [5432]
  volumes: [{container_path: /var/db}]
- name: edge
  source: example/edge:1
  ports: [{host_port: 7070, container_port: 70}]
- name: bad
  source: example/crashing:1
";

async fn full(adapter: &Adapter, namespace: &Namespace, name: &str) -> proto::GetDeploymentResponse {
    let request = proto::GetDeploymentRequest {
        namespace: namespace.to_string(),
        name: name.to_owned(),
        view: proto::DeploymentView::Full.into(),
    };
    adapter.deployments().get_deployment(request).await.expect("a deployment").into_inner()
}

fn labelled(request: proto::DeployRequest) -> proto::DeployRequest {
    let mut options = request.options.clone().unwrap_or_default();
    options.labels = [("team".to_owned(), "shop".to_owned())].into();
    options.set_exposure(proto::Exposure::LoadBalancer);
    proto::DeployRequest { options: Some(options), ..request }
}

/// Notes the answers of TemplateService and ServerService.
async fn templates(contract: &mut Contract, adapter: &Adapter) {
    let request = proto::TranslateTemplateRequest {
        template_source: Some(proto::translate_template_request::TemplateSource::TemplateYaml(
            SHOP.to_owned(),
        )),
        object_manifests: true,
        ..Default::default()
    };
    let answer = adapter.templates().translate_template(request).await.expect("translated").into_inner();
    contract.note("TranslateTemplate", &answer);
    let request = proto::ValidateTemplateRequest {
        template_source: Some(proto::validate_template_request::TemplateSource::TemplateYaml(
            SHOP.to_owned(),
        )),
        ..Default::default()
    };
    let answer = adapter.templates().validate_template(request).await.expect("validated").into_inner();
    contract.note("ValidateTemplate", &answer);
    for adapter in [adapter, &Adapter::sandbox().await] {
        let info = adapter.server().get_server_info(proto::GetServerInfoRequest {}).await;
        contract.note("GetServerInfo", &info.expect("information").into_inner());
    }
}

/// Notes what a watch says until the deployment is deleted, or for a few seconds.
async fn watched(contract: &mut Contract, adapter: &Adapter, namespace: &Namespace) {
    let request = proto::WatchDeploymentRequest {
        namespace: namespace.to_string(),
        name: "shop".to_owned(),
        heartbeat_interval: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..Default::default()
    };
    let mut request = tonic::Request::new(request);
    request.set_timeout(Duration::from_secs(4));
    let mut stream = adapter.deployments().watch_deployment(request).await.expect("a stream").into_inner();
    while let Some(message) = stream.message().await.expect("a message") {
        contract.note("WatchDeployment", &message);
    }
}

/// Notes what tells of plans and revisions, and returns every field that an answer can have.
async fn history(contract: &mut Contract, adapter: &Adapter, namespace: &Namespace) -> BTreeSet<String> {
    let methods: BTreeSet<String> = contract.answers.keys().cloned().collect();
    let mut client = adapter.deployments();
    let request = labelled(deploy(namespace, "shop", SHOP));
    let plan = proto::PlanDeployRequest::decode(request.encode_to_vec().as_slice()).expect("the same fields");
    contract.note("PlanDeploy", &client.plan_deploy(plan).await.expect("a plan").into_inner());
    let request = |page_size| proto::ListRevisionsRequest {
        namespace: namespace.to_string(),
        name: "shop".to_owned(),
        page_size,
        ..Default::default()
    };
    // A page with more behind it, then all.
    let first = client.list_revisions(request(1)).await.expect("revisions").into_inner();
    contract.note("ListRevisions", &first);
    let rollback = proto::RollbackRequest {
        namespace: namespace.to_string(),
        name: "shop".to_owned(),
        revision: 1,
        ..Default::default()
    };
    contract.note("Rollback", &client.rollback(rollback).await.expect("rolled back").into_inner());
    contract.note("ListRevisions", &client.list_revisions(request(0)).await.expect("all").into_inner());
    contract.all(&methods)
}

/// Notes what tells of deletions.
async fn taken_down(contract: &mut Contract, adapter: &Adapter, namespace: &Namespace) {
    let mut client = adapter.deployments();
    // Something holds the deletion up.
    let hold = json!({"metadata": {"finalizers": ["example.com/held"]}});
    let pods = namespace.api::<Pod>();
    pods.patch("edge-pod", &PatchParams::default(), &Patch::Merge(&hold)).await.expect("a finalizer");
    let request = proto::TeardownRequest { wait: 0, ..teardown(namespace, "shop") };
    contract.note("Teardown", &client.teardown(request).await.expect("going").into_inner());
    contract.note("GetDeployment", &full(adapter, namespace, "shop").await);
    let free = json!({"metadata": {"finalizers": null}});
    pods.patch("edge-pod", &PatchParams::default(), &Patch::Merge(&free)).await.expect("no finalizer");
    client
        .teardown(proto::TeardownRequest { allow_missing: true, ..teardown(namespace, "shop") })
        .await
        .expect("gone");
    let torn_down = client.teardown(teardown(namespace, "other")).await.expect("gone").into_inner();
    contract.note("Teardown", &torn_down);
}

#[tokio::test]
async fn every_field_of_every_answer_is_set_by_something() {
    let namespace = namespace("fields-real").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let mut contract = Contract::read();
    templates(&mut contract, &adapter).await;
    // Pod Security warns of what it would refuse.
    let warn = json!({"metadata": {"labels": {"pod-security.kubernetes.io/warn": "restricted"}}});
    let namespaces: Api<CoreNamespace> = Api::all(namespace.client.clone());
    let patched = namespaces.patch(&namespace, &PatchParams::default(), &Patch::Merge(&warn)).await;
    patched.expect("labels");

    let first = client.deploy(labelled(deploy_at_once(&namespace, "shop", SHOP))).await.expect("deployed");
    contract.note("Deploy", &first.into_inner());
    recorded(&namespace, "shop", "FAILED").await;
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
    let services = namespace.api::<Service>();
    let patched = services.patch_status("web", &PatchParams::default(), &Patch::Merge(&status)).await;
    patched.expect("an address");
    contract.note("GetDeployment", &full(&adapter, &namespace, "shop").await);
    let newer = SHOP.replace("example/web:1", "example/web:2");
    let second = client.deploy(labelled(deploy_at_once(&namespace, "shop", &newer))).await.expect("deployed");
    contract.note("Deploy", &second.into_inner());
    let request = proto::ScaleRequest { wait: 0, ..scale(&namespace, "shop", "web", 3) };
    contract.note("Scale", &client.scale(request).await.expect("scaled").into_inner());
    // A bare Pod becomes a controller.
    let request = proto::ScaleRequest { wait: 0, ..scale(&namespace, "shop", "db", 2) };
    contract.note("Scale", &client.scale(request).await.expect("scaled").into_inner());
    watched(&mut contract, &adapter, &namespace).await;
    let other = "name: Other\nimages:\n- {name: store, source: 'example/store:1', expose: [7000], \
                 volumes: [{container_path: /data}], environment: [{variable: A_PASSWORD, value: s}]}\n";
    client.deploy(modern(deploy(&namespace, "other", other))).await.expect("deployed");
    contract.note("GetDeployment", &full(&adapter, &namespace, "other").await);
    for view in [proto::DeploymentView::Basic, proto::DeploymentView::Full] {
        let request = proto::ListDeploymentsRequest {
            namespace: namespace.to_string(),
            page_size: 1,
            view: view.into(),
            ..Default::default()
        };
        let page = client.list_deployments(request).await.expect("a page").into_inner();
        let listed = page.deployments.first().expect("a deployment");
        assert_eq!(listed.template.is_some(), view == proto::DeploymentView::Full, "FULL has the template");
        contract.note("ListDeployments", &page);
    }

    let all = history(&mut contract, &adapter, &namespace).await;
    taken_down(&mut contract, &adapter, &namespace).await;

    assert!(contract.without_uid.is_empty(), "these exist and have no uid: {:#?}", contract.without_uid);
    let excepted: BTreeSet<String> = EXCEPTIONS.iter().map(|(field, _)| (*field).to_owned()).collect();
    let unset: Vec<&String> =
        all.iter().filter(|field| !contract.seen.contains(*field) && !excepted.contains(*field)).collect();
    assert!(unset.is_empty(), "no answer had {unset:#?}");
    let needless: Vec<&String> = excepted.iter().filter(|field| contract.seen.contains(*field)).collect();
    assert!(needless.is_empty(), "these are set and need no exception: {needless:#?}");
}
