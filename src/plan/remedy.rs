//! What a refused write leads to.

use super::Step;
use crate::artifacts::{DeploymentName, Kind, scale_manager};
use crate::error::{Error, ErrorKind, Refusal};

/// What is done about a refused write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing: the step has failed.
    Fail,
    /// Delete the object and create it anew: nobody knew which form was there.
    Replace,
    /// Leave the replica count out: Scale came after the plan was made, and holds it now.
    WithoutReplicas,
    /// Take the size of a volume claim from whoever holds it: a plan asks for a size only if the claim grows.
    TakeFields,
}

/// Decides what is done about a refused write of this step.
pub fn remedy(error: &Error, step: &Step, deployment: &DeploymentName) -> Remedy {
    let is = |fields: &[String], only: &str| matches!(fields, [field] if field == only);
    let kind = step.artifact.reference.kind;
    match error.refusal() {
        Some(Refusal::Invalid { fields }) if step.may_replace && is(fields, "spec") => Remedy::Replace,
        Some(Refusal::Held { fields, manager })
            if is(fields, "spec.replicas") && *manager == scale_manager(deployment) =>
        {
            Remedy::WithoutReplicas
        }
        Some(Refusal::Held { fields, .. })
            if kind == Kind::PersistentVolumeClaim && is(fields, "spec.resources.requests.storage") =>
        {
            Remedy::TakeFields
        }
        Some(Refusal::Invalid { .. } | Refusal::Held { .. }) | None => Remedy::Fail,
    }
}

/// Whether such a failure says for certain that the object was not written.
pub fn is_refusal(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ManifestRejected
            | ErrorKind::ObjectNotOwned
            | ErrorKind::FieldConflict
            | ErrorKind::ClusterForbidden
            | ErrorKind::AdmissionDenied
            | ErrorKind::VolumeImmutable
            | ErrorKind::QuotaExceeded
    )
}
