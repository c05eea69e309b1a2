//! Deploy: a template becomes objects on the cluster, first or again.

use tokio::time::Instant;

use super::view::{self, DeploymentView};
use super::{Operations, Outcome, Target};
use crate::artifacts::{Change, Namespace};
use crate::callers::{Ask, Deed};
use crate::diagnostic::Diagnostic;
use crate::engine;
use crate::error::{Error, ErrorKind, Result, contract_word};
use crate::plan::{self, Prepared, TemplateCall};
use crate::translate;

pub use crate::engine::Choices as DeployChoices;

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

/// The answer to a Deploy.
#[derive(Clone, Debug)]
pub struct Deployed {
    /// The namespace.
    pub namespace: Namespace,
    /// The deployment; `None`: it is not there, and was only to be checked.
    pub deployment: Option<DeploymentView>,
    /// What was done to each object.
    pub changes: Vec<Change>,
    /// What was lost, changed or assumed.
    pub diagnostics: Vec<Diagnostic>,
    /// What the API server warned of.
    pub warnings: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
}

/// The answer to a PlanDeploy.
#[derive(Clone)]
pub struct PlannedDeploy {
    /// The namespace.
    pub namespace: Namespace,
    /// What would be done to each object.
    pub changes: Vec<Change>,
    /// What would be lost, changed or assumed.
    pub diagnostics: Vec<Diagnostic>,
    /// What the API server warns of.
    pub warnings: Vec<String>,
    /// All objects as one YAML text, in the order of applying.
    pub manifest_yaml: String,
    /// The plan's id.
    pub id: String,
}

impl std::fmt::Debug for PlannedDeploy {
    /// Leaves the manifests out: they hold the values of the environment.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("PlannedDeploy");
        debug.field("changes", &self.changes).field("diagnostics", &self.diagnostics);
        debug.field("id", &self.id).finish_non_exhaustive()
    }
}

/// Asks to apply a template: to look at what is there, and to create and to change each kind of object that it becomes.
fn applying(deed: Deed, target: &Target, prepared: &Prepared) -> Ask {
    Ask::new(deed, Some(&target.namespace)).with(&["create", "patch"], prepared.kinds())
}

impl Operations {
    /// Tells what a Deploy would do, and does nothing.
    pub async fn plan_deploy(&self, call: DeployCall) -> Result<PlannedDeploy> {
        let (target, prepared) = Self::read(call.namespace, &call.template)?;
        let ask = applying(Deed::Plan, &target, &prepared);
        let plan = engine::plan_deploy(&self.engine, &target, prepared, call.choices);
        let planned = self.looking(&ask, plan).await?;
        Ok(PlannedDeploy {
            namespace: target.namespace,
            changes: planned.changes,
            diagnostics: planned.diagnostics,
            warnings: planned.warnings,
            manifest_yaml: translate::manifest_yaml(&planned.artifacts),
            id: planned.id,
        })
    }

    /// The template of a call: every fault at once, before the cluster is asked anything.
    fn read(namespace: Namespace, template: &TemplateCall) -> Result<(Target, Prepared)> {
        Self::check_namespace(&namespace)?;
        let mut prepared = plan::prepare(template)?;
        plan::check_renders(&mut prepared)?;
        let name = prepared.name.clone();
        Ok((Target { namespace, name }, prepared))
    }

    /// Brings the deployment to what the template says.
    ///
    /// An invalid template, a name that is taken, a lost lock: nothing is written. A first Deploy that fails
    /// takes back what it made; an update that fails in part is APPLY_INCOMPLETE and repaired by the next.
    pub async fn deploy(&self, call: DeployCall) -> Result<Deployed> {
        // 1. The template.
        let (target, prepared) = Self::read(call.namespace, &call.template)?;
        let validate_only = call.choices.validate_only;
        let wait_ready = call.wait_ready.filter(|_| !validate_only);
        let ask = applying(Deed::Deploy, &target, &prepared).waiting(wait_ready.is_some());
        // 2. Everything that touches the cluster.
        let change = async {
            let done = engine::deploy(&self.engine, &target, prepared, call.choices).await?;
            self.deployed(&target, done, wait_ready).await
        };
        self.changing(&ask, &target, validate_only, change).await
    }

    /// The answer to what was done, once it is ready, if the caller waits for that.
    pub(super) async fn deployed(
        &self,
        target: &Target,
        done: engine::Done,
        wait_ready: Option<Instant>,
    ) -> Result<Deployed> {
        let mut deployed = Deployed {
            namespace: target.namespace.clone(),
            deployment: done.record.as_ref().map(view::recorded),
            changes: done.changes,
            diagnostics: done.diagnostics,
            warnings: done.warnings,
            outcome: done.outcome,
        };
        // 3. The lock is free again; waiting only looks.
        if let (Some(until), Some(record)) = (wait_ready, &done.record) {
            let waited = match &record.head.pledge {
                Some(earlier) => Box::pin(self.ready_or_back(target, until, record, earlier.number)).await,
                None => Box::pin(self.wait_ready(record, until)).await,
            };
            let told = |error: Error| match error.kind() {
                ErrorKind::WaitTimeout => error.with("outcome", contract_word(&deployed.outcome)),
                _ => error,
            };
            deployed.deployment = Some(waited.map_err(told)?);
        }
        Ok(deployed)
    }
}
