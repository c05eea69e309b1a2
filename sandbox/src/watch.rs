//! Streams changes: one JSON line each, from any revision that the history still holds.
use super::Shared;
use super::failure::Failure;
use super::kinds::Kind;
use super::selection::Selection;
use super::store::{Change, Store};
use super::stored::Stored;
use futures::{Stream, stream};
use serde_json::{Value, json};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};

/// How long a watch lasts that names no end; the real server picks 30 to 60 minutes.
const LONGEST: u64 = 3_600;

/// What a watch asks for.
pub struct Watch {
    pub kind: Kind,
    pub namespace: String,
    pub selection: Selection,
    /// Where to go on; None begins with all objects as they are.
    pub from: Option<u64>,
    pub timeout: Option<u64>,
    pub show: fn(&Stored) -> String,
}

impl Watch {
    /// The lines, until the time is over, the sandbox ends or the history is lost (an ERROR, then the end).
    pub fn lines(self, shared: Arc<Shared>) -> impl Stream<Item = Result<String, Infallible>> {
        let end = Instant::now() + Duration::from_secs(self.timeout.unwrap_or(LONGEST).min(LONGEST));
        let news = shared.store().subscribe();
        let position = self.from;
        stream::unfold(Some((self, shared, news, position)), move |state| async move {
            let (watch, shared, mut news, mut position) = state?;
            loop {
                news.forget();
                let lines = watch.advance(&shared.store(), &mut position);
                match lines {
                    Ok(lines) if lines.is_empty() => {}
                    Ok(lines) => return Some((Ok(lines), Some((watch, shared, news, position)))),
                    Err(failure) => return Some((Ok(line("ERROR", &failure.status().to_string())), None)),
                }
                tokio::select! {
                    biased;
                    () = shared.stop.cancelled() => return None,
                    () = sleep_until(end) => return None,
                    more = news.heard() => if !more { return None },
                }
            }
        })
    }

    /// The lines since a position, which moves on to the present.
    fn advance(&self, store: &Store, position: &mut Option<u64>) -> Result<String, Failure> {
        let Some(since) = position.replace(store.revision()) else {
            let all =
                store.list(self.kind, &self.namespace).filter(|(_, object)| self.selection.matches(object));
            return Ok(all.map(|(_, object)| line("ADDED", &(self.show)(object))).collect());
        };
        // A revision that is still to come is waited for.
        *position = Some(since.max(store.revision()));
        let expired =
            |oldest| Failure::new(410, "Expired", format!("too old resource version: {since} ({oldest})"));
        Ok(store.since(since).map_err(expired)?.filter_map(|change| self.event(change)).collect())
    }

    /// A change as this watch sees it: an object that leaves the selection is deleted for it.
    fn event(&self, change: &Change) -> Option<String> {
        let here = self.namespace.is_empty() || change.key.namespace == self.namespace;
        if change.key.kind != self.kind || !here {
            return None;
        }
        let selected = |object: &&Arc<Stored>| self.selection.matches(object);
        let (name, object) =
            match (change.before.as_ref().filter(selected), change.after.as_ref().filter(selected)) {
                (None, Some(object)) => ("ADDED", object),
                (Some(_), Some(object)) => ("MODIFIED", object),
                (Some(object), None) => ("DELETED", object),
                (None, None) => return None,
            };
        let revision = change.revision.to_string();
        if object["metadata"]["resourceVersion"].as_str() == Some(revision.as_str()) {
            return Some(line(name, &(self.show)(object)));
        }
        // A delete has a revision of its own.
        let mut object = Value::clone(object);
        object["metadata"]["resourceVersion"] = json!(revision);
        Some(line(name, &(self.show)(&Stored::new(object))))
    }
}

fn line(name: &str, object: &str) -> String {
    format!("{{\"type\":\"{name}\",\"object\":{object}}}\n")
}
