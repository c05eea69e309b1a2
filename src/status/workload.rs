//! The state of one component: its workload, its pods, its cause.

mod apps_deployment;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::pods::{self, Cause};
use super::{ComponentState, ComponentStatus, ExpectedComponent, Reason, Rollout};
use crate::artifacts::{Form, Kind, LABEL_NAME, LABEL_REVISION, ObjectName, ObjectRef, Observed};

/// The conclusion about a workload, before the component's names are added.
struct Conclusion {
    desired: i32,
    ready: i32,
    updated: i32,
    state: ComponentState,
    reason: Option<Reason>,
    message: String,
}

impl Conclusion {
    fn new(state: ComponentState, reason: Reason, message: &str) -> Self {
        Self { desired: 0, ready: 0, updated: 0, state, reason: Some(reason), message: message.to_owned() }
    }
}

/// Concludes the state of one component.
pub(super) fn conclude(
    component: &ExpectedComponent,
    deleting: bool,
    observed: &Observed,
) -> ComponentStatus {
    let mut component_pods: Vec<&Arc<Pod>> =
        observed.pods.iter().filter(|pod| label(pod, LABEL_NAME) == Some(component.name.as_str())).collect();
    component_pods.sort_by(|left, right| left.metadata.name.cmp(&right.metadata.name));
    let mut conclusion = by_kind(component, observed, &component_pods);
    if matches!(conclusion.state, ComponentState::Ready | ComponentState::Stopped)
        && let Some(former) = component.superseded.iter().find(|former| stands(former, observed))
    {
        conclusion.state = ComponentState::Progressing;
        conclusion.reason = Some(Reason::Progressing);
        conclusion.message = format!("{former}, which ran it before, is still to be deleted");
    }
    if deleting {
        conclusion.state = ComponentState::Deleting;
        conclusion.reason = Some(Reason::Terminating);
        conclusion.message = "it is being deleted".to_owned();
    }
    ComponentStatus {
        name: component.name.clone(),
        image_name: component.image_name.clone(),
        image: component.image.clone(),
        workload: component.workload.clone(),
        desired: conclusion.desired,
        ready: conclusion.ready,
        updated: conclusion.updated,
        state: conclusion.state,
        reason: conclusion.reason,
        message: conclusion.message,
        pods: component_pods.iter().map(|pod| pods::describe(pod, &observed.claims)).collect(),
    }
}

/// Finds the component's workload and concludes by its kind's own rules.
fn by_kind(component: &ExpectedComponent, observed: &Observed, component_pods: &[&Arc<Pod>]) -> Conclusion {
    let missing = |message| Conclusion::new(ComponentState::Pending, Reason::WorkloadMissing, message);
    let Some(workload) = &component.workload else { return missing("it has no workload") };
    let is_it = |metadata: &ObjectMeta| metadata.name.as_deref() == Some(workload.name.as_str());
    match workload.kind {
        Kind::ReplicationController => observed
            .controllers
            .iter()
            .find(|controller| is_it(&controller.metadata))
            .map(|controller| replication_controller(component, controller, component_pods, observed)),
        Kind::Deployment => observed
            .deployments
            .iter()
            .find(|deployment| is_it(&deployment.metadata))
            .map(|deployment| apps_deployment::conclude(component, deployment, component_pods, observed)),
        Kind::Pod | Kind::Secret | Kind::PersistentVolumeClaim | Kind::Service => {
            let pod = component_pods.iter().find(|pod| is_it(&pod.metadata));
            let absent = || Conclusion { desired: 1, ..missing("its pod does not exist") };
            return pod.map_or_else(absent, |pod| bare_pod(component, pod, observed));
        }
    }
    .unwrap_or_else(|| missing("its workload does not exist"))
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
    let updated = i32::from(is_current(component, pod));
    let ready = i32::from(pods::is_ready(pod));
    // What an earlier form of it failed at is over.
    let cause = pods::cause(pod, &observed.claims).filter(|_| updated == 1);
    let (state, reason, message) = if pod.metadata.deletion_timestamp.is_some() {
        (ComponentState::Progressing, Some(Reason::Terminating), "its pod is being replaced".to_owned())
    } else if let Some(cause) = cause {
        of_cause(cause)
    } else if ready == 1 && updated == 1 {
        (ComponentState::Ready, None, String::new())
    } else {
        (ComponentState::Progressing, Some(Reason::Progressing), "its pod is starting".to_owned())
    };
    Conclusion { desired: 1, ready, updated, state, reason, message }
}

/// A ReplicationController is ready when it has seen its newest form, and as many pods as asked for are
/// ready and available, every one of the current revision. Its own status counts pods of any revision.
fn replication_controller(
    component: &ExpectedComponent,
    controller: &ReplicationController,
    component_pods: &[&Arc<Pod>],
    observed: &Observed,
) -> Conclusion {
    let desired = controller.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = controller.status.clone().unwrap_or_default();
    let owned = owned_pods(controller, component_pods.iter().copied());
    let alive = owned.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let updated = count(alive.clone().filter(|pod| is_current(component, pod)));
    let outdated = alive.clone().any(|pod| !is_current(component, pod));
    // Its own count lags behind its pods: while they are replaced it still speaks of the old ones.
    let ready = count(alive.clone().filter(|pod| is_current(component, pod) && pods::is_ready(pod)));
    let seen = has_seen_its_newest_form(component, &controller.metadata, status.observed_generation);
    // Scaled to zero means that nothing runs, pods that are still ending included.
    let is_quiet = desired > 0 || owned.is_empty();
    let settled = seen
        && is_quiet
        && status.replicas == desired
        && ready >= desired
        && status.ready_replicas.unwrap_or(0) >= desired
        && status.available_replicas.unwrap_or(0) >= desired
        && updated >= desired
        && !outdated;
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let failure = conditions
        .iter()
        .find(|one| one.type_ == "ReplicaFailure" && one.status == "True")
        .map(|one| replica_failure(one.message.as_deref().unwrap_or_default()));
    let (state, reason, message) = if controller.metadata.deletion_timestamp.is_some() {
        (ComponentState::Deleting, Some(Reason::Terminating), "its controller is being deleted".to_owned())
    } else if let Some(cause) = failure.or_else(|| unready_cause(component, alive, observed)) {
        of_cause(cause)
    } else {
        outcome(settled, desired, ready)
    };
    Conclusion { desired, ready, updated, state, reason, message }
}

/// Which pods of an earlier revision are replaced now, since their ReplicationController leaves them running.
///
/// Unready ones at once; ready ones one at a time, and only while every other pod is ready, so that never two of a
/// component are missing. Whoever asks gets the same pod: the oldest revision first, then by name. None before the
/// controller is known to have seen its newest form: it would make new pods of the old one.
pub(super) fn rollout(component: &ExpectedComponent, observed: &Observed) -> Rollout {
    let is_its = |controller: &&Arc<ReplicationController>| {
        let workload = component.workload.as_ref();
        workload.is_some_and(|workload| {
            workload.kind == Kind::ReplicationController
                && controller.metadata.name.as_deref() == Some(workload.name.as_str())
        })
    };
    let Some(controller) = observed.controllers.iter().find(is_its) else { return Rollout::default() };
    let owned = owned_pods(controller, observed.pods.iter());
    let alive: Vec<&Arc<Pod>> =
        owned.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
    let mut outdated: Vec<&Arc<Pod>> =
        alive.iter().copied().filter(|pod| !is_current(component, pod)).collect();
    if outdated.is_empty() {
        return Rollout::default();
    }
    let wait = |why: &str| Rollout {
        waits: Some(format!("component {}: pods of an earlier revision are replaced {why}", component.name)),
        ..Rollout::default()
    };
    // A controller that makes pods of another revision would make them again for ever.
    let observed_generation = controller.status.as_ref().and_then(|status| status.observed_generation);
    if !has_seen_its_newest_form(component, &controller.metadata, observed_generation)
        || made_revision(controller).is_none_or(|made| Some(made) != component.pod_revision)
    {
        return wait("once their controller has seen its new template");
    }
    let reference = |pod: &Arc<Pod>| {
        let name = ObjectName::new(pod.metadata.name.clone()?).ok()?;
        let form = Form { uid: pod.metadata.uid.clone()?, version: pod.metadata.resource_version.clone() };
        Some((ObjectRef::new(Kind::Pod, name), form))
    };
    let unready: Vec<_> = outdated.iter().filter(|pod| !pods::is_ready(pod)).collect();
    if !unready.is_empty() {
        let replace = unready.into_iter().filter_map(|pod| reference(pod)).collect();
        return Rollout { replace, waits: None };
    }
    let desired = controller.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let missing = count(alive.iter().filter(|pod| pods::is_ready(pod))) < desired;
    if missing || alive.iter().any(|pod| !pods::is_ready(pod)) {
        return wait("one at a time, the next once every other pod is ready");
    }
    outdated.sort_by_key(|pod| (revision(pod), pod.metadata.name.clone()));
    Rollout { replace: outdated.first().and_then(|pod| reference(pod)).into_iter().collect(), waits: None }
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
    observed_generation >= metadata.generation && metadata.generation >= component.generation
}

/// The conclusion about a controller that nothing prevents from becoming ready.
fn outcome(settled: bool, desired: i32, ready: i32) -> (ComponentState, Option<Reason>, String) {
    match (settled, desired) {
        (true, 0) => (ComponentState::Stopped, Some(Reason::ScaledToZero), "scaled to zero".to_owned()),
        (true, _) => (ComponentState::Ready, None, String::new()),
        (false, _) => (
            ComponentState::Progressing,
            Some(Reason::Progressing),
            format!("{ready} of {desired} replicas are ready"),
        ),
    }
}

/// The first cause among the pods of the current revision.
fn unready_cause<'a>(
    component: &'a ExpectedComponent,
    pods: impl Iterator<Item = &'a &'a Arc<Pod>>,
    observed: &Observed,
) -> Option<Cause> {
    current(component, pods).find_map(|pod| pods::cause(pod, &observed.claims))
}

/// The revision of the pods that the controller makes.
fn made_revision(controller: &ReplicationController) -> Option<u32> {
    let template = controller.spec.as_ref()?.template.as_ref()?;
    template.metadata.as_ref()?.labels.as_ref()?.get(LABEL_REVISION)?.parse().ok()
}

/// The pods that the controller counts as its own.
fn owned_pods<'a>(
    controller: &ReplicationController,
    pods: impl Iterator<Item = &'a Arc<Pod>>,
) -> Vec<&'a Arc<Pod>> {
    let uid = controller.metadata.uid.as_deref();
    pods.filter(|pod| {
        let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
        owners.iter().any(|owner| owner.controller == Some(true) && Some(owner.uid.as_str()) == uid)
    })
    .collect()
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

fn of_cause(cause: Cause) -> (ComponentState, Option<Reason>, String) {
    // A pod that no node takes now may be taken in a moment: a node may come, a claim may be bound.
    let state = match cause.reason {
        Reason::Unschedulable | Reason::VolumePending => ComponentState::Progressing,
        _ => ComponentState::Failed,
    };
    (state, Some(cause.reason), cause.message)
}

/// Why a controller cannot make pods; the text names quota and limits, never values of the environment.
fn replica_failure(text: &str) -> Cause {
    let (reason, message) = if text.contains("exceeded quota") {
        (Reason::QuotaExceeded, "a ResourceQuota of the namespace is used up")
    } else if text.contains("violates PodSecurity") {
        (Reason::AdmissionDenied, "the namespace's Pod Security level refuses its pods")
    } else {
        (Reason::ReplicaFailure, "its controller cannot create pods")
    };
    Cause { reason, message: message.to_owned() }
}
