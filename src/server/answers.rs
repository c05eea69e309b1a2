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
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::Span;

use super::capacity::Capacity;
use super::endings::Endings;
use super::envelope::{Envelope, Found, Terms, Violation};
use super::limits::{self, ASKING, Admission};
use super::origin::Origin;
use super::questions::{self, Asked, Questions};
use super::telling::{self, Telling};
use crate::config::Bytes as Size;
use crate::error::{Beyond, Error, ErrorKind};
use crate::grpc;
use crate::metrics::{Limit, Metrics};

/// Which compression is taken, by gRPC's name for this header.
const ACCEPTED: (&str, HeaderValue) = ("grpc-accept-encoding", HeaderValue::from_static("gzip,identity"));
/// The services whose answers follow protocols that are not ours.
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
        match path.starts_with(REFLECTION) {
            true => (questions::LONGEST, ASKING),
            false if is_small(path) => (SMALL, SMALL_PATIENCE),
            false => self.usual,
        }
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
        let asked_of = Asked::default();
        let request = match path.starts_with(REFLECTION) {
            true => {
                let (stop, notes) = (self.answers.stop.clone(), (asked_of.clone(), found.clone()));
                let time = ASKING + LAST_WORD;
                request.map(|body| Body::new(Questions::new(body, encoded, time, stop, notes)))
            }
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
            let Some(status) = Status::from_header_map(answer.headers()) else {
                let answer = answer.map(Body::new);
                // Only these go on behind their heads without telling their failures in our words.
                if !path.starts_with(FOREIGN) {
                    return Ok(answer);
                }
                let failure = move |status: Status, is_answered| {
                    let failure = answers.of_stream(&status, is_answered, found.get(), &path)?;
                    Some(failure.told(&telling, &span))
                };
                return Ok(answer.map(|body| Body::new(Endings::new(body, asked_of, failure))));
            };
            let failure = answers.failure(&status, found.get(), &path);
            if found.get().is_none() {
                answers.count(answer.headers(), asked);
            }
            let Some(failure) = failure else { return Ok(answer.map(Body::new)) };
            let mut told = failure.told(&telling, &span).into_http();
            told.headers_mut().insert(ACCEPTED.0, ACCEPTED.1);
            Ok(told)
        })
    }
}

/// What a call fails with that no service of ours has told.
struct Untold {
    error: Error,
    /// The status of another protocol, whose code stays.
    theirs: Option<Status>,
}

impl Untold {
    fn told(self, telling: &Telling, span: &Span) -> Status {
        let ours = telling.failed(&self.error, span);
        self.theirs.map_or(ours.clone(), |theirs| grpc::coded(&ours, &theirs))
    }
}

impl From<Error> for Untold {
    fn from(error: Error) -> Self {
        Self { error, theirs: None }
    }
}

impl Answers {
    /// What an answer fails with that nobody has told; `None` if it is a service's own. The limit that it is beyond is
    /// counted.
    fn failure(&self, status: &Status, found: Option<Violation>, path: &str) -> Option<Untold> {
        let bounds = self.bounds(path);
        if let Some(violation) = found {
            return Some(self.violated(violation, bounds).into());
        }
        if !status.details().is_empty() {
            return None;
        }
        if grpc::is_unknown_method(status) {
            return Some(unknown(path).into());
        }
        if let Some(error) = grpc::refused_by_protocol(status).filter(|_| path.starts_with(FOREIGN)) {
            return Some(Untold { error, theirs: Some(status.clone()) });
        }
        let error = grpc::failure_of_library(status, &Size(bounds.0).to_string())?;
        // More than the limit once it is decompressed: the envelope saw less.
        if error.kind() == ErrorKind::LimitExceeded {
            self.metrics.limit_hit(Limit::Request);
        }
        Some(error.into())
    }

    /// The same for the end of a stream. One that ends well before each question `is_answered` has met one that the
    /// library could not take.
    fn of_stream(
        &self,
        status: &Status,
        is_answered: bool,
        found: Option<Violation>,
        path: &str,
    ) -> Option<Untold> {
        match (is_answered, found) {
            (true, _) => self.failure(status, None, path),
            (false, Some(violation)) => Some(self.violated(violation, self.bounds(path)).into()),
            (false, None) if grpc::has_succeeded(status) => Some(grpc::undecodable().into()),
            (false, None) => self.failure(status, None, path),
        }
    }

    fn violated(&self, violation: Violation, bounds: (usize, Duration)) -> Error {
        match violation {
            Violation::TooLarge => self.metrics.limit_hit(Limit::Request),
            Violation::Late => self.metrics.limit_hit(Limit::RequestTime),
            Violation::NoMemory => self.metrics.limit_hit(Limit::RequestMemory),
            _ => {}
        }
        of_envelope(violation, bounds)
    }
}

/// Whether the request says how its messages are compressed.
fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get("grpc-encoding").is_some_and(|encoding| encoding != "identity")
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
