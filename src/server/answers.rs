//! The answers to failures that no service of ours has told: each gets a code, a message, its details and a log line.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

use super::envelope::{Envelope, Found, Violation};
use super::limits::{self, Admission};
use crate::error::{Error, ErrorKind};
use crate::grpc::{self, MAX_MESSAGE_BYTES};
use crate::metrics::{Limit, Metrics};

/// Which compression is taken, by gRPC's name for this header.
const ACCEPTED: (&str, HeaderValue) = ("grpc-accept-encoding", HeaderValue::from_static("gzip,identity"));
/// The services whose own answers follow protocols that are not ours.
const FOREIGN: &str = "/grpc.";
/// The one service that takes more than one message in a request.
const REFLECTION: &str = "/grpc.reflection.";

/// The layer that sees every request and its answer.
#[derive(Clone)]
pub(super) struct Answers(pub(super) Metrics);

impl<S> Layer<S> for Answers {
    type Service = Answering<S>;

    fn layer(&self, inner: S) -> Answering<S> {
        Answering { inner, metrics: self.0.clone() }
    }
}

/// The service made by [`Answers`].
#[derive(Clone)]
pub(super) struct Answering<S> {
    inner: S,
    metrics: Metrics,
}

impl<S, B, R> Service<Request<B>> for Answering<S>
where
    S: Service<Request<Body>, Response = Response<R>>,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // A router would drop the query and call the method all the same.
        if request.uri().query().is_some() {
            let error = unknown(request.uri().path());
            return Box::pin(async move { Ok(grpc::failed(&error).into_http()) });
        }
        let path = request.uri().path().to_owned();
        let found = Found::default();
        let encoded = is_encoded(request.headers());
        let admission = request.extensions().get::<Admission>().cloned();
        let request = match path.starts_with(REFLECTION) {
            true => request.map(Body::new),
            false => request.map(|body| {
                Body::new(Envelope::new(body, encoded, MAX_MESSAGE_BYTES, found.clone(), admission))
            }),
        };
        let answer = self.inner.call(request);
        let metrics = self.metrics.clone();
        Box::pin(async move {
            let answer = answer.await?;
            match found.get() {
                Some(Violation::TooLarge) => metrics.limit_hit(Limit::Request),
                Some(Violation::Late) => metrics.limit_hit(Limit::RequestTime),
                Some(_) | None => {}
            }
            Ok(match failure(answer.headers(), found.get(), &path) {
                Some(error) => {
                    let mut told = grpc::failed(&error).into_http();
                    told.headers_mut().insert(ACCEPTED.0, ACCEPTED.1);
                    told
                }
                None => answer.map(Body::new),
            })
        })
    }
}

/// Whether the request says how its messages are compressed.
fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get("grpc-encoding").is_some_and(|encoding| encoding != "identity")
}

/// What an answer fails with that nobody has told; `None` if it is a service's own.
fn failure(headers: &HeaderMap, found: Option<Violation>, path: &str) -> Option<Error> {
    let status = tonic::Status::from_header_map(headers)?;
    if let Some(violation) = found {
        return Some(of_envelope(violation));
    }
    if !status.details().is_empty() {
        return None;
    }
    if grpc::is_unknown_method(&status) {
        return Some(unknown(path));
    }
    if path.starts_with(FOREIGN) { None } else { grpc::failure_of_library(&status) }
}

fn unknown(path: &str) -> Error {
    let message =
        format!("there is no method `{}`; reflection lists those there are", crate::template::shown(path));
    Error::new(ErrorKind::NotImplemented, message)
}

fn of_envelope(violation: Violation) -> Error {
    let (kind, message) = match violation {
        Violation::NoPlace => return limits::no_place(),
        Violation::Missing => (ErrorKind::NotImplemented, "the request has no message; send exactly one"),
        Violation::Second => {
            (ErrorKind::NotImplemented, "the request has more than one message; send exactly one")
        }
        Violation::CutOff => (ErrorKind::FramingInvalid, "the request ends within its message"),
        Violation::Flag => (ErrorKind::FramingInvalid, "the message begins with neither 0 nor 1"),
        Violation::Encoding => (
            ErrorKind::FramingInvalid,
            "the message says that it is compressed, but the request has no grpc-encoding",
        ),
        Violation::TooLarge => (ErrorKind::LimitExceeded, "the request is larger than 1 MiB"),
        Violation::Late => (ErrorKind::ClusterTimeout, "the request did not end within 30 s"),
    };
    Error::new(kind, message)
}

/// The answer for a handler that panicked; the connection and the process live on.
pub(super) fn panicked() -> Response<Body> {
    grpc::failed(&Error::internal("a handler panicked".to_owned())).into_http()
}
