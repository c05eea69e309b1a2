//! Walks the descriptors of all requests, and finds a flag for each of their fields.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};

use crate::cli::source::Source;
use crate::cli::{Command, Commands};
use panamax_kubernetes_adapter_client as proto;

/// Fields without a flag of their own, and why.
const EXCEPTIONS: [(&str, &str); 5] = [
    ("ValidateTemplateRequest.template", "the file is sent as text: findings have lines and columns in it"),
    ("TranslateTemplateRequest.template", "the same"),
    ("DeployRequest.template", "the same"),
    ("PlanDeployRequest.template", "the same"),
    ("GetServerInfoRequest", "it has no field, and no command asks for it"),
];

/// The commands, each with what it needs in any case, and the request that it makes.
const COMMANDS: [(&str, &[&str], &str); 11] = [
    ("ValidateTemplateRequest", &["validate"], "FILE"),
    ("TranslateTemplateRequest", &["translate"], "FILE"),
    ("DeployRequest", &["deploy"], "FILE"),
    ("PlanDeployRequest", &["plan"], "FILE"),
    ("GetDeploymentRequest", &["get"], "wp"),
    ("ListDeploymentsRequest", &["list"], ""),
    ("WatchDeploymentRequest", &["watch"], "wp"),
    ("ScaleRequest", &["scale"], "wp X=1"),
    ("ListRevisionsRequest", &["revisions"], "wp"),
    ("RollbackRequest", &["rollback"], "wp"),
    ("TeardownRequest", &["teardown"], "wp"),
];

/// Files that the flags name.
struct Files {
    template: PathBuf,
    overriding: PathBuf,
    config: PathBuf,
}

impl Files {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("panamax-fields-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        Self {
            template: file("a.pmx", "images: []\n"),
            overriding: file("o.yaml", "images:\n- name: WP\n  deployment: {count: 4}\n"),
            config: file("c.json", "{\"config\": {}}"),
        }
    }
}

/// The request of a command line, as its bytes.
fn request(words: &[String]) -> Vec<u8> {
    let program = std::iter::once(OsString::from("program"));
    let told = Commands::try_parse_from(program.chain(words.iter().map(OsString::from)));
    let told = told.unwrap_or_else(|error| panic!("{words:?}: {error}"));
    let source = |file: &PathBuf, around| {
        Source::read(file, around).unwrap_or_else(|failure| panic!("{}", failure.text))
    };
    match &told.command {
        Command::Validate(asked) => asked.request(&source(&asked.files[0], &asked.around)).encode_to_vec(),
        Command::Translate(asked) => asked.request(&source(&asked.file, &asked.around)).encode_to_vec(),
        Command::Deploy(asked) => asked.request(&source(&asked.file, &asked.around)).encode_to_vec(),
        Command::Plan(asked) => {
            asked.deploy.plan(&source(&asked.deploy.file, &asked.deploy.around)).encode_to_vec()
        }
        Command::Get(asked) => asked.request().encode_to_vec(),
        Command::List(asked) => asked.request().encode_to_vec(),
        Command::Watch(asked) => asked.request().encode_to_vec(),
        Command::Scale(asked) => asked.request().encode_to_vec(),
        Command::Revisions(asked) => asked.request().encode_to_vec(),
        Command::Rollback(asked) => asked.request().encode_to_vec(),
        Command::Teardown(asked) => asked.request().encode_to_vec(),
        Command::Completion(_) | Command::Man(_) => panic!("{words:?} makes no request"),
    }
}

/// A piece of a command line, and the value that it gives a field.
type Sample = (Vec<String>, Value);

/// Every way to write a field: the words of its flag, and what it then is.
fn samples(field: &FieldDescriptor, files: &Files) -> Vec<Sample> {
    let flag = format!("--{}", field.name().replace('_', "-"));
    let shown = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let one = |text: &str, value: Value| vec![(vec![flag.clone(), text.to_owned()], value)];
    let map = |value: &str| {
        Value::Map([(MapKey::String("a".into()), Value::String(value.into()))].into_iter().collect())
    };
    if field.is_map() {
        return match field.name() {
            "image_configs" => one(&format!("a={}", shown(&files.config)), map("{\"config\": {}}")),
            "replicas" => {
                let counts = [
                    (MapKey::String("X".into()), Value::I32(1)),
                    (MapKey::String("WP".into()), Value::I32(7)),
                ];
                vec![(vec!["WP=7".into()], Value::Map(counts.into_iter().collect()))]
            }
            _ => one("a=b", map("b")),
        };
    }
    match field.kind() {
        Kind::Bool if field.name() == "object_manifests" => {
            vec![(vec!["--output".into(), "json".into()], Value::Bool(true))]
        }
        Kind::Bool => vec![(vec![flag], Value::Bool(true))],
        Kind::Int32 => one("7", Value::I32(7)),
        Kind::String if field.name() == "template_yaml" => {
            vec![(Vec::new(), Value::String("images: []\n".into()))]
        }
        Kind::String if field.is_list() => {
            one("a,b", Value::List(vec![Value::String("a".into()), Value::String("b".into())]))
        }
        Kind::String => one("sample", Value::String("sample".into())),
        Kind::Enum(kind) if field.name() == "format" => {
            let json = kind.values().find(|value| value.name().ends_with("JSON")).unwrap();
            vec![(vec!["--output".into(), "json".into()], Value::EnumNumber(json.number()))]
        }
        Kind::Enum(kind) => {
            let zero = kind.default_value().name().to_owned();
            let prefix = zero.strip_suffix("UNSPECIFIED").unwrap().to_owned();
            let values = kind.values().filter(|value| value.number() != 0);
            let sample = |value: prost_reflect::EnumValueDescriptor| {
                let word = value.name().strip_prefix(&prefix).unwrap().to_lowercase().replace('_', "-");
                let number = Value::EnumNumber(value.number());
                let value = if field.is_list() { Value::List(vec![number]) } else { number };
                (vec![flag.clone(), word], value)
            };
            values.map(sample).collect()
        }
        Kind::Message(message) if message.full_name() == "google.protobuf.Duration" => {
            let mut time = DynamicMessage::new(message);
            time.set_field_by_name("seconds", Value::I64(7));
            one("7s", Value::Message(time))
        }
        Kind::Message(message) if field.name() == "override" => {
            let count = proto::DeploymentSettings { count: Some(4) };
            let image = proto::Image { name: "WP".into(), deployment: Some(count), ..Default::default() };
            let template = proto::Template { images: vec![image], ..Default::default() };
            let template = DynamicMessage::decode(message, template.encode_to_vec().as_slice()).unwrap();
            one(&shown(&files.overriding), Value::Message(template))
        }
        other => panic!("no sample of {}: {other:?}", field.full_name()),
    }
}

/// The message at a path of a request.
fn inner(message: &DynamicMessage, path: &[&str]) -> DynamicMessage {
    path.iter().fold(message.clone(), |message, name| match &*message.get_field_by_name(name).unwrap() {
        Value::Message(inner) => inner.clone(),
        other => panic!("{name}: {other:?}"),
    })
}

/// Checks that every field of a message is set by its flag; returns how many there are.
fn check(
    message: &MessageDescriptor,
    base: &[String],
    path: &[&str],
    request_of: &MessageDescriptor,
    files: &Files,
) -> usize {
    let decoded = |words: &[String]| {
        let request = DynamicMessage::decode(request_of.clone(), request(words).as_slice()).unwrap();
        inner(&request, path)
    };
    let plain = decoded(base);
    let mut count = 0;
    for field in message.fields() {
        let name = format!("{}.{}", message.name(), field.name());
        if EXCEPTIONS.iter().any(|(exception, _)| *exception == name) {
            continue;
        }
        count += 1;
        if let Kind::Message(options) = field.kind()
            && options.name() == "DeployOptions"
        {
            count += check(&options, base, &["options"], request_of, files);
            continue;
        }
        // A name is what comes first where one is needed.
        if field.name() == "name" && base.get(1).is_some_and(|word| word == "wp") {
            assert_eq!(plain.get_field(&field).into_owned(), Value::String("wp".into()), "{name}");
            continue;
        }
        let mut differs = field.name() == "template_yaml";
        for (words, value) in samples(&field, files) {
            let set = decoded(&[base, &words].concat());
            assert_eq!(set.get_field(&field).into_owned(), value, "{name} by {words:?}");
            differs |= set.get_field(&field) != plain.get_field(&field);
        }
        assert!(differs, "{name} is the same with its flag and without");
    }
    count
}

#[test]
fn every_field_of_every_request_has_a_flag() {
    let files = Files::new();
    let pool = DescriptorPool::decode(proto::DESCRIPTOR_SET).unwrap();
    let commands: BTreeMap<&str, Vec<String>> = COMMANDS
        .iter()
        .map(|(request, words, rest)| {
            let rest = rest.replace("FILE", files.template.to_str().unwrap());
            let words = words.iter().map(|word| (*word).to_owned());
            (*request, words.chain(rest.split_whitespace().map(str::to_owned)).collect())
        })
        .collect();
    let mut fields = 0;
    for method in pool
        .services()
        .filter(|service| service.package_name() == "panamax.kubernetes.v1")
        .flat_map(|service| service.methods().collect::<Vec<_>>())
    {
        let request = method.input();
        match commands.get(request.name()) {
            Some(base) => fields += check(&request, base, &[], &request, &files),
            None => assert!(EXCEPTIONS.iter().any(|(name, _)| *name == request.name()), "{}", request.name()),
        }
    }
    assert!(fields > 130, "{fields} fields");
}
