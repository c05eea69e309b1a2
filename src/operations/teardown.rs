//! Teardown: everything a deployment owns goes, in reverse order, its record last.

mod volumes;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::info;

use super::lock::{self, Lock};
use super::{Operations, Target, view};
use crate::artifacts::{Action, Change, DeploymentName, Kind, Namespace, ObjectRef, Stage};
use crate::cluster::{Going, Held, Member, MemberState, OperationKind, Phase, Seen};
use crate::error::{Error, ErrorKind, Result};

pub use volumes::VolumePolicy;
pub(super) use volumes::set_aside;

/// How long a teardown keeps watching objects go before it leaves them to the next call.
const PATIENCE: Duration = Duration::from_secs(600);

/// A Teardown, decoded.
#[derive(Clone, Debug)]
pub struct TeardownCall {
    /// The namespace.
    pub namespace: Namespace,
    /// The deployment.
    pub name: DeploymentName,
    /// What becomes of its volume claims.
    pub volumes: VolumePolicy,
    /// Whether a deployment that is not there is fine.
    pub allow_missing: bool,
    /// The pods' grace period; `None`: each pod's own.
    pub grace_seconds: Option<u32>,
    /// Wait until everything is gone, at most until then.
    pub wait_gone: Option<Instant>,
    /// Check everything, delete nothing.
    pub validate_only: bool,
    /// The etag the caller has seen; empty: any.
    pub etag: String,
    /// When the caller's own deadline ends.
    pub deadline: Instant,
}

/// The answer to a Teardown.
#[derive(Clone, Debug, Default)]
pub struct TornDown {
    /// What was deleted.
    pub changes: Vec<Change>,
    /// The volume claims that stay, with their uids.
    pub retained: Vec<(ObjectRef, Option<String>)>,
    /// Whether everything is gone, the record included.
    pub complete: bool,
    /// What is still there.
    pub blocked: Vec<Blocked>,
}

/// An object that is marked for deletion and still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The object.
    pub reference: ObjectRef,
    /// Its uid.
    pub uid: String,
    /// The finalizers that hold it back.
    pub finalizers: Vec<String>,
    /// When it was marked.
    pub since: Option<Timestamp>,
}

impl Operations {
    /// Deletes everything the deployment owns, by uid; a second call while it goes joins the first.
    pub async fn teardown(&self, call: TeardownCall) -> Result<TornDown> {
        Self::check_namespace(&call.namespace)?;
        let target = Target { namespace: call.namespace.clone(), name: call.name.clone() };
        // 1. What is there.
        let mut held = match self.cluster.read_head(&target.namespace, &target.name).await? {
            Some(held) => held,
            None if call.allow_missing => return Ok(TornDown { complete: true, ..TornDown::default() }),
            None => return Err(view::not_found(&target)),
        };
        lock::check_readable(&held)?;
        lock::check_etag(Some(&held), &call.etag)?;
        let joins = held.is_deleting();
        if !joins {
            lock::gate(&held)?;
        }
        set_aside(&mut held.head, |_| call.volumes == VolumePolicy::Retain);
        self.keep_standing_claims(&target, &mut held).await?;
        let planned = planned(&held);
        if call.validate_only {
            return Ok(planned);
        }
        // 2. The mark that ends every other operation; 3. the deletes, which nobody's leaving stops.
        let (asked, answer) = tokio::sync::oneshot::channel();
        let operations = self.clone();
        let grace = call.grace_seconds;
        let work = async move {
            if joins {
                return operations.join_teardown(&target, &held, grace, Some(asked)).await;
            }
            match operations.mark(&target, &held).await {
                Ok(lock) => operations.remove_asked(&target, lock, grace, Some(asked)).await,
                // Lost to another operation; if that is a Teardown too, both want the same.
                Err(lost) => match operations.others_teardown(&target, &held, lost).await? {
                    Some(now) => operations.join_teardown(&target, &now, grace, Some(asked)).await,
                    None => Ok(Vec::new()),
                },
            }
        };
        let wait = call.wait_gone.map(|until| until.min(call.deadline));
        self.answer(work, answer, planned, wait, call.deadline).await
    }

    /// Answers when everything is marked, or, if the caller waits, when everything is gone.
    async fn answer(
        &self,
        work: impl Future<Output = Result<Vec<Going>>> + Send + 'static,
        marked: tokio::sync::oneshot::Receiver<Vec<Going>>,
        planned: TornDown,
        wait: Option<Instant>,
        deadline: Instant,
    ) -> Result<TornDown> {
        use tracing::Instrument;
        let mut task = self.tasks.spawn(work.in_current_span());
        let ended = |result: std::result::Result<Result<Vec<Going>>, tokio::task::JoinError>| match result {
            Ok(Ok(left)) => Ok(planned.clone().ended(left)),
            Ok(Err(error)) => Err(error),
            Err(failure) => Err(Error::internal(format!("the teardown's task ended early: {failure}"))),
        };
        let marked = tokio::select! {
            biased;
            result = &mut task => return ended(result),
            marked = marked => marked,
            () = tokio::time::sleep_until(deadline) => return Err(timeout(&[], ErrorKind::ClusterTimeout)),
        };
        let Ok(going) = marked else { return ended(task.await) };
        let Some(until) = wait else {
            // What goes without grace is gone in a moment: then the answer can say so.
            if going.is_empty() {
                return match tokio::time::timeout_at(deadline, task).await {
                    Ok(result) => ended(result),
                    Err(_) => Err(timeout(&going, ErrorKind::ClusterTimeout)),
                };
            }
            return Ok(planned.ended(going).incomplete());
        };
        match tokio::time::timeout_at(until, task).await {
            Ok(result) => {
                let torn = ended(result)?;
                if torn.complete { Ok(torn) } else { Err(timeout(&[], ErrorKind::WaitTimeout)) }
            }
            Err(_) => Err(timeout(&going, ErrorKind::WaitTimeout)),
        }
    }

    async fn mark(&self, target: &Target, held: &Held) -> Result<Lock> {
        let mut head = held.head.clone();
        head.phase = Phase::Deleting;
        let id = lock::operation_id();
        Lock::take(self, target, Some(held), head, OperationKind::Teardown, id, None).await
    }

    /// The deployment as another Teardown marked it, `None` when that has ended already; or why the mark was lost.
    async fn others_teardown(&self, target: &Target, held: &Held, lost: Error) -> Result<Option<Held>> {
        if lost.kind() != ErrorKind::OperationInProgress {
            return Err(lost);
        }
        match self.cluster.read_head(&target.namespace, &target.name).await? {
            Some(now) if now.uid == held.uid && now.head.phase == Phase::Deleting => Ok(Some(now)),
            // Gone, or gone and made anew: what this call was asked to delete is not there any more.
            now if now.as_ref().is_none_or(|now| now.uid != held.uid) => Ok(None),
            _ => Err(lost),
        }
    }

    /// Finishes a teardown that died half-way.
    ///
    /// One that nobody asked for deletes no volume claim: whose they were before is not known.
    pub(super) async fn finish_teardown(
        &self,
        target: &Target,
        mut held: Held,
        deadline: Instant,
    ) -> Result<()> {
        set_aside(&mut held.head, |_| true);
        let lock = self.mark(target, &held).await?;
        let work = self.remove_asked(target, lock, None, None);
        match tokio::time::timeout_at(deadline, work).await {
            Ok(Ok(left)) if left.is_empty() => Ok(()),
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) | Err(_) => Err(lock::being_deleted(&held)),
        }
    }

    /// Removes what a first Deploy has made, and nothing else; returns what is still there.
    pub(super) async fn take_back_members(&self, target: &Target, mut lock: Lock) -> Result<Vec<Going>> {
        let held = lock.held().clone();
        let members: BTreeSet<ObjectRef> =
            held.head.inventory.iter().map(|member| member.reference.clone()).collect();
        let mut made = self.known_uids(target, &held).await?;
        made.retain(|(reference, _)| members.contains(reference));
        let left = lock.during(self.remove_objects(target, &held, made, None, None)).await??;
        self.remove_record(lock.held(), &left).await?;
        Ok(left)
    }

    /// Deletes all members, waits until they are gone, then deletes the head; returns what is still there.
    async fn remove_asked(
        &self,
        target: &Target,
        mut lock: Lock,
        grace: Option<u32>,
        marked: Option<tokio::sync::oneshot::Sender<Vec<Going>>>,
    ) -> Result<Vec<Going>> {
        let held = lock.held().clone();
        match lock.during(self.remove_members(target, &held, grace, marked)).await {
            Ok(left) => {
                let left = left?;
                self.remove_record(lock.held(), &left).await?;
                Ok(left)
            }
            // The lease could not be renewed: a Teardown that joined may have ended first.
            Err(lost) => match self.others_teardown(target, &held, lost).await? {
                Some(now) => self.join_teardown(target, &now, grace, None).await,
                None => Ok(Vec::new()),
            },
        }
    }

    /// Does what the teardown that is under way does: everything by uid, so twice is once.
    async fn join_teardown(
        &self,
        target: &Target,
        held: &Held,
        grace: Option<u32>,
        marked: Option<tokio::sync::oneshot::Sender<Vec<Going>>>,
    ) -> Result<Vec<Going>> {
        let left = self.remove_members(target, held, grace, marked).await?;
        self.remove_record(held, &left).await?;
        Ok(left)
    }

    /// Deletes the head once every member was seen gone.
    async fn remove_record(&self, held: &Held, left: &[Going]) -> Result<()> {
        if left.is_empty() && !self.cluster.delete_head(held, Instant::now() + PATIENCE).await? {
            return Err(timeout(&[], ErrorKind::WaitTimeout));
        }
        if left.is_empty() {
            info!("torn down");
        }
        Ok(())
    }

    async fn remove_members(
        &self,
        target: &Target,
        held: &Held,
        grace: Option<u32>,
        marked: Option<tokio::sync::oneshot::Sender<Vec<Going>>>,
    ) -> Result<Vec<Going>> {
        let members = self.known_uids(target, held).await?;
        self.remove_objects(target, held, members, grace, marked).await
    }

    async fn remove_objects(
        &self,
        target: &Target,
        held: &Held,
        members: Vec<(ObjectRef, String)>,
        grace: Option<u32>,
        marked: Option<tokio::sync::oneshot::Sender<Vec<Going>>>,
    ) -> Result<Vec<Going>> {
        // Workloads first, so that no pod runs without its Services; then the rest.
        let mut going = Vec::new();
        for stage in [Stage::Workload, Stage::Foundation] {
            let mut of_stage = members.clone();
            of_stage.retain(|(reference, _)| reference.kind.stage() == stage);
            going.extend(self.delete_all(target, of_stage, grace).await?);
        }
        if grace.is_some() && members.iter().any(|(reference, _)| reference.kind.is_controller()) {
            // The grace of a controller's deletion is not its pods': they would take their own.
            let controllers = members.iter().filter(|(reference, _)| reference.kind.is_controller());
            let pods = controllers.map(|(reference, _)| ObjectRef { kind: Kind::Pod, ..reference.clone() });
            let pods = self.list_while_deleting(target, held, &pods.collect()).await?;
            let pods = pods.into_iter().filter(|seen| !seen.ours).map(|seen| (seen.reference, seen.uid));
            going.extend(self.delete_all(target, pods.collect(), grace).await?);
        }
        if let Some(marked) = marked {
            // The caller may have left; the work goes on all the same.
            let _ = marked.send(going.clone());
        }
        self.cluster.wait_gone(&target.namespace, &target.name, going, Instant::now() + PATIENCE).await
    }

    /// Lists objects of this deployment, and not of one that was made under its name after it.
    ///
    /// Two teardowns may go side by side; while the head that was marked still stands, nobody makes a new one.
    async fn list_while_deleting(
        &self,
        target: &Target,
        held: &Held,
        members: &BTreeSet<ObjectRef>,
    ) -> Result<Vec<Seen>> {
        let seen = self.cluster.list_members(&target.namespace, &target.name, members).await?;
        let now = self.cluster.read_head(&target.namespace, &target.name).await?;
        Ok(if now.is_some_and(|now| now.uid == held.uid) { seen } else { Vec::new() })
    }

    /// The uid of every member; looks at the cluster only when the inventory does not know one.
    async fn known_uids(&self, target: &Target, held: &Held) -> Result<Vec<(ObjectRef, String)>> {
        let inventory = &held.head.inventory;
        let adopted = inventory.iter().filter_map(|member| member.adopts.as_ref());
        let adopted = adopted.map(|pod| (pod.reference.clone(), pod.uid.clone()));
        let certain = |member: &Member| member.uid.is_some() && member.state != MemberState::Planned;
        if inventory.iter().all(certain) {
            let known =
                inventory.iter().filter_map(|member| Some((member.reference.clone(), member.uid.clone()?)));
            return Ok(known.chain(adopted).collect());
        }
        let members: BTreeSet<ObjectRef> = inventory.iter().map(|member| member.reference.clone()).collect();
        let seen = self.list_while_deleting(target, held, &members).await?;
        // Claims that stay are ours as well, and so are those of a revision before.
        let goes = |seen: &Seen| {
            seen.reference.kind != Kind::PersistentVolumeClaim || members.contains(&seen.reference)
        };
        let seen = seen.into_iter().filter(|seen| seen.ours && goes(seen));
        let seen = seen.map(|seen| (seen.reference, seen.uid));
        let objects: BTreeSet<_> = seen.chain(adopted).collect();
        Ok(objects.into_iter().collect())
    }
}

impl TornDown {
    fn incomplete(mut self) -> Self {
        self.complete = false;
        self
    }

    /// The answer once everything was asked to go and this is left.
    fn ended(mut self, left: Vec<Going>) -> Self {
        self.complete = left.is_empty();
        self.blocked = left
            .into_iter()
            .map(|going| Blocked {
                reference: going.reference,
                uid: going.uid,
                finalizers: going.finalizers,
                since: going.since,
            })
            .collect();
        self
    }
}

/// What a teardown of this does, before anything is done.
fn planned(held: &Held) -> TornDown {
    let mut members: Vec<&Member> = held.head.inventory.iter().collect();
    members.sort_by(|left, right| right.reference.cmp(&left.reference));
    let change = |member: &Member| Change {
        reference: member.reference.clone(),
        uid: member.uid.clone(),
        action: Action::Delete,
        component: Some(member.component.clone()),
        fields: Vec::new(),
    };
    TornDown {
        changes: members.into_iter().map(change).collect(),
        retained: held
            .head
            .retained
            .iter()
            .map(|claim| (claim.reference.clone(), claim.uid.clone()))
            .collect(),
        complete: false,
        blocked: Vec::new(),
    }
}

fn timeout(going: &[Going], kind: ErrorKind) -> Error {
    let names: Vec<String> = going.iter().map(|going| going.reference.to_string()).collect();
    let what = if names.is_empty() { "objects".to_owned() } else { names.join(", ") };
    Error::new(kind, format!("{what} were still there when the time was up; the teardown goes on"))
        .with("since", Timestamp::now().to_string())
        .with("applied", "true")
}
