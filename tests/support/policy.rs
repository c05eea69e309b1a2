//! A policy of the cluster that refuses deletes in one namespace, until it is lifted.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ObjectMeta, PostParams};
use serde_json::{Value, json};

use super::namespace::Namespace;

/// How long a policy may take until it is in force, or is not any more.
const PATIENCE: Duration = Duration::from_secs(60);
/// The API group of policies; before Kubernetes 1.30 there is no v1 of them.
const GROUP: &str = "admissionregistration.k8s.io";
const KINDS: [&str; 2] = ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"];
/// The name of what is deleted to see whether a policy is in force.
const PROBE: &str = "probe";

/// A policy that is in force.
pub struct Policy {
    client: kube::Client,
    /// Policies and their bindings.
    resources: [ApiResource; 2],
    pub name: String,
}

impl Policy {
    /// Refuses to delete Services and Secrets of the namespace, but for those whose names begin otherwise.
    pub async fn keeps(namespace: &Namespace, prefix: &str) -> Self {
        Self::keeps_of(namespace, "", &["services", "secrets"], prefix).await
    }

    /// The same for other resources of an API group, whoever asks: the cluster's own controllers, too.
    pub async fn keeps_of(namespace: &Namespace, group: &str, kinds: &[&str], prefix: &str) -> Self {
        let client = namespace.client.clone();
        let name = format!("keep-{}.example.com", &**namespace);
        let probe = format!("oldObject.metadata.name == '{PROBE}'");
        let expression = format!("!(oldObject.metadata.name.startsWith('{prefix}') || {probe})");
        let policy = json!({
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": { "resourceRules": [
                    rule(group, kinds),
                    rule("", &["configmaps"]),
                ] },
                "validations": [{ "expression": expression, "message": "kept" }],
            },
        });
        let binding = json!({
            "spec": {
                "policyName": name, "validationActions": ["Deny"],
                "matchResources": { "namespaceSelector": {
                    "matchLabels": { "kubernetes.io/metadata.name": &**namespace },
                } },
            },
        });
        let resources = resources(&client).await;
        let parameters = PostParams::default();
        for (resource, content) in resources.iter().zip([policy, binding]) {
            let object = DynamicObject::new(&name, resource).data(content);
            let api = Api::all_with(client.clone(), resource);
            api.create(&parameters, &object).await.expect("the policy and what binds it");
        }
        let metadata = ObjectMeta { name: Some(PROBE.to_owned()), ..ObjectMeta::default() };
        let probe = ConfigMap { metadata, ..ConfigMap::default() };
        namespace.api::<ConfigMap>().create(&parameters, &probe).await.expect("the probe");
        let policy = Self { client, resources, name };
        policy.until(namespace, false).await;
        policy
    }

    /// Waits until the probe can be deleted, or cannot.
    async fn until(&self, namespace: &Namespace, is_lifted: bool) {
        let begun = Instant::now();
        let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
        while namespace.api::<ConfigMap>().delete(PROBE, &dry).await.is_ok() != is_lifted {
            assert!(begun.elapsed() < PATIENCE, "the policy is not in force in time");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Lifts it.
    pub async fn lift(self, namespace: &Namespace) {
        for resource in self.resources.iter().rev() {
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), resource);
            api.delete(&self.name, &DeleteParams::default()).await.expect("deleted");
        }
        self.until(namespace, true).await;
        namespace.api::<ConfigMap>().delete(PROBE, &DeleteParams::default()).await.expect("deleted");
    }
}

fn rule(group: &str, resources: &[&str]) -> Value {
    json!({
        "apiGroups": [group], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": resources,
    })
}

/// Policies and their bindings, in the version that the API server has.
async fn resources(client: &kube::Client) -> [ApiResource; 2] {
    let stable = client.list_api_group_resources(&format!("{GROUP}/v1")).await.expect("a group");
    let is_stable = stable.resources.iter().any(|resource| resource.kind == KINDS[0]);
    let version = if is_stable { "v1" } else { "v1beta1" };
    KINDS.map(|kind| ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, version, kind)))
}

/// The names of the Services and Secrets of the namespace.
pub async fn kept(namespace: &Namespace) -> Vec<String> {
    let services = namespace.api::<Service>().list(&Default::default()).await.expect("Services").items;
    let secrets = namespace.api::<Secret>().list(&Default::default()).await.expect("Secrets").items;
    services.iter().map(ResourceExt::name_any).chain(secrets.iter().map(ResourceExt::name_any)).collect()
}
