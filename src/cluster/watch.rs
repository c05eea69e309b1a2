//! Watches deployments: one set of watches per namespace, shared by every caller.

mod event;
mod kept;
mod sight;
mod store;

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{BoxStream, select_all};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, ReplicationController, Service};
use kube::api::Api;
use kube::runtime::utils::{Backoff, ResetTimerBackoff};
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, info_span};

use super::Cluster;
use super::errors::Failure;
use super::road::{WATCH_SECONDS, WatchClient};
use crate::artifacts::{
    DeploymentName, LABEL_MANAGED_BY, LABEL_RECORD, MANAGED_BY, Namespace, Observed, Target,
};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::Metrics;
use crate::record::{Record, Unreadable};

use event::{Event, MEMBER_WATCHES, Object, WatchedKind, kind_of};
pub(super) use kept::Kept;
pub use sight::{Scope, Sight};
use store::{Changes, Store};

/// The first pause before a broken watch is opened again; it doubles to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(800);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long without a failure makes the next pause the first again.
const CALM: Duration = Duration::from_secs(120);
/// How many events are filed before the subscriptions look.
const BURST: usize = 256;

/// One deployment at one moment, as the watches last showed it; all its subscriptions share it.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Its head; `None` once there is none.
    pub head: Option<Arc<Record>>,
    /// Why its head cannot be read.
    unreadable: Option<Arc<Unreadable>>,
    /// Its members.
    pub observed: Observed,
    /// What the rooms above concluded from it.
    concluded: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Snapshot {
    /// What somebody concludes from this snapshot: the first who asks does it for all others.
    pub fn concluded<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let concluded = self.concluded.get_or_init(|| Arc::new(T::default()));
        // Who concludes something else does so alone.
        Arc::clone(concluded).downcast().unwrap_or_default()
    }
}

/// The watches that run, by namespace; each ends with its last subscription.
#[derive(Default)]
pub(super) struct Watches {
    running: Mutex<HashMap<Namespace, Weak<NamespaceWatch>>>,
    /// What the keeper's watches show of the records.
    pub(super) kept: Kept,
    pub(super) tasks: TaskTracker,
}

/// The watches of one namespace.
struct NamespaceWatch {
    store: Arc<Mutex<Store>>,
    /// Whether the keeper's watch shows the records.
    is_fed: bool,
    _running: DropGuard,
    _road: WatchClient,
}

/// A view of one deployment that follows the cluster.
pub struct Subscription {
    watch: Arc<NamespaceWatch>,
    changes: Changes,
    deployment: DeploymentName,
    seen: Option<u64>,
    metrics: Metrics,
}

impl Subscription {
    /// The deployment as it is now, once the watches have seen everything; then, at each call, as soon as
    /// something of it has changed. `None` at the deadline.
    ///
    /// Fails when the cluster refuses the watches, and while the record cannot be read.
    pub async fn next(&mut self, deadline: Instant) -> Result<Option<Arc<Snapshot>>> {
        loop {
            self.changes.forget();
            if let Some(snapshot) = self.changed()? {
                return Ok(Some(snapshot));
            }
            if tokio::time::timeout_at(deadline, self.changes.heard()).await.is_err() {
                return Ok(None);
            }
        }
    }

    /// Makes the next call return at once, whatever was returned before.
    pub fn replay(&mut self) {
        self.seen = None;
    }

    /// The snapshot, if it differs from the last one returned.
    fn changed(&mut self) -> Result<Option<Arc<Snapshot>>> {
        let mut store = open(&self.watch.store);
        if let Some(error) = store.refused() {
            return Err(error);
        }
        if store.has_ended() {
            return Err(Error::internal("the watch task ended"));
        }
        if !store.is_complete() || store.awaits_head(&self.deployment) {
            return Ok(None);
        }
        let version = store.version(&self.deployment);
        if self.seen == Some(version) {
            return Ok(None);
        }
        // The first look, and one that is repeated, wait for no change.
        if self.seen.is_some()
            && let Some(changed) = store.changed_at(&self.deployment)
        {
            self.metrics.watch_lag(changed.elapsed());
        }
        self.seen = Some(version);
        let snapshot = store.snapshot(&self.deployment);
        match &snapshot.unreadable {
            Some(unreadable) => Err(unreadable.why.clone()),
            None => Ok(Some(snapshot)),
        }
    }
}

impl Cluster {
    /// Starts to follow a deployment; shares the namespace's watches with every other subscription.
    ///
    /// `read` is its record as the caller has just read or written it: then it need not be read again where the keeper's
    /// watch shows it.
    pub fn subscribe(&self, target: &Target, read: Option<&Record>) -> Subscription {
        let namespace = &target.namespace;
        let mut running = self.watches.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, watch| watch.strong_count() > 0);
        let shared = running.get(namespace).and_then(Weak::upgrade);
        let watch = shared.unwrap_or_else(|| {
            let watch = Arc::new(self.start_watch(namespace));
            running.insert(namespace.clone(), Arc::downgrade(&watch));
            watch
        });
        drop(running);
        let changes = open(&watch.store).changes(&target.name);
        if watch.is_fed && self.watches.kept.show(target, read, &watch.store) {
            let reading = self.clone().file_head(target.clone(), Arc::downgrade(&watch));
            self.watches.tasks.spawn(reading.in_current_span());
        }
        Subscription {
            changes,
            watch,
            deployment: target.name.clone(),
            seen: None,
            metrics: self.metrics.clone(),
        }
    }

    /// Reads the record of a deployment at rest, of which the keeper's watch has kept nothing, for those who follow it.
    async fn file_head(self, target: Target, watch: Weak<NamespaceWatch>) {
        let mut pauses = self.watch_pauses();
        loop {
            let read = self.read_head(&target.namespace, &target.name).await;
            let Some(watch) = watch.upgrade() else { return };
            match read {
                Ok(Some(record)) => return open(&watch.store).file_head(&record),
                Ok(None) => return open(&watch.store).without_head(&target.name),
                // The watch shows it once it can be read.
                Err(why) if why.kind() == ErrorKind::RecordUnreadable => {
                    let (uid, created) = (String::new(), None);
                    let unreadable = Unreadable { target, uid, created, why };
                    return open(&watch.store).take_sight(&Sight::Unreadable(Arc::new(unreadable)));
                }
                Err(error) => debug!(context = ?error.context(), "cannot read the record, trying again"),
            }
            drop(watch);
            tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
        }
    }

    /// The pauses before a broken watch is opened again.
    pub(super) fn watch_pauses(&self) -> Pauses {
        let pauses = self.chance.backoff(FIRST_PAUSE, LONGEST_PAUSE);
        Pauses(ResetTimerBackoff::new(watcher::ExponentialBackoff::from(pauses), CALM))
    }

    fn start_watch(&self, namespace: &Namespace) -> NamespaceWatch {
        let store = Arc::new(Mutex::new(Store::default()));
        let stop = CancellationToken::new();
        let is_fed = self.watches.kept.feed(namespace, &store);
        let road = self.road.watches(MEMBER_WATCHES + u32::from(!is_fed));
        let by = &road.client;
        let mut events = select_all([
            events_of(by, self.watch_pauses(), namespace, "", |pod: Pod| Object::Pod(Arc::new(pod))),
            events_of(by, self.watch_pauses(), namespace, "", |rc: ReplicationController| {
                Object::Controller(Arc::new(rc))
            }),
            events_of(by, self.watch_pauses(), namespace, "", |one: Deployment| {
                Object::Deployment(Arc::new(one))
            }),
            events_of(by, self.watch_pauses(), namespace, "", |claim: PersistentVolumeClaim| {
                Object::Claim(Arc::new(claim))
            }),
            events_of(by, self.watch_pauses(), namespace, "", |service: Service| {
                Object::Service(Arc::new(service))
            }),
        ]);
        if !is_fed {
            let records = ",panamax.io/record=head";
            events.push(events_of(by, self.watch_pauses(), namespace, records, |head: ConfigMap| {
                Object::head(&head)
            }));
        }
        let task = follow(events, Filing(Arc::clone(&store)), stop.clone());
        let span = info_span!("watch", %namespace);
        self.watches.tasks.spawn(task.instrument(span));
        NamespaceWatch { store, is_fed, _running: stop.drop_guard(), _road: road }
    }
}

/// The pauses of one watch, which grow until it has been calm for a while. Each try begins well, as it says that it lists
/// what there is: that alone is no calm.
pub(super) struct Pauses(ResetTimerBackoff<watcher::ExponentialBackoff>);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next()
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {}
}

/// The events of one kind; broken watches are opened again with a growing pause.
fn events_of<K>(
    client: &kube::Client,
    pauses: Pauses,
    namespace: &Namespace,
    more_labels: &str,
    wrap: fn(K) -> Object,
) -> BoxStream<'static, Result<Event, (WatchedKind, Failure)>>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static,
{
    debug_assert!(more_labels.is_empty() || more_labels.contains(LABEL_RECORD));
    let api: Api<K> = Api::namespaced(client.clone(), namespace.as_str());
    let labels = format!("{LABEL_MANAGED_BY}={MANAGED_BY}{more_labels}");
    let config = watcher::Config::default().labels(&labels).timeout(WATCH_SECONDS);
    let kind = kind_of::<K>();
    watcher(api, config)
        .backoff(pauses)
        .map(move |event| match event {
            Ok(event) => Ok(Event::from_watcher(kind, event, wrap)),
            Err(error) => Err((kind, watch_failure(error))),
        })
        .boxed()
}

/// The API's answer inside a watcher's error.
pub(super) fn watch_failure(error: watcher::Error) -> Failure {
    let purpose = "watch the deployment";
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => Failure::new(purpose, None, error),
        watcher::Error::WatchError(status) => Failure::new(purpose, None, kube::Error::Api(status)),
        other => Failure::broken(purpose, &other.to_string()),
    }
}

/// A store that is written; when nobody writes it any more, its subscriptions hear of it.
struct Filing(Arc<Mutex<Store>>);

impl Drop for Filing {
    fn drop(&mut self) {
        open(&self.0).end();
    }
}

fn open(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts events into the store, until the last subscription leaves.
async fn follow(
    events: impl futures::Stream<Item = Result<Event, (WatchedKind, Failure)>> + Unpin,
    filing: Filing,
    stop: CancellationToken,
) {
    // A burst of events becomes one wake-up of those who follow their deployment.
    let mut bursts = events.ready_chunks(BURST);
    loop {
        let burst = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            burst = bursts.next() => burst,
        };
        let Some(burst) = burst else { return };
        let mut store = open(&filing.0);
        for event in burst {
            match event {
                Ok(event) => store.take(event),
                Err((kind, failure)) => {
                    debug!(?kind, failure = failure.summary(), "watch broken");
                    store.fail(kind, failure);
                }
            }
        }
    }
}
