//! The look before a record goes: nothing of the deployment may be left, whoever lost it or brought it back.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::try_join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::time::Instant;
use tracing::info;

use super::refusals::Answers;
use super::{Engine, look, stages};
use crate::artifacts::{ComponentName, Kind, LABEL_NAME, ListedObject, ObjectName, ObjectRef, Target};
use crate::cluster::{HeldBack, Terminating};
use crate::error::Result;
use crate::plan;
use crate::record::{HeadRef, Makers, Record};

/// What a record that was lost may have left.
const STRAYS: [Kind; 4] = [Kind::Deployment, Kind::ReplicationController, Kind::Pod, Kind::Service];

/// The pause before what a finalizer of somebody else's holds is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Deletes what a look still finds of a deployment whose inventory is gone; returns what is still there at last.
///
/// `replaced`: an object of the inventory was met under another uid, so it may have been created again from a backup.
pub(super) async fn clear(
    engine: &Engine,
    target: &Target,
    record: &Record,
    replaced: bool,
    grace: Option<u32>,
    deadline: Instant,
) -> Result<Vec<Terminating>> {
    let restored = record.is_restored() || replaced && is_disowned(engine, record).await?;
    let looks = replaced || restored || record.head.restored;
    loop {
        let sets = if has_sets(record) || restored {
            engine.cluster.list_sets_left(&target.namespace, &target.name).await?
        } else {
            Vec::new()
        };
        let pods = engine.cluster.list_pods_left(&target.namespace, &target.name).await?;
        let left = plan::leftovers(&target.name, &record.head, &pods, &sets, restored);
        let makers = Makers::of(&target.name, &record.head);
        // A record that was lost and begun anew does not know the controllers of these.
        let has_strays = left.is_empty() && pods.iter().any(|pod| makers.do_not_control(pod));
        let members = if looks || has_strays {
            members(engine, target, record, restored, has_strays).await?
        } else {
            Vec::new()
        };
        if left.is_empty() && members.is_empty() || !is_still_there(engine, target, record).await? {
            return Ok(Vec::new());
        }
        info!(
            pods = left.pods.len() + left.pods_of_sets.len(),
            sets = left.sets.len(),
            members = members.len(),
            "deleting what is left"
        );
        for (name, uid) in &left.sets {
            engine.cluster.delete_set(&target.namespace, name, uid).await?;
        }
        let objects = left.pods.into_iter().chain(left.pods_of_sets).chain(members).collect();
        let going = stages::delete_all(engine, target, objects, grace).await?;
        let is_waited_for = !going.is_empty();
        let going = engine.cluster.wait_gone(&target.namespace, &target.name, going, deadline).await?;
        if !going.is_empty() || Instant::now() + LOOK_AGAIN > deadline {
            return Ok(going);
        }
        if !is_waited_for {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// What has the names of members that are gone, and is not the deployment's: nobody here deletes it.
pub(super) async fn others(
    engine: &Engine,
    target: &Target,
    record: &Record,
    names: &[ObjectRef],
) -> Result<Vec<(ObjectRef, String)>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let restored = record.is_restored() || is_disowned(engine, record).await?;
    let looks = names.iter().map(|name| engine.cluster.find(&target.namespace, &target.name, name));
    let found = try_join_all(looks).await?.into_iter().flatten();
    // Whose labels somebody has taken away is deleted by its uid all the same.
    let is_recorded = |seen: &ListedObject| {
        let member = record.head.member(&seen.reference);
        member.and_then(|member| member.uid.as_ref()) == Some(&seen.uid)
    };
    let others = found.filter(|seen| !(seen.ours || restored && seen.labelled || is_recorded(seen)));
    Ok(others.map(|seen| (seen.reference, seen.uid)).collect())
}

/// Deletes the pods and ReplicaSets that lost controllers of these components have left beside what runs them now.
///
/// The pods of a ReplicaSet come behind it: the cluster deletes them, or the next look, which finds them without one.
/// Whoever still knows the ReplicaSet when they go makes others, which nobody would have seen when all else is gone.
pub(super) async fn clear_beside(
    engine: &Engine,
    record: &Record,
    components: &[ComponentName],
) -> Result<()> {
    let target = record.target();
    let sets = engine.cluster.list_sets_left(&target.namespace, &target.name).await?;
    let pods = engine.cluster.list_pods_left(&target.namespace, &target.name).await?;
    let is_of_these = |object: &ObjectMeta| {
        let name = object.labels.as_ref().and_then(|labels| labels.get(LABEL_NAME));
        components.iter().any(|component| name.is_some_and(|name| name == component.as_str()))
    };
    let of_these = |objects: Vec<ObjectMeta>| objects.into_iter().filter(is_of_these).collect::<Vec<_>>();
    // Nobody has begun to write since: what the record knows is no leftover.
    let Some(now) = look::read(engine, &target).await?.filter(|now| now.head == record.head) else {
        return Ok(());
    };
    let left = plan::leftovers(&target.name, &now.head, &of_these(pods), &of_these(sets), false);
    let makers = Makers::of(&target.name, &now.head);
    for (name, uid) in &left.sets {
        info!(name, "deleting a ReplicaSet that is left");
        engine.cluster.delete_set(&target.namespace, name, uid).await?;
    }
    let mut answers = Answers::default();
    let pods = left.pods.into_iter().filter(|(_, uid)| !makers.know(uid)).collect();
    for (reference, uid, deletion) in stages::delete_each(engine, &target, pods, None).await {
        info!(%reference, "deleting a pod that is left");
        match deletion {
            Ok(_) => answers.accepted(reference, Some(uid)),
            Err(error) => answers.refused(engine, reference, Some(uid), &error),
        }
    }
    answers.note(engine, &now).await.map(|_| ())
}

/// The record, with the note that it was restored where that shows: an earlier version has not noted in which ConfigMap
/// it lay. Costs a call only if an object of the inventory is there under another uid.
pub(super) async fn recognized(engine: &Engine, record: Record, seen: &[ListedObject]) -> Result<Record> {
    let is_another = |seen: &ListedObject| {
        let member = record.head.member(&seen.reference);
        let uid = member.and_then(|member| member.uid.as_ref());
        seen.labelled && uid.is_some_and(|uid| *uid != seen.uid)
    };
    let may_be = record.head.uid.is_none() && seen.iter().any(is_another);
    let is_restored = may_be && is_disowned(engine, &record).await?;
    Ok(if is_restored { record.found_restored() } else { record })
}

/// What of a deployment that goes the cluster refuses to delete, as its record says: one read, and nothing else.
pub async fn refused_deletes(engine: &Engine, target: &Target) -> Result<Vec<HeldBack>> {
    let record = look::read(engine, target).await?.filter(Record::is_deleting);
    Ok(record.iter().flat_map(|record| record.head.refused_deletes()).map(HeldBack::refused).collect())
}

/// What holds a deployment that goes: finalizers of what no inventory has, and whoever refuses deletes; nothing once its
/// record is gone.
pub async fn held_back(engine: &Engine, target: &Target) -> Result<Vec<HeldBack>> {
    match look::read(engine, target).await? {
        Some(record) if record.is_deleting() => {
            let mut held = engine.cluster.held_back(&record).await?;
            held.extend(record.head.refused_deletes().map(HeldBack::refused));
            Ok(held)
        }
        _ => Ok(Vec::new()),
    }
}

/// Whether the record has, or had, an apps Deployment.
fn has_sets(record: &Record) -> bool {
    record.head.inventory.iter().any(|member| member.reference.kind == Kind::Deployment)
}

/// Whether the head does not own the current revision: then the record was restored, also where it does not say in which
/// ConfigMap an earlier version wrote it.
async fn is_disowned(engine: &Engine, record: &Record) -> Result<bool> {
    match &record.head.current {
        Some(current) => Ok(!engine.cluster.owns_revision(record, current).await?),
        None => Ok(false),
    }
}

/// What stands under the inventory's names and is ours, and, of a deployment that was restored, its revisions; with
/// `strays` also what no inventory has, of every kind that may be listed: claims aside, which stay.
async fn members(
    engine: &Engine,
    target: &Target,
    record: &Record,
    restored: bool,
    strays: bool,
) -> Result<Vec<(ObjectRef, String)>> {
    let head = &record.head;
    let secret = |revision: &HeadRef| {
        Some(ObjectRef::new(Kind::Secret, ObjectName::new(revision.secret.clone()).ok()?))
    };
    let revisions = head.revisions.iter().map(|entry| &entry.revision).chain(&head.current);
    // Adopted objects have their uids in the inventory, and revisions of before still no owner.
    let is_meant = |_: &&HeadRef| restored || head.restored;
    let revisions = revisions.filter(is_meant).filter_map(secret);
    let revisions: BTreeSet<ObjectRef> = revisions.collect();
    let members = head.inventory.iter().map(|member| member.reference.clone());
    let members: BTreeSet<ObjectRef> = members.chain(revisions.iter().cloned()).collect();
    let mut looked_at = members.clone();
    if let (true, Ok(any)) = (strays, ObjectName::new(target.name.as_str())) {
        looked_at.extend(STRAYS.map(|kind| ObjectRef::new(kind, any.clone())));
    }
    let seen = engine.cluster.list_members(&target.namespace, &target.name, &looked_at).await?;
    let is_revision = |seen: &ListedObject| revisions.contains(&seen.reference);
    let is_ours = |seen: &ListedObject| {
        let is_stray =
            strays && STRAYS.contains(&seen.reference.kind) && !seen.terminating && !seen.controlled;
        let is_member = members.contains(&seen.reference);
        (is_member || is_stray) && seen.ours || is_member && seen.labelled && (restored || is_revision(seen))
    };
    Ok(seen.into_iter().filter(is_ours).map(|seen| (seen.reference, seen.uid)).collect())
}

/// Whether the record is: then nobody has made a new deployment of this name before the look.
async fn is_still_there(engine: &Engine, target: &Target, record: &Record) -> Result<bool> {
    Ok(look::read(engine, target).await?.is_some_and(|now| now.uid == record.uid))
}
