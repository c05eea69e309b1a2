//! Observed: the members of one deployment as the cluster last showed them.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ReplicationController, Service};

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
