//! Sets the replica count of one owned controller, under a field manager of its own.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::Cluster;
use crate::artifacts::{DeploymentName, Namespace, ObjectRef, scale_manager};
use crate::error::{Error, ErrorKind, Result};

impl Cluster {
    /// Sets the replicas of the controller with this uid and takes the field from whoever holds it.
    ///
    /// Never makes an object: a controller that is gone is COMPONENT_NOT_FOUND.
    pub async fn scale(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        reference: &ObjectRef,
        uid: &str,
        replicas: i32,
        dry_run: bool,
    ) -> Result<()> {
        let api = self.api(namespace, reference.kind);
        let mut parameters = PatchParams::apply(&scale_manager(deployment)).force().validation_strict();
        parameters.dry_run = dry_run;
        let name = reference.name.as_str();
        let body = Patch::Apply(json!({
            "apiVersion": reference.kind.api_version(),
            "kind": reference.kind.as_str(),
            "metadata": { "name": name, "uid": uid },
            "spec": { "replicas": replicas },
        }));
        match self.call("set the replicas", || api.patch_metadata(name, &parameters, &body)).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.is_conflict() || failure.is_invalid() => Err(Error::new(
                ErrorKind::ComponentNotFound,
                format!("{reference} is gone from the cluster; deploy again to make it anew"),
            )
            .because(failure.summary())
            .about(reference.kind.as_str(), name)),
            Err(failure) => Err(failure.about(reference)),
        }
    }
}
