//! Our objects against the seed page's own, converted field by field from v1beta1 to today's API.

use std::path::Path;

use panamax_kubernetes_adapter::template::validate::{Limits, from_text};
use panamax_kubernetes_adapter::translate::{Options, slug, translate};
use serde_json::{Map, Value, json};

/// The page's objects by id.
fn page(id: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/translate/seed/{id}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The page's template with WP at that count.
fn ours(count: u32) -> Vec<Value> {
    let text = include_str!("cases/seed.pmx")
        .replace("wordpress:3.9.1\n", &format!("wordpress:3.9.1\n  deployment: {{count: {count}}}\n"));
    let template = from_text(&text, None, &Limits::default()).0.template.unwrap();
    let translation = translate(&template, &Options::new(slug(&template.name).unwrap()));
    translation.artifacts.unwrap().objects().iter().map(|object| page_part(&object.manifest)).collect()
}

/// What is left of our object without what we add to the page's.
fn page_part(manifest: &Value) -> Value {
    let mut object = manifest.clone();
    strip(&mut object);
    object
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("annotations");
            map.remove("automountServiceAccountToken");
            map.retain(|key, _| !key.starts_with("app.kubernetes.io/"));
            map.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Converts one of the page's objects; whatever it has beyond the known fields fails the test.
fn convert(old: Value) -> Value {
    let mut old = fields(old);
    assert_eq!(take(&mut old, "apiVersion"), "v1beta1");
    let name = take(&mut old, "id");
    let labels = take(&mut old, "labels");
    let kind = take(&mut old, "kind");
    let spec = match kind.as_str().unwrap() {
        "Pod" => convert_pod(take(&mut old, "desiredState"), &name),
        "Service" => json!({
            "ports": [{
                "port": take(&mut old, "port"),
                "protocol": "TCP",
                "targetPort": take(&mut old, "containerPort"),
            }],
            "selector": take(&mut old, "selector"),
        }),
        "ReplicationController" => {
            let mut state = fields(take(&mut old, "desiredState"));
            let mut template = fields(take(&mut state, "podTemplate"));
            let spec = json!({
                "replicas": take(&mut state, "replicas"),
                "selector": take(&mut state, "replicaSelector"),
                "template": {
                    "metadata": { "labels": take(&mut template, "labels") },
                    "spec": convert_pod(take(&mut template, "desiredState"), &name),
                },
            });
            assert!(state.is_empty() && template.is_empty());
            spec
        }
        other => panic!("the page has no {other}"),
    };
    assert!(old.is_empty(), "{old:?}");
    json!({ "apiVersion": "v1", "kind": kind, "metadata": { "labels": labels, "name": name }, "spec": spec })
}

fn convert_pod(state: Value, id: &Value) -> Value {
    let mut state = fields(state);
    let mut manifest = fields(take(&mut state, "manifest"));
    assert_eq!(&take(&mut manifest, "id"), id);
    assert_eq!(take(&mut manifest, "version"), "v1beta1");
    let mut containers = take(&mut manifest, "containers");
    assert!(state.is_empty() && manifest.is_empty());
    for container in containers.as_array_mut().unwrap() {
        for port in container["ports"].as_array_mut().unwrap() {
            // The default of both versions; the page writes it in one place of two.
            port.as_object_mut().unwrap().entry("protocol").or_insert(json!("TCP"));
        }
    }
    json!({ "containers": containers })
}

fn fields(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

fn take(map: &mut Map<String, Value>, key: &str) -> Value {
    map.remove(key).unwrap_or_else(|| panic!("the page's object has no {key}"))
}

fn check(count: u32, ids: &[&str]) {
    let page: Vec<Value> = ids.iter().map(|id| convert(page(id))).collect();
    assert_eq!(ours(count), page);
}

#[test]
fn the_sample_gives_the_pages_objects() {
    check(1, &["db-1", "db-pod", "wp-pod"]);
}

#[test]
fn the_sample_with_three_wordpresses_gives_the_pages_objects() {
    check(3, &["db-1", "wp", "wp-replication-controller", "db-pod"]);
}
