//! A policy of the cluster that warns of what is written in one namespace, with its kind and name.

use std::time::{Duration, Instant};

use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, PostParams};
use serde_json::json;

use super::namespace::Namespace;

/// How long a policy may take until it is in force.
const PATIENCE: Duration = Duration::from_secs(60);
const GROUP: &str = "admissionregistration.k8s.io";

/// A policy that is in force.
pub struct Warning {
    client: Client,
    resources: [ApiResource; 2],
    name: String,
}

impl Warning {
    /// Warns of each ConfigMap, Secret and Service of the namespace that is written: `seen: KIND NAME`.
    pub async fn of_writes(namespace: &Namespace) -> Self {
        let client = namespace.client.clone();
        let name = format!("warn-{}.example.com", &**namespace);
        let policy = json!({
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": { "resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                    "resources": ["services", "secrets", "configmaps"],
                }] },
                "validations": [{
                    "expression": "false",
                    "messageExpression": "'seen: ' + object.kind + ' ' + object.metadata.name",
                }],
            },
        });
        let binding = json!({
            "spec": {
                "policyName": name, "validationActions": ["Warn"],
                "matchResources": { "namespaceSelector": {
                    "matchLabels": { "kubernetes.io/metadata.name": &**namespace },
                } },
            },
        });
        let kinds = ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"];
        let resources = kinds.map(|kind| ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, "v1", kind)));
        for (resource, content) in resources.iter().zip([policy, binding]) {
            let object = DynamicObject::new(&name, resource).data(content);
            let api = Api::all_with(client.clone(), resource);
            api.create(&PostParams::default(), &object).await.expect("the policy and what binds it");
        }
        let warning = Self { client, resources, name };
        let begun = Instant::now();
        while !warning.is_heard(namespace).await {
            assert!(begun.elapsed() < PATIENCE, "the policy is not in force in time");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        warning
    }

    /// Whether the API server warns of what is only tried.
    async fn is_heard(&self, namespace: &Namespace) -> bool {
        let path = format!("/api/v1/namespaces/{}/configmaps?dryRun=All", &**namespace);
        let probe = json!({"metadata": {"name": "probe"}}).to_string();
        let request = http::Request::post(path).header("content-type", "application/json");
        let request = request.body(probe.into_bytes().into()).expect("a request");
        let answer = self.client.send(request).await.expect("an answer");
        answer.headers().contains_key(http::header::WARNING)
    }

    /// Deletes it.
    pub async fn remove(self) {
        for resource in self.resources.iter().rev() {
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), resource);
            api.delete(&self.name, &DeleteParams::default()).await.expect("deleted");
        }
    }
}
