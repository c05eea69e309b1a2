//! Compares Pods: their life, their faults, what may not change.
use super::*;

pub async fn pods(on: &mut Session) {
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
    on.apply("labels", OURS, with(pod("db", "mysql:6"), "/metadata/labels/more", json!("1"))).await;
    let variable = with(pod("db", "mysql:6"), "/spec/containers/0/env/0/value", json!("secret"));
    on.apply("variable", OURS, variable.clone()).await;
    on.apply("variable, dry", DRY, variable).await;
    let container =
        |name: &str, value: Value| with(pod("bad", "a:1"), &format!("/spec/containers/0/{name}"), value);
    for (label, body) in [
        ("no containers", with(pod("bad", "a:1"), "/spec/containers", json!([]))),
        ("no image", container("image", json!(""))),
        ("bad container name", container("name", json!("A b"))),
        ("port 0", container("ports", json!([{ "containerPort": 0 }]))),
        ("port 65536", container("ports", json!([{ "containerPort": 65_536 }]))),
        ("host port 65536", container("ports", json!([{ "containerPort": 1, "hostPort": 65_536 }]))),
        (
            "same host port",
            container(
                "ports",
                json!([{ "containerPort": 1, "hostPort": 5 }, { "containerPort": 2, "hostPort": 5 }]),
            ),
        ),
        ("nameless variable", container("env", json!([{ "name": "", "value": "x" }]))),
        ("dotted name", with(pod("bad", "a:1"), "/metadata/name", json!("a..b"))),
    ] {
        on.apply(label, DRY, body).await;
    }
    on.call("bare post", "POST", "pods?fieldManager=person&dryRun=All", pod("posted", "a")).await;
    on.apply("missing image", OURS, pod("lost", "registry.example/missing:1")).await;
    on.until("pull fails", "pods/lost", |_, pod| {
        waits(pod, "ImagePullBackOff") && pod["status"]["phase"] == "Pending"
    })
    .await;
    on.apply("crashing image", OURS, pod("crash", "registry.example/crashing:1")).await;
    let crash = on.until("crashes", "pods/crash", |_, pod| waits(pod, "CrashLoopBackOff")).await;
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
    on.delete("delete, other uid", "pods/db", "Background", &json!("x")).await;
    on.delete("delete", "pods/db", "Background", &uid).await;
    on.until("gone", "pods/db", |code, _| code == 404).await;
    on.apply("uid, gone", OURS, with(pod("db", "mysql:5"), "/metadata/uid", uid)).await;
    on.call("at once", "DELETE", "pods/crash", json!({ "gracePeriodSeconds": 0 })).await;
    on.call("at once", "DELETE", "pods/lost", json!({ "gracePeriodSeconds": 0 })).await;
}
