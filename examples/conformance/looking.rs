//! Looks at a cluster with a client of its own: what stands in a namespace, and what the API server would take.

use std::time::Duration;

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams,
};
use kube::core::GroupVersionKind;
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt};
use serde_json::Value;

/// Every kind that the adapter writes, or that a controller makes for it.
const KINDS: [(&str, &str); 8] = [
    ("", "ConfigMap"),
    ("", "Secret"),
    ("", "PersistentVolumeClaim"),
    ("", "Service"),
    ("", "ReplicationController"),
    ("", "Pod"),
    ("apps", "Deployment"),
    ("apps", "ReplicaSet"),
];
/// How long a cluster may take to furnish a new namespace.
const FURNISHING: Duration = Duration::from_secs(30);

/// What stands in a namespace, each with its kind: one LIST of each, without what every namespace has of itself.
pub async fn objects(
    client: &Client,
    namespace: &str,
) -> Result<Vec<(&'static str, DynamicObject)>, kube::Error> {
    let lists = KINDS.into_iter().map(|(group, kind)| async move {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let items = match api.list(&ListParams::default()).await {
            Ok(list) => list.items,
            // The sandbox does not serve every kind; of those it does not, nothing can be there.
            Err(kube::Error::Api(status)) if status.is_not_found() => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(items.into_iter().map(move |object| (kind, object)))
    });
    let is_ours = |(kind, object): &(&str, DynamicObject)| {
        *kind != "ConfigMap" || object.name_any() != "kube-root-ca.crt"
    };
    Ok(try_join_all(lists).await?.into_iter().flatten().filter(is_ours).collect())
}

/// Asks the API server whether it would take an object as it is, strictly, and keeps nothing.
pub async fn accepts(client: &Client, namespace: &str, manifest: &Value) -> Result<(), String> {
    let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (kind, name) = (text("/kind"), text("/metadata/name"));
    let (group, version) = text("/apiVersion").rsplit_once('/').unwrap_or(("", text("/apiVersion")));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let mut parameters = PatchParams::apply("dry-run").validation_strict();
    parameters.dry_run = true;
    let taken = api.patch(name, &parameters, &Patch::Apply(manifest)).await;
    taken.map(|_| ()).map_err(|error| format!("{kind} {name} is not accepted: {error}"))
}

/// Makes a namespace, and waits until pods can be made in it.
pub async fn make_namespace(client: &Client, name: &str) -> Result<(), String> {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let object = Namespace { metadata, ..Namespace::default() };
    let made = Api::all(client.clone()).create(&PostParams::default(), &object).await;
    made.map_err(|error| format!("namespace {name} cannot be made: {error}"))?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), name);
    match accounts.list(&ListParams::default()).await {
        // The sandbox has no service accounts, and its pods need none.
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
        Err(error) => return Err(format!("the service accounts of {name} cannot be seen: {error}")),
        Ok(_) => {}
    }
    let furnished =
        await_condition(accounts, "default", |account: Option<&ServiceAccount>| account.is_some());
    match tokio::time::timeout(FURNISHING, furnished).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("the service accounts of {name} cannot be seen: {error}")),
        Err(_) => Err(format!("namespace {name} has no service account after {} s", FURNISHING.as_secs())),
    }
}

/// Begins to remove a namespace.
pub async fn remove_namespace(client: &Client, name: &str) -> Result<(), String> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let removed = namespaces.delete(name, &DeleteParams::default()).await;
    removed.map(|_| ()).map_err(|error| format!("namespace {name} cannot be removed: {error}"))
}
