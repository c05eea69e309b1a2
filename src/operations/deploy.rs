//! Deploy: a template becomes objects on the cluster, first or again.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{info, warn};

use super::lock::{self, Lock};
use super::plan::{self, Inputs, Plan};
use super::revision::{self, Revision};
use super::translate::{Prepared, Source, combine};
use super::view::{self, DeploymentView};
use super::{Operations, Target, blame, effective, execute};
use crate::artifacts::{
    Artifact, Artifacts, Change, ComponentName, DeploymentName, Kind, Namespace, Planned, Stage,
    field_manager, scale_manager,
};
use crate::cluster::{
    self, Head, HeadRef, Held, Member, MemberState, OperationKind, Phase, Recorded, RecordedComponent,
    RevisionEntry,
};
use crate::diagnostic::Diagnostic;
use crate::error::{Error, ErrorKind, Result};
use crate::status::DeploymentState;
use crate::template::Template;

/// The most objects of one deployment, and with the leftovers of an earlier revision.
const MAX_OBJECTS: usize = 256;
const MAX_INVENTORY: usize = 512;

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
    /// The name; `None`: made from the template's name.
    pub name: Option<DeploymentName>,
    /// The template.
    pub source: Source,
    /// What is merged into it.
    pub overrides: Option<crate::template::raw::RawTemplate>,
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
    generation: u64,
}

/// Everything decided about one Deploy before its first write.
struct Decided {
    prepared: Prepared,
    artifacts: Artifacts<Planned>,
    options: crate::translate::Options,
    held: Option<Held>,
    number: u32,
    plan: Plan,
}

impl Operations {
    /// Brings the deployment to what the template says.
    ///
    /// An invalid template, a name that is taken, a lost lock: nothing is written. A first Deploy that fails
    /// takes back what it made; an update that fails in part is APPLY_INCOMPLETE and repaired by the next.
    pub async fn deploy(&self, call: DeployCall) -> Result<Deployed> {
        // 1. The template: every fault at once, before the cluster is asked anything.
        Self::check_namespace(&call.namespace)?;
        let prepared = super::translate::prepare(&call.source, call.overrides.as_ref(), call.name.clone())?;
        super::translate::render(&prepared, BTreeSet::new())?;
        let target = Target { namespace: call.namespace.clone(), name: prepared.name.clone() };
        let (choices, wait) = (call.choices, call.wait_ready);
        let (operations, work_target) = (self.clone(), target.clone());
        let validate_only = choices.validate_only;
        let mut deployed = self
            .detached(choices.deadline, async move {
                let work = operations.deploy_now(&work_target, prepared, &choices);
                let (result, warnings) = cluster::collecting(work).await;
                result.map(|deployed| Deployed { warnings, ..deployed })
            })
            .await?;
        // 9. The lock is free again; waiting only looks.
        if let Some(until) = wait.filter(|_| !validate_only) {
            deployed.deployment = self.wait_ready(&target, until, deployed.generation).await?;
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
        if let Some(held) = decided.held.as_ref().filter(|held| is_unchanged(held, &decided.plan)) {
            return Ok(answer(held, changes, diagnostics, Outcome::Unchanged));
        }
        let first = decided.held.is_none();
        // 3. Lock, write-ahead log and record of the request: one compare-and-swap.
        let packed = pack(&decided)?;
        let revision = new_revision(target, decided.number);
        let mut lock = self.lock_deploy(target, &decided, &revision, choices.create_namespace).await?;
        // 4. and 5. The revision beside the first stage, then the workloads.
        let held = lock.held().clone();
        let report = lock.during(self.apply_all(target, &decided.plan, &held, &revision, packed)).await?;
        if first && !report.failures.is_empty() {
            return Err(self.take_back(target, &decided.prepared.template, lock, report.failures).await);
        }
        // 6. The lock ends before any waiting. 7. Then what the template no longer has goes.
        let held = self.finish(target, lock, &decided, revision, &report).await?;
        let touched = report.touched(&decided.plan);
        if let Some(error) = incomplete(&decided.prepared.template, report.failures, touched) {
            return Err(error);
        }
        let outcome = if first { Outcome::Created } else { Outcome::Updated };
        info!(?outcome, changes = effective(&changes), "deployed");
        self.record_when_settled(target, held.head.generation);
        Ok(answer(&held, with_uids(changes, &held), diagnostics, outcome))
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
            self.finish_teardown(target, held, deadline).await?;
            return Err(view::not_found(target));
        };
        let prepared = Prepared::stored(revision.template, target.name.clone());
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

    /// Reads the deployment and plans; writes nothing.
    async fn decide(&self, target: &Target, prepared: Prepared, choices: &DeployChoices) -> Result<Decided> {
        let mut held = self.cluster.read_head(&target.namespace, &target.name).await?;
        lock::check_etag(held.as_ref(), &choices.etag)?;
        if let Some(found) = &held {
            lock::gate(found)?;
            if found.terminating {
                return Err(lock::being_deleted(found));
            }
            // A teardown that died half-way is finished first; then this is a first Deploy.
            if found.head.phase == Phase::Deleting {
                if choices.validate_only {
                    return Err(lock::being_deleted(found));
                }
                self.finish_teardown(target, found.clone(), choices.deadline).await?;
                held = None;
            }
        }
        let head = held.as_ref().map(|held| &held.head);
        let controllers = head.map(controllers).unwrap_or_default();
        let (artifacts, options, mut diagnostics) = super::translate::render(&prepared, controllers.clone())?;
        if artifacts.objects().len() > MAX_OBJECTS {
            return Err(too_many(artifacts.objects().len()));
        }
        let current = head.and_then(|head| head.current.as_ref());
        let previous = self.read_revision(target, current).await?;
        let before = previous.map(|previous| previous.rendered_with(controllers)).unwrap_or_default();
        let seen = match head {
            Some(head) => {
                let kinds: BTreeSet<Kind> = head
                    .inventory
                    .iter()
                    .map(|member| member.reference.kind)
                    .chain(artifacts.objects().iter().map(|artifact| artifact.reference.kind))
                    .filter(|kind| *kind != Kind::Secret)
                    .collect();
                let kinds: Vec<Kind> = kinds.into_iter().collect();
                self.cluster.list_members(&target.namespace, &target.name, &kinds).await?
            }
            None => Vec::new(),
        };
        let number = head.map_or(1, revision::next_number);
        let links = crate::translate::linked_services(&prepared.template);
        let (own, scale) = (field_manager(&target.name), scale_manager(&target.name));
        let plan = plan::plan(&Inputs {
            head,
            before: &before,
            after: &artifacts,
            links: &links,
            seen: Some(&seen),
            revision: number,
            prune: choices.prune == PrunePolicy::DeleteRemoved,
            scale: &BTreeMap::new(),
            managers: (&own, &scale),
        });
        if plan.union().len() > MAX_INVENTORY {
            return Err(too_many(plan.union().len()));
        }
        let mut prepared = prepared;
        prepared.diagnostics.append(&mut diagnostics);
        Ok(Decided { prepared, artifacts, options, held, number, plan })
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
            Some(held) if is_unchanged(held, &decided.plan) => Outcome::Unchanged,
            Some(_) => Outcome::Updated,
        };
        let deployment = match &decided.held {
            Some(held) => view::recorded(held),
            None => view::not_made(target, &record_of(&decided), &decided.prepared.template.name),
        };
        let changes = decided.plan.changes;
        Ok(Deployed { deployment, changes, diagnostics, warnings: Vec::new(), outcome, generation: 0 })
    }

    async fn lock_deploy(
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
        head.phase = Phase::Applying;
        head.inventory = decided.plan.union();
        head.recorded = record_of(decided);
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
    async fn take_back(
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
    async fn finish(
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
        self.delete_all(target, plan.outdated.clone(), None).await?;
        self.prune(target, held, &plan.doomed).await
    }

    /// Deletes by uid what the template no longer has; entries leave the inventory when seen gone.
    async fn prune(&self, target: &Target, held: Held, doomed: &[plan::Doomed]) -> Result<Held> {
        if doomed.is_empty() {
            return Ok(held);
        }
        let objects: Vec<_> = doomed.iter().map(plan::Doomed::object).collect();
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

/// The components that run as controllers, whatever the template's count says.
pub(super) fn controllers(head: &Head) -> BTreeSet<ComponentName> {
    head.inventory
        .iter()
        .filter(|member| member.reference.kind.is_controller() && member.state != MemberState::Deleting)
        .map(|member| member.component.clone())
        .collect()
}

fn is_unchanged(held: &Held, plan: &Plan) -> bool {
    plan.is_noop()
        && held.head.operation.is_none()
        && held.head.phase != Phase::Incomplete
        && held.head.current.is_some()
}

fn pack(decided: &Decided) -> Result<Vec<u8>> {
    Revision {
        template: decided.prepared.template.clone(),
        options: decided.options.clone(),
        rendered: decided.artifacts.objects().to_vec(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
    .pack()
}

/// The revision to come, under a name that holds the operation's own random id.
fn new_revision(target: &Target, number: u32) -> HeadRef {
    let id = lock::operation_id();
    HeadRef { number, secret: cluster::revision_name(&target.name, number, &id) }
}

/// The operation's id: the same random text as in its revision's name.
fn operation_of(revision: &HeadRef) -> String {
    revision.secret.rsplit('-').next().unwrap_or_default().to_owned()
}

fn record_of(decided: &Decided) -> Recorded {
    let components = crate::translate::components(&decided.prepared.template);
    Recorded {
        state: DeploymentState::Deploying.as_str().to_owned(),
        components: components
            .into_iter()
            .map(|component| RecordedComponent {
                name: component.name,
                image_name: component.image_name,
                image: component.source,
            })
            .collect(),
    }
}

/// The error of an update that failed; if it has changed nothing, that is the failure itself.
fn incomplete(template: &Template, failures: Vec<(Artifact, Error)>, touched: bool) -> Option<Error> {
    let listing = blame::listing(&failures);
    let first = blame::first(template, failures)?;
    Some(if touched { Error::incomplete(first, listing) } else { first })
}

fn with_uids(mut changes: Vec<Change>, held: &Held) -> Vec<Change> {
    for change in &mut changes {
        let member: Option<&Member> = held.head.member(&change.reference);
        change.uid = member.and_then(|member| member.uid.clone()).or(change.uid.take());
    }
    changes
}

fn answer(held: &Held, changes: Vec<Change>, diagnostics: Vec<Diagnostic>, outcome: Outcome) -> Deployed {
    let generation = held.head.generation;
    Deployed {
        deployment: view::recorded(held),
        changes,
        diagnostics,
        warnings: Vec::new(),
        outcome,
        generation,
    }
}

fn too_many(count: usize) -> Error {
    Error::new(
        ErrorKind::LimitExceeded,
        format!(
            "the deployment would have {count} objects; {MAX_OBJECTS} are allowed, {MAX_INVENTORY} with those of earlier revisions"
        ),
    )
}
