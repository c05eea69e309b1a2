//! The state of a component that a ReplicationController runs, and which of its old pods are replaced.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, ReplicationController};

use super::refusal::replica_failure;
use super::{
    Conclusion, Outcome, Ready, count, gravest, has_seen_its_newest_form, is_current, is_not_stale, progress,
    revision, unready_cause,
};
use crate::artifacts::{Form, Kind, LABEL_REVISION, ObjectName, ObjectRef, Observed};
use crate::status::{ComponentState, ExpectedComponent, Reason, Rollout, pods};

/// A ReplicationController is ready when it has seen its newest form, and as many pods as asked for are
/// ready and available, every one of the current revision. Its own status counts pods of any revision.
///
/// Pods that have ended count for nothing: the controller has made others in their place.
pub(super) fn conclude(
    component: &ExpectedComponent,
    controller: &ReplicationController,
    component_pods: &[&Arc<Pod>],
    observed: &Observed,
) -> Conclusion {
    let desired = controller.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = controller.status.clone().unwrap_or_default();
    let owned = owned_pods(controller, component_pods.iter().copied());
    let alive = owned.iter().filter(|pod| pods::is_alive(pod));
    let updated = count(alive.clone().filter(|pod| is_current(component, pod)));
    let outdated = alive.clone().any(|pod| !is_current(component, pod));
    // Its own count lags behind its pods: while they are replaced it still speaks of the old ones.
    let ready = count(
        alive
            .clone()
            .filter(|pod| is_current(component, pod) && pods::is_ready(pod, &component.name, observed)),
    );
    let seen = has_seen_its_newest_form(component, &controller.metadata, status.observed_generation);
    // Scaled to zero means that nothing runs, pods that are still ending included.
    let is_quiet = owned.iter().all(|pod| pods::has_ended(pod));
    let settled = match desired {
        0 => is_quiet && is_not_stale(component, &controller.metadata),
        _ => {
            seen && status.replicas == desired
                && ready >= desired
                && status.ready_replicas.unwrap_or(0) >= desired
                && status.available_replicas.unwrap_or(0) >= desired
                && updated >= desired
                && !outdated
        }
    };
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let failure = conditions
        .iter()
        .find(|one| seen && one.type_ == "ReplicaFailure" && one.status == "True")
        .map(|one| replica_failure(one.message.as_deref().unwrap_or_default()));
    let is_anothers = made_revision(controller).is_some_and(|made| Some(made) != component.pod_revision);
    let outcome = if controller.metadata.deletion_timestamp.is_some() {
        Outcome::new(ComponentState::Deleting, Reason::Terminating, "its controller is being deleted")
    } else if desired == 0 {
        progress(settled, desired, Ready { all: ready, current: ready })
    } else if is_anothers && is_not_stale(component, &controller.metadata) {
        Outcome::hopeless(
            Reason::ReplicaFailure,
            "somebody changed its ReplicationController, which now creates pods of another revision",
        )
    } else if settled {
        Outcome::ready()
    } else {
        gravest(failure, unready_cause(component, alive, observed))
            .map_or_else(|| progress(false, desired, Ready { all: ready, current: ready }), Outcome::of)
    };
    Conclusion { desired, ready, updated, outcome, uid: controller.metadata.uid.clone() }.counted(settled)
}

/// Which pods of an earlier revision are replaced now, since their ReplicationController leaves them running.
///
/// Unready ones at once; ready ones one at a time, and only while every other pod is ready, so that never two of a
/// component are missing. Whoever asks gets the same pod: the oldest revision first, then by name. None before the
/// controller is known to have seen its newest form: it would make new pods of the old one. None of another controller of
/// the same name, which somebody else has made.
pub(in crate::status) fn rollout(component: &ExpectedComponent, observed: &Observed) -> Rollout {
    let is_its = |controller: &&Arc<ReplicationController>| {
        let workload = component.workload.as_ref();
        workload.is_some_and(|workload| {
            workload.kind == Kind::ReplicationController
                && controller.metadata.name.as_deref() == Some(workload.name.as_str())
        }) && (component.workload_uid.is_none() || component.workload_uid == controller.metadata.uid)
    };
    let Some(controller) = observed.controllers.iter().find(is_its) else { return Rollout::default() };
    let owned = owned_pods(controller, observed.pods.iter());
    let alive: Vec<&Arc<Pod>> = owned.into_iter().filter(|pod| pods::is_alive(pod)).collect();
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
        let form = Form::new(pod.metadata.uid.clone()?, pod.metadata.resource_version.clone());
        Some((ObjectRef::new(Kind::Pod, name), form))
    };
    let unready: Vec<_> =
        outdated.iter().filter(|pod| !pods::is_ready(pod, &component.name, observed)).collect();
    if !unready.is_empty() {
        let replace = unready.into_iter().filter_map(|pod| reference(pod)).collect();
        return Rollout { replace, waits: None };
    }
    let desired = controller.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let missing = count(alive.iter().filter(|pod| pods::is_ready(pod, &component.name, observed))) < desired;
    if missing || alive.iter().any(|pod| !pods::is_ready(pod, &component.name, observed)) {
        return wait("one at a time, the next once every other pod is ready");
    }
    outdated.sort_by_key(|pod| (revision(pod), pod.metadata.name.clone()));
    Rollout { replace: outdated.first().and_then(|pod| reference(pod)).into_iter().collect(), waits: None }
}

/// The revision of the pods that the controller makes.
pub(super) fn made_revision(controller: &ReplicationController) -> Option<u32> {
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
