//! Callers that show a token.

use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use panamax_kubernetes_adapter::proto::template_service_client::TemplateServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Adds a value of `authorization` to every call; `None`: nothing.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// A client that shows it.
pub type Deployments = DeploymentServiceClient<InterceptedService<Channel, Bearer>>;
/// A client that shows it.
pub type Templates = TemplateServiceClient<InterceptedService<Channel, Bearer>>;

fn bearer(value: Option<&str>) -> Bearer {
    Bearer(value.map(|value| value.parse().expect("a value of metadata")))
}

/// A caller with this value of `authorization`.
pub fn showing(channel: Channel, value: Option<&str>) -> Deployments {
    DeploymentServiceClient::with_interceptor(channel, bearer(value))
}

/// A caller with this token.
pub fn with_token(channel: Channel, token: &str) -> Deployments {
    showing(channel, Some(&format!("Bearer {token}")))
}

/// A caller with this token, without a cluster.
pub fn templates_with_token(channel: Channel, token: &str) -> Templates {
    TemplateServiceClient::with_interceptor(channel, bearer(Some(&format!("Bearer {token}"))))
}
