//! Whose an object is that has a name of ours and is not this deployment's, as the refusal tells it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::ObjectMeta;

use crate::artifacts::{
    DeploymentName, Kind, LABEL_INSTANCE, LABEL_MANAGED_BY, MANAGED_BY, Namespace, ObjectRef, field_manager,
};
use crate::error::{Error, ErrorKind};

/// The deployment whose labels an object bears.
pub(super) fn instance(metadata: &ObjectMeta) -> Option<DeploymentName> {
    let labels = metadata.labels.as_ref()?;
    let is_managed = labels.get(LABEL_MANAGED_BY).is_some_and(|value| value == MANAGED_BY);
    let instance = labels.get(LABEL_INSTANCE).filter(|_| is_managed)?;
    DeploymentName::new(instance).ok()
}

/// Whoever wrote an object last, and not its status alone, which a controller or a kubelet writes into everybody's; our
/// own field manager is not meant.
fn last_writer(metadata: &ObjectMeta, own: &str) -> Option<String> {
    let writes_more = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().and_then(|fields| fields.0.as_object());
        let is_status = |fields: &serde_json::Map<_, _>| fields.keys().all(|field| field == "f:status");
        entry.subresource.as_deref().is_none_or(str::is_empty) && !fields.is_some_and(is_status)
    };
    let entries = metadata.managed_fields.iter().flatten().filter(writes_more);
    let others = entries.filter(|entry| entry.manager.as_deref() != Some(own));
    others.max_by_key(|entry| entry.time.clone()).and_then(|entry| entry.manager.clone())
}

/// The error for an object that is not this deployment's; it never names the caller's own as the owner.
///
/// `is_left`: the deployment whose labels it bears is gone.
pub(super) fn not_owned(
    namespace: &Namespace,
    deployment: &DeploymentName,
    reference: &ObjectRef,
    metadata: &ObjectMeta,
    is_left: bool,
) -> Error {
    let own = field_manager(deployment);
    let manager = last_writer(metadata, &own);
    let manager =
        manager.map_or_else(|| "somebody else".to_owned(), |manager| format!("field manager {manager}"));
    let mut entries = metadata.managed_fields.iter().flatten();
    let (owner, what) = match instance(metadata) {
        Some(instance) if instance == *deployment => {
            let what = format!(
                "has the labels of deployment {deployment}, which has not created it; {manager} wrote it last. \
                 Delete it if nobody needs it, or deploy into another namespace"
            );
            (manager, what)
        }
        Some(instance) if is_left => {
            let holds = if reference.kind == Kind::PersistentVolumeClaim { ", with its data" } else { "" };
            let what = format!(
                "was left by deployment {instance}, which is gone{holds}. Deploy under the name {instance} to use it \
                 again, delete it if nobody needs it, or deploy into another namespace"
            );
            (format!("deployment {instance}"), what)
        }
        Some(instance) => (
            format!("deployment {instance}"),
            format!("belongs to deployment {instance}; rename the image, or deploy into another namespace"),
        ),
        None if entries.any(|entry| entry.manager.as_ref() == Some(&own)) => {
            let what = format!(
                "was created by a deployment of the name {deployment}, of which no record is left, and has lost the \
                 labels of that. Delete it if nobody needs it, or put its labels {LABEL_MANAGED_BY}={MANAGED_BY} and \
                 {LABEL_INSTANCE}={deployment} back, then deploy again"
            );
            (manager, what)
        }
        None => {
            let what = format!("belongs to {manager}; rename the image, or deploy into another namespace");
            (manager, what)
        }
    };
    Error::new(ErrorKind::ObjectNotOwned, format!("{reference} in namespace {namespace} {what}"))
        .with("owner", owner)
        .with("object", reference.to_string())
        .with("namespace", namespace.to_string())
        .about(reference.kind.as_str(), reference.name.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(labels: &serde_json::Value, entries: &serde_json::Value) -> ObjectMeta {
        let metadata = json!({"name": "web", "labels": labels, "managedFields": entries});
        serde_json::from_value(metadata).expect("metadata")
    }

    fn told(metadata: &ObjectMeta, is_left: bool) -> (String, String) {
        let namespace = Namespace::new("apps").expect("a namespace");
        let name = crate::artifacts::ObjectName::new("web").expect("a name");
        let reference = ObjectRef::new(Kind::PersistentVolumeClaim, name);
        let deployment = DeploymentName::new("shop").expect("a name");
        let error = not_owned(&namespace, &deployment, &reference, metadata, is_left);
        assert_eq!(error.metadata()["object"], "PersistentVolumeClaim web");
        assert_eq!(error.metadata()["namespace"], "apps");
        (error.metadata()["owner"].clone(), error.message().to_owned())
    }

    fn entry(manager: &str, minute: u32, subresource: &str, fields: &serde_json::Value) -> serde_json::Value {
        json!({"manager": manager, "operation": "Update", "time": format!("2026-01-01T00:{minute:02}:00Z"),
            "subresource": subresource, "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    #[test]
    fn whoever_writes_a_status_owns_nothing() {
        let (spec, status) = (json!({"f:spec": {"f:containers": {}}}), json!({"f:status": {"f:phase": {}}}));
        let entries = json!([
            entry("kubectl-run", 1, "", &spec),
            entry("kwok", 3, "status", &status),
            entry("old-kubelet", 4, "", &status),
            entry("panamax:shop", 5, "", &spec),
        ]);
        let found = metadata(&json!({}), &entries);
        assert_eq!(told(&found, false).0, "field manager kubectl-run");
        assert_eq!(last_writer(&found, "panamax:shop").as_deref(), Some("kubectl-run"));
    }

    #[test]
    fn what_a_deployment_has_left_belongs_to_nobody_who_is_there() {
        let labels = json!({LABEL_MANAGED_BY: MANAGED_BY, LABEL_INSTANCE: "blog"});
        let found = metadata(&labels, &json!([]));
        let (owner, message) = told(&found, true);
        assert_eq!(owner, "deployment blog");
        assert!(message.contains("left by deployment blog, which is gone, with its data"), "{message}");
        assert!(told(&found, false).1.contains("belongs to deployment blog;"));
    }

    #[test]
    fn our_own_field_manager_is_no_other_owner() {
        let fields = json!({"f:spec": {}});
        let found = metadata(&json!({}), &json!([entry("panamax:shop", 1, "", &fields)]));
        let (owner, message) = told(&found, false);
        assert!(!owner.contains("panamax"), "{owner}");
        assert!(message.contains("has lost the labels"), "{message}");
    }
}
