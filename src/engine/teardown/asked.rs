//! What a teardown asks to go: every object of the deployment, by its uid, and nothing that people have made.

use std::collections::BTreeSet;

use super::super::refusals::{Answers, why};
use super::super::{Engine, dependents, leftovers, look, stages};
use crate::artifacts::{Kind, ListedObject, ObjectRef, Stage, Target};
use crate::cluster::{Deletion, Terminating};
use crate::error::{Error, Result};
use crate::record::{Member, MemberState, Record};

/// What became of deletes that were asked for.
#[derive(Clone, Default)]
pub(super) struct Asked {
    /// What is marked and still there.
    pub(super) going: Vec<Terminating>,
    /// The names under which another object stood than the one that was to go.
    pub(super) replaced: Vec<ObjectRef>,
    /// What stands under names of the inventory and is not the deployment's.
    pub(super) others: Vec<(ObjectRef, String)>,
}

/// What an inventory stands for.
struct Found {
    /// The objects to be deleted, by uid.
    ours: Vec<(ObjectRef, String)>,
    /// The names under which a look has found nothing of the deployment.
    without: Vec<ObjectRef>,
}

/// Asks all members of a deployment to go, and finds out what stands under their names and stays.
pub(super) async fn members(
    engine: &Engine,
    target: &Target,
    record: &Record,
    grace: Option<u32>,
) -> Result<Asked> {
    let Found { ours, without } = find(engine, target, record).await?;
    let mut asked = objects(engine, target, record, ours, grace).await?;
    let names: Vec<ObjectRef> = asked.replaced.iter().chain(&without).cloned().collect();
    asked.others = leftovers::others(engine, target, record, &names).await?;
    Ok(asked)
}

/// What of an inventory's names a teardown would leave, since it is not the deployment's; nothing is deleted.
pub(super) async fn spared(
    engine: &Engine,
    target: &Target,
    record: &Record,
    inventory: &[Member],
) -> Result<Vec<(ObjectRef, String)>> {
    let names: BTreeSet<ObjectRef> = inventory.iter().map(|member| member.reference.clone()).collect();
    let seen = engine.cluster.list_members(&target.namespace, &target.name, &names).await?;
    let is_there = |member: &&Member| {
        let is_it = |seen: &ListedObject| {
            let uid = member.uid.as_deref();
            seen.reference == member.reference && (seen.ours || uid == Some(seen.uid.as_str()))
        };
        seen.iter().any(is_it)
    };
    let left = inventory.iter().filter(|member| !is_there(member));
    let names: Vec<ObjectRef> = left.map(|member| member.reference.clone()).collect();
    leftovers::others(engine, target, record, &names).await
}

/// Removes what a first Deploy has made, and nothing else.
pub(super) async fn made(engine: &Engine, target: &Target, record: &Record) -> Result<Asked> {
    let members: BTreeSet<&ObjectRef> =
        record.head.inventory.iter().map(|member| &member.reference).collect();
    let mut made = find(engine, target, record).await?.ours;
    made.retain(|(reference, _)| members.contains(reference));
    objects(engine, target, record, made, None).await
}

/// Deletes objects by uid: workloads first, so that no pod runs without its Services; then the rest.
async fn objects(
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
    let controllers = members.into_iter().filter(|(reference, _)| reference.kind.is_controller());
    let controllers: Vec<_> = controllers.collect();
    if grace.is_some() && !controllers.is_empty() {
        // The grace of a controller's deletion is not its pods': they would take their own.
        let made = dependents::made_by(engine, target, &controllers).await?;
        let pods = made.pods.iter().filter_map(dependents::pod).collect();
        delete_all(engine, record, pods, grace, &mut asked).await?;
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
            Ok(Deletion::Replaced) => asked.replaced.push(reference.clone()),
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
    let seen = look::members(engine, target, &record.head.inventory, members).await?;
    let now = look::read(engine, target).await?;
    Ok(if now.is_some_and(|now| now.uid == record.uid) { seen } else { Vec::new() })
}

/// The uid of every member; looks at the cluster only when the inventory does not know one.
async fn find(engine: &Engine, target: &Target, record: &Record) -> Result<Found> {
    let inventory = &record.head.inventory;
    let adopted = inventory.iter().filter_map(|member| member.adopts.as_ref());
    let adopted = adopted.map(|pod| (pod.reference.clone(), pod.uid.clone()));
    let certain = |member: &Member| member.uid.is_some() && member.state != MemberState::Planned;
    if inventory.iter().all(certain) {
        let known =
            inventory.iter().filter_map(|member| Some((member.reference.clone(), member.uid.clone()?)));
        return Ok(Found { ours: known.chain(adopted).collect(), without: Vec::new() });
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
    let is_found = |name: &ObjectRef| objects.iter().any(|(reference, _)| reference == name);
    let without = members.into_iter().filter(|name| !is_found(name)).collect();
    Ok(Found { ours: objects.into_iter().collect(), without })
}
