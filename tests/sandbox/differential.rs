//! Plays one script of HTTP exchanges against the sandbox and a real API server and compares the answers.
mod claims;
mod controllers;
mod deployments;
mod end;
mod guards;
mod lists;
mod ownership;
mod pods;
mod records;
mod rollouts;
mod services;

use super::life::start;
use crate::support::control_plane::{User, control_plane};
use http::{Request, header};
use kube::client::Body;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The manager whose fields the engine's guards are about.
const OURS: &str = "fieldManager=panamax:shop&fieldValidation=Strict";
const FORCED: &str = "fieldManager=panamax:shop&fieldValidation=Strict&force=true";
const DRY: &str = "fieldManager=panamax:shop&fieldValidation=Strict&dryRun=All";
const SCALE: &str = "fieldManager=panamax-scale:shop&force=true";
const PERSON: &str = "fieldManager=person";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// Fails with every exchange that was answered differently.
///
/// The real server's controllers run beside the script, and on a busy machine they may be ahead of one of its steps: what
/// differs counts if it differs when the real server plays the script again.
#[tokio::test]
async fn answers_as_the_real_server_does() {
    let (server, sandbox) = start().await;
    let real = || async { play(control_plane().client(User::Admin).await).await };
    let (sandbox, first) = tokio::join!(play(sandbox), real());
    server.shutdown().await;
    let mut differences = differences(&sandbox, &first);
    if !differences.is_empty() {
        let again = self::differences(&sandbox, &real().await);
        differences.retain(|place, _| again.contains_key(place));
    }
    let (count, all) = (differences.len(), sandbox.len());
    let told: Vec<String> = differences.into_values().collect();
    assert!(told.is_empty(), "{count} of {all} answers differ:\n{}", told.join("\n"));
}

/// The exchanges that were answered differently, by their place in the script.
fn differences(sandbox: &[(String, Value)], real: &[(String, Value)]) -> BTreeMap<usize, String> {
    let labels = |log: &[(String, Value)]| log.iter().map(|(label, _)| label.clone()).collect::<Vec<_>>();
    assert_eq!(labels(sandbox), labels(real), "both play the same script");
    let mut differences = BTreeMap::new();
    for (place, ((label, ours), (_, theirs))) in sandbox.iter().zip(real).enumerate() {
        let mut found = Vec::new();
        if theirs.get("never came").is_some() {
            found.push(format!("  never came on the real server: {theirs}"));
        }
        differ("", ours, theirs, &mut found);
        if !found.is_empty() {
            differences.insert(place, format!("{label}\n{}", found.join("\n")));
        }
    }
    differences
}

/// Names what differs, and only that.
fn differ(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(left), Value::Object(right)) => {
            let names: BTreeSet<_> = left.keys().chain(right.keys()).collect();
            for name in names {
                differ(&format!("{path}/{name}"), &ours[name.as_str()], &theirs[name.as_str()], found);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            let items = left.iter().zip(right).enumerate();
            items.for_each(|(index, (left, right))| differ(&format!("{path}/{index}"), left, right, found));
        }
        _ if ours != theirs => found.push(format!("  {path}: sandbox {ours}, real {theirs}")),
        _ => {}
    }
}

/// One server, one namespace, and every answer so far in its comparable form.
struct Session {
    client: kube::Client,
    namespace: String,
    log: Vec<(String, Value)>,
}

async fn play(client: kube::Client) -> Vec<(String, Value)> {
    let namespace = format!("differential-{:08x}", rand::random::<u32>());
    let mut session = Session { client, namespace, log: Vec::new() };
    guards::namespaces(&mut session).await;
    guards::guards(&mut session).await;
    ownership::replicas(&mut session).await;
    ownership::items(&mut session).await;
    services::services(&mut session).await;
    services::exposed(&mut session).await;
    pods::pods(&mut session).await;
    controllers::controllers(&mut session).await;
    deployments::deployments(&mut session).await;
    deployments::templates(&mut session).await;
    rollouts::rollouts(&mut session).await;
    rollouts::ends(&mut session).await;
    claims::claims(&mut session).await;
    claims::mounts(&mut session).await;
    records::records(&mut session).await;
    lists::lists(&mut session).await;
    lists::watches(&mut session).await;
    end::end(&mut session).await;
    session.log
}

impl Session {
    /// One exchange: `{ns}` in the path and body is the namespace; the verb APPLY is a kind of PATCH.
    async fn call(&mut self, label: &str, verb: &str, path: &str, body: Value) -> Value {
        self.call_as(label, verb, path, body, "application/json").await
    }

    async fn call_as(&mut self, label: &str, verb: &str, path: &str, body: Value, accept: &str) -> Value {
        let (code, answer) = self.send(verb, path, body, accept).await;
        let comparable = normal(code, &answer, &self.namespace);
        self.log.push((format!("{label}: {verb} {path}"), comparable));
        answer
    }

    async fn send(&self, verb: &str, path: &str, body: Value, accept: &str) -> (u16, Value) {
        let (method, content) = match verb {
            "APPLY" => ("PATCH", "application/apply-patch+yaml"),
            verb => (verb, "application/json"),
        };
        let fill = |text: &str| text.replace("{ns}", &self.namespace);
        let path = match path.strip_prefix("/") {
            Some(_) => fill(path),
            None => {
                let is_apps = path.starts_with("deployments") || path.starts_with("replicasets");
                let version = if is_apps { "apis/apps" } else { "api" };
                format!("/{version}/v1/namespaces/{}/{}", self.namespace, fill(path))
            }
        };
        let body = if body.is_null() { Vec::new() } else { fill(&body.to_string()).into_bytes() };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, content)
            .header(header::ACCEPT, accept)
            .header(header::USER_AGENT, "differential")
            .body(Body::from(body))
            .expect("a request");
        let response = self.client.send(request).await.expect("an answer");
        let code = response.status();
        let bytes = response.into_body().collect_bytes().await.expect("a body");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (code.as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn get(&mut self, label: &str, path: &str) -> Value {
        self.call(label, "GET", path, Value::Null).await
    }

    async fn apply(&mut self, label: &str, query: &str, body: Value) -> Value {
        let plural = format!("{}s", body["kind"].as_str().expect("a kind").to_lowercase());
        let path = format!("{plural}/{}?{query}", body["metadata"]["name"].as_str().expect("a name"));
        self.call(label, "APPLY", &path, body).await
    }

    async fn delete(&mut self, label: &str, path: &str, policy: &str, uid: &Value) -> Value {
        let options = json!({ "propagationPolicy": policy, "preconditions": { "uid": uid } });
        self.call(label, "DELETE", path, options).await
    }

    /// Changes an object as a person does with an editor.
    async fn edit(&mut self, label: &str, path: &str, changes: &[(&str, Value)]) {
        let (_, mut object) = self.send("GET", path, Value::Null, "application/json").await;
        // Without it a controller that writes in between spoils nothing.
        object["metadata"]["resourceVersion"] = Value::Null;
        for (pointer, value) in changes {
            object = with(object, pointer, value.clone());
            let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
            let parent = object.pointer_mut(parent).and_then(Value::as_object_mut).expect("a parent");
            parent.retain(|key, value| key != name || !value.is_null());
        }
        self.call(label, "PUT", &format!("{path}?fieldManager=kubectl-edit"), object).await;
    }

    /// Waits until an answer shows what is expected, and logs that it came.
    async fn until(&mut self, label: &str, path: &str, expected: impl Fn(u16, &Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let (code, answer) = self.send("GET", path, Value::Null, "application/json").await;
            if expected(code, &answer) {
                self.log.push((label.to_owned(), json!("came")));
                return answer;
            }
            if start.elapsed() > Duration::from_secs(20) {
                self.log.push((label.to_owned(), json!({ "never came": answer })));
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn note(&mut self, label: &str, fact: Value) {
        self.log.push((label.to_owned(), fact));
    }
}

/// What two servers must agree on: not ids, times, addresses and wording.
fn normal(code: u16, answer: &Value, namespace: &str) -> Value {
    let kind = answer["kind"].as_str().unwrap_or_default();
    if kind == "Status" {
        let causes = answer["details"]["causes"].as_array().into_iter().flatten();
        let mut causes: Vec<_> = causes.map(|cause| json!([cause["reason"], cause["field"]])).collect();
        causes.sort_by_key(Value::to_string);
        return json!({ "code": code, "status": answer["status"], "reason": answer["reason"], "causes": causes });
    }
    if let Some(items) = answer["items"].as_array() {
        // The real server puts a certificate into every namespace.
        let items = items.iter().filter(|item| item["metadata"]["name"] != "kube-root-ca.crt");
        let items: Vec<_> = items.map(|item| object(item, namespace)).collect();
        let more = answer["metadata"]["continue"].is_string();
        return json!({ "code": code, "kind": kind, "items": items, "more": more });
    }
    let mut shown = object(answer, namespace);
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("code".to_owned(), json!(code));
    }
    shown
}

fn object(object: &Value, namespace: &str) -> Value {
    let mut object: Value =
        serde_json::from_str(&object.to_string().replace(namespace, "{ns}")).unwrap_or_default();
    let Some(map) = object.as_object_mut() else {
        return object;
    };
    map.remove("status");
    if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        for name in ["uid", "resourceVersion", "creationTimestamp"] {
            metadata.remove(name);
        }
        if let Some(time) = metadata.get_mut("deletionTimestamp") {
            *time = json!("some time");
        }
        // Notes that controllers keep for themselves.
        if let Some(notes) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            let is_note =
                |name: &str| ["deployment.", "pv.", "volume."].iter().any(|own| name.starts_with(own));
            notes.retain(|name, _| !is_note(name));
            if notes.is_empty() {
                metadata.remove("annotations");
            }
        }
        for owner in metadata.get_mut("ownerReferences").and_then(Value::as_array_mut).into_iter().flatten() {
            owner["uid"] = json!("some uid");
        }
        let entries = metadata.remove("managedFields");
        let entries = entries.as_ref().and_then(Value::as_array).into_iter().flatten().filter(|entry| {
            !matches!(
                entry["manager"].as_str(),
                Some("kube-apiserver" | "kube-controller-manager" | "kube-scheduler" | "kwok" | "sandbox")
            )
        });
        let mut owners: Map<String, Value> = Map::new();
        for entry in entries {
            // A reference to an owner is keyed by its uid.
            let mut fields = entry["fieldsV1"].to_string();
            if let Some(start) = fields.find("k:{\\\"uid\\\":\\\"") {
                fields.replace_range(start + 13..start + 49, "some uid");
            }
            let fields = serde_json::from_str(&fields).unwrap_or_default();
            owners.insert(format!("{} {}", entry["manager"], entry["operation"]), fields);
        }
        metadata.insert("owners".to_owned(), Value::Object(owners));
    }
    // Addresses are given out differently; what counts is that there is one. The rest is admission's.
    let Some(spec) = map.get_mut("spec").and_then(Value::as_object_mut) else {
        return object;
    };
    for name in
        ["nodeName", "tolerations", "priority", "preemptionPolicy", "serviceAccount", "serviceAccountName"]
    {
        spec.remove(name);
    }
    for name in ["clusterIP", "clusterIPs"] {
        if let Some(address) = spec.get_mut(name).filter(|address| address.to_string().contains("10.96.")) {
            *address = json!("some address");
        }
    }
    if let Some(volume) = spec.get_mut("volumeName") {
        *volume = json!("some volume");
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        // A dry run of the real server gives numbers just above its range.
        if port["nodePort"].as_i64().is_some_and(|number| (30_000..=32_800).contains(&number)) {
            port["nodePort"] = json!("some port");
        }
    }
    if spec.remove("finalizers").is_some() {
        map.remove("spec");
    }
    object
}

fn config_map(name: &str, data: Value) -> Value {
    with(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } }), "/data", data)
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    match object.pointer_mut(parent).expect("a parent") {
        Value::Array(items) => items[name.parse::<usize>().expect("a number")] = value,
        parent => parent[name] = value,
    }
    object
}

/// A ConfigMap that somebody wants to see off first.
fn held() -> Value {
    with(config_map("held", json!({})), "/metadata/finalizers", json!(["example.com/hold"]))
}

fn controller(replicas: Option<i64>, image: &str) -> Value {
    let container = json!({
        "name": "web", "image": image, "args": ["a", "b"],
        "ports": [{ "containerPort": 80 }, { "containerPort": 53, "protocol": "UDP", "hostPort": 53 }],
        "env": [{ "name": "EMPTY", "value": "" }, { "name": "FULL", "value": "$$(x)" }],
    });
    let mut spec = json!({
        "selector": { "name": "web" },
        "template": {
            "metadata": { "labels": { "name": "web" }, "annotations": { "panamax.io/revision": "1" } },
            "spec": {
                "automountServiceAccountToken": false, "containers": [container],
                "imagePullSecrets": [{ "name": "pull" }], "volumes": [{ "name": "v", "emptyDir": {} }],
            },
        },
    });
    if let Some(replicas) = replicas {
        spec["replicas"] = json!(replicas);
    }
    json!({
        "apiVersion": "v1", "kind": "ReplicationController",
        "metadata": { "name": "web", "labels": { "name": "web", "extra": "yes" } }, "spec": spec,
    })
}

fn service(name: &str, spec: Value) -> Value {
    let metadata = json!({ "name": name, "labels": { "name": name } });
    with(json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata }), "/spec", spec)
}

fn pod(name: &str, image: &str) -> Value {
    let container = json!({ "name": "main", "image": image, "ports": [{ "containerPort": 80 }], "env": [{ "name": "A", "value": "1" }] });
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "name": name } },
        "spec": { "automountServiceAccountToken": false, "containers": [container] },
    })
}

fn waits(answer: &Value, reason: &str) -> bool {
    answer["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == reason
}

fn ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}
