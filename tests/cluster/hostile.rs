//! Hostile input through a running adapter: the rows of `tests/translate/hostile.rs`, and what is no template.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use panamax_kubernetes_adapter::proto;
use prost::Message;
use tonic::Code;

use super::refusals::GOOD;
use crate::support::adapter::{Adapter, Binary, connect, deploy, deploy_at_once, scale};
use crate::support::calls::Recorder;
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{Refusal, everything, names, refused};
use crate::support::namespace::namespace;
use crate::support::templates::WORDPRESS;
use crate::translate::hostile::{Finding, How, Outcome, Row, assert_tame, code, path, rows};

/// The most bytes that what is found in one text may take in an answer.
const MAX_ANSWER: usize = 64 * 1024;

fn options(how: How) -> proto::DeployOptions {
    let mut options = proto::DeployOptions::default();
    match how {
        How::Classic => {}
        How::Strict => options.set_strictness(proto::Strictness::Strict),
        How::HostPortsDropped => options.set_host_ports(proto::HostPorts::Drop),
        How::LinksDeclared => options.set_link_environment(proto::LinkEnvironment::Declared),
        How::HostPaths => options.set_volumes(proto::VolumeMapping::HostPath),
        How::Modern => options.set_profile(proto::Profile::Modern),
    }
    options
}

/// The row's text; of one that is larger than a message may be, as much as makes it too large a text.
fn text(row: &Row) -> &str {
    row.text.get(..1_000_000).unwrap_or(&row.text)
}

fn request(namespace: &str, row: &Row) -> proto::DeployRequest {
    proto::DeployRequest {
        options: Some(options(row.how)),
        validate_only: row.is_accepted(),
        ..deploy_at_once(namespace, "hostile", text(row))
    }
}

/// The row's answer, compared with what it must be.
fn wrong(row: &Row, answer: Result<tonic::Response<proto::DeployResponse>, tonic::Status>) -> Option<String> {
    let answer = match answer {
        Ok(answer) => answer.into_inner(),
        Err(status) => return wrong_refusal(row, &status),
    };
    let mut found: Vec<Finding> =
        answer.diagnostics.iter().map(|one| (code(&one.code), one.field.clone())).collect();
    found.sort();
    match &row.outcome {
        Outcome::Told(wanted) => {
            let mut wanted = wanted.clone();
            wanted.sort();
            (found != wanted).then(|| format!("{} wants {wanted:?}, not {found:?}", row.id))
        }
        _ => Some(format!("{} is accepted", row.id)),
    }
}

fn wrong_refusal(row: &Row, status: &tonic::Status) -> Option<String> {
    // Checks on its way that status and details fit into trailers.
    let refusal = Refusal::of(status);
    assert_tame(row.id, &refusal.message);
    let (code_wanted, reason) = match row.outcome {
        Outcome::Told(_) => return Some(format!("{}: {refusal:#?}", row.id)),
        Outcome::Exceeds(_) => (Code::ResourceExhausted, "LIMIT_EXCEEDED"),
        Outcome::Refused(_) | Outcome::Flood(_) => (Code::InvalidArgument, "TEMPLATE_INVALID"),
    };
    if (refusal.code, refusal.reason.as_str()) != (code_wanted, reason) {
        return Some(format!("{}: {refusal:#?}", row.id));
    }
    let named = refusal.violations.iter().filter(|(_, reason)| !reason.is_empty());
    let mut found: Vec<Finding> = named.map(|(field, reason)| (code(reason), path(field))).collect();
    if let Outcome::Flood(wanted) = row.outcome {
        let right = !found.is_empty() && found.iter().all(|one| one.0 == wanted);
        return (!right).then(|| format!("{}: {found:?}", row.id));
    }
    found.sort();
    row.differs(&found)
}

#[tokio::test]
async fn every_row_has_its_one_answer_and_nothing_is_written() {
    let namespace = namespace("hostile-rows").await;
    let plane = control_plane();
    let adapter = Adapter::real(plane, User::Adapter).await;
    let mut calls = Recorder::start(plane).namespace(&namespace).user(User::Adapter);
    let (accepted, refused): (Vec<Row>, Vec<Row>) = rows().into_iter().partition(Row::is_accepted);
    let mut faults = Vec::new();
    for row in &refused {
        faults.extend(wrong(row, adapter.deployments().deploy(request(&namespace, row)).await));
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(calls.calls().is_empty(), "the cluster is not asked: {:#?}", calls.calls());
    for row in &accepted {
        faults.extend(wrong(row, adapter.deployments().deploy(request(&namespace, row)).await));
    }
    assert!(faults.is_empty(), "{faults:#?}");
    let written: Vec<_> = calls
        .calls()
        .iter()
        .filter(|call| !["get", "list", "watch"].contains(&call.verb.as_str()) && !call.dry_run)
        .collect();
    assert!(written.is_empty(), "{written:#?}");
    assert_eq!(names(&everything(&namespace).await), [""; 0]);
}

#[tokio::test]
async fn every_row_is_told_about_in_few_words() {
    let adapter = Adapter::sandbox().await;
    for row in rows() {
        let source = proto::validate_template_request::TemplateSource::TemplateYaml(text(&row).to_owned());
        let request = proto::ValidateTemplateRequest {
            template_source: Some(source),
            name: "hostile".to_owned(),
            options: Some(options(row.how)),
            ..Default::default()
        };
        let answer = adapter.templates().validate_template(request).await.expect("an answer").into_inner();
        assert_eq!(answer.valid, row.is_accepted(), "{}: {:?}", row.id, answer.diagnostics);
        let told: usize = answer.diagnostics.iter().map(Message::encoded_len).sum();
        assert!(told <= MAX_ANSWER, "{}: {told} bytes", row.id);
        for one in &answer.diagnostics {
            assert_tame(row.id, &one.message);
            assert!(!one.hint.is_empty(), "{}: {one:?}", row.id);
        }
        if row.id == "Y22" {
            assert!(answer.diagnostics[0].hint.contains("`- `"), "{:?}", answer.diagnostics);
        }
    }
}

/// A change to a good request, and the path that is refused for it.
type WrongField = (&'static str, Box<dyn Fn(&mut proto::DeployRequest)>, String);

fn wrong_fields() -> Vec<WrongField> {
    let mut all: Vec<WrongField> = Vec::new();
    let mut field = |id, value: &str, path: &str, set: fn(&mut proto::DeployRequest, String)| {
        let value = value.to_owned();
        all.push((id, Box::new(move |request| set(request, value.clone())), path.to_owned()));
    };
    let name: fn(&mut proto::DeployRequest, String) = |request, text| request.name = text;
    let namespace: fn(&mut proto::DeployRequest, String) = |request, text| request.namespace = text;
    field("N5", &"a".repeat(250), "name", name);
    for text in ["../../kube-system", "a/b", "%2e%2e"] {
        field("N6", text, "name", name);
        field("N6", text, "namespace", namespace);
    }
    for text in ["Kube-System", "kube-system.", "default\n", "default "] {
        field("N8", text, "namespace", namespace);
    }
    let label: fn(&mut proto::DeployRequest, String) = |request, key| {
        request.options.get_or_insert_default().labels = [(key, "x".to_owned())].into();
    };
    for key in ["app.kubernetes.io/managed-by", "app.kubernetes.io/instance", "name", "panamax.io/revision"] {
        field("N11", key, &format!("options.labels[{key}]"), label);
    }
    let value: fn(&mut proto::DeployRequest, String) = |request, value| {
        request.options.get_or_insert_default().labels = [("team".to_owned(), value)].into();
    };
    for text in [&"a".repeat(64), "a b", "-a", "ä"] {
        field("N12", text, "options.labels[team]", value);
    }
    let annotations: fn(&mut proto::DeployRequest, String) = |request, value| {
        request.options.get_or_insert_default().annotations = [("note".to_owned(), value)].into();
    };
    field("N13", &"x".repeat(257 * 1024), "options.annotations", annotations);
    all
}

#[tokio::test]
async fn a_hostile_field_is_refused_before_the_cluster_is_asked() {
    let namespace = namespace("hostile-field").await;
    let plane = control_plane();
    let adapter = Adapter::real(plane, User::Adapter).await;
    let mut client = adapter.deployments();
    let mut calls = Recorder::start(plane).namespace(&namespace);
    for (id, change, path) in wrong_fields() {
        let mut request = deploy_at_once(&namespace, "web", GOOD);
        change(&mut request);
        let refusal = refused(client.deploy(request).await, Code::InvalidArgument, "FIELD_INVALID");
        assert_eq!(refusal.violations, [(path, "FIELD_INVALID".to_owned())], "{id}: {refusal:#?}");
        assert_tame(id, &refusal.message);
    }
    // N7: the design's answer; the default namespace is like any other.
    for reserved in ["kube-system", "kube-public", "kube-node-lease"] {
        let answer = client.deploy(deploy_at_once(reserved, "web", GOOD)).await;
        refused(answer, Code::FailedPrecondition, "NAMESPACE_RESERVED");
    }
    // E7: more than a text can hold comes field by field.
    let variable = |index: usize| proto::Environment {
        variable: format!("V{index}"),
        value: Some("x".repeat(29_300)),
        ..Default::default()
    };
    let image = proto::Image {
        name: "a".to_owned(),
        source: "b:1".to_owned(),
        environment: (0..9).map(variable).collect(),
        ..Default::default()
    };
    let large = proto::Template { name: "T".to_owned(), images: vec![image], ..Default::default() };
    let mut request = deploy_at_once(&namespace, "web", "");
    request.template_source = Some(proto::deploy_request::TemplateSource::Template(large));
    let refusal = refused(client.deploy(request).await, Code::InvalidArgument, "TEMPLATE_INVALID");
    assert_eq!(refusal.violations, [("images[0].environment".to_owned(), "LIMIT".to_owned())]);
    assert!(calls.calls().is_empty(), "{:#?}", calls.calls());
}

#[tokio::test]
async fn a_name_of_another_deployment_is_taken() {
    let namespace = namespace("hostile-taken").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy_at_once(&namespace, "one", GOOD)).await.expect("deployed");
    let before = everything(&namespace).await;
    // N9, and the same in a check that writes nothing.
    for validate_only in [true, false] {
        let request = proto::DeployRequest { validate_only, ..deploy_at_once(&namespace, "two", GOOD) };
        let refusal = refused(client.deploy(request).await, Code::AlreadyExists, "OBJECT_NOT_OWNED");
        assert_eq!(refusal.fact("owner"), "deployment one", "{refusal:#?}");
    }
    assert_eq!(names(&everything(&namespace).await), names(&before));
}

#[tokio::test]
async fn the_pods_of_a_controller_with_the_longest_name_have_names_that_fit() {
    let namespace = namespace("hostile-long").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let long = "a".repeat(80);
    let template = GOOD
        .replace("name: web", &format!("name: {long}"))
        .replace("{host_port: 80, container_port: 80}", "{container_port: 80}")
        + "  deployment: {count: 2}\n";
    // N15: the template's name is cut too where the request names none.
    let template = template.replace("name: Web", &format!("name: {}", "B".repeat(250)));
    let answer = adapter.deployments().deploy(deploy(&namespace, "", &template)).await.expect("deployed");
    let deployment = answer.into_inner().deployment.expect("a deployment");
    assert_eq!(deployment.name.len(), 63);
    let pods = namespace.api::<Pod>().list(&ListParams::default()).await.expect("a list");
    let names: Vec<String> = pods.items.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.iter().all(|name| name.len() <= 63), "{names:?}");
}

#[tokio::test]
async fn a_name_in_scale_that_is_nearly_right_is_suggested() {
    let namespace = namespace("hostile-scale").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy_at_once(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    for (name, near) in [("WPP", "WP"), ("D", ""), ("dB", "DB"), ("zzz", ""), ("\u{1b}[2J", "")] {
        let answer = client.scale(scale(&namespace, "wp", name, 3)).await;
        let refusal = refused(answer, Code::NotFound, "COMPONENT_NOT_FOUND");
        let suggested =
            refusal.message.split_once("did you mean `").map(|(_, rest)| rest.trim_end_matches("`?"));
        if !near.is_empty() {
            assert_eq!(suggested, Some(near), "{refusal:#?}");
        }
        assert_tame("A8", &refusal.message);
    }
}

/// A Deploy whose text is any bytes.
#[derive(Clone, PartialEq, Message)]
struct Bytes {
    #[prost(string, tag = "1")]
    namespace: String,
    #[prost(bytes = "vec", tag = "3")]
    template_yaml: Vec<u8>,
}

async fn send(adapter: &Adapter, template: &[u8]) -> tonic::Status {
    let mut client = tonic::client::Grpc::new(adapter.channel());
    client.ready().await.expect("a connection");
    let codec: tonic_prost::ProstCodec<Bytes, proto::DeployResponse> = tonic_prost::ProstCodec::default();
    let path = http::uri::PathAndQuery::from_static("/panamax.kubernetes.v1.DeploymentService/Deploy");
    let message = Bytes { namespace: "default".to_owned(), template_yaml: template.to_vec() };
    client.unary(tonic::Request::new(message), path, codec).await.expect_err("a refusal")
}

/// Y35, Y36: a field of text that holds no text is a broken message, which no handler sees.
#[tokio::test]
async fn bytes_that_are_no_text_are_a_broken_message() {
    let adapter = Adapter::sandbox().await;
    let utf16: Vec<u8> =
        std::iter::once(0xfeff).chain(GOOD.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    for bytes in [&b"name: \xff\xfe canary"[..], b"name: \xc0\x80 canary", b"\xed\xa0\x80", &utf16] {
        let status = send(&adapter, bytes).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert_eq!(crate::support::adapter::reason(&status), "FIELD_INVALID", "{status:?}");
        assert!(!format!("{status:?}").contains("canary"), "{status:?}");
    }
    let status = send(&adapter, b"name: T\n").await;
    assert_eq!(status.code(), Code::InvalidArgument, "a good text arrives: {status:?}");
}

/// E9, Y32, Y45: whatever stands in a template, no line of the log shows it or does anything to a terminal.
#[tokio::test]
async fn no_row_leaves_a_mark_in_the_log() {
    let binary = Binary::start_with(&["--sandbox"]);
    let channel = connect(binary.address).await;
    let mut client = proto::deployment_service_client::DeploymentServiceClient::new(channel);
    let secret =
        GOOD.replace("images:", "description: 'password: canary-in-words'\nkeywords: canary\nimages:");
    client.deploy(deploy_at_once("default", "quiet", &secret)).await.expect("deployed");
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows() {
        if let Err(status) = client.deploy(request("default", &row)).await {
            *reasons.entry(Refusal::of(&status).reason).or_default() += 1;
        }
    }
    assert!(reasons["TEMPLATE_INVALID"] > 100, "{reasons:?}");
    let log = binary.whole_log();
    assert!(log.lines().filter(|line| line.contains("call refused")).count() > 100, "a log worth reading");
    for line in log.lines() {
        assert!(!line.contains("canary"), "{line}");
        assert!(!line.contains(|character: char| character.is_control()), "{line:?}");
        assert!(line.len() < 8 * 1024, "{line}");
    }
}
