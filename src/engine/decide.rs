//! Reads a deployment and decides what a Deploy does to it.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use tokio::time::Instant;

use super::{Engine, claims, leftovers, look, teardown};
use crate::artifacts::{ListedObject, Target};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{
    self, Back, ConflictPolicy, Course, Decided, FailurePolicy, Mixed, Named, Prepared, PrunePolicy,
    ReplicasPolicy, Revision, Standing,
};
use crate::record::{self, Head, HeadRef, Phase, Record, Request, Unread};

/// How a template is deployed.
#[derive(Clone, Debug)]
pub struct Choices {
    /// Whether a missing namespace is made.
    pub create_namespace: bool,
    /// What becomes of removed objects.
    pub prune: PrunePolicy,
    /// What becomes of an update that fails.
    pub on_failure: FailurePolicy,
    /// What is done where others hold fields.
    pub conflicts: ConflictPolicy,
    /// Whose replica counts hold.
    pub replicas: ReplicasPolicy,
    /// Whether the caller waits until every component is ready: then one that fails is an update that fails.
    pub waits_ready: bool,
    /// Check everything, write nothing.
    pub validate_only: bool,
    /// Whether a deployment of the name that is there already refuses it; one that goes is waited for.
    pub must_be_new: bool,
    /// The etag the caller has seen; empty: any.
    pub etag: String,
    /// The request, if its caller has named it.
    pub request: Option<Named>,
    /// The plan that is to be carried out and nothing else; empty: whatever it takes.
    pub plan_id: String,
    /// When the caller's own deadline ends.
    pub deadline: Instant,
}

/// What is to be brought about.
pub(super) enum Wanted {
    /// A template, as it came with a request.
    Template(Box<Prepared>),
    /// A stored revision of this number again; 0: the newest good one below the current.
    Earlier(u32),
    /// A stored revision, for an operation that has failed or died.
    Recovered(Box<Recovered>),
}

/// What ends an operation that has failed or died.
pub(super) struct Recovered {
    /// The record as it is known: the operation in it is the one that is ended.
    pub(super) record: Record,
    /// The template.
    pub(super) prepared: Prepared,
    /// How it is brought about.
    pub(super) course: Course,
    /// The request that is carried out in the stead of that operation.
    pub(super) request: Option<Request>,
}

impl Recovered {
    /// Puts a revision in force; `repeats`: under a number of its own, since that one was in force already.
    pub(super) fn new(record: Record, stored: &Revision, repeats: Option<u32>, back: Back) -> Self {
        let (prepared, course) = again(stored, repeats, back);
        Self { record, prepared, course, request: None }
    }
}

/// A stored template and options, and how they are brought about.
fn again(stored: &Revision, repeats: Option<u32>, back: Back) -> (Prepared, Course) {
    // Whoever goes back means the template: what an autoscaler has found since is right for the load now.
    let replicas = if repeats.is_some() { ReplicasPolicy::Rollback } else { stored.replicas };
    let course = Course {
        prune: stored.prune,
        on_failure: stored.on_failure,
        conflicts: stored.conflicts,
        replicas,
        rollback_of: repeats.or(stored.rollback_of),
        back: Some(back),
    };
    (Prepared::stored(stored), course)
}

/// Plans what brings a deployment, as it was read, to what is wanted.
///
/// Writes nothing, but for a teardown that died half-way: that is finished first, and then this is a first Deploy.
pub(super) async fn decide(
    engine: &Engine,
    target: &Target,
    wanted: Wanted,
    choices: &Choices,
    record: Option<Record>,
) -> Result<Decided> {
    let (record, mut prepared, course, mut request) = begin(engine, target, wanted, choices, record).await?;
    let head = record.as_ref().map(|record| &record.head);
    let controllers = head.map(Head::controllers).unwrap_or_default();
    let mut standing = Standing { controllers, ..Standing::default() };
    let mut rendered = plan::render(&mut prepared, standing.clone())?;
    let current = head.and_then(|head| head.current.as_ref());
    let looks_back = prepared.looks_back && prepared.may_claim();
    let (previous, earlier, mut seen) = tokio::try_join!(
        look::read_revision(engine, target, current),
        earlier(engine, target, head),
        claims::met(engine, target, head, looks_back, &rendered.artifacts),
    )?;
    let is_repeated = previous.as_ref().is_some_and(|previous| prepared.repeats(previous));
    if let Some(head) = head.filter(|_| !is_repeated && prepared.may_find_claims()) {
        seen.extend(claims::met_again(engine, target, head, &rendered.artifacts).await?);
    }
    let before = previous.as_ref().map(|previous| previous.rendered.as_slice()).unwrap_or_default();
    standing.claims_at_root = plan::at_root(before, &seen);
    if !standing.claims_at_root.is_empty() {
        rendered = plan::render(&mut prepared, standing.clone())?;
    }
    if let Some(head) = head {
        let autoscaled = plan::autoscaled(head, &rendered.artifacts, &seen, &target.name);
        if !autoscaled.is_empty() {
            standing.controllers.extend(autoscaled);
            rendered = plan::render(&mut prepared, standing)?;
        }
        let uncounted = prepared.uncounted();
        let policy = (course.replicas, &uncounted);
        let unknown = plan::counts_to_read(head, &rendered.artifacts, &seen, policy, &target.name);
        let reads = unknown.iter().map(|controller| engine.cluster.replicas(&target.namespace, controller));
        for (controller, count) in unknown.iter().zip(try_join_all(reads).await?) {
            let counted = seen.iter_mut().filter(|seen| seen.reference == *controller);
            counted.for_each(|seen| seen.replicas = count);
        }
    }
    let operation = engine.operation_id();
    let record = match record {
        Some(record) => {
            let is_new = course.back.is_none();
            Some(as_it_stands(engine, record, is_new, previous.as_ref(), &earlier, &seen).await?)
        }
        None => None,
    };
    let inherited_key = prepared.key.clone();
    let mut decided =
        plan::decide(prepared, rendered, record, previous.as_ref(), &earlier, &seen, course, &operation)?;
    if decided.key.is_none() && !decided.is_unchanged() {
        // The first revision of all, or the first since there are keys.
        decided.key = inherited_key.or_else(|| Some(engine.cluster.random_key()));
    }
    if let Some(named) = &choices.request {
        let mixed = decided.key.as_deref().map_or(Mixed::Unknown, Mixed::Key);
        request = Some(named.recorded(mixed));
    }
    decided.request = request;
    Ok(decided)
}

/// What an operation begins with: the record, what is to be deployed, and how; with the request that somebody else's
/// operation was begun for.
async fn begin(
    engine: &Engine,
    target: &Target,
    wanted: Wanted,
    choices: &Choices,
    record: Option<Record>,
) -> Result<(Option<Record>, Prepared, Course, Option<Request>)> {
    Ok(match wanted {
        Wanted::Recovered(recovered) => {
            (Some(recovered.record), recovered.prepared, recovered.course, recovered.request)
        }
        Wanted::Template(prepared) => {
            let record = free(engine, target, choices, record).await?;
            let course = Course {
                prune: choices.prune,
                on_failure: choices.on_failure,
                conflicts: choices.conflicts,
                replicas: choices.replicas,
                ..Course::default()
            };
            (record, *prepared, course, None)
        }
        Wanted::Earlier(number) => {
            let record = record.ok_or_else(|| record::not_found(target))?;
            record::check_etag(Some(&record), &choices.etag)?;
            record::gate(&record, engine.unrenewed_for(&record))?;
            if record.is_deleting() {
                return Err(record::being_deleted(&record));
            }
            let (number, stored) = choose(engine, target, &record, number).await?;
            let (prepared, course) = again(&stored, Some(number), Back::default());
            (Some(record), prepared, course, None)
        }
    })
}

/// The record, corrected by what is there.
async fn as_it_stands(
    engine: &Engine,
    record: Record,
    is_new: bool,
    previous: Option<&Revision>,
    earlier: &BTreeMap<u32, Revision>,
    seen: &[ListedObject],
) -> Result<Record> {
    // What an operation that died has meant to delete was not deleted yet: that comes when one has ended. Whoever
    // finishes that operation goes by its marks.
    let record = if is_new { undoomed(record, previous) } else { record };
    let name = record.name.clone();
    let counted = Record { head: plan::with_scaled_counts(&record.head, seen, &name), ..record };
    leftovers::recognized(engine, plan::without_lost(counted, earlier), seen).await
}

/// The revisions that objects stand as which the current one was never written to.
async fn earlier(engine: &Engine, target: &Target, head: Option<&Head>) -> Result<BTreeMap<u32, Revision>> {
    let reads = head.map(plan::stood_as).unwrap_or_default().into_iter().map(|revision| async move {
        let stored = look::read_revision(engine, target, Some(&revision)).await?;
        Ok::<_, Error>(stored.map(|stored| (revision.number, stored)))
    });
    Ok(try_join_all(reads).await?.into_iter().flatten().collect())
}

/// The record without the marks of a dead operation on objects that the current revision has.
fn undoomed(mut record: Record, current: Option<&Revision>) -> Record {
    if let (true, Some(current)) = (record.head.operation.is_some(), current) {
        record.head = plan::restored(&record.head, &current.rendered);
    }
    record
}

/// Checks that an operation may begin on a deployment as it was read; `None`: there is none, or none any more.
async fn free(
    engine: &Engine,
    target: &Target,
    choices: &Choices,
    record: Option<Record>,
) -> Result<Option<Record>> {
    record::check_etag(record.as_ref(), &choices.etag)?;
    let Some(found) = record else { return Ok(None) };
    record::gate(&found, engine.unrenewed_for(&found))?;
    if found.terminating {
        return Err(record::being_deleted(&found));
    }
    if found.head.phase != Phase::Deleting {
        return if choices.must_be_new { Err(record::there_already(&found)) } else { Ok(Some(found)) };
    }
    // Finishing it would be a write that no plan has said.
    if choices.validate_only || !choices.plan_id.is_empty() {
        return Err(record::being_deleted(&found));
    }
    teardown::finish(engine, target, found, choices.deadline).await?;
    Ok(None)
}

/// Finds the revision that is asked for; 0: the newest below the current that was seen ready.
///
/// Fails with REVISION_NOT_FOUND, or RECORD_UNREADABLE if somebody has damaged it.
async fn choose(engine: &Engine, target: &Target, record: &Record, number: u32) -> Result<(u32, Revision)> {
    let candidates: Vec<HeadRef> = match number {
        0 => record.head.good_before().map(|entry| entry.revision.clone()).collect(),
        _ => {
            let listed = record.head.listed().into_iter().map(|entry| &entry.revision);
            listed.filter(|revision| revision.number == number).cloned().collect()
        }
    };
    let mut damaged = Vec::new();
    for candidate in candidates {
        // Somebody may have deleted its Secret, or have changed it.
        match look::try_revision(engine, target, &candidate).await? {
            Ok(stored) => return Ok((candidate.number, stored)),
            Err(Unread::Missing) => {}
            Err(Unread::Damaged) => damaged.push(candidate),
        }
    }
    let kept = look::revisions(engine, record).await?;
    let kept = kept.iter().map(|entry| &entry.revision).filter(|revision| !damaged.contains(revision));
    let kept: Vec<String> = kept.map(|revision| revision.number.to_string()).collect();
    let kept = kept.join(", ");
    if let Some(damaged) = damaged.first() {
        return Err(record::damaged_revision(&target.name, damaged, &kept));
    }
    let known = if kept.is_empty() { "none" } else { &kept };
    let text = match number {
        0 => {
            format!("no revision of deployment {} below the current one that was ready is kept", target.name)
        }
        _ => format!("revision {number} of deployment {} is not kept", target.name),
    };
    Err(Error::new(ErrorKind::RevisionNotFound, format!("{text}; kept are {known}"))
        .about("Deployment", target.name.as_str())
        .with("revisions", kept))
}
