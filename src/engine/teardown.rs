//! Teardown: everything a deployment owns goes, in reverse order, its record last.

mod asked;

use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use super::dependents::{Owners, while_waiting};
use super::ending::Ending;
use super::lock::Lock;
use super::requests::{self, Known};
use super::{Engine, claims, left_in_time, leftovers, look, telling};
use crate::artifacts::{Kind, ObjectRef, Target};
use crate::cluster::Terminating;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{self, Named, VolumePolicy};
use crate::record::{self, Member, Phase, Record, Work};

use asked::Asked;

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
    /// What stands under the names of what was to go, and stays: it is not the deployment's.
    pub others: Vec<(ObjectRef, String)>,
    /// Its end; `None`: nothing was to be deleted.
    pub ending: Option<Ending>,
}

/// Objects that were asked to go, and the lock under which that was done; without one, another teardown has it.
struct Underway {
    lock: Option<Lock>,
    record: Record,
    asked: Asked,
}

/// Marks the deployment and deletes everything it owns, by uid; a second teardown while it goes joins the first.
///
/// Returns when everything is marked. `None`: there is no such deployment.
pub async fn teardown(engine: &Engine, target: &Target, choices: Choices) -> Result<Option<Teardown>> {
    // 1. What is there.
    let looked = tokio::time::timeout_at(choices.deadline, look_at(engine, target, &choices)).await;
    let Some(seen) = looked.unwrap_or_else(|_| Err(left_in_time()))? else { return Ok(None) };
    let Seen { record, joins, inventory, retained, beside, others } = seen;
    if let Some(others) = others {
        let retained = [retained, beside].concat();
        return Ok(Some(Teardown { inventory, retained, going: Vec::new(), others, ending: None }));
    }
    let deletes_claims = choices.volumes == VolumePolicy::Delete;
    let (target, grace, deadline) = (target.clone(), choices.grace_seconds, choices.deadline);
    let work = Work::Teardown { inventory: inventory.clone(), retained: retained.clone() };
    // 2. The mark that ends every other operation; 3. the deletes, which nobody's leaving stops.
    let ask = |own: Engine| async move {
        own.begins_in_time(deadline)?;
        let deployment = record.clone();
        let underway = if joins {
            // Another Teardown has written down what goes.
            own.beginning.promise();
            let asked = asked::members(&own, &target, &record, grace).await?;
            Some(Underway { lock: None, record, asked })
        } else {
            Box::pin(ask(&own, &target, record, work, deletes_claims, grace)).await?
        };
        let asked = underway.as_ref().map(|underway| underway.asked.clone()).unwrap_or_default();
        // Another Teardown may have come first: what goes and what stays is what that one has decided.
        let (inventory, retained) = match &underway {
            Some(Underway { lock: None, record, .. }) => decided(record),
            _ => (inventory, retained),
        };
        let retained = [claims::standing(&own, &target, retained).await?, beside].concat();
        let see = own.clone();
        let seen = async move {
            match underway {
                Some(underway) => see_gone(&see, &target, underway, grace).await,
                None => Ok(Vec::new()),
            }
        };
        let ending = Some(Ending::new(&own, &deployment, joins, seen));
        let Asked { going, others, .. } = asked;
        Ok(Some(Teardown { inventory, retained, going, others, ending }))
    };
    engine.detached(deadline, ask).await
}

/// What a Teardown has found before it writes anything.
struct Seen {
    record: Record,
    /// Whether another Teardown has begun, which this one joins.
    joins: bool,
    inventory: Vec<Member>,
    retained: Vec<Member>,
    /// Claims of earlier deployments of the name, which stay.
    beside: Vec<Member>,
    /// With `validate_only`: what stands under the names of what is to go.
    others: Option<Vec<(ObjectRef, String)>>,
}

async fn look_at(engine: &Engine, target: &Target, choices: &Choices) -> Result<Option<Seen>> {
    let Some(record) = named_anew(engine, target, choices).await? else { return Ok(None) };
    record::check_readable(&record)?;
    record::check_etag(Some(&record), &choices.etag)?;
    // A record that somebody else has deleted is that of no Teardown, and nobody has decided what becomes of its claims.
    let joins = record.head.phase == Phase::Deleting;
    let deletes_claims = choices.volumes == VolumePolicy::Delete;
    if joins {
        record::check_joins(&record, deletes_claims)?;
    } else {
        record::gate(&record, engine.unrenewed_for(&record))?;
    }
    let (inventory, retained) = if joins {
        decided(&record)
    } else {
        plan::set_aside(&record.head, |_| choices.volumes == VolumePolicy::Retain)
    };
    let retained = claims::standing(engine, target, retained).await?;
    let beside = if deletes_claims { claims::beside(engine, target, &inventory).await? } else { Vec::new() };
    engine.allows_teardown(target, &inventory, choices.grace_seconds).await?;
    let others = match choices.validate_only {
        true => Some(asked::spared(engine, target, &record, &inventory).await?),
        false => None,
    };
    Ok(Some(Seen { record, joins, inventory, retained, beside, others }))
}

/// What goes, and what stays, by a record that is being torn down.
fn decided(record: &Record) -> (Vec<Member>, Vec<Member>) {
    (record.head.inventory.clone(), record.head.retained.clone())
}

/// Reads the record; refuses a request whose name was another's. What a Teardown has done nobody remembers.
async fn named_anew(engine: &Engine, target: &Target, choices: &Choices) -> Result<Option<Record>> {
    let record = look::read_ours(engine, target).await?;
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
    let work = async {
        let asked = asked::made(engine, target, &record).await?;
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
    deletes_claims: bool,
    grace: Option<u32>,
) -> Result<Option<Underway>> {
    match Lock::take(engine, target, Some(&record), engine.operation_id(), work, None).await {
        Ok(lock) => {
            telling::tearing_down(engine, lock.record());
            delete_locked(engine, target, lock, grace).await
        }
        Err(lost) => join(engine, target, &record, lost, deletes_claims, grace).await,
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
    match lock.during(asked::members(engine, target, &record, grace)).await {
        Ok(asked) => Ok(Some(Underway { asked: asked?, lock: Some(lock), record })),
        // Whoever has taken it over goes by the claims that this mark has settled.
        Err(lost) => join(engine, target, &record, lost, false, grace).await,
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
    deletes_claims: bool,
    grace: Option<u32>,
) -> Result<Option<Underway>> {
    if lost.kind() != ErrorKind::OperationInProgress {
        return Err(lost);
    }
    match look::read(engine, target).await? {
        Some(now) if now.uid == record.uid && now.head.phase == Phase::Deleting => {
            record::check_joins(&now, deletes_claims)?;
            let asked = asked::members(engine, target, &now, grace).await?;
            Ok(Some(Underway { lock: None, record: now, asked }))
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
        Err(lost) => match join(engine, target, &record, lost, false, grace).await? {
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
    let (claims, others): (Vec<_>, Vec<_>) = asked.going.into_iter().partition(is_claim);
    let controllers = controllers(&others);
    let waiting = engine.cluster.wait_gone(namespace, name, others, deadline);
    let mut left = if controllers.is_empty() {
        waiting.await?
    } else {
        while_waiting(engine, record, Owners::Controllers(&controllers), waiting).await?
    };
    if left.is_empty() {
        left = leftovers::clear(engine, target, record, !asked.replaced.is_empty(), grace, deadline).await?;
    }
    left.extend(engine.cluster.wait_gone(namespace, name, claims, deadline).await?);
    Ok(left)
}

/// The controllers among what goes: their pods go before them.
fn controllers(going: &[Terminating]) -> Vec<(ObjectRef, String)> {
    let controllers = going.iter().filter(|going| going.reference.kind.is_controller());
    controllers.map(|going| (going.reference.clone(), going.uid.clone())).collect()
}

/// Deletes the record once every member was seen gone.
async fn remove_record(engine: &Engine, record: &Record, left: &[Terminating]) -> Result<()> {
    if !left.is_empty() {
        return Ok(());
    }
    let going = engine.cluster.delete_head(record, Instant::now() + PATIENCE);
    if !while_waiting(engine, record, Owners::Record, going).await? {
        return Err(Error::new(
            ErrorKind::WaitTimeout,
            "some objects still existed at the deadline; the teardown goes on",
        )
        .with("applied", "true"));
    }
    info!("torn down");
    Ok(())
}
