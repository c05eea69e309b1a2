//! What a request's metadata may be: too much, or what cannot be read, ends its own call, and nothing else on the connection.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderValue, Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

use super::refusing::refused;
use crate::error::{Error, ErrorKind, Fault};
use crate::grpc;
use crate::metrics::{Limit, Metrics};
use crate::template;

/// What HTTP/2 counts for each entry beside its name and value.
const EACH: usize = 32;

/// Says how the messages of a request are compressed.
const ENCODING: &str = "grpc-encoding";

/// What the names of binary values end with, and how these are written: with padding or without.
const BINARY: &str = "-bin";
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The layer that looks at metadata.
#[derive(Clone)]
pub(super) struct Metadata {
    most: usize,
    metrics: Metrics,
}

impl Metadata {
    /// Takes so many bytes of all names and values together, as HTTP/2 counts them.
    pub(super) fn new(most: usize, metrics: Metrics) -> Self {
        Self { most, metrics }
    }
}

impl<S> Layer<S> for Metadata {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured { inner, metadata: self.clone() }
    }
}

/// The service made by [`Metadata`].
#[derive(Clone)]
pub(super) struct Measured<S> {
    inner: S,
    metadata: Metadata,
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
        let Err(error) = read(request.headers(), self.metadata.most) else {
            return Box::pin(self.inner.call(request));
        };
        if error.kind() == ErrorKind::LimitExceeded {
            self.metadata.metrics.limit_hit(Limit::Metadata);
        }
        Box::pin(async move { Ok(refused(request, &error).await) })
    }
}

/// Fails if the metadata are too many or cannot be read, or say that nobody waits any more.
fn read(headers: &HeaderMap, most: usize) -> Result<(), Error> {
    let size = size(headers);
    if size > most {
        let message = format!("the request's metadata are {size} bytes; {most} are taken");
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    if grpc::timeout(headers)?.is_some_and(|asked| asked.is_zero()) {
        return Err(Error::new(ErrorKind::ClusterTimeout, "the deadline had passed when the call came"));
    }
    if headers.get_all(ENCODING).iter().count() > 1 {
        return Err(Error::fields(vec![Fault::field(ENCODING, "must be there once at the most")]));
    }
    let unreadable =
        headers.iter().find(|(name, value)| name.as_str().ends_with(BINARY) && !is_binary(value));
    unreadable.map_or(Ok(()), |(name, _)| {
        let name = template::shown(name.as_str());
        Err(Error::fields(vec![Fault::field(
            name,
            "must be Base64, as every value of a name that ends with -bin",
        )]))
    })
}

/// Whether a value is one that gRPC calls binary, or several between commas.
fn is_binary(value: &HeaderValue) -> bool {
    value.as_bytes().split(|byte| *byte == b',').all(|piece| BASE64.decode(piece.trim_ascii()).is_ok())
}

fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + EACH).sum()
}
