//! The state of a component that an apps Deployment runs: the rules of `kubectl rollout status`, and its pods.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;

use super::refusal::replica_failure;
use super::{
    Conclusion, Outcome, Ready, count, current, gravest, has_seen_its_newest_form, is_not_stale, progress,
    unready_cause,
};
use crate::artifacts::{LABEL_REVISION, Observed};
use crate::status::{ComponentState, ExpectedComponent, Grade, Reason, pods};

/// An apps Deployment is ready when it has seen its newest form, all of its replicas are of that form and
/// available, and as many pods of the current revision as asked for are ready. It replaces its pods itself.
pub(super) fn conclude(
    component: &ExpectedComponent,
    deployment: &Deployment,
    component_pods: &[&Arc<Pod>],
    observed: &Observed,
) -> Conclusion {
    let desired = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = deployment.status.clone().unwrap_or_default();
    let of_sets: Vec<&Arc<Pod>> =
        component_pods.iter().copied().filter(|pod| is_of_a_replica_set(pod)).collect();
    let alive: Vec<&Arc<Pod>> = of_sets.iter().copied().filter(|pod| pods::is_alive(pod)).collect();
    let updated = count(current(component, alive.iter()));
    // Pods of an earlier revision serve until those of the current one are ready.
    let ready = count(alive.iter().filter(|pod| pods::is_ready(pod, &component.name, observed)));
    let ready_now =
        count(current(component, alive.iter()).filter(|pod| pods::is_ready(pod, &component.name, observed)));
    let seen = has_seen_its_newest_form(component, &deployment.metadata, status.observed_generation);
    let is_fresh = is_not_stale(component, &deployment.metadata);
    // Scaled to zero means that nothing runs, pods that are still ending included.
    let settled = match desired {
        0 => is_fresh && of_sets.iter().all(|pod| pods::has_ended(pod)),
        _ => {
            seen && status.updated_replicas.unwrap_or(0) >= desired
                && status.replicas.unwrap_or(0) == status.updated_replicas.unwrap_or(0)
                && status.available_replicas.unwrap_or(0) >= desired
                && status.replicas.unwrap_or(0) == desired
                && ready_now >= desired
        }
    };
    // Pods of an earlier revision are then what the watches have yet to see go.
    let ready = if settled { ready_now } else { ready };
    let told = Ready { all: ready, current: ready_now };
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let failure = conditions
        .iter()
        .find(|one| seen && one.type_ == "ReplicaFailure" && one.status == "True")
        .map(|one| replica_failure(one.message.as_deref().unwrap_or_default()));
    let cause = || gravest(failure.clone(), unready_cause(component, alive.iter(), observed));
    let late = conditions.iter().any(|one| {
        seen && one.type_ == "Progressing" && one.reason.as_deref() == Some("ProgressDeadlineExceeded")
    });
    let outcome = if deployment.metadata.deletion_timestamp.is_some() {
        Outcome::new(ComponentState::Deleting, Reason::Terminating, "its apps Deployment is being deleted")
    } else if settled || desired == 0 {
        progress(settled, desired, told)
    } else if let Some(cause) = cause().filter(|cause| late || cause.grade != Grade::Waiting) {
        // What time might have mended has had its time.
        if late { Outcome::hopeless(cause.reason, cause.message) } else { Outcome::of(cause) }
    } else if let Some(message) = hold_up(component, deployment).filter(|_| seen) {
        Outcome::hopeless(Reason::ReplicaFailure, message)
    } else if late {
        let message = format!("{} became ready before the rollout's deadline", told.of(desired));
        Outcome::hopeless(Reason::ProgressDeadlineExceeded, message)
    } else {
        cause().map_or_else(|| progress(false, desired, told), Outcome::of)
    };
    Conclusion { desired, ready, updated, outcome, uid: deployment.metadata.uid.clone() }.counted(settled)
}

/// The revision of the pods that the apps Deployment makes.
pub(super) fn made_revision(deployment: &Deployment) -> Option<u32> {
    let metadata = deployment.spec.as_ref()?.template.metadata.as_ref()?;
    metadata.labels.as_ref()?.get(LABEL_REVISION)?.parse().ok()
}

/// What somebody has done to the apps Deployment so that it never makes the pods of the current revision.
fn hold_up(component: &ExpectedComponent, deployment: &Deployment) -> Option<&'static str> {
    let spec = deployment.spec.as_ref()?;
    if spec.paused == Some(true) {
        return Some("its apps Deployment is paused, so it replaces no pods until somebody resumes it");
    }
    let is_another = component.pod_revision.is_some() && made_revision(deployment) != component.pod_revision;
    is_another.then_some("somebody changed its apps Deployment, which now creates pods of another revision")
}

/// Whether a ReplicaSet created the pod: during a change of kinds, pods of the earlier workload exist, too.
fn is_of_a_replica_set(pod: &Pod) -> bool {
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().any(|owner| owner.controller == Some(true) && owner.kind == "ReplicaSet")
}
