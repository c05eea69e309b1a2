//! Teardown: everything a deployment owns goes, in reverse order, its record last.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use super::ending::Ending;
use super::lock::Lock;
use super::refusals::{Answers, why};
use super::requests::{self, Known};
use super::{Engine, claims, leftovers, look, stages, telling};
use crate::artifacts::{Kind, ListedObject, ObjectRef, Stage, Target};
use crate::cluster::{Deletion, Terminating};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{self, Named, VolumePolicy};
use crate::record::{self, Member, MemberState, Phase, Record, Work};

/// How long a teardown keeps watching objects go before it leaves them to the next call.
const PATIENCE: Duration = Duration::from_secs(600);

/// How a deployment is torn down.
#[derive(Clone, Debug)]
pub struct Choices {
    /// What becomes of its volume claims.
    pub volumes: VolumePolicy,
    /// The pods' grace period; `None`: each pod's own.
    pub grace_seconds: Option<u32>,
    /// Check everything, delete nothing.
    pub validate_only: bool,
    /// The etag the caller has seen; empty: any.
    pub etag: String,
    /// The request, if its caller has named it.
    pub request: Option<Named>,
    /// When the caller's own deadline ends.
    pub deadline: Instant,
}

/// A teardown that goes on by itself once everything is marked.
pub struct Teardown {
    /// The entries of what goes.
    pub inventory: Vec<Member>,
    /// The entries of the volume claims that stay.
    pub retained: Vec<Member>,
    /// What is marked and still there.
    pub going: Vec<Terminating>,
    /// Its end; `None`: nothing was to be deleted.
    pub ending: Option<Ending>,
}

/// Objects that were asked to go, and the lock under which that was done; without one, another teardown has it.
struct Underway {
    lock: Option<Lock>,
    record: Record,
    asked: Asked,
}

/// What became of deletes that were asked for.
#[derive(Default)]
struct Asked {
    /// What is marked and still there.
    going: Vec<Terminating>,
    /// Whether another object had the name of one of them.
    replaced: bool,
}

/// Marks the deployment and deletes everything it owns, by uid; a second teardown while it goes joins the first.
///
/// Returns when everything is marked. `None`: there is no such deployment.
pub async fn teardown(engine: &Engine, target: &Target, choices: Choices) -> Result<Option<Teardown>> {
    // 1. What is there.
    let Some(record) = named_anew(engine, target, &choices).await? else { return Ok(None) };
    record::check_readable(&record)?;
    record::check_etag(Some(&record), &choices.etag)?;
    let joins = record.is_deleting();
    if !joins {
        record::gate(&record, engine.unrenewed_for(&record))?;
    }
    let (inventory, retained) = plan::set_aside(&record.head, |_| choices.volumes == VolumePolicy::Retain);
    let retained = claims::standing(engine, target, retained).await?;
    engine.allows_teardown(target, &inventory, choices.grace_seconds).await?;
    if choices.validate_only {
        return Ok(Some(Teardown { inventory, retained, going: Vec::new(), ending: None }));
    }
    engine.begins_in_time(choices.deadline)?;
    let (own, target, grace) = (engine.clone(), target.clone(), choices.grace_seconds);
    let work = Work::Teardown { inventory: inventory.clone(), retained: retained.clone() };
    // 2. The mark that ends every other operation; 3. the deletes, which nobody's leaving stops.
    let ask = async move {
        let deployment = record.clone();
        let underway = if joins {
            Some(delete_members(&own, &target, record, grace).await?)
        } else {
            Box::pin(ask(&own, &target, record, work, grace)).await?
        };
        let going = underway.as_ref().map(|underway| underway.asked.going.clone()).unwrap_or_default();
        let see = own.clone();
        let seen = async move {
            match underway {
                Some(underway) => see_gone(&see, &target, underway, grace).await,
                None => Ok(Vec::new()),
            }
        };
        let ending = Some(Ending::new(&own, &deployment, joins, seen));
        Ok(Some(Teardown { inventory, retained, going, ending }))
    };
    engine.detached(choices.deadline, ask).await
}

/// Reads the record; refuses a request whose name was another's. What a Teardown has done nobody remembers.
async fn named_anew(engine: &Engine, target: &Target, choices: &Choices) -> Result<Option<Record>> {
    let record = look::read(engine, target).await?;
    let Some(named) = choices.request.as_ref().filter(|_| !choices.validate_only) else { return Ok(record) };
    match requests::known(engine, target, record, named, false, choices.deadline).await? {
        Known::New(record) => Ok(record),
        Known::Answered(..) => Err(record::reused(named.id())),
    }
}

/// Finishes a teardown that died half-way.
///
/// A teardown that nobody asked for deletes no volume claim: whose they were before is not known.
pub(super) async fn finish(
    engine: &Engine,
    target: &Target,
    record: Record,
    deadline: Instant,
) -> Result<()> {
    let (inventory, retained) = plan::set_aside(&record.head, |_| true);
    let work = Work::Teardown { inventory, retained };
    let lock = Lock::take(engine, target, Some(&record), engine.operation_id(), work, None).await?;
    let work = async {
        match delete_locked(engine, target, lock, None).await? {
            Some(underway) => see_gone(engine, target, underway, None).await,
            None => Ok(Vec::new()),
        }
    };
    match tokio::time::timeout_at(deadline, work).await {
        Ok(Ok(left)) if left.is_empty() => Ok(()),
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) | Err(_) => Err(record::being_deleted(&record)),
    }
}

/// Removes what a first Deploy has made, and nothing else; returns what is still there.
pub(super) async fn take_back(engine: &Engine, target: &Target, mut lock: Lock) -> Result<Vec<Terminating>> {
    let record = lock.record().clone();
    let members: BTreeSet<ObjectRef> =
        record.head.inventory.iter().map(|member| member.reference.clone()).collect();
    let mut made = known_uids(engine, target, &record).await?;
    made.retain(|(reference, _)| members.contains(reference));
    let work = async {
        let asked = delete_objects(engine, target, &record, made, None).await?;
        wait_gone(engine, target, &record, asked, None).await
    };
    let left = lock.during(work).await??;
    end(engine, lock, left).await
}

/// Takes the lock and asks everything to go; `None`: another teardown has ended already.
async fn ask(
    engine: &Engine,
    target: &Target,
    record: Record,
    work: Work,
    grace: Option<u32>,
) -> Result<Option<Underway>> {
    match Lock::take(engine, target, Some(&record), engine.operation_id(), work, None).await {
        Ok(lock) => {
            telling::tearing_down(engine, lock.record());
            delete_locked(engine, target, lock, grace).await
        }
        Err(lost) => join(engine, target, &record, lost, grace).await,
    }
}

/// Deletes all members under the lock; joins whoever has taken it over.
async fn delete_locked(
    engine: &Engine,
    target: &Target,
    mut lock: Lock,
    grace: Option<u32>,
) -> Result<Option<Underway>> {
    let record = lock.record().clone();
    match lock.during(delete_members(engine, target, record.clone(), grace)).await {
        Ok(underway) => Ok(Some(Underway { lock: Some(lock), ..underway? })),
        Err(lost) => join(engine, target, &record, lost, grace).await,
    }
}

/// Does what the teardown does to which the lock was lost: everything goes by uid, so twice is once.
///
/// `None`: that has ended already. Fails with the loss where the other operation is no teardown.
async fn join(
    engine: &Engine,
    target: &Target,
    record: &Record,
    lost: Error,
    grace: Option<u32>,
) -> Result<Option<Underway>> {
    if lost.kind() != ErrorKind::OperationInProgress {
        return Err(lost);
    }
    match look::read(engine, target).await? {
        Some(now) if now.uid == record.uid && now.head.phase == Phase::Deleting => {
            Ok(Some(delete_members(engine, target, now, grace).await?))
        }
        // Gone, or gone and made anew: what this call was asked to delete is not there any more.
        now if now.as_ref().is_none_or(|now| now.uid != record.uid) => Ok(None),
        _ => Err(lost),
    }
}

/// Waits until all members are gone, then deletes the record; returns what is still there.
async fn see_gone(
    engine: &Engine,
    target: &Target,
    underway: Underway,
    grace: Option<u32>,
) -> Result<Vec<Terminating>> {
    let Underway { lock, record, asked } = underway;
    let waiting = wait_gone(engine, target, &record, asked, grace);
    let Some(mut lock) = lock else {
        let left = waiting.await?;
        remove_record(engine, &record, &left).await?;
        return Ok(left);
    };
    match lock.during(waiting).await {
        Ok(left) => {
            let left = left?;
            end(engine, lock, left).await
        }
        // The lease could not be renewed: a Teardown that joined may have ended first.
        Err(lost) => match join(engine, target, &record, lost, grace).await? {
            Some(underway) => Box::pin(see_gone(engine, target, underway, grace)).await,
            None => Ok(Vec::new()),
        },
    }
}

/// Ends the operation with its record, if nothing is left.
async fn end(engine: &Engine, lock: Lock, left: Vec<Terminating>) -> Result<Vec<Terminating>> {
    remove_record(engine, lock.record(), &left).await?;
    if left.is_empty() {
        lock.gone();
    }
    Ok(left)
}

/// Waits until all of it is gone, and then deletes whatever a look still finds; returns what is still there.
async fn wait_gone(
    engine: &Engine,
    target: &Target,
    record: &Record,
    asked: Asked,
    grace: Option<u32>,
) -> Result<Vec<Terminating>> {
    let deadline = Instant::now() + PATIENCE;
    let (namespace, name) = (&target.namespace, &target.name);
    // A claim stays as long as any pod uses it, and a pod may be among what is only found by a look.
    let is_claim = |going: &Terminating| going.reference.kind == Kind::PersistentVolumeClaim;
    let (claims, others) = asked.going.into_iter().partition(is_claim);
    let mut left = engine.cluster.wait_gone(namespace, name, others, deadline).await?;
    if left.is_empty() {
        left = leftovers::clear(engine, target, record, asked.replaced, grace, deadline).await?;
    }
    left.extend(engine.cluster.wait_gone(namespace, name, claims, deadline).await?);
    Ok(left)
}

/// Deletes the record once every member was seen gone.
async fn remove_record(engine: &Engine, record: &Record, left: &[Terminating]) -> Result<()> {
    if !left.is_empty() {
        return Ok(());
    }
    if !engine.cluster.delete_head(record, Instant::now() + PATIENCE).await? {
        return Err(Error::new(
            ErrorKind::WaitTimeout,
            "some objects still existed at the deadline; the teardown goes on",
        )
        .with("applied", "true"));
    }
    info!("torn down");
    Ok(())
}

async fn delete_members(
    engine: &Engine,
    target: &Target,
    record: Record,
    grace: Option<u32>,
) -> Result<Underway> {
    let members = known_uids(engine, target, &record).await?;
    let asked = delete_objects(engine, target, &record, members, grace).await?;
    Ok(Underway { lock: None, record, asked })
}

/// Deletes objects by uid: workloads first, so that no pod runs without its Services; then the rest.
async fn delete_objects(
    engine: &Engine,
    target: &Target,
    record: &Record,
    members: Vec<(ObjectRef, String)>,
    grace: Option<u32>,
) -> Result<Asked> {
    let mut asked = Asked::default();
    for stage in [Stage::Workload, Stage::Foundation] {
        let mut of_stage = members.clone();
        of_stage.retain(|(reference, _)| reference.kind.stage() == stage);
        delete_all(engine, record, of_stage, grace, &mut asked).await?;
    }
    if grace.is_some() && members.iter().any(|(reference, _)| reference.kind.is_controller()) {
        // The grace of a controller's deletion is not its pods': they would take their own.
        let controllers = members.iter().filter(|(reference, _)| reference.kind.is_controller());
        let pods = controllers.map(|(reference, _)| ObjectRef { kind: Kind::Pod, ..reference.clone() });
        let pods = list_while_deleting(engine, target, record, &pods.collect()).await?;
        let pods = pods.into_iter().filter(|seen| !seen.ours).map(|seen| (seen.reference, seen.uid));
        delete_all(engine, record, pods.collect(), grace, &mut asked).await?;
    }
    Ok(asked)
}

/// Deletes objects by uid, all at once; once everything was tried, fails if some could not be deleted, and the record
/// says which.
async fn delete_all(
    engine: &Engine,
    record: &Record,
    objects: Vec<(ObjectRef, String)>,
    grace: Option<u32>,
    asked: &mut Asked,
) -> Result<()> {
    let (mut first, mut left, mut answers) = (None, Vec::new(), Answers::default());
    for (reference, uid, deletion) in stages::delete_each(engine, &record.target(), objects, grace).await {
        match deletion {
            Err(error) => {
                left.push(format!("{reference} ({})", why(&error)));
                answers.refused(engine, reference, Some(uid), &error);
                first = first.or(Some(error));
                continue;
            }
            Ok(Deletion::Terminating(object)) => asked.going.push(object),
            Ok(Deletion::Replaced) => asked.replaced = true,
            Ok(Deletion::Gone) => {}
        }
        answers.accepted(reference, Some(uid));
    }
    answers.note(engine, record).await?;
    first.map_or(Ok(()), |first| Err(Error::left(first, &left.join(", "))))
}

/// Lists objects of this deployment, and not of one that was made under its name after it.
///
/// Two teardowns may go side by side; while the record that was marked is still there, nobody makes a new one.
async fn list_while_deleting(
    engine: &Engine,
    target: &Target,
    record: &Record,
    members: &BTreeSet<ObjectRef>,
) -> Result<Vec<ListedObject>> {
    let seen = engine.cluster.list_members(&target.namespace, &target.name, members).await?;
    let now = look::read(engine, target).await?;
    Ok(if now.is_some_and(|now| now.uid == record.uid) { seen } else { Vec::new() })
}

/// The uid of every member; looks at the cluster only when the inventory does not know one.
async fn known_uids(engine: &Engine, target: &Target, record: &Record) -> Result<Vec<(ObjectRef, String)>> {
    let inventory = &record.head.inventory;
    let adopted = inventory.iter().filter_map(|member| member.adopts.as_ref());
    let adopted = adopted.map(|pod| (pod.reference.clone(), pod.uid.clone()));
    let certain = |member: &Member| member.uid.is_some() && member.state != MemberState::Planned;
    if inventory.iter().all(certain) {
        let known =
            inventory.iter().filter_map(|member| Some((member.reference.clone(), member.uid.clone()?)));
        return Ok(known.chain(adopted).collect());
    }
    let members: BTreeSet<ObjectRef> = inventory.iter().map(|member| member.reference.clone()).collect();
    let listed = list_while_deleting(engine, target, record, &members).await?;
    // Claims that stay are ours as well, and so are those of a revision before.
    let goes = |seen: &ListedObject| {
        seen.reference.kind != Kind::PersistentVolumeClaim || members.contains(&seen.reference)
    };
    let recorded =
        |seen: &ListedObject| record.head.member(&seen.reference).and_then(|member| member.uid.as_deref());
    let ours = listed.into_iter().filter(|seen| seen.is_ours(recorded(seen)) && goes(seen));
    let objects: BTreeSet<_> = ours.map(|seen| (seen.reference, seen.uid)).chain(adopted).collect();
    Ok(objects.into_iter().collect())
}
