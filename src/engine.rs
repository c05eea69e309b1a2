//! The engine: carries out what plans say, under a lock, and sees to what is left afterwards.

mod allowed;
mod awake;
mod beginning;
mod claims;
mod decide;
mod dependents;
mod deploy;
mod done;
mod ending;
mod keeper;
mod keeping;
mod leftovers;
mod lock;
mod look;
mod outlived;
mod patience;
mod refusals;
mod rehearsal;
mod removal;
mod requests;
mod scale;
mod sights;
mod stages;
mod teardown;
mod telling;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::artifacts::Namespace;
use crate::callers::{Acting, Tally};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Record, Transition};
use crate::template::validate::Limits;

use beginning::Beginning;
use sights::Sights;

pub use crate::cluster::{Heads, HeldBack, Scope, Snapshot, Subscription, Terminating};
pub use awake::wake;
pub use decide::Choices;
pub use deploy::{deploy, rollback};
pub use done::{Done, Outcome};
pub use keeping::{keep, kept};
pub use leftovers::{held_back, refused_deletes};
pub use look::{
    Page, happenings, list, look_at, look_at_all, must_read, read_revision, recent_happenings, revisions,
    subscribe, with_secrets,
};
pub use patience::{Sighting, overdue};
pub use rehearsal::plan_deploy;
pub use scale::{Choices as ScaleChoices, scale};
pub use teardown::{Choices as TeardownChoices, Teardown, teardown};

/// What the engine needs to know of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of requests that name none.
    pub namespace: Namespace,
    /// How long an operation holds a deployment without renewing.
    pub lease: Duration,
    /// How long a pod may be without a node or a volume before that is a failure.
    pub unschedulable_grace: Duration,
    /// Who this adapter is, for those who wait for it.
    pub holder: String,
    /// The namespaces whose deployments are kept; none: all of the cluster if its rights allow that, else the default
    /// namespace.
    pub keeps: Vec<Namespace>,
    /// What requests may ask for.
    pub requests: RequestLimits,
}

/// What a request may ask for; the defaults are those of the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// How long a call may take when its caller sets no deadline.
    pub default_deadline: Duration,
    /// How long a call may take at the most; streams have no limit.
    pub max_deadline: Duration,
    /// The most replicas of a component.
    pub max_replicas: u32,
}

impl Default for RequestLimits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { default_deadline: seconds(30), max_deadline: seconds(120), max_replicas: 100 }
    }
}

impl RequestLimits {
    /// What a template may ask for.
    pub fn of_templates(&self) -> Limits {
        Limits { count: self.max_replicas }
    }
}

/// What every operation is carried out with; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    cluster: Cluster,
    settings: Arc<Settings>,
    clock: Clock,
    sights: Arc<Sights>,
    patience: Arc<patience::Patience>,
    awake: Arc<awake::Awake>,
    telling: Arc<telling::Telling>,
    /// The tasks that see teardowns end, by the record's uid.
    endings: Tally<String>,
    /// The records that are gone of which something may arrive, by their uids and operations.
    outlived: Tally<(String, BTreeSet<String>)>,
    tasks: TaskTracker,
    /// The keeper's watch: operations follow their deployments by it, so it ends after the last of them.
    keeping: TaskTracker,
    shutdown: CancellationToken,
    /// On whose behalf operations are begun; the keeper acts for itself.
    acting: Acting,
    /// Who is written down for them.
    by: Option<Arc<str>>,
    /// Whether the work of the call that it carries out has begun to write.
    beginning: Beginning,
    /// What the cluster has last said of its version; `None`: it was not asked yet.
    version: Arc<watch::Sender<Option<Option<String>>>>,
}

impl Engine {
    /// Puts an engine together, with its keeper; inside a tokio runtime.
    pub fn new(cluster: Cluster, settings: Settings, clock: Clock, shutdown: CancellationToken) -> Self {
        let engine = Self {
            cluster,
            settings: Arc::new(settings),
            clock,
            sights: Arc::default(),
            patience: Arc::default(),
            awake: Arc::default(),
            telling: Arc::default(),
            endings: Tally::default(),
            outlived: Tally::default(),
            tasks: TaskTracker::new(),
            keeping: TaskTracker::new(),
            shutdown,
            acting: Acting::default(),
            by: None,
            beginning: Beginning::default(),
            version: Arc::new(watch::Sender::new(None)),
        };
        keeper::start(&engine);
        engine
    }

    /// The same engine, on behalf of somebody.
    pub fn acting_for(&self, acting: Acting) -> Self {
        let by = acting.name().map(Arc::from);
        Self { acting, by, ..self.clone() }
    }

    /// The same engine, to finish what a record says: whoever began it was asked then, and stays written down.
    fn finishing(&self, record: &Record) -> Self {
        let by = record.head.by().map(Arc::from);
        // That its work goes on is no promise about the call that meets it.
        Self { acting: Acting::default(), by, beginning: Beginning::default(), ..self.clone() }
    }

    /// On whose behalf operations are begun.
    pub fn acting(&self) -> &Acting {
        &self.acting
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// How long this process has not seen the record's operation renewed.
    fn unrenewed_for(&self, record: &Record) -> Duration {
        self.sights.unrenewed_for(record, self.clock.elapsed())
    }

    /// Changes a record beside the operations; the record as it was, if an operation came first: that sees for itself.
    async fn amend(&self, record: &Record, transition: &Transition) -> Result<Record> {
        match self.cluster.change(record, transition).await {
            Err(error) if error.kind() == ErrorKind::OperationInProgress => Ok(record.clone()),
            other => other,
        }
    }

    /// Refuses to begin what nobody waits for any more; asked before the first write of every operation.
    fn begins_in_time(&self, deadline: Instant) -> Result<()> {
        self.is_in_time(deadline)?;
        if self.beginning.begin() { Ok(()) } else { Err(left_in_time()) }
    }

    /// Refuses to go on with what nobody waits for any more, before anything is written.
    fn is_in_time(&self, deadline: Instant) -> Result<()> {
        if self.clock.elapsed() < deadline { Ok(()) } else { Err(left_in_time()) }
    }

    /// A random id for an operation.
    fn operation_id(&self) -> String {
        self.cluster.random_id()
    }

    /// Asks the cluster for its version.
    pub async fn cluster_version(&self) -> Result<String> {
        let version = self.cluster.version().await;
        self.version.send_replace(Some(version.as_ref().ok().cloned()));
        version
    }

    /// The version that the cluster has last told, without asking it; waits for the first time that it is asked. `None`:
    /// it did not answer.
    pub async fn known_version(&self) -> Option<String> {
        let mut version = self.version.subscribe();
        let known = version.wait_for(Option::is_some).await.ok()?.clone().flatten();
        known.filter(|_| self.is_cluster_reachable())
    }

    /// Whether the cluster answered when it was last asked.
    pub fn is_cluster_reachable(&self) -> bool {
        self.cluster.metrics().is_reachable()
    }

    /// Waits until every running operation has ended.
    pub async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.keeping.close();
        self.keeping.wait().await;
    }

    /// Resolves when the server is shutting down.
    pub async fn shutting_down(&self) {
        self.shutdown.cancelled().await;
    }

    /// Runs an operation in a task of its own: a caller that leaves, or the deadline, ends the waiting and never the
    /// work that has begun to write.
    async fn detached<T, F>(&self, deadline: Instant, work: impl FnOnce(Self) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        if self.shutdown.is_cancelled() {
            return Err(Error::new(ErrorKind::ShuttingDown, "the adapter is shutting down; try again")
                .retry_after(Duration::from_secs(1)));
        }
        // What the caller has open is open, and its end is told, for as long as the work goes on.
        let told = self.acting.task();
        // An operation's future is large, and spawning moves what it is given from hand to hand.
        let beginning = Beginning::default();
        let work = Box::pin(work(Self { beginning: beginning.clone(), ..self.clone() }));
        let work = async move {
            let result = work.await;
            told.ended(&result);
            result
        };
        let task = self.tasks.spawn(work.in_current_span());
        match tokio::time::timeout_at(deadline, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(failure)) => Err(ended_early("operation", &failure)),
            Err(_) if beginning.leave() => Err(left_in_time()),
            Err(_) => {
                let text = match beginning.is_promised() {
                    true => "the deadline passed before the work was done; the work goes on",
                    false => {
                        "the deadline passed before the cluster has answered the first write; whether the work has \
                         begun, the deployment shows"
                    }
                };
                Err(Error::new(ErrorKind::ClusterTimeout, text).with("applied", "unknown"))
            }
        }
    }
}

/// The failure of a call that nobody waits for any more, and that has changed nothing.
fn left_in_time() -> Error {
    let text = "the deadline passed before anything was written; nothing is changed, try again";
    Error::new(ErrorKind::ClusterTimeout, text).with("applied", "false")
}

/// The failure of a task that has ended early. What a panic says is not told: it may quote what the task worked on.
fn ended_early(task: &str, failure: &JoinError) -> Error {
    let how = if failure.is_panic() { "it panicked" } else { "it was cancelled" };
    Error::internal(format!("the {task}'s task ended early: {how}"))
}
