//! Teardown: everything a deployment owns goes, in reverse order, its record last.

use std::time::Duration;

use tokio::time::Instant;

use super::observe::GOES_ON;
use super::{NamedRequest, Operations, Target};
use crate::artifacts::{Action, Change, DeploymentName, Namespace, ObjectRef};
use crate::callers::{Ask, Deed};
use crate::engine::{self, HeldBack, Teardown, TeardownChoices, Terminating};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::VolumePolicy;
use crate::record::{self, Member, holding_finalizers};

/// How long a call that waits for nothing waits for what goes in a moment.
const MOMENT: Duration = Duration::from_secs(2);
/// How long the look before a WAIT_TIMEOUT may take.
const LOOK: Duration = Duration::from_millis(500);

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
    /// The request, if its caller has named it.
    pub request: Option<NamedRequest>,
    /// When the caller's own deadline ends.
    pub deadline: Instant,
}

/// The answer to a Teardown.
#[derive(Clone, Debug, Default)]
pub struct TornDown {
    /// What was deleted, and what was kept since it is not the deployment's.
    pub changes: Vec<Change>,
    /// The volume claims that stay, with their uids.
    pub retained: Vec<(ObjectRef, Option<String>)>,
    /// Whether everything is gone, the record included.
    pub complete: bool,
    /// What is marked for deletion and still there, whether a finalizer holds it or not.
    pub blocked: Vec<HeldBack>,
}

/// What a look shows in time; what it does not, the next call tells.
async fn glimpsed(look: impl Future<Output = Result<Vec<HeldBack>>>) -> Vec<HeldBack> {
    tokio::time::timeout(LOOK, look).await.ok().and_then(Result::ok).unwrap_or_default()
}

impl Operations {
    /// Deletes everything the deployment owns, by uid; a second call while it goes joins the first.
    pub async fn teardown(&self, call: TeardownCall) -> Result<TornDown> {
        Self::check_namespace(&call.namespace)?;
        let target = Target { namespace: call.namespace.clone(), name: call.name.clone() };
        let ask = Ask::new(Deed::Teardown, Some(&target.namespace));
        let validate_only = call.validate_only;
        let change = self.tear_down(target.clone(), call);
        self.changing(&ask, &target, validate_only, change).await
    }

    async fn tear_down(&self, target: Target, call: TeardownCall) -> Result<TornDown> {
        let choices = TeardownChoices {
            volumes: call.volumes,
            grace_seconds: call.grace_seconds,
            validate_only: call.validate_only,
            etag: call.etag,
            request: call.request,
            deadline: call.deadline,
        };
        // 1. Everything is marked.
        let Some(teardown) = engine::teardown(&self.engine, &target, choices).await? else {
            let gone = TornDown { complete: true, ..TornDown::default() };
            return if call.allow_missing { Ok(gone) } else { Err(record::not_found(&target)) };
        };
        let planned = planned(&teardown);
        let Some(ending) = teardown.ending else { return Ok(planned) };
        // 2. What is left: at once, or, if the caller waits or there is nothing to wait for, when it is gone.
        let (until, kind) = match call.wait_gone {
            Some(until) => (until.min(call.deadline), ErrorKind::WaitTimeout),
            // What goes without grace is gone in a moment: then the answer can say so.
            None if teardown.going.is_empty() => {
                (call.deadline.min(Instant::now() + MOMENT), ErrorKind::ClusterTimeout)
            }
            None => return Ok(self.under_way(&target, planned, teardown.going).await),
        };
        let Ok(left) = tokio::time::timeout_at(until, ending.seen()).await else {
            if call.wait_gone.is_none() {
                return Ok(self.under_way(&target, planned, teardown.going).await);
            }
            return Err(self.still_there(&target, planned.ended(teardown.going), kind).await);
        };
        let torn = planned.ended(left?);
        if torn.complete || call.wait_gone.is_none() {
            Ok(torn)
        } else {
            Err(self.still_there(&target, torn, ErrorKind::WaitTimeout).await)
        }
    }

    /// The answer while it goes on: with what is known to hold it up.
    async fn under_way(&self, target: &Target, planned: TornDown, going: Vec<Terminating>) -> TornDown {
        let torn = planned.ended(going).incomplete();
        torn.held_back(glimpsed(engine::held_back(&self.engine, target)).await)
    }

    /// The end of a wait: names what is still there, and which finalizers hold it.
    async fn still_there(&self, target: &Target, torn: TornDown, kind: ErrorKind) -> Error {
        let (refused, held) = tokio::join!(
            glimpsed(engine::refused_deletes(&self.engine, target)),
            glimpsed(engine::held_back(&self.engine, target)),
        );
        let torn = torn.held_back(refused).held_back(held);
        let (held, others): (Vec<&HeldBack>, Vec<&HeldBack>) =
            torn.blocked.iter().partition(|one| why(one).is_some());
        let names = others.iter().chain(&held).map(|one| {
            let since = one.since.map(|since| format!(" since {since}")).unwrap_or_default();
            let why = why(one).map(|why| format!(" ({why}{since})")).unwrap_or_default();
            format!("{} {}{why}", one.kind, one.name)
        });
        let names: Vec<String> = names.collect();
        let what = if names.is_empty() { "objects".to_owned() } else { names.join(", ") };
        // What has kept them for the longest, if that is known.
        let since =
            held.iter().filter_map(|one| one.since).min().unwrap_or_else(|| self.engine.clock().now());
        let since = since.to_string();
        let held: Vec<String> = held.iter().map(|one| format!("{} {}", one.kind, one.name)).collect();
        Error::new(kind, format!("{what} still existed at the deadline; the teardown goes on"))
            .with("since", since)
            .with("held", held.join(", "))
            .with("applied", "true")
            .with(GOES_ON, "true")
    }
}

/// What keeps an object from going, if anything is known to.
fn why(held: &HeldBack) -> Option<String> {
    if !held.refused.is_empty() {
        return Some(format!("not deleted: {}", held.refused));
    }
    (!held.finalizers.is_empty()).then(|| format!("held by finalizer {}", held.finalizers.join(", ")))
}

impl TornDown {
    fn incomplete(mut self) -> Self {
        self.complete = false;
        self
    }

    /// Adds what is held beside the inventory, and who refuses to delete what is among it.
    fn held_back(mut self, beside: Vec<HeldBack>) -> Self {
        for one in beside {
            let known = self
                .blocked
                .iter_mut()
                .find(|blocked| (blocked.kind, &blocked.name) == (one.kind, &one.name));
            match known {
                Some(known) if known.refused.is_empty() => known.refused = one.refused,
                Some(_) => {}
                None => self.blocked.push(one),
            }
        }
        self
    }

    /// The answer once everything was asked to go and this is left.
    fn ended(mut self, left: Vec<Terminating>) -> Self {
        self.complete = left.is_empty();
        self.blocked = left
            .into_iter()
            .map(|going| HeldBack {
                group: going.reference.kind.group(),
                kind: going.reference.kind.as_str(),
                name: going.reference.name.to_string(),
                uid: going.uid,
                finalizers: holding_finalizers(going.finalizers),
                refused: String::new(),
                since: going.since,
            })
            .collect();
        self
    }
}

/// What a teardown of this does, before anything is done.
fn planned(teardown: &Teardown) -> TornDown {
    let mut members: Vec<&Member> = teardown.inventory.iter().collect();
    members.sort_by(|left, right| right.reference.cmp(&left.reference));
    let change = |member: &Member| {
        let other = teardown.others.iter().find(|(reference, _)| *reference == member.reference);
        Change {
            reference: member.reference.clone(),
            uid: other.map(|(_, uid)| uid.clone()).or(member.uid.clone()),
            action: if other.is_some() { Action::Keep } else { Action::Delete },
            component: Some(member.component.clone()),
            fields: Vec::new(),
        }
    };
    let retained = teardown.retained.iter();
    TornDown {
        changes: members.into_iter().map(change).collect(),
        retained: retained.map(|claim| (claim.reference.clone(), claim.uid.clone())).collect(),
        complete: false,
        blocked: Vec::new(),
    }
}
