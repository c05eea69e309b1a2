//! Holds every object and the recent changes, in one order of revisions.
use super::kinds::Kind;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::watch;

/// How many changes a watch may lie behind before it must list again.
const HISTORY: usize = 10_000;
/// The first revision; above 1, which callers send to say that an object must not exist yet.
const FIRST_REVISION: u64 = 100;

/// Where an object lives: plural, namespace (empty for cluster-wide kinds), name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub plural: &'static str,
    pub namespace: String,
    pub name: String,
}

/// One write: what stood there and what stands there now; a deletion keeps the last state in `before`.
pub struct Change {
    pub revision: u64,
    pub key: Key,
    pub before: Option<Arc<Value>>,
    pub after: Option<Arc<Value>>,
}

/// The objects of the whole sandbox.
pub struct Store {
    objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<Change>,
    /// The newest revision that history has lost.
    forgotten: u64,
    revision: watch::Sender<u64>,
    addresses: u32,
}

impl Key {
    pub fn new(kind: &Kind, namespace: &str, name: &str) -> Self {
        let namespace = if kind.namespaced { namespace } else { "" };
        Self { plural: kind.plural, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub fn namespace(name: &str) -> Self {
        Self { plural: "namespaces", namespace: String::new(), name: name.to_owned() }
    }
}

impl Store {
    pub fn new() -> Self {
        Self {
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            forgotten: FIRST_REVISION,
            revision: watch::Sender::new(FIRST_REVISION),
            addresses: 0,
        }
    }

    pub fn revision(&self) -> u64 {
        *self.revision.borrow()
    }

    /// Tells of every new revision.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    pub fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// Objects of a kind in order, of one namespace or of all (empty).
    pub fn list<'a>(
        &'a self,
        kind: &Kind,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> {
        let plural = kind.plural;
        let from = Key { plural, namespace: namespace.to_owned(), name: String::new() };
        self.objects.range(from..).take_while(move |(key, _)| {
            key.plural == plural && (namespace.is_empty() || key.namespace == namespace)
        })
    }

    pub fn all(&self) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.objects.iter()
    }

    /// Writes an object under a new revision.
    pub fn put(&mut self, key: Key, mut object: Value) -> Arc<Value> {
        let revision = self.revision() + 1;
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
        let object = Arc::new(object);
        let before = self.objects.insert(key.clone(), object.clone());
        self.record(Change { revision, key, before, after: Some(object.clone()) });
        object
    }

    /// Takes an object away; watches see its last state under the revision of the deletion.
    pub fn remove(&mut self, key: &Key) {
        let Some(last) = self.objects.remove(key) else {
            return;
        };
        let revision = self.revision() + 1;
        let mut last = (*last).clone();
        last["metadata"]["resourceVersion"] = json!(revision.to_string());
        self.record(Change { revision, key: key.clone(), before: Some(Arc::new(last)), after: None });
    }

    /// The changes after a revision, or the oldest revision that could still be asked for.
    pub fn since(&self, revision: u64) -> Result<impl Iterator<Item = &Change>, u64> {
        if revision < self.forgotten {
            return Err(self.forgotten);
        }
        Ok(self.history.range(self.history.partition_point(|change| change.revision <= revision)..))
    }

    /// The number of the next address to give out; numbers are never used again.
    pub fn next_address(&mut self) -> u32 {
        self.addresses += 1;
        self.addresses
    }

    fn record(&mut self, change: Change) {
        let revision = change.revision;
        self.history.push_back(change);
        if self.history.len() > HISTORY
            && let Some(oldest) = self.history.pop_front()
        {
            self.forgotten = oldest.revision;
        }
        self.revision.send_replace(revision);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_reaches_back_so_far_and_no_further() {
        let mut store = Store::new();
        let begin = store.revision();
        for _ in 0..HISTORY {
            store.put(Key::namespace("a"), json!({}));
        }
        assert_eq!(store.since(begin).map(Iterator::count), Ok(HISTORY));
        store.remove(&Key::namespace("a"));
        assert_eq!(store.since(begin).map(Iterator::count), Err(begin + 1));
        let last = store
            .since(store.revision() - 1)
            .map(|changes| changes.map(|change| change.after.is_none()).collect());
        assert_eq!(last, Ok(vec![true]));
    }
}
