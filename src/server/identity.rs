//! Finds out who calls, before anything of a request's body is read.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

use super::origin::Origin;
use crate::callers::{Callers, Shown};
use crate::error::ErrorKind;
use crate::grpc;
use crate::proto::health::health_server;
use crate::proto::server_service_server;

/// Services of which every method is for everybody: they tell how the server is and what it speaks.
const OPEN: [&str; 3] = [
    health_server::SERVICE_NAME,
    tonic_reflection::pb::v1::server_reflection_server::SERVICE_NAME,
    tonic_reflection::pb::v1alpha::server_reflection_server::SERVICE_NAME,
];

/// Whether a method is for everybody; what is not known is not.
fn is_open(path: &str) -> bool {
    let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.split_once('/')) else {
        return false;
    };
    let tells_itself = service == server_service_server::SERVICE_NAME && method == "GetServerInfo";
    tells_itself || OPEN.contains(&service)
}

/// The layer that finds out who calls.
#[derive(Clone)]
pub(super) struct Identity(pub(super) Callers);

impl<S> Layer<S> for Identity {
    type Service = Identified<S>;

    fn layer(&self, inner: S) -> Identified<S> {
        Identified { inner, callers: self.0.clone() }
    }
}

/// The service made by [`Identity`].
#[derive(Clone)]
pub(super) struct Identified<S> {
    inner: S,
    callers: Callers,
}

impl<S, B> Service<Request<B>> for Identified<S>
where
    S: Service<Request<B>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: Send + 'static,
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
        let callers = self.callers.clone();
        Box::pin(async move {
            let shown = shown(request.headers());
            let origin = request.extensions().get::<Origin>().cloned().unwrap_or_default();
            match callers.identify(&shown, origin.certificate.as_deref(), origin.source).await {
                Ok(caller) => {
                    // Nothing behind this line needs it, and what is not there is not told by mistake.
                    request.headers_mut().remove(AUTHORIZATION);
                    request.extensions_mut().insert(callers.acting_for(caller));
                    inner.call(request).await
                }
                Err(error) => {
                    let mut answer = grpc::failed(&error).into_http();
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
