//! Plays one script of HTTP exchanges against the sandbox and a real API server and compares the answers.
use http::{Request, header};
use kube::{client::Body, config::AuthInfo};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The manager whose fields the engine's guards are about.
const OURS: &str = "fieldManager=panamax:shop&fieldValidation=Strict";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// Runs the script on both servers; panics with every exchange that was answered differently.
pub async fn compare(sandbox: &str, real: &str, token: &str) {
    let (sandbox, real) = tokio::join!(play(sandbox, token), play(real, token));
    let mut differences = Vec::new();
    for ((label, ours), (_, theirs)) in sandbox.iter().zip(&real) {
        let mut found = Vec::new();
        differ("", ours, theirs, &mut found);
        if !found.is_empty() {
            differences.push(format!("{label}\n{}", found.join("\n")));
        }
    }
    let labels = |log: &[(String, Value)]| log.iter().map(|(label, _)| label.clone()).collect::<Vec<_>>();
    assert_eq!(labels(&sandbox), labels(&real), "both play the same script");
    let (count, all) = (differences.len(), sandbox.len());
    assert!(
        differences.is_empty(),
        "{count} of {all} answers differ:\n{}",
        differences.join("\n")
    );
}

/// Names what differs, and only that.
fn differ(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(left), Value::Object(right)) => {
            let names: BTreeSet<_> = left.keys().chain(right.keys()).collect();
            for name in names {
                differ(
                    &format!("{path}/{name}"),
                    &ours[name.as_str()],
                    &theirs[name.as_str()],
                    found,
                );
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

async fn play(url: &str, token: &str) -> Vec<(String, Value)> {
    let mut config = kube::Config::new(url.parse().expect("a URL"));
    config.accept_invalid_certs = true;
    config.auth_info = AuthInfo {
        token: Some(token.to_owned().into()),
        ..AuthInfo::default()
    };
    let client = kube::Client::try_from(config).expect("a client");
    let namespace = format!("differential-{:08x}", rand::random::<u32>());
    let mut session = Session {
        client,
        namespace,
        log: Vec::new(),
    };
    namespaces(&mut session).await;
    guards(&mut session).await;
    ownership(&mut session).await;
    services(&mut session).await;
    pods(&mut session).await;
    controllers(&mut session).await;
    deployments(&mut session).await;
    records(&mut session).await;
    lists(&mut session).await;
    watches(&mut session).await;
    end(&mut session).await;
    session.log
}

impl Session {
    /// One exchange: `{ns}` in the path and body is the namespace; the verbs APPLY and MERGE are kinds of PATCH.
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
            "MERGE" => ("PATCH", "application/merge-patch+json"),
            verb => (verb, "application/json"),
        };
        let fill = |text: &str| text.replace("{ns}", &self.namespace);
        let path = match path.strip_prefix("/") {
            Some(_) => fill(path),
            None => format!("/api/v1/namespaces/{}/{}", self.namespace, fill(path)),
        };
        let body = if body.is_null() {
            Vec::new()
        } else {
            fill(&body.to_string()).into_bytes()
        };
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
        (
            code.as_u16(),
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    async fn apply(&mut self, label: &str, query: &str, body: Value) -> Value {
        let plural = match body["kind"].as_str().expect("a kind") {
            "Deployment" => "/apis/apps/v1/namespaces/{ns}/deployments".to_owned(),
            kind => format!("{}s", kind.to_lowercase()),
        };
        let path = format!(
            "{plural}/{}?{query}",
            body["metadata"]["name"].as_str().expect("a name")
        );
        self.call(label, "APPLY", &path, body).await
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
        let mut causes: Vec<_> = causes
            .map(|cause| json!([cause["reason"], cause["field"]]))
            .collect();
        causes.sort_by_key(Value::to_string);
        return json!({ "code": code, "status": answer["status"], "reason": answer["reason"], "causes": causes });
    }
    if let Some(items) = answer["items"].as_array() {
        // The real server puts a certificate into every namespace.
        let items = items
            .iter()
            .filter(|item| item["metadata"]["name"] != "kube-root-ca.crt");
        let items: Vec<_> = items.map(|item| object(item, namespace)).collect();
        let more = answer["metadata"]["continue"].is_string();
        return json!({ "code": code, "kind": kind, "items": items, "more": more, "left": answer["metadata"]["remainingItemCount"] });
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
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("deployment.kubernetes.io/revision");
        }
        if metadata.get("annotations") == Some(&json!({})) {
            metadata.remove("annotations");
        }
        if let Some(time) = metadata.get_mut("deletionTimestamp") {
            *time = json!("some time");
        }
        for owner in metadata
            .get_mut("ownerReferences")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            owner["uid"] = json!("some uid");
        }
        let entries = metadata.remove("managedFields");
        let entries = entries
            .as_ref()
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter(|entry| {
                !matches!(
                    entry["manager"].as_str(),
                    Some(
                        "kube-apiserver" | "kube-controller-manager" | "kube-scheduler" | "kwok" | "sandbox"
                    )
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
    // Addresses are given out differently; what counts is that there is one.
    let Some(spec) = map.get_mut("spec").and_then(Value::as_object_mut) else {
        return object;
    };
    spec.remove("nodeName");
    spec.remove("volumeName");
    for name in ["clusterIP", "clusterIPs"] {
        if let Some(address) = spec
            .get_mut(name)
            .filter(|address| address.to_string().contains("10.96."))
        {
            *address = json!("some address");
        }
    }
    for port in spec
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if port["nodePort"].is_number() {
            port["nodePort"] = json!("some port");
        }
    }
    object
}

fn config_map(name: &str, data: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data })
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    object.pointer_mut(parent).expect("a parent")[name] = value;
    object
}

fn foreground(uid: &Value) -> Value {
    json!({ "propagationPolicy": "Foreground", "preconditions": { "uid": uid } })
}

fn background(uid: &Value) -> Value {
    json!({ "propagationPolicy": "Background", "preconditions": { "uid": uid } })
}

async fn namespaces(on: &mut Session) {
    let map = config_map("a", json!({ "x": "1" }));
    on.call("into nowhere", "POST", "configmaps", map.clone()).await;
    on.apply("into nowhere", OURS, map.clone()).await;
    on.apply(
        "into nowhere",
        &format!("{OURS}&dryRun=All"),
        with(map, "/metadata/resourceVersion", json!("1")),
    )
    .await;
    on.call("in nowhere", "GET", "configmaps/a", Value::Null).await;
    on.call("in nowhere", "GET", "configmaps", Value::Null).await;
    on.call("in nowhere", "DELETE", "configmaps/a", json!({})).await;
    on.call("nowhere", "GET", "/api/v1/namespaces/{ns}", Value::Null)
        .await;
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "{ns}" } });
    on.call("dry", "POST", "/api/v1/namespaces?dryRun=All", namespace.clone())
        .await;
    on.call("new", "POST", "/api/v1/namespaces", namespace.clone())
        .await;
    on.call("again", "POST", "/api/v1/namespaces", namespace).await;
    on.call("found", "GET", "/api/v1/namespaces/{ns}", Value::Null)
        .await;
    on.call("the first", "GET", "/api/v1/namespaces/default", Value::Null)
        .await;
    on.call(
        "bad name",
        "POST",
        "/api/v1/namespaces",
        json!({ "metadata": { "name": "A_b" } }),
    )
    .await;
    on.call("no such kind", "GET", "nothings", Value::Null).await;
    // Claims are accounted for once the controllers have made the default service account.
    on.until(
        "service account",
        "/api/v1/namespaces/{ns}/serviceaccounts/default",
        |code, _| code == 200 || code == 404,
    )
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
}

async fn guards(on: &mut Session) {
    let map = |value: &str| config_map("guarded", json!({ "x": value }));
    let only_new = |value: &str| with(map(value), "/metadata/resourceVersion", json!("1"));
    let only_uid = |value: &str, uid: &Value| with(map(value), "/metadata/uid", uid.clone());
    on.apply("uid, absent", OURS, only_uid("1", &json!("x"))).await;
    on.apply(
        "uid and create, absent",
        OURS,
        with(only_new("1"), "/metadata/uid", json!("x")),
    )
    .await;
    on.apply("create, dry", &format!("{OURS}&dryRun=All"), only_new("1"))
        .await;
    on.call("dry leaves nothing", "GET", "configmaps/guarded", Value::Null)
        .await;
    let made = on.apply("create, absent", OURS, only_new("1")).await;
    let uid = made["metadata"]["uid"].clone();
    on.apply("create, present", OURS, only_new("1")).await;
    on.apply("create, present, changed", OURS, only_new("2")).await;
    on.apply(
        "create, present, other manager",
        "fieldManager=other",
        only_new("2"),
    )
    .await;
    on.apply(
        "create, present, forced",
        "fieldManager=other&force=true",
        only_new("2"),
    )
    .await;
    on.apply(
        "create, present, dry",
        &format!("{OURS}&dryRun=All"),
        only_new("2"),
    )
    .await;
    on.apply("uid, right", OURS, only_uid("3", &uid)).await;
    on.apply("uid, other", OURS, only_uid("4", &json!("x"))).await;
    on.apply(
        "uid, other, other manager",
        "fieldManager=other",
        only_uid("4", &json!("x")),
    )
    .await;
    on.apply(
        "uid, other, forced",
        "fieldManager=other&force=true",
        only_uid("4", &json!("x")),
    )
    .await;
    on.apply("no manager", "force=true", map("3")).await;
    on.apply("unknown field", OURS, with(map("3"), "/metadatas", json!(1)))
        .await;
    on.apply(
        "unknown field, lenient",
        "fieldManager=panamax:shop",
        with(map("3"), "/metadatas", json!(1)),
    )
    .await;
    on.apply("wrong type", OURS, with(map("3"), "/data/x", json!(1)))
        .await;
    on.apply(
        "wrong namespace",
        OURS,
        with(map("3"), "/metadata/namespace", json!("default")),
    )
    .await;
    on.call(
        "wrong name",
        "APPLY",
        &format!("configmaps/other?{OURS}"),
        map("3"),
    )
    .await;
    on.call(
        "unknown field",
        "POST",
        &format!("configmaps?{OURS}"),
        with(map("3"), "/metadatas", json!(1)),
    )
    .await;
    on.call(
        "wrong type",
        "POST",
        &format!("configmaps?{OURS}"),
        with(map("3"), "/data/x", json!(1)),
    )
    .await;
    on.call(
        "wrong kind",
        "POST",
        &format!("configmaps?{OURS}"),
        with(map("3"), "/kind", json!("Secret")),
    )
    .await;
    on.call("revision", "POST", &format!("configmaps?{OURS}"), only_new("3"))
        .await;
    on.call("present", "POST", &format!("configmaps?{OURS}"), map("3"))
        .await;
    on.call(
        "absent",
        "PUT",
        &format!("configmaps/gone?{OURS}"),
        config_map("gone", json!({})),
    )
    .await;
    on.call(
        "old revision",
        "PUT",
        &format!("configmaps/guarded?{OURS}"),
        only_new("5"),
    )
    .await;
    on.call(
        "other uid",
        "PUT",
        &format!("configmaps/guarded?{OURS}"),
        only_uid("5", &json!("x")),
    )
    .await;
    let now = on.call("now", "GET", "configmaps/guarded", Value::Null).await;
    let put = with(
        map("5"),
        "/metadata/resourceVersion",
        now["metadata"]["resourceVersion"].clone(),
    );
    on.call(
        "right revision",
        "PUT",
        &format!("configmaps/guarded?{OURS}"),
        put.clone(),
    )
    .await;
    on.call(
        "spent revision",
        "PUT",
        &format!("configmaps/guarded?{OURS}"),
        put,
    )
    .await;
    on.call(
        "merge",
        "MERGE",
        &format!("configmaps/guarded?{OURS}"),
        json!({ "data": { "x": null, "y": "1" } }),
    )
    .await;
    on.call(
        "merge, absent",
        "MERGE",
        &format!("configmaps/gone?{OURS}"),
        json!({ "data": {} }),
    )
    .await;
    on.call(
        "no content type",
        "PATCH",
        &format!("configmaps/guarded?{OURS}"),
        json!({}),
    )
    .await;
    on.call(
        "delete, other uid",
        "DELETE",
        "configmaps/guarded",
        background(&json!("x")),
    )
    .await;
    on.call(
        "delete, dry",
        "DELETE",
        "configmaps/guarded",
        json!({ "dryRun": ["All"] }),
    )
    .await;
    on.call(
        "delete, dry by query",
        "DELETE",
        "configmaps/guarded?dryRun=All",
        Value::Null,
    )
    .await;
    on.call("delete", "DELETE", "configmaps/guarded", background(&uid))
        .await;
    on.call("delete again", "DELETE", "configmaps/guarded", background(&uid))
        .await;
    on.apply("uid, deleted", OURS, only_uid("6", &uid)).await;
    let again = on.apply("create again", OURS, only_new("6")).await;
    on.note("a new uid", json!(again["metadata"]["uid"] != uid));
    on.apply("uid of before", OURS, only_uid("7", &uid)).await;
    on.call(
        "delete by uid of before",
        "DELETE",
        "configmaps/guarded",
        background(&uid),
    )
    .await;
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

async fn ownership(on: &mut Session) {
    let replicas = |count: i64| json!({ "apiVersion": "v1", "kind": "ReplicationController", "metadata": { "name": "web" }, "spec": { "replicas": count } });
    on.apply(
        "scale, absent",
        "fieldManager=panamax-scale:shop&force=true",
        with(replicas(0), "/metadata/uid", json!("x")),
    )
    .await;
    on.apply(
        "scale, absent, unguarded",
        "fieldManager=panamax-scale:shop&force=true",
        replicas(0),
    )
    .await;
    let made = on.apply("first", OURS, controller(Some(0), "nginx:1")).await;
    let uid = made["metadata"]["uid"].clone();
    on.until("observed", "replicationcontrollers/web", |_, rc| {
        rc["status"]["observedGeneration"] == 1
    })
    .await;
    let before = on
        .call("now", "GET", "replicationcontrollers/web", Value::Null)
        .await;
    let after = on.apply("again", OURS, controller(Some(0), "nginx:1")).await;
    let same = |name: &str| before["metadata"][name] == after["metadata"][name];
    on.note(
        "a no-op leaves all alone",
        json!([same("resourceVersion"), same("managedFields"), same("generation")]),
    );
    let dry = on
        .apply(
            "dry",
            &format!("{OURS}&dryRun=All"),
            controller(Some(0), "nginx:2"),
        )
        .await;
    on.note(
        "dry run of a change",
        json!(dry["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]),
    );
    on.apply("conflict", "fieldManager=person", replicas(2)).await;
    on.apply("same value", "fieldManager=person", replicas(0)).await;
    on.apply("shared, changed", OURS, controller(Some(1), "nginx:1"))
        .await;
    on.apply("given up, held by another", OURS, controller(None, "nginx:1"))
        .await;
    on.apply(
        "conflicts of several fields",
        OURS,
        with(
            controller(Some(3), "nginx:1"),
            "/metadata/labels/extra",
            json!("no"),
        ),
    )
    .await;
    on.apply(
        "scale",
        "fieldManager=panamax-scale:shop&force=true",
        with(replicas(3), "/metadata/uid", uid.clone()),
    )
    .await;
    on.apply(
        "scale, other uid",
        "fieldManager=panamax-scale:shop&force=true",
        with(replicas(4), "/metadata/uid", json!("x")),
    )
    .await;
    on.apply("left to scale", OURS, controller(None, "nginx:1")).await;
    on.apply(
        "scale to the value",
        "fieldManager=panamax-scale:shop&force=true",
        replicas(0),
    )
    .await;
    on.apply("take back the value", OURS, controller(Some(0), "nginx:1"))
        .await;
    let empty = json!({ "apiVersion": "v1", "kind": "ReplicationController", "metadata": { "name": "web" } });
    on.apply("scale lets go", "fieldManager=panamax-scale:shop", empty)
        .await;
    on.apply("a sole field given up", OURS, controller(None, "nginx:1"))
        .await;
    on.apply("back to nothing", OURS, controller(Some(0), "nginx:1"))
        .await;
    let fewer = with(
        controller(Some(0), "nginx:1"),
        "/spec/template/spec/containers/0/env",
        json!([{ "name": "FULL", "value": "2" }]),
    );
    let fewer = with(fewer, "/metadata/labels", json!({ "name": "web" }));
    on.apply("fewer items", OURS, fewer.clone()).await;
    let mut two = fewer.clone();
    two["spec"]["template"]["spec"]["containers"] =
        json!([{ "name": "side", "image": "a:1" }, fewer["spec"]["template"]["spec"]["containers"][0]]);
    on.apply("one more container, first", OURS, two).await;
    on.apply("that container gone", OURS, fewer.clone()).await;
    let extra = json!({
        "apiVersion": "v1", "kind": "ReplicationController", "metadata": { "name": "web", "annotations": { "note": "x" }, "labels": { "mine": "1" } },
        "spec": { "template": { "spec": { "containers": [{ "name": "web", "env": [{ "name": "MORE", "value": "1" }], "ports": [{ "containerPort": 90 }] }] } } },
    });
    on.apply("another adds items", "fieldManager=person", extra.clone())
        .await;
    on.apply("ours leave them", OURS, fewer.clone()).await;
    on.apply(
        "another takes an image",
        "fieldManager=person&force=true",
        with(extra, "/spec/template/spec/containers/0/image", json!("b:1")),
    )
    .await;
    on.apply("ours conflict", OURS, fewer.clone()).await;
    on.apply("ours forced", &format!("{OURS}&force=true"), fewer)
        .await;
    on.call(
        "a person edits",
        "MERGE",
        "replicationcontrollers/web?fieldManager=kubectl-edit",
        json!({ "spec": { "replicas": 1 }, "metadata": { "labels": { "name": "else", "mine": null } } }),
    )
    .await;
    on.apply("conflict with an edit", OURS, controller(Some(0), "nginx:1"))
        .await;
    on.apply(
        "edit undone by force",
        &format!("{OURS}&force=true"),
        controller(Some(0), "nginx:1"),
    )
    .await;
    on.apply(
        "no labels at all",
        &format!("{OURS}&force=true"),
        with(
            controller(Some(0), "nginx:1"),
            "/metadata",
            json!({ "name": "web" }),
        ),
    )
    .await;
    on.apply(
        "duplicate variable",
        OURS,
        with(
            controller(Some(0), "nginx:1"),
            "/spec/template/spec/containers/0/env",
            json!([{ "name": "A", "value": "1" }, { "name": "A", "value": "2" }]),
        ),
    )
    .await;
    on.apply(
        "selector that misses",
        OURS,
        with(
            controller(Some(0), "nginx:1"),
            "/spec/selector",
            json!({ "name": "other" }),
        ),
    )
    .await;
    on.apply("negative", OURS, controller(Some(-1), "nginx:1")).await;
    on.apply(
        "unknown deep field",
        OURS,
        with(
            controller(Some(0), "nginx:1"),
            "/spec/template/spec/nope",
            json!(1),
        ),
    )
    .await;
    on.call("delete", "DELETE", "replicationcontrollers/web", foreground(&uid))
        .await;
    on.until("gone", "replicationcontrollers/web", |code, _| code == 404)
        .await;
}

fn service(name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "labels": { "name": name } }, "spec": spec })
}

async fn services(on: &mut Session) {
    let port = |number: i64| json!({ "port": number, "name": format!("tcp-{number}") });
    let plain = service(
        "db-1",
        json!({ "selector": { "name": "db" }, "ports": [port(3306)] }),
    );
    let headless = with(plain.clone(), "/spec/clusterIP", json!("None"));
    let made = on.apply("first", OURS, plain.clone()).await;
    let address = made["spec"]["clusterIP"].clone();
    let again = on.apply("again", OURS, plain.clone()).await;
    on.note(
        "unchanged",
        json!(again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]),
    );
    let more = on
        .apply(
            "more ports",
            OURS,
            with(plain.clone(), "/spec/ports", json!([port(3306), port(3307)])),
        )
        .await;
    on.note("the address stays", json!(more["spec"]["clusterIP"] == address));
    on.apply(
        "other port",
        OURS,
        with(plain.clone(), "/spec/ports", json!([port(80)])),
    )
    .await;
    on.apply(
        "target",
        OURS,
        with(
            plain.clone(),
            "/spec/ports",
            json!([{ "port": 80, "targetPort": 8080 }]),
        ),
    )
    .await;
    on.apply("to headless", OURS, headless.clone()).await;
    on.apply(
        "other selector",
        OURS,
        with(plain.clone(), "/spec/selector", json!({ "name": "x", "a": "b" })),
    )
    .await;
    on.apply(
        "duplicate",
        OURS,
        with(plain.clone(), "/spec/ports", json!([port(80), port(80)])),
    )
    .await;
    let both = json!([{ "port": 53, "name": "tcp" }, { "port": 53, "protocol": "UDP", "name": "udp" }]);
    on.apply("two protocols", OURS, with(plain.clone(), "/spec/ports", both))
        .await;
    on.apply(
        "headless",
        OURS,
        with(headless, "/metadata/name", json!("headless")),
    )
    .await;
    on.apply(
        "from headless",
        OURS,
        with(plain.clone(), "/metadata/name", json!("headless")),
    )
    .await;
    on.apply(
        "headless, no ports",
        OURS,
        service(
            "bare",
            json!({ "clusterIP": "None", "selector": { "name": "x" } }),
        ),
    )
    .await;
    on.apply(
        "ports for none",
        OURS,
        service(
            "bare",
            json!({ "clusterIP": "None", "selector": { "name": "x" }, "ports": [port(80)] }),
        ),
    )
    .await;
    on.apply(
        "node port",
        OURS,
        service(
            "node",
            json!({ "type": "NodePort", "selector": { "a": "b" }, "ports": [port(80)] }),
        ),
    )
    .await;
    on.apply(
        "node port again",
        OURS,
        service(
            "node",
            json!({ "type": "NodePort", "selector": { "a": "b" }, "ports": [port(80), port(81)] }),
        ),
    )
    .await;
    on.apply(
        "load balancer",
        OURS,
        service(
            "balancer",
            json!({ "type": "LoadBalancer", "selector": { "a": "b" }, "ports": [port(80)] }),
        ),
    )
    .await;
    on.apply(
        "digit",
        OURS,
        service("1-db", json!({ "selector": { "a": "b" }, "ports": [port(80)] })),
    )
    .await;
    for (label, body) in [
        ("no ports", service("bad", json!({ "selector": { "a": "b" } }))),
        ("bad name", service("Bad_name", json!({ "ports": [port(80)] }))),
        (
            "long name",
            service(&"a".repeat(64), json!({ "ports": [port(80)] })),
        ),
        (
            "names missing",
            service("bad", json!({ "ports": [{ "port": 80 }, { "port": 81 }] })),
        ),
        (
            "same name",
            service(
                "bad",
                json!({ "ports": [{ "port": 80, "name": "a" }, { "port": 81, "name": "a" }] }),
            ),
        ),
        ("port 0", service("bad", json!({ "ports": [{ "port": 0 }] }))),
        (
            "port 65536",
            service("bad", json!({ "ports": [{ "port": 65_536 }] })),
        ),
        (
            "bad label",
            with(
                service("bad", json!({ "ports": [port(80)] })),
                "/metadata/labels/x",
                json!("a b"),
            ),
        ),
    ] {
        on.apply(label, OURS, body).await;
    }
    let twice = service(
        "bad",
        json!({ "ports": [{ "port": 80, "name": "a" }, { "port": 80, "name": "b" }] }),
    );
    on.call("duplicate", "POST", "services", twice).await;
    let posted = on
        .call(
            "posted",
            "POST",
            "services?fieldManager=person",
            service("posted", plain["spec"].clone()),
        )
        .await;
    on.call("put back", "PUT", "services/posted?fieldManager=person", posted)
        .await;
    on.call(
        "delete",
        "DELETE",
        "services/posted",
        json!({ "propagationPolicy": "Background" }),
    )
    .await;
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
    conditions
        .into_iter()
        .any(|one| one["type"] == "Ready" && one["status"] == "True")
}

async fn pods(on: &mut Session) {
    let made = on.apply("first", OURS, pod("db", "mysql:5")).await;
    on.note("begins pending", made["status"]["phase"].clone());
    let running = on.until("ready", "pods/db", |_, pod| ready(pod)).await;
    on.note("runs", running["status"]["phase"].clone());
    let again = on.apply("again", OURS, pod("db", "mysql:5")).await;
    on.note(
        "unchanged",
        json!(again["metadata"]["resourceVersion"] == running["metadata"]["resourceVersion"]),
    );
    on.apply("image", OURS, pod("db", "mysql:6")).await;
    on.apply(
        "labels",
        OURS,
        with(pod("db", "mysql:6"), "/metadata/labels/more", json!("1")),
    )
    .await;
    let variable = with(
        pod("db", "mysql:6"),
        "/spec/containers/0/env/0/value",
        json!("secret"),
    );
    on.apply("variable", OURS, variable.clone()).await;
    on.apply("variable, dry", &format!("{OURS}&dryRun=All"), variable)
        .await;
    let container =
        |name: &str, value: Value| with(pod("bad", "a:1"), &format!("/spec/containers/0/{name}"), value);
    for (label, body) in [
        (
            "no containers",
            with(pod("bad", "a:1"), "/spec/containers", json!([])),
        ),
        ("no image", container("image", json!(""))),
        ("bad container name", container("name", json!("A b"))),
        ("port 0", container("ports", json!([{ "containerPort": 0 }]))),
        (
            "port 65536",
            container("ports", json!([{ "containerPort": 65_536 }])),
        ),
        (
            "host port 65536",
            container("ports", json!([{ "containerPort": 1, "hostPort": 65_536 }])),
        ),
        (
            "same host port",
            container(
                "ports",
                json!([{ "containerPort": 1, "hostPort": 5 }, { "containerPort": 2, "hostPort": 5 }]),
            ),
        ),
        (
            "nameless variable",
            container("env", json!([{ "name": "", "value": "x" }])),
        ),
        (
            "mount of nothing",
            container("volumeMounts", json!([{ "name": "x", "mountPath": "/x" }])),
        ),
        (
            "dotted name",
            with(pod("bad", "a:1"), "/metadata/name", json!("a..b")),
        ),
    ] {
        on.apply(label, &format!("{OURS}&dryRun=All"), body).await;
    }
    on.call(
        "bare post",
        "POST",
        "pods?fieldManager=person&dryRun=All",
        pod("posted", "a"),
    )
    .await;
    on.apply("missing image", OURS, pod("lost", "registry.example/missing:1"))
        .await;
    on.until("pull fails", "pods/lost", |_, pod| {
        waits(pod, "ImagePullBackOff") && pod["status"]["phase"] == "Pending"
    })
    .await;
    on.apply(
        "crashing image",
        OURS,
        pod("crash", "registry.example/crashing:1"),
    )
    .await;
    let crash = on
        .until("crashes", "pods/crash", |_, pod| waits(pod, "CrashLoopBackOff"))
        .await;
    let status = &crash["status"]["containerStatuses"][0];
    on.note(
        "crash",
        json!([
            status["restartCount"],
            status["ready"],
            status["lastState"]["terminated"]["exitCode"],
            crash["status"]["phase"]
        ]),
    );
    let uid = running["metadata"]["uid"].clone();
    on.call("delete, other uid", "DELETE", "pods/db", background(&json!("x")))
        .await;
    on.call("delete", "DELETE", "pods/db", background(&uid)).await;
    on.until("gone", "pods/db", |code, _| code == 404).await;
    on.apply(
        "uid, gone",
        OURS,
        with(pod("db", "mysql:5"), "/metadata/uid", uid),
    )
    .await;
    on.call(
        "at once",
        "DELETE",
        "pods/crash",
        json!({ "gracePeriodSeconds": 0 }),
    )
    .await;
    on.call(
        "at once",
        "DELETE",
        "pods/lost",
        json!({ "gracePeriodSeconds": 0 }),
    )
    .await;
}

fn counts(answer: &Value, replicas: i64) -> bool {
    let status = &answer["status"];
    let count = |name: &str| status[name].as_i64().unwrap_or(0) == replicas;
    count("replicas")
        && count("readyReplicas")
        && count("availableReplicas")
        && status["observedGeneration"] == answer["metadata"]["generation"]
}

async fn controllers(on: &mut Session) {
    let body = |replicas: i64, image: &str| {
        let body = controller(Some(replicas), image);
        with(
            body,
            "/spec/template/spec/containers/0/ports",
            json!([{ "containerPort": 80 }]),
        )
    };
    let orphan = with(
        pod("web-pod", "nginx:1"),
        "/metadata/labels",
        json!({ "name": "web" }),
    );
    let orphan = on.apply("a bare pod", "fieldManager=panamax:shop", orphan).await;
    on.until("ready", "pods/web-pod", |_, pod| ready(pod)).await;
    let made = on
        .apply(
            "adopts",
            OURS,
            with(body(3, "nginx:1"), "/metadata/resourceVersion", json!("1")),
        )
        .await;
    let uid = made["metadata"]["uid"].clone();
    let three = on
        .until("three ready", "replicationcontrollers/web", |_, rc| counts(rc, 3))
        .await;
    on.note("status", three["status"].clone());
    let adopted = on.call("adopted", "GET", "pods/web-pod", Value::Null).await;
    on.note(
        "the same pod",
        json!(adopted["metadata"]["uid"] == orphan["metadata"]["uid"]),
    );
    let pods = on
        .call(
            "pods",
            "GET",
            "pods?labelSelector=name%3Dweb&limit=500",
            Value::Null,
        )
        .await;
    let generated = pods["items"].as_array().into_iter().flatten();
    let generated: Vec<_> = generated
        .filter(|pod| pod["metadata"]["generateName"].is_string())
        .collect();
    on.log.pop();
    on.note("two were made", json!(generated.len()));
    let mut first = object(generated.first().unwrap_or(&&Value::Null), &on.namespace);
    first["metadata"]["name"] = json!("some name");
    on.note("a made pod", first);
    on.apply("new image", OURS, body(3, "nginx:2")).await;
    let same = on
        .until("observed", "replicationcontrollers/web", |_, rc| counts(rc, 3))
        .await;
    on.note("pods stay", same["status"].clone());
    for count in [0, 1] {
        let scale = json!({ "apiVersion": "v1", "kind": "ReplicationController", "metadata": { "name": "web", "uid": uid }, "spec": { "replicas": count } });
        on.apply("scale", "fieldManager=panamax-scale:shop&force=true", scale)
            .await;
        let now = on
            .until("scaled", "replicationcontrollers/web", |_, rc| counts(rc, count))
            .await;
        on.note("status", now["status"].clone());
    }
    on.call(
        "delete without a policy",
        "DELETE",
        "replicationcontrollers/web",
        Value::Null,
    )
    .await;
    on.until("gone", "replicationcontrollers/web", |code, _| code == 404)
        .await;
    let left = on
        .until("its pod is left", "pods?labelSelector=name%3Dweb", |_, pods| {
            pods["items"].as_array().is_some_and(|list| list.len() == 1)
        })
        .await;
    on.note(
        "without an owner",
        left["items"][0]["metadata"]["ownerReferences"].clone(),
    );
    let made = on.apply("adopts the left one", OURS, body(1, "nginx:1")).await;
    let uid = made["metadata"]["uid"].clone();
    on.until("ready", "replicationcontrollers/web", |_, rc| counts(rc, 1))
        .await;
    on.call(
        "dry",
        "DELETE",
        "replicationcontrollers/web?dryRun=All",
        foreground(&uid),
    )
    .await;
    on.call(
        "foreground",
        "DELETE",
        "replicationcontrollers/web",
        foreground(&uid),
    )
    .await;
    on.until("gone", "replicationcontrollers/web", |code, _| code == 404)
        .await;
    on.call(
        "nothing left",
        "GET",
        "pods?labelSelector=name%3Dweb",
        Value::Null,
    )
    .await;
    on.apply("background", OURS, body(2, "nginx:1")).await;
    on.until("ready", "replicationcontrollers/web", |_, rc| counts(rc, 2))
        .await;
    on.call(
        "background",
        "DELETE",
        "replicationcontrollers/web",
        json!({ "propagationPolicy": "Background" }),
    )
    .await;
    on.call("gone at once", "GET", "replicationcontrollers/web", Value::Null)
        .await;
    on.until("pods follow", "pods?labelSelector=name%3Dweb", |_, pods| {
        pods["items"] == json!([])
    })
    .await;
}

async fn deployments(on: &mut Session) {
    let path = "/apis/apps/v1/namespaces/{ns}/deployments/web";
    let body = |image: &str| {
        let labels = json!({ "name": "modern" });
        let container = json!({ "name": "web", "image": image, "ports": [{ "containerPort": 80 }] });
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
            "spec": { "replicas": 2, "selector": { "matchLabels": labels }, "template": { "metadata": { "labels": labels }, "spec": { "containers": [container] } } },
        })
    };
    on.apply(
        "first",
        OURS,
        with(body("nginx:1"), "/metadata/resourceVersion", json!("1")),
    )
    .await;
    let ready = |image: &'static str| {
        move |_: u16, one: &Value| {
            let status = &one["status"];
            let all = [
                "replicas",
                "updatedReplicas",
                "readyReplicas",
                "availableReplicas",
            ];
            all.iter().all(|name| status[*name] == 2)
                && one["spec"]["template"]["spec"]["containers"][0]["image"] == image
                && status["observedGeneration"].as_i64() >= Some(1)
        }
    };
    on.until("ready", path, ready("nginx:1")).await;
    on.apply("new image", OURS, body("nginx:2")).await;
    on.until("rolled", path, ready("nginx:2")).await;
    on.apply(
        "other selector",
        OURS,
        with(
            with(
                body("nginx:2"),
                "/spec/selector/matchLabels",
                json!({ "name": "x" }),
            ),
            "/spec/template/metadata/labels",
            json!({ "name": "x" }),
        ),
    )
    .await;
    on.apply(
        "selector that misses",
        OURS,
        with(
            body("nginx:2"),
            "/spec/template/metadata/labels",
            json!({ "name": "x" }),
        ),
    )
    .await;
    on.call(
        "posted",
        "POST",
        "/apis/apps/v1/namespaces/{ns}/deployments?fieldManager=person&dryRun=All",
        with(body("a"), "/metadata/name", json!("posted")),
    )
    .await;
    on.call(
        "foreground",
        "DELETE",
        path,
        json!({ "propagationPolicy": "Foreground" }),
    )
    .await;
    on.until("gone", path, |code, _| code == 404).await;
    on.call(
        "no sets left",
        "GET",
        "/apis/apps/v1/namespaces/{ns}/replicasets",
        Value::Null,
    )
    .await;
}

async fn records(on: &mut Session) {
    let head = config_map("head", json!({ "head.json": "{}" }));
    let head = on
        .call("head", "POST", "configmaps?fieldManager=panamax:shop", head)
        .await;
    let owner = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "head", "uid": head["metadata"]["uid"], "blockOwnerDeletion": true }]);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "head-r1", "ownerReferences": owner },
        "immutable": true, "data": { "a": "YQ==" }, "stringData": { "b": "b" },
    });
    let stored = on
        .call(
            "revision",
            "POST",
            "secrets?fieldManager=panamax:shop",
            secret.clone(),
        )
        .await;
    on.note("its data", json!([stored["data"], stored["type"]]));
    on.call(
        "revision again",
        "POST",
        "secrets?fieldManager=panamax:shop",
        secret.clone(),
    )
    .await;
    on.call(
        "changed",
        "MERGE",
        "secrets/head-r1",
        json!({ "data": { "a": "Yg==" } }),
    )
    .await;
    on.call(
        "thawed",
        "MERGE",
        "secrets/head-r1",
        json!({ "immutable": false }),
    )
    .await;
    on.call(
        "other type",
        "MERGE",
        "secrets/head-r1",
        json!({ "type": "other" }),
    )
    .await;
    on.call(
        "labelled",
        "MERGE",
        "secrets/head-r1",
        json!({ "metadata": { "labels": { "a": "b" } } }),
    )
    .await;
    on.call(
        "bad base64",
        "POST",
        "secrets",
        with(
            with(secret.clone(), "/metadata/name", json!("bad")),
            "/data/a",
            json!("*"),
        ),
    )
    .await;
    on.call(
        "bad key",
        "POST",
        "configmaps",
        config_map("bad", json!({ "a b": "1" })),
    )
    .await;
    let mut head = head;
    head["data"]["head.json"] = json!("{ \"generation\": 2 }");
    let put = on
        .call(
            "head written",
            "PUT",
            "configmaps/head?fieldManager=panamax:shop",
            head.clone(),
        )
        .await;
    on.call(
        "head written late",
        "PUT",
        "configmaps/head?fieldManager=panamax:shop",
        head,
    )
    .await;
    on.call_as(
        "written, metadata",
        "PUT",
        "configmaps/head?fieldManager=panamax:shop",
        put,
        METADATA,
    )
    .await;
    on.call("left behind", "POST", "configmaps", with(config_map("orphan", json!({})), "/metadata/ownerReferences", json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "00000000-0000-0000-0000-000000000000" }]))).await;
    on.until("collected", "configmaps/orphan", |code, _| code == 404)
        .await;
    on.call(
        "held",
        "POST",
        "configmaps",
        with(
            config_map("held", json!({})),
            "/metadata/finalizers",
            json!(["example.com/hold"]),
        ),
    )
    .await;
    on.call(
        "held",
        "DELETE",
        "configmaps/held",
        json!({ "propagationPolicy": "Background" }),
    )
    .await;
    on.call(
        "still held",
        "DELETE",
        "configmaps/held",
        json!({ "propagationPolicy": "Background" }),
    )
    .await;
    on.apply("apply on leaving", OURS, config_map("held", json!({ "x": "1" })))
        .await;
    on.apply(
        "create on leaving",
        OURS,
        with(
            config_map("held", json!({ "x": "1" })),
            "/metadata/resourceVersion",
            json!("1"),
        ),
    )
    .await;
    on.call(
        "let go",
        "MERGE",
        "configmaps/held",
        json!({ "metadata": { "finalizers": null } }),
    )
    .await;
    on.call("gone", "GET", "configmaps/held", Value::Null).await;
    on.call(
        "teardown",
        "DELETE",
        "configmaps/head",
        foreground(&put_uid(&on.log, &stored)),
    )
    .await;
    on.call(
        "teardown",
        "DELETE",
        "configmaps/head",
        json!({ "propagationPolicy": "Foreground" }),
    )
    .await;
    on.until("head gone", "configmaps/head", |code, _| code == 404)
        .await;
    on.call("revision gone", "GET", "secrets/head-r1", Value::Null)
        .await;
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "data" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    });
    on.apply(
        "claim without a size",
        OURS,
        with(
            claim.clone(),
            "/spec",
            json!({ "accessModes": ["ReadWriteOnce"] }),
        ),
    )
    .await;
    on.apply(
        "claim without a mode",
        OURS,
        with(claim.clone(), "/spec/accessModes", json!([])),
    )
    .await;
}

/// A uid that is nobody's head: the revision's own.
fn put_uid(_: &[(String, Value)], revision: &Value) -> Value {
    revision["metadata"]["uid"].clone()
}

async fn lists(on: &mut Session) {
    for (name, labels) in [
        ("l1", json!({ "a": "1" })),
        ("l2", json!({ "a": "2", "b": "" })),
        ("l3", json!({ "a": "3" })),
        ("l4", Value::Null),
    ] {
        let map = with(config_map(name, json!({ "x": "1" })), "/metadata/labels", labels);
        on.call(
            "made",
            "POST",
            "configmaps?fieldManager=panamax:shop",
            with(map, "/metadata/annotations", json!({ "list": "yes" })),
        )
        .await;
    }
    for selector in [
        "a%3D1",
        "a%3D%3D2",
        "a!%3D1,a",
        "a+in+(1,2)",
        "a+notin+(1,2),a",
        "a",
        "a,!b",
        "b%3D",
        "a+in",
        "a%3D1,",
    ] {
        on.call(
            "labels",
            "GET",
            &format!("configmaps?labelSelector={selector}"),
            Value::Null,
        )
        .await;
    }
    for selector in ["metadata.name%3Dl1", "metadata.name%3Dnone", "data%3Dx"] {
        on.call(
            "fields",
            "GET",
            &format!("configmaps?fieldSelector={selector}"),
            Value::Null,
        )
        .await;
    }
    let page = on
        .call("page", "GET", "configmaps?labelSelector=a&limit=2", Value::Null)
        .await;
    let next = page["metadata"]["continue"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let (_, page) = on
        .send(
            "GET",
            &format!("configmaps?labelSelector=a&limit=2&continue={next}"),
            Value::Null,
            "application/json",
        )
        .await;
    let page = normal(200, &page, &on.namespace);
    on.note("next page", page);
    on.call("bad page", "GET", "configmaps?limit=2&continue=bad", Value::Null)
        .await;
    on.call_as(
        "metadata",
        "GET",
        "configmaps?labelSelector=a",
        Value::Null,
        METADATA_LIST,
    )
    .await;
    on.call_as("metadata", "GET", "configmaps/l1", Value::Null, METADATA)
        .await;
    on.call_as("metadata", "GET", "configmaps", Value::Null, METADATA)
        .await;
    on.call_as("metadata", "GET", "configmaps/none", Value::Null, METADATA)
        .await;
    let body = config_map("l5", json!({ "x": "1" }));
    on.call_as(
        "metadata",
        "APPLY",
        &format!("configmaps/l5?{OURS}"),
        body,
        METADATA,
    )
    .await;
    on.call_as(
        "metadata",
        "DELETE",
        "configmaps/l5",
        json!({ "propagationPolicy": "Background" }),
        METADATA,
    )
    .await;
}

async fn watches(on: &mut Session) {
    let (_, list) = on
        .send("GET", "configmaps", Value::Null, "application/json")
        .await;
    let from = list["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let label = |value: &str| json!({ "metadata": { "labels": { "w": value } } });
    on.call(
        "made",
        "POST",
        "configmaps",
        with(
            config_map("w1", json!({})),
            "/metadata/labels",
            json!({ "w": "1" }),
        ),
    )
    .await;
    on.call("made", "POST", "configmaps", config_map("w2", json!({})))
        .await;
    on.call("enters", "MERGE", "configmaps/w2", label("1")).await;
    on.call(
        "changes",
        "MERGE",
        "configmaps/w1",
        json!({ "data": { "x": "1" } }),
    )
    .await;
    on.call("leaves", "MERGE", "configmaps/w1", label("2")).await;
    on.call("gone", "DELETE", "configmaps/w2", json!({})).await;
    let selected =
        format!("configmaps?watch=true&timeoutSeconds=1&resourceVersion={from}&labelSelector=w%3D1");
    for (label, path, accept) in [
        ("selected", selected.as_str(), "application/json"),
        ("metadata", selected.as_str(), METADATA),
        (
            "one",
            &format!(
                "configmaps?watch=1&timeoutSeconds=1&resourceVersion={from}&fieldSelector=metadata.name%3Dw1"
            ),
            "application/json",
        ),
        (
            "from now",
            "configmaps?watch=true&timeoutSeconds=1&labelSelector=w",
            "application/json",
        ),
        (
            "initial",
            "configmaps?watch=true&timeoutSeconds=1&labelSelector=w&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
            "application/json",
        ),
    ] {
        let (code, lines) = on.send("GET", path, Value::Null, accept).await;
        // A watch of one line reads as JSON, of several as text.
        let text = lines.as_str().map_or_else(|| lines.to_string(), str::to_owned);
        let events: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let events: Vec<Value> = events
            .iter()
            .filter(|event| {
                event["type"] != "BOOKMARK" || !event["object"]["metadata"]["annotations"].is_null()
            })
            .map(|event| {
                let mut shown = object(&event["object"], &on.namespace);
                if event["type"] == "BOOKMARK" {
                    shown = json!([shown["kind"], shown["metadata"]["annotations"]]);
                }
                json!({ "type": event["type"], "object": shown })
            })
            .collect();
        on.note(
            &format!("watch {label}"),
            json!({ "code": code, "events": events }),
        );
    }
    on.call(
        "bad revision",
        "GET",
        "configmaps?watch=true&resourceVersion=x",
        Value::Null,
    )
    .await;
}

async fn end(on: &mut Session) {
    on.apply("a pod", OURS, pod("last", "a:1")).await;
    on.until("ready", "pods/last", |_, pod| ready(pod)).await;
    on.call(
        "held",
        "POST",
        "configmaps",
        with(
            config_map("held", json!({})),
            "/metadata/finalizers",
            json!(["example.com/hold"]),
        ),
    )
    .await;
    on.call(
        "end",
        "DELETE",
        "/api/v1/namespaces/{ns}",
        json!({ "propagationPolicy": "Background" }),
    )
    .await;
    on.call("too late", "POST", "configmaps", config_map("late", json!({})))
        .await;
    on.apply("too late", OURS, config_map("late", json!({}))).await;
    on.until("leaving", "configmaps/held", |_, map| {
        map["metadata"]["deletionTimestamp"].is_string()
    })
    .await;
    on.call(
        "let go",
        "MERGE",
        "configmaps/held",
        json!({ "metadata": { "finalizers": null } }),
    )
    .await;
    on.until("all gone", "/api/v1/namespaces/{ns}", |code, _| code == 404)
        .await;
}
