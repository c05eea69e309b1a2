//! Compares lists and watches: selections, pages, metadata alone, resumption.
use super::*;

pub async fn lists(on: &mut Session) {
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
        on.call("labels", "GET", &format!("configmaps?labelSelector={selector}"), Value::Null).await;
    }
    for selector in ["metadata.name%3Dl1", "metadata.name%3Dnone", "data%3Dx"] {
        on.call("fields", "GET", &format!("configmaps?fieldSelector={selector}"), Value::Null).await;
    }
    let page = on.call("page", "GET", "configmaps?labelSelector=a&limit=2", Value::Null).await;
    let next = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
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
    on.call("bad page", "GET", "configmaps?limit=2&continue=bad", Value::Null).await;
    on.call_as("metadata", "GET", "configmaps?labelSelector=a", Value::Null, METADATA_LIST).await;
    on.call_as("metadata", "GET", "configmaps/l1", Value::Null, METADATA).await;
    on.call_as("metadata", "GET", "configmaps", Value::Null, METADATA).await;
    on.call_as("metadata", "GET", "configmaps/none", Value::Null, METADATA).await;
    let body = config_map("l5", json!({ "x": "1" }));
    on.call_as("metadata", "APPLY", &format!("configmaps/l5?{OURS}"), body, METADATA).await;
    on.call_as("metadata", "DELETE", "configmaps/l5", json!({ "propagationPolicy": "Background" }), METADATA)
        .await;
}

pub async fn watches(on: &mut Session) {
    let (_, list) = on.send("GET", "configmaps", Value::Null, "application/json").await;
    let from = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let label = |value: &str| json!({ "metadata": { "labels": { "w": value } } });
    on.call(
        "made",
        "POST",
        "configmaps",
        with(config_map("w1", json!({})), "/metadata/labels", json!({ "w": "1" })),
    )
    .await;
    on.call("made", "POST", "configmaps", config_map("w2", json!({}))).await;
    on.call("enters", "MERGE", "configmaps/w2", label("1")).await;
    on.call("changes", "MERGE", "configmaps/w1", json!({ "data": { "x": "1" } })).await;
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
        ("from now", "configmaps?watch=true&timeoutSeconds=1&labelSelector=w", "application/json"),
        (
            "initial",
            "configmaps?watch=true&timeoutSeconds=1&labelSelector=w&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
            "application/json",
        ),
    ] {
        let (code, lines) = on.send("GET", path, Value::Null, accept).await;
        // A watch of one line reads as JSON, of several as text.
        let text = lines.as_str().map_or_else(|| lines.to_string(), str::to_owned);
        let events: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
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
        on.note(&format!("watch {label}"), json!({ "code": code, "events": events }));
    }
    on.call("bad revision", "GET", "configmaps?watch=true&resourceVersion=x", Value::Null).await;
}
