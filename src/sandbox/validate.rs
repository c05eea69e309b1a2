//! Refuses what the API server refuses, as far as a deployment of containers can meet it.
use super::defaults::items;
use super::failure::Cause;
use super::kinds::Kind;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const REQUIRED: &str = "FieldValueRequired";
const INVALID: &str = "FieldValueInvalid";
const FORBIDDEN: &str = "FieldValueForbidden";
const DUPLICATE: &str = "FieldValueDuplicate";
const UNSUPPORTED: &str = "FieldValueNotSupported";
const TOO_LONG: &str = "FieldValueTooLong";

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
    OneOf(&'static [&'static str]),
    /// A path that does not climb.
    Inside,
}
use Check::{Given, Inside, Keys, Label, LabelValues, Labels, OneOf, Variable, Within};

/// The checks by field; `*` is every item of a list, and behind a `?` an absent value ends the path.
type Rules = &'static [(&'static str, Check)];

const ANY: Rules =
    &[("metadata.name", Given), ("metadata.name", Labels), ("metadata.labels", LabelValues), ("data", Keys)];
const SERVICE: Rules = &[
    ("metadata.name", Label),
    ("spec.ports.*.name", Label),
    ("spec.ports.*.port", Within(1, 65_535)),
    ("spec.ports.*.targetPort", Within(1, 65_535)),
    ("spec.selector", LabelValues),
    ("spec.type", OneOf(&["ClusterIP", "NodePort", "LoadBalancer"])),
];
const CONTROLLER: Rules = &[
    ("spec.replicas", Within(0, i64::MAX)),
    ("spec.revisionHistoryLimit", Within(0, i64::MAX)),
    ("spec.selector", Given),
    ("spec.template", Given),
    ("spec.template.metadata.labels", LabelValues),
    ("spec.template?.spec?.restartPolicy", OneOf(&["Always"])),
];
const CLAIM: Rules = &[
    ("spec.accessModes", Given),
    ("spec.storageClassName", Labels),
    ("spec.volumeMode", OneOf(&["Filesystem", "Block"])),
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
    ("containers.*.env.*.name", Variable),
    ("containers.*.env.*.valueFrom?.secretKeyRef?.name", Labels),
    ("containers.*.env.*.valueFrom?.secretKeyRef?.key", Given),
    ("containers.*.env.*.valueFrom?.secretKeyRef?.key", Keys),
    ("containers.*.volumeMounts.*.mountPath", Given),
    ("containers.*.volumeMounts.*.name", Given),
    ("containers.*.securityContext.seccompProfile.type", PROFILES),
    ("securityContext.seccompProfile.type", PROFILES),
    ("volumes.*.name", Given),
    ("volumes.*.name", Label),
    ("volumes.*.hostPath?.path", Given),
    ("volumes.*.hostPath?.path", Inside),
    ("volumes.*.persistentVolumeClaim?.claimName", Given),
];
const PROFILES: Check = OneOf(&["Localhost", "RuntimeDefault", "Unconfined"]);

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
        Kind::ConfigMap | Kind::Secret => found.extend(content(kind, &new["data"])),
        Kind::PersistentVolumeClaim => found.extend([check("", new, CLAIM), claim(old, new)].concat()),
        Kind::Namespace => found.extend(check("", new, &SERVICE[..1])),
        Kind::Service => found.extend([check("", new, SERVICE), service(&new["spec"])].concat()),
        Kind::Pod => found.extend(pod("spec", &new["spec"])),
        Kind::ReplicationController | Kind::Deployment | Kind::ReplicaSet => {
            let template = &new["spec"]["template"];
            found.extend([check("", new, CONTROLLER), strategy(&new["spec"])].concat());
            if template.is_object() {
                found.extend(pod("spec.template.spec", &template["spec"]));
            }
            if template.is_object() && !carries(template, selector(kind, new)) {
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

/// The labels that a controller selects its pods by.
pub fn selector(kind: Kind, controller: &Value) -> &Value {
    let selector = &controller["spec"]["selector"];
    if kind == Kind::ReplicationController { selector } else { &selector["matchLabels"] }
}

/// The bytes that a claim asks for; not a number if the text is none.
pub fn size(claim: &Value) -> f64 {
    const UNITS: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    let text = claim["spec"]["resources"]["requests"]["storage"].as_str().unwrap_or_default();
    let (number, unit) =
        text.split_at(text.find(|letter: char| letter.is_alphabetic()).unwrap_or(text.len()));
    let (unit, base) = unit.strip_suffix('i').map_or((unit, 1_000_f64), |unit| (unit, 1_024.0));
    let power = UNITS.iter().position(|known| known.eq_ignore_ascii_case(unit));
    let factor = power.and_then(|power| i32::try_from(power).ok()).map_or(f64::NAN, |power| base.powi(power));
    number.parse().unwrap_or(f64::NAN) * factor
}

fn claim(old: Option<&Value>, new: &Value) -> Vec<Cause> {
    const AT: &str = "spec.resources[storage]";
    let storage = |claim: &Value| claim.pointer("/spec/resources/requests/storage").cloned();
    let mut found = Vec::new();
    match storage(new) {
        None => found.push(cause(REQUIRED, AT, "Required value")),
        Some(_) if size(new).is_nan() || size(new) <= 0.0 => {
            found.push(cause(INVALID, AT, "must be greater than zero"))
        }
        Some(_) => {}
    }
    if let Some(old) = old {
        let bound = new["status"]["phase"] == "Bound";
        let rest = |claim: &Value| {
            let mut spec = claim["spec"].clone();
            spec["resources"]["requests"]["storage"] = if bound { Value::Null } else { json!(size(claim)) };
            spec
        };
        if rest(old) != rest(new) {
            found.push(cause(
                FORBIDDEN,
                "spec",
                "spec is immutable after creation except resources.requests for bound claims",
            ));
        } else if size(new) < size(old) {
            found.push(cause(
                FORBIDDEN,
                "spec.resources.requests.storage",
                "field can not be less than status.capacity",
            ));
        }
    }
    found
}

/// Secrets and ConfigMaps hold a mebibyte; that of a Secret is counted decoded.
fn content(kind: Kind, data: &Value) -> Option<Cause> {
    let texts = data.as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str());
    let (at, bytes): (_, usize) = match kind {
        Kind::Secret => {
            let decoded = |text: &str| text.trim_end_matches('=').len() * 3 / 4;
            ("data", texts.map(decoded).sum())
        }
        _ => ("[]", texts.map(str::len).sum()),
    };
    (bytes > 1 << 20).then(|| cause(TOO_LONG, at, "may not be more than 1048576 bytes"))
}

fn strategy(spec: &Value) -> Vec<Cause> {
    let strategy = &spec["strategy"];
    let rolling = &strategy["rollingUpdate"];
    let none = |name: &str| rolling[name] == 0 || rolling[name] == "0%";
    let number = |name: &str| spec[name].as_i64();
    let found = [
        (
            strategy["type"].as_str().is_some_and(|name| !["RollingUpdate", "Recreate"].contains(&name)),
            cause(UNSUPPORTED, "spec.strategy", "must be RollingUpdate or Recreate"),
        ),
        (
            strategy["type"] == "Recreate" && !rolling.is_null(),
            cause(
                FORBIDDEN,
                "spec.strategy.rollingUpdate",
                "may not be specified when strategy `type` is 'Recreate'",
            ),
        ),
        (
            none("maxSurge") && none("maxUnavailable"),
            cause(INVALID, "spec.strategy.rollingUpdate.maxUnavailable", "may not be 0 when `maxSurge` is 0"),
        ),
        (
            number("progressDeadlineSeconds")
                .is_some_and(|limit| limit <= number("minReadySeconds").unwrap_or(0)),
            cause(INVALID, "spec.progressDeadlineSeconds", "must be greater than minReadySeconds"),
        ),
    ];
    found.into_iter().filter(|(holds, _)| *holds).map(|(_, cause)| cause).collect()
}

fn pod(at: &str, spec: &Value) -> Vec<Cause> {
    let mut found = [check(at, spec, POD), duplicates(at, spec)].concat();
    for (at, variable) in expand(at, spec, "containers.*.env.*") {
        if !is_missing(&variable["value"]) && !variable["valueFrom"].is_null() {
            found.push(cause(
                INVALID,
                &format!("{at}.valueFrom"),
                "may not be specified when `value` is not empty",
            ));
        }
    }
    let mut volumes = expand(at, spec, "volumes.*");
    volumes.retain(|(at, _)| !found.iter().any(|(_, field, _)| field.starts_with(at)));
    for (at, name) in expand(at, spec, "containers.*.volumeMounts.*.name") {
        if !volumes.iter().any(|(_, volume)| volume["name"] == *name) {
            found.push(cause("FieldValueNotFound", &at, "Not found"));
        }
    }
    found
}

fn service(spec: &Value) -> Vec<Cause> {
    let ports = expand("spec", spec, "ports.*");
    let nameless = ports.iter().filter(|(_, port)| ports.len() > 1 && port["name"].is_null());
    let mut found: Vec<_> =
        nameless.map(|(at, _)| cause(REQUIRED, &format!("{at}.name"), "Required value")).collect();
    if ports.is_empty() && spec["clusterIP"] != "None" {
        found.push(cause(REQUIRED, "spec.ports", "Required value"));
    }
    if spec["type"] == "ClusterIP" {
        let inside = ports.iter().filter(|(_, port)| !port["nodePort"].is_null());
        found.extend(inside.map(|(at, _)| cause(FORBIDDEN, &format!("{at}.nodePort"), "not for ClusterIP")));
    } else if spec["clusterIP"] == "None" {
        found.push(cause(INVALID, "spec.clusterIPs[0]", "may not be set to 'None' for this type"));
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
        (kind == Kind::Deployment, "/spec/selector", INVALID, "spec.selector"),
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
            Keys => {
                let is_key =
                    |key: &str| key.len() <= 253 && is_token(key) && key != "." && !key.starts_with("..");
                if let Some((key, _)) = members.find(|(key, _)| !is_key(key)) {
                    return Some(cause(INVALID, &format!("{field}[{key}]"), "must be the name of a file"));
                }
                (is_key(text), "must be the name of a file")
            }
            Variable => (
                text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'='),
                "must be the name of a variable",
            ),
            OneOf(words) => {
                return (!text.is_empty() && !words.contains(&text))
                    .then(|| cause(UNSUPPORTED, field, "is not known"));
            }
            Inside => (!text.split('/').any(|step| step == ".."), "must not contain '..'"),
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
