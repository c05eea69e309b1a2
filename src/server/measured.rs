//! Counts calls and measures how long they take, by their methods and codes.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::grpc;
use crate::metrics::Metrics;
use crate::telemetry::Parent;

/// Every method that is served.
const METHODS: [&str; 17] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/List",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/panamax.kubernetes.v1.DeploymentService/Deploy",
    "/panamax.kubernetes.v1.DeploymentService/GetDeployment",
    "/panamax.kubernetes.v1.DeploymentService/ListDeployments",
    "/panamax.kubernetes.v1.DeploymentService/ListRevisions",
    "/panamax.kubernetes.v1.DeploymentService/PlanDeploy",
    "/panamax.kubernetes.v1.DeploymentService/Rollback",
    "/panamax.kubernetes.v1.DeploymentService/Scale",
    "/panamax.kubernetes.v1.DeploymentService/Teardown",
    "/panamax.kubernetes.v1.DeploymentService/WatchDeployment",
    "/panamax.kubernetes.v1.ServerService/GetServerInfo",
    "/panamax.kubernetes.v1.TemplateService/TranslateTemplate",
    "/panamax.kubernetes.v1.TemplateService/ValidateTemplate",
];
/// What stands for all paths that somebody makes up.
const UNKNOWN: &str = "unknown";

/// The name of a method in a label: its service, without the package, and its own.
fn label(path: &str) -> &'static str {
    let known = METHODS.iter().find(|method| **method == path);
    known.and_then(|method| method.rsplit('.').next()).unwrap_or(UNKNOWN)
}

/// The layer that measures.
#[derive(Clone)]
pub(super) struct Measure(Metrics);

impl Measure {
    /// Shows every method from the start, so that the first failure for a reason of our own is seen.
    pub(super) fn new(metrics: Metrics) -> Self {
        for method in METHODS {
            metrics.serves(label(method), grpc::INTERNAL);
        }
        Self(metrics)
    }
}

impl<S> Layer<S> for Measure {
    type Service = Measuring<S>;

    fn layer(&self, inner: S) -> Measuring<S> {
        Measuring { inner, metrics: self.0.clone() }
    }
}

/// The service made by [`Measure`].
#[derive(Clone)]
pub(super) struct Measuring<S> {
    inner: S,
    metrics: Metrics,
}

impl<S, B> Service<Request<B>> for Measuring<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut call = Call::begin(&self.metrics, label(request.uri().path()));
        let parent = Parent::of(request.headers());
        let answer = parent.over(self.inner.call(request));
        Box::pin(async move {
            let answer = answer.await?;
            call.code = grpc::outcome(answer.headers()).or(call.code);
            if answer.status() != StatusCode::OK {
                // Refused before it was a call of a method.
                call.code = Some(grpc::NONE);
            }
            Ok(answer.map(|body| Body::new(Ending { body, call })))
        })
    }
}

/// A call under way; counted when it ends, however that is.
pub(super) struct Call {
    metrics: Metrics,
    method: &'static str,
    begun: Instant,
    code: Option<&'static str>,
}

impl Call {
    pub(super) fn begin(metrics: &Metrics, method: &'static str) -> Self {
        metrics.rpc_began(method);
        Self { metrics: metrics.clone(), method, begun: Instant::now(), code: None }
    }

    /// Notes the code that it ends with.
    pub(super) fn ends_with(&mut self, code: &'static str) {
        self.code = Some(code);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // Whoever leaves before the end has no code.
        self.metrics.rpc_ended(self.method, self.code.unwrap_or(grpc::CANCELLED), self.begun.elapsed());
    }
}

/// An answer that is looked at for the code at its end.
struct Ending {
    body: Body,
    call: Call,
}

impl http_body::Body for Ending {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(code) = frame.trailers_ref().and_then(grpc::outcome)
        {
            self.call.code = Some(code);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::proto;

    #[test]
    fn every_method_has_a_label_and_nothing_else_has() {
        for set in [proto::DESCRIPTOR_SET, proto::HEALTH_DESCRIPTOR_SET] {
            let set = prost_types::FileDescriptorSet::decode(set).unwrap();
            for file in &set.file {
                for service in &file.service {
                    for method in &service.method {
                        let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                        assert_eq!(label(&path), format!("{}/{}", service.name(), method.name()));
                    }
                }
            }
        }
        for path in ["", "/", "/a.B/C", "/panamax.kubernetes.v1.DeploymentService/Deploy/", "/x.Deploy"] {
            assert_eq!(label(path), UNKNOWN, "{path}");
        }
    }
}
