//! Edge: the generated service traits, a dozen lines per call.

mod decode;
mod decode_template;
mod encode;
mod encode_events;
mod encode_revisions;
mod encode_server;
mod encode_template;
mod encode_time;
mod errors;
mod faults;
mod offline;
mod options;
mod serving;
mod sizes;
mod streams;

pub use decode::timeout;
pub use encode::diagnostic;
pub use errors::{
    CANCELLED, INTERNAL, NONE, beyond, coded, failed, failure_of_library, has_succeeded, is_unknown_method,
    outcome, refused_by_protocol, status, undecodable,
};
pub use offline::{translate, validate};
pub use serving::Serving;

use std::pin::Pin;

use futures::Stream;
use tonic::{Request, Response, Status};
use tracing::{Instrument, Span, info_span};

use decode::Nameable;

use crate::callers::Acting;
use crate::error::Error;
use crate::operations::{Names, Operations, in_time};
use crate::proto;
use crate::proto::deployment_service_server::DeploymentService;
use crate::proto::server_service_server::ServerService;
use crate::proto::template_service_server::TemplateService;
use crate::template::shown;

/// Serves DeploymentService.
pub struct DeploymentApi {
    operations: Operations,
}

/// Serves TemplateService; works while no cluster can be reached.
pub struct TemplateApi {
    operations: Operations,
}

/// Serves ServerService.
pub struct ServerApi {
    operations: Operations,
    serving: Serving,
}

impl DeploymentApi {
    /// Serves with these operations.
    pub fn new(operations: Operations) -> Self {
        Self { operations }
    }
}

impl TemplateApi {
    /// Serves with these operations.
    pub fn new(operations: Operations) -> Self {
        Self { operations }
    }
}

impl ServerApi {
    /// Serves with these operations.
    pub fn new(operations: Operations, serving: Serving) -> Self {
        Self { operations, serving }
    }
}

/// The operations on behalf of whoever calls; who that is was found out before anything of the request was read.
fn acting<M>(operations: &Operations, request: &Request<M>) -> Result<Operations, Status> {
    let acting = request.extensions().get::<Acting>().cloned().ok_or_else(|| {
        errors::failed(&Error::internal(
            "a call has reached its method, and nobody has found out whose it is",
        ))
    })?;
    Ok(operations.acting_for(acting))
}

/// The span of one call; what it names is whatever its caller has sent.
fn span(method: &'static str, operations: &Operations, namespace: &str, deployment: &str) -> Span {
    let caller = operations.caller().unwrap_or_default();
    let (namespace, deployment) = (shown(namespace), shown(deployment));
    info_span!("call", method, namespace, deployment, caller)
}

/// Answers a call that changes something, within its span and with what the audit tells of it.
async fn changing<T>(
    operations: &Operations,
    names: Names,
    span: Span,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Status> {
    // Large, and handed on through several hands.
    Box::pin(operations.audited(names, Error::word, answer))
        .instrument(span.clone())
        .await
        .map_err(|error: Error| errors::logged(&error, &span))
}

#[tonic::async_trait]
impl DeploymentService for DeploymentApi {
    async fn deploy(
        &self,
        request: Request<proto::DeployRequest>,
    ) -> Result<Response<proto::DeployResponse>, Status> {
        let operations = acting(&self.operations, &request)?;
        let deadline = decode::deadline(
            request.metadata(),
            request.get_ref().wait_timeout.as_ref(),
            operations.settings(),
        )?;
        let message = request.into_inner();
        let names = message.names();
        let span = span("Deploy", &operations, &message.namespace, &message.name);
        let call = decode::deploy(message, operations.settings(), deadline);
        let answer = async {
            let deployed = operations.deploy(call?).await?;
            sizes::sized(encode::deploy_response(&deployed))
        };
        changing(&operations, names, span, answer).await
    }

    async fn plan_deploy(
        &self,
        request: Request<proto::PlanDeployRequest>,
    ) -> Result<Response<proto::PlanDeployResponse>, Status> {
        let operations = acting(&self.operations, &request)?;
        let deadline = decode::deadline(request.metadata(), None, operations.settings())?;
        let message = request.into_inner();
        let span = span("PlanDeploy", &operations, &message.namespace, &message.name);
        let call = decode::plan(message, operations.settings(), deadline);
        async move {
            let planned = operations.plan_deploy(call?).await?;
            Ok(Response::new(encode::plan_response(planned)))
        }
        .instrument(span.clone())
        .await
        .map_err(|error: Error| errors::logged(&error, &span))
    }

    async fn scale(
        &self,
        request: Request<proto::ScaleRequest>,
    ) -> Result<Response<proto::ScaleResponse>, Status> {
        let operations = acting(&self.operations, &request)?;
        let deadline = decode::deadline(
            request.metadata(),
            request.get_ref().wait_timeout.as_ref(),
            operations.settings(),
        )?;
        let message = request.into_inner();
        let names = message.names();
        let span = span("Scale", &operations, &message.namespace, &message.name);
        let call = decode::scale(message, operations.settings(), deadline);
        let answer = async {
            let scaled = operations.scale(call?).await?;
            sizes::sized(encode::scale_response(&scaled))
        };
        changing(&operations, names, span, answer).await
    }

    async fn teardown(
        &self,
        request: Request<proto::TeardownRequest>,
    ) -> Result<Response<proto::TeardownResponse>, Status> {
        let operations = acting(&self.operations, &request)?;
        let deadline = decode::deadline(
            request.metadata(),
            request.get_ref().wait_timeout.as_ref(),
            operations.settings(),
        )?;
        let message = request.into_inner();
        let names = message.names();
        let span = span("Teardown", &operations, &message.namespace, &message.name);
        let call = decode::teardown(message, operations.settings(), deadline);
        let answer = async {
            let call = call?;
            let namespace = call.namespace.clone();
            let torn_down = operations.teardown(call).await?;
            sizes::sized(encode::teardown_response(&namespace, &torn_down))
        };
        changing(&operations, names, span, answer).await
    }

    async fn get_deployment(
        &self,
        request: Request<proto::GetDeploymentRequest>,
    ) -> Result<Response<proto::GetDeploymentResponse>, Status> {
        let operations = acting(&self.operations, &request)?;
        let deadline = decode::deadline(request.metadata(), None, operations.settings())?;
        let message = request.into_inner();
        let span = span("GetDeployment", &operations, &message.namespace, &message.name);
        let call = decode::get(&message, operations.settings());
        async move {
            let (target, full) = call?;
            let view = in_time(deadline, operations.get(&target, full)).await?;
            sizes::sized(proto::GetDeploymentResponse { deployment: Some(encode::deployment(&view)) })
        }
        .instrument(span.clone())
        .await
        .map_err(|error: Error| errors::logged(&error, &span))
    }

    async fn list_deployments(
        &self,
        request: Request<proto::ListDeploymentsRequest>,
    ) -> Result<Response<proto::ListDeploymentsResponse>, Status> {
        let operations = acting(&self.operations, &request)?;
        let deadline = decode::deadline(request.metadata(), None, operations.settings())?;
        let message = request.into_inner();
        let span = span("ListDeployments", &operations, &message.namespace, "");
        let call = decode::list(message, operations.settings());
        async move {
            let listed = in_time(deadline, operations.list(&call?)).await?;
            sizes::page(listed)
        }
        .instrument(span.clone())
        .await
        .map_err(|error: Error| errors::logged(&error, &span))
    }

    type WatchDeploymentStream =
        Pin<Box<dyn Stream<Item = Result<proto::WatchDeploymentResponse, Status>> + Send + 'static>>;

    async fn watch_deployment(
        &self,
        request: Request<proto::WatchDeploymentRequest>,
    ) -> Result<Response<Self::WatchDeploymentStream>, Status> {
        let operations = acting(&self.operations, &request)?;
        let deadline = decode::stream_deadline(request.metadata())?;
        let message = request.into_inner();
        let span = span("WatchDeployment", &operations, &message.namespace, &message.name);
        let call = decode::watch(&message, operations.settings());
        async {
            let decode::WatchCall { target, until, heartbeat, full } = call?;
            let begun = operations.watch(target, until, heartbeat, deadline, full);
            let updates = match deadline {
                Some(deadline) => in_time(deadline, begun).await?,
                None => begun.await?,
            };
            let clock = operations.clock().clone();
            Ok(Response::new(streams::responses(updates, move || clock.now(), span.clone())))
        }
        .instrument(span.clone())
        .await
        .map_err(|error: Error| errors::logged(&error, &span))
    }

    async fn list_revisions(
        &self,
        request: Request<proto::ListRevisionsRequest>,
    ) -> Result<Response<proto::ListRevisionsResponse>, Status> {
        let operations = acting(&self.operations, &request)?;
        let deadline = decode::deadline(request.metadata(), None, operations.settings())?;
        let message = request.into_inner();
        let span = span("ListRevisions", &operations, &message.namespace, &message.name);
        let call = decode::revisions(message, operations.settings());
        async move {
            let listed = in_time(deadline, operations.revisions(&call?)).await?;
            Ok(Response::new(encode_revisions::revisions_response(&listed)))
        }
        .instrument(span.clone())
        .await
        .map_err(|error: Error| errors::logged(&error, &span))
    }

    async fn rollback(
        &self,
        request: Request<proto::RollbackRequest>,
    ) -> Result<Response<proto::RollbackResponse>, Status> {
        let operations = acting(&self.operations, &request)?;
        let deadline = decode::deadline(
            request.metadata(),
            request.get_ref().wait_timeout.as_ref(),
            operations.settings(),
        )?;
        let message = request.into_inner();
        let names = message.names();
        let span = span("Rollback", &operations, &message.namespace, &message.name);
        let call = decode::rollback(message, operations.settings(), deadline);
        let answer = async {
            let deployed = operations.rollback(call?).await?;
            Ok(Response::new(encode_revisions::rollback_response(&deployed)))
        };
        changing(&operations, names, span, answer).await
    }
}

#[tonic::async_trait]
impl TemplateService for TemplateApi {
    async fn validate_template(
        &self,
        request: Request<proto::ValidateTemplateRequest>,
    ) -> Result<Response<proto::ValidateTemplateResponse>, Status> {
        let operations = acting(&self.operations, &request)?;
        let message = request.into_inner();
        let span = span("ValidateTemplate", &operations, &message.namespace, &message.name);
        let settings = operations.settings();
        let call = decode::validate(message, &settings.namespace, settings.requests.of_templates());
        let call = call.map_err(|error| errors::logged(&error, &span))?;
        let validated = Operations::validate_template(&call);
        let answer = sizes::sized(encode::validate_response(&validated));
        answer.map_err(|error| errors::logged(&error, &span))
    }

    async fn translate_template(
        &self,
        request: Request<proto::TranslateTemplateRequest>,
    ) -> Result<Response<proto::TranslateTemplateResponse>, Status> {
        let operations = acting(&self.operations, &request)?;
        let message = request.into_inner();
        let span = span("TranslateTemplate", &operations, &message.namespace, &message.name);
        let settings = operations.settings();
        let limits = settings.requests.of_templates();
        let call = decode::translate(message, &settings.namespace, limits);
        let translated = call.and_then(|call| sizes::sized(offline::translated(&call)?));
        translated.map_err(|error| errors::logged(&error, &span))
    }
}

#[tonic::async_trait]
impl ServerService for ServerApi {
    async fn get_server_info(
        &self,
        request: Request<proto::GetServerInfoRequest>,
    ) -> Result<Response<proto::GetServerInfoResponse>, Status> {
        let deadline = decode::deadline(request.metadata(), None, self.operations.settings())?;
        // This call reports a cluster that cannot be reached; that is not a failure of the call.
        // Whoever asks need not be known, so nothing is asked of the cluster for it.
        let version = tokio::time::timeout_at(deadline, self.operations.known_version()).await.ok().flatten();
        Ok(Response::new(encode_server::server_info(
            self.operations.settings(),
            self.operations.kept(),
            version,
            &self.serving,
        )))
    }
}
