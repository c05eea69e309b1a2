//! Pods that run beside a component's workload: a controller of ours has made them and is lost.
//!
//! They serve as the others do, since the component's Service selects them, and no rollout ever replaces them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::artifacts::{Kind, Observed};
use crate::record::controller_of;
use crate::status::{Expected, ExpectedComponent, pods};

/// The pods of the component that its workload does not own; a person's copy is none of them.
pub(super) fn left<'a>(
    component: &ExpectedComponent,
    expected: &Expected,
    observed: &Observed,
    component_pods: &[&'a Arc<Pod>],
) -> Vec<&'a Arc<Pod>> {
    let Some(workload) = &component.workload else { return Vec::new() };
    if expected.applying || expected.deleting {
        return Vec::new();
    }
    let is_owned = |pod: &Pod| match workload.kind {
        Kind::ReplicationController => {
            let mut controllers = observed.controllers.iter();
            controller_of(&pod.metadata).is_some_and(|uid| {
                controllers.any(|controller| controller.metadata.uid.as_deref() == Some(uid))
            })
        }
        // Which ReplicaSet it is of, only the API server knows.
        Kind::Deployment => controller_of(&pod.metadata).is_some(),
        Kind::Pod | Kind::Secret | Kind::PersistentVolumeClaim | Kind::Service => {
            pod.metadata.name.as_deref() == Some(workload.name.as_str())
        }
    };
    let is_left = |pod: &&&Arc<Pod>| {
        pods::is_alive(pod) && !is_owned(pod) && expected.makers.have_made_beside(&pod.metadata)
    };
    component_pods.iter().filter(is_left).copied().collect()
}
