//! Finds out who calls, before anything of a request's body is read.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;
use tower::{Layer, Service};

use super::origin::Origin;
use super::refusing::refused;
use super::wire::Peer;
use crate::callers::{Callers, Opened, Shown, Tally};
use crate::error::{Error, ErrorKind};
use crate::metrics::{Limit, Metrics};
use crate::proto::health::health_server;
use crate::proto::server_service_server;

/// Callers of one connection, and of all, of whom it is being found out at once who they are.
const UNDER_WAY_PER_CONNECTION: usize = 256;
const UNDER_WAY: usize = 10_000;
/// When a caller that was told so may try again.
const AGAIN: Duration = Duration::from_secs(1);

/// Services of which every method is for everybody: they tell how the server is and what it speaks.
const OPEN: [&str; 3] = [
    health_server::SERVICE_NAME,
    tonic_reflection::pb::v1::server_reflection_server::SERVICE_NAME,
    tonic_reflection::pb::v1alpha::server_reflection_server::SERVICE_NAME,
];

/// Whether a method is for everybody; what is not known is not.
pub(super) fn is_open(path: &str) -> bool {
    let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.split_once('/')) else {
        return false;
    };
    let tells_itself = service == server_service_server::SERVICE_NAME && method == "GetServerInfo";
    tells_itself || OPEN.contains(&service)
}

/// The layer that finds out who calls.
#[derive(Clone)]
pub(super) struct Identity {
    callers: Callers,
    under_way: UnderWay,
}

impl Identity {
    pub(super) fn new(callers: Callers, metrics: Metrics) -> Self {
        Self { callers, under_way: UnderWay::new(metrics) }
    }
}

/// Callers of whom it is being found out who they are: they have no place among the calls.
#[derive(Clone)]
struct UnderWay {
    each: Tally<Peer>,
    all: Arc<Semaphore>,
    metrics: Metrics,
}

impl UnderWay {
    fn new(metrics: Metrics) -> Self {
        Self { each: Tally::default(), all: Arc::new(Semaphore::new(UNDER_WAY)), metrics }
    }

    /// Counts another of a connection until the answer is dropped; fails with OVERLOADED if there are too many.
    fn begin(&self, peer: Peer) -> Result<(Opened<Peer>, OwnedSemaphorePermit), Error> {
        let own = self.each.open(peer, UNDER_WAY_PER_CONNECTION);
        own.zip(Arc::clone(&self.all).try_acquire_owned().ok()).ok_or_else(|| {
            self.metrics.limit_hit(Limit::Calls);
            let text = "too many callers are being identified; try again later";
            Error::new(ErrorKind::Overloaded, text).retry_after(AGAIN)
        })
    }
}

impl<S> Layer<S> for Identity {
    type Service = Identified<S>;

    fn layer(&self, inner: S) -> Identified<S> {
        Identified { inner, identity: self.clone() }
    }
}

/// The service made by [`Identity`].
#[derive(Clone)]
pub(super) struct Identified<S> {
    inner: S,
    identity: Identity,
}

impl<S, B> Service<Request<B>> for Identified<S>
where
    S: Service<Request<B>, Response = Response<Body>> + Clone + Send + 'static,
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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if is_open(request.uri().path()) {
            return Box::pin(self.inner.call(request));
        }
        // The one that is ready is used, and the next call has another.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let Identity { callers, under_way } = self.identity.clone();
        Box::pin(async move {
            let shown = shown(request.headers());
            let origin = request.extensions().get::<Origin>().cloned().unwrap_or_default();
            let peer = request.extensions().get::<Peer>().copied();
            let known = async {
                let _counted = peer.map(|peer| under_way.begin(peer)).transpose()?;
                callers.identify(&shown, origin.certificate.as_deref(), origin.source).await
            };
            match known.await {
                Ok(caller) => {
                    // Nothing behind this line needs it, and what is not there is not told by mistake.
                    request.headers_mut().remove(AUTHORIZATION);
                    request.extensions_mut().insert(callers.acting_for(caller));
                    inner.call(request).await
                }
                Err(error) => {
                    let mut answer = refused(request, &error).await;
                    let is_unknown =
                        matches!(error.kind(), ErrorKind::CredentialsMissing | ErrorKind::CredentialsInvalid);
                    if is_unknown {
                        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                    }
                    Ok(answer)
                }
            }
        })
    }
}

fn shown(headers: &HeaderMap) -> Shown {
    Shown::authorization(headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_cannot_have_everybody_wait_for_its_tokens() {
        let metrics = Metrics::default();
        let under_way = UnderWay::new(metrics.clone());
        let held: Vec<_> =
            (0..UNDER_WAY_PER_CONNECTION).map(|_| under_way.begin(Peer::of(1)).unwrap()).collect();
        let refused = under_way.begin(Peer::of(1)).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::Overloaded);
        assert!(metrics.text().contains("panamax_limit_hits_total{limit=\"calls\"} 1"));
        assert!(under_way.begin(Peer::of(2)).is_ok());
        drop(held);
        assert!(under_way.each.is_empty());
    }

    #[test]
    fn only_what_tells_about_the_server_is_for_everybody() {
        for path in [
            "/grpc.health.v1.Health/Check",
            "/grpc.health.v1.Health/Watch",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/panamax.kubernetes.v1.ServerService/GetServerInfo",
        ] {
            assert!(is_open(path), "{path}");
        }
        for path in [
            "/panamax.kubernetes.v1.DeploymentService/Deploy",
            "/panamax.kubernetes.v1.TemplateService/TranslateTemplate",
            "/panamax.kubernetes.v1.ServerService/Another",
            "//grpc.health.v1.Health/Check",
            "/grpc.health.v1.healtH/Check",
            "/",
            "",
        ] {
            assert!(!is_open(path), "{path}");
        }
    }
}
