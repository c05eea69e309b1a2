//! Manifests in the hands of others: kubectl reads them back unchanged, the API server takes every golden one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Pod;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::translate_template_request::TemplateSource;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::Value;
use tonic::Code;

use crate::support::adapter::{Adapter, deploy_at_once, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{everything, names, refused};
use crate::support::namespace::{Namespace, namespace};

/// Texts that one YAML or another reads as something else, or cannot hold in every style; no doubled dollar, which
/// has a rule of its own.
#[rustfmt::skip]
const AWKWARD: &[&str] = &[
    "", " ", "yes", "no", "on", "off", "y", "n", "Y", "N", "~", "null", "Null", "true", "FALSE", "-", "--", "---", "...",
    "0123", "0o17", "0x1F", "0b101", "1_000", "1e3", "1E+3", "6.02e23", ".5", "5.", "-1", "+1", ".inf", "-.INF", ".nan",
    "0777", "08", "1__0", "0x", "1e", "=", "<<", "12:30:45", "190:20:30", "2001-12-14", "2001-12-14t21:59:43.10-05:00",
    "a\nb", "a\nb\n", "a\n\nb\n\n", "a \nb  \n", "\na", "\n", "\n\n", "  leading", "  two\n lines", "trailing  ",
    "\ttab", "a\tb", "tab\t", "\t\n\t", "a\n\tb\n", "carriage\rreturn", "line\r\nend\r\n", "next\u{85}line", "\u{85}",
    "separator\u{2028}line\u{2029}paragraph", "\u{2028}", "\u{feff}mark", "no\u{a0}break", "é", "e\u{301}", "日本語",
    "🚀👩\u{200d}👧", "\u{10ffff}", "\u{e000}", "\u{fffd}", "\u{fffe}", "'", "\"", "''", "\"\"", "it's", "say \"so\"",
    "back\\slash", "\\", "\\n", "\\x41", "# x", "x # y", "x #y", "- x", "-x", "? x", ": x", ":x", "a: b", "a:b", "a :b",
    "key:", "%", "%TAG", "@", "@x", "`x`", "!tag", "!!str x", "&a", "&a b", "*a", "|", "|-", ">", ">+", "[", "]",
    "[a, b]", "{", "}", "{a: b}", ",", ", x", "$HOME", "a$", "https://example.com/?a=b&c=d#e", "0.0.0.0:80", "1.2.3",
];
/// Names of images that are names of nothing else in YAML; each is its own component's, but for letter case and dashes.
const NAMES: &[&str] = &[
    "yes",
    "NO",
    "on",
    "Off",
    "y",
    "n",
    "null",
    "True",
    "false",
    "0123",
    "0x1F",
    "0b1",
    "1_000",
    "1e3",
    ".inf",
    ".7",
    "12:30:45",
    "2001-12-14",
    "~tilde",
    "# hash",
    "- dash",
    "a: b",
    "%TAG",
    "@at",
    "!local",
    "&anchor",
    "*alias",
    "=eq",
];

/// Findings that say which servers may refuse the object, and the minor version that takes it unless told otherwise.
const TAKEN_SINCE: [(&str, u32); 2] = [("ENV_NAME_RELAXED", 32), ("SERVICE_NAME_DIGIT", 36)];

/// Values as variables, and as words of the command.
fn image(name: &str, suffix: &str, texts: &[String]) -> proto::Image {
    let variable = |(index, text): (usize, &String)| proto::Environment {
        variable: format!("V{index}{suffix}"),
        value: Some(text.clone()),
        ..proto::Environment::default()
    };
    let quoted = |text: &String| format!("'{}'", text.replace('\'', "'\\''"));
    proto::Image {
        name: name.to_owned(),
        source: "example/awkward:1".to_owned(),
        environment: texts.iter().enumerate().map(variable).collect(),
        command: texts.iter().map(quoted).collect::<Vec<_>>().join(" "),
        ..proto::Image::default()
    }
}

fn template(images: Vec<proto::Image>) -> proto::Template {
    proto::Template { name: "Awkward".to_owned(), images, ..proto::Template::default() }
}

/// What kubectl reads in a text, without the namespace that it fills in.
fn read_by_kubectl(text: &str) -> Vec<Value> {
    let mut kubectl = control_plane().kubectl(User::Admin);
    kubectl.args(["create", "--dry-run=client", "--output=json", "--filename=-"]);
    let output = fed(&mut kubectl, text);
    let read = serde_json::Deserializer::from_str(&output).into_iter::<Value>();
    let mut objects: Vec<Value> = read.map(|object| object.expect("kubectl prints JSON")).collect();
    for object in &mut objects {
        let metadata = object["metadata"].as_object_mut().expect("metadata");
        assert_eq!(metadata.remove("namespace"), Some("default".into()));
    }
    objects
}

/// What a program prints when it is given a text; fails with what it complains of.
fn fed(command: &mut Command, text: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut input = child.stdin.take().expect("its standard input");
    let text = text.to_owned();
    // Of its own, so that neither waits for the other when both texts are long.
    let feeding = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("the program ends");
    let _ = feeding.join().expect("fed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Translates, lets kubectl read every form of the answer, and returns the objects that all of them are.
async fn read_back(template: proto::Template, options: proto::DeployOptions) -> Vec<Value> {
    let adapter = Adapter::sandbox().await;
    let translate = async |format: proto::ManifestFormat| {
        let request = proto::TranslateTemplateRequest {
            template_source: Some(TemplateSource::Template(template.clone())),
            options: Some(options.clone()),
            format: format.into(),
            ..proto::TranslateTemplateRequest::default()
        };
        adapter.templates().translate_template(request).await.expect("translated").into_inner()
    };
    let (yaml, json) =
        (translate(proto::ManifestFormat::Yaml).await, translate(proto::ManifestFormat::Json).await);
    let all = |answer: &proto::TranslateTemplateResponse, between: &str| {
        answer.objects.iter().map(|object| object.manifest.as_str()).collect::<Vec<_>>().join(between)
    };
    let objects: Vec<Value> =
        json.objects.iter().map(|object| serde_json::from_str(&object.manifest).expect("JSON")).collect();
    for text in [yaml.manifest_yaml.clone(), all(&yaml, "---\n"), all(&json, "\n")] {
        let read = read_by_kubectl(&text);
        assert_eq!(read.len(), objects.len());
        for (read, object) in read.iter().zip(&objects) {
            assert_eq!(read, object);
        }
    }
    assert_eq!(json.manifest_yaml, yaml.manifest_yaml, "the text of all is YAML in either format");
    objects
}

/// The container of an object that runs one.
fn container<'a>(objects: &'a [Value], name: &str) -> &'a Value {
    let containers = objects.iter().filter_map(|object| {
        let pod = object["spec"].get("template").unwrap_or(object);
        pod["spec"]["containers"].get(0)
    });
    let mut named = containers.filter(|container| container["name"] == name);
    named.next().unwrap_or_else(|| panic!("no container {name}"))
}

fn values(container: &Value) -> Vec<&str> {
    container["env"]
        .as_array()
        .expect("variables")
        .iter()
        .map(|one| one["value"].as_str().expect("text"))
        .collect()
}

fn words(container: &Value) -> Vec<&str> {
    container["args"].as_array().expect("words").iter().map(|word| word.as_str().expect("text")).collect()
}

#[tokio::test]
async fn kubectl_reads_awkward_values_back_unchanged() {
    let mut texts: Vec<String> = AWKWARD.iter().map(|text| (*text).to_owned()).collect();
    texts.extend(["x".repeat(30_000), "long words ".repeat(2_000), format!("{}\n", " x".repeat(500))]);
    let (first, second) = texts.split_at(100);
    let images = vec![image("first", "", first), image("second", "", second)];
    let annotations = first.iter().enumerate().map(|(index, text)| (format!("a{index}"), text.clone()));
    let fits = |text: &&String| text.len() < 63 && text.chars().all(|letter| letter.is_ascii_alphanumeric());
    let labels =
        texts.iter().filter(fits).enumerate().map(|(index, text)| (format!("l{index}"), text.clone()));
    let options = proto::DeployOptions {
        annotations: annotations.take(64).collect(),
        labels: labels.take(64).collect(),
        ..proto::DeployOptions::default()
    };
    assert!(options.labels.len() > 20);
    let objects = read_back(template(images), options.clone()).await;
    for (name, texts) in [("first", first), ("second", second)] {
        let container = container(&objects, name);
        assert_eq!(values(container), texts);
        assert_eq!(words(container), texts);
    }
    for object in &objects {
        for (of, wanted) in [("labels", &options.labels), ("annotations", &options.annotations)] {
            let have = &object["metadata"][of];
            assert!(wanted.iter().all(|(key, value)| have[key] == value.as_str()), "{have}");
        }
    }
}

#[tokio::test]
async fn kubectl_reads_awkward_secrets_back_unchanged() {
    let mut texts: Vec<String> = AWKWARD.iter().take(100).map(|text| (*text).to_owned()).collect();
    // Its base64 is `0400`, which YAML 1.1 reads as a number.
    texts.push("\u{4cd}4".to_owned());
    let options =
        proto::DeployOptions { profile: proto::Profile::Modern.into(), ..proto::DeployOptions::default() };
    let objects = read_back(template(vec![image("one", "_PASSWORD", &texts)]), options).await;
    let secret = objects.iter().find(|object| object["kind"] == "Secret").expect("a Secret");
    let data: BTreeMap<String, ByteString> = serde_json::from_value(secret["data"].clone()).expect("base64");
    assert_eq!(data.len(), texts.len());
    for (index, text) in texts.iter().enumerate() {
        assert_eq!(data[&format!("V{index}_PASSWORD")].0, text.as_bytes());
    }
    assert_eq!(secret["data"]["V100_PASSWORD"], "0400");
}

#[tokio::test]
async fn kubectl_reads_awkward_names_back_unchanged() {
    let visible =
        |text: &&&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'=');
    let variable = |name: &&str| proto::Environment {
        variable: (*name).to_owned(),
        value: Some((*name).to_owned()),
        ..proto::Environment::default()
    };
    let mut images: Vec<proto::Image> = NAMES.iter().map(|name| image(name, "", &[])).collect();
    for image in &mut images {
        image.expose = vec![80];
    }
    let link = |name: &&str| proto::Link { service: (*name).to_owned(), alias: (*name).to_owned() };
    images[0].links = NAMES[1..].iter().map(link).collect();
    images[1].links = vec![link(&NAMES[0])];
    images[0].environment = AWKWARD.iter().filter(visible).map(variable).collect();
    for profile in [proto::Profile::Classic, proto::Profile::Modern] {
        let options = proto::DeployOptions { profile: profile.into(), ..proto::DeployOptions::default() };
        let objects = read_back(template(images.clone()), options).await;
        for name in ["yes", "no", "null", "0123", "0x1f", "1e3", "12-30-45", "inf", "7"] {
            let is_called = |object: &&Value| object["metadata"]["labels"]["name"] == name;
            assert!(objects.iter().filter(is_called).count() >= 2, "a workload and a Service for {name}");
        }
        let environment = container(&objects, "yes")["env"].as_array().expect("variables");
        let names: BTreeSet<&str> = environment.iter().filter_map(|one| one["name"].as_str()).collect();
        let lost: Vec<_> = AWKWARD.iter().filter(visible).filter(|text| !names.contains(**text)).collect();
        assert!(lost.is_empty(), "{lost:?}");
    }
}

#[tokio::test]
async fn kubectl_reads_any_values_back_unchanged() {
    let piece = prop_oneof![
        4 => proptest::sample::select(AWKWARD).prop_map(str::to_owned),
        2 => "[ \t\n:#'\"\\\\|>%@&*!?,\\[\\]{}=~<.0-9eExo_+-]{0,12}",
        1 => "\\PC{0,12}",
    ];
    let text = proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat());
    let text = text.prop_filter("a doubled dollar has a rule of its own", |text| {
        !text.contains("$$") && !text.contains("$(")
    });
    let batch = proptest::collection::vec(proptest::collection::vec(text, 100), 10);
    // One call of kubectl for a thousand texts; it takes a second, however many they are.
    let texts = batch.new_tree(&mut TestRunner::deterministic()).expect("texts").current();
    let images = texts.iter().enumerate().map(|(index, texts)| image(&format!("i{index}"), "", texts));
    let objects = read_back(template(images.collect()), proto::DeployOptions::default()).await;
    for (index, texts) in texts.iter().enumerate() {
        let container = container(&objects, &format!("i{index}"));
        assert_eq!(values(container), *texts);
        assert_eq!(words(container), *texts);
    }
}

#[tokio::test]
async fn the_api_server_takes_every_golden_manifest() {
    let namespace = namespace("golden").await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/translate/cases");
    let apply = || {
        let mut kubectl = control_plane().kubectl(User::Admin);
        kubectl.args(["apply", "--namespace", &namespace, "--server-side", "--dry-run=server"]);
        kubectl.arg("--validate=strict");
        kubectl
    };
    let version = namespace.client.apiserver_version().await.expect("a version");
    let minor: u32 = version.minor.parse().expect("a number");
    let is_too_new =
        |text: &str| TAKEN_SINCE.iter().any(|(code, since)| text.contains(code) && minor < *since);
    let (mut kubectl, mut objects) = (apply(), 0);
    for entry in fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("a file").path();
        let text = fs::read_to_string(&path).expect("text");
        let here = text.lines().filter(|line| line.starts_with("apiVersion: ")).count();
        // A template that is refused leaves its findings alone.
        if path.extension().is_none_or(|ending| ending != "yaml") || here == 0 {
            continue;
        }
        if is_too_new(&text) {
            let output = apply().arg("--filename").arg(&path).output().expect("kubectl runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.contains("Invalid value"), "{}: {said}", path.display());
            continue;
        }
        kubectl.arg("--filename").arg(path);
        objects += here;
    }
    let taken = fed(&mut kubectl, "");
    let taken = taken.lines().filter(|line| line.ends_with(" serverside-applied (server dry run)")).count();
    assert!(taken == objects && objects > 50, "{taken} of {objects} objects were taken");
}

/// What those warnings announce is told by its field, and leaves nothing behind.
#[tokio::test]
async fn a_name_that_the_server_is_too_old_for_is_told_by_its_field() {
    let namespace = namespace("too-old").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let variable = "name: V\nimages:\n- name: a\n  source: b:1\n  environment: [{variable: 1ST, value: x}]\n";
    let service = "name: S\nimages:\n- {name: a, source: 'b:1', links: [{service: db, alias: 1db}]}\n\
                   - {name: db, source: 'c:1', expose: [80]}\n";
    let cases = [(variable, "images[0].environment[0].variable"), (service, "images[0].links[0].alias")];
    for ((code, since), (template, field)) in TAKEN_SINCE.into_iter().zip(cases) {
        let answer = adapter.deployments().deploy(deploy_at_once(&namespace, "app", template)).await;
        if minor(&namespace).await < since {
            let refusal = refused(answer, Code::InvalidArgument, "TEMPLATE_INVALID");
            assert_eq!(refusal.fields(), [field], "{refusal:#?}");
        } else {
            let answer = answer.expect("deployed").into_inner();
            assert!(answer.diagnostics.iter().any(|one| one.code == code), "{:#?}", answer.diagnostics);
            adapter.deployments().teardown(teardown(&namespace, "app")).await.expect("gone");
        }
        assert_eq!(names(&everything(&namespace).await), [""; 0]);
    }
}

/// The minor version of the server.
async fn minor(namespace: &Namespace) -> u32 {
    let version = namespace.client.apiserver_version().await.expect("a version");
    version.minor.parse().expect("a number")
}

#[tokio::test]
async fn every_character_reaches_the_cluster_as_written() {
    let namespace = namespace("characters").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let value = "next\u{85}line \u{2028}\u{2029} \u{feff}mark \u{fffe}\u{ffff} \\ \\u0041";
    let text = "name: C\nimages:\n- name: a\n  source: b:1\n  environment:\n  - variable: A\n    value: \
        \"next\\u0085line \\u2028\\u2029 \\uFEFFmark \\uFFFE\\uFFFF \\\\ \\\\u0041\"\n";
    adapter.deployments().deploy(deploy_at_once(&namespace, "c", text)).await.expect("deployed");
    let pod = namespace.api::<Pod>().get("a-pod").await.expect("a-pod").spec.expect("a specification");
    let variables = pod.containers[0].env.clone().expect("variables");
    assert_eq!(variables[0].value.as_deref(), Some(value));
}
