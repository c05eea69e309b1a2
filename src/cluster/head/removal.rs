//! The end of a head: deleted by uid, and its revisions with it.

use std::time::Duration;

use either::Either;
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Preconditions, PropagationPolicy, WatchEvent, WatchParams};
use tokio::time::Instant;

use super::super::Cluster;
use super::super::gone::{IDLE, LONGEST_IDLE};
use super::super::road::WATCH_SECONDS;
use super::{Record, about_head, head_name, subject};
use crate::error::Result;

/// Pause before a broken watch is opened again.
const PAUSE: Duration = Duration::from_millis(200);

impl Cluster {
    /// Deletes the head and, through their owner references, its revisions; waits until they are gone.
    ///
    /// Returns whether they are, at the deadline.
    pub async fn delete_head(&self, record: &Record, deadline: Instant) -> Result<bool> {
        let api = self.heads(&record.namespace);
        let object_name = head_name(&record.name);
        let parameters = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Foreground),
            preconditions: Some(Preconditions { uid: Some(record.uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        let purpose = "delete the deployment's record";
        let mut pauses = self.pauses();
        loop {
            let delete = || api.delete(&object_name, &parameters);
            match self.write(purpose, subject(&object_name), delete).await {
                Ok(Either::Left(object)) if object.metadata.deletion_timestamp.is_some() => {
                    let version = object.resource_version().unwrap_or_default();
                    let gone = tokio::time::timeout_at(deadline, self.head_gone(record, version)).await;
                    // A watch that fell silent has reported nothing.
                    return if gone.is_ok() { Ok(true) } else { self.is_head_replaced(record).await };
                }
                Ok(_) => return Ok(true),
                Err(failure) if failure.is_not_found() => return Ok(true),
                // Another head has the name by now, if a look says so, too.
                Err(failure) if failure.conflict().is_some() => {
                    if self.is_head_replaced(record).await? {
                        return Ok(true);
                    }
                    match pauses.next() {
                        Some(pause) => tokio::time::sleep(pause).await,
                        None => return Err(about_head(failure, record)),
                    }
                }
                Err(failure) => return Err(about_head(failure, record)),
            }
        }
    }

    /// Whether the head with this uid is gone, by a look at its name.
    async fn is_head_replaced(&self, record: &Record) -> Result<bool> {
        let api = self.heads(&record.namespace);
        let object_name = head_name(&record.name);
        let found = self
            .call("read the deployment's record", || api.get_metadata_opt(&object_name))
            .await
            .map_err(|failure| about_head(failure, record))?;
        Ok(found.and_then(|object| object.metadata.uid).as_deref() != Some(record.uid.as_str()))
    }

    /// Waits until the head is gone, by watching it from a version on.
    async fn head_gone(&self, record: &Record, version: String) {
        let mut idle = IDLE;
        loop {
            let watching = self.watch_head_gone(record, &version);
            if tokio::time::timeout(idle, watching).await == Ok(true) {
                return;
            }
            // The watch reported nothing: it was too old, or the connection broke or fell silent.
            if self.is_head_replaced(record).await.unwrap_or(false) {
                return;
            }
            idle = (2 * idle).min(LONGEST_IDLE);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Watches the head; returns whether the watch showed its end.
    async fn watch_head_gone(&self, record: &Record, version: &str) -> bool {
        let road = self.road.watches(1);
        let api: Api<ConfigMap> = Api::namespaced(road.client.clone(), record.namespace.as_str());
        let name = format!("metadata.name={}", head_name(&record.name));
        let parameters = WatchParams::default().fields(&name).timeout(WATCH_SECONDS);
        let Ok(events) = api.watch_metadata(&parameters, version).await else { return false };
        let mut events = events.boxed();
        while let Some(Ok(event)) = events.next().await {
            if let WatchEvent::Deleted(_) = event {
                return true;
            }
        }
        false
    }
}
