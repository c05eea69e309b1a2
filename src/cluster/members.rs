//! What is on the cluster of one deployment: metadata alone, one LIST per kind, Secrets by name.

use std::collections::BTreeSet;

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{Api, DynamicObject, ListParams, ObjectMeta};

use super::Cluster;
use super::apply::{layout, replicas_owners};
use crate::artifacts::{
    ANNOTATION_OPERATION, DeploymentName, Kind, LABEL_INSTANCE, LABEL_MANAGED_BY, LABEL_NAME, LABEL_REVISION,
    ListedClaim, ListedObject, MANAGED_BY, Namespace, ObjectName, ObjectRef, Others, Traces, applied,
    field_manager, owned_fields, scale_manager, selector_of,
};
use crate::error::Result;

/// Reads what a volume claim asks for.
fn seen_claim(claim: &PersistentVolumeClaim, manager: &str) -> Option<ListedClaim> {
    let spec = claim.spec.as_ref()?;
    let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let holds = |path: &str, is_meant: &dyn Fn(Option<&str>) -> bool| {
        claim.metadata.managed_fields.iter().flatten().any(|entry| {
            let fields = entry.fields_v1.as_ref();
            is_meant(entry.manager.as_deref())
                && fields.is_some_and(|fields| fields.0.pointer(path).is_some())
        })
    };
    Some(ListedClaim {
        size_is_others: holds("/f:spec/f:resources/f:requests/f:storage", &|one| one != Some(manager)),
        size: requests.and_then(|requests| requests.get("storage")).map(|size| size.0.clone())?,
        class: spec.storage_class_name.clone().filter(|class| !class.is_empty()),
        class_is_ours: holds("/f:spec/f:storageClassName", &|one| one == Some(manager)),
        modes: spec.access_modes.clone().unwrap_or_default(),
        layout: layout(&claim.metadata),
    })
}

/// What others than this deployment's field managers hold; what they write through a subresource, as a status, is apart.
fn others(entries: &[ManagedFieldsEntry], deployment: &DeploymentName) -> Vec<Others> {
    let ours = [field_manager(deployment), scale_manager(deployment)];
    let is_whole = |entry: &&ManagedFieldsEntry| entry.subresource.as_deref().is_none_or(str::is_empty);
    let held = entries.iter().filter(is_whole).filter_map(|entry| {
        let manager = entry.manager.clone().filter(|manager| !ours.contains(manager))?;
        Some(Others { manager, fields: entry.fields_v1.as_ref()?.0.clone() })
    });
    held.collect()
}

/// Reads the marks from an object's metadata; `None` if the name is none that we would give.
pub(super) fn seen(kind: Kind, metadata: &ObjectMeta, deployment: &DeploymentName) -> Option<ListedObject> {
    let labels = metadata.labels.clone().unwrap_or_default();
    let annotations = metadata.annotations.clone().unwrap_or_default();
    let entries: &[ManagedFieldsEntry] = metadata.managed_fields.as_deref().unwrap_or_default();
    let owned = owned_fields(entries, &field_manager(deployment));
    let labelled = labels.get(LABEL_MANAGED_BY).is_some_and(|value| value == MANAGED_BY)
        && labels.get(LABEL_INSTANCE).is_some_and(|value| value == deployment.as_str());
    Some(ListedObject {
        reference: ObjectRef::new(kind, ObjectName::new(metadata.name.clone()?).ok()?),
        uid: metadata.uid.clone()?,
        version: metadata.resource_version.clone().unwrap_or_default(),
        terminating: metadata.deletion_timestamp.is_some(),
        labelled,
        ours: labelled && owned.is_some(),
        controlled: metadata.owner_references.iter().flatten().any(|owner| owner.controller == Some(true)),
        ended: false,
        owned: owned.unwrap_or_default(),
        traces: Traces::of(metadata, deployment),
        replicas_owners: replicas_owners(entries),
        replicas: None,
        others: others(entries, deployment),
        held: applied(entries, &field_manager(deployment)).cloned().unwrap_or_default(),
        component: labels.get(LABEL_NAME).cloned().unwrap_or_default(),
        operation: annotations.get(ANNOTATION_OPERATION).cloned(),
        revision: labels.get(LABEL_REVISION).and_then(|text| text.parse().ok()),
        claim: None,
    })
}

/// A pod with whether it has ended.
fn seen_pod(pod: &Pod, deployment: &DeploymentName) -> Option<ListedObject> {
    let metadata = seen(Kind::Pod, &pod.metadata, deployment)?;
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    Some(ListedObject { ended: matches!(phase, Some("Failed" | "Succeeded")), ..metadata })
}

/// A volume claim with what it asks for.
fn whole_claim(claim: &PersistentVolumeClaim, deployment: &DeploymentName) -> Option<ListedObject> {
    let metadata = seen(Kind::PersistentVolumeClaim, &claim.metadata, deployment)?;
    Some(ListedObject { claim: seen_claim(claim, &field_manager(deployment)), ..metadata })
}

/// How many replicas a controller is to have.
fn count(controller: &DynamicObject) -> Option<i32> {
    controller.data.pointer("/spec/replicas")?.as_i64().and_then(|count| i32::try_from(count).ok())
}

impl Cluster {
    /// Looks at the deployment's objects of the kinds of these, pods of its controllers included.
    ///
    /// Of Secrets at these alone, by name: a right to list them would show all of the namespace's.
    pub async fn list_members(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        members: &BTreeSet<ObjectRef>,
    ) -> Result<Vec<ListedObject>> {
        let kinds: BTreeSet<Kind> = members.iter().map(|member| member.kind).collect();
        let lists = kinds.into_iter().filter(|kind| *kind != Kind::Secret);
        let lists = try_join_all(lists.map(|kind| self.list_kind(namespace, deployment, kind)));
        let secrets = members.iter().filter(|member| member.kind == Kind::Secret);
        let secrets = try_join_all(secrets.map(|secret| self.see(namespace, deployment, secret)));
        let (lists, secrets) = tokio::try_join!(lists, secrets)?;
        let secrets = secrets.into_iter().flatten().map(|(seen, _)| seen);
        Ok(lists.into_iter().flatten().chain(secrets).collect())
    }

    async fn list_kind(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        kind: Kind,
    ) -> Result<Vec<ListedObject>> {
        match kind {
            Kind::PersistentVolumeClaim => return self.list_claims(namespace, deployment).await,
            Kind::Pod => return self.list_pods(namespace, deployment).await,
            _ => {}
        }
        let api = self.api(namespace, kind);
        let parameters = ListParams::default().labels(&selector_of(deployment));
        let list = self
            .call("list the deployment's objects", || api.list_metadata(&parameters))
            .await
            .map_err(|failure| failure.into_error(kind.as_str(), ""))?;
        Ok(list.items.iter().filter_map(|item| seen(kind, &item.metadata, deployment)).collect())
    }

    /// Pods whole: one that has ended never runs again, and only its status says so.
    async fn list_pods(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
    ) -> Result<Vec<ListedObject>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace.as_str());
        let parameters = ListParams::default().labels(&selector_of(deployment));
        let list = self
            .call("list the deployment's objects", || api.list(&parameters))
            .await
            .map_err(|failure| failure.into_error(Kind::Pod.as_str(), ""))?;
        Ok(list.items.iter().filter_map(|item| seen_pod(item, deployment)).collect())
    }

    /// Volume claims whole: what they ask for decides whether they can become what is asked now.
    async fn list_claims(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
    ) -> Result<Vec<ListedObject>> {
        let kind = Kind::PersistentVolumeClaim;
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace.as_str());
        let parameters = ListParams::default().labels(&selector_of(deployment));
        let list = self
            .call("list the deployment's objects", || api.list(&parameters))
            .await
            .map_err(|failure| failure.into_error(kind.as_str(), ""))?;
        Ok(list.items.iter().filter_map(|item| whole_claim(item, deployment)).collect())
    }

    /// Looks at the deployment's controllers of these kinds whole: their counts, too.
    pub async fn list_controllers(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        kinds: &BTreeSet<Kind>,
    ) -> Result<Vec<ListedObject>> {
        let parameters = ListParams::default().labels(&selector_of(deployment));
        let lists = kinds.iter().map(async |kind| {
            let api = self.api(namespace, *kind);
            let list = self
                .call("list the deployment's objects", || api.list(&parameters))
                .await
                .map_err(|failure| failure.into_error(kind.as_str(), ""))?;
            let controller = |item: &DynamicObject| {
                let metadata = seen(*kind, &item.metadata, deployment)?;
                Some(ListedObject { replicas: count(item), ..metadata })
            };
            Ok(list.items.iter().filter_map(controller).collect::<Vec<_>>())
        });
        Ok(try_join_all(lists).await?.into_iter().flatten().collect())
    }

    /// Looks by name at objects that no list of the deployment's has shown, as [`Self::list_members`] shows them: somebody
    /// may have taken their labels away.
    pub async fn find_unlisted(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        objects: &[&ObjectRef],
    ) -> Result<Vec<ListedObject>> {
        let looks = objects.iter().map(|reference| self.see_as_listed(namespace, deployment, reference));
        Ok(try_join_all(looks).await?.into_iter().flatten().collect())
    }

    async fn see_as_listed(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        reference: &ObjectRef,
    ) -> Result<Option<ListedObject>> {
        let name = reference.name.as_str();
        let found = match reference.kind {
            Kind::Pod => {
                let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace.as_str());
                let found = self.call("read the object", || api.get_opt(name)).await;
                found.map(|found| found.and_then(|pod| seen_pod(&pod, deployment)))
            }
            Kind::PersistentVolumeClaim => {
                let api: Api<PersistentVolumeClaim> =
                    Api::namespaced(self.client.clone(), namespace.as_str());
                let found = self.call("read the object", || api.get_opt(name)).await;
                found.map(|found| found.and_then(|claim| whole_claim(&claim, deployment)))
            }
            Kind::Secret | Kind::Service | Kind::ReplicationController | Kind::Deployment => {
                let found = self.see(namespace, deployment, reference).await?;
                return Ok(found.map(|(seen, _)| seen));
            }
        };
        found.map_err(|failure| failure.about(reference))
    }

    /// The object of this name, if it is this deployment's and stays.
    pub async fn find_ours(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        reference: &ObjectRef,
    ) -> Result<Option<ListedObject>> {
        Ok(self.find(namespace, deployment, reference).await?.filter(|seen| seen.ours))
    }

    /// What stands under this name and stays, whosever it is.
    pub async fn find(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        reference: &ObjectRef,
    ) -> Result<Option<ListedObject>> {
        let found = self.see(namespace, deployment, reference).await?;
        Ok(found.map(|(seen, _)| seen).filter(|seen| !seen.terminating))
    }

    /// Reads how many replicas a controller is to have; `None` if there is none.
    pub async fn replicas(&self, namespace: &Namespace, reference: &ObjectRef) -> Result<Option<i32>> {
        let api = self.api(namespace, reference.kind);
        let name = reference.name.as_str();
        let found = self
            .call("read the replica count", || api.get_opt(name))
            .await
            .map_err(|failure| failure.about(reference))?;
        Ok(found.as_ref().and_then(count))
    }

    /// Reads an object whole; null if there is none.
    pub async fn content(&self, namespace: &Namespace, reference: &ObjectRef) -> Result<serde_json::Value> {
        let api = self.api(namespace, reference.kind);
        let found = self.call("read the object", || api.get_opt(reference.name.as_str())).await;
        let found = found.map_err(|failure| failure.about(reference))?;
        Ok(found.map(|object| object.data).unwrap_or_default())
    }

    /// Reads one object's metadata; `None` if there is none.
    pub(super) async fn see(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        reference: &ObjectRef,
    ) -> Result<Option<(ListedObject, ObjectMeta)>> {
        let api = self.api(namespace, reference.kind);
        let name = reference.name.as_str();
        let found = self
            .call("read the object", || api.get_metadata_opt(name))
            .await
            .map_err(|failure| failure.about(reference))?;
        Ok(found.and_then(|object| {
            let seen = seen(reference.kind, &object.metadata, deployment)?;
            Some((seen, object.metadata))
        }))
    }
}
