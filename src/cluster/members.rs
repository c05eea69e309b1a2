//! What is on the cluster of one deployment: metadata alone, one LIST per kind.

use futures::future::try_join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{ListParams, ObjectMeta};

use super::Cluster;
use super::apply::{owned_fields, replicas_owners};
use crate::artifacts::{
    DeploymentName, Kind, LABEL_INSTANCE, LABEL_MANAGED_BY, LABEL_NAME, LABEL_REVISION, MANAGED_BY,
    Namespace, ObjectName, ObjectRef, field_manager, selector_of,
};
use crate::error::Result;

/// One object with our labels, as the cluster showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Kind and name.
    pub reference: ObjectRef,
    /// Its uid.
    pub uid: String,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Whether this deployment's field manager applied it: it is ours, not made by a controller or a person.
    pub ours: bool,
    /// The digest of the fields that our field manager owns; empty if none.
    pub owned: String,
    /// The field managers that own its replica count.
    pub replicas_owners: Vec<String>,
    /// The `name` label: the component.
    pub component: String,
    /// Of a pod: the revision it is of.
    pub revision: Option<u32>,
}

impl Seen {
    /// Reads the marks from an object's metadata; `None` if the name is none that we would give.
    pub(super) fn from_metadata(
        kind: Kind,
        metadata: &ObjectMeta,
        deployment: &DeploymentName,
    ) -> Option<Self> {
        let labels = metadata.labels.clone().unwrap_or_default();
        let entries: &[ManagedFieldsEntry] = metadata.managed_fields.as_deref().unwrap_or_default();
        let owned = owned_fields(entries, &field_manager(deployment));
        let labelled = labels.get(LABEL_MANAGED_BY).is_some_and(|value| value == MANAGED_BY)
            && labels.get(LABEL_INSTANCE).is_some_and(|value| value == deployment.as_str());
        Some(Self {
            reference: ObjectRef::new(kind, ObjectName::new(metadata.name.clone()?).ok()?),
            uid: metadata.uid.clone()?,
            terminating: metadata.deletion_timestamp.is_some(),
            ours: labelled && owned.is_some(),
            owned: owned.unwrap_or_default(),
            replicas_owners: replicas_owners(entries),
            component: labels.get(LABEL_NAME).cloned().unwrap_or_default(),
            revision: labels.get(LABEL_REVISION).and_then(|text| text.parse().ok()),
        })
    }
}

impl Cluster {
    /// Lists the deployment's objects of these kinds, pods of its controllers included.
    pub async fn list_members(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        kinds: &[Kind],
    ) -> Result<Vec<Seen>> {
        let lists = kinds.iter().map(|kind| self.list_kind(namespace, deployment, *kind));
        Ok(try_join_all(lists).await?.into_iter().flatten().collect())
    }

    async fn list_kind(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        kind: Kind,
    ) -> Result<Vec<Seen>> {
        let api = self.api(namespace, kind);
        let parameters = ListParams::default().labels(&selector_of(deployment));
        let list = self
            .call("list the deployment's objects", || api.list_metadata(&parameters))
            .await
            .map_err(|failure| failure.into_error(kind.as_str(), ""))?;
        Ok(list
            .items
            .iter()
            .filter_map(|item| Seen::from_metadata(kind, &item.metadata, deployment))
            .collect())
    }

    /// The uid of the object of this name, if it is this deployment's and stays.
    pub async fn our_uid(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        reference: &ObjectRef,
    ) -> Result<Option<String>> {
        let found = self.see(namespace, deployment, reference).await?;
        Ok(found.filter(|(seen, _)| seen.ours && !seen.terminating).map(|(seen, _)| seen.uid))
    }

    /// Reads one object's metadata; `None` if there is none.
    pub(super) async fn see(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        reference: &ObjectRef,
    ) -> Result<Option<(Seen, ObjectMeta)>> {
        let api = self.api(namespace, reference.kind);
        let name = reference.name.as_str();
        let found = self
            .call("look at the object", || api.get_metadata_opt(name))
            .await
            .map_err(|failure| failure.about(reference))?;
        Ok(found.and_then(|object| {
            let seen = Seen::from_metadata(reference.kind, &object.metadata, deployment)?;
            Some((seen, object.metadata))
        }))
    }
}
