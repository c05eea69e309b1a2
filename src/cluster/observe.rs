//! Looks at a deployment once: its members, whole, one LIST per kind.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Pod, ReplicationController, Service};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;

use super::Cluster;
use crate::artifacts::{
    DeploymentName, LABEL_INSTANCE, LABEL_MANAGED_BY, MANAGED_BY, Namespace, Observed, selector_of,
};
use crate::error::Result;

impl Cluster {
    /// Lists the deployment's members, all kinds at once.
    pub async fn observe(&self, namespace: &Namespace, deployment: &DeploymentName) -> Result<Observed> {
        self.observe_selected(namespace, &selector_of(deployment)).await
    }

    /// Lists the members of every deployment of a namespace, by deployment.
    pub async fn observe_namespace(&self, namespace: &Namespace) -> Result<HashMap<String, Observed>> {
        let selector = format!("{LABEL_MANAGED_BY}={MANAGED_BY}");
        let all = self.observe_selected(namespace, &selector).await?;
        let mut deployments: HashMap<String, Observed> = HashMap::new();
        for pod in all.pods {
            deployments.entry(instance(pod.as_ref())).or_default().pods.push(pod);
        }
        for controller in all.controllers {
            deployments.entry(instance(controller.as_ref())).or_default().controllers.push(controller);
        }
        for service in all.services {
            deployments.entry(instance(service.as_ref())).or_default().services.push(service);
        }
        Ok(deployments)
    }

    async fn observe_selected(&self, namespace: &Namespace, selector: &str) -> Result<Observed> {
        let (pods, controllers, services) = tokio::try_join!(
            self.list_whole::<Pod>(namespace, selector),
            self.list_whole::<ReplicationController>(namespace, selector),
            self.list_whole::<Service>(namespace, selector),
        )?;
        Ok(Observed { pods, controllers, services })
    }

    async fn list_whole<K>(&self, namespace: &Namespace, selector: &str) -> Result<Vec<Arc<K>>>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace.as_str());
        let parameters = ListParams::default().labels(selector);
        let list = self
            .call("look at the deployment's objects", || api.list(&parameters))
            .await
            .map_err(|failure| failure.into_error(&K::kind(&()), ""))?;
        Ok(list.items.into_iter().map(Arc::new).collect())
    }
}

/// The deployment an object belongs to.
fn instance(object: &impl kube::Resource) -> String {
    object.labels().get(LABEL_INSTANCE).cloned().unwrap_or_default()
}
