//! A namespace on the real node, and the binary that deploys into it.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Pod, Service, ServiceSpec};
use kube::api::ListParams;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use tonic::Request;
use tonic::transport::Channel;

use crate::support::adapter::{Binary, connect, deploy, scale};
use crate::support::control_plane::User;
use crate::support::namespace::{Namespace, namespace_of};
use crate::support::node::{Container, Node, node};

/// How long containers may take to run; they take a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(110);

pub struct Place {
    pub node: &'static Node,
    pub namespace: Namespace,
    deployments: DeploymentServiceClient<Channel>,
    binary: Binary,
}

impl Place {
    /// None where there is no node; the reason has been told.
    pub async fn new(prefix: &str) -> Option<Self> {
        let node = node()?;
        let namespace = namespace_of(&node.plane, prefix).await;
        let flags = ["--namespaces", &namespace, "--namespace", &namespace];
        let binary = Binary::start(&node.plane.kubeconfig(User::Adapter), &flags);
        let deployments = DeploymentServiceClient::new(connect(binary.address).await);
        Some(Self { node, namespace, deployments, binary })
    }

    /// Where the binary listens.
    pub fn address(&self) -> String {
        self.binary.address.to_string()
    }

    /// Deploys a template and waits until all of it is ready.
    pub async fn deploy(&self, template: &str, options: proto::DeployOptions) {
        let options = Some(options);
        self.carry_out(proto::DeployRequest { options, ..deploy(&self.namespace, "app", template) }).await;
    }

    /// Deploys and waits until all of it is ready.
    pub async fn carry_out(&self, request: proto::DeployRequest) {
        self.try_carry_out(request).await.expect("deployed");
    }

    /// The same where it may not become ready.
    pub async fn try_carry_out(&self, request: proto::DeployRequest) -> Result<(), tonic::Status> {
        self.carry_out_within(request, PATIENCE).await
    }

    /// The same where it does not become ready, and nobody waits so long.
    pub async fn carry_out_within(
        &self,
        request: proto::DeployRequest,
        patience: Duration,
    ) -> Result<(), tonic::Status> {
        let mut request = Request::new(request);
        request.set_timeout(patience);
        self.deployments.clone().deploy(request).await.map(|_| ())
    }

    /// What is told of a component, once these words are in it.
    pub async fn component_says(&self, component: &str, words: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let request = proto::GetDeploymentRequest {
                namespace: self.namespace.to_string(),
                name: "app".to_owned(),
                view: proto::DeploymentView::Basic.into(),
            };
            let answer = self.deployments.clone().get_deployment(request).await.expect("it is there");
            let components = answer.into_inner().deployment.expect("a deployment").components;
            let found = components.into_iter().find(|one| one.name == component).expect("the component");
            if found.message.contains(words) {
                return found.message;
            }
            assert!(Instant::now() < until, "{component} says {}", found.message);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Scales a component and waits until it is so.
    pub async fn scale(&self, component: &str, replicas: i32) {
        let mut request = Request::new(scale(&self.namespace, "app", component, replicas));
        request.set_timeout(PATIENCE);
        self.deployments.clone().scale(request).await.expect("scaled");
    }

    /// The containers of a component.
    pub async fn containers(&self, component: &str) -> Vec<Container> {
        let selector = format!("app.kubernetes.io/name={component}");
        let pods = self.namespace.api::<Pod>().list(&ListParams::default().labels(&selector)).await;
        let pods = pods.expect("pods").items.into_iter();
        let pods = pods.filter(|pod| pod.metadata.deletion_timestamp.is_none());
        pods.map(|pod| Container::of(pod, self.node)).collect()
    }

    /// The one container of a component.
    pub async fn container(&self, component: &str) -> Container {
        let mut containers = self.containers(component).await;
        assert_eq!(containers.len(), 1, "{component}");
        containers.remove(0)
    }

    /// What the cluster made of a Service.
    pub async fn service(&self, name: &str) -> ServiceSpec {
        self.namespace.api::<Service>().get(name).await.expect("a Service").spec.expect("a specification")
    }
}
