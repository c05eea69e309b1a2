//! Reads a deployment and decides what a Deploy does to it.

use std::collections::BTreeSet;

use futures::future::try_join_all;
use tokio::time::Instant;

use super::{Engine, look, teardown};
use crate::artifacts::{Kind, ObjectRef, Target};
use crate::error::Result;
use crate::plan::{self, ConflictPolicy, Decided, Policies, Prepared, PrunePolicy, ReplicasPolicy};
use crate::record::{self, Head, Phase};

/// How a template is deployed.
#[derive(Clone, Debug)]
pub struct Choices {
    /// Whether a missing namespace is made.
    pub create_namespace: bool,
    /// What becomes of removed objects.
    pub prune: PrunePolicy,
    /// What is done where others hold fields.
    pub conflicts: ConflictPolicy,
    /// Whose replica counts hold.
    pub replicas: ReplicasPolicy,
    /// Check everything, write nothing.
    pub validate_only: bool,
    /// The etag the caller has seen; empty: any.
    pub etag: String,
    /// The plan that is to be carried out and nothing else; empty: whatever it takes.
    pub plan_id: String,
    /// When the caller's own deadline ends.
    pub deadline: Instant,
}

/// Reads the deployment and plans a Deploy; `believed`: it is not read, since a watch shows no such deployment.
///
/// Writes nothing, but for a teardown that died half-way: that is finished first, and then this is a first Deploy.
pub(super) async fn decide(
    engine: &Engine,
    target: &Target,
    mut prepared: Prepared,
    choices: &Choices,
    believed: bool,
) -> Result<Decided> {
    let mut held = if believed { None } else { look::read(engine, target).await? };
    record::check_etag(held.as_ref(), &choices.etag)?;
    if let Some(found) = &held {
        record::gate(found, engine.unrenewed_for(found))?;
        if found.terminating {
            return Err(record::being_deleted(found));
        }
        if found.head.phase == Phase::Deleting {
            // Finishing it would be a write that no plan has said.
            if choices.validate_only || !choices.plan_id.is_empty() {
                return Err(record::being_deleted(found));
            }
            teardown::finish(engine, target, found.clone(), choices.deadline).await?;
            held = None;
        }
    }
    let head = held.as_ref().map(|held| &held.head);
    let mut rendered = plan::render(&mut prepared, head.map(Head::controllers).unwrap_or_default())?;
    let current = head.and_then(|head| head.current.as_ref());
    let members: BTreeSet<ObjectRef> = head.map_or_else(BTreeSet::new, |head| {
        // A Secret that is new to the deployment needs no look: it is made only where there is none.
        let objects = rendered.artifacts.objects().iter().map(|artifact| &artifact.reference);
        let objects = objects.filter(|reference| reference.kind != Kind::Secret);
        head.inventory.iter().map(|member| &member.reference).chain(objects).cloned().collect()
    });
    let (previous, mut seen) = tokio::try_join!(
        look::read_revision(engine, target, current),
        engine.cluster.list_members(&target.namespace, &target.name, &members),
    )?;
    if let Some(head) = head {
        let autoscaled = plan::autoscaled(head, &rendered.artifacts, &seen, &target.name);
        if !autoscaled.is_empty() {
            rendered =
                plan::render(&mut prepared, head.controllers().into_iter().chain(autoscaled).collect())?;
        }
        let unknown = plan::counts_to_read(head, &rendered.artifacts, &seen, choices.replicas, &target.name);
        let reads = unknown.iter().map(|controller| engine.cluster.replicas(&target.namespace, controller));
        for (controller, count) in unknown.iter().zip(try_join_all(reads).await?) {
            let counted = seen.iter_mut().filter(|seen| seen.reference == *controller);
            counted.for_each(|seen| seen.replicas = count);
        }
    }
    let operation = engine.operation_id();
    let policies =
        Policies { prune: choices.prune, conflicts: choices.conflicts, replicas: choices.replicas };
    plan::decide(prepared, rendered, held, previous.as_ref(), &seen, policies, &operation)
}
