//! Revision Secrets: what was deployed, stored once and never changed.

use either::Either;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams, Preconditions};
use tracing::warn;

use super::Cluster;
use super::answers::{Conflict, Subject};
use super::delete::is_still_there;
use crate::artifacts::{LABEL_INSTANCE, LABEL_MANAGED_BY, LABEL_RECORD, MANAGED_BY, Namespace};
use crate::error::Result;
use crate::record::{HeadRef, Record, head_name};

/// The key of the revision inside the Secret.
const KEY: &str = "revision";

/// How the delete of a revision ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevisionDeletion {
    /// It is gone.
    Gone,
    /// It is marked, and these finalizers hold it.
    Terminating(Vec<String>),
}

impl Cluster {
    fn revisions(&self, namespace: &Namespace) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace.as_str())
    }

    /// Stores a revision, owned by the head, never to be changed; a second try with the same name is fine.
    pub async fn store_revision(&self, record: &Record, revision: &HeadRef, content: Vec<u8>) -> Result<()> {
        let api = self.revisions(&record.namespace);
        let labels = [
            (LABEL_MANAGED_BY, MANAGED_BY),
            (LABEL_INSTANCE, record.name.as_str()),
            (LABEL_RECORD, "revision"),
        ];
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(revision.secret.clone()),
                labels: Some(
                    labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
                ),
                owner_references: Some(vec![OwnerReference {
                    api_version: "v1".to_owned(),
                    kind: "ConfigMap".to_owned(),
                    name: head_name(&record.name),
                    uid: record.uid.clone(),
                    block_owner_deletion: Some(true),
                    controller: None,
                }]),
                ..ObjectMeta::default()
            },
            immutable: Some(true),
            data: Some([(KEY.to_owned(), ByteString(content))].into()),
            type_: Some("panamax.io/revision".to_owned()),
            ..Secret::default()
        };
        let parameters = PostParams::default();
        let subject = Subject { resource: "secrets", kind: "Secret", name: &revision.secret };
        match self.write("store the revision", subject, || api.create(&parameters, &secret)).await {
            Ok(_) => Ok(()),
            // The name holds this operation's own random id: a lost answer to the same POST, if it is there.
            Err(failure) if failure.conflict() == Some(Conflict::Exists) => {
                match self.read_revision(&record.namespace, revision).await? {
                    Some(_) => Ok(()),
                    None => Err(failure.into_error("Secret", &revision.secret)),
                }
            }
            Err(failure) => Err(failure.into_error("Secret", &revision.secret)),
        }
    }

    /// Deletes a revision that is no longer kept. A finalizer may hold it.
    ///
    /// A record is a ConfigMap, and more people may write these than may delete Secrets: what is no revision of this
    /// very record is left alone, and counts as gone.
    pub async fn delete_revision(&self, record: &Record, revision: &HeadRef) -> Result<RevisionDeletion> {
        if !revision.is_named_for(&record.name) {
            warn!(name = revision.secret, "what the record calls a revision is none, and left alone");
            return Ok(RevisionDeletion::Gone);
        }
        let api = self.revisions(&record.namespace);
        let found = self
            .call("look for the revision", || api.get_metadata_opt(&revision.secret))
            .await
            .map_err(|failure| failure.into_error("Secret", &revision.secret))?;
        let Some(found) = found else { return Ok(RevisionDeletion::Gone) };
        let owners = found.metadata.owner_references.unwrap_or_default();
        if !owners.iter().any(|owner| owner.kind == "ConfigMap" && owner.uid == record.uid) {
            warn!(name = revision.secret, "a revision of another record is left alone");
            return Ok(RevisionDeletion::Gone);
        }
        let preconditions = Preconditions { uid: found.metadata.uid, resource_version: None };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        match self.call("delete an old revision", || api.delete(&revision.secret, &parameters)).await {
            Ok(Either::Left(secret)) if is_still_there(&secret.metadata) => {
                Ok(RevisionDeletion::Terminating(secret.metadata.finalizers.unwrap_or_default()))
            }
            Ok(_) => Ok(RevisionDeletion::Gone),
            Err(failure) if failure.is_not_found() => Ok(RevisionDeletion::Gone),
            // Somebody has put another in its place.
            Err(failure) if failure.conflict().is_some() => Ok(RevisionDeletion::Gone),
            Err(failure) => Err(failure.into_error("Secret", &revision.secret)),
        }
    }

    /// Whether a revision is stored, without reading it.
    pub async fn has_revision(&self, namespace: &Namespace, revision: &HeadRef) -> Result<bool> {
        let api = self.revisions(namespace);
        let found = self
            .call("look for the revision", || api.get_metadata_opt(&revision.secret))
            .await
            .map_err(|failure| failure.into_error("Secret", &revision.secret))?;
        Ok(found.is_some_and(|secret| secret.metadata.deletion_timestamp.is_none()))
    }

    /// Reads a revision; `None` if it is not stored, and nothing if its Secret holds something else.
    pub async fn read_revision(&self, namespace: &Namespace, revision: &HeadRef) -> Result<Option<Vec<u8>>> {
        let api = self.revisions(namespace);
        let secret = self
            .call("read the revision", || api.get_opt(&revision.secret))
            .await
            .map_err(|failure| failure.into_error("Secret", &revision.secret))?;
        let content = |secret: Secret| secret.data.and_then(|mut data| data.remove(KEY));
        Ok(secret.map(|secret| content(secret).map(|content| content.0).unwrap_or_default()))
    }
}
