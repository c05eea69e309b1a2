//! Counts every request to the API server, by its verb and the code of its answer.

use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use tower::{BoxError, Layer, Service, ServiceExt};

use super::limits::is_watch;
use crate::metrics::{Metrics, Verb};

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

/// What a request asks for, as Kubernetes names it.
fn verb(method: &Method, path: &str, is_watch: bool) -> Verb {
    match *method {
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE => Verb::Delete,
        Method::GET if is_watch => Verb::Watch,
        Method::GET => {
            let mut parts = path.split('/').filter(|part| !part.is_empty());
            match parts.next() {
                Some("api") => {}
                Some("apis") => drop(parts.next()),
                _ => return Verb::Other,
            }
            // The version; then the namespace, if any; then the kind and the name.
            let mut parts = parts.skip(1).peekable();
            if parts.next_if_eq(&"namespaces").is_some() {
                parts.next();
                if parts.peek().is_none() {
                    return Verb::Get;
                }
            }
            match parts.count() {
                0 => Verb::Other,
                1 => Verb::List,
                _ => Verb::Get,
            }
        }
        _ => Verb::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_those_of_kubernetes() {
        let get = |path| verb(&Method::GET, path, false);
        assert_eq!(get("/version"), Verb::Other);
        assert_eq!(get("/api/v1/configmaps"), Verb::List);
        assert_eq!(get("/api/v1/namespaces/a"), Verb::Get);
        assert_eq!(get("/api/v1/namespaces/a/pods"), Verb::List);
        assert_eq!(get("/api/v1/namespaces/a/secrets/s"), Verb::Get);
        assert_eq!(get("/apis/apps/v1/namespaces/a/deployments"), Verb::List);
        assert_eq!(get("/apis/apps/v1/namespaces/a/deployments/d/scale"), Verb::Get);
        assert_eq!(verb(&Method::GET, "/api/v1/namespaces/a/pods", true), Verb::Watch);
        assert_eq!(verb(&Method::POST, "/api/v1/namespaces/a/pods", false), Verb::Create);
    }
}
