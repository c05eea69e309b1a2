//! Holds every object and the recent changes, in one order of revisions.
use super::chance::Chance;
use super::clock::Clock;
use super::kinds::Kind;
use super::stored::Stored;
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// How many changes a watch may lie behind before it must list again.
const HISTORY: usize = 10_000;
/// The first revision; above 1, which callers send to say that an object must not exist yet.
const FIRST_REVISION: u64 = 100;

/// Where an object lives; the namespace of cluster-wide kinds is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

impl Key {
    /// The key as etcd has it, which lists go by: `team-a/web` comes before `team/web`.
    fn written(&self) -> impl Iterator<Item = u8> {
        self.namespace.bytes().chain([b'/']).chain(self.name.bytes())
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.kind.cmp(&other.kind).then_with(|| self.written().cmp(other.written()))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// One write: what stood there and what stands there now.
pub struct Change {
    pub revision: u64,
    pub key: Key,
    pub before: Option<Arc<Stored>>,
    pub after: Option<Arc<Stored>>,
}

/// The objects of the whole sandbox.
pub struct Store {
    objects: BTreeMap<Key, Arc<Stored>>,
    history: VecDeque<Change>,
    /// The newest revision that history has lost.
    forgotten: u64,
    revision: u64,
    /// Wakes its receivers in the order in which they wait: a watch channel draws lots.
    news: broadcast::Sender<()>,
    addresses: u32,
    clock: Clock,
    pub chance: Chance,
}

/// What a store held at one moment, but for what was there before.
#[derive(Clone)]
pub struct Image {
    objects: BTreeMap<Key, Arc<Stored>>,
    revision: u64,
    addresses: u32,
}

impl Image {
    /// Every object.
    pub fn objects(&self) -> impl Iterator<Item = (&Key, &Arc<Stored>)> {
        self.objects.iter()
    }
}

/// Hears of new revisions.
pub struct News(broadcast::Receiver<()>);

impl News {
    /// Forgets what it has heard of so far.
    pub fn forget(&mut self) {
        while !matches!(self.0.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {}
    }

    /// Waits for the next revision; `false` once there will be none.
    pub async fn heard(&mut self) -> bool {
        !matches!(self.0.recv().await, Err(RecvError::Closed))
    }
}

/// Whether somebody has deleted it already.
pub fn is_terminating(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

impl Key {
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl Store {
    pub fn new(seed: u64, clock: Clock) -> Self {
        Self {
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            forgotten: FIRST_REVISION,
            revision: FIRST_REVISION,
            news: broadcast::Sender::new(1),
            addresses: 0,
            clock,
            chance: Chance::new(seed),
        }
    }

    /// A store that begins with what another one held; who watched that one lists again.
    pub fn of(image: Image, seed: u64, clock: Clock) -> Self {
        let Image { objects, revision, addresses } = image;
        Self { objects, revision, forgotten: revision, addresses, ..Self::new(seed, clock) }
    }

    /// What it holds now.
    pub fn image(&self) -> Image {
        Image { objects: self.objects.clone(), revision: self.revision, addresses: self.addresses }
    }

    /// The time as objects carry it.
    pub fn now(&self) -> String {
        self.clock.after(0)
    }

    /// The time in so many seconds.
    pub fn after(&self, seconds: i64) -> String {
        self.clock.after(seconds)
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Tells of every new revision.
    pub fn subscribe(&self) -> News {
        News(self.news.subscribe())
    }

    pub fn get(&self, key: &Key) -> Option<&Arc<Stored>> {
        self.objects.get(key)
    }

    /// Objects of a kind in order, of one namespace or of all (empty).
    pub fn list(&self, kind: Kind, namespace: &str) -> impl Iterator<Item = (&Key, &Arc<Stored>)> {
        let all = self.objects.range(Key::new(kind, namespace, "")..);
        all.take_while(move |(key, _)| {
            key.kind == kind && (namespace.is_empty() || key.namespace == namespace)
        })
    }

    /// All objects of a kind as they are now.
    pub fn all(&self, kind: Kind) -> Vec<(Key, Arc<Stored>)> {
        self.list(kind, "").map(|(key, object)| (key.clone(), object.clone())).collect()
    }

    /// Everything as it is now, so that it can be changed while it is looked at.
    pub fn snapshot(&self) -> Vec<(Key, Arc<Stored>)> {
        self.objects.iter().map(|(key, object)| (key.clone(), object.clone())).collect()
    }

    /// Writes an object under a new revision; a terminating one that nothing holds back any more goes.
    pub fn put(&mut self, key: &Key, mut object: Value) -> Arc<Stored> {
        let metadata = &mut object["metadata"];
        let held = metadata["finalizers"].as_array().is_some_and(|list| !list.is_empty());
        let gone =
            !metadata["deletionTimestamp"].is_null() && !held && metadata["deletionGracePeriodSeconds"] == 0;
        let revision = self.revision() + 1;
        metadata["resourceVersion"] = json!(revision.to_string());
        let object = Arc::new(Stored::new(object));
        let (before, after) = if gone {
            (self.objects.remove(key), None)
        } else {
            (self.objects.insert(key.clone(), object.clone()), Some(object.clone()))
        };
        self.history.push_back(Change { revision, key: key.clone(), before, after });
        if self.history.len() > HISTORY {
            self.forgotten = self.history.pop_front().map_or(revision, |oldest| oldest.revision);
        }
        self.revision = revision;
        // Nobody may be listening.
        let _ = self.news.send(());
        object
    }

    /// The changes after a revision, or the oldest revision that could still be asked for.
    pub fn since(&self, revision: u64) -> Result<impl Iterator<Item = &Change>, u64> {
        if revision < self.forgotten {
            return Err(self.forgotten);
        }
        Ok(self.history.range(self.history.partition_point(|change| change.revision <= revision)..))
    }

    /// The next address below a prefix of two numbers; it is never given out again.
    pub fn next_address(&mut self, prefix: &str) -> String {
        self.addresses += 1;
        // The first sixteen stay free as they do on a real server.
        let number = self.addresses + 16;
        format!("{prefix}.{}.{}", (number >> 8) & 255, number & 255)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_all_namespaces_are_ordered_as_etcd_orders_their_paths() {
        let mut store = Store::new(0, Clock::new(jiff::Timestamp::now));
        for namespace in ["team", "team0", "team-a"] {
            for name in ["a0", "a", "a-b"] {
                store.put(&Key::new(Kind::ConfigMap, namespace, name), json!({}));
            }
        }
        let paths = |namespace: &str| -> Vec<String> {
            let all = store.list(Kind::ConfigMap, namespace);
            all.map(|(key, _)| format!("{}/{}", key.namespace, key.name)).collect()
        };
        let all = paths("");
        assert!(all.len() == 9 && all.is_sorted(), "{all:?}");
        assert_eq!(paths("team"), ["team/a", "team/a-b", "team/a0"]);
    }

    #[test]
    fn history_reaches_back_so_far_and_no_further() {
        let mut store = Store::new(0, Clock::new(jiff::Timestamp::now));
        let (begin, key) = (store.revision(), Key::new(Kind::ConfigMap, "default", "a"));
        for _ in 0..HISTORY {
            store.put(&key, json!({}));
        }
        assert_eq!(store.since(begin).map(Iterator::count), Ok(HISTORY));
        store.put(
            &key,
            json!({ "metadata": { "deletionTimestamp": "now", "deletionGracePeriodSeconds": 0 } }),
        );
        assert_eq!(store.since(begin).map(Iterator::count), Err(begin + 1));
        let last: Vec<_> = store.since(store.revision() - 1).expect("the last change").collect();
        assert!(last.len() == 1 && last[0].after.is_none() && store.get(&key).is_none());
    }
}
