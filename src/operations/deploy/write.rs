//! What a Deploy writes: the lock, the stages, and then what ends it well or takes it back.

use std::time::Duration;

use jiff::Timestamp;
use tracing::warn;

use super::super::lock::Lock;
use super::super::plan::Plan;
use super::super::{Operations, Target, blame, execute, teardown, view};
use super::decide::{Decided, operation_of};
use crate::artifacts::{Artifact, Stage};
use crate::cluster::{Head, HeadRef, Held, OperationKind, Phase, RevisionEntry};
use crate::error::{Error, ErrorKind, Result};
use crate::status::DeploymentState;
use crate::template::Template;

/// How long a caller who hears of a failure waits for deleted objects to go as well.
const PATIENCE: Duration = Duration::from_secs(3);
/// Revisions that are kept beside the last good one.
const KEPT_REVISIONS: usize = 10;

impl Operations {
    pub(super) async fn lock_deploy(
        &self,
        target: &Target,
        decided: &Decided,
        revision: &HeadRef,
        create_namespace: bool,
    ) -> Result<Lock> {
        let mut head = match &decided.held {
            Some(held) => held.head.clone(),
            None => Head::new(decided.prepared.template.name.clone()),
        };
        // A dead operation may have stored its revision: it stays known, and goes with the others of its age.
        if let Some(begun) = begun(&head) {
            head.revisions.push(begun);
        }
        head.phase = Phase::Applying;
        head.inventory = decided.plan.union();
        head.recorded = decided.record();
        head.template_name.clone_from(&decided.prepared.template.name);
        let take = |head: Head| {
            Lock::take(
                self,
                target,
                decided.held.as_ref(),
                head,
                OperationKind::Deploy,
                operation_of(revision),
                Some(revision.clone()),
            )
        };
        match take(head.clone()).await {
            Err(error) if error.kind() == ErrorKind::NamespaceNotFound && create_namespace => {
                self.cluster.create_namespace(&target.namespace).await?;
                take(head).await
            }
            other => other,
        }
    }

    /// Stores the revision and applies both stages; the workloads start only when the revision is stored.
    pub(super) async fn apply_all(
        &self,
        target: &Target,
        plan: &Plan,
        held: &Held,
        revision: &HeadRef,
        packed: Vec<u8>,
    ) -> execute::Report {
        let mut report = execute::Report::default();
        let store = self.cluster.store_revision(held, revision, packed);
        let foundation = self.apply_stage(target, plan, Stage::Foundation, &mut report);
        let (stored, ()) = tokio::join!(store, foundation);
        report.stored = stored.is_ok();
        if let (Err(error), Some(step)) = (stored, plan.steps.first()) {
            report.failures.insert(0, (step.artifact.clone(), error));
        }
        if report.failures.is_empty() {
            self.apply_stage(target, plan, Stage::Workload, &mut report).await;
        } else {
            Self::skip_stage(plan, Stage::Workload, &mut report);
        }
        report
    }

    /// Undoes a first Deploy that failed, and returns the failure.
    pub(super) async fn take_back(
        &self,
        target: &Target,
        template: &Template,
        mut lock: Lock,
        report: execute::Report,
    ) -> Error {
        let error = blame::first(template, report.failures)
            .unwrap_or_else(|| Error::internal("a Deploy failed without a failure"));
        warn!(context = ?error.context(), "first Deploy failed, taking back what it made");
        let mut head = lock.held().head.clone();
        // A claim that was there before, or of which nobody knows, holds what is not this Deploy's to delete.
        teardown::set_aside(&mut head, |claim| !report.made_claims.contains(&claim.reference));
        head.phase = Phase::Deleting;
        if let Err(undo) = lock.write(head).await {
            warn!(context = ?undo.context(), "nothing was taken back");
            return error.prefixed("what was made could not be taken back, call Teardown; ");
        }
        // Pods may take their time; the caller need not wait for them to hear why.
        let (operations, work_target) = (self.clone(), target.clone());
        let work = self.tasks.spawn(async move { operations.take_back_members(&work_target, lock).await });
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(Ok(Ok(left))) if left.is_empty() => error,
            Ok(Ok(Ok(_)) | Err(_)) | Err(_) => error.prefixed("what was made is still being taken back; "),
            Ok(Ok(Err(undo))) => {
                warn!(context = ?undo.context(), "not everything was taken back");
                error.prefixed("not everything that was made could be taken back, call Teardown; ")
            }
        }
    }

    /// Ends the lock, deletes what the template no longer has, and lets pods of earlier revisions go.
    pub(super) async fn finish(
        &self,
        target: &Target,
        lock: Lock,
        decided: &Decided,
        revision: HeadRef,
        report: &execute::Report,
    ) -> Result<Held> {
        if let Some(earlier) = refused_at(decided, report) {
            return self.write_back(target, lock, earlier, revision).await;
        }
        let complete = report.failures.is_empty();
        let mut head = lock.held().head.clone();
        let plan = &decided.plan;
        head.inventory = report.applied.iter().chain(&report.open).chain(&plan.kept).cloned().collect();
        // Only a complete update hands over and deletes; otherwise everything stays what it was.
        if complete {
            head.inventory.extend(execute::deleting(&plan.doomed));
        } else {
            head.inventory.extend(plan.handed_over.iter().cloned());
            head.inventory.extend(plan.doomed.iter().map(|doomed| doomed.member.clone()));
        }
        let mut dropped = Vec::new();
        // A revision that was not stored is none: the one before it stays what comparisons are made with.
        if report.stored {
            head.revisions.push(RevisionEntry {
                revision: revision.clone(),
                time: Timestamp::now(),
                complete,
            });
            head.current = Some(revision);
            dropped = drop_old(&mut head);
        }
        head.recorded.state = DeploymentState::Deploying.as_str().to_owned();
        let held = lock.release(head, if complete { Phase::Progressing } else { Phase::Incomplete }).await?;
        for old in &dropped {
            // What cannot be deleted now goes with the head.
            if let Err(error) = self.cluster.delete_revision(&target.namespace, old).await {
                warn!(context = ?error.context(), "old revision not deleted");
            }
        }
        if !complete {
            return Ok(held);
        }
        self.prune(target, held, &plan.doomed).await
    }

    /// Ends an update that changed nothing: the deployment is what it was, and says so.
    async fn write_back(
        &self,
        target: &Target,
        lock: Lock,
        earlier: &Head,
        revision: HeadRef,
    ) -> Result<Held> {
        let now = &lock.held().head;
        let head = Head { generation: now.generation, last_good: now.last_good, ..earlier.clone() };
        let held = lock.release(head, earlier.phase).await?;
        // It may not have been stored at all.
        if let Err(error) = self.cluster.delete_revision(&target.namespace, &revision).await {
            warn!(context = ?error.context(), "refused revision not deleted");
        }
        self.follow(target, &view::moment(&held));
        Ok(held)
    }

    /// Drops the entries of objects that were seen gone, where nothing else has to be written.
    pub(super) async fn forget_gone(&self, held: &Held, plan: &Plan) -> Result<Held> {
        if plan.gone.is_empty() {
            return Ok(held.clone());
        }
        let amended = self
            .cluster
            .amend_head(held, |head| head.inventory.retain(|one| !plan.gone.contains(&one.reference)));
        match amended.await {
            // Another operation came first, and sees for itself.
            Err(error) if error.kind() == ErrorKind::OperationInProgress => Ok(held.clone()),
            other => other,
        }
    }
}

/// The record as it was, if an update of it has been refused before it changed anything.
fn refused_at<'a>(decided: &'a Decided, report: &execute::Report) -> Option<&'a Head> {
    let earlier = decided.held.as_ref().map(|held| &held.head)?;
    let was_in_order = earlier.operation.is_none() && earlier.current.is_some();
    (was_in_order && report.is_refused(&decided.plan)).then_some(earlier)
}

/// Takes the oldest revisions out of the index and returns them: ten stay, and the last good one.
fn drop_old(head: &mut Head) -> Vec<HeadRef> {
    let mut dropped = Vec::new();
    while head.revisions.len() > KEPT_REVISIONS {
        let last_good = head.last_good;
        let oldest = head.revisions.iter().position(|entry| Some(entry.revision.number) != last_good);
        let Some(oldest) = oldest else { break };
        dropped.push(head.revisions.remove(oldest).revision);
    }
    dropped
}

/// The revision of an operation that never ended, if the index does not have it.
fn begun(head: &Head) -> Option<RevisionEntry> {
    let operation = head.operation.as_ref()?;
    let revision = operation.revision.clone()?;
    let known = head.revisions.iter().any(|entry| entry.revision == revision);
    (!known).then_some(RevisionEntry { revision, time: operation.started, complete: false })
}

/// The error of an update that failed; if it has changed nothing, that is the failure itself.
pub(super) fn incomplete(
    template: &Template,
    failures: Vec<(Artifact, Error)>,
    touched: bool,
) -> Option<Error> {
    let listing = blame::listing(&failures);
    let first = blame::first(template, failures)?;
    Some(if touched { Error::incomplete(first, listing) } else { first })
}
