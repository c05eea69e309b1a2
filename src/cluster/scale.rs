//! Sets the replica count of one owned controller, under a field manager of its own.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::answers::Subject;
use super::apply::is_uid_changed;
use super::{Cluster, patience};
use crate::artifacts::{DeploymentName, Form, Namespace, ObjectRef, scale_manager};
use crate::error::{Error, ErrorKind, Result};

/// How often a controller is looked at again that others keep writing: each pod that becomes ready is written into its
/// status.
const LOOKS: usize = 10;

/// A controller whose count was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaled {
    /// Its generation.
    pub generation: Option<i64>,
    /// Its version.
    pub version: Option<String>,
}

impl Cluster {
    /// Sets the replicas of the controller in this form and takes the field from whoever holds it. Its version makes a
    /// count that arrives late lose to one that was set since.
    ///
    /// Never makes an object: a controller that is gone is COMPONENT_NOT_FOUND.
    pub async fn scale(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        reference: &ObjectRef,
        form: &Form,
        replicas: i32,
        dry_run: bool,
    ) -> Result<Scaled> {
        let api = self.api(namespace, reference.kind);
        let mut parameters = PatchParams::apply(&scale_manager(deployment)).force().validation_strict();
        parameters.dry_run = dry_run;
        let name = reference.name.as_str();
        let mut body = nothing(reference, &form.uid);
        body["spec"] = json!({ "replicas": replicas });
        if let Some(version) = &form.version {
            body["metadata"]["resourceVersion"] = json!(version);
        }
        let mut looks = 0;
        loop {
            let subject = Subject::member(reference);
            let applied = Patch::Apply(&body);
            let patch = || api.patch_metadata(name, &parameters, &applied);
            let failure = match self.write("set the replicas", subject, patch).await {
                Ok(written) => {
                    let generation = written.metadata.generation;
                    return Ok(Scaled { generation, version: written.metadata.resource_version });
                }
                Err(failure) => failure,
            };
            let mut is_another = is_uid_changed(&failure);
            let mut is_gone = false;
            if !is_another && failure.conflict().is_some() {
                match self.see(namespace, deployment, reference).await? {
                    Some((seen, metadata)) if seen.uid == form.uid && looks < LOOKS => {
                        // Most often its status was written: pods come and go.
                        if !form.has_generation(metadata.generation) {
                            patience::confirmed().await;
                        }
                        body["metadata"]["resourceVersion"] = json!(seen.version);
                        looks += 1;
                        continue;
                    }
                    Some((seen, _)) => is_another = seen.uid != form.uid,
                    None => is_gone = true,
                }
            }
            let (kind, text) = match (is_another, is_gone) {
                (true, _) => (
                    ErrorKind::ObjectNotOwned,
                    format!(
                        "{reference} is not the one that was created here, somebody has created it again; the next \
                         Deploy says whether it can be taken over"
                    ),
                ),
                (_, true) => (
                    ErrorKind::ComponentNotFound,
                    format!("{reference} no longer exists; deploy again to create it"),
                ),
                (false, false) => return Err(failure.about(reference)),
            };
            return Err(Error::new(kind, text)
                .because(failure.summary())
                .about(reference.kind.as_str(), name));
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
