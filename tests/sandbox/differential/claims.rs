//! Compares volume claims: how they are bound, what may change, what holds them.
use super::*;

fn claim(name: &str, size: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": name, "labels": { "name": "web" } },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": size } } },
    })
}

fn bound(_: u16, claim: &Value) -> bool {
    claim["status"]["phase"] == "Bound"
}

pub async fn claims(on: &mut Session) {
    let data = |size: &str| claim("data", size);
    on.apply("dry", DRY, data("1Gi")).await;
    let made = on.apply("first", OURS, with(data("1Gi"), "/metadata/resourceVersion", json!("1"))).await;
    on.note("begins pending", made["status"]["phase"].clone());
    let record = on.until("bound", "persistentvolumeclaims/data", bound).await;
    on.note("capacity", json!([record["status"]["capacity"], record["status"]["accessModes"]]));
    on.apply("present", OURS, with(data("1Gi"), "/metadata/resourceVersion", json!("1"))).await;
    on.apply("again", OURS, data("1Gi")).await;
    on.apply("labelled", OURS, with(data("1Gi"), "/metadata/labels/more", json!("1"))).await;
    for (label, body) in [
        ("grown", data("2Gi")),
        ("grown a little", data("1.5Gi")),
        ("shrunk", data("500Mi")),
        ("other mode", with(data("1Gi"), "/spec/accessModes", json!(["ReadWriteMany"]))),
        ("other class", with(data("1Gi"), "/spec/storageClassName", json!("other"))),
        ("both", with(data("2Gi"), "/spec/storageClassName", json!("other"))),
        ("its class", with(data("1Gi"), "/spec/storageClassName", json!("standard"))),
        ("its class given up", data("1Gi")),
    ] {
        on.apply(label, OURS, body).await;
    }
    for (label, body) in [
        ("nothing", claim("bad", "0")),
        ("less than nothing", claim("bad", "-1")),
        ("no size", with(claim("bad", "1Gi"), "/spec/resources", json!({}))),
        ("no mode", with(claim("bad", "1Gi"), "/spec/accessModes", json!([]))),
        ("bad class", with(claim("bad", "1Gi"), "/spec/storageClassName", json!("A_"))),
        ("no class", with(claim("bad", "1Gi"), "/spec/storageClassName", json!(""))),
        ("blocks", with(claim("bad", "1Gi"), "/spec/volumeMode", json!("Block"))),
        ("of no mode", with(claim("bad", "1Gi"), "/spec/volumeMode", json!("Other"))),
    ] {
        on.apply(label, DRY, body).await;
    }
    let lost = |size: &str| with(claim("lost", size), "/spec/storageClassName", json!("none"));
    on.apply("unknown class", OURS, lost("1Gi")).await;
    on.apply("grown, unbound", OURS, lost("2Gi")).await;
    on.apply("shrunk, unbound", OURS, lost("500Mi")).await;
    on.delete("delete, dry", "persistentvolumeclaims/lost?dryRun=All", "Background", &Value::Null).await;
    on.delete("delete", "persistentvolumeclaims/lost", "Background", &Value::Null).await;
    on.until("gone", "persistentvolumeclaims/lost", |code, _| code == 404).await;
}

/// Pods that mount them.
pub async fn mounts(on: &mut Session) {
    let mount = |pod: Value| {
        let pod = with(
            pod,
            "/spec/volumes",
            json!([{ "name": "v", "persistentVolumeClaim": { "claimName": "data" } }]),
        );
        with(pod, "/spec/containers/0/volumeMounts", json!([{ "name": "v", "mountPath": "/v" }]))
    };
    on.apply("mounts", OURS, mount(pod("user", "nginx:1"))).await;
    on.until("ready", "pods/user", |_, pod| ready(pod)).await;
    let uid = on.get("in use", "persistentvolumeclaims/data").await["metadata"]["uid"].clone();
    on.delete("delete, other uid", "persistentvolumeclaims/data", "Background", &json!("x")).await;
    on.delete("delete", "persistentvolumeclaims/data", "Background", &uid).await;
    on.delete("delete again", "persistentvolumeclaims/data", "Background", &uid).await;
    on.get("still there", "persistentvolumeclaims/data").await;
    on.apply("comes late", OURS, mount(pod("late", "nginx:1"))).await;
    on.delete("its pod goes", "pods/user", "Background", &Value::Null).await;
    on.until("it follows", "persistentvolumeclaims/data", |code, _| code == 404).await;
    let late = on.get("the late one waits", "pods/late").await;
    on.note("phase", late["status"]["phase"].clone());
    on.apply("a new one", OURS, with(claim("data", "1Gi"), "/metadata/resourceVersion", json!("1"))).await;
    on.until("ready after all", "pods/late", |_, pod| ready(pod)).await;
    on.delete("foreground", "persistentvolumeclaims/data", "Foreground", &Value::Null).await;
    on.call("at once", "DELETE", "pods/late", json!({ "gracePeriodSeconds": 0 })).await;
    on.until("gone", "persistentvolumeclaims/data", |code, _| code == 404).await;
}
