//! The answers to failures that no service of ours has told: each gets a code, a message, its details and a log line.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::{Layer, Service};

use super::capacity::Capacity;
use super::envelope::{Envelope, Found, Terms, Violation};
use super::limits::{self, ASKING, Admission};
use super::origin::Origin;
use super::questions::Questions;
use super::telling;
use crate::config::Bytes as Size;
use crate::error::{Beyond, Error, ErrorKind};
use crate::grpc;
use crate::metrics::{Limit, Metrics};

/// Which compression is taken, by gRPC's name for this header.
const ACCEPTED: (&str, HeaderValue) = ("grpc-accept-encoding", HeaderValue::from_static("gzip,identity"));
/// The services whose own answers follow protocols that are not ours.
const FOREIGN: &str = "/grpc.";
/// The service of which everybody asks and whose requests are small; how large at the most, and how long these may take.
const HEALTH: &str = "/grpc.health.";
const SMALL: usize = 4 * 1024;
const SMALL_PATIENCE: Duration = Duration::from_secs(2);
/// How much later than its answer the body of a stream of questions ends: the answer has the last word.
const LAST_WORD: Duration = Duration::from_secs(1);
/// The one service that takes more than one message in a request.
const REFLECTION: &str = "/grpc.reflection.";

/// The layer that sees every request and its answer.
#[derive(Clone)]
pub(super) struct Answers {
    metrics: Metrics,
    /// The bytes that all requests which are coming share.
    memory: Arc<Semaphore>,
    /// The most bytes of a request, and how long it may take to come.
    usual: (usize, Duration),
    /// How long a call may take whatever its caller asks for.
    longest: Duration,
    /// From here on nothing that has not come is waited for.
    stop: CancellationToken,
}

impl Answers {
    pub(super) fn new(
        capacity: Capacity,
        longest: Duration,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Self {
        let memory = Arc::new(Semaphore::new(capacity.memory));
        Self { metrics, memory, usual: (capacity.message, capacity.coming), longest, stop }
    }

    /// How large a request of a path may be, and how long it may take to come.
    fn bounds(&self, path: &str) -> (usize, Duration) {
        if is_small(path) { (SMALL, SMALL_PATIENCE) } else { self.usual }
    }

    /// What a request of a path may be.
    fn terms(&self, path: &str, encoded: bool, origin: Origin) -> Terms {
        let (limit, patience) = self.bounds(path);
        let memory = [origin.memory, Arc::clone(&self.memory)];
        Terms { encoded, limit, patience, memory, stop: self.stop.clone() }
    }

    /// Counts the limit of a template or of time that a call has met, if it has.
    fn count(&self, answer: &HeaderMap, asked: Option<Duration>) {
        let Some(beyond) = grpc::beyond(answer) else { return };
        // A caller's own deadline is no limit of ours.
        let is_own = beyond == Beyond::Deadline && asked.is_some_and(|asked| asked <= self.longest);
        if !is_own {
            self.metrics.limit_hit(beyond.into());
        }
    }
}

impl<S> Layer<S> for Answers {
    type Service = Answering<S>;

    fn layer(&self, inner: S) -> Answering<S> {
        Answering { inner, answers: self.clone() }
    }
}

/// The service made by [`Answers`].
#[derive(Clone)]
pub(super) struct Answering<S> {
    inner: S,
    answers: Answers,
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
        let origin = request.extensions().get::<Origin>().cloned().unwrap_or_default();
        let span = telling::span(request.extensions());
        // A router would drop the query and call the method all the same.
        if request.uri().query().is_some() {
            let path = crate::template::shown(request.uri().path());
            let text = format!("there is no method with a query; call `{path}` without one");
            let error = Error::new(ErrorKind::NotImplemented, text);
            return Box::pin(async move { Ok(origin.telling.failed(&error, &span).into_http()) });
        }
        let path = request.uri().path().to_owned();
        let found = Found::default();
        let encoded = is_encoded(request.headers());
        let admission = request.extensions().get::<Admission>().cloned();
        let telling = origin.telling.clone();
        let request = match path.starts_with(REFLECTION) {
            true => request
                .map(|body| Body::new(Questions::new(body, ASKING + LAST_WORD, self.answers.stop.clone()))),
            false => {
                let terms = self.answers.terms(&path, encoded, origin);
                request.map(|body| Body::new(Envelope::new(body, terms, found.clone(), admission)))
            }
        };
        let asked = grpc::timeout(request.headers()).ok().flatten();
        let answer = self.inner.call(request);
        let answers = self.answers.clone();
        Box::pin(async move {
            let answer = answer.await?;
            match found.get() {
                Some(Violation::TooLarge) => answers.metrics.limit_hit(Limit::Request),
                Some(Violation::Late) => answers.metrics.limit_hit(Limit::RequestTime),
                Some(Violation::NoMemory) => answers.metrics.limit_hit(Limit::RequestMemory),
                Some(_) => {}
                None => answers.count(answer.headers(), asked),
            }
            let failed = failure(answer.headers(), found.get(), &path, answers.bounds(&path));
            let is_unreadable = match &failed {
                Some(error) => error.kind() == ErrorKind::FramingInvalid,
                None => tonic::Status::from_header_map(answer.headers())
                    .is_some_and(|status| grpc::is_undecodable(&status)),
            };
            let mut told = match failed {
                Some(error) => {
                    let mut told = telling.failed(&error, &span).into_http();
                    told.headers_mut().insert(ACCEPTED.0, ACCEPTED.1);
                    told
                }
                None => answer.map(Body::new),
            };
            if is_unreadable {
                told.extensions_mut().insert(Unreadable);
            }
            Ok(told)
        })
    }
}

/// Marks the answer to a request that cannot be read, whose code is no failure of ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unreadable;

/// Whether the request says how its messages are compressed.
fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get("grpc-encoding").is_some_and(|encoding| encoding != "identity")
}

/// What an answer fails with that nobody has told; `None` if it is a service's own.
fn failure(
    headers: &HeaderMap,
    found: Option<Violation>,
    path: &str,
    bounds: (usize, Duration),
) -> Option<Error> {
    let status = tonic::Status::from_header_map(headers)?;
    if let Some(violation) = found {
        return Some(of_envelope(violation, bounds));
    }
    if !status.details().is_empty() {
        return None;
    }
    if grpc::is_unknown_method(&status) {
        return Some(unknown(path));
    }
    if path.starts_with(FOREIGN) {
        None
    } else {
        grpc::failure_of_library(&status, &Size(bounds.0).to_string())
    }
}

fn unknown(path: &str) -> Error {
    let message =
        format!("there is no method `{}`; reflection lists those there are", crate::template::shown(path));
    Error::new(ErrorKind::NotImplemented, message)
}

/// Whether a path's requests are small: whoever asks how the server is says next to nothing, and everybody may ask.
fn is_small(path: &str) -> bool {
    path.starts_with(HEALTH)
}

fn of_envelope(violation: Violation, (limit, patience): (usize, Duration)) -> Error {
    let (kind, message): (_, Cow<'static, str>) = match violation {
        Violation::NoPlace => return limits::no_place(),
        Violation::NoMemory => return limits::no_memory(),
        Violation::Stopping => (ErrorKind::ShuttingDown, "the adapter is shutting down; try again".into()),
        Violation::Missing => {
            (ErrorKind::NotImplemented, "the request has no message; send exactly one".into())
        }
        Violation::Second => {
            (ErrorKind::NotImplemented, "the request has more than one message; send exactly one".into())
        }
        Violation::CutOff => (ErrorKind::FramingInvalid, "the request ends within its message".into()),
        Violation::Flag => (ErrorKind::FramingInvalid, "the message begins with neither 0 nor 1".into()),
        Violation::Encoding => (
            ErrorKind::FramingInvalid,
            "the message says that it is compressed, but the request has no grpc-encoding".into(),
        ),
        Violation::TooLarge => {
            (ErrorKind::LimitExceeded, format!("the request is larger than {}", Size(limit)).into())
        }
        Violation::Late => {
            let text = format!("the request did not end within {} s", patience.as_secs_f64());
            (ErrorKind::ClusterTimeout, text.into())
        }
    };
    Error::new(kind, message)
}

/// The answer for a handler that panicked; the connection and the process live on.
pub(super) fn panicked() -> Response<Body> {
    grpc::failed(&Error::internal("a handler panicked".to_owned())).into_http()
}
