//! The status of a single pod: whether it is ready, and if not, why.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerStatus, PersistentVolumeClaim, Pod, PodStatus as KubernetesPodStatus,
};

use super::Reason;
use crate::artifacts::LABEL_REVISION;

/// Why a pod is not getting ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    pub(super) reason: Reason,
    pub(super) message: String,
}

/// One pod, for callers who ask for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodStatus {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its phase as Kubernetes spells it.
    pub phase: String,
    /// Whether it is Ready.
    pub ready: bool,
    /// Why not, if there is a cause.
    pub reason: Option<Reason>,
    /// The same as a sentence.
    pub message: String,
    /// How often its container was started again.
    pub restarts: i32,
    /// The exit code of the container's last end.
    pub exit_code: Option<i32>,
    /// The revision it is of.
    pub revision: Option<u32>,
    /// The node it runs on.
    pub node: String,
    /// Its address.
    pub ip: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it is or was to end, if it is being deleted.
    pub deleted: Option<Timestamp>,
}

/// Describes one pod.
pub(super) fn describe(pod: &Pod, claims: &[Arc<PersistentVolumeClaim>]) -> PodStatus {
    let status = pod.status.clone().unwrap_or_default();
    let container = status.container_statuses.as_ref().and_then(|statuses| statuses.first());
    let cause = cause(pod, claims);
    let labels = pod.metadata.labels.as_ref();
    PodStatus {
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        phase: status.phase.clone().unwrap_or_default(),
        ready: is_ready(pod),
        reason: cause.as_ref().map(|cause| cause.reason),
        message: cause.map(|cause| cause.message).unwrap_or_default(),
        restarts: container.map_or(0, |container| container.restart_count),
        exit_code: container.and_then(exit_code),
        revision: labels.and_then(|labels| labels.get(LABEL_REVISION)?.parse().ok()),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        ip: status.pod_ip.clone().unwrap_or_default(),
        created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
        deleted: pod.metadata.deletion_timestamp.as_ref().map(|time| time.0),
    }
}

/// Whether the pod is Ready in its newest form, and stays.
pub(super) fn is_ready(pod: &Pod) -> bool {
    // A pod whose image was just changed is Ready until its kubelet has seen the change; kubelets that do not
    // say what they have seen are believed.
    let observed = pod.status.as_ref().and_then(|status| status.observed_generation).filter(|seen| *seen > 0);
    let is_newest = observed.is_none() || observed >= pod.metadata.generation;
    pod.metadata.deletion_timestamp.is_none()
        && is_newest
        && condition(pod, "Ready").is_some_and(|(status, _)| status == "True")
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<(&'a str, Option<&'a str>)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((found.status.as_str(), found.reason.as_deref()))
}

/// Why the pod is not ready; composed from reasons, names and exit codes only.
pub(super) fn cause(pod: &Pod, claims: &[Arc<PersistentVolumeClaim>]) -> Option<Cause> {
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    containers.iter().find_map(container_cause).or_else(|| pod_cause(pod, status, claims))
}

fn container_cause(container: &ContainerStatus) -> Option<Cause> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?.reason.as_deref()?;
    let reason = match waiting {
        "ImagePullBackOff"
        | "ErrImagePull"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable" => Reason::ImagePullFailed,
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => Reason::ConfigError,
        "CrashLoopBackOff" => Reason::CrashLooping,
        _ => return None,
    };
    let mut message = format!("container {}: {waiting}", container.name);
    if reason == Reason::CrashLooping {
        if let Some(code) = exit_code(container) {
            message.push_str(&format!(", last exit code {code}"));
        }
        message.push_str(&format!(", {} restarts", container.restart_count));
    }
    Some(Cause { reason, message })
}

fn pod_cause(
    pod: &Pod,
    status: &KubernetesPodStatus,
    claims: &[Arc<PersistentVolumeClaim>],
) -> Option<Cause> {
    let phase = status.phase.as_deref().unwrap_or_default();
    let (reason, message) = match phase {
        "Failed" => (Reason::PodFailed, "its pod has failed"),
        "Succeeded" => (Reason::PodSucceeded, "its pod has completed"),
        _ => {
            if let Some(claim) = pending_claim(pod, claims) {
                let message = format!("its pod waits for volume claim {claim}, which is not bound");
                return Some(Cause { reason: Reason::VolumePending, message });
            }
            let (state, reason) = condition(pod, "PodScheduled")?;
            if state != "False" || reason != Some("Unschedulable") {
                return None;
            }
            (Reason::Unschedulable, "no node can run its pod at the moment")
        }
    };
    Some(Cause { reason, message: message.to_owned() })
}

/// The first volume claim of a pod without a node that is not bound; a pod gets its node when its claims are.
fn pending_claim<'a>(pod: &'a Pod, claims: &[Arc<PersistentVolumeClaim>]) -> Option<&'a str> {
    let spec = pod.spec.as_ref().filter(|spec| spec.node_name.is_none())?;
    let names = spec
        .volumes
        .iter()
        .flatten()
        .filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.as_str()));
    let is_bound = |name: &str| {
        let claim = claims.iter().find(|claim| claim.metadata.name.as_deref() == Some(name));
        claim.and_then(|claim| claim.status.as_ref()?.phase.as_deref()) == Some("Bound")
    };
    names.into_iter().find(|name| !is_bound(name))
}

fn exit_code(container: &ContainerStatus) -> Option<i32> {
    let ended = |state: Option<&k8s_openapi::api::core::v1::ContainerState>| {
        state.and_then(|state| state.terminated.as_ref()).map(|terminated| terminated.exit_code)
    };
    ended(container.state.as_ref()).or_else(|| ended(container.last_state.as_ref()))
}
