//! Creates that arrive when the record of their deployment is gone: nothing on the cluster knows their operations any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{Instrument, debug, info_span, warn};

use super::{Engine, look};
use crate::artifacts::{Form, Kind, ListedObject, ObjectRef, Target};
use crate::error::Result;
use crate::plan;
use crate::record::{Phase, Record};

/// The first pause before a look that failed is repeated. It doubles with each failure.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a look is repeated.
const PATIENCE: Duration = Duration::from_secs(600);

/// The records of which something may still arrive, as a watch shows them.
#[derive(Default)]
pub(super) struct InDoubt(BTreeMap<Target, Arc<Record>>);

impl InDoubt {
    /// Takes a record as it is now.
    pub(super) fn see(&mut self, record: &Arc<Record>) {
        if record.head.doubts().next().is_some() {
            self.0.insert(record.target(), Arc::clone(record));
        } else {
            self.0.remove(&record.target());
        }
    }

    /// Looks out for what arrives of a record that is gone.
    pub(super) fn gone(&mut self, engine: &Engine, record: &Record) {
        self.0.remove(&record.target());
        look_out(engine, record);
    }

    /// Looks out for what arrives of those that went while nobody watched.
    pub(super) fn keep(&mut self, engine: &Engine, is_there: impl Fn(&Target) -> bool) {
        for (_, record) in self.0.extract_if(.., |target, _| !is_there(target)) {
            look_out(engine, &record);
        }
    }
}

/// Looks once, when nothing can arrive any more, for the objects that operations of a record that is gone have created
/// since, and deletes them.
///
/// From this process's memory, since nothing on the cluster is left to remember the operations: every replica that has
/// seen the record go does it. A deployment that was to stay, and whose record somebody has deleted, keeps its objects.
pub(super) fn look_out(engine: &Engine, record: &Record) {
    let operations: BTreeSet<String> = record.head.doubts().cloned().collect();
    if operations.is_empty() || record.head.phase != Phase::Deleting {
        return;
    }
    let Some(opened) = engine.outlived.open((record.uid.clone(), operations.clone()), 1) else { return };
    let span = info_span!("outlived", deployment = %record.name, namespace = %record.namespace);
    let (engine, record) = (engine.clone(), record.clone());
    let shutdown = engine.shutdown.clone();
    let tasks = engine.tasks.clone();
    let looking = async move {
        let _opened = opened;
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = look_until_answered(&engine, &record, &operations) => {}
        }
    };
    tasks.spawn(looking.instrument(span));
}

async fn look_until_answered(engine: &Engine, record: &Record, operations: &BTreeSet<String>) {
    tokio::time::sleep(plan::DOUBT).await;
    let (end, mut pause) = (Instant::now() + PATIENCE, PAUSE);
    while let Err(error) = delete_late(engine, record, operations).await {
        if Instant::now() + pause > end {
            warn!(context = ?error.context(), "nobody knows what a dead operation has created late");
            return;
        }
        debug!(context = ?error.context(), "a look failed, trying again");
        tokio::time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// Deletes what these operations have created, unless a record of a new deployment lists it; what lies on a volume stays.
async fn delete_late(engine: &Engine, record: &Record, operations: &BTreeSet<String>) -> Result<()> {
    let target = record.target();
    let names: BTreeSet<ObjectRef> =
        record.head.inventory.iter().map(|member| member.reference.clone()).collect();
    let seen = engine.cluster.list_members(&target.namespace, &target.name, &names).await?;
    let is_late = |seen: &ListedObject| {
        let is_marked = seen.operation.as_ref().is_some_and(|operation| operations.contains(operation));
        let stays = seen.controlled || seen.terminating || seen.reference.kind == Kind::PersistentVolumeClaim;
        seen.ours && is_marked && !stays
    };
    let late: Vec<ListedObject> = seen.into_iter().filter(is_late).collect();
    if late.is_empty() {
        return Ok(());
    }
    // A record is always written before the objects that it lists.
    let now = look::read(engine, &target).await?;
    let is_listed =
        |reference: &ObjectRef| now.as_ref().is_some_and(|now| now.head.member(reference).is_some());
    for seen in late.into_iter().filter(|seen| !is_listed(&seen.reference)) {
        warn!(reference = %seen.reference, "deleting an object that was created when its record was gone");
        let form = Form::new(seen.uid, Some(seen.version));
        engine.cluster.delete_form(&target.namespace, &seen.reference, &form).await?;
    }
    Ok(())
}
