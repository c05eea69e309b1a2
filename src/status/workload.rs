//! The state of one component: its workload, its pods, its cause.

mod apps_deployment;
mod left;
mod refusal;
mod replication_controller;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Cause, ComponentState, ComponentStatus, Expected, ExpectedComponent, Grade, Reason, pods};
use crate::artifacts::{ByName, HoldUp, Kind, LABEL_NAME, LABEL_REVISION, ObjectRef, Observed};

pub(super) use replication_controller::rollout;

/// The conclusion about a workload, before the component's names are added.
struct Conclusion {
    desired: i32,
    ready: i32,
    updated: i32,
    outcome: Outcome,
    /// The uid of the workload; `None`: it was not found.
    uid: Option<String>,
}

impl Conclusion {
    /// Once the workload's own status knows of no others, pods beyond its count are what the watches have yet to see go.
    fn counted(self, settled: bool) -> Self {
        let most = if settled { self.desired } else { i32::MAX };
        Self { ready: self.ready.min(most), updated: self.updated.min(most), ..self }
    }
}

/// The state of a component, and why.
struct Outcome {
    state: ComponentState,
    reason: Option<Reason>,
    message: String,
    is_hopeless: bool,
}

impl Outcome {
    fn new(state: ComponentState, reason: Reason, message: impl Into<String>) -> Self {
        Self { state, reason: Some(reason), message: message.into(), is_hopeless: false }
    }

    /// A state that does not become ready without a change.
    fn hopeless(reason: Reason, message: impl Into<String>) -> Self {
        Self { is_hopeless: true, ..Self::new(ComponentState::Failed, reason, message) }
    }

    fn ready() -> Self {
        Self { state: ComponentState::Ready, reason: None, message: String::new(), is_hopeless: false }
    }

    fn of(cause: Cause) -> Self {
        match cause.grade {
            Grade::Failed => Self::hopeless(cause.reason, cause.message),
            Grade::Trying => Self::new(ComponentState::Failed, cause.reason, cause.message),
            // A pod that no node takes now may be taken in a moment: a node may come, a claim may be bound.
            Grade::Waiting => Self::new(ComponentState::Progressing, cause.reason, cause.message),
        }
    }
}

/// Concludes the state of one component.
pub(super) fn conclude(
    component: &ExpectedComponent,
    expected: &Expected,
    observed: &Observed,
) -> ComponentStatus {
    let mut component_pods: Vec<&Arc<Pod>> =
        observed.pods.iter().filter(|pod| label(pod, LABEL_NAME) == Some(component.name.as_str())).collect();
    component_pods.sort_by(|left, right| left.metadata.name.cmp(&right.metadata.name));
    let found = by_kind(component, observed, &component_pods);
    let mut held_up = waiting(component, &component_pods, observed);
    let mut conclusion = found.unwrap_or_else(|| Conclusion {
        desired: i32::from(component.workload.as_ref().is_some_and(|one| one.kind == Kind::Pod)),
        ready: 0,
        updated: 0,
        // It is missing, and somebody has deleted it, once that is certain.
        outcome: Outcome::new(ComponentState::Pending, Reason::Progressing, "its workload is yet to be made"),
        uid: None,
    });
    if !expected.applying && !expected.deleting {
        missing(component, expected, observed, &mut conclusion, &mut held_up);
    }
    let outcome = &mut conclusion.outcome;
    if matches!(outcome.state, ComponentState::Ready | ComponentState::Stopped)
        && let Some(former) = component.superseded.iter().find(|former| stands(former, observed))
    {
        let message = format!("{former}, which ran it before, is still to be deleted");
        *outcome = Outcome::new(ComponentState::Progressing, Reason::Progressing, message);
    }
    let left = left::left(component, expected, observed, &component_pods);
    let has_left =
        !left.is_empty() && matches!(outcome.state, ComponentState::Ready | ComponentState::Stopped);
    if has_left {
        let names: Vec<&str> = left.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
        let message = format!("{}, of a controller that is lost, is still to be deleted", names.join(", "));
        *outcome = Outcome::new(ComponentState::Progressing, Reason::Progressing, message);
    }
    if expected.deleting {
        *outcome = Outcome::new(ComponentState::Deleting, Reason::Terminating, "it is being deleted");
    }
    let Conclusion { desired, ready, updated, outcome, uid } = conclusion;
    ComponentStatus {
        name: component.name.clone(),
        image_name: component.image_name.clone(),
        image: running_image(component, &component_pods).unwrap_or_else(|| component.image.clone()),
        workload: component.workload.clone(),
        is_counted: uid.is_some(),
        uid: component.workload_uid.clone().or(uid),
        desired,
        ready,
        updated,
        state: outcome.state,
        reason: outcome.reason,
        message: outcome.message,
        pods: component_pods.iter().map(|pod| pods::describe(pod, &component.name, observed)).collect(),
        is_hopeless: outcome.is_hopeless,
        has_left,
        held_up,
    }
}

/// The image that runs: that of the newest pod of the current revision. Others may have set another than was deployed, and
/// been left it.
fn running_image(component: &ExpectedComponent, pods: &[&Arc<Pod>]) -> Option<String> {
    let alive = current(component, pods.iter().filter(|pod| pods::is_alive(pod)));
    let newest = alive.max_by_key(|pod| pod.metadata.creation_timestamp.clone())?;
    let containers = newest.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let own = containers.iter().find(|container| container.name == component.name.as_str())?;
    own.image.clone()
}

/// Tells a workload that is not there, or is not the one that was written: neither comes by itself.
///
/// The watches of two kinds do not show a moment together. So what they do not show counts once it was seen missing for
/// long enough.
fn missing(
    component: &ExpectedComponent,
    expected: &Expected,
    observed: &Observed,
    conclusion: &mut Conclusion,
    held_up: &mut Vec<HoldUp>,
) {
    let (Some(workload), Some(uid)) = (&component.workload, &component.uid) else {
        // The records themselves know of none that was created.
        if conclusion.uid.is_none() {
            conclusion.outcome = if expected.incomplete {
                Outcome::hopeless(
                    Reason::ApplyIncomplete,
                    "the last update could not create its workload; the next Deploy repairs it",
                )
            } else {
                Outcome::hopeless(Reason::WorkloadMissing, "it has no workload; the next Deploy creates one")
            };
        }
        return;
    };
    // What was restored runs as it did before; the deployment as a whole tells that the next Deploy adopts it.
    if conclusion.uid.as_ref() == Some(uid) || expected.restored && conclusion.uid.is_some() {
        return;
    }
    let hold_up = HoldUp::Missing { workload: workload.clone(), uid: uid.clone() };
    let is_overdue = observed.overdue.contains(&hold_up);
    held_up.push(hold_up);
    let is_absent = conclusion.uid.is_none();
    let outcome = &mut conclusion.outcome;
    if is_overdue && is_absent {
        *outcome = absent(workload, observed.by_name.get(workload));
    } else if is_overdue {
        let message = format!(
            "{workload} is not the one that was created here, somebody has created it again; the next Deploy says \
             whether it can be taken over"
        );
        *outcome = Outcome::hopeless(Reason::WorkloadNotOwned, message);
    } else if !is_absent {
        // Whatever that shows, a failure as well, is nothing that was deployed: a watch may still have the object before.
        let message = format!("{workload} is another object than the one that was created here");
        *outcome = Outcome::new(ComponentState::Progressing, Reason::Progressing, message);
    }
}

/// A workload that no label shows: what stands under its name decides what the next Deploy does.
fn absent(workload: &ObjectRef, by_name: Option<&ByName>) -> Outcome {
    let (reason, message) = match by_name {
        None => (
            Reason::WorkloadMissing,
            format!("{workload} does not exist, somebody has deleted it; the next Deploy creates it again"),
        ),
        Some(ByName::Unlabelled) => (
            Reason::WorkloadMissing,
            format!("{workload} has lost the labels by which it is found; the next Deploy puts them back"),
        ),
        Some(ByName::Relabelled) => (
            Reason::WorkloadMissing,
            format!(
                "{workload} has other labels than those by which it is found; the next Deploy refuses that, or puts \
                 them back with options.conflicts CONFLICT_POLICY_FORCE"
            ),
        ),
        Some(ByName::Foreign) => (
            Reason::WorkloadNotOwned,
            format!(
                "{workload} is somebody else's, created in the place of the one that was created here; Deploy \
                 refuses to write it, delete it and deploy again"
            ),
        ),
    };
    Outcome::hopeless(reason, message)
}

/// The pods of the component that wait for a node or a volume.
fn waiting(component: &ExpectedComponent, pods: &[&Arc<Pod>], observed: &Observed) -> Vec<HoldUp> {
    let alive = pods.iter().filter(|pod| pods::is_alive(pod));
    current(component, alive).filter_map(|pod| pods::cause(pod, &component.name, observed)?.hold_up).collect()
}

/// Finds the component's workload and concludes by its kind's own rules; `None` if there is none.
fn by_kind(
    component: &ExpectedComponent,
    observed: &Observed,
    component_pods: &[&Arc<Pod>],
) -> Option<Conclusion> {
    let workload = component.workload.as_ref()?;
    let is_it = |metadata: &ObjectMeta| metadata.name.as_deref() == Some(workload.name.as_str());
    match workload.kind {
        Kind::ReplicationController => {
            let controller = observed.controllers.iter().find(|controller| is_it(&controller.metadata))?;
            let component = &component.or_of(replication_controller::made_revision(controller));
            Some(replication_controller::conclude(component, controller, component_pods, observed))
        }
        Kind::Deployment => {
            let deployment = observed.deployments.iter().find(|deployment| is_it(&deployment.metadata))?;
            let component = &component.or_of(apps_deployment::made_revision(deployment));
            Some(apps_deployment::conclude(component, deployment, component_pods, observed))
        }
        Kind::Pod | Kind::Secret | Kind::PersistentVolumeClaim | Kind::Service => {
            let pod = component_pods.iter().find(|pod| is_it(&pod.metadata))?;
            Some(bare_pod(component, pod, observed))
        }
    }
}

impl ExpectedComponent {
    /// The same, of the revision that its workload says where nobody knows which was written last.
    fn or_of(&self, made: Option<u32>) -> Self {
        Self { pod_revision: self.pod_revision.or(made), ..self.clone() }
    }
}

/// Whether a workload exists and is not being deleted: then it runs its component beside its successor.
fn stands(workload: &ObjectRef, observed: &Observed) -> bool {
    let is_it = |metadata: &ObjectMeta| {
        metadata.name.as_deref() == Some(workload.name.as_str()) && metadata.deletion_timestamp.is_none()
    };
    match workload.kind {
        Kind::Pod => observed.pods.iter().any(|pod| is_it(&pod.metadata)),
        Kind::ReplicationController => observed.controllers.iter().any(|one| is_it(&one.metadata)),
        Kind::Deployment => observed.deployments.iter().any(|one| is_it(&one.metadata)),
        Kind::Secret | Kind::PersistentVolumeClaim | Kind::Service => false,
    }
}

fn label<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// A bare Pod is ready when it is Ready and of the current revision.
fn bare_pod(component: &ExpectedComponent, pod: &Pod, observed: &Observed) -> Conclusion {
    let is_new = is_current(component, pod);
    let is_ready = pods::is_ready(pod, &component.name, observed);
    // What an earlier form of it failed at is over.
    let cause = pods::cause(pod, &component.name, observed).filter(|_| is_new && !is_ready);
    let is_lost = cause.as_ref().is_some_and(|cause| cause.reason == Reason::NodeLost);
    let outcome = if pod.metadata.deletion_timestamp.is_some() && !is_lost {
        Outcome::new(ComponentState::Progressing, Reason::Terminating, "its pod is being replaced")
    } else if let Some(cause) = cause {
        let mut outcome = Outcome::of(cause);
        if pods::has_ended(pod) {
            outcome.message.push_str("; the next Deploy replaces it");
        }
        outcome
    } else if is_ready && is_new {
        Outcome::ready()
    } else {
        Outcome::new(ComponentState::Progressing, Reason::Progressing, "its pod is starting")
    };
    Conclusion {
        desired: 1,
        ready: i32::from(is_ready),
        updated: i32::from(is_new && pods::is_alive(pod)),
        outcome,
        uid: pod.metadata.uid.clone(),
    }
}

fn revision(pod: &Pod) -> Option<u32> {
    label(pod, LABEL_REVISION).and_then(|text| text.parse().ok())
}

/// The controller's status speaks of its newest form, and that is not older than our last write.
fn has_seen_its_newest_form(
    component: &ExpectedComponent,
    metadata: &ObjectMeta,
    observed_generation: Option<i64>,
) -> bool {
    observed_generation >= metadata.generation && is_not_stale(component, metadata)
}

/// The object is not older than our last write of it; of an object with another uid that says nothing.
fn is_not_stale(component: &ExpectedComponent, metadata: &ObjectMeta) -> bool {
    let is_another = component.uid.is_some() && component.uid != metadata.uid;
    is_another || metadata.generation >= component.generation
}

/// Ready pods of a controller.
#[derive(Clone, Copy)]
struct Ready {
    /// All that are told as ready.
    all: i32,
    /// Those of the current revision, which alone are waited for.
    current: i32,
}

impl Ready {
    /// How many replicas are ready, in words that say which are counted: `all` stands beside them.
    fn of(self, desired: i32) -> String {
        let which = if self.current < self.all { " of the current revision" } else { "" };
        format!("{} of {desired} replicas{which}", self.current)
    }
}

/// The conclusion about a controller that nothing prevents from becoming ready.
fn progress(settled: bool, desired: i32, ready: Ready) -> Outcome {
    match (settled, desired) {
        (true, 0) => Outcome::new(ComponentState::Stopped, Reason::ScaledToZero, "scaled to zero"),
        (true, _) => Outcome::ready(),
        (false, 0) => Outcome::new(ComponentState::Progressing, Reason::Progressing, "its pods are ending"),
        (false, _) => Outcome::new(
            ComponentState::Progressing,
            Reason::Progressing,
            format!("{} are ready", ready.of(desired)),
        ),
    }
}

/// The graver of two causes; of equals the first.
fn gravest(first: Option<Cause>, second: Option<Cause>) -> Option<Cause> {
    first.into_iter().chain(second).min_by_key(|cause| cause.grade)
}

/// The gravest cause among the pods of the current revision.
fn unready_cause<'a>(
    component: &'a ExpectedComponent,
    pods: impl Iterator<Item = &'a &'a Arc<Pod>>,
    observed: &Observed,
) -> Option<Cause> {
    let unready = current(component, pods).filter(|pod| !pods::is_ready(pod, &component.name, observed));
    let causes = unready.filter_map(|pod| pods::cause(pod, &component.name, observed));
    causes.min_by_key(|cause| cause.grade)
}

fn is_current(component: &ExpectedComponent, pod: &Pod) -> bool {
    component.pod_revision.is_none() || revision(pod) == component.pod_revision
}

/// The pods of the current revision.
fn current<'a>(
    component: &'a ExpectedComponent,
    pods: impl Iterator<Item = &'a &'a Arc<Pod>>,
) -> impl Iterator<Item = &'a &'a Arc<Pod>> {
    pods.filter(|pod| is_current(component, pod))
}

fn count<'a>(pods: impl Iterator<Item = &'a &'a Arc<Pod>>) -> i32 {
    i32::try_from(pods.count()).unwrap_or(i32::MAX)
}
