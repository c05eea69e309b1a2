//! Compares records: immutable Secrets, owners, finalizers.
use super::*;

pub async fn records(on: &mut Session) {
    let head = config_map("head", json!({ "head.json": "{}" }));
    let head = on.call("head", "POST", "configmaps?fieldManager=panamax:shop", head).await;
    let owner = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "head", "uid": head["metadata"]["uid"], "blockOwnerDeletion": true }]);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "head-r1", "ownerReferences": owner },
        "immutable": true, "data": { "a": "YQ==" },
    });
    let stored = on.call("revision", "POST", "secrets?fieldManager=panamax:shop", secret.clone()).await;
    on.note("its data", json!([stored["data"], stored["type"]]));
    on.call("revision again", "POST", "secrets?fieldManager=panamax:shop", secret.clone()).await;
    for (label, pointer, value) in [
        ("changed", "/data/a", json!("Yg==")),
        ("thawed", "/immutable", json!(false)),
        ("other type", "/type", json!("other")),
        ("labelled", "/metadata/labels", json!({ "a": "b" })),
    ] {
        on.edit(label, "secrets/head-r1", &[(pointer, value)]).await;
    }
    on.call(
        "bad base64",
        "POST",
        "secrets",
        with(with(secret.clone(), "/metadata/name", json!("bad")), "/data/a", json!("*")),
    )
    .await;
    let member = |data: Value| json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "web-environment" }, "type": "Opaque", "data": data });
    let values = json!({ "PASSWORD": "czNjcmV0", "EMPTY": "" });
    let made = on.apply("member", OURS, with(member(values), "/metadata/resourceVersion", json!("1"))).await;
    on.note("its data", json!([made["data"], made["type"]]));
    on.apply("changed", OURS, member(json!({ "PASSWORD": "YQ==" }))).await;
    for (label, body) in [
        ("not base64", member(json!({ "A": "*" }))),
        ("not text", member(json!({ "A": 1 }))),
        ("key", member(json!({ "a b": "YQ==" }))),
        ("dots", member(json!({ "..": "YQ==" }))),
        ("long key", member(json!({ "a".repeat(254): "YQ==" }))),
        ("type", with(member(json!({})), "/type", json!("other"))),
        ("unknown", with(member(json!({})), "/nope", json!(1))),
        // A mebibyte and what lies just above.
        ("full", member(json!({ "A": format!("{}YQ==", "AAAA".repeat(349_525)) }))),
        ("too full", member(json!({ "A": "AAAA".repeat(349_526) }))),
    ] {
        on.apply(label, DRY, body).await;
    }
    let long = config_map("long", json!({ "a": "x".repeat((1 << 20) + 1) }));
    on.call("too long", "POST", "configmaps?dryRun=All", long).await;
    on.delete("member goes", "secrets/web-environment", "Background", &made["metadata"]["uid"]).await;
    let mut head = head;
    head["data"]["head.json"] = json!("{ \"generation\": 2 }");
    let put = on.call("head written", "PUT", "configmaps/head?fieldManager=panamax:shop", head.clone()).await;
    on.call("head written late", "PUT", "configmaps/head?fieldManager=panamax:shop", head).await;
    on.call_as("written, metadata", "PUT", "configmaps/head?fieldManager=panamax:shop", put, METADATA).await;
    on.call("left behind", "POST", "configmaps", with(config_map("orphan", json!({})), "/metadata/ownerReferences", json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "00000000-0000-0000-0000-000000000000" }]))).await;
    on.until("collected", "configmaps/orphan", |code, _| code == 404).await;
    on.call("held", "POST", "configmaps", held()).await;
    on.delete("held", "configmaps/held", "Background", &Value::Null).await;
    on.delete("still held", "configmaps/held", "Background", &Value::Null).await;
    on.apply("apply on leaving", OURS, config_map("held", json!({ "x": "1" }))).await;
    on.apply(
        "create on leaving",
        OURS,
        with(config_map("held", json!({ "x": "1" })), "/metadata/resourceVersion", json!("1")),
    )
    .await;
    on.edit("let go", "configmaps/held", &[("/metadata/finalizers", Value::Null)]).await;
    on.get("gone", "configmaps/held").await;
    on.delete("teardown", "configmaps/head", "Foreground", &stored["metadata"]["uid"]).await;
    on.delete("teardown", "configmaps/head", "Foreground", &Value::Null).await;
    on.until("head gone", "configmaps/head", |code, _| code == 404).await;
    on.get("revision gone", "secrets/head-r1").await;
}
