//! Deploy: a template becomes objects on the cluster, first or again.

mod decide;
mod write;

use std::collections::BTreeSet;

use tokio::time::Instant;
use tracing::info;

use super::translate::{Prepared, TemplateCall, combine};
use super::view::{self, DeploymentView, Moment};
use super::{Operations, Target, blame, effective};
use crate::artifacts::{Action, Change, Namespace};
use crate::cluster::{self, Held};
use crate::diagnostic::Diagnostic;
use crate::error::{Error, ErrorKind, Result};
use crate::status::DeploymentState;

use decide::{Decided, new_revision};
use write::incomplete;

pub(super) use decide::controllers;

/// What becomes of objects that the template no longer has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrunePolicy {
    /// They are deleted.
    #[default]
    DeleteRemoved,
    /// They stay, and go with the deployment.
    Keep,
}

/// A Deploy, decoded.
#[derive(Clone, Debug)]
pub struct DeployCall {
    /// The namespace.
    pub namespace: Namespace,
    /// The template, and how it is translated.
    pub template: TemplateCall,
    /// How it is deployed.
    pub choices: DeployChoices,
    /// Wait until every component is ready, at most until then.
    pub wait_ready: Option<Instant>,
}

/// How a template is deployed.
#[derive(Clone, Debug)]
pub struct DeployChoices {
    /// Whether a missing namespace is made.
    pub create_namespace: bool,
    /// What becomes of removed objects.
    pub prune: PrunePolicy,
    /// Check everything, write nothing.
    pub validate_only: bool,
    /// The etag the caller has seen; empty: any.
    pub etag: String,
    /// When the caller's own deadline ends.
    pub deadline: Instant,
}

/// How a Deploy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was no such deployment before.
    Created,
    /// It was changed.
    Updated,
    /// It was as the template says already; nothing was written.
    Unchanged,
}

/// The answer to a Deploy.
#[derive(Clone, Debug)]
pub struct Deployed {
    /// The deployment.
    pub deployment: DeploymentView,
    /// What was done to each object.
    pub changes: Vec<Change>,
    /// What was lost, changed or assumed.
    pub diagnostics: Vec<Diagnostic>,
    /// What the API server warned of.
    pub warnings: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
    moment: Option<Moment>,
}

impl Operations {
    /// Brings the deployment to what the template says.
    ///
    /// An invalid template, a name that is taken, a lost lock: nothing is written. A first Deploy that fails
    /// takes back what it made; an update that fails in part is APPLY_INCOMPLETE and repaired by the next.
    pub async fn deploy(&self, call: DeployCall) -> Result<Deployed> {
        // 1. The template: every fault at once, before the cluster is asked anything.
        Self::check_namespace(&call.namespace)?;
        let prepared = super::translate::prepare(&call.template)?;
        super::translate::render(&prepared, BTreeSet::new())?;
        let target = Target { namespace: call.namespace.clone(), name: prepared.name.clone() };
        let (choices, wait) = (call.choices, call.wait_ready);
        let (operations, work_target) = (self.clone(), target.clone());
        let mut deployed = self
            .detached(choices.deadline, async move {
                let work = operations.deploy_now(&work_target, prepared, &choices);
                let (result, warnings) = cluster::collecting(work).await;
                result.map(|deployed| Deployed { warnings, ..deployed })
            })
            .await?;
        // 9. The lock is free again; waiting only looks.
        if let (Some(until), Some(moment)) = (wait, &deployed.moment) {
            deployed.deployment = self.wait_ready(&target, until, moment).await?;
        }
        Ok(deployed)
    }

    async fn deploy_now(
        &self,
        target: &Target,
        prepared: Prepared,
        choices: &DeployChoices,
    ) -> Result<Deployed> {
        // 2. What is there, and what has to happen to it.
        let decided = self.decide(target, prepared, choices).await?;
        let diagnostics = combine(&decided.prepared.diagnostics, &decided.plan.diagnostics);
        let changes = decided.plan.changes.clone();
        if choices.validate_only {
            return self.validated(target, decided, diagnostics, choices.create_namespace).await;
        }
        if let Some(held) = decided.held.as_ref().filter(|_| decided.is_unchanged()) {
            let held = self.forget_gone(held, &decided.plan).await?;
            // Not seen ready yet, or Secrets that wait for that: whoever was to see to it, and to pods of earlier
            // revisions, may have died.
            let is_ready = DeploymentState::from_record(&held.head.recorded.state).is_ready();
            if !is_ready || !decided.plan.doomed.is_empty() {
                self.follow(target, &view::moment(&held));
            }
            return Ok(answer(&held, changes, diagnostics, Outcome::Unchanged));
        }
        let first = decided.is_first();
        // 3. Lock, write-ahead log and record of the request: one compare-and-swap.
        let packed = decided.pack()?;
        let revision = new_revision(target, decided.number);
        let mut lock = self.lock_deploy(target, &decided, &revision, choices.create_namespace).await?;
        // 4. and 5. The revision beside the first stage, then the workloads.
        let held = lock.held().clone();
        let report = lock.during(self.apply_all(target, &decided.plan, &held, &revision, packed)).await?;
        // Objects that were there before, with their record lost, are not this Deploy's to take back.
        if first && !report.failures.is_empty() && !report.adopted {
            return Err(self.take_back(target, &decided.prepared.template, lock, report).await);
        }
        // 6. The lock ends before any waiting. 7. Then what the template no longer has goes.
        let held = self.finish(target, lock, &decided, revision, &report).await?;
        let touched = report.touched(&decided.plan);
        let mut changes = with_uids(changes, &held);
        for met in report.met_claims(&decided.plan) {
            changes.iter_mut().filter(|change| change.reference == *met).for_each(|change| {
                change.action = Action::Update;
            });
        }
        if let Some(error) = incomplete(&decided.prepared.template, report.failures, touched) {
            return Err(error);
        }
        let outcome = if first { Outcome::Created } else { Outcome::Updated };
        info!(?outcome, changes = effective(&changes), "deployed");
        Ok(answer(&held, changes, diagnostics, outcome))
    }

    /// Finishes a Deploy or Scale that died: forward to the revision it stored, or back to the one before.
    ///
    /// A first Deploy that never stored its revision is taken back; then there is no such deployment.
    pub(super) async fn finish_deploy(&self, target: &Target, held: Held, deadline: Instant) -> Result<Held> {
        let begun = held.head.operation.as_ref().and_then(|operation| operation.revision.clone());
        let stored = match self.read_revision(target, begun.as_ref()).await? {
            Some(revision) => Some(revision),
            None => self.read_revision(target, held.head.current.as_ref()).await?,
        };
        let Some(revision) = stored else {
            if held.head.current.is_some() {
                return Err(Error::internal(
                    "neither the revision that was begun nor the current one is stored",
                )
                .prefixed("the record of what is deployed is lost, deploy again to repair it; "));
            }
            self.finish_teardown(target, held, deadline).await?;
            return Err(view::not_found(target));
        };
        let prepared = Prepared::stored(revision.template, &revision.options);
        let choices = DeployChoices {
            create_namespace: false,
            // What the dead operation meant to delete is marked so in the inventory.
            prune: PrunePolicy::Keep,
            validate_only: false,
            etag: String::new(),
            deadline,
        };
        Box::pin(self.deploy_now(target, prepared, &choices)).await?;
        self.must_read(target).await
    }

    /// Lets the API server check every object, ownership included, without writing any.
    async fn validated(
        &self,
        target: &Target,
        decided: Decided,
        diagnostics: Vec<Diagnostic>,
        create_namespace: bool,
    ) -> Result<Deployed> {
        let mut failures = self.dry_run(target, &decided.plan).await;
        if create_namespace {
            failures.retain(|(_, error)| error.kind() != ErrorKind::NamespaceNotFound);
        }
        if let Some(error) = blame::first(&decided.prepared.template, failures) {
            return Err(error);
        }
        let outcome = match &decided.held {
            None => Outcome::Created,
            Some(_) if decided.is_unchanged() => Outcome::Unchanged,
            Some(_) => Outcome::Updated,
        };
        let deployment = match &decided.held {
            Some(held) => view::recorded(held),
            None => view::not_made(target, &decided.record(), &decided.prepared.template.name),
        };
        let changes = decided.plan.changes;
        Ok(Deployed { deployment, changes, diagnostics, warnings: Vec::new(), outcome, moment: None })
    }
}

fn with_uids(mut changes: Vec<Change>, held: &Held) -> Vec<Change> {
    for change in &mut changes {
        let member = held.head.member(&change.reference);
        change.uid = member.and_then(|member| member.uid.clone()).or(change.uid.take());
    }
    changes
}

fn answer(held: &Held, changes: Vec<Change>, diagnostics: Vec<Diagnostic>, outcome: Outcome) -> Deployed {
    Deployed {
        deployment: view::recorded(held),
        changes,
        diagnostics,
        warnings: Vec::new(),
        outcome,
        moment: Some(view::moment(held)),
    }
}
