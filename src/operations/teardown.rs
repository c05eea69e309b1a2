//! Teardown: everything a deployment owns goes, in reverse order, its record last.

use jiff::Timestamp;
use tokio::time::Instant;

use super::{NamedRequest, Operations, Target};
use crate::artifacts::{Action, Change, DeploymentName, Namespace, ObjectRef};
use crate::engine::{self, Going, Teardown, TeardownChoices};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::VolumePolicy;
use crate::record::{self, Member};

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
        let target = Target { namespace: call.namespace, name: call.name };
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
            None if teardown.going.is_empty() => (call.deadline, ErrorKind::ClusterTimeout),
            None => return Ok(planned.ended(teardown.going).incomplete()),
        };
        let Ok(left) = tokio::time::timeout_at(until, ending.seen()).await else {
            return Err(self.still_there(&teardown.going, kind));
        };
        let torn = planned.ended(left?);
        if torn.complete || call.wait_gone.is_none() {
            Ok(torn)
        } else {
            Err(self.still_there(&[], ErrorKind::WaitTimeout))
        }
    }

    fn still_there(&self, going: &[Going], kind: ErrorKind) -> Error {
        let names: Vec<String> = going.iter().map(|going| going.reference.to_string()).collect();
        let what = if names.is_empty() { "objects".to_owned() } else { names.join(", ") };
        Error::new(kind, format!("{what} still existed at the deadline; the teardown goes on"))
            .with("since", self.engine.clock().now().to_string())
            .with("applied", "true")
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
fn planned(teardown: &Teardown) -> TornDown {
    let mut members: Vec<&Member> = teardown.inventory.iter().collect();
    members.sort_by(|left, right| right.reference.cmp(&left.reference));
    let change = |member: &Member| Change {
        reference: member.reference.clone(),
        uid: member.uid.clone(),
        action: Action::Delete,
        component: Some(member.component.clone()),
        fields: Vec::new(),
    };
    let retained = teardown.retained.iter();
    TornDown {
        changes: members.into_iter().map(change).collect(),
        retained: retained.map(|claim| (claim.reference.clone(), claim.uid.clone())).collect(),
        complete: false,
        blocked: Vec::new(),
    }
}
