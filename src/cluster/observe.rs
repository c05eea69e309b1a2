//! Looks at a deployment once: its pods, its workloads and its Services, whole, one LIST per kind.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::try_join_all;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ReplicationController, Secret, Service};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;

use super::Cluster;
use crate::artifacts::{
    DeploymentName, Kind, LABEL_INSTANCE, LABEL_MANAGED_BY, MANAGED_BY, Namespace, ObjectRef, Observed,
    selector_of,
};
use crate::error::Result;

impl Cluster {
    /// Lists the deployment's pods and, of the kinds it has, what a status is concluded from; all at once.
    pub async fn observe(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        kinds: &[Kind],
    ) -> Result<Observed> {
        self.observe_selected(namespace, &selector_of(deployment), kinds).await
    }

    /// Reads those of these objects that are Secrets, by name; without their content unless that is asked for.
    pub async fn observe_secrets(
        &self,
        namespace: &Namespace,
        objects: &[&ObjectRef],
        whole: bool,
    ) -> Result<Vec<Arc<Secret>>> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace.as_str());
        let secrets = objects.iter().filter(|reference| reference.kind == Kind::Secret);
        let reads = secrets.map(|reference| {
            let (api, name) = (&api, reference.name.as_str());
            async move {
                let found = if whole {
                    self.call("read the Secret", || api.get_opt(name)).await
                } else {
                    let found = self.call("read the object", || api.get_metadata_opt(name)).await;
                    let bare = |metadata| Secret { metadata, ..Secret::default() };
                    found.map(|found| found.map(|found| bare(found.metadata)))
                };
                found.map_err(|failure| failure.about(reference))
            }
        });
        Ok(try_join_all(reads).await?.into_iter().flatten().map(Arc::new).collect())
    }

    /// Lists the members of every deployment of a namespace, by deployment.
    pub async fn observe_namespace(&self, namespace: &Namespace) -> Result<HashMap<String, Observed>> {
        let selector = format!("{LABEL_MANAGED_BY}={MANAGED_BY}");
        let all = self.observe_selected(namespace, &selector, &Kind::ALL).await?;
        let mut deployments: HashMap<String, Observed> = HashMap::new();
        for pod in all.pods {
            deployments.entry(instance(pod.as_ref())).or_default().pods.push(pod);
        }
        for controller in all.controllers {
            deployments.entry(instance(controller.as_ref())).or_default().controllers.push(controller);
        }
        for one in all.deployments {
            deployments.entry(instance(one.as_ref())).or_default().deployments.push(one);
        }
        for claim in all.claims {
            deployments.entry(instance(claim.as_ref())).or_default().claims.push(claim);
        }
        for service in all.services {
            deployments.entry(instance(service.as_ref())).or_default().services.push(service);
        }
        Ok(deployments)
    }

    async fn observe_selected(
        &self,
        namespace: &Namespace,
        selector: &str,
        kinds: &[Kind],
    ) -> Result<Observed> {
        let (pods, controllers, deployments, claims, services) = tokio::try_join!(
            self.list_whole::<Pod>(namespace, selector),
            self.list_if::<ReplicationController>(namespace, selector, Kind::ReplicationController, kinds),
            self.list_if::<Deployment>(namespace, selector, Kind::Deployment, kinds),
            self.list_if::<PersistentVolumeClaim>(namespace, selector, Kind::PersistentVolumeClaim, kinds),
            self.list_if::<Service>(namespace, selector, Kind::Service, kinds),
        )?;
        Ok(Observed { pods, controllers, deployments, claims, services, ..Observed::default() })
    }

    /// Lists a kind if it is among those asked for.
    async fn list_if<K>(
        &self,
        namespace: &Namespace,
        selector: &str,
        kind: Kind,
        kinds: &[Kind],
    ) -> Result<Vec<Arc<K>>>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        if kinds.contains(&kind) { self.list_whole::<K>(namespace, selector).await } else { Ok(Vec::new()) }
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
            .call("read the deployment's objects", || api.list(&parameters))
            .await
            .map_err(|failure| failure.into_error(&K::kind(&()), ""))?;
        Ok(list.items.into_iter().map(Arc::new).collect())
    }
}

/// The deployment an object belongs to.
fn instance(object: &impl kube::Resource) -> String {
    object.labels().get(LABEL_INSTANCE).cloned().unwrap_or_default()
}
