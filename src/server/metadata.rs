//! How large a request's metadata may be: too much ends its own call, and nothing else on the connection.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

use super::refusing::refused;
use crate::error::{Error, ErrorKind};
use crate::metrics::{Limit, Metrics};

/// The most bytes of all names and values together, as HTTP/2 counts them: 32 more for each.
pub(super) const MOST: usize = 16 * 1024;
const EACH: usize = 32;

/// The layer that measures metadata.
#[derive(Clone)]
pub(super) struct Metadata(pub(super) Metrics);

impl<S> Layer<S> for Metadata {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured { inner, metrics: self.0.clone() }
    }
}

/// The service made by [`Metadata`].
#[derive(Clone)]
pub(super) struct Measured<S> {
    inner: S,
    metrics: Metrics,
}

impl<S, B> Service<Request<B>> for Measured<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: http_body::Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let size = size(request.headers());
        if size <= MOST {
            return Box::pin(self.inner.call(request));
        }
        self.metrics.limit_hit(Limit::Metadata);
        let message = format!("the request's metadata are {size} bytes; {MOST} are taken");
        let error = Error::new(ErrorKind::LimitExceeded, message);
        Box::pin(async move { Ok(refused(request, &error).await) })
    }
}

fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + EACH).sum()
}
