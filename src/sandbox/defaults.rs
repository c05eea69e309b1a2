//! Fills in what the API server writes into objects beyond what it was given.
//!
//! Objects were read through their types before they come here, so every field has its right shape.
use super::kinds::Kind;
use super::store::Store;
use k8s_openapi::ByteString;
use serde_json::{Value, json};

/// Defaults of the schema; whoever creates an object owns these too.
pub fn fill(kind: &Kind, object: &mut Value) {
    match kind.name {
        "Namespace" => {
            let name = object["metadata"]["name"].clone();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
        }
        "Secret" => secret(object),
        "Service" => service(&mut object["spec"]),
        "PersistentVolumeClaim" => default(&mut object["spec"], "volumeMode", json!("Filesystem")),
        "Pod" => {
            pod(&mut object["spec"]);
            default(&mut object["spec"], "enableServiceLinks", json!(true));
        }
        "ReplicationController" => {
            default(&mut object["spec"], "replicas", json!(1));
            let labels = object["spec"]["template"]["metadata"]["labels"].clone();
            if !labels.is_null() {
                default(&mut object["spec"], "selector", labels.clone());
                default(&mut object["metadata"], "labels", labels);
            }
            template(object);
        }
        "ReplicaSet" => {
            default(&mut object["spec"], "replicas", json!(1));
            template(object);
        }
        "Deployment" => deployment(object),
        _ => {}
    }
}

/// What is given out or decided when an object is stored; nobody owns it.
pub fn allocate(kind: &Kind, object: &mut Value, store: &mut Store) {
    match kind.name {
        "Namespace" => {
            default(&mut object["spec"], "finalizers", json!(["kubernetes"]));
            default(object, "status", json!({ "phase": "Active" }));
        }
        "Service" => {
            addresses(&mut object["spec"], store);
            default(object, "status", json!({ "loadBalancer": {} }));
        }
        "PersistentVolumeClaim" => {
            default(&mut object["spec"], "storageClassName", json!("standard"));
            default(object, "status", json!({ "phase": "Pending" }));
        }
        "Pod" => {
            let spec = &mut object["spec"];
            default(spec, "serviceAccountName", json!("default"));
            default(spec, "serviceAccount", json!("default"));
            default(spec, "priority", json!(0));
            default(spec, "preemptionPolicy", json!("PreemptLowerPriority"));
            let wait = |key| json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 });
            let tolerations = [wait("node.kubernetes.io/not-ready"), wait("node.kubernetes.io/unreachable")];
            default(spec, "tolerations", json!(tolerations));
            default(object, "status", json!({ "phase": "Pending", "qosClass": "BestEffort" }));
        }
        "ReplicationController" | "ReplicaSet" => default(object, "status", json!({ "replicas": 0 })),
        "Deployment" => default(object, "status", json!({})),
        _ => {}
    }
}

/// Brings back what was given out before and the new version does not name.
pub fn carry_over(kind: &Kind, old: &Value, new: &mut Value) {
    if !matches!(kind.name, "ConfigMap" | "Secret" | "Event") && !old["status"].is_null() {
        new["status"] = old["status"].clone();
    }
    if kind.name != "Service" {
        return;
    }
    for name in ["clusterIP", "clusterIPs"] {
        default(&mut new["spec"], name, old["spec"][name].clone());
    }
    for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
        let same = |other: &&Value| other["port"] == port["port"] && other["protocol"] == port["protocol"];
        if let Some(old) = old["spec"]["ports"].as_array().into_iter().flatten().find(same)
            && !old["nodePort"].is_null()
        {
            default(port, "nodePort", old["nodePort"].clone());
        }
    }
}

fn default(object: &mut Value, name: &str, value: Value) {
    if object[name].is_null() {
        object[name] = value;
    }
}

fn items<'a>(object: &'a mut Value, name: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten()
}

fn secret(object: &mut Value) {
    default(object, "type", json!("Opaque"));
    let given = object.as_object_mut().and_then(|map| map.remove("stringData"));
    for (key, text) in given.iter().filter_map(Value::as_object).flatten() {
        let bytes = ByteString(text.as_str().unwrap_or_default().as_bytes().to_vec());
        object["data"][key.as_str()] = json!(bytes);
    }
}

fn service(spec: &mut Value) {
    default(spec, "type", json!("ClusterIP"));
    default(spec, "sessionAffinity", json!("None"));
    let kind = spec["type"].clone();
    if kind != "ExternalName" {
        default(spec, "internalTrafficPolicy", json!("Cluster"));
    }
    if kind == "NodePort" || kind == "LoadBalancer" {
        default(spec, "externalTrafficPolicy", json!("Cluster"));
    }
    if kind == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", json!(true));
    }
    for port in items(spec, "ports") {
        default(port, "protocol", json!("TCP"));
        let target = port["port"].clone();
        default(port, "targetPort", target);
    }
}

fn addresses(spec: &mut Value, store: &mut Store) {
    let kind = spec["type"].clone();
    if kind == "ExternalName" {
        return;
    }
    if spec["clusterIP"].is_null() {
        // A /16, given out in order; the first sixteen stay free as they do on a real server.
        let number = store.next_address() + 16;
        spec["clusterIP"] = json!(format!("10.96.{}.{}", (number >> 8) & 255, number & 255));
    }
    let address = spec["clusterIP"].clone();
    default(spec, "clusterIPs", json!([address]));
    default(spec, "ipFamilies", json!(["IPv4"]));
    default(spec, "ipFamilyPolicy", json!("SingleStack"));
    if kind == "NodePort" || kind == "LoadBalancer" {
        for port in items(spec, "ports") {
            let number = 30_000 + store.next_address() % 2_768;
            default(port, "nodePort", json!(number));
        }
    }
}

fn deployment(object: &mut Value) {
    let spec = &mut object["spec"];
    default(spec, "replicas", json!(1));
    default(spec, "revisionHistoryLimit", json!(10));
    default(spec, "progressDeadlineSeconds", json!(600));
    default(&mut spec["strategy"], "type", json!("RollingUpdate"));
    if spec["strategy"]["type"] == "RollingUpdate" {
        default(&mut spec["strategy"]["rollingUpdate"], "maxSurge", json!("25%"));
        default(&mut spec["strategy"]["rollingUpdate"], "maxUnavailable", json!("25%"));
    }
    template(object);
}

fn template(object: &mut Value) {
    if object["spec"]["template"].is_object() {
        pod(&mut object["spec"]["template"]["spec"]);
    }
}

fn pod(spec: &mut Value) {
    default(spec, "restartPolicy", json!("Always"));
    default(spec, "dnsPolicy", json!("ClusterFirst"));
    default(spec, "schedulerName", json!("default-scheduler"));
    default(spec, "terminationGracePeriodSeconds", json!(30));
    default(spec, "securityContext", json!({}));
    for list in ["containers", "initContainers"] {
        for container in items(spec, list) {
            default(container, "resources", json!({}));
            default(container, "terminationMessagePath", json!("/dev/termination-log"));
            default(container, "terminationMessagePolicy", json!("File"));
            let policy = pull_policy(container["image"].as_str().unwrap_or_default());
            default(container, "imagePullPolicy", json!(policy));
            items(container, "ports").for_each(|port| default(port, "protocol", json!("TCP")));
            for variable in items(container, "env") {
                // The real server's types leave empty text out.
                if variable["value"] == ""
                    && let Some(variable) = variable.as_object_mut()
                {
                    variable.remove("value");
                }
            }
        }
    }
    for volume in items(spec, "volumes") {
        for source in ["secret", "configMap"] {
            if volume[source].is_object() {
                default(&mut volume[source], "defaultMode", json!(420));
            }
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
