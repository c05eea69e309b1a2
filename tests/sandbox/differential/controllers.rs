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
    let adopted = on.get("adopted", "pods/web-pod").await;
    on.note("the same pod", json!(adopted["metadata"]["uid"] == orphan["metadata"]["uid"]));
    let pods = on.get("pods", "pods?labelSelector=name%3Dweb&limit=500").await;
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
        on.apply("scale", SCALE, scale).await;
        let now = on.until("scaled", "replicationcontrollers/web", |_, rc| counts(rc, count)).await;
        on.note("status", now["status"].clone());
    }
    on.delete("dry", "replicationcontrollers/web?dryRun=All", "Foreground", &uid).await;
    on.delete("foreground", "replicationcontrollers/web", "Foreground", &uid).await;
    on.until("gone", "replicationcontrollers/web", |code, _| code == 404).await;
    on.get("nothing left", "pods?labelSelector=name%3Dweb").await;
    on.apply("background", OURS, body(2, "nginx:1")).await;
    on.until("ready", "replicationcontrollers/web", |_, rc| counts(rc, 2)).await;
    on.delete("background", "replicationcontrollers/web", "Background", &Value::Null).await;
    on.get("gone at once", "replicationcontrollers/web").await;
    on.until("pods follow", "pods?labelSelector=name%3Dweb", |_, pods| pods["items"] == json!([])).await;
}
