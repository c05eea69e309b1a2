//! Sets the replica count of one owned controller, under a field manager of its own.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::Cluster;
use super::answers::Subject;
use super::apply::is_uid_changed;
use crate::artifacts::{DeploymentName, Namespace, ObjectRef, scale_manager};
use crate::error::{Error, ErrorKind, Result};

/// A controller whose count was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaled {
    /// Its generation.
    pub generation: Option<i64>,
    /// Its version.
    pub version: Option<String>,
}

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
    ) -> Result<Scaled> {
        let api = self.api(namespace, reference.kind);
        let mut parameters = PatchParams::apply(&scale_manager(deployment)).force().validation_strict();
        parameters.dry_run = dry_run;
        let name = reference.name.as_str();
        let mut body = nothing(reference, uid);
        body["spec"] = json!({ "replicas": replicas });
        let body = Patch::Apply(body);
        let subject = Subject::member(reference);
        let mut pauses = self.pauses();
        loop {
            let patch = || api.patch_metadata(name, &parameters, &body);
            let failure = match self.write("set the replicas", subject, patch).await {
                Ok(written) => {
                    let generation = written.metadata.generation;
                    return Ok(Scaled { generation, version: written.metadata.resource_version });
                }
                Err(failure) => failure,
            };
            let is_gone = is_uid_changed(&failure)
                || (failure.conflict().is_some() && self.is_replaced(namespace, reference, uid).await?);
            if is_gone {
                return Err(Error::new(
                    ErrorKind::ComponentNotFound,
                    format!("{reference} no longer exists; deploy again to create it"),
                )
                .because(failure.summary())
                .about(reference.kind.as_str(), name));
            }
            match pauses.next() {
                Some(pause) if failure.conflict().is_some() => tokio::time::sleep(pause).await,
                _ => return Err(failure.about(reference)),
            }
        }
    }

    /// Lets go of the replica count that [`Cluster::scale`] holds; its value stays as it is.
    pub async fn release_scale(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        reference: &ObjectRef,
        uid: &str,
    ) -> Result<()> {
        let api = self.api(namespace, reference.kind);
        let parameters = PatchParams::apply(&scale_manager(deployment)).validation_strict();
        let name = reference.name.as_str();
        let body = Patch::Apply(nothing(reference, uid));
        self.write("give up the replica count", Subject::member(reference), || {
            api.patch_metadata(name, &parameters, &body)
        })
        .await
        .map(|_| ())
        .map_err(|failure| failure.about(reference))
    }
}

/// An apply that owns nothing.
fn nothing(reference: &ObjectRef, uid: &str) -> Value {
    json!({
        "apiVersion": reference.kind.api_version(),
        "kind": reference.kind.as_str(),
        "metadata": { "name": reference.name.as_str(), "uid": uid },
    })
}
