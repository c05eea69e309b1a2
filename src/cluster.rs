//! The cluster: everything that talks to the Kubernetes API, behind one handle.

mod answers;
mod apply;
mod call;
mod delete;
mod errors;
mod gone;
mod head;
mod members;
mod namespaces;
mod observe;
mod patience;
mod revisions;
mod road;
mod scale;
mod warnings;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use tokio::sync::Semaphore;

use crate::artifacts::{Kind, Namespace};
use crate::error::{Error, ErrorKind, Result};

pub use apply::{Guard, Written, owned_fields};
pub use delete::Deletion;
pub use gone::Going;
pub use head::{
    Adopted, Head, HeadRef, Held, Member, MemberState, Operation, OperationKind, Phase, Recorded,
    RecordedComponent, RevisionEntry,
};
pub use members::{Seen, SeenClaim};
pub use patience::Patience;
pub use revisions::revision_name;
pub use warnings::collecting;
pub use watch::{Snapshot, Subscription};

/// Calls to the API server that may run at once.
const CALLS_IN_FLIGHT: usize = 100;
/// How long a connection to the API server may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A handle on one cluster; cheap to clone, shared by every operation.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    road: Arc<road::Road>,
    calls: Arc<Semaphore>,
    watches: Arc<watch::Watches>,
    server: Arc<str>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Cluster").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Prepares a handle; opens no connection yet.
    ///
    /// Fails when the configuration's credentials or certificates cannot be used.
    pub fn new(mut config: kube::Config) -> Result<Self> {
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // Fifteen tries that take minutes; `call` retries within the deadline instead.
        config.default_retry = false;
        config.headers.push((
            http::header::USER_AGENT,
            http::HeaderValue::from_static(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"))),
        ));
        let server = config.cluster_url.to_string();
        let road = road::Road::to(config).map_err(|error| {
            Error::new(ErrorKind::ClusterUnreachable, "the cluster's configuration cannot be used")
                .because(errors::describe(&error))
        })?;
        Ok(Self::on(road, server))
    }

    fn on(road: road::Road, server: String) -> Self {
        Self {
            client: road.calls(),
            road: Arc::new(road),
            calls: Arc::new(Semaphore::new(CALLS_IN_FLIGHT)),
            watches: Arc::new(watch::Watches::default()),
            server: server.into(),
        }
    }

    /// The API server's address, for people.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Asks the API server for its version; fails when it cannot be reached.
    pub async fn version(&self) -> Result<String> {
        let version = self
            .call("ask for the version", || self.client.apiserver_version())
            .await
            .map_err(|failure| failure.into_error("the version", ""))?;
        Ok(version.git_version)
    }

    /// The API of one kind in one namespace.
    fn api(&self, namespace: &Namespace, kind: Kind) -> Api<DynamicObject> {
        api_of(self.client.clone(), namespace, kind)
    }
}

/// The API of one kind in one namespace, by a client.
fn api_of(client: kube::Client, namespace: &Namespace, kind: Kind) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(kind.group(), "v1", kind.as_str());
    let resource = ApiResource::from_gvk(&kind);
    Api::namespaced_with(client, namespace.as_str(), &resource)
}
