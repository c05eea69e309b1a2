//! Streams changes: one JSON line each, from any revision that the history still holds.
use super::Shared;
use super::failure::Failure;
use super::kinds::Kind;
use super::selection::Selection;
use super::store::{Change, Store};
use futures::{Stream, stream};
use serde_json::{Value, json};
use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};

/// How often a quiet watch is told how far it has come.
const BOOKMARK_EVERY: Duration = Duration::from_secs(30);
/// How long a watch lasts that names no end; the real server picks 30 to 60 minutes.
const LONGEST: u64 = 3_600;

/// What a watch asks for.
pub struct Watch {
    pub kind: &'static Kind,
    pub namespace: String,
    pub selection: Selection,
    /// Where to go on; None begins with all objects as they are.
    pub from: Option<u64>,
    pub bookmarks: bool,
    /// Whether a bookmark ends the objects that a watch begins with.
    pub initial_end: bool,
    pub timeout: Option<u64>,
    pub show: fn(&Kind, &Value) -> Value,
}

impl Watch {
    /// The lines, until the time is over, the sandbox ends or the history is lost (an ERROR, then the end).
    pub fn lines(self, shared: Arc<Shared>) -> impl Stream<Item = Result<String, Infallible>> {
        let (position, first, news) = {
            let store = shared.store();
            let now = store.revision();
            let first = if self.from.is_none() { self.current(&store) } else { VecDeque::new() };
            (self.from.unwrap_or(now), first, store.subscribe())
        };
        let end = Instant::now() + Duration::from_secs(self.timeout.unwrap_or(LONGEST).min(LONGEST));
        let state = (self, shared, news, position, first);
        stream::unfold(Some(state), move |state| async move {
            let (watch, shared, mut news, mut position, mut ready) = state?;
            loop {
                if let Some(line) = ready.pop_front() {
                    return Some((Ok(line), Some((watch, shared, news, position, ready))));
                }
                let bookmark = Instant::now() + BOOKMARK_EVERY;
                news.borrow_and_update();
                match watch.advance(&shared.store(), &mut position) {
                    Ok(lines) => ready = lines,
                    Err(failure) => return Some((Ok(line("ERROR", &failure.status())), None)),
                }
                if !ready.is_empty() {
                    continue;
                }
                tokio::select! {
                    () = shared.stop.cancelled() => return None,
                    () = sleep_until(end) => return None,
                    () = sleep_until(bookmark), if watch.bookmarks => ready.push_back(watch.bookmark(position, false)),
                    changed = news.changed() => changed.ok()?,
                }
            }
        })
    }

    fn current(&self, store: &Store) -> VecDeque<String> {
        let objects =
            store.list(self.kind, &self.namespace).filter(|(_, object)| self.selection.matches(object));
        let mut lines: VecDeque<_> =
            objects.map(|(_, object)| line("ADDED", &(self.show)(self.kind, object))).collect();
        if self.initial_end {
            lines.push_back(self.bookmark(store.revision(), true));
        }
        lines
    }

    fn advance(&self, store: &Store, position: &mut u64) -> Result<VecDeque<String>, Failure> {
        let changes = store.since(*position).map_err(|oldest| Failure::expired(*position, oldest))?;
        let lines = changes.filter_map(|change| self.event(change)).collect();
        *position = store.revision().max(*position);
        Ok(lines)
    }

    /// A change as this watch sees it: an object that leaves the selection is deleted for it.
    fn event(&self, change: &Change) -> Option<String> {
        let elsewhere = !self.namespace.is_empty() && change.key.namespace != self.namespace;
        if change.key.plural != self.kind.plural || elsewhere {
            return None;
        }
        let selected = |object: &&Arc<Value>| self.selection.matches(object);
        let (before, after) =
            (change.before.as_ref().filter(selected), change.after.as_ref().filter(selected));
        let (name, object) = match (before, after) {
            (None, Some(object)) => ("ADDED", object),
            (Some(_), Some(object)) => ("MODIFIED", object),
            (Some(object), None) => ("DELETED", object),
            (None, None) => return None,
        };
        let mut object = (self.show)(self.kind, object);
        object["metadata"]["resourceVersion"] = json!(change.revision.to_string());
        Some(line(name, &object))
    }

    fn bookmark(&self, revision: u64, initial_end: bool) -> String {
        let mut object = json!({ "metadata": { "resourceVersion": revision.to_string() } });
        if initial_end {
            object["metadata"]["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        line("BOOKMARK", &(self.show)(self.kind, &object))
    }
}

fn line(name: &str, object: &Value) -> String {
    format!("{}\n", json!({ "type": name, "object": object }))
}
