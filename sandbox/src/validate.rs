//! Refuses what the API server refuses, as far as a deployment of containers can meet it.
use super::failure::Cause;
use super::kinds::Kind;
use super::object::items;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const REQUIRED: &str = "FieldValueRequired";
const INVALID: &str = "FieldValueInvalid";
const FORBIDDEN: &str = "FieldValueForbidden";
const DUPLICATE: &str = "FieldValueDuplicate";
const UNSUPPORTED: &str = "FieldValueNotSupported";
const TOO_LONG: &str = "FieldValueTooLong";

/// How many bytes of values a ConfigMap or Secret holds at most.
const LARGEST: usize = 1 << 20;

/// What a field must be; an absent one is only ever refused by `Given`.
#[derive(Clone, Copy)]
enum Check {
    Given,
    /// An RFC 1123 label, or several joined by dots.
    Label,
    Labels,
    /// A number from here to there; a port that goes by a name fits too.
    Within(i64, i64),
    /// A map whose keys can be names of files, or one such name.
    Keys,
    LabelValues,
    /// The name of an environment variable.
    Variable,
    /// One of these words.
    OneOf(&'static str),
    /// A path that does not climb.
    Inside,
}
use Check::{Given, Inside, Keys, Label, LabelValues, Labels, OneOf, Variable, Within};

/// The fields by check; `*` is every item of a list, and behind a `?` an absent value ends the path.
type Rules = &'static [(Check, &'static str)];

const ANY: Rules =
    &[(Given, "metadata.name"), (Labels, "metadata.name"), (LabelValues, "metadata.labels"), (Keys, "data")];
const SERVICE: Rules = &[
    (Label, "metadata.name"),
    (Label, "spec.ports.*.name"),
    (Within(1, 65_535), "spec.ports.*.port spec.ports.*.targetPort"),
    (LabelValues, "spec.selector"),
    (OneOf("ClusterIP NodePort LoadBalancer"), "spec.type"),
];
const CONTROLLER: Rules = &[
    (Within(0, i64::MAX), "spec.replicas spec.revisionHistoryLimit"),
    (Given, "spec.selector spec.template"),
    (LabelValues, "spec.template.metadata.labels"),
    (OneOf("Always"), "spec.template?.spec?.restartPolicy"),
    (OneOf("RollingUpdate Recreate"), "spec.strategy.type"),
];
const CLAIM: Rules = &[
    (Given, "spec.accessModes"),
    (Labels, "spec.storageClassName"),
    (OneOf("Filesystem Block"), "spec.volumeMode"),
];
const POD: Rules = &[
    (Given, "containers containers.*.name containers.*.image containers.*.ports.*.containerPort"),
    (Given, "containers.*.env.*.name containers.*.env.*.valueFrom?.secretKeyRef?.key"),
    (Given, "containers.*.volumeMounts.*.name containers.*.volumeMounts.*.mountPath"),
    (Given, "volumes.*.name volumes.*.hostPath?.path volumes.*.persistentVolumeClaim?.claimName"),
    (Label, "containers.*.name volumes.*.name"),
    (Labels, "containers.*.env.*.valueFrom?.secretKeyRef?.name"),
    (Within(0, 65_535), "containers.*.ports.*.containerPort containers.*.ports.*.hostPort"),
    (Variable, "containers.*.env.*.name"),
    (Keys, "containers.*.env.*.valueFrom?.secretKeyRef?.key"),
    (Inside, "volumes.*.hostPath?.path"),
    (OneOf("RuntimeDefault Localhost Unconfined"), "securityContext.seccompProfile.type"),
];

/// Items of which no two may have both of these fields alike, and how the second is refused.
const UNIQUE: [(&str, [&str; 2], &str); 4] = [
    ("ports.*", ["name", "name"], ".name"),
    ("ports.*", ["port", "protocol"], ""),
    ("containers.*", ["name", "name"], ".name"),
    ("containers.*.ports.*", ["hostPort", "protocol"], ".hostPort"),
];

/// Every fault of an object, and of its change if there was one before.
pub fn faults(kind: Kind, old: Option<&Value>, new: &Value) -> Vec<Cause> {
    let (spec, mut found) = (&new["spec"], check("", new, ANY));
    found.extend(match kind {
        Kind::ConfigMap => broken([(bytes(new, str::len) > LARGEST, TOO_LONG, "[]")]),
        Kind::Secret => broken([(bytes(new, decoded) > LARGEST, TOO_LONG, "data")]),
        Kind::PersistentVolumeClaim => [check("", new, CLAIM), claim(old, new)].concat(),
        Kind::Namespace => check("", new, &SERVICE[..1]),
        Kind::Service => [check("", new, SERVICE), service(spec)].concat(),
        Kind::Pod => pod("spec", spec),
        Kind::Event => Vec::new(),
        Kind::ReplicationController | Kind::Deployment | Kind::ReplicaSet => {
            let template = &spec["template"];
            let pod =
                if template.is_object() { pod("spec.template.spec", &template["spec"]) } else { Vec::new() };
            let misses = template.is_object() && !carries(template, selector(kind, new));
            let misses = broken([(misses, INVALID, "spec.template.metadata.labels")]);
            [check("", new, CONTROLLER), strategy(spec), pod, misses].concat()
        }
    });
    found.extend(old.into_iter().flat_map(|old| changes(kind, old, new)));
    // A label is among the labels: one refusal for one field is enough.
    found.dedup_by(|one, other| one.0 == other.0 && one.1 == other.1);
    found
}

/// Whether an object carries all of these labels.
pub fn carries(object: &Value, labels: &Value) -> bool {
    let own = &object["metadata"]["labels"];
    labels.as_object().into_iter().flatten().all(|(name, value)| own[name.as_str()] == *value)
}

/// The labels that a controller selects its pods by.
pub fn selector(kind: Kind, controller: &Value) -> &Value {
    let selector = &controller["spec"]["selector"];
    if kind == Kind::ReplicationController { selector } else { &selector["matchLabels"] }
}

/// The bytes that a claim asks for; not a number if the text is none.
pub fn size(claim: &Value) -> f64 {
    const UNITS: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    let text = claim["spec"]["resources"]["requests"]["storage"].as_str().unwrap_or_default();
    let (number, unit) = text.split_at(text.find(char::is_alphabetic).unwrap_or(text.len()));
    let (unit, base) = unit.strip_suffix('i').map_or((unit, 1_000_f64), |unit| (unit, 1_024.0));
    let power = (0..).zip(UNITS).find(|(_, known)| known.eq_ignore_ascii_case(unit));
    number
        .parse()
        .ok()
        .zip(power)
        .map_or(f64::NAN, |(number, (power, _)): (f64, _)| number * base.powi(power))
}

fn claim(old: Option<&Value>, new: &Value) -> Vec<Cause> {
    let bound = new["status"]["phase"] == "Bound";
    let fixed = |claim: &Value| {
        let mut spec = claim["spec"].clone();
        spec["resources"]["requests"]["storage"] = if bound { Value::Null } else { json!(size(claim)) };
        spec
    };
    let differs = old.is_some_and(|old| fixed(old) != fixed(new));
    let shrinks = !differs && old.is_some_and(|old| size(new) < size(old));
    broken([
        (size(new).is_nan(), REQUIRED, "spec.resources[storage]"),
        (size(new) <= 0.0, INVALID, "spec.resources[storage]"),
        (differs, FORBIDDEN, "spec"),
        (shrinks, FORBIDDEN, "spec.resources.requests.storage"),
    ])
}

fn bytes(object: &Value, count: fn(&str) -> usize) -> usize {
    object["data"].as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str()).map(count).sum()
}

/// How many bytes stand in base64.
fn decoded(text: &str) -> usize {
    text.trim_end_matches('=').len() * 3 / 4
}

fn strategy(spec: &Value) -> Vec<Cause> {
    let (strategy, rolling) = (&spec["strategy"], &spec["strategy"]["rollingUpdate"]);
    let none = |name: &str| rolling[name] == 0 || rolling[name] == "0%";
    let [deadline, ready] = ["progressDeadlineSeconds", "minReadySeconds"].map(|name| spec[name].as_i64());
    let too_soon = deadline.is_some_and(|deadline| deadline <= ready.unwrap_or(0));
    broken([
        (strategy["type"] == "Recreate" && !rolling.is_null(), FORBIDDEN, "spec.strategy.rollingUpdate"),
        (none("maxSurge") && none("maxUnavailable"), INVALID, "spec.strategy.rollingUpdate.maxUnavailable"),
        (too_soon, INVALID, "spec.progressDeadlineSeconds"),
    ])
}

fn pod(at: &str, spec: &Value) -> Vec<Cause> {
    let mut found = [check(at, spec, POD), duplicates(at, spec)].concat();
    for (at, variable) in expand(at, spec, "containers.*.env.*") {
        let twice = !is_missing(&variable["value"]) && !variable["valueFrom"].is_null();
        found.extend(broken([(twice, INVALID, &format!("{at}.valueFrom"))]));
    }
    let mut volumes = expand(at, spec, "volumes.*");
    volumes.retain(|(at, _)| !found.iter().any(|(_, field, _)| field.starts_with(at)));
    for (at, name) in expand(at, spec, "containers.*.volumeMounts.*.name") {
        let known = volumes.iter().any(|(_, volume)| volume["name"] == *name);
        found.extend(broken([(!known, "FieldValueNotFound", &at)]));
    }
    found
}

fn service(spec: &Value) -> Vec<Cause> {
    let ports = expand("spec", spec, "ports.*");
    let (headless, inside) = (spec["clusterIP"] == "None", spec["type"] == "ClusterIP");
    let mut found = broken([
        (ports.is_empty() && !headless, REQUIRED, "spec.ports"),
        (headless && !inside, INVALID, "spec.clusterIPs[0]"),
    ]);
    for (at, port) in &ports {
        found.extend(broken([
            (ports.len() > 1 && port["name"].is_null(), REQUIRED, &format!("{at}.name")),
            (inside && !port["nodePort"].is_null(), FORBIDDEN, &format!("{at}.nodePort")),
        ]));
    }
    [found, duplicates("spec", spec)].concat()
}

/// What may not change.
fn changes(kind: Kind, old: &Value, new: &Value) -> Vec<Cause> {
    let frozen = old["immutable"] == true;
    let [old, new] = [old, new].map(without_images);
    let differ = |fixed: bool, at: &str| fixed && old.pointer(at) != new.pointer(at);
    broken([
        (differ(true, "/metadata/uid"), INVALID, "metadata.uid"),
        (differ(frozen, "/immutable"), FORBIDDEN, "immutable"),
        (differ(frozen, "/data"), FORBIDDEN, "data"),
        (differ(kind == Kind::Secret, "/type"), INVALID, "type"),
        (differ(kind == Kind::Service, "/spec/clusterIP"), INVALID, "spec.clusterIPs[0]"),
        (differ(kind == Kind::Pod, "/spec"), FORBIDDEN, "spec"),
        (differ(kind == Kind::Deployment, "/spec/selector"), INVALID, "spec.selector"),
    ])
}

/// The images of a pod are all that may change in its spec.
fn without_images(object: &Value) -> Value {
    let mut object = object.clone();
    items(&mut object, "/spec/containers").for_each(|container| container["image"] = Value::Null);
    object
}

/// The values behind a field of many items, each with its own field.
fn expand<'a>(at: &str, object: &'a Value, field: &str) -> Vec<(String, &'a Value)> {
    field.split('.').fold(vec![(at.to_owned(), object)], |found, step| {
        let below = |(path, value): (String, &'a Value)| match step {
            "*" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                items.map(|(index, item)| (format!("{path}[{index}]"), item)).collect()
            }
            step => {
                let name = step.trim_end_matches('?');
                let dot = if path.is_empty() { "" } else { "." };
                let below = (format!("{path}{dot}{name}"), &value[name]);
                if name != step && below.1.is_null() { Vec::new() } else { vec![below] }
            }
        };
        found.into_iter().flat_map(below).collect()
    })
}

fn check(at: &str, object: &Value, rules: Rules) -> Vec<Cause> {
    let fields = rules.iter().flat_map(|(check, fields)| fields.split(' ').map(move |field| (*check, field)));
    let values = fields.flat_map(|(check, field)| {
        expand(at, object, field).into_iter().filter_map(move |(field, value)| check.refusal(&field, value))
    });
    values.collect()
}

impl Check {
    fn refusal(self, field: &str, value: &Value) -> Option<Cause> {
        let text = value.as_str().unwrap_or_default();
        let is_token =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let is_label_value = |text: &str| text.len() <= 63 && is_token(text) && has_ends(text);
        let is_key = |key: &str| key.len() <= 253 && is_token(key) && key != "." && !key.starts_with("..");
        let mut members = value.as_object().into_iter().flatten();
        let (holds, reason) = match self {
            Given => (!is_missing(value), REQUIRED),
            Label => (text.is_empty() || is_label(text) && text.len() <= 63, INVALID),
            Labels => (text.is_empty() || text.split('.').all(is_label), INVALID),
            Within(low, high) => (value.as_i64().is_none_or(|it| (low..=high).contains(&it)), INVALID),
            Keys => match members.find(|(key, _)| !is_key(key)) {
                Some((key, _)) => return Some(cause(INVALID, &format!("{field}[{key}]"))),
                None => (is_key(text), INVALID),
            },
            LabelValues => (members.all(|(_, value)| value.as_str().is_some_and(is_label_value)), INVALID),
            Variable => (text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'='), INVALID),
            OneOf(words) => (text.is_empty() || words.split(' ').any(|word| word == text), UNSUPPORTED),
            Inside => (!text.split('/').any(|step| step == ".."), INVALID),
        };
        (!holds).then(|| cause(reason, field))
    }
}

/// Whether a field is absent or holds nothing.
pub fn is_missing(value: &Value) -> bool {
    matches!(value.to_string().as_str(), "null" | "0" | "\"\"" | "[]" | "{}")
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inner) && has_ends(text)
}

fn has_ends(text: &str) -> bool {
    text.trim_matches(['-', '_', '.']).len() == text.len()
}

fn duplicates(at: &str, spec: &Value) -> Vec<Cause> {
    let mut found = Vec::new();
    for (items, keys, shown) in UNIQUE {
        let mut seen = BTreeSet::new();
        for (at, item) in expand(at, spec, items) {
            if !item[keys[0]].is_null() && !seen.insert(keys.map(|key| item[key].to_string())) {
                found.push(cause(DUPLICATE, &format!("{at}{shown}")));
            }
        }
    }
    found
}

/// The causes of those faults that are there.
fn broken<const N: usize>(faults: [(bool, &'static str, &str); N]) -> Vec<Cause> {
    faults.into_iter().filter(|(holds, ..)| *holds).map(|(_, reason, field)| cause(reason, field)).collect()
}

fn cause(reason: &'static str, field: &str) -> Cause {
    (reason, field.to_owned(), format!("{} value", reason.trim_start_matches("FieldValue")))
}
