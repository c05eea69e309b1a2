//! Compares server-side apply: who owns what, conflicts, fields that are given up.
use super::*;

/// Only the count of a controller, as Scale applies it.
fn count(replicas: i64) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ReplicationController", "metadata": { "name": "web" },
        "spec": { "replicas": replicas },
    })
}

fn stopped(pointer: &str, value: Value) -> Value {
    with(controller(Some(0), "nginx:1"), pointer, value)
}

pub async fn replicas(on: &mut Session) {
    on.apply("scale, absent", SCALE, with(count(0), "/metadata/uid", json!("x"))).await;
    on.apply("scale, absent, unguarded", SCALE, count(0)).await;
    let made = on.apply("first", OURS, controller(Some(0), "nginx:1")).await;
    let uid = made["metadata"]["uid"].clone();
    on.until("observed", "replicationcontrollers/web", |_, rc| rc["status"]["observedGeneration"] == 1).await;
    let before = on.get("now", "replicationcontrollers/web").await;
    let after = on.apply("again", OURS, controller(Some(0), "nginx:1")).await;
    let same = |name: &str| before["metadata"][name] == after["metadata"][name];
    on.note(
        "a no-op leaves all alone",
        json!([same("resourceVersion"), same("managedFields"), same("generation")]),
    );
    let dry = on.apply("dry", DRY, controller(Some(0), "nginx:2")).await;
    on.note(
        "dry run of a change",
        json!(dry["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]),
    );
    on.apply("conflict", PERSON, count(2)).await;
    on.apply("same value", PERSON, count(0)).await;
    on.apply("shared, changed", OURS, controller(Some(1), "nginx:1")).await;
    on.apply("given up, held by another", OURS, controller(None, "nginx:1")).await;
    on.apply(
        "conflicts of several fields",
        OURS,
        with(controller(Some(3), "nginx:1"), "/metadata/labels/extra", json!("no")),
    )
    .await;
    on.apply("scale", SCALE, with(count(3), "/metadata/uid", uid)).await;
    on.apply("scale, other uid", SCALE, with(count(4), "/metadata/uid", json!("x"))).await;
    on.apply("left to scale", OURS, controller(None, "nginx:1")).await;
    on.apply("scale to the value", SCALE, count(0)).await;
    on.apply("take back the value", OURS, controller(Some(0), "nginx:1")).await;
    let empty = json!({ "apiVersion": "v1", "kind": "ReplicationController", "metadata": { "name": "web" } });
    on.apply("scale lets go", "fieldManager=panamax-scale:shop", empty).await;
    on.apply("a sole field given up", OURS, controller(None, "nginx:1")).await;
    on.apply("back to nothing", OURS, controller(Some(0), "nginx:1")).await;
}

pub async fn items(on: &mut Session) {
    let fewer = stopped("/spec/template/spec/containers/0/env", json!([{ "name": "FULL", "value": "2" }]));
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
    on.apply("another adds items", PERSON, extra.clone()).await;
    on.apply("ours leave them", OURS, fewer.clone()).await;
    on.apply(
        "another takes an image",
        "fieldManager=person&force=true",
        with(extra, "/spec/template/spec/containers/0/image", json!("b:1")),
    )
    .await;
    on.apply("ours conflict", OURS, fewer.clone()).await;
    on.apply("ours forced", FORCED, fewer).await;
    let edits = [
        ("/spec/replicas", json!(1)),
        ("/metadata/labels/name", json!("else")),
        ("/metadata/labels/mine", Value::Null),
    ];
    on.edit("a person edits", "replicationcontrollers/web", &edits).await;
    on.apply("conflict with an edit", OURS, controller(Some(0), "nginx:1")).await;
    on.apply("edit undone by force", FORCED, controller(Some(0), "nginx:1")).await;
    on.apply("no labels at all", FORCED, stopped("/metadata", json!({ "name": "web" }))).await;
    on.apply(
        "duplicate variable",
        OURS,
        stopped(
            "/spec/template/spec/containers/0/env",
            json!([{ "name": "A", "value": "1" }, { "name": "A", "value": "2" }]),
        ),
    )
    .await;
    on.apply("selector that misses", OURS, stopped("/spec/selector", json!({ "name": "other" }))).await;
    on.apply("negative", OURS, controller(Some(-1), "nginx:1")).await;
    on.apply("unknown deep field", OURS, stopped("/spec/template/spec/nope", json!(1))).await;
    on.delete("delete", "replicationcontrollers/web", "Foreground", &Value::Null).await;
    on.until("gone", "replicationcontrollers/web", |code, _| code == 404).await;
}
