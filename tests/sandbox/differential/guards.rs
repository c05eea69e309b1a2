//! Compares who may write: namespaces, guards, revisions, deletions.
use super::*;

pub async fn namespaces(on: &mut Session) {
    let map = config_map("a", json!({ "x": "1" }));
    on.call("into nowhere", "POST", "configmaps", map.clone()).await;
    on.apply("into nowhere", OURS, map.clone()).await;
    on.apply("into nowhere", DRY, with(map, "/metadata/resourceVersion", json!("1"))).await;
    on.get("in nowhere", "configmaps/a").await;
    on.get("in nowhere", "configmaps").await;
    on.call("in nowhere", "DELETE", "configmaps/a", json!({})).await;
    on.get("nowhere", "/api/v1/namespaces/{ns}").await;
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "{ns}" } });
    on.call("dry", "POST", "/api/v1/namespaces?dryRun=All", namespace.clone()).await;
    on.call("new", "POST", "/api/v1/namespaces", namespace.clone()).await;
    on.call("again", "POST", "/api/v1/namespaces", namespace).await;
    on.get("found", "/api/v1/namespaces/{ns}").await;
    on.get("the first", "/api/v1/namespaces/default").await;
    on.call("bad name", "POST", "/api/v1/namespaces", json!({ "metadata": { "name": "A_b" } })).await;
    on.get("no such kind", "nothings").await;
}

pub async fn guards(on: &mut Session) {
    let map = |value: &str| config_map("guarded", json!({ "x": value }));
    let only_new = |value: &str| with(map(value), "/metadata/resourceVersion", json!("1"));
    let only_uid = |value: &str, uid: &Value| with(map(value), "/metadata/uid", uid.clone());
    on.apply("uid, absent", OURS, only_uid("1", &json!("x"))).await;
    on.apply("uid and create, absent", OURS, with(only_new("1"), "/metadata/uid", json!("x"))).await;
    on.apply("create, dry", DRY, only_new("1")).await;
    on.get("dry leaves nothing", "configmaps/guarded").await;
    let made = on.apply("create, absent", OURS, only_new("1")).await;
    let uid = made["metadata"]["uid"].clone();
    on.apply("create, present", OURS, only_new("1")).await;
    on.apply("create, present, changed", OURS, only_new("2")).await;
    on.apply("create, present, other manager", "fieldManager=other", only_new("2")).await;
    on.apply("create, present, forced", "fieldManager=other&force=true", only_new("2")).await;
    on.apply("create, present, dry", DRY, only_new("2")).await;
    on.apply("uid, right", OURS, only_uid("3", &uid)).await;
    on.apply("uid, other", OURS, only_uid("4", &json!("x"))).await;
    on.apply("uid, other, other manager", "fieldManager=other", only_uid("4", &json!("x"))).await;
    on.apply("uid, other, forced", "fieldManager=other&force=true", only_uid("4", &json!("x"))).await;
    on.apply("no manager", "force=true", map("3")).await;
    on.apply("unknown field", OURS, with(map("3"), "/metadatas", json!(1))).await;
    on.apply("unknown field, lenient", "fieldManager=panamax:shop", with(map("3"), "/metadatas", json!(1)))
        .await;
    on.apply("wrong type", OURS, with(map("3"), "/data/x", json!(1))).await;
    on.apply("wrong namespace", OURS, with(map("3"), "/metadata/namespace", json!("default"))).await;
    on.apply(
        "owned by itself",
        OURS,
        with(map("3"), "/metadata/managedFields", made["metadata"]["managedFields"].clone()),
    )
    .await;
    on.call("wrong name", "APPLY", &format!("configmaps/other?{OURS}"), map("3")).await;
    on.call("wrong type", "POST", &format!("configmaps?{OURS}"), with(map("3"), "/data/x", json!(1))).await;
    on.call("wrong kind", "POST", &format!("configmaps?{OURS}"), with(map("3"), "/kind", json!("Secret")))
        .await;
    on.call("revision", "POST", &format!("configmaps?{OURS}"), only_new("3")).await;
    on.call("present", "POST", &format!("configmaps?{OURS}"), map("3")).await;
    on.call("absent", "PUT", &format!("configmaps/gone?{OURS}"), config_map("gone", json!({}))).await;
    on.call("old revision", "PUT", &format!("configmaps/guarded?{OURS}"), only_new("5")).await;
    on.call("other uid", "PUT", &format!("configmaps/guarded?{OURS}"), only_uid("5", &json!("x"))).await;
    let now = on.get("now", "configmaps/guarded").await;
    let put = with(map("5"), "/metadata/resourceVersion", now["metadata"]["resourceVersion"].clone());
    on.call("right revision", "PUT", &format!("configmaps/guarded?{OURS}"), put.clone()).await;
    on.call("spent revision", "PUT", &format!("configmaps/guarded?{OURS}"), put).await;
    on.call("no content type", "PATCH", &format!("configmaps/guarded?{OURS}"), json!({})).await;
    on.delete("delete, other uid", "configmaps/guarded", "Background", &json!("x")).await;
    on.call("delete, dry", "DELETE", "configmaps/guarded", json!({ "dryRun": ["All"] })).await;
    on.call("delete, dry by query", "DELETE", "configmaps/guarded?dryRun=All", Value::Null).await;
    on.delete("delete", "configmaps/guarded", "Background", &uid).await;
    on.delete("delete again", "configmaps/guarded", "Background", &uid).await;
    on.apply("uid, deleted", OURS, only_uid("6", &uid)).await;
    let again = on.apply("create again", OURS, only_new("6")).await;
    on.note("a new uid", json!(again["metadata"]["uid"] != uid));
    on.apply("uid of before", OURS, only_uid("7", &uid)).await;
    on.delete("delete by uid of before", "configmaps/guarded", "Background", &uid).await;
}
