//! View: a fold from what the cluster showed to the state of a deployment.

mod endpoints;
mod expected;
mod pods;
mod workload;

use crate::artifacts::{ComponentName, Form, ObjectRef, Observed};

pub use crate::artifacts::DeploymentState;

pub use endpoints::Endpoint;
pub use expected::{Expected, ExpectedComponent, expected, expected_of_new};
pub use pods::PodStatus;

/// The state of one component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComponentState {
    /// Its workload is not there yet.
    Pending,
    /// It is getting ready.
    Progressing,
    /// As many replicas as asked for are ready, all of the current revision.
    Ready,
    /// Something prevents it, and waiting alone may not help.
    Failed,
    /// Scaled to zero, and nothing runs.
    Stopped,
    /// Its workload is being deleted.
    Deleting,
}

/// Why a component is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its image cannot be pulled.
    ImagePullFailed,
    /// Its container ends again and again.
    CrashLooping,
    /// No node takes the pod now.
    Unschedulable,
    /// A quota of the namespace does not allow it.
    QuotaExceeded,
    /// The container cannot be made as it is configured.
    ConfigError,
    /// A volume claim is not bound yet.
    VolumePending,
    /// The pod has failed.
    PodFailed,
    /// The pod has completed.
    PodSucceeded,
    /// The controller cannot make pods.
    ReplicaFailure,
    /// A rollout has made no progress within its time.
    ProgressDeadlineExceeded,
    /// The cluster's admission rules refuse the pods.
    AdmissionDenied,
    /// Pods are starting or stopping.
    Progressing,
    /// The workload is not on the cluster.
    WorkloadMissing,
    /// Its objects could not all be written.
    ApplyIncomplete,
    /// It is scaled to zero.
    ScaledToZero,
    /// It is being deleted.
    Terminating,
}

/// The state of a deployment and its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The state.
    pub state: DeploymentState,
    /// The first cause among the components, if there is one.
    pub reason: Option<Reason>,
    /// The cause as a sentence; empty when all is well.
    pub message: String,
    /// The components, in the template's order.
    pub components: Vec<ComponentStatus>,
    /// Where its Services can be reached.
    pub endpoints: Vec<Endpoint>,
}

impl Status {
    /// Whether waiting for READY is over.
    pub fn is_ready(&self) -> bool {
        self.state.is_ready()
    }
}

/// The state of one component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentStatus {
    /// Its name.
    pub name: ComponentName,
    /// The image's name in the template.
    pub image_name: String,
    /// The container image.
    pub image: String,
    /// What runs it.
    pub workload: Option<ObjectRef>,
    /// Replicas asked for.
    pub desired: i32,
    /// Replicas ready.
    pub ready: i32,
    /// Replicas of the current revision.
    pub updated: i32,
    /// Its state.
    pub state: ComponentState,
    /// Why it is not ready.
    pub reason: Option<Reason>,
    /// The same as a sentence; never the kubelet's own text, which may quote arguments.
    pub message: String,
    /// Its pods, by name.
    pub pods: Vec<PodStatus>,
}

/// Concludes the state of a deployment from its records and what the cluster showed.
pub fn conclude(expected: &Expected, observed: &Observed) -> Status {
    let components: Vec<ComponentStatus> = expected
        .components
        .iter()
        .map(|component| workload::conclude(component, expected.deleting, observed))
        .collect();
    let state = deployment_state(expected, &components);
    let blocking = components
        .iter()
        .find(|component| component.state == ComponentState::Failed)
        .or_else(|| components.iter().find(|component| !is_settled_well(component)));
    let (reason, message) = match blocking {
        Some(component) if expected.deleting => {
            (Some(Reason::Terminating), format!("component {}", component.name))
        }
        Some(component) => (component.reason, format!("component {}: {}", component.name, component.message)),
        None if expected.incomplete => (
            Some(Reason::ApplyIncomplete),
            "the last update could not write every object; the next Deploy repairs it".to_owned(),
        ),
        None => (None, String::new()),
    };
    let endpoints = endpoints::conclude(&expected.namespace, observed);
    Status { state, reason, message, components, endpoints }
}

/// How the pods of one component's earlier revisions are replaced, where nothing on the cluster does it by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// The pods that are deleted now, in the form that was seen.
    pub replace: Vec<(ObjectRef, Form)>,
    /// Why there are none, although pods of an earlier revision are left.
    pub waits: Option<String>,
}

/// The rollouts of all components.
pub fn rollouts(expected: &Expected, observed: &Observed) -> Vec<Rollout> {
    if expected.deleting || expected.applying {
        return Vec::new();
    }
    expected.components.iter().map(|component| workload::rollout(component, observed)).collect()
}

/// The state as last recorded, when nobody looked at the workloads.
pub fn recorded(expected: &Expected, state: DeploymentState) -> Status {
    let (component_state, message) = match state {
        DeploymentState::Active => (ComponentState::Ready, ""),
        DeploymentState::Stopped => (ComponentState::Stopped, ""),
        DeploymentState::Deleting => (ComponentState::Deleting, "it is being deleted"),
        DeploymentState::Deploying | DeploymentState::Degraded | DeploymentState::Failed => {
            (ComponentState::Progressing, "call GetDeployment to look at it")
        }
    };
    let components = expected.components.iter().map(|component| ComponentStatus {
        name: component.name.clone(),
        image_name: component.image_name.clone(),
        image: component.image.clone(),
        workload: component.workload.clone(),
        desired: component.replicas.unwrap_or(1),
        ready: if state == DeploymentState::Active { component.replicas.unwrap_or(1) } else { 0 },
        updated: 0,
        state: component_state,
        reason: None,
        message: message.to_owned(),
        pods: Vec::new(),
    });
    Status {
        state,
        reason: None,
        message: String::new(),
        components: components.collect(),
        endpoints: Vec::new(),
    }
}

fn is_settled_well(component: &ComponentStatus) -> bool {
    matches!(component.state, ComponentState::Ready | ComponentState::Stopped)
}

fn deployment_state(expected: &Expected, components: &[ComponentStatus]) -> DeploymentState {
    if expected.deleting {
        return DeploymentState::Deleting;
    }
    if expected.applying {
        return DeploymentState::Deploying;
    }
    let mut failed =
        components.iter().filter(|component| component.state == ComponentState::Failed).peekable();
    if failed.peek().is_some() {
        let dead = failed.any(|component| component.ready == 0);
        return if dead { DeploymentState::Failed } else { DeploymentState::Degraded };
    }
    if expected.incomplete {
        return DeploymentState::Degraded;
    }
    if !components.iter().all(is_settled_well) {
        return DeploymentState::Deploying;
    }
    if !components.is_empty() && components.iter().all(|component| component.state == ComponentState::Stopped)
    {
        return DeploymentState::Stopped;
    }
    DeploymentState::Active
}

#[cfg(test)]
mod tests;
