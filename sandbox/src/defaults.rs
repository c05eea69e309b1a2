//! Fills in what the API server writes into objects beyond what it was given.
//!
//! Objects were read through their types before they come here, so every field has its right shape.
use super::kinds::Kind;
use super::object::{hold, items, set};
use super::store::Store;
use super::volumes::{CLASS, PROTECTION};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Defaults of the schema; whoever creates an object owns these too.
pub fn fill(kind: Kind, object: &mut Value) {
    complete(object, &schema(kind));
    match kind {
        Kind::Namespace => {
            let name = object["metadata"]["name"].clone();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
        }
        Kind::Service => {
            for port in items(object, "/spec/ports") {
                let target = port["port"].clone();
                default(port, "targetPort", target);
            }
        }
        Kind::ReplicationController => {
            let labels = object["spec"]["template"]["metadata"]["labels"].clone();
            default(&mut object["spec"], "selector", labels.clone());
            default(&mut object["metadata"], "labels", labels);
        }
        Kind::Deployment => {
            let strategy = &mut object["spec"]["strategy"];
            default(strategy, "type", json!("RollingUpdate"));
            let rolls = strategy["type"] == "RollingUpdate";
            for name in ["maxSurge", "maxUnavailable"].into_iter().filter(|_| rolls) {
                default(&mut strategy["rollingUpdate"], name, json!("25%"));
            }
        }
        _ => {}
    }
    if let Some(pod) = object.pointer_mut(if kind.has_template() { "/spec/template/spec" } else { "/spec" }) {
        items(pod, "/containers").for_each(container);
        for volume in
            items(pod, "/volumes").filter(|volume| volume.as_object().is_some_and(|it| it.len() < 2))
        {
            volume["emptyDir"] = json!({});
        }
    }
}

/// What is given out or decided when an object is stored; nobody owns it.
pub fn allocate(kind: Kind, old: Option<&Value>, object: &mut Value, store: &mut Store) {
    if kind == Kind::Service {
        for name in ["clusterIP", "clusterIPs"] {
            default(&mut object["spec"], name, old.map_or(Value::Null, |old| old["spec"][name].clone()));
        }
        if object["spec"]["clusterIP"].is_null() {
            object["spec"]["clusterIP"] = json!(store.next_address("10.96"));
        }
        let address = object["spec"]["clusterIP"].clone();
        default(&mut object["spec"], "clusterIPs", json!([address]));
        default(&mut object["spec"], "ipFamilies", json!(["IPv4"]));
        default(&mut object["spec"], "ipFamilyPolicy", json!("SingleStack"));
        expose(old, object, store);
    }
    if kind == Kind::PersistentVolumeClaim && old.is_none() {
        default(&mut object["spec"], "storageClassName", json!(CLASS));
        hold(object, PROTECTION, true);
    }
    set(object, "status", old.map_or_else(|| first_status(kind), |old| old["status"].clone()));
}

/// Gives a Service its node ports, or takes away what it had while it was reached from outside.
fn expose(old: Option<&Value>, service: &mut Value, store: &Store) {
    let ports = |service: &Value| service["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let is_open = |service: &Value| service["spec"]["type"] != "ClusterIP";
    let kept = old.filter(|old| is_open(old)).map(ports).unwrap_or_default();
    let (open, balanced) = (is_open(service), service["spec"]["type"] == "LoadBalancer");
    let spec = &mut service["spec"];
    for (holds, name, value) in [
        (open, "externalTrafficPolicy", json!("Cluster")),
        (balanced, "allocateLoadBalancerNodePorts", json!(true)),
    ] {
        if holds { default(spec, name, value) } else { set(spec, name, Value::Null) }
    }
    let number = |port: &Value| port["nodePort"].as_u64();
    let own: Vec<u64> = ports(service).iter().filter_map(number).collect();
    let everybody = store.list(Kind::Service, "").flat_map(|(_, other)| ports(other));
    let mut used: BTreeSet<u64> = everybody.filter_map(|port| number(&port)).chain(own.clone()).collect();
    for port in items(service, "/spec/ports") {
        // What a Service inside never had is left for validation to refuse.
        if !open && !kept.is_empty() {
            set(port, "nodePort", Value::Null);
        } else if open && number(port).is_none() {
            let named = kept.iter().find(|one| one["name"] == port["name"]).and_then(number);
            let named = named.filter(|number| !own.contains(number));
            let given = named.or_else(|| (30_000..=32_767).find(|number| !used.contains(number)));
            used.extend(given);
            set(port, "nodePort", json!(given));
        }
    }
}

/// Writes what is missing. Maps are gone into where they stand already; the one item of a list is every item.
fn complete(object: &mut Value, defaults: &Value) {
    match (object, defaults) {
        (Value::Array(items), Value::Array(each)) => {
            items.iter_mut().for_each(|item| complete(item, &each[0]));
        }
        (Value::Object(object), Value::Object(defaults)) => {
            for (name, value) in defaults {
                match (object.get_mut(name), value) {
                    (Some(found), _) => complete(found, value),
                    (None, Value::Object(inner)) if !inner.is_empty() => {}
                    (None, Value::Array(_)) => {}
                    (None, _) => drop(object.insert(name.clone(), value.clone())),
                }
            }
        }
        _ => {}
    }
}

fn schema(kind: Kind) -> Value {
    let mut pod = json!({
        "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
        "terminationGracePeriodSeconds": 30, "securityContext": {},
        "volumes": [{ "hostPath": { "type": "" } }],
        "containers": [{
            "resources": {}, "ports": [{ "protocol": "TCP" }],
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        }],
    });
    match kind {
        Kind::Namespace | Kind::ConfigMap | Kind::Event => json!({}),
        Kind::Secret => json!({ "type": "Opaque" }),
        Kind::Service => json!({ "spec": {
            "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "ports": [{ "protocol": "TCP" }],
        } }),
        Kind::PersistentVolumeClaim => json!({ "spec": { "volumeMode": "Filesystem" } }),
        Kind::ReplicationController | Kind::ReplicaSet => {
            json!({ "spec": { "replicas": 1, "template": { "spec": pod } } })
        }
        Kind::Deployment => json!({ "spec": {
            "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600, "template": { "spec": pod },
        } }),
        Kind::Pod => {
            pod["enableServiceLinks"] = json!(true);
            json!({ "spec": pod })
        }
    }
}

fn first_status(kind: Kind) -> Value {
    match kind {
        Kind::ConfigMap | Kind::Secret | Kind::Event => Value::Null,
        Kind::Namespace => json!({ "phase": "Active" }),
        Kind::Service => json!({ "loadBalancer": {} }),
        Kind::PersistentVolumeClaim => json!({ "phase": "Pending" }),
        Kind::ReplicationController | Kind::ReplicaSet => json!({ "replicas": 0 }),
        Kind::Deployment => json!({}),
        Kind::Pod => json!({ "phase": "Pending", "qosClass": "BestEffort" }),
    }
}

fn default(object: &mut Value, name: &str, value: Value) {
    if object[name].is_null() && !value.is_null() {
        set(object, name, value);
    }
}

fn container(container: &mut Value) {
    let policy = pull_policy(container["image"].as_str().unwrap_or_default());
    default(container, "imagePullPolicy", json!(policy));
    for variable in items(container, "/env") {
        // The real server's types leave empty text out.
        if variable["value"] == "" {
            set(variable, "value", Value::Null);
        }
    }
}

fn pull_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or(image);
    let tag = name.split_once(':').map_or("latest", |(_, tag)| tag);
    if !name.contains('@') && tag == "latest" { "Always" } else { "IfNotPresent" }
}

#[cfg(test)]
mod tests {
    use super::pull_policy;

    #[test]
    fn only_latest_is_always_pulled() {
        for image in ["nginx", "nginx:latest", "registry:5000/team/nginx"] {
            assert_eq!(pull_policy(image), "Always", "{image}");
        }
        for image in ["nginx:1", "registry:5000/nginx:1", "nginx@sha256:00"] {
            assert_eq!(pull_policy(image), "IfNotPresent", "{image}");
        }
    }
}
