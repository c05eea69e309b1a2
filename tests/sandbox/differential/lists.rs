//! Compares lists and watches: selections, pages, metadata alone, resumption.
use super::*;

pub async fn lists(on: &mut Session) {
    for (name, labels) in [
        ("l1", json!({ "a": "1" })),
        ("l2", json!({ "a": "2", "b": "" })),
        ("l3", json!({ "a": "3" })),
        ("l4", Value::Null),
        ("l6", json!({ "b": "x" })),
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
    for selector in ["a%3D1", "a%3D%3D2", "a+in+(1,2)", "b%3D", "a+in", "a%3D1,"] {
        on.get("labels", &format!("configmaps?labelSelector={selector}")).await;
    }
    // Every kind of requirement, in every spelling, and what is none.
    for selector in [
        "a",
        "!a,b",
        "!+b,a",
        "a,!b",
        "a!%3D1,b",
        "a,b!%3D",
        "a,a+notin+(1,2)",
        "a,a+notin(3)",
        "b+in+()",
        "b+in+(x,)",
        "b+in+(,)",
        "a+in+(,,1)",
        "a%3E1",
        "a%3C3",
        "a%3Ex",
        "in",
        "in+in+(x)",
        "a+in+(1+2)",
        "!a%3D1",
        "a%3Db%3Dc",
        "!",
        ",",
        "a+1",
        "%3D1",
        "a/b/c",
        "x.io/a",
        "X.io/a",
        "a%3D-1",
        "a+in+1",
        "a+in+(1",
        "a%3D%3D%3D1",
        "a%3D%3E1",
    ] {
        on.get("label rules", &format!("configmaps?labelSelector={selector}")).await;
    }
    for selector in ["metadata.name%3Dl1", "metadata.name%3Dnone", "data%3Dx"] {
        on.get("fields", &format!("configmaps?fieldSelector={selector}")).await;
    }
    let page = on.get("page", "configmaps?labelSelector=a+in+(1,2,3)&limit=2").await;
    let next = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
    let (_, page) = on
        .send(
            "GET",
            &format!("configmaps?labelSelector=a+in+(1,2,3)&limit=2&continue={next}"),
            Value::Null,
            "application/json",
        )
        .await;
    let page = normal(200, &page, &on.namespace);
    on.note("next page", page);
    on.get("bad page", "configmaps?limit=2&continue=bad").await;
    on.call_as("metadata", "GET", "configmaps?labelSelector=a+in+(1,2,3)", Value::Null, METADATA_LIST).await;
    on.call_as("metadata", "GET", "configmaps/l1", Value::Null, METADATA).await;
    on.call_as("metadata", "GET", "configmaps/none", Value::Null, METADATA).await;
    let body = config_map("l5", json!({ "x": "1" }));
    on.call_as("metadata", "APPLY", &format!("configmaps/l5?{OURS}"), body, METADATA).await;
    on.call_as("metadata", "DELETE", "configmaps/l5", json!({ "propagationPolicy": "Background" }), METADATA)
        .await;
}

pub async fn watches(on: &mut Session) {
    let (_, list) = on.send("GET", "configmaps", Value::Null, "application/json").await;
    let from = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let label = |value: &str| [("/metadata/labels", json!({ "w": value }))];
    on.call(
        "made",
        "POST",
        "configmaps",
        with(config_map("w1", json!({})), "/metadata/labels", json!({ "w": "1" })),
    )
    .await;
    on.call("made", "POST", "configmaps", config_map("w2", json!({ "x": "1" }))).await;
    on.edit("enters", "configmaps/w2", &label("1")).await;
    on.edit("changes", "configmaps/w1", &[("/data", json!({ "x": "1" }))]).await;
    on.edit("leaves", "configmaps/w1", &label("2")).await;
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
        ("from now", "configmaps?watch=true&timeoutSeconds=1&labelSelector=w+in+(1,2)", "application/json"),
    ] {
        let (code, lines) = on.send("GET", path, Value::Null, accept).await;
        // A watch of one line reads as JSON, of several as text.
        let text = lines.as_str().map_or_else(|| lines.to_string(), str::to_owned);
        let events: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let shown = |event: &Value| json!({ "type": event["type"], "object": object(&event["object"], &on.namespace) });
        let events: Vec<Value> = events.iter().map(shown).collect();
        on.note(&format!("watch {label}"), json!({ "code": code, "events": events }));
    }
    on.get("bad revision", "configmaps?watch=true&resourceVersion=x").await;
}
