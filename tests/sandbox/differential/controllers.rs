//! Compares controllers: pods made, adopted, released and collected.
use super::*;

fn counts(answer: &Value, replicas: i64) -> bool {
    let status = &answer["status"];
    let count = |name: &str| status[name].as_i64().unwrap_or(0) == replicas;
    count("replicas")
        && count("readyReplicas")
        && count("availableReplicas")
        && status["observedGeneration"] == answer["metadata"]["generation"]
}

pub async fn controllers(on: &mut Session) {
    let body = |replicas: i64, image: &str| {
        let body = controller(Some(replicas), image);
        with(body, "/spec/template/spec/containers/0/ports", json!([{ "containerPort": 80 }]))
    };
    let orphan = with(pod("web-pod", "nginx:1"), "/metadata/labels", json!({ "name": "web" }));
    let orphan = on.apply("a bare pod", "fieldManager=panamax:shop", orphan).await;
    on.until("ready", "pods/web-pod", |_, pod| ready(pod)).await;
    let made =
        on.apply("adopts", OURS, with(body(3, "nginx:1"), "/metadata/resourceVersion", json!("1"))).await;
    let uid = made["metadata"]["uid"].clone();
    let three = on.until("three ready", "replicationcontrollers/web", |_, rc| counts(rc, 3)).await;
    on.note("status", three["status"].clone());
    let adopted = on.call("adopted", "GET", "pods/web-pod", Value::Null).await;
    on.note("the same pod", json!(adopted["metadata"]["uid"] == orphan["metadata"]["uid"]));
    let pods = on.call("pods", "GET", "pods?labelSelector=name%3Dweb&limit=500", Value::Null).await;
    let generated = pods["items"].as_array().into_iter().flatten();
    let generated: Vec<_> = generated.filter(|pod| pod["metadata"]["generateName"].is_string()).collect();
    on.log.pop();
    on.note("two were made", json!(generated.len()));
    let mut first = object(generated.first().unwrap_or(&&Value::Null), &on.namespace);
    first["metadata"]["name"] = json!("some name");
    on.note("a made pod", first);
    on.apply("new image", OURS, body(3, "nginx:2")).await;
    let same = on.until("observed", "replicationcontrollers/web", |_, rc| counts(rc, 3)).await;
    on.note("pods stay", same["status"].clone());
    for count in [0, 1] {
        let scale = json!({ "apiVersion": "v1", "kind": "ReplicationController", "metadata": { "name": "web", "uid": uid }, "spec": { "replicas": count } });
        on.apply("scale", "fieldManager=panamax-scale:shop&force=true", scale).await;
        let now = on.until("scaled", "replicationcontrollers/web", |_, rc| counts(rc, count)).await;
        on.note("status", now["status"].clone());
    }
    on.call("delete without a policy", "DELETE", "replicationcontrollers/web", Value::Null).await;
    on.until("gone", "replicationcontrollers/web", |code, _| code == 404).await;
    let left = on
        .until("its pod is left", "pods?labelSelector=name%3Dweb", |_, pods| {
            pods["items"].as_array().is_some_and(|list| list.len() == 1)
        })
        .await;
    on.note("without an owner", left["items"][0]["metadata"]["ownerReferences"].clone());
    let made = on.apply("adopts the left one", OURS, body(1, "nginx:1")).await;
    let uid = made["metadata"]["uid"].clone();
    on.until("ready", "replicationcontrollers/web", |_, rc| counts(rc, 1)).await;
    on.call("dry", "DELETE", "replicationcontrollers/web?dryRun=All", foreground(&uid)).await;
    on.call("foreground", "DELETE", "replicationcontrollers/web", foreground(&uid)).await;
    on.until("gone", "replicationcontrollers/web", |code, _| code == 404).await;
    on.call("nothing left", "GET", "pods?labelSelector=name%3Dweb", Value::Null).await;
    on.apply("background", OURS, body(2, "nginx:1")).await;
    on.until("ready", "replicationcontrollers/web", |_, rc| counts(rc, 2)).await;
    on.call(
        "background",
        "DELETE",
        "replicationcontrollers/web",
        json!({ "propagationPolicy": "Background" }),
    )
    .await;
    on.call("gone at once", "GET", "replicationcontrollers/web", Value::Null).await;
    on.until("pods follow", "pods?labelSelector=name%3Dweb", |_, pods| pods["items"] == json!([])).await;
}

pub async fn deployments(on: &mut Session) {
    let path = "/apis/apps/v1/namespaces/{ns}/deployments/web";
    let body = |image: &str| {
        let labels = json!({ "name": "modern" });
        let container = json!({ "name": "web", "image": image, "ports": [{ "containerPort": 80 }] });
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
            "spec": { "replicas": 2, "selector": { "matchLabels": labels }, "template": { "metadata": { "labels": labels }, "spec": { "containers": [container] } } },
        })
    };
    on.apply("first", OURS, with(body("nginx:1"), "/metadata/resourceVersion", json!("1"))).await;
    let ready = |image: &'static str| {
        move |_: u16, one: &Value| {
            let status = &one["status"];
            let all = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"];
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
            with(body("nginx:2"), "/spec/selector/matchLabels", json!({ "name": "x" })),
            "/spec/template/metadata/labels",
            json!({ "name": "x" }),
        ),
    )
    .await;
    on.apply(
        "selector that misses",
        OURS,
        with(body("nginx:2"), "/spec/template/metadata/labels", json!({ "name": "x" })),
    )
    .await;
    on.call(
        "posted",
        "POST",
        "/apis/apps/v1/namespaces/{ns}/deployments?fieldManager=person&dryRun=All",
        with(body("a"), "/metadata/name", json!("posted")),
    )
    .await;
    on.call("foreground", "DELETE", path, json!({ "propagationPolicy": "Foreground" })).await;
    on.until("gone", path, |code, _| code == 404).await;
    on.call("no sets left", "GET", "/apis/apps/v1/namespaces/{ns}/replicasets", Value::Null).await;
}
