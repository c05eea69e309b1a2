//! The gate before every service: a request that is not gRPC's runs nothing.
//!
//! By gRPC's specification over HTTP/2 a call is a POST whose content type is `application/grpc`, with `+proto` or
//! nothing behind it for protobuf, which is all that is served; anything else is answered with HTTP 415. The
//! specification gives the type no parameters, and a recipient ignores parameters that it does not know
//! (RFC 2045, 5.1): `application/grpc; charset=utf-8` is `application/grpc`. HTTP/1.1 is answered with 400 and a sentence.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures::future::Either;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::{Span, info};

use super::origin::Origin;
use super::telling::Telling;

/// The layer that lets calls through.
#[derive(Clone, Copy)]
pub(super) struct Gate;

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner }
    }
}

/// The service made by [`Gate`].
#[derive(Clone)]
pub(super) struct Gated<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for Gated<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<Ready<Result<Self::Response, Self::Error>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match refusal(request.version(), request.method(), request.headers()) {
            Some((answer, told)) => {
                let telling = request.extensions().get::<Origin>().map(|origin| &origin.telling);
                if telling.is_none_or(Telling::takes_line) {
                    let status = answer.status().as_u16();
                    let span = telling.map_or_else(Span::none, Telling::peer);
                    span.in_scope(|| info!(status, told, "call refused"));
                }
                Either::Left(ready(Ok(answer)))
            }
            None => Either::Right(self.inner.call(request)),
        }
    }
}

/// The answer to a request that is no call, and its sentence; `None` if it is one.
fn refusal(version: Version, method: &Method, headers: &HeaderMap) -> Option<(Response<Body>, &'static str)> {
    let (status, told) = if version < Version::HTTP_2 {
        // A person with a browser or curl has met the port.
        let text = "This port speaks gRPC over HTTP/2. Call it with a gRPC client, as grpcurl.";
        (StatusCode::BAD_REQUEST, text)
    } else if method != Method::POST {
        (StatusCode::METHOD_NOT_ALLOWED, "A call of gRPC is a POST.")
    } else if !is_grpc(headers) {
        let text = "A call of gRPC has one content-type, application/grpc or application/grpc+proto.";
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, text)
    } else {
        return None;
    };
    let mut answer = Response::new(Body::new(Full::from(format!("{told}\n"))));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    match status {
        StatusCode::METHOD_NOT_ALLOWED => headers.insert(ALLOW, HeaderValue::from_static("POST")),
        StatusCode::BAD_REQUEST => headers.insert(CONNECTION, HeaderValue::from_static("close")),
        _ => None,
    };
    Some((answer, told))
}

/// Whether the content is gRPC's in protobuf; of two content types neither is believed.
fn is_grpc(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next(), types.next()) else { return false };
    let Ok(text) = only.to_str() else { return false };
    let essence = text.split(';').next().unwrap_or_default().trim();
    ["application/grpc", "application/grpc+proto"].iter().any(|one| essence.eq_ignore_ascii_case(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_protobuf_passes() {
        let passes = |text: &'static str| {
            is_grpc(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(text))]))
        };
        for text in [
            "application/grpc",
            "application/grpc+proto",
            "Application/GRPC+Proto",
            "application/grpc;charset=utf-8",
            "application/grpc+proto ; v=1",
        ] {
            assert!(passes(text), "{text}");
        }
        for text in [
            "",
            "application/json",
            "text/plain",
            "application/grpc+json",
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpcx",
            "application/grpc, application/json",
        ] {
            assert!(!passes(text), "{text}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
        let mut headers = HeaderMap::new();
        for _ in 0..2 {
            headers.append(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        }
        assert!(!is_grpc(&headers));
    }
}
