//! A deployment as callers see it: its record and its status, combined.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::artifacts::{
    Artifact, DeploymentName, DeploymentState, HoldUp, Kind, Namespace, ObjectRef, Observed,
};
use crate::engine::{self, Engine, HeldBack, Sighting, Snapshot};
use crate::error::Result;
use crate::plan;
use crate::record::{Record, Unreadable, holding_finalizers};
use crate::status::{self, DeploymentEvent, Status, expected};
use crate::template::Template;

/// A deployment as callers see it.
#[derive(Clone, Debug)]
pub struct DeploymentView {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: DeploymentName,
    /// Its identity: a deployment of the same name made later has another.
    pub uid: String,
    /// Changes with every operation.
    pub etag: String,
    /// The revision on the cluster; 0 before the first is stored.
    pub revision: u32,
    /// The template's name.
    pub template_name: String,
    /// The labels that its caller gave it.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
    /// When an operation last changed it.
    pub updated: Timestamp,
    /// Its state.
    pub status: Status,
    /// Its objects, in the order of applying; filled for the FULL view.
    pub objects: Vec<(ObjectRef, Option<String>)>,
    /// Its template; filled for the FULL view.
    pub template: Option<Arc<Template>>,
    /// What happened to its objects, the newest first; filled for the FULL view.
    pub events: Vec<DeploymentEvent>,
    /// Whether the FULL view was asked for.
    pub full: bool,
    /// The objects that do not look as they were deployed; told in its status once that is certain.
    pub(super) drift: Vec<plan::Drift>,
}

/// The views of one snapshot; each is made for the first who asks and shared by all who follow the deployment.
#[derive(Debug, Default)]
struct Views {
    basic: OnceLock<Arc<DeploymentView>>,
    full: OnceLock<Arc<DeploymentView>>,
    template: OnceLock<Option<Arc<Template>>>,
    filled: Mutex<Option<Filled>>,
}

/// The FULL view with its template and what happened.
#[derive(Debug)]
struct Filled {
    /// The view without them.
    of: Arc<DeploymentView>,
    /// When it was read what happened.
    read: Instant,
    view: Arc<DeploymentView>,
}

/// The template of a snapshot, read by whoever comes first. Nobody waits for another who reads: whose own reader takes
/// nothing goes no further.
pub(super) async fn template(
    snapshot: &Snapshot,
    read: impl Future<Output = Result<Option<Arc<Template>>>>,
) -> Result<Option<Arc<Template>>> {
    let views = snapshot.concluded::<Views>();
    match views.template.get() {
        Some(known) => Ok(known.clone()),
        None => {
            let read = read.await?;
            Ok(views.template.get_or_init(|| read).clone())
        }
    }
}

/// The FULL view of a snapshot with what had happened at a moment; the first who asks makes it for all.
pub(super) fn filled(
    snapshot: &Snapshot,
    of: &Arc<DeploymentView>,
    read: Instant,
    make: impl FnOnce() -> DeploymentView,
) -> Arc<DeploymentView> {
    let views = snapshot.concluded::<Views>();
    let mut filled = views.filled.lock().unwrap_or_else(PoisonError::into_inner);
    match filled.as_ref().filter(|known| known.read == read && Arc::ptr_eq(&known.of, of)) {
        Some(known) => Arc::clone(&known.view),
        None => {
            let view = Arc::new(make());
            *filled = Some(Filled { of: Arc::clone(of), read, view: Arc::clone(&view) });
            view
        }
    }
}

/// The view of what the watches show, and when to judge it again if nothing changes until then; `None` when there is no
/// record.
pub(super) async fn watched(
    engine: &Engine,
    snapshot: &Snapshot,
    full: bool,
) -> Option<(Arc<DeploymentView>, Option<Duration>)> {
    let record = snapshot.head.as_ref()?;
    let views = snapshot.concluded::<Views>();
    let view = if full { &views.full } else { &views.basic };
    let view = Arc::clone(view.get_or_init(|| Arc::new(observed(record, &snapshot.observed, full, &[]))));
    let overdue = engine::overdue(engine, record, &view.held_up(), Sighting::Watched).await;
    if overdue.held_up.is_empty() {
        return Some((view, overdue.again_in));
    }
    // What is overdue depends on the time: such a view is nobody else's.
    let now = Observed { by_name: overdue.by_name, ..snapshot.observed.with_overdue(overdue.held_up) };
    Some((Arc::new(observed(record, &now, full, &[])), overdue.again_in))
}

/// The view of what a look has shown: the record was read first, and then the objects.
pub(super) async fn looked(engine: &Engine, record: &Record, seen: &Observed, full: bool) -> DeploymentView {
    looked_beside(engine, record, seen, full, &[]).await
}

/// The same, where it is at hand what was deployed.
pub(super) async fn looked_beside(
    engine: &Engine,
    record: &Record,
    seen: &Observed,
    full: bool,
    rendered: &[Artifact],
) -> DeploymentView {
    let view = observed(record, seen, full, rendered);
    let overdue = engine::overdue(engine, record, &view.held_up(), Sighting::Looked).await;
    if overdue.held_up.is_empty() {
        view
    } else {
        observed(record, &seen.with_overdue(overdue.held_up), full, rendered)
    }
}

/// The view with a status concluded from what the cluster showed.
fn observed(record: &Record, observed: &Observed, full: bool, rendered: &[Artifact]) -> DeploymentView {
    let mut status = status::conclude(&expected(record), observed);
    if !status.is_ready() {
        let waits = plan::duties(record, observed, Duration::ZERO).waits.into_iter();
        let message = std::iter::once(status.message).chain(waits).filter(|text| !text.is_empty());
        status.message = message.collect::<Vec<_>>().join("; ");
    }
    let drift = plan::drift(record, observed, rendered);
    let certain: Vec<&plan::Drift> =
        drift.iter().filter(|one| observed.overdue.contains(&one.held_up())).collect();
    if !drift.is_empty() && status.state.is_ready() {
        // What the watches alone have shown may be older or newer than the record.
        status.state =
            if certain.is_empty() { DeploymentState::Deploying } else { DeploymentState::Degraded };
    }
    let message = std::iter::once(status.message).chain([plan::tell_drift(&certain)]);
    status.message = message.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
    DeploymentView { drift, ..view(record, status, full) }
}

impl DeploymentView {
    /// Whether all is ready, and a look has yet to say whether something was written from outside.
    pub(super) fn is_in_doubt(&self) -> bool {
        let is_told = self.status.state == DeploymentState::Degraded;
        self.status.is_ready() && !self.drift.is_empty() && !is_told
    }

    /// Whether waiting for READY is in vain: a component has failed, or only a Deploy repairs what was written from outside.
    pub(super) fn is_in_vain(&self) -> bool {
        let is_drifted = self.status.state == DeploymentState::Degraded && !self.drift.is_empty();
        self.status.is_hopeless() || is_drifted
    }

    /// Adds a sentence to its message.
    pub(super) fn tell(&mut self, text: String) {
        let told = std::mem::take(&mut self.status.message);
        let message = [told, text].into_iter().filter(|text| !text.is_empty());
        self.status.message = message.collect::<Vec<_>>().join("; ");
    }

    /// What may be so for a moment, and counts once it was seen for long enough.
    fn held_up(&self) -> Vec<HoldUp> {
        let drift = self.drift.iter().map(plan::Drift::held_up);
        self.status.held_up().into_iter().chain(drift).collect()
    }
}

/// Adds to the message what finalizers hold of a deployment that goes, and since when.
pub(super) fn tell_held_back(view: &mut DeploymentView, observed: &Observed, beside: &[HeldBack]) {
    // What is refused is told by the record.
    let beside = beside.iter().filter(|one| one.refused.is_empty());
    let mut told: Vec<String> =
        beside.map(|one| held_by(one.kind, &one.name, &one.finalizers, one.since)).collect();
    for (kind, metadata) in observed.metadata().filter(|(kind, _)| *kind != Kind::Pod) {
        let finalizers = holding_finalizers(metadata.finalizers.clone().unwrap_or_default());
        if let (Some(since), Some(name), false) =
            (&metadata.deletion_timestamp, &metadata.name, finalizers.is_empty())
        {
            told.push(held_by(kind.as_str(), name, &finalizers, Some(since.0)));
        }
    }
    let message = std::iter::once(view.status.message.clone()).chain(told);
    view.status.message = message.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
}

fn held_by(kind: &str, name: &str, finalizers: &[String], since: Option<Timestamp>) -> String {
    let since = since.map(|since| format!(" since {since}")).unwrap_or_default();
    format!("{kind} {name} is held by finalizer {}{since}", finalizers.join(", "))
}

/// The view of a deployment whose record cannot be read: what is known is that somebody has to do something.
pub(super) fn unreadable(unreadable: Unreadable, full: bool) -> DeploymentView {
    let Unreadable { target, uid, created, why } = unreadable;
    let created = created.unwrap_or(Timestamp::UNIX_EPOCH);
    DeploymentView {
        namespace: target.namespace,
        name: target.name,
        uid,
        etag: String::new(),
        revision: 0,
        template_name: String::new(),
        labels: BTreeMap::new(),
        created,
        updated: created,
        status: Status {
            state: DeploymentState::Failed,
            of_components: DeploymentState::Failed,
            reason: None,
            message: why.message().to_owned(),
            components: Vec::new(),
            endpoints: Vec::new(),
        },
        objects: Vec::new(),
        template: None,
        events: Vec::new(),
        full,
        drift: Vec::new(),
    }
}

/// The view as the records have it, without a look at the workloads.
pub(super) fn recorded(record: &Record) -> DeploymentView {
    let expected = expected(record);
    view(record, status::recorded(&expected, record.head.recorded.state), false)
}

fn view(record: &Record, status: Status, full: bool) -> DeploymentView {
    let head = &record.head;
    let mut objects: Vec<(ObjectRef, Option<String>)> = Vec::new();
    if full {
        objects =
            head.inventory.iter().map(|member| (member.reference.clone(), member.uid.clone())).collect();
        objects.sort();
    }
    DeploymentView {
        namespace: record.namespace.clone(),
        name: record.name.clone(),
        uid: record.uid.clone(),
        etag: record.etag(),
        revision: head.current.as_ref().map_or(0, |revision| revision.number),
        template_name: head.template_name.clone(),
        labels: head.recorded.labels.clone(),
        created: head.created,
        updated: head.updated,
        status,
        objects,
        template: None,
        events: Vec::new(),
        full,
        drift: Vec::new(),
    }
}
