//! What the watches of one namespace have shown, grouped by deployment.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::time::Instant;

use super::super::errors::Failure;
use super::Snapshot;
use super::event::{ALL, Entry, Event, Object, WatchedKind};
use super::sight::Sight;
use crate::artifacts::DeploymentName;
use crate::error::Error;
use crate::record::{Record, head_name};

/// The objects of one deployment, with a version that grows at each change.
#[derive(Default)]
struct Group {
    version: u64,
    changed: Option<Instant>,
    objects: BTreeMap<(WatchedKind, String), Object>,
    /// What its subscriptions were last shown; made for the first of them that asks.
    shown: Option<Arc<Snapshot>>,
}

impl Group {
    fn changed(&mut self, version: u64) {
        self.version = version;
        self.changed = Some(Instant::now());
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
                Object::Head(record) => snapshot.head = Some(Arc::clone(record)),
                Object::Unreadable(unreadable) => snapshot.unreadable = Some(Arc::clone(unreadable)),
                Object::Foreign => {}
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
    /// The deployments whose records are being read: until then there is nothing to show of them.
    awaited: BTreeSet<String>,
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
            Event::Changed(_, entry) | Event::Deleted(_, entry) if self.is_late(&entry) => {}
            // Whoever begins to follow has read it: that is news to nobody else.
            Event::Changed(_, entry) if self.is_filed(&entry) => {}
            Event::Changed(kind, entry) => self.put(kind, entry),
            Event::Deleted(kind, entry) => self.remove(kind, &entry.instance, &entry.name),
        }
    }

    /// Files what the keeper's watch shows of a record.
    pub(super) fn take_sight(&mut self, sight: &Sight) {
        const HEAD: WatchedKind = WatchedKind::Head;
        let entry = |record: &Arc<Record>| Entry::of_head(&record.target(), Object::Head(Arc::clone(record)));
        self.take(match sight {
            Sight::Begin => Event::Begin(HEAD),
            Sight::Listed(record) => Event::Listed(HEAD, entry(record)),
            Sight::Complete => Event::Complete(HEAD),
            Sight::Now(record) => Event::Changed(HEAD, entry(record)),
            Sight::Gone(record) => Event::Deleted(HEAD, entry(record)),
            Sight::Unreadable(one) => {
                let entry = Entry::of_head(&one.target, Object::Unreadable(Arc::clone(one)));
                match self.listing.contains_key(&HEAD) {
                    true => Event::Listed(HEAD, entry),
                    false => Event::Changed(HEAD, entry),
                }
            }
            Sight::Lost(target) => Event::Deleted(HEAD, Entry::of_head(target, Object::Foreign)),
        });
    }

    /// Notes that all records were filed that there are.
    pub(super) fn complete_heads(&mut self) {
        self.refused.remove(&WatchedKind::Head);
        self.complete.insert(WatchedKind::Head);
        self.wake_all();
    }

    /// Files a record that was read or written, unless a newer form of it is filed.
    pub(super) fn file_head(&mut self, record: &Record) {
        let record = Arc::new(record.clone());
        self.take_sight(&Sight::Now(record));
    }

    /// Whether the record of a deployment is filed.
    pub(super) fn has_head(&self, deployment: &DeploymentName) -> bool {
        self.head(deployment.as_str(), &head_name(deployment)).is_some()
    }

    /// Shows nothing of a deployment until its record is filed; `false` if it is awaited already.
    pub(super) fn await_head(&mut self, deployment: &DeploymentName) -> bool {
        self.awaited.insert(deployment.to_string())
    }

    /// Whether the record of a deployment is being read.
    pub(super) fn awaits_head(&self, deployment: &DeploymentName) -> bool {
        self.awaited.contains(deployment.as_str())
    }

    /// Ends the wait for a record that is not there.
    pub(super) fn without_head(&mut self, deployment: &DeploymentName) {
        self.awaited.remove(deployment.as_str());
        self.wake(deployment.as_str());
    }

    /// When a deployment has changed last.
    pub(super) fn changed_at(&self, deployment: &DeploymentName) -> Option<Instant> {
        self.groups.get(deployment.as_str())?.changed
    }

    /// Remembers that the records may not be watched.
    pub(super) fn refuse_heads(&mut self, refusal: &Error) {
        self.refused.insert(WatchedKind::Head, refusal.clone());
        self.wake_all();
    }

    /// The filed form of a record.
    fn head(&self, instance: &str, name: &str) -> Option<&Object> {
        let key = (WatchedKind::Head, name.to_owned());
        self.groups.get(instance).and_then(|group| group.objects.get(&key))
    }

    /// Whether a newer form of this record is filed: it was read or written before the watch showed it.
    fn is_late(&self, entry: &Entry) -> bool {
        let Some(version) = entry.version() else { return false };
        match self.head(&entry.instance, &entry.name) {
            Some(Object::Head(filed)) => version.is_before(&filed.version),
            _ => false,
        }
    }

    /// Whether this very form of this record is filed.
    fn is_filed(&self, entry: &Entry) -> bool {
        match self.head(&entry.instance, &entry.name) {
            Some(Object::Head(filed)) => entry.version() == Some(&filed.version),
            _ => false,
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
        if kind == WatchedKind::Head {
            self.awaited.remove(&entry.instance);
        }
        self.wake(&entry.instance);
        let group = self.groups.entry(entry.instance).or_default();
        group.changed(self.clock);
        group.objects.insert((kind, entry.name), entry.object);
    }

    fn remove(&mut self, kind: WatchedKind, instance: &str, name: &str) {
        self.clock += 1;
        if kind == WatchedKind::Head {
            self.awaited.remove(instance);
        }
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
        if kind == WatchedKind::Head {
            self.awaited.clear();
        }
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
    use k8s_openapi::api::core::v1::Pod;

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
