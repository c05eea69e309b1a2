//! The corridor: every operation as a list of steps, and the context they share.

mod deploy;
mod observe;
mod request;
mod revisions;
mod scale;
mod teardown;
mod translate;
mod view;

use tokio_util::sync::CancellationToken;

use crate::artifacts::Namespace;
use crate::callers::{Acting, Ask};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::engine::{self, Engine};
use crate::error::{Error, ErrorKind, Result};

pub use crate::artifacts::Target;
pub use crate::engine::{Outcome, RequestLimits, Scope, Settings};
pub use crate::plan::{
    ConflictPolicy, FailurePolicy, Named as NamedRequest, PrunePolicy, ReplicasPolicy, Source, TemplateCall,
    VolumePolicy,
};
pub use crate::record::RevisionResult;
pub use deploy::{DeployCall, DeployChoices, Deployed, PlannedDeploy};
pub use observe::{ListCall, Listed, Until, WatchEnd, WatchUpdate};
pub use request::{Faults, Names, Options, answered_by, early, in_time, longest_wait, wrong_request_id};
pub use revisions::{ListedRevisions, RevisionView, RevisionsCall, RollbackCall};
pub use scale::{ScaleCall, Scaled};
pub use teardown::{TeardownCall, TornDown};
pub use translate::{Translated, Validated};
pub use view::DeploymentView;

/// Namespaces that are never written to, whoever asks.
const RESERVED_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// Whether a namespace belongs to the cluster, and is never written to.
pub fn is_reserved(namespace: &Namespace) -> bool {
    RESERVED_NAMESPACES.contains(&namespace.as_str())
}

/// The context of every operation; cheap to clone.
#[derive(Clone)]
pub struct Operations {
    engine: Engine,
}

impl Operations {
    /// Puts the context together.
    pub fn new(cluster: Cluster, settings: Settings, clock: Clock, shutdown: CancellationToken) -> Self {
        Self { engine: Engine::new(cluster, settings, clock, shutdown) }
    }

    /// The same operations, on behalf of somebody: within its rights, and under its name.
    pub fn acting_for(&self, acting: Acting) -> Self {
        Self { engine: self.engine.acting_for(acting) }
    }

    /// Whose name is written down; `None`: nobody is known.
    pub fn caller(&self) -> Option<&str> {
        self.engine.acting().name()
    }

    /// Looks at something, if that is allowed.
    async fn looking<T>(&self, ask: &Ask, look: impl Future<Output = Result<T>>) -> Result<T> {
        self.engine.acting().look(ask, look).await
    }

    /// Changes something, if that is allowed; with `validate_only` nothing is changed, and nothing told in the audit.
    async fn changing<T>(
        &self,
        ask: &Ask,
        target: &Target,
        validate_only: bool,
        change: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        if validate_only {
            return Box::pin(self.looking(ask, change)).await;
        }
        // Large, and handed on through several hands: each of them would hold it twice.
        let change = Box::pin(change);
        Box::pin(self.engine.acting().change(ask, target, change)).await
    }

    /// Answers a call that changes something, and tells in the audit what it is answered, also where it is refused before
    /// it is known whether it can be carried out: every edge answers such calls in here. `word` is that of its failure.
    pub async fn audited<T, E>(
        &self,
        names: Names,
        word: impl FnOnce(&E) -> String,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        if names.validate_only {
            return call.await;
        }
        let audited = names.audited(self.settings());
        let call = Box::pin(call);
        Box::pin(self.engine.acting().answer(audited, word, call)).await
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        self.engine.clock()
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        self.engine.settings()
    }

    /// Keeps the deployments of the namespaces that the settings name: finishes what others have left, until the
    /// shutdown.
    pub fn keep(&self) {
        engine::keep(&self.engine);
    }

    /// The namespaces that are kept; `None` while nobody knows.
    pub fn kept(&self) -> Option<&Scope> {
        engine::kept(&self.engine)
    }

    /// Asks the cluster for its version.
    pub async fn cluster_version(&self) -> Result<String> {
        self.engine.cluster_version().await
    }

    /// The version that the cluster has last told; it is not asked now. `None`: it did not answer.
    pub async fn known_version(&self) -> Option<String> {
        self.engine.known_version().await
    }

    /// Whether the cluster answered when it was last asked.
    pub fn is_cluster_reachable(&self) -> bool {
        self.engine.is_cluster_reachable()
    }

    /// Waits until every running operation has ended.
    pub async fn drain(&self) {
        self.engine.drain().await;
    }

    /// Resolves when the server is shutting down.
    pub async fn shutting_down(&self) {
        self.engine.shutting_down().await;
    }

    /// Refuses namespaces that are never written to, whoever asks: what is refused there need not be translated.
    pub fn check_namespace(namespace: &Namespace) -> Result<()> {
        if is_reserved(namespace) {
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
