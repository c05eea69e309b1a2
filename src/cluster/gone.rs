//! Waits until deleted objects are gone: by watching from the delete's own answer, so without any LIST.
//!
//! Secrets, which the adapter may neither list nor watch, are read by name.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use kube::api::{ListParams, ObjectMeta, WatchEvent, WatchParams};
use tokio::time::Instant;
use tracing::debug;

use super::road::WATCH_SECONDS;
use super::{Cluster, api_of};
use crate::artifacts::{DeploymentName, Kind, Namespace, ObjectRef, selector_of};
use crate::error::{Error, Result};

/// Pause before a broken watch is opened again.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a watch may show no end before a look is taken beside it: at first, and at last.
pub(super) const IDLE: Duration = Duration::from_secs(10);
pub(super) const LONGEST_IDLE: Duration = Duration::from_secs(80);
/// The pause before an object that cannot be watched is read again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// An object that is marked for deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminating {
    /// Kind and name.
    pub reference: ObjectRef,
    /// The uid of the object that is being deleted.
    pub uid: String,
    /// What holds it back, as the answer to the delete had it.
    pub finalizers: Vec<String>,
    /// When it was marked.
    pub since: Option<Timestamp>,
    /// The version at which it was marked.
    resource_version: String,
}

impl Terminating {
    /// Takes what is needed from the metadata of an object that is marked.
    pub(super) fn new(reference: &ObjectRef, uid: &str, metadata: ObjectMeta) -> Self {
        Self {
            reference: reference.clone(),
            uid: uid.to_owned(),
            finalizers: metadata.finalizers.unwrap_or_default(),
            since: metadata.deletion_timestamp.map(|time| time.0),
            resource_version: metadata.resource_version.unwrap_or_default(),
        }
    }
}

impl Cluster {
    /// Waits until all of these are gone; returns those that were still there at the deadline.
    pub async fn wait_gone(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        going: Vec<Terminating>,
        deadline: Instant,
    ) -> Result<Vec<Terminating>> {
        let mut kinds: BTreeMap<Kind, Vec<Terminating>> = BTreeMap::new();
        for object in going {
            kinds.entry(object.reference.kind).or_default().push(object);
        }
        let waits = kinds.into_iter().map(|(kind, going)| async move {
            if kind == Kind::Secret {
                return self.look_until_gone(namespace, going, deadline).await;
            }
            self.wait_kind_gone(namespace, deployment, kind, going, deadline).await
        });
        Ok(try_join_all(waits).await?.into_iter().flatten().collect())
    }

    /// Looks at objects by name until they are gone; only a finalizer of somebody else's makes it look twice.
    async fn look_until_gone(
        &self,
        namespace: &Namespace,
        mut going: Vec<Terminating>,
        deadline: Instant,
    ) -> Result<Vec<Terminating>> {
        loop {
            let looks = going.into_iter().map(|one| async move {
                let api = self.api(namespace, one.reference.kind);
                let name = one.reference.name.as_str();
                let found = self
                    .call("read what is being deleted", || api.get_metadata_opt(name))
                    .await
                    .map_err(|failure| failure.about(&one.reference))?;
                let uid = found.and_then(|object| object.metadata.uid);
                Ok::<_, Error>((uid.as_deref() == Some(one.uid.as_str())).then_some(one))
            });
            going = try_join_all(looks).await?.into_iter().flatten().collect();
            if going.is_empty() || Instant::now() + LOOK_AGAIN > deadline {
                return Ok(going);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn wait_kind_gone(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        kind: Kind,
        mut going: Vec<Terminating>,
        deadline: Instant,
    ) -> Result<Vec<Terminating>> {
        // The oldest answer: every DELETED event of these objects is younger than it.
        let oldest = going.iter().filter_map(|object| object.resource_version.parse::<u64>().ok()).min();
        let mut version = oldest.map(|version| version.to_string());
        let mut idle = IDLE;
        while !going.is_empty() && Instant::now() < deadline {
            let from = match version.take() {
                Some(version) => version,
                None => self.still_there(namespace, deployment, kind, &mut going).await?,
            };
            if going.is_empty() {
                break;
            }
            let watching = self.watch_gone(namespace, deployment, kind, &mut going, &from);
            match tokio::time::timeout_at(deadline.min(Instant::now() + idle), watching).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    debug!(
                        kind = kind.as_str(),
                        error = super::errors::describe(&error),
                        "watch opened again"
                    );
                    tokio::time::sleep(PAUSE).await;
                }
                // A watch that fell silent tells nothing; one that is not is opened again from what the look shows.
                Err(_) => {
                    version = Some(self.still_there(namespace, deployment, kind, &mut going).await?);
                    idle = (2 * idle).min(LONGEST_IDLE);
                }
            }
        }
        Ok(going)
    }

    /// Watches until everything is gone, or the API server ends the watch.
    async fn watch_gone(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        kind: Kind,
        going: &mut Vec<Terminating>,
        version: &str,
    ) -> kube::Result<()> {
        let road = self.road.watches(1);
        let api = api_of(road.client.clone(), namespace, kind);
        let parameters = WatchParams::default().labels(&selector_of(deployment)).timeout(WATCH_SECONDS);
        let mut events = api.watch_metadata(&parameters, version).await?.boxed();
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Deleted(object) => {
                    going.retain(|one| Some(one.uid.as_str()) != object.metadata.uid.as_deref());
                    if going.is_empty() {
                        return Ok(());
                    }
                }
                WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
                WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Bookmark(_) => {}
            }
        }
        Ok(())
    }

    /// Drops what a LIST no longer shows; returns the version to watch from.
    async fn still_there(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        kind: Kind,
        going: &mut Vec<Terminating>,
    ) -> Result<String> {
        let api = self.api(namespace, kind);
        let parameters = ListParams::default().labels(&selector_of(deployment));
        let list = self
            .call("list what is being deleted", || api.list_metadata(&parameters))
            .await
            .map_err(|failure| failure.into_error(kind.as_str(), ""))?;
        going.retain(|one| {
            list.items.iter().any(|object| object.metadata.uid.as_deref() == Some(one.uid.as_str()))
        });
        Ok(list.metadata.resource_version.unwrap_or_default())
    }
}
