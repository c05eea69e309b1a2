//! What a refused write leads to.

use crate::artifacts::{Artifact, DeploymentName, Kind, scale_manager};
use crate::error::{Error, ErrorKind};

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

/// Whether the only field in conflict is the replica count, and Scale holds it.
pub fn is_scaled_meanwhile(error: &Error, deployment: &DeploymentName) -> bool {
    let metadata = error.metadata();
    error.kind() == ErrorKind::FieldConflict
        && metadata.get("field").is_some_and(|field| field == "spec.replicas")
        && metadata.get("manager").is_some_and(|manager| *manager == scale_manager(deployment))
}

/// Whether the only field in conflict is the size of a volume claim, which a plan asks for only if it grows.
pub fn is_size_alone(error: &Error, artifact: &Artifact) -> bool {
    artifact.reference.kind == Kind::PersistentVolumeClaim
        && error.kind() == ErrorKind::FieldConflict
        && error.metadata().get("field").is_some_and(|field| field == "spec.resources.requests.storage")
}

/// Whether the API server refused because the object's spec cannot be changed in place, and for nothing else.
pub fn is_immutable(error: &Error) -> bool {
    error.kind() == ErrorKind::ManifestRejected
        && error.metadata().get("fields").is_some_and(|fields| fields == "spec")
}
