//! Looks for pods and ReplicaSets by their labels alone, whoever owns them, and deletes ReplicaSets.

use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::{Api, DeleteParams, ListParams, Preconditions, PropagationPolicy};
use serde::de::DeserializeOwned;

use super::Cluster;
use super::answers::Subject;
use super::delete::{ASK, taken, tried};
use crate::artifacts::{DeploymentName, Kind, Namespace, selector_of};
use crate::error::Result;
use crate::record::{HeadRef, Record, RefusedObject, holding_finalizers};

/// An object that is to go and still there, and what holds it: finalizers, or whoever refuses to delete it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBack {
    /// The API group of its kind.
    pub group: &'static str,
    /// Its kind.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The finalizers that hold it.
    pub finalizers: Vec<String>,
    /// Why it is not deleted, with who refuses that; empty: nobody does.
    pub refused: String,
    /// When it was marked, or since when its deletion is refused.
    pub since: Option<Timestamp>,
}

impl HeldBack {
    /// An object whose deletion is refused.
    pub fn refused(one: &RefusedObject) -> Self {
        Self {
            group: one.reference.kind.group(),
            kind: one.reference.kind.as_str(),
            name: one.reference.name.to_string(),
            uid: one.uid.clone().unwrap_or_default(),
            finalizers: Vec::new(),
            refused: one.why.clone(),
            since: Some(one.since),
        }
    }
}

/// The object, if it is marked and somebody else's finalizer holds it.
fn held_back(kind: &'static str, metadata: ObjectMeta) -> Option<HeldBack> {
    let since = metadata.deletion_timestamp?.0;
    let finalizers = holding_finalizers(metadata.finalizers.unwrap_or_default());
    let (name, uid) = (metadata.name?, metadata.uid?);
    let group = if kind == "ReplicaSet" { "apps" } else { "" };
    let (refused, since) = (String::new(), Some(since));
    (!finalizers.is_empty()).then_some(HeldBack { group, kind, name, uid, finalizers, refused, since })
}

impl Cluster {
    /// What finalizers hold of a deployment that goes, and no inventory has: its record, revisions, pods and ReplicaSets.
    pub async fn held_back(&self, record: &Record) -> Result<Vec<HeldBack>> {
        let heads: Api<ConfigMap> = Api::namespaced(self.client.clone(), record.namespace.as_str());
        let head_name = crate::record::head_name(&record.name);
        let head = self.call("read the deployment's record", || heads.get_metadata_opt(&head_name)).await;
        let head = head.map_err(|failure| failure.into_error("ConfigMap", &head_name))?;
        let head = head.and_then(|head| held_back("ConfigMap", head.metadata));
        let pods = self.list_pods_left(&record.namespace, &record.name).await?;
        let pods = pods.into_iter().filter_map(|pod| held_back("Pod", pod));
        let has_sets = record.head.inventory.iter().any(|member| member.reference.kind == Kind::Deployment);
        let sets =
            if has_sets { self.list_sets_left(&record.namespace, &record.name).await? } else { Vec::new() };
        let sets = sets.into_iter().filter_map(|set| held_back("ReplicaSet", set));
        let mut found: Vec<HeldBack> = pods.chain(sets).chain(head).collect();
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), record.namespace.as_str());
        for entry in &record.head.revisions {
            let name = &entry.revision.secret;
            let secret = self.call("look for the revision", || secrets.get_metadata_opt(name)).await;
            let secret = secret.map_err(|failure| failure.into_error("Secret", name))?;
            found.extend(secret.and_then(|secret| held_back("Secret", secret.metadata)));
        }
        Ok(found)
    }

    /// The metadata of all pods with a deployment's labels.
    pub async fn list_pods_left(
        &self,
        namespace: &Namespace,
        name: &DeploymentName,
    ) -> Result<Vec<ObjectMeta>> {
        self.list_left::<Pod>("list the deployment's pods", namespace, name).await
    }

    /// The metadata of all ReplicaSets with a deployment's labels.
    pub async fn list_sets_left(
        &self,
        namespace: &Namespace,
        name: &DeploymentName,
    ) -> Result<Vec<ObjectMeta>> {
        self.list_left::<ReplicaSet>("list the deployment's ReplicaSets", namespace, name).await
    }

    /// The metadata of all objects of a kind with a deployment's labels.
    async fn list_left<K>(
        &self,
        purpose: &'static str,
        namespace: &Namespace,
        name: &DeploymentName,
    ) -> Result<Vec<ObjectMeta>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace.as_str());
        let parameters = ListParams::default().labels(&selector_of(name));
        let list = self.call(purpose, || api.list_metadata(&parameters)).await;
        let list = list.map_err(|failure| failure.into_error(&K::kind(&()), ""))?;
        Ok(list.items.into_iter().map(|item| item.metadata).collect())
    }

    /// Deletes the ReplicaSet with exactly this uid; its pods go by themselves, or by their own uids.
    pub async fn delete_set(&self, namespace: &Namespace, name: &str, uid: &str) -> Result<()> {
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), namespace.as_str());
        let parameters = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            ..DeleteParams::default()
        };
        let subject = Subject { resource: "replicasets", kind: "ReplicaSet", name };
        let answer = self.write("delete the object", subject, || api.delete(name, &parameters)).await;
        taken(answer).map_err(|failure| failure.into_error("ReplicaSet", name))
    }

    /// Asks whether the ReplicaSet with this uid may be deleted: a dry run, which changes nothing.
    pub async fn would_delete_set(&self, namespace: &Namespace, name: &str, uid: &str) -> Result<()> {
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), namespace.as_str());
        let parameters = tried(uid);
        let subject = Subject { resource: "replicasets", kind: "ReplicaSet", name };
        let answer = self.write(ASK, subject, || api.delete(name, &parameters)).await;
        taken(answer).map_err(|failure| failure.into_error("ReplicaSet", name))
    }

    /// Whether a revision is stored with this very head as its owner. Every revision is created so; a backup brings it
    /// back without an owner, or with one that is gone.
    pub async fn owns_revision(&self, record: &Record, revision: &HeadRef) -> Result<bool> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), record.namespace.as_str());
        let found = self.call("look for the revision", || api.get_metadata_opt(&revision.secret)).await;
        let found = found.map_err(|failure| failure.into_error("Secret", &revision.secret))?;
        let owners = found.and_then(|secret| secret.metadata.owner_references).unwrap_or_default();
        Ok(owners.iter().any(|owner| owner.uid == record.uid))
    }
}
