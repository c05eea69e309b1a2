//! Observed: the members of one deployment as the cluster last showed them.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ReplicationController, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Kind;

/// What the cluster showed of one deployment at one moment.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Its pods, those of controllers included.
    pub pods: Vec<Arc<Pod>>,
    /// Its ReplicationControllers.
    pub controllers: Vec<Arc<ReplicationController>>,
    /// Its apps Deployments.
    pub deployments: Vec<Arc<Deployment>>,
    /// Its volume claims.
    pub claims: Vec<Arc<PersistentVolumeClaim>>,
    /// Its Services.
    pub services: Vec<Arc<Service>>,
}

impl Observed {
    /// Whether an object with this uid is there; `None` for kinds that are not watched.
    pub fn has(&self, kind: Kind, uid: &str) -> Option<bool> {
        let is_it = |metadata: &ObjectMeta| metadata.uid.as_deref() == Some(uid);
        Some(match kind {
            Kind::Pod => self.pods.iter().any(|pod| is_it(&pod.metadata)),
            Kind::ReplicationController => self.controllers.iter().any(|one| is_it(&one.metadata)),
            Kind::Deployment => self.deployments.iter().any(|one| is_it(&one.metadata)),
            Kind::PersistentVolumeClaim => self.claims.iter().any(|claim| is_it(&claim.metadata)),
            Kind::Service => self.services.iter().any(|service| is_it(&service.metadata)),
            Kind::Secret => return None,
        })
    }
}
