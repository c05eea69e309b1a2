//! Refuses what the API server refuses, as far as a deployment of containers can meet it.
use super::defaults::items;
use super::failure::Cause;
use super::kinds::Kind;
use serde_json::Value;
use std::collections::BTreeSet;

const REQUIRED: &str = "FieldValueRequired";
const INVALID: &str = "FieldValueInvalid";
const FORBIDDEN: &str = "FieldValueForbidden";
const DUPLICATE: &str = "FieldValueDuplicate";

/// What a field must be; an absent one is only ever refused by `Given`.
#[derive(Clone, Copy)]
enum Check {
    Given,
    /// An RFC 1123 label, or several joined by dots.
    Label,
    Labels,
    /// A number from here to there; a port that goes by a name fits too.
    Within(i64, i64),
    /// A map whose keys can be names of files.
    Keys,
    LabelValues,
}
use Check::{Given, Keys, Label, LabelValues, Labels, Within};

/// The checks by field; `*` is every item of a list.
type Rules = &'static [(&'static str, Check)];

const ANY: Rules =
    &[("metadata.name", Given), ("metadata.name", Labels), ("metadata.labels", LabelValues), ("data", Keys)];
const SERVICE: Rules = &[
    ("metadata.name", Label),
    ("spec.ports.*.name", Label),
    ("spec.ports.*.port", Within(1, 65_535)),
    ("spec.ports.*.targetPort", Within(1, 65_535)),
    ("spec.selector", LabelValues),
];
const CONTROLLER: Rules = &[
    ("spec.replicas", Within(0, i64::MAX)),
    ("spec.selector", Given),
    ("spec.template", Given),
    ("spec.template.metadata.labels", LabelValues),
];
const POD: Rules = &[
    ("containers", Given),
    ("containers.*.name", Given),
    ("containers.*.name", Label),
    ("containers.*.image", Given),
    ("containers.*.ports.*.containerPort", Given),
    ("containers.*.ports.*.containerPort", Within(0, 65_535)),
    ("containers.*.ports.*.hostPort", Within(0, 65_535)),
    ("containers.*.env.*.name", Given),
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
    let mut found = check("", new, ANY);
    match kind {
        Kind::ConfigMap | Kind::Secret => {}
        Kind::Namespace => found.extend(check("", new, &SERVICE[..1])),
        Kind::Service => found.extend([check("", new, SERVICE), service(&new["spec"])].concat()),
        Kind::Pod => found.extend(pod("spec", &new["spec"])),
        Kind::ReplicationController => {
            let template = &new["spec"]["template"];
            found.extend([check("", new, CONTROLLER), pod("spec.template.spec", &template["spec"])].concat());
            if template.is_object() && !carries(template, &new["spec"]["selector"]) {
                found.push(cause(INVALID, "spec.template.metadata.labels", "the selector does not match"));
            }
        }
    }
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

fn pod(at: &str, spec: &Value) -> Vec<Cause> {
    if spec.is_null() { Vec::new() } else { [check(at, spec, POD), duplicates(at, spec)].concat() }
}

fn service(spec: &Value) -> Vec<Cause> {
    let ports = expand("spec", spec, "ports.*");
    let nameless = ports.iter().filter(|(_, port)| ports.len() > 1 && port["name"].is_null());
    let mut found: Vec<_> =
        nameless.map(|(at, _)| cause(REQUIRED, &format!("{at}.name"), "Required value")).collect();
    if ports.is_empty() && spec["clusterIP"] != "None" {
        found.push(cause(REQUIRED, "spec.ports", "Required value"));
    }
    [found, duplicates("spec", spec)].concat()
}

/// What may not change.
fn changes(kind: Kind, old: &Value, new: &Value) -> Vec<Cause> {
    let frozen = old["immutable"] == true;
    let fixed = [
        (true, "/metadata/uid", INVALID, "metadata.uid"),
        (frozen, "/immutable", FORBIDDEN, "immutable"),
        (frozen, "/data", FORBIDDEN, "data"),
        (kind == Kind::Secret, "/type", INVALID, "type"),
        (kind == Kind::Service, "/spec/clusterIP", INVALID, "spec.clusterIPs[0]"),
        (kind == Kind::Pod, "/spec", FORBIDDEN, "spec"),
    ];
    let [old, new] = [old, new].map(without_images);
    let changed = fixed.into_iter().filter(|(fixed, at, ..)| *fixed && old.pointer(at) != new.pointer(at));
    changed.map(|(_, _, reason, field)| cause(reason, field, "may not change")).collect()
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
            name if path.is_empty() => vec![(name.to_owned(), &value[name])],
            name => vec![(format!("{path}.{name}"), &value[name])],
        };
        found.into_iter().flat_map(below).collect()
    })
}

fn check(at: &str, object: &Value, rules: Rules) -> Vec<Cause> {
    let values = |(field, check): &(&str, Check)| {
        let check = *check;
        expand(at, object, field).into_iter().filter_map(move |(field, value)| check.refusal(&field, value))
    };
    rules.iter().flat_map(values).collect()
}

impl Check {
    fn refusal(self, field: &str, value: &Value) -> Option<Cause> {
        let text = value.as_str().unwrap_or_default();
        let is_token =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let is_label_value = |text: &str| text.len() <= 63 && is_token(text) && has_ends(text);
        let mut members = value.as_object().into_iter().flatten();
        let (holds, why) = match self {
            Given => return is_missing(value).then(|| cause(REQUIRED, field, "Required value")),
            Label => (text.is_empty() || is_label(text) && text.len() <= 63, "must be an RFC 1123 label"),
            Labels => (text.is_empty() || text.split('.').all(is_label), "must be an RFC 1123 name"),
            Within(low, high) => {
                (value.as_i64().is_none_or(|it| (low..=high).contains(&it)), "is out of range")
            }
            Keys => (members.all(|(key, _)| is_token(key)), "must have keys that can be names of files"),
            LabelValues => (
                members.all(|(_, value)| value.as_str().is_some_and(is_label_value)),
                "must hold label values",
            ),
        };
        (!holds).then(|| cause(INVALID, field, why))
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
                found.push(cause(DUPLICATE, &format!("{at}{shown}"), "Duplicate value"));
            }
        }
    }
    found
}

fn cause(reason: &'static str, field: &str, why: &str) -> Cause {
    (reason, field.to_owned(), why.to_owned())
}
