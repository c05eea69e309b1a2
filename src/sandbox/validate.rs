//! Refuses what the API server refuses, as far as a deployment of containers can meet it.
use super::failure::Cause;
use super::kinds::Kind;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Every fault of an object, and of its change if there was one before.
pub fn faults(kind: &Kind, old: Option<&Value>, new: &Value) -> Vec<Cause> {
    let mut found = Faults(Vec::new());
    found.metadata(kind, new);
    match kind.name {
        "Service" => found.service(&new["spec"]),
        "Pod" => found.pod("spec", &new["spec"]),
        "ReplicationController" | "ReplicaSet" | "Deployment" => found.controller(&new["spec"]),
        "PersistentVolumeClaim" => found.claim(&new["spec"]),
        "ConfigMap" | "Secret" => found.keys(&new["data"]),
        _ => {}
    }
    if let Some(old) = old {
        found.change(kind, old, new);
    }
    found.0
}

/// Whether a text is an RFC 1123 label.
fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_name(text)
}

fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_label_value(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let outer = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    let (first, last) = (text.bytes().next(), text.bytes().last());
    text.len() <= 63 && text.bytes().all(inner) && outer(first) && outer(last)
}

fn list(value: &Value) -> impl Iterator<Item = (usize, &Value)> {
    value.as_array().into_iter().flatten().enumerate()
}

struct Faults(Vec<Cause>);

impl Faults {
    fn add(&mut self, reason: &'static str, field: impl Into<String>, message: impl Into<String>) {
        self.0.push((reason, field.into(), message.into()));
    }

    fn required(&mut self, field: impl Into<String>) {
        self.add("FieldValueRequired", field, "Required value");
    }

    fn invalid(&mut self, field: impl Into<String>, value: &Value, why: &str) {
        self.add("FieldValueInvalid", field, format!("Invalid value: {value}: {why}"));
    }

    fn duplicate(&mut self, field: impl Into<String>, value: &Value) {
        self.add("FieldValueDuplicate", field, format!("Duplicate value: {value}"));
    }

    fn forbidden(&mut self, field: impl Into<String>, why: &str) {
        self.add("FieldValueForbidden", field, format!("Forbidden: {why}"));
    }

    fn metadata(&mut self, kind: &Kind, object: &Value) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let fits = match kind.name {
            "Service" | "Namespace" => is_label(name),
            _ => name.len() <= 253 && name.split('.').all(is_name),
        };
        if name.is_empty() {
            self.add(
                "FieldValueRequired",
                "metadata.name",
                "Required value: name or generateName is required",
            );
        } else if !fits {
            self.invalid("metadata.name", &json!(name), "must be a lowercase RFC 1123 name");
        }
        self.labels("metadata.labels", &object["metadata"]["labels"]);
    }

    fn labels(&mut self, field: &str, labels: &Value) {
        for value in labels.as_object().into_iter().flatten().map(|(_, value)| value) {
            if !is_label_value(value.as_str().unwrap_or_default()) {
                self.invalid(
                    field,
                    value,
                    "a valid label must be an empty string or consist of alphanumeric characters",
                );
            }
        }
    }

    fn service(&mut self, spec: &Value) {
        let count = spec["ports"].as_array().map_or(0, Vec::len);
        if count == 0 && spec["clusterIP"] != "None" && spec["type"] != "ExternalName" {
            self.required("spec.ports");
        }
        let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
        for (index, port) in list(&spec["ports"]) {
            let field = format!("spec.ports[{index}]");
            let name = port["name"].as_str().unwrap_or_default();
            if name.is_empty() && count > 1 {
                self.required(format!("{field}.name"));
            } else if !name.is_empty() && !is_label(name) {
                self.invalid(format!("{field}.name"), &port["name"], "must be a lowercase RFC 1123 label");
            } else if !name.is_empty() && !names.insert(name) {
                self.duplicate(format!("{field}.name"), &port["name"]);
            }
            self.port(format!("{field}.port"), &port["port"]);
            if port["targetPort"].is_number() {
                self.port(format!("{field}.targetPort"), &port["targetPort"]);
            }
            if !numbers.insert((port["port"].to_string(), port["protocol"].to_string())) {
                self.duplicate(field, port);
            }
        }
        self.labels("spec.selector", &spec["selector"]);
    }

    fn port(&mut self, field: String, port: &Value) {
        if !port.as_i64().is_some_and(|port| (1..=65_535).contains(&port)) {
            self.invalid(field, port, "must be between 1 and 65535, inclusive");
        }
    }

    fn controller(&mut self, spec: &Value) {
        if spec["replicas"].as_i64().is_some_and(|replicas| replicas < 0) {
            self.invalid("spec.replicas", &spec["replicas"], "must be greater than or equal to 0");
        }
        // The selector of a ReplicationController is a plain map, that of the others holds one.
        let selector = if spec["selector"]["matchLabels"].is_object() {
            &spec["selector"]["matchLabels"]
        } else {
            &spec["selector"]
        };
        let selector = selector.as_object().filter(|map| !map.is_empty());
        if selector.is_none() {
            self.required("spec.selector");
        }
        if spec["template"].is_null() {
            return self.required("spec.template");
        }
        let labels = &spec["template"]["metadata"]["labels"];
        if selector.into_iter().flatten().any(|(name, value)| labels[name.as_str()] != *value) {
            self.invalid(
                "spec.template.metadata.labels",
                labels,
                "`selector` does not match template `labels`",
            );
        }
        self.labels("spec.template.metadata.labels", labels);
        self.pod("spec.template.spec", &spec["template"]["spec"]);
    }

    fn pod(&mut self, at: &str, spec: &Value) {
        if spec["containers"].as_array().is_none_or(Vec::is_empty) {
            self.required(format!("{at}.containers"));
        }
        let volumes: BTreeSet<_> =
            list(&spec["volumes"]).filter_map(|(_, volume)| volume["name"].as_str()).collect();
        let (mut names, mut host_ports) = (BTreeSet::new(), BTreeSet::new());
        for (index, container) in list(&spec["containers"]) {
            let field = format!("{at}.containers[{index}]");
            let name = container["name"].as_str().unwrap_or_default();
            if name.is_empty() {
                self.required(format!("{field}.name"));
            } else {
                if !is_label(name) {
                    self.invalid(
                        format!("{field}.name"),
                        &container["name"],
                        "must be a lowercase RFC 1123 label",
                    );
                }
                if !names.insert(name) {
                    self.duplicate(format!("{field}.name"), &container["name"]);
                }
            }
            if container["image"].as_str().unwrap_or_default().is_empty() {
                self.required(format!("{field}.image"));
            }
            for (index, port) in list(&container["ports"]) {
                let field = format!("{field}.ports[{index}]");
                match port["containerPort"].as_i64() {
                    None | Some(0) => self.required(format!("{field}.containerPort")),
                    Some(_) => self.port(format!("{field}.containerPort"), &port["containerPort"]),
                }
                if port["hostPort"].as_i64().is_some_and(|port| port != 0) {
                    self.port(format!("{field}.hostPort"), &port["hostPort"]);
                    if !host_ports.insert((port["hostPort"].to_string(), port["protocol"].to_string())) {
                        self.duplicate(format!("{field}.hostPort"), &port["hostPort"]);
                    }
                }
            }
            for (index, variable) in list(&container["env"]) {
                if variable["name"].as_str().unwrap_or_default().is_empty() {
                    self.required(format!("{field}.env[{index}].name"));
                }
            }
            for (index, mount) in list(&container["volumeMounts"]) {
                if !mount["name"].as_str().is_some_and(|name| volumes.contains(name)) {
                    let message = format!("Not found: {}", mount["name"]);
                    self.add("FieldValueNotFound", format!("{field}.volumeMounts[{index}].name"), message);
                }
            }
        }
    }

    fn claim(&mut self, spec: &Value) {
        if spec["accessModes"].as_array().is_none_or(Vec::is_empty) {
            self.required("spec.accessModes");
        }
        if spec["resources"]["requests"]["storage"].is_null() {
            self.required("spec.resources[storage]");
        }
    }

    fn keys(&mut self, data: &Value) {
        for (key, _) in data.as_object().into_iter().flatten() {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            if key.is_empty()
                || key.len() > 253
                || key == "."
                || key.starts_with("..")
                || !key.bytes().all(fits)
            {
                self.invalid(
                    format!("data[{key}]"),
                    &json!(key),
                    "a valid config key must consist of alphanumeric characters",
                );
            }
        }
    }

    fn change(&mut self, kind: &Kind, old: &Value, new: &Value) {
        if new["metadata"]["uid"] != old["metadata"]["uid"] {
            self.invalid("metadata.uid", &new["metadata"]["uid"], "field is immutable");
        }
        let (old_spec, new_spec) = (&old["spec"], &new["spec"]);
        match kind.name {
            "ConfigMap" | "Secret" if old["immutable"] == true => {
                if new["immutable"] != true {
                    self.forbidden("immutable", "field is immutable when `immutable` is set");
                }
                for field in ["data", "binaryData"].into_iter().filter(|field| old[*field] != new[*field]) {
                    self.forbidden(field, "field is immutable when `immutable` is set");
                }
            }
            "Service" if old_spec["clusterIP"] != new_spec["clusterIP"] => {
                self.invalid(
                    "spec.clusterIPs[0]",
                    &json!([new_spec["clusterIP"]]),
                    "may not change once set",
                );
            }
            "Pod" if without_images(old_spec) != without_images(new_spec) => {
                self.forbidden(
                    "spec",
                    "pod updates may not change fields other than `spec.containers[*].image`",
                );
            }
            "Deployment" if old_spec["selector"] != new_spec["selector"] => {
                self.invalid("spec.selector", &new_spec["selector"], "field is immutable");
            }
            "PersistentVolumeClaim" if without(old_spec, "resources") != without(new_spec, "resources") => {
                self.forbidden("spec", "spec is immutable after creation except resources.requests");
            }
            _ => {}
        }
        if kind.name == "Secret" && old["type"] != new["type"] {
            self.invalid("type", &new["type"], "field is immutable");
        }
    }
}

fn without(spec: &Value, name: &str) -> Value {
    let mut spec = spec.clone();
    if let Some(spec) = spec.as_object_mut() {
        spec.remove(name);
    }
    spec
}

fn without_images(spec: &Value) -> Value {
    let mut spec = spec.clone();
    for name in ["containers", "initContainers"] {
        for container in spec.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten() {
            container["image"] = Value::Null;
        }
    }
    spec
}
