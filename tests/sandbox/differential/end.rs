//! Compares the end of a namespace.
use super::*;

pub async fn end(on: &mut Session) {
    on.apply("a pod", OURS, pod("last", "a:1")).await;
    on.until("ready", "pods/last", |_, pod| ready(pod)).await;
    on.call("held", "POST", "configmaps", held()).await;
    on.delete("end", "/api/v1/namespaces/{ns}", "Background", &Value::Null).await;
    on.call("too late", "POST", "configmaps", config_map("late", json!({}))).await;
    on.apply("too late", OURS, config_map("late", json!({}))).await;
    on.until("leaving", "configmaps/held", |_, map| map["metadata"]["deletionTimestamp"].is_string()).await;
    on.edit("let go", "configmaps/held", &[("/metadata/finalizers", Value::Null)]).await;
    on.until("all gone", "/api/v1/namespaces/{ns}", |code, _| code == 404).await;
}
