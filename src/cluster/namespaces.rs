//! Creates a namespace when the caller asks for it.

use k8s_openapi::api::core::v1::Namespace as NamespaceObject;
use kube::api::{Api, ObjectMeta, PostParams};

use super::Cluster;
use super::answers::{Conflict, Subject};
use crate::artifacts::Namespace;
use crate::error::Result;

impl Cluster {
    /// Creates the namespace; one that is there already counts as created.
    pub async fn create_namespace(&self, namespace: &Namespace) -> Result<()> {
        let api: Api<NamespaceObject> = Api::all(self.client.clone());
        let object = NamespaceObject {
            metadata: ObjectMeta { name: Some(namespace.to_string()), ..ObjectMeta::default() },
            ..NamespaceObject::default()
        };
        let parameters = PostParams::default();
        let subject = Subject { resource: "namespaces", kind: "Namespace", name: namespace.as_str() };
        match self.write("create the namespace", subject, || api.create(&parameters, &object)).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.conflict() == Some(Conflict::Exists) => Ok(()),
            Err(failure) => Err(failure.into_error("Namespace", namespace.as_str())),
        }
    }
}
