//! Compares records: immutable Secrets, owners, finalizers, claims.
use super::*;

pub async fn records(on: &mut Session) {
    let head = config_map("head", json!({ "head.json": "{}" }));
    let head = on.call("head", "POST", "configmaps?fieldManager=panamax:shop", head).await;
    let owner = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "head", "uid": head["metadata"]["uid"], "blockOwnerDeletion": true }]);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "head-r1", "ownerReferences": owner },
        "immutable": true, "data": { "a": "YQ==" }, "stringData": { "b": "b" },
    });
    let stored = on.call("revision", "POST", "secrets?fieldManager=panamax:shop", secret.clone()).await;
    on.note("its data", json!([stored["data"], stored["type"]]));
    on.call("revision again", "POST", "secrets?fieldManager=panamax:shop", secret.clone()).await;
    on.call("changed", "MERGE", "secrets/head-r1", json!({ "data": { "a": "Yg==" } })).await;
    on.call("thawed", "MERGE", "secrets/head-r1", json!({ "immutable": false })).await;
    on.call("other type", "MERGE", "secrets/head-r1", json!({ "type": "other" })).await;
    on.call("labelled", "MERGE", "secrets/head-r1", json!({ "metadata": { "labels": { "a": "b" } } })).await;
    on.call(
        "bad base64",
        "POST",
        "secrets",
        with(with(secret.clone(), "/metadata/name", json!("bad")), "/data/a", json!("*")),
    )
    .await;
    on.call("bad key", "POST", "configmaps", config_map("bad", json!({ "a b": "1" }))).await;
    let mut head = head;
    head["data"]["head.json"] = json!("{ \"generation\": 2 }");
    let put = on.call("head written", "PUT", "configmaps/head?fieldManager=panamax:shop", head.clone()).await;
    on.call("head written late", "PUT", "configmaps/head?fieldManager=panamax:shop", head).await;
    on.call_as("written, metadata", "PUT", "configmaps/head?fieldManager=panamax:shop", put, METADATA).await;
    on.call("left behind", "POST", "configmaps", with(config_map("orphan", json!({})), "/metadata/ownerReferences", json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "00000000-0000-0000-0000-000000000000" }]))).await;
    on.until("collected", "configmaps/orphan", |code, _| code == 404).await;
    on.call(
        "held",
        "POST",
        "configmaps",
        with(config_map("held", json!({})), "/metadata/finalizers", json!(["example.com/hold"])),
    )
    .await;
    on.call("held", "DELETE", "configmaps/held", json!({ "propagationPolicy": "Background" })).await;
    on.call("still held", "DELETE", "configmaps/held", json!({ "propagationPolicy": "Background" })).await;
    on.apply("apply on leaving", OURS, config_map("held", json!({ "x": "1" }))).await;
    on.apply(
        "create on leaving",
        OURS,
        with(config_map("held", json!({ "x": "1" })), "/metadata/resourceVersion", json!("1")),
    )
    .await;
    on.call("let go", "MERGE", "configmaps/held", json!({ "metadata": { "finalizers": null } })).await;
    on.call("gone", "GET", "configmaps/held", Value::Null).await;
    on.call("teardown", "DELETE", "configmaps/head", foreground(&stored["metadata"]["uid"])).await;
    on.call("teardown", "DELETE", "configmaps/head", json!({ "propagationPolicy": "Foreground" })).await;
    on.until("head gone", "configmaps/head", |code, _| code == 404).await;
    on.call("revision gone", "GET", "secrets/head-r1", Value::Null).await;
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "data" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    });
    on.apply(
        "claim without a size",
        OURS,
        with(claim.clone(), "/spec", json!({ "accessModes": ["ReadWriteOnce"] })),
    )
    .await;
    on.apply("claim without a mode", OURS, with(claim.clone(), "/spec/accessModes", json!([]))).await;
}
