//! What a Deploy writes: the lock, the stages, and then what ends it well or takes it back.

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::warn;

use super::super::lock::Lock;
use super::super::plan::{self, Plan};
use super::super::{Operations, Target, blame, execute};
use super::decide::{Decided, operation_of};
use crate::artifacts::{Artifact, Stage};
use crate::cluster::{Head, HeadRef, Held, MemberState, OperationKind, Phase, RevisionEntry};
use crate::error::{Error, ErrorKind, Result};
use crate::status::DeploymentState;
use crate::template::Template;

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
        failures: Vec<(Artifact, Error)>,
    ) -> Error {
        let error = blame::first(template, failures)
            .unwrap_or_else(|| Error::internal("a Deploy failed without a failure"));
        warn!(context = ?error.context(), "first Deploy failed, taking back what it made");
        let mut head = lock.held().head.clone();
        head.phase = Phase::Deleting;
        let undone = match lock.write(head).await {
            Ok(()) => self.remove_everything(target, lock, None).await,
            Err(error) => Err(error),
        };
        match undone {
            Ok(_) => error,
            Err(undo) => {
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
        let complete = report.failures.is_empty();
        let mut head = lock.held().head.clone();
        let plan = &decided.plan;
        head.inventory = report.applied.iter().chain(&report.open).chain(&plan.kept).cloned().collect();
        // Only a complete update hands over and deletes; otherwise everything stays known.
        if !complete {
            head.inventory.extend(plan.handed_over.iter().cloned());
        }
        head.inventory.extend(execute::deleting(&plan.doomed));
        head.revisions.push(RevisionEntry { revision: revision.clone(), time: Timestamp::now(), complete });
        head.current = Some(revision);
        head.recorded.state = DeploymentState::Deploying.as_str().to_owned();
        let held = lock.release(head, if complete { Phase::Progressing } else { Phase::Incomplete }).await?;
        if !complete {
            return Ok(held);
        }
        self.prune(target, held, &plan.doomed).await
    }

    /// Drops the entries of objects that were seen gone, where nothing else has to be written.
    pub(super) async fn forget_gone(&self, held: &Held, plan: &Plan) -> Result<Held> {
        if plan.gone.is_empty() {
            return Ok(held.clone());
        }
        let mut head = held.head.clone();
        head.inventory.retain(|member| !plan.gone.contains(&member.reference));
        match self.cluster.record_head(held, head).await {
            // Another operation came first, and sees for itself.
            Err(error) if error.kind() == ErrorKind::OperationInProgress => Ok(held.clone()),
            other => other,
        }
    }

    /// Deletes by uid what the template no longer has; entries leave the inventory when seen gone.
    async fn prune(&self, target: &Target, held: Held, doomed: &[plan::Doomed]) -> Result<Held> {
        if doomed.is_empty() {
            return Ok(held);
        }
        let objects: Vec<_> = doomed.iter().flat_map(plan::Doomed::objects).collect();
        let going = self.delete_all(target, objects, None).await?;
        let deadline = Instant::now() + self.settings.lease;
        let left = self.cluster.wait_gone(&target.namespace, &target.name, going, deadline).await?;
        let mut head = held.head.clone();
        head.inventory.retain(|member| {
            member.state != MemberState::Deleting
                || left.iter().any(|going| Some(going.uid.as_str()) == member.uid.as_deref())
        });
        match self.cluster.write_head(&held, head).await {
            Ok(held) => Ok(held),
            // Another operation came meanwhile: it sees for itself that they are gone.
            Err(error) if error.kind() == ErrorKind::OperationInProgress => Ok(held),
            Err(error) => Err(error),
        }
    }
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
