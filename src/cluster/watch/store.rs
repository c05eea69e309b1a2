//! What the watches of one namespace have shown, grouped by deployment.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, ReplicationController, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use kube::ResourceExt;
use kube::runtime::watcher;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;

use super::super::errors::Failure;
use super::super::head;
use super::Snapshot;
use crate::artifacts::{DeploymentName, FIELD_MANAGER, LABEL_INSTANCE};
use crate::error::Error;
use crate::record::Held;

/// The kinds that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WatchedKind {
    Pod,
    Controller,
    Deployment,
    Claim,
    Service,
    Head,
}

/// How many kinds are watched.
pub(super) const WATCHES: u32 = 6;
/// Every watched kind; a snapshot is whole when each has been listed.
const ALL: [WatchedKind; WATCHES as usize] = [
    WatchedKind::Pod,
    WatchedKind::Controller,
    WatchedKind::Deployment,
    WatchedKind::Claim,
    WatchedKind::Service,
    WatchedKind::Head,
];

/// One watched object.
#[derive(Clone, Debug)]
pub(super) enum Object {
    Pod(Arc<Pod>),
    Controller(Arc<ReplicationController>),
    Deployment(Arc<Deployment>),
    Claim(Arc<PersistentVolumeClaim>),
    Service(Arc<Service>),
    /// `None`: it cannot be read.
    Head(Option<Arc<Held>>),
}

/// One event of one kind's watch.
pub(super) enum Event {
    Begin(WatchedKind),
    Listed(WatchedKind, Entry),
    Complete(WatchedKind),
    Changed(WatchedKind, Entry),
    Deleted(WatchedKind, Entry),
}

/// An object with the keys it is filed under.
pub(super) struct Entry {
    instance: String,
    name: String,
    object: Object,
}

/// Which watch a type belongs to.
pub(super) fn kind_of<K: 'static>() -> WatchedKind {
    let id = TypeId::of::<K>();
    if id == TypeId::of::<Pod>() {
        WatchedKind::Pod
    } else if id == TypeId::of::<ReplicationController>() {
        WatchedKind::Controller
    } else if id == TypeId::of::<Deployment>() {
        WatchedKind::Deployment
    } else if id == TypeId::of::<PersistentVolumeClaim>() {
        WatchedKind::Claim
    } else if id == TypeId::of::<Service>() {
        WatchedKind::Service
    } else {
        WatchedKind::Head
    }
}

impl Event {
    /// Which watch it is of.
    fn kind(&self) -> WatchedKind {
        match self {
            Event::Begin(kind)
            | Event::Listed(kind, _)
            | Event::Complete(kind)
            | Event::Changed(kind, _)
            | Event::Deleted(kind, _) => *kind,
        }
    }

    /// Takes a watcher's event, less what is not needed to conclude a status.
    pub(super) fn from_watcher<K: kube::Resource>(
        kind: WatchedKind,
        event: watcher::Event<K>,
        wrap: fn(K) -> Object,
    ) -> Self {
        let entry = |mut object: K| {
            let metadata = object.meta_mut();
            // Whose object it is, without the fields.
            let entries = metadata.managed_fields.take().into_iter().flatten();
            metadata.managed_fields = Some(entries.filter_map(kept).collect());
            Entry {
                instance: object.labels().get(LABEL_INSTANCE).cloned().unwrap_or_default(),
                name: object.name_any(),
                object: wrap(object).trimmed(),
            }
        };
        match event {
            watcher::Event::Init => Event::Begin(kind),
            watcher::Event::InitApply(object) => Event::Listed(kind, entry(object)),
            watcher::Event::InitDone => Event::Complete(kind),
            watcher::Event::Apply(object) => Event::Changed(kind, entry(object)),
            watcher::Event::Delete(object) => Event::Deleted(kind, entry(object)),
        }
    }
}

/// What is kept of an entry: whose object it is, and that somebody asked for a pod's name as controllers do.
fn kept(entry: ManagedFieldsEntry) -> Option<ManagedFieldsEntry> {
    const CONTROLLERS: &str = "kube-controller-manager";
    const ASKED: &str = "/f:metadata/f:generateName";
    let fields = entry.fields_v1.as_ref();
    let is_asking = entry.manager.as_deref() != Some(CONTROLLERS)
        && fields.is_some_and(|fields| fields.0.pointer(ASKED).is_some());
    let asking = || FieldsV1(serde_json::json!({ "f:metadata": { "f:generateName": {} } }));
    let fields_v1 = is_asking.then(asking);
    (is_ours(&entry) || is_asking).then_some(ManagedFieldsEntry { fields_v1, ..entry })
}

/// Whether a deployment of ours has applied these fields.
fn is_ours(entry: &ManagedFieldsEntry) -> bool {
    let manager = entry.manager.as_deref().unwrap_or_default();
    entry.operation.as_deref() == Some("Apply") && manager.starts_with(FIELD_MANAGER)
}

impl Object {
    /// Reads a record once, for everybody who will ever look at it.
    pub(super) fn head(object: &ConfigMap) -> Self {
        let held = head::parse(object).and_then(|read| {
            read.inspect_err(|error| tracing::warn!(context = ?error.context(), "head skipped")).ok()
        });
        Object::Head(held.map(Arc::new))
    }

    /// Drops arguments and values of the environment: no status needs them.
    fn trimmed(self) -> Self {
        match self {
            Object::Pod(mut pod) => {
                if let Some(spec) = Arc::make_mut(&mut pod).spec.as_mut() {
                    for container in &mut spec.containers {
                        container.env = None;
                        container.args = None;
                    }
                }
                Object::Pod(pod)
            }
            Object::Controller(mut controller) => {
                if let Some(spec) = Arc::make_mut(&mut controller).spec.as_mut() {
                    // The labels of its pods say which revision it makes; their spec holds the values.
                    if let Some(template) = spec.template.as_mut() {
                        template.spec = None;
                    }
                }
                Object::Controller(controller)
            }
            Object::Deployment(mut deployment) => {
                if let Some(spec) = Arc::make_mut(&mut deployment).spec.as_mut() {
                    spec.template.spec = None;
                }
                Object::Deployment(deployment)
            }
            other @ (Object::Claim(_) | Object::Service(_) | Object::Head(_)) => other,
        }
    }
}

/// The objects of one deployment, with a version that grows at each change.
#[derive(Default)]
struct Group {
    version: u64,
    objects: BTreeMap<(WatchedKind, String), Object>,
    /// What its subscriptions were last shown; made for the first of them that asks.
    shown: Option<Arc<Snapshot>>,
}

impl Group {
    fn changed(&mut self, version: u64) {
        self.version = version;
        self.shown = None;
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for object in self.objects.values() {
            match object {
                Object::Pod(pod) => snapshot.observed.pods.push(Arc::clone(pod)),
                Object::Controller(controller) => snapshot.observed.controllers.push(Arc::clone(controller)),
                Object::Deployment(deployment) => snapshot.observed.deployments.push(Arc::clone(deployment)),
                Object::Claim(claim) => snapshot.observed.claims.push(Arc::clone(claim)),
                Object::Service(service) => snapshot.observed.services.push(Arc::clone(service)),
                Object::Head(held) => snapshot.head = held.clone().or(snapshot.head),
            }
        }
        snapshot
    }
}

/// Hears of the changes of one deployment, in the order in which those wait who hear of them: a watch channel draws lots.
pub(super) struct Changes(broadcast::Receiver<()>);

impl Changes {
    /// Forgets the changes so far.
    pub(super) fn forget(&mut self) {
        while !matches!(self.0.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {}
    }

    /// Waits for the next change; the store tells whether there will be another.
    pub(super) async fn heard(&mut self) {
        let _ = self.0.recv().await;
    }
}

/// Everything the watches of a namespace have shown.
#[derive(Default)]
pub(super) struct Store {
    groups: HashMap<String, Group>,
    listing: BTreeMap<WatchedKind, Vec<Entry>>,
    complete: BTreeSet<WatchedKind>,
    refused: BTreeMap<WatchedKind, Error>,
    clock: u64,
    /// Who waits for a change of a deployment: a change wakes nobody who follows another one.
    waiting: BTreeMap<String, broadcast::Sender<()>>,
    ended: bool,
}

impl Store {
    /// Files one event.
    pub(super) fn take(&mut self, event: Event) {
        self.refused.remove(&event.kind());
        match event {
            Event::Begin(kind) => {
                self.listing.insert(kind, Vec::new());
            }
            Event::Listed(kind, entry) => self.listing.entry(kind).or_default().push(entry),
            Event::Complete(kind) => self.replace(kind),
            Event::Changed(kind, entry) => self.put(kind, entry),
            Event::Deleted(kind, entry) => self.remove(kind, &entry.instance, &entry.name),
        }
    }

    /// Remembers a refusal that no retry mends; anything else is tried again by the watch itself.
    pub(super) fn fail(&mut self, kind: WatchedKind, failure: Failure) {
        if matches!(failure.code(), 401 | 403) {
            self.refused.insert(kind, failure.into_error("Watch", ""));
            self.wake_all();
        }
    }

    /// The refusal, if there was one.
    pub(super) fn refused(&self) -> Option<Error> {
        self.refused.values().next().cloned()
    }

    /// Whether every kind has been listed once.
    pub(super) fn is_complete(&self) -> bool {
        ALL.iter().all(|kind| self.complete.contains(kind))
    }

    /// The version of a deployment; 0 while nothing of it was ever seen.
    pub(super) fn version(&self, deployment: &DeploymentName) -> u64 {
        self.groups.get(deployment.as_str()).map_or(0, |group| group.version)
    }

    /// A deployment as it is now; the same snapshot until something of it changes.
    pub(super) fn snapshot(&mut self, deployment: &DeploymentName) -> Arc<Snapshot> {
        let Some(group) = self.groups.get_mut(deployment.as_str()) else { return Arc::default() };
        let snapshot = group.shown.take().unwrap_or_else(|| Arc::new(group.snapshot()));
        group.shown = Some(Arc::clone(&snapshot));
        snapshot
    }

    /// Tells of every change of a deployment from now on.
    pub(super) fn changes(&mut self, deployment: &DeploymentName) -> Changes {
        self.waiting.retain(|_, sender| sender.receiver_count() > 0);
        let name = deployment.as_str().to_owned();
        Changes(self.waiting.entry(name).or_insert_with(|| broadcast::Sender::new(1)).subscribe())
    }

    /// Notes that nothing will be filed any more.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.wake_all();
    }

    /// Whether nothing will be filed any more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    fn wake(&self, instance: &str) {
        if let Some(sender) = self.waiting.get(instance) {
            // Nobody may be waiting.
            let _ = sender.send(());
        }
    }

    fn wake_all(&self) {
        for sender in self.waiting.values() {
            let _ = sender.send(());
        }
    }

    fn put(&mut self, kind: WatchedKind, entry: Entry) {
        self.clock += 1;
        self.wake(&entry.instance);
        let group = self.groups.entry(entry.instance).or_default();
        group.changed(self.clock);
        group.objects.insert((kind, entry.name), entry.object);
    }

    fn remove(&mut self, kind: WatchedKind, instance: &str, name: &str) {
        self.clock += 1;
        self.wake(instance);
        if let Some(group) = self.groups.get_mut(instance) {
            group.changed(self.clock);
            group.objects.remove(&(kind, name.to_owned()));
            if group.objects.is_empty() {
                // A deployment without objects has version 0 again, so that names do not pile up.
                self.groups.remove(instance);
            }
        }
    }

    /// Puts a finished list in the place of everything known of its kind.
    fn replace(&mut self, kind: WatchedKind) {
        self.complete.insert(kind);
        let entries = self.listing.remove(&kind).unwrap_or_default();
        self.clock += 1;
        for group in self.groups.values_mut() {
            let before = group.objects.len();
            group.objects.retain(|(known, _), _| *known != kind);
            if group.objects.len() != before {
                group.changed(self.clock);
            }
        }
        for entry in entries {
            self.put(kind, entry);
        }
        self.groups.retain(|_, group| !group.objects.is_empty());
        self.wake_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(instance: &str, name: &str) -> Event {
        let object = Object::Pod(Arc::new(Pod::default()));
        let entry = Entry { instance: instance.to_owned(), name: name.to_owned(), object };
        Event::Changed(WatchedKind::Pod, entry)
    }

    fn deployment(name: &str) -> DeploymentName {
        DeploymentName::new(name).unwrap()
    }

    #[test]
    fn all_subscriptions_share_a_snapshot_until_something_changes() {
        let mut store = Store::default();
        store.take(pod("shop", "web"));
        let first = store.snapshot(&deployment("shop"));
        store.take(pod("blog", "web"));
        assert!(Arc::ptr_eq(&first, &store.snapshot(&deployment("shop"))), "another deployment changed");
        assert!(Arc::ptr_eq(&first.concluded::<String>(), &first.concluded::<String>()));
        store.take(pod("shop", "db"));
        let second = store.snapshot(&deployment("shop"));
        assert_eq!((first.observed.pods.len(), second.observed.pods.len()), (1, 2));
    }

    #[test]
    fn a_change_wakes_those_alone_who_follow_its_deployment() {
        let mut store = Store::default();
        let (shop, blog) = (store.changes(&deployment("shop")), store.changes(&deployment("blog")));
        store.take(pod("shop", "web"));
        assert_eq!((!shop.0.is_empty(), !blog.0.is_empty()), (true, false));
        store.take(Event::Begin(WatchedKind::Pod));
        store.take(Event::Complete(WatchedKind::Pod));
        assert!(!blog.0.is_empty(), "a list was completed");
    }

    #[test]
    fn those_who_are_gone_leave_nothing_behind() {
        let mut store = Store::default();
        drop(store.changes(&deployment("shop")));
        let _blog = store.changes(&deployment("blog"));
        assert_eq!(store.waiting.keys().collect::<Vec<_>>(), ["blog"]);
        store.end();
        assert!(store.has_ended());
    }
}
