//! Reads a deployment and decides what a Deploy does to it.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::{Engine, look, teardown};
use crate::artifacts::{Kind, ObjectRef, Target};
use crate::error::Result;
use crate::plan::{self, Decided, Mixed, Named, Prepared, PrunePolicy};
use crate::record::{self, Head, Held, Phase, Request};

/// How a template is deployed.
#[derive(Clone, Debug)]
pub struct Choices {
    /// Whether a missing namespace is made.
    pub create_namespace: bool,
    /// What becomes of removed objects.
    pub prune: PrunePolicy,
    /// Check everything, write nothing.
    pub validate_only: bool,
    /// The etag the caller has seen; empty: any.
    pub etag: String,
    /// The request, if its caller has named it.
    pub request: Option<Named>,
    /// A request whose operation has died, and which this one carries out in its stead.
    pub inherited: Option<Request>,
    /// When the caller's own deadline ends.
    pub deadline: Instant,
}

/// Plans a Deploy of a deployment as it was read.
///
/// Writes nothing, but for a teardown that died half-way: that is finished first, and then this is a first Deploy.
pub(super) async fn decide(
    engine: &Engine,
    target: &Target,
    mut prepared: Prepared,
    choices: &Choices,
    held: Option<Held>,
) -> Result<Decided> {
    let mut held = held;
    record::check_etag(held.as_ref(), &choices.etag)?;
    if let Some(found) = &held {
        record::gate(found, engine.unrenewed_for(found))?;
        if found.terminating {
            return Err(record::being_deleted(found));
        }
        if found.head.phase == Phase::Deleting {
            if choices.validate_only {
                return Err(record::being_deleted(found));
            }
            teardown::finish(engine, target, found.clone(), choices.deadline).await?;
            held = None;
        }
    }
    let head = held.as_ref().map(|held| &held.head);
    let rendered = plan::render(&mut prepared, head.map(Head::controllers).unwrap_or_default())?;
    let current = head.and_then(|head| head.current.as_ref());
    let members: BTreeSet<ObjectRef> = head.map_or_else(BTreeSet::new, |head| {
        // A Secret that is new to the deployment needs no look: it is made only where there is none.
        let objects = rendered.artifacts.objects().iter().map(|artifact| &artifact.reference);
        let objects = objects.filter(|reference| reference.kind != Kind::Secret);
        head.inventory.iter().map(|member| &member.reference).chain(objects).cloned().collect()
    });
    let (previous, seen) = tokio::try_join!(
        look::read_revision(engine, target, current),
        engine.cluster.list_members(&target.namespace, &target.name, &members),
    )?;
    let operation = engine.operation_id();
    let inherited = prepared.key.clone();
    let mut decided =
        plan::decide(prepared, rendered, held, previous.as_ref(), &seen, choices.prune, &operation)?;
    if decided.key.is_none() && !decided.is_unchanged() {
        // The first revision of all, or the first since there are keys.
        decided.key = inherited.or_else(|| Some(engine.cluster.random_key()));
    }
    decided.request = choices.inherited.clone();
    if let Some(named) = &choices.request {
        let mixed = decided.key.as_deref().map_or(Mixed::Unknown, Mixed::Key);
        decided.request = Some(named.recorded(mixed));
    }
    Ok(decided)
}
