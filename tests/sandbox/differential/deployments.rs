//! Compares apps Deployments as objects: defaults, guards, owners, what is refused.
use super::*;

/// A Deployment with everything that a translation can write into one.
pub fn deployment(replicas: i64, image: &str) -> Value {
    let container = json!({
        "name": "web", "image": image, "args": ["a"], "securityContext": { "allowPrivilegeEscalation": false },
        "ports": [{ "containerPort": 80 }, { "containerPort": 53, "protocol": "UDP" }],
        "env": [
            { "name": "PLAIN", "value": "1" },
            { "name": "HIDDEN", "valueFrom": { "secretKeyRef": { "name": "web-environment", "key": "HIDDEN" } } },
        ],
        "volumeMounts": [{ "name": "a", "mountPath": "/a" }, { "name": "b", "mountPath": "/b", "readOnly": true }],
    });
    let pod = json!({
        "automountServiceAccountToken": false, "enableServiceLinks": false, "containers": [container],
        "securityContext": { "seccompProfile": { "type": "RuntimeDefault" } }, "imagePullSecrets": [{ "name": "pull" }],
        "volumes": [{ "name": "a", "emptyDir": {} }, { "name": "b", "hostPath": { "path": "/srv" } }],
    });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "web", "labels": { "name": "web", "all": "yes" }, "annotations": { "panamax.io/image": "WEB" } },
        "spec": {
            "replicas": replicas, "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web", "panamax.io/revision": "1" }, "annotations": { "a": "b" } },
                "spec": pod,
            },
        },
    })
}

const TEMPLATE: &str = "/spec/template/spec";

pub async fn deployments(on: &mut Session) {
    on.get("in no group", "/api/v1/namespaces/{ns}/deployments").await;
    on.get("of another group", "/apis/apps/v1/namespaces/{ns}/pods").await;
    on.get("absent", "deployments/web").await;
    on.call("post", "POST", "deployments?dryRun=All", with(deployment(1, "a:1"), "/apiVersion", json!("v1")))
        .await;
    let stopped = || deployment(0, "a:1");
    on.apply("uid, absent", OURS, with(stopped(), "/metadata/uid", json!("x"))).await;
    on.apply("dry", DRY, with(stopped(), "/metadata/resourceVersion", json!("1"))).await;
    let made = on.apply("first", OURS, with(stopped(), "/metadata/resourceVersion", json!("1"))).await;
    on.apply("present", OURS, with(stopped(), "/metadata/resourceVersion", json!("1"))).await;
    let uid = made["metadata"]["uid"].clone();
    on.until("observed", "deployments/web", |_, it| it["status"]["observedGeneration"] == 1).await;
    let before = on.until("complete", "deployments/web", complete).await;
    let after = on.apply("again", OURS, stopped()).await;
    let same = |name: &str| before["metadata"][name] == after["metadata"][name];
    on.note(
        "a no-op leaves all alone",
        json!([same("resourceVersion"), same("managedFields"), same("generation")]),
    );
    on.call_as("metadata", "GET", "deployments/web", Value::Null, METADATA).await;
    on.call_as("metadata", "GET", "deployments?labelSelector=all%3Dyes", Value::Null, METADATA_LIST).await;
    on.get("list", "deployments?labelSelector=all%3Dyes").await;
    let count = |replicas: i64| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "uid": uid },
            "spec": { "replicas": replicas },
        })
    };
    on.apply("conflict", PERSON, count(1)).await;
    on.apply("scale", SCALE, count(0)).await;
    on.apply("annotated", OURS, with(stopped(), "/metadata/annotations/more", json!("1"))).await;
    on.apply("labelled", OURS, with(stopped(), "/metadata/labels/more", json!("1"))).await;
    on.apply("uid, other", OURS, with(stopped(), "/metadata/uid", json!("x"))).await;
    on.apply("scale, other uid", SCALE, with(count(1), "/metadata/uid", json!("x"))).await;
    let selector = with(stopped(), "/spec/selector/matchLabels/more", json!("1"));
    on.apply("selector", OURS, with(selector, "/spec/template/metadata/labels/more", json!("1"))).await;
    let rolling = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 0, "maxUnavailable": 1 } });
    let recreate = json!({ "type": "Recreate" });
    for (label, strategy) in [
        ("recreate after the default", recreate.clone()),
        ("rolling", rolling.clone()),
        ("recreate after rolling", recreate.clone()),
        ("rolling after recreate", rolling.clone()),
        ("default again", Value::Null),
        (
            "without a way",
            json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 0, "maxUnavailable": 0 } }),
        ),
    ] {
        let body = stopped();
        let body = if strategy.is_null() { body } else { with(body, "/spec/strategy", strategy) };
        on.apply(label, OURS, body).await;
    }
    on.edit("edited", "deployments/web", &[("/metadata/labels/all", json!("no"))]).await;
    on.delete("delete, dry", "deployments/web?dryRun=All", "Foreground", &uid).await;
    on.delete("delete, other uid", "deployments/web", "Foreground", &json!("x")).await;
    on.delete("delete", "deployments/web", "Foreground", &uid).await;
    on.until("gone", "deployments/web", |code, _| code == 404).await;
    on.until("its sets too", "replicasets", |_, list| list["items"] == json!([])).await;
    on.apply("uid, gone", OURS, with(stopped(), "/metadata/uid", uid)).await;
}

/// Whether a rollout has come to its end, as `kubectl rollout status` reads it.
pub fn complete(_: u16, deployment: &Value) -> bool {
    let (status, wanted) = (&deployment["status"], deployment["spec"]["replicas"].as_i64());
    let all = |name: &str| Some(status[name].as_i64().unwrap_or(0)) == wanted;
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    status["observedGeneration"] == deployment["metadata"]["generation"]
        && ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"].into_iter().all(all)
        && conditions.any(|one| one["type"] == "Progressing" && one["reason"] == "NewReplicaSetAvailable")
}

/// What is refused in a template of pods.
pub async fn templates(on: &mut Session) {
    let in_pod = |name: &str, value: Value| with(deployment(1, "a:1"), &format!("{TEMPLATE}/{name}"), value);
    for (label, body) in [
        ("selector misses", with(deployment(1, "a:1"), "/spec/selector/matchLabels", json!({ "x": "y" }))),
        ("negative", deployment(-1, "a:1")),
        ("deadline", with(deployment(1, "a:1"), "/spec/progressDeadlineSeconds", json!(0))),
        ("history", with(deployment(1, "a:1"), "/spec/revisionHistoryLimit", json!(-1))),
        ("no containers", in_pod("containers", json!([]))),
        ("never restarts", in_pod("restartPolicy", json!("Never"))),
        ("unknown", in_pod("securityContext/nope", json!(1))),
        ("unknown in a volume", in_pod("volumes/0/emptyDir/nope", json!(1))),
        ("profile", in_pod("securityContext/seccompProfile/type", json!("Other"))),
        ("same mount", in_pod("containers/0/volumeMounts/1/mountPath", json!("/a"))),
        ("same volume", in_pod("volumes/1/name", json!("a"))),
        ("mount of nothing", in_pod("containers/0/volumeMounts/0/name", json!("z"))),
        ("mount nowhere", in_pod("containers/0/volumeMounts/0/mountPath", json!(""))),
        ("volume without a source", in_pod("volumes/0", json!({ "name": "a" }))),
        ("volume of a bad name", in_pod("volumes/0/name", json!("A_"))),
        ("host path of nothing", in_pod("volumes/1/hostPath/path", json!(""))),
        ("host path that climbs", in_pod("volumes/1/hostPath/path", json!("/a/../b"))),
        (
            "claim of nothing",
            in_pod("volumes/1", json!({ "name": "b", "persistentVolumeClaim": { "claimName": "" } })),
        ),
        ("claim", in_pod("volumes/1", json!({ "name": "b", "persistentVolumeClaim": { "claimName": "c" } }))),
        ("key", in_pod("containers/0/env/1/valueFrom/secretKeyRef/key", json!("a b"))),
        ("no key", in_pod("containers/0/env/1/valueFrom/secretKeyRef", json!({ "name": "x", "key": "" }))),
        ("two values", in_pod("containers/0/env/1/value", json!("x"))),
        ("variable with a space", in_pod("containers/0/env/0/name", json!("a b"))),
        ("variable with an equals sign", in_pod("containers/0/env/0/name", json!("a=b"))),
        ("same variable", in_pod("containers/0/env/1/name", json!("PLAIN"))),
    ] {
        on.apply(label, DRY, body).await;
    }
}
