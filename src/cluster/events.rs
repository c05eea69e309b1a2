//! Events of Kubernetes: tells what became of an operation on the record of its deployment, and reads what happened.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, ListParams, PostParams};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tracing::Instrument;

use super::Cluster;
use super::answers;
use crate::artifacts::{Happening, MANAGED_BY, Namespace, Subject};
use crate::error::{Error, ErrorKind, Result};
use crate::record::Record;

/// Events of a page, and how many pages of a namespace are read: more would be somebody's flood.
const PAGE: u32 = 1_000;
const PAGES: usize = 10;
/// The longest sentence and the longest reason that Kubernetes takes.
const LONGEST_NOTE: usize = 1_024;
const LONGEST_REASON: usize = 128;
/// How long a namespace's Events are remembered that nobody asks for again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// What is told on the record of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// A word for it.
    pub reason: &'static str,
    /// Whether it is a warning.
    pub is_warning: bool,
    /// One sentence; never a value, nor words of the API server's.
    pub message: String,
    /// What it is told of, as an operation's id: of each it is told once, by whichever replica comes first.
    pub of: String,
    /// When it happened.
    pub time: Timestamp,
}

/// The Events of one namespace, and when they were read.
#[derive(Clone, Debug)]
pub struct Happenings {
    /// All of them.
    pub all: Arc<Vec<Happening>>,
    /// When they were read, by this process's own clock.
    pub read: Instant,
}

/// The Events that were last read, by namespace: however many callers follow, one of them reads.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<HashMap<Namespace, Arc<tokio::sync::Mutex<Option<Happenings>>>>>);

impl Recent {
    /// What was last read of a namespace; whoever holds it may read anew.
    fn of(&self, namespace: &Namespace) -> Arc<tokio::sync::Mutex<Option<Happenings>>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What is locked is being read.
        all.retain(|known, one| {
            let is_old = |one: &Option<Happenings>| {
                one.as_ref().is_some_and(|last| last.read.elapsed() > FORGOTTEN_AFTER)
            };
            known == namespace || one.try_lock().is_ok_and(|one| !is_old(&one))
        });
        Arc::clone(all.entry(namespace.clone()).or_default())
    }
}

impl Cluster {
    /// Creates an Event about the record of a deployment. What was told already, by whatever replica, stays as it is.
    pub async fn tell(&self, record: &Record, holder: &str, told: &Told) -> Result<()> {
        let event = event(record, holder, told);
        let name = event.metadata.name.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(self.client.clone(), record.namespace.as_str());
        let subject = answers::Subject { resource: "events", kind: "Event", name: &name };
        let parameters = PostParams::default();
        match self.write("create an Event", subject, || api.create(&parameters, &event)).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.conflict().is_some() => Ok(()),
            Err(failure) => Err(failure.into_error("Event", &name)),
        }
    }

    /// Reads the Events of a namespace, unless that was done so short a time ago.
    pub async fn happenings(&self, namespace: &Namespace, no_older_than: Duration) -> Result<Happenings> {
        let (asked, recent) = (Instant::now(), self.recent.of(namespace));
        // Whoever waited for another reader has what was read since it asked.
        let is_new = move |known: &Happenings| known.read > asked || known.read.elapsed() < no_older_than;
        if let Some(known) = recent.try_lock().ok().and_then(|known| known.clone().filter(is_new)) {
            return Ok(known);
        }
        let (cluster, namespace) = (self.clone(), namespace.clone());
        let reading = async move {
            let mut recent = recent.lock().await;
            if let Some(known) = recent.clone().filter(is_new) {
                return Ok(known);
            }
            let read = Instant::now();
            let all = cluster.list_events(&namespace).await?;
            Ok(recent.insert(Happenings { all: Arc::new(all), read }).clone())
        };
        // In a task of its own: a caller whose reader takes nothing goes no further, and all others would wait for it.
        let task = self.watches.tasks.spawn(reading.in_current_span()).await;
        task.map_err(|failure| Error::internal(format!("nothing reads Events any more: {failure}")))?
    }

    /// Lists the Events of a namespace. Without the right to them there are none; everything else works as it did before
    /// there was such a right.
    async fn list_events(&self, namespace: &Namespace) -> Result<Vec<Happening>> {
        match self.list_all_events(namespace).await {
            Err(error) if error.kind() == ErrorKind::ClusterForbidden => {
                self.log_missing_right(namespace, "list");
                Ok(Vec::new())
            }
            other => other,
        }
    }

    async fn list_all_events(&self, namespace: &Namespace) -> Result<Vec<Happening>> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace.as_str());
        let mut parameters = ListParams::default().limit(PAGE);
        let mut all = Vec::new();
        for _ in 0..PAGES {
            let page = self.call("list the namespace's Events", || api.list(&parameters)).await;
            let page = page.map_err(|failure| failure.into_error("Event", ""))?;
            all.extend(page.items.into_iter().map(happening));
            let Some(next) = page.metadata.continue_.filter(|next| !next.is_empty()) else { break };
            parameters.continue_token = Some(next);
        }
        Ok(all)
    }

    /// Says once for each namespace and verb that the right to Events is missing.
    pub fn log_missing_right(&self, namespace: &Namespace, verb: &'static str) {
        let mut logged = self.rights_missed.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.insert((namespace.clone(), verb)) {
            tracing::warn!(%namespace, verb, "no right to events; everything else works without it");
        }
    }
}

/// The Event; its name says what it is told of, so that nobody tells it twice.
fn event(record: &Record, holder: &str, told: &Told) -> Event {
    let head = crate::record::head_name(&record.name);
    let mut digest = Sha256::new();
    for part in [record.uid.as_str(), told.reason, told.of.as_str()] {
        digest.update(part.as_bytes());
        digest.update([0]);
    }
    let digest: String = digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let source = EventSource { component: Some(MANAGED_BY.to_owned()), host: None };
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{head}.{digest}")),
            namespace: Some(record.namespace.to_string()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("ConfigMap".to_owned()),
            name: Some(head),
            namespace: Some(record.namespace.to_string()),
            uid: Some(record.uid.clone()),
            ..ObjectReference::default()
        },
        type_: Some(if told.is_warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(told.reason.to_owned()),
        message: Some(cut(&told.message, LONGEST_NOTE)),
        count: Some(1),
        first_timestamp: Some(Time(told.time)),
        last_timestamp: Some(Time(told.time)),
        source: Some(source),
        reporting_component: Some(MANAGED_BY.to_owned()),
        reporting_instance: Some(cut(holder, LONGEST_REASON)),
        ..Event::default()
    }
}

/// An Event without the words of others.
fn happening(event: Event) -> Happening {
    let object = event.involved_object;
    let api_version = object.api_version.unwrap_or_default();
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
    let is_ours = [event.reporting_component, event.source.and_then(|source| source.component)]
        .iter()
        .flatten()
        .any(|component| component == MANAGED_BY);
    let created = event.metadata.creation_timestamp;
    let noted = event.event_time.map(|time| Time(time.0));
    let series = event.series.unwrap_or_default();
    let first = event.first_timestamp.or(noted.clone()).or(created);
    let last = series.last_observed_time.map(|time| Time(time.0)).or(event.last_timestamp);
    let reason = event.reason.filter(|reason| {
        reason.len() <= LONGEST_REASON && reason.chars().all(|letter| letter.is_ascii_alphanumeric())
    });
    Happening {
        subject: Subject {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: object.kind.unwrap_or_default(),
            name: object.name.unwrap_or_default(),
            uid: object.uid.unwrap_or_default(),
        },
        is_warning: event.type_.as_deref() != Some("Normal"),
        reason: reason.unwrap_or_default(),
        told: event.message.filter(|_| is_ours).map(|message| cut(&message, LONGEST_NOTE)),
        count: series.count.or(event.count).unwrap_or(1).max(1),
        last: last.or(noted).or_else(|| first.clone()),
        first,
    }
}

/// The text, cut at a character.
fn cut(text: &str, limit: usize) -> String {
    let end = (0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(event: serde_json::Value) -> Happening {
        happening(serde_json::from_value(event).expect("an Event"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_goes_no_further_holds_nobody_up() {
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let list =
                json!({"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": []}).to_string();
            Ok::<_, tower::BoxError>(http::Response::new(http_body_util::Full::from(list)))
        });
        let (cluster, namespace) = (Cluster::over(service, 1), Namespace::new("shop").expect("a name"));
        let mut stuck = std::pin::pin!(cluster.happenings(&namespace, Duration::ZERO));
        assert!(futures::poll!(stuck.as_mut()).is_pending());
        let other = cluster.happenings(&namespace, Duration::ZERO);
        let other = tokio::time::timeout(Duration::from_secs(1), other).await;
        assert!(other.is_ok_and(|read| read.is_ok_and(|read| read.all.is_empty())));
        assert!(stuck.await.is_ok());
    }

    #[test]
    fn the_words_of_others_are_left_out() {
        let of = |component: &str| {
            read(json!({
                "metadata": {}, "type": "Warning", "reason": "Failed", "message": "exec: \"--password=s3cret\"",
                "involvedObject": {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "u"},
                "source": {"component": component}, "count": 3,
                "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:01:00Z",
            }))
        };
        let kubelets = of("kubelet");
        assert_eq!((kubelets.told, kubelets.count, kubelets.is_warning), (None, 3, true));
        assert_eq!((kubelets.subject.group.as_str(), kubelets.subject.version.as_str()), ("apps", "v1"));
        assert!(kubelets.first < kubelets.last);
        assert!(of(MANAGED_BY).told.is_some());
    }

    #[test]
    fn a_series_counts_and_a_reason_is_a_word() {
        let scheduled = read(json!({
            "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "type": "Normal", "reason": "a value = x",
            "involvedObject": {}, "eventTime": "2026-01-01T00:00:01.000000Z",
            "series": {"count": 7, "lastObservedTime": "2026-01-01T00:00:09.000000Z"},
        }));
        assert_eq!((scheduled.reason.as_str(), scheduled.count, scheduled.is_warning), ("", 7, false));
        assert!(scheduled.first < scheduled.last);
        let bare =
            read(json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "involvedObject": {}}));
        assert_eq!((bare.count, bare.first.is_some()), (1, true));
        assert_eq!(bare.first, bare.last);
    }

    #[test]
    fn texts_are_cut_at_a_character() {
        assert_eq!((cut("ää", 3).as_str(), cut("ää", 9).as_str()), ("ä", "ää"));
    }
}
