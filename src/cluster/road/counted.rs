//! Counts every request to the API server, by its verb and the code of its answer.

use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use kube::client::Body;
use tower::{BoxError, Layer, Service, ServiceExt};

use super::verbs::{is_watch, verb};
use crate::metrics::Metrics;

/// The layer that counts.
pub(super) struct Count(pub(super) Metrics);

impl<S> Layer<S> for Count {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, metrics: self.0.clone() }
    }
}

/// The service made by [`Count`].
#[derive(Clone)]
pub(super) struct Counted<S> {
    inner: S,
    metrics: Metrics,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
    B: Send,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (service, metrics) = (self.inner.clone(), self.metrics.clone());
        let verb = verb(request.method(), request.uri().path(), is_watch(request.uri()));
        async move {
            let answer = service.oneshot(request).await;
            let code = answer.as_ref().ok().map(Response::status);
            metrics.api_call(verb, code.map(|code| code.as_u16()));
            // Whoever is unknown there cannot do anything, as if nothing had answered; the next probe says so.
            let is_answer = |code: StatusCode| {
                code < StatusCode::INTERNAL_SERVER_ERROR && code != StatusCode::UNAUTHORIZED
            };
            if code.is_some_and(is_answer) {
                metrics.reachable(true);
            }
            answer
        }
        .boxed()
    }
}
