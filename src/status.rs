//! View: a fold from what the cluster showed to the state of a deployment.

mod containers;
mod endpoints;
mod expected;
mod happenings;
mod pods;
mod refused;
mod workload;

use crate::artifacts::{ComponentName, Form, HoldUp, ObjectRef, Observed};

pub use crate::artifacts::DeploymentState;

pub use endpoints::Endpoint;
pub use expected::{Expected, ExpectedComponent, expected};
pub use happenings::{DeploymentEvent, happenings};
pub use pods::{PodStatus, has_ended};

/// The state of one component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComponentState {
    /// The records do not say, and nobody has looked.
    Unknown,
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
    /// A container was made and cannot be started.
    StartFailed,
    /// Its containers run and are not ready.
    NotReady,
    /// The node of its pod does not answer.
    NodeLost,
    /// Pods are starting or stopping.
    Progressing,
    /// The workload is not on the cluster.
    WorkloadMissing,
    /// Another object has the workload's name.
    WorkloadNotOwned,
    /// Its objects could not all be written.
    ApplyIncomplete,
    /// It is scaled to zero.
    ScaledToZero,
    /// It is being deleted.
    Terminating,
}

/// How grave a cause is, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    /// It does not pass by itself, as far as anybody can tell.
    Failed,
    /// It has failed, and the cluster is trying again.
    Trying,
    /// It may pass in a moment.
    Waiting,
}

/// Why a pod or a component is not getting ready.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cause {
    reason: Reason,
    message: String,
    grade: Grade,
    /// What is counted, of a cause that is grave once it was seen for long enough.
    hold_up: Option<HoldUp>,
}

impl Cause {
    /// One that does not pass by itself.
    fn failed(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), grade: Grade::Failed, hold_up: None }
    }

    /// One that may pass in a moment.
    fn waiting(reason: Reason, message: impl Into<String>) -> Self {
        Self { grade: Grade::Waiting, ..Self::failed(reason, message) }
    }
}

/// The state of a deployment and its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The state.
    pub state: DeploymentState,
    /// The state that its components alone come to, whatever cannot be deleted beside them.
    pub of_components: DeploymentState,
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
    /// Whether waiting for READY is over: what cannot be deleted keeps no component from it.
    pub fn is_ready(&self) -> bool {
        self.of_components.is_ready()
    }

    /// Whether waiting for READY is in vain: a component has failed, and not in a way that often passes.
    pub fn is_hopeless(&self) -> bool {
        let has_failed = matches!(self.of_components, DeploymentState::Failed | DeploymentState::Degraded);
        has_failed && self.components.iter().any(|component| component.is_hopeless)
    }

    /// What holds its components up, and is told as a failure once it was seen for long enough.
    pub fn held_up(&self) -> Vec<HoldUp> {
        self.components.iter().flat_map(|component| component.held_up.iter().cloned()).collect()
    }

    /// The component that keeps it from being ready: one that fails before one that only waits.
    pub fn blocking(&self) -> Option<&ComponentStatus> {
        let failed = self.components.iter().find(|component| component.state == ComponentState::Failed);
        failed.or_else(|| self.components.iter().find(|component| !is_settled_well(component)))
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
    /// The uid of that; `None`: it does not exist yet.
    pub uid: Option<String>,
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
    /// Whether its counts are known: its workload was found, or its state says them.
    pub is_counted: bool,
    /// Whether it has failed in a way that does not often pass.
    pub is_hopeless: bool,
    /// Whether nothing keeps it from being ready but pods of a controller that it has lost.
    pub has_left: bool,
    /// What holds it up, and is told as a failure once it was seen for long enough.
    pub held_up: Vec<HoldUp>,
}

/// Concludes the state of a deployment from its records and what the cluster showed.
pub fn conclude(expected: &Expected, observed: &Observed) -> Status {
    let components: Vec<ComponentStatus> = expected
        .components
        .iter()
        .map(|component| workload::conclude(component, expected, observed))
        .collect();
    let of_components = overruled(expected, deployment_state(&components));
    let mut status = Status {
        state: refused::state(expected, of_components),
        of_components,
        reason: None,
        message: String::new(),
        components,
        endpoints: endpoints::conclude(&expected.namespace, observed),
    };
    (status.reason, status.message) = match status.blocking() {
        Some(component) => (component.reason, format!("component {}: {}", component.name, component.message)),
        None if expected.incomplete => (Some(Reason::ApplyIncomplete), refused::INCOMPLETE.to_owned()),
        None => (None, String::new()),
    };
    refused::tell(expected, &mut status);
    status
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
///
/// What the record itself knows comes before the state that a look has left in it: one that stopped half way is degraded
/// from the moment it stopped, not from the next look.
pub fn recorded(expected: &Expected, looked_at: DeploymentState) -> Status {
    let state = overruled(expected, looked_at);
    // What was written down of a failure says which component it was.
    let cause = expected.cause.as_ref();
    let cause = cause.filter(|_| matches!(state, DeploymentState::Degraded | DeploymentState::Failed));
    let failed = cause.and_then(|cause| Some((cause.component.as_ref()?, cause.why.as_str())));
    let (component_state, message) = match state {
        DeploymentState::Active => (ComponentState::Ready, ""),
        DeploymentState::Stopped => (ComponentState::Stopped, ""),
        DeploymentState::Deleting => (ComponentState::Deleting, "it is being deleted"),
        DeploymentState::Deploying => {
            (ComponentState::Unknown, "nobody has looked at it since something changed")
        }
        // One of them is why, and what is written down says of one at the most that it is.
        DeploymentState::Degraded | DeploymentState::Failed => {
            (ComponentState::Unknown, "the record does not say how it stands")
        }
    };
    let desired = |component: &ExpectedComponent| component.replicas.unwrap_or(1);
    let running =
        |component: &ExpectedComponent| if state == DeploymentState::Active { desired(component) } else { 0 };
    let failure = |component: &ExpectedComponent| {
        let (name, why) = failed.filter(|(name, _)| **name == component.name)?;
        Some(why.strip_prefix(&format!("component {name}: ")).unwrap_or(why))
    };
    let components = expected.components.iter().map(|component| ComponentStatus {
        name: component.name.clone(),
        image_name: component.image_name.clone(),
        image: component.image.clone(),
        workload: component.workload.clone(),
        uid: component.workload_uid.clone(),
        desired: desired(component),
        ready: running(component),
        updated: running(component),
        state: match component_state {
            ComponentState::Ready if desired(component) == 0 => ComponentState::Stopped,
            _ if failure(component).is_some() => ComponentState::Failed,
            state => state,
        },
        reason: None,
        message: failure(component).unwrap_or(message).to_owned(),
        pods: Vec::new(),
        is_counted: matches!(component_state, ComponentState::Ready | ComponentState::Stopped),
        is_hopeless: false,
        has_left: false,
        held_up: Vec::new(),
    });
    let mut status = Status {
        state: refused::state(expected, state),
        of_components: state,
        reason: None,
        message: cause.map(|cause| cause.why.clone()).unwrap_or_default(),
        components: components.collect(),
        endpoints: Vec::new(),
    };
    if expected.incomplete && !expected.applying && !expected.deleting {
        (status.reason, status.message) = (Some(Reason::ApplyIncomplete), refused::INCOMPLETE.to_owned());
    }
    refused::tell(expected, &mut status);
    status
}

fn is_settled_well(component: &ComponentStatus) -> bool {
    matches!(component.state, ComponentState::Ready | ComponentState::Stopped)
}

/// The state with what the record itself knows, which comes before what a look has found.
fn overruled(expected: &Expected, found: DeploymentState) -> DeploymentState {
    match found {
        _ if expected.deleting => DeploymentState::Deleting,
        _ if expected.applying => DeploymentState::Deploying,
        DeploymentState::Failed => DeploymentState::Failed,
        _ if expected.incomplete => DeploymentState::Degraded,
        found => found,
    }
}

fn deployment_state(components: &[ComponentStatus]) -> DeploymentState {
    // What an update has left out is told by the deployment as a whole.
    let is_left_out = |component: &ComponentStatus| component.reason == Some(Reason::ApplyIncomplete);
    let failed = components.iter().filter(|component| component.state == ComponentState::Failed);
    let mut failed = failed.filter(|component| !is_left_out(component)).peekable();
    if failed.peek().is_some() {
        let dead = failed.any(|component| component.ready == 0);
        return if dead { DeploymentState::Failed } else { DeploymentState::Degraded };
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
