//! Looks at deployments and at what a Deploy would do; writes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Secret;
use tracing::{debug, warn};

use super::{Engine, Subscription};
use crate::artifacts::{ByName, Kind, ListedObject, Namespace, ObjectRef, Observed, Target};
use crate::cluster::{Happenings, Heads};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{self, Revision};
use crate::record::{self, HeadRef, Member, MemberState, Record, RevisionEntry, Unread};

/// One page of a list of deployments.
pub struct Page<'a> {
    /// The namespace; `None`: all.
    pub namespace: Option<&'a Namespace>,
    /// A label selector; empty: all.
    pub labels: &'a str,
    /// Deployments per page.
    pub size: u32,
    /// Where to go on; empty: at the start.
    pub token: &'a str,
}

/// Reads the record of a deployment; `None` if there is none.
pub async fn read(engine: &Engine, target: &Target) -> Result<Option<Record>> {
    engine.cluster.read_head(&target.namespace, &target.name).await
}

/// The same for whoever makes none: a ConfigMap of somebody else's that has the record's name is no deployment.
pub async fn read_ours(engine: &Engine, target: &Target) -> Result<Option<Record>> {
    match read(engine, target).await {
        Err(error) if error.kind() == ErrorKind::ObjectNotOwned => Ok(None),
        read => read,
    }
}

/// Reads the record of a deployment that must be there.
pub async fn must_read(engine: &Engine, target: &Target) -> Result<Record> {
    read_ours(engine, target).await?.ok_or_else(|| record::not_found(target))
}

/// Lists records, a page at a time.
pub async fn list(engine: &Engine, page: &Page<'_>) -> Result<Heads> {
    engine.cluster.list_heads(page.namespace, page.labels, page.size, page.token).await
}

/// Looks at the objects of one deployment.
pub async fn look_at(engine: &Engine, record: &Record) -> Result<Observed> {
    let kinds: Vec<_> = record.head.inventory.iter().map(|member| member.reference.kind).collect();
    let observed = engine.cluster.observe(&record.namespace, &record.name, &kinds).await?;
    with_names(engine, record, observed).await
}

/// Adds what stands under the names of objects that no list has shown; costs a call for each of them, and none where
/// nothing is missing.
///
/// Nothing is said to be missing of what is being written or deleted, so nobody looks for it.
async fn with_names(engine: &Engine, record: &Record, mut observed: Observed) -> Result<Observed> {
    let is_at_work = record.head.operation.is_some() || record.is_deleting();
    let members = record.head.inventory.iter().filter(|member| {
        let is_there = member.state == MemberState::Applied && member.uid.is_some();
        let is_there = is_there && !member.kept && !is_at_work;
        is_there && member.reference.kind != Kind::Secret && !observed.shows(&member.reference)
    });
    let unseen: Vec<&ObjectRef> = members.map(|member| &member.reference).collect();
    let found = engine.cluster.find_unlisted(&record.namespace, &record.name, &unseen).await?;
    let judged = found.into_iter().filter(|seen| !seen.terminating).map(|seen| {
        let recorded = record.head.member(&seen.reference).and_then(|member| member.uid.as_deref());
        let by_name = match (seen.is_ours(recorded), seen.is_relabelled()) {
            (false, _) => ByName::Foreign,
            (true, true) => ByName::Relabelled,
            (true, false) => ByName::Unlabelled,
        };
        (seen.reference, by_name)
    });
    observed.by_name = judged.collect();
    engine.patience.note_by_name(&record.target(), &observed.by_name);
    Ok(observed)
}

/// Looks at members of a deployment: by their labels, and by name at what its record has and no label shows.
pub(super) async fn members(
    engine: &Engine,
    target: &Target,
    known: &[Member],
    members: &BTreeSet<ObjectRef>,
) -> Result<Vec<ListedObject>> {
    let mut seen = engine.cluster.list_members(&target.namespace, &target.name, members).await?;
    let known = known.iter().filter(|member| {
        let may_be_there = member.uid.is_some() && member.state != MemberState::Deleting;
        may_be_there && member.reference.kind != Kind::Secret && members.contains(&member.reference)
    });
    let unseen = known.filter(|member| !seen.iter().any(|seen| seen.reference == member.reference));
    let (uids, unseen): (Vec<_>, Vec<_>) = unseen.map(|member| (&member.uid, &member.reference)).unzip();
    let mut found = engine.cluster.find_unlisted(&target.namespace, &target.name, &unseen).await?;
    // What is another is no matter: whatever is to be made under its name is refused.
    found.retain(|seen| uids.iter().any(|uid| uid.as_ref() == Some(&seen.uid)));
    seen.extend(found);
    Ok(seen)
}

/// Adds the Secrets to what was seen, by name: the metadata of each, and the content of one that somebody else has written.
pub async fn with_secrets(engine: &Engine, record: &Record, observed: &Observed) -> Result<Observed> {
    let members: Vec<_> = record.head.inventory.iter().map(|member| &member.reference).collect();
    let bare = engine.cluster.observe_secrets(&record.namespace, &members, false).await?;
    let seen = Observed { secrets: Some(bare.clone()), ..observed.clone() };
    let drifted = plan::drift(record, &seen, &[]);
    let drifted: Vec<_> = drifted.iter().map(plan::Drift::object).collect();
    let whole = engine.cluster.observe_secrets(&record.namespace, &drifted, true).await?;
    let is_read = |secret: &Arc<Secret>| whole.iter().any(|one| one.metadata.uid == secret.metadata.uid);
    let others = bare.into_iter().filter(|secret| !is_read(secret));
    let secrets = others.chain(whole.iter().cloned()).collect();
    Ok(Observed { secrets: Some(secrets), ..seen })
}

/// Looks at the objects of many deployments: one LIST per kind and namespace, however many there are.
pub async fn look_at_all(engine: &Engine, records: &[Record]) -> Result<Vec<Observed>> {
    let namespaces: BTreeSet<&Namespace> = records.iter().map(|record| &record.namespace).collect();
    let looks = namespaces.into_iter().map(|namespace| async move {
        Ok::<_, Error>((namespace.clone(), engine.cluster.observe_namespace(namespace).await?))
    });
    let mut by_namespace: BTreeMap<_, _> = try_join_all(looks).await?.into_iter().collect();
    let observed = records.iter().map(|record| {
        let seen = by_namespace.get_mut(&record.namespace).and_then(|seen| seen.remove(record.name.as_str()));
        with_names(engine, record, seen.unwrap_or_default())
    });
    try_join_all(observed.collect::<Vec<_>>()).await
}

/// Reads what happened to the objects of a namespace, as the cluster remembers it.
pub async fn happenings(engine: &Engine, namespace: &Namespace) -> Result<Happenings> {
    engine.cluster.happenings(namespace, Duration::ZERO).await
}

/// The same, as somebody has read it no longer ago than this; `None` if it cannot be read now.
pub async fn recent_happenings(
    engine: &Engine,
    namespace: &Namespace,
    no_older_than: Duration,
) -> Option<Happenings> {
    let read = engine.cluster.happenings(namespace, no_older_than).await;
    read.inspect_err(|error| debug!(context = ?error.context(), "what happened cannot be read")).ok()
}

/// Starts to follow a deployment; `read` is its record as it was just read or written.
pub fn subscribe(engine: &Engine, target: &Target, read: Option<&Record>) -> Subscription {
    engine.cluster.subscribe(target, read)
}

/// Reads a revision; `None` if it is not stored. One that somebody has damaged is not, either: whoever goes on without it
/// does so without this one, too.
pub async fn read_revision(
    engine: &Engine,
    target: &Target,
    revision: Option<&HeadRef>,
) -> Result<Option<Revision>> {
    let Some(revision) = revision else { return Ok(None) };
    Ok(try_revision(engine, target, revision).await?.ok())
}

/// Reads a revision, or says why that cannot be.
pub(super) async fn try_revision(
    engine: &Engine,
    target: &Target,
    revision: &HeadRef,
) -> Result<Result<Revision, Unread>> {
    let Some(packed) = engine.cluster.read_revision(&target.namespace, revision).await? else {
        return Ok(Err(Unread::Missing));
    };
    let read = Revision::unpack(&packed).ok_or(Unread::Damaged);
    if read.is_err() {
        warn!(secret = revision.secret, deployment = %target.name, "a revision was changed from outside and is none");
    }
    Ok(read)
}

/// The revisions of a deployment that are kept and stored, the newest first; with the one that an operation is about to
/// put in force, once that is stored.
pub async fn revisions(engine: &Engine, record: &Record) -> Result<Vec<RevisionEntry>> {
    let begun = record.head.begun_revision();
    let listed = begun.iter().chain(record.head.listed());
    let looks = listed.map(|entry| async move {
        let is_stored = engine.cluster.has_revision(&record.namespace, &entry.revision).await?;
        Ok::<_, Error>(Some(entry.clone()).filter(|_| is_stored))
    });
    Ok(try_join_all(looks).await?.into_iter().flatten().collect())
}

/// Reads the current revision, which must be there.
pub async fn current_revision(engine: &Engine, target: &Target, record: &Record) -> Result<Revision> {
    let Some(current) = &record.head.current else { return Err(record::being_changed(record)) };
    match try_revision(engine, target, current).await? {
        Ok(revision) => Ok(revision),
        Err(unread) => {
            let now = must_read(engine, target).await?;
            // Most often the record is not any more what it was.
            Err(match now.uid == record.uid {
                true if now.is_deleting() => record::being_deleted(&now),
                true if now.head.operation.is_none() && now.head.current == record.head.current => {
                    record::lost_revision(record, current, unread)
                }
                _ => record::being_changed(&now),
            })
        }
    }
}
