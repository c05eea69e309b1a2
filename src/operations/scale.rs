//! Scale: replica counts of named components; a bare Pod becomes a ReplicationController without being lost.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::view::{self, DeploymentView};
use super::{NamedRequest, Operations, Target};
use crate::artifacts::{Change, DeploymentName, Namespace};
use crate::callers::{Ask, Deed};
use crate::diagnostic::Diagnostic;
use crate::engine::{self, ScaleChoices};
use crate::error::Result;

/// A Scale, decoded.
#[derive(Clone, Debug)]
pub struct ScaleCall {
    /// The namespace.
    pub namespace: Namespace,
    /// The deployment.
    pub name: DeploymentName,
    /// Replicas by image name or component name; at least one.
    pub replicas: BTreeMap<String, i32>,
    /// Check everything, write nothing.
    pub validate_only: bool,
    /// The etag the caller has seen; empty: any.
    pub etag: String,
    /// The request, if its caller has named it.
    pub request: Option<NamedRequest>,
    /// Wait until every component is ready, at most until then.
    pub wait_ready: Option<Instant>,
    /// When the caller's own deadline ends.
    pub deadline: Instant,
}

/// The answer to a Scale.
#[derive(Clone, Debug)]
pub struct Scaled {
    /// The deployment.
    pub deployment: DeploymentView,
    /// What was done to each object that was named or made.
    pub changes: Vec<Change>,
    /// What the caller should know.
    pub diagnostics: Vec<Diagnostic>,
}

impl Operations {
    /// Sets the replica counts of the named components and of nothing else.
    pub async fn scale(&self, call: ScaleCall) -> Result<Scaled> {
        Self::check_namespace(&call.namespace)?;
        let target = Target { namespace: call.namespace, name: call.name };
        let choices = ScaleChoices {
            replicas: call.replicas,
            validate_only: call.validate_only,
            etag: call.etag,
            request: call.request,
            deadline: call.deadline,
        };
        let validate_only = call.validate_only;
        let ask = Ask::new(Deed::Scale, Some(&target.namespace)).waiting(call.wait_ready.is_some());
        let change = async {
            let scaling = engine::scale(&self.engine, &target, choices).await?;
            let deployment = match call.wait_ready {
                Some(until) => self.wait_ready(&scaling.record, until).await?,
                None => view::recorded(&scaling.record),
            };
            Ok(Scaled { deployment, changes: scaling.changes, diagnostics: scaling.diagnostics })
        };
        self.changing(&ask, &target, validate_only, change).await
    }
}
