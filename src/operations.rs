//! The corridor: every operation as a list of steps, and the context they share.

mod blame;
mod deploy;
mod diff;
mod execute;
mod lock;
mod observe;
mod plan;
mod prune;
mod revision;
mod rollout;
mod scale;
mod teardown;
mod translate;
mod view;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::artifacts::{Change, DeploymentName, Namespace};
use crate::cluster::Cluster;
use crate::error::{Error, ErrorKind, Result};

pub use deploy::{DeployCall, DeployChoices, Deployed, Outcome, PrunePolicy};
pub use observe::{ListCall, Listed, Until, WatchEnd, WatchUpdate};
pub use scale::{ScaleCall, Scaled};
pub use teardown::{Blocked, TeardownCall, TornDown, VolumePolicy};
pub use translate::{Source, TemplateCall, Translated, Validated};
pub use view::DeploymentView;

/// Namespaces that are never written to, whoever asks.
const RESERVED_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// What the operations need to know of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of requests that name none.
    pub namespace: Namespace,
    /// How long an operation holds a deployment without renewing.
    pub lease: Duration,
    /// Who this adapter is, for those who wait for it.
    pub holder: String,
}

/// The context of every operation; cheap to clone.
#[derive(Clone)]
pub struct Operations {
    cluster: Cluster,
    settings: Arc<Settings>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// Which deployment, and until when the caller waits for an answer.
#[derive(Clone, Debug)]
pub struct Target {
    /// The namespace.
    pub namespace: Namespace,
    /// The deployment.
    pub name: DeploymentName,
}

impl Operations {
    /// Puts the context together.
    pub fn new(cluster: Cluster, settings: Settings, shutdown: CancellationToken) -> Self {
        Self { cluster, settings: Arc::new(settings), tasks: TaskTracker::new(), shutdown }
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Asks the cluster for its version.
    pub async fn cluster_version(&self) -> Result<String> {
        self.cluster.version().await
    }

    /// Waits until every running operation has ended.
    pub async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Resolves when the server is shutting down.
    pub async fn shutting_down(&self) {
        self.shutdown.cancelled().await;
    }

    /// Runs an operation in a task of its own: a caller that leaves, or the deadline, ends the waiting and
    /// never the work.
    async fn detached<T, F>(&self, deadline: Instant, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        if self.shutdown.is_cancelled() {
            return Err(Error::new(ErrorKind::ShuttingDown, "the adapter is shutting down; try again")
                .retry_after(Duration::from_secs(1)));
        }
        let task = self.tasks.spawn(work.in_current_span());
        match tokio::time::timeout_at(deadline, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(failure)) => Err(Error::internal(format!("the operation's task ended early: {failure}"))),
            Err(_) => Err(Error::new(
                ErrorKind::ClusterTimeout,
                "the deadline passed while the cluster was at work; the work goes on, look at it with GetDeployment",
            )
            .with("applied", "unknown")),
        }
    }

    /// Refuses namespaces that are never written to.
    fn check_namespace(namespace: &Namespace) -> Result<()> {
        if RESERVED_NAMESPACES.contains(&namespace.as_str()) {
            return Err(Error::new(
                ErrorKind::NamespaceReserved,
                format!(
                    "namespace {namespace} belongs to the cluster and is never written to; choose another"
                ),
            ));
        }
        Ok(())
    }
}

/// How many of the changes do something.
fn effective(changes: &[Change]) -> usize {
    use crate::artifacts::Action;
    changes.iter().filter(|change| !matches!(change.action, Action::Unchanged | Action::Keep)).count()
}
