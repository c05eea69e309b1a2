//! Nothing on the network is awaited without a limit, and the API server is told how long a write may take.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body::{Body as HttpBody, Frame};
use kube::client::Body;
use tokio::time::Sleep;
use tower::{BoxError, Layer, Service, ServiceExt};

use super::super::patience;
use super::Answer;
use super::measured::Measure;
use super::verbs::is_watch;
use crate::metrics::{self, Metrics};

/// How long one try of a call may take.
pub(in crate::cluster) const CALL_LIMIT: Duration = Duration::from_secs(10);
/// How long the API server may keep one watch open, in seconds.
pub(in crate::cluster) const WATCH_SECONDS: u32 = 90;
/// What is added where somebody else ends it first, if all is well.
const SLACK: Duration = Duration::from_millis(500);
/// How long a watch may take in all; its end is late by as much as this is longer.
const WATCH_LIMIT: Duration = Duration::from_secs(98);
/// How long the API server may work on a write: shorter than we wait for its answer.
const WRITE_LIMIT: Duration = Duration::from_secs(9);
/// Less would refuse what a busy API server takes.
const LEAST_WRITE_LIMIT: Duration = Duration::from_secs(5);

tokio::task_local! {
    static ASKED: Cell<Option<Duration>>;
}

/// Makes a call, and says with its outcome for how long the API server asked to wait, if it did in a header.
pub(in crate::cluster) async fn hearing<F: Future>(call: F) -> (F::Output, Option<Duration>) {
    ASKED
        .scope(Cell::new(None), async {
            let output = call.await;
            (output, ASKED.with(Cell::get))
        })
        .await
}

/// The seconds of a Retry-After; `None` for a date, and for what is none.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse::<u32>().ok().map(|seconds| Duration::from_secs(u64::from(seconds)))
}

/// The layer that limits every request.
pub(super) struct Limit(pub(super) Metrics);

impl<S> Layer<S> for Limit {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner, metrics: self.0.clone() }
    }
}

/// The service made by [`Limit`].
#[derive(Clone)]
pub(super) struct Limited<S> {
    inner: S,
    metrics: Metrics,
}

impl<S> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>, Response = Response<Answer>, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Timed>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (service, metrics) = (self.inner.clone(), self.metrics.clone());
        let measure = Measure::of(&request);
        async move {
            let whole = if is_watch(request.uri()) { WATCH_LIMIT } else { CALL_LIMIT + SLACK };
            if request.method() != Method::GET
                && let Some(told) = telling(request.uri(), write_limit())
            {
                *request.uri_mut() = told;
            }
            let end = Box::pin(tokio::time::sleep(whole));
            let answer = tokio::time::timeout(CALL_LIMIT + SLACK, service.oneshot(request)).await;
            let answer = answer.map_err(|_| "there was no answer in time")??;
            // A watch or a probe listens to no header.
            let _ = ASKED.try_with(|asked| asked.set(retry_after(answer.headers())));
            Ok(answer.map(|inner| Timed { inner, end: Some(end), measure, metrics }))
        }
        .boxed()
    }
}

/// How long a write may take: it must not land when the lock is over under which it was made.
fn write_limit() -> Duration {
    let left = patience::left().unwrap_or(WRITE_LIMIT).max(LEAST_WRITE_LIMIT);
    WRITE_LIMIT.min(left)
}

/// The address with the time that the API server may take.
fn telling(uri: &Uri, limit: Duration) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    let separator = if uri.query().is_some_and(|query| !query.is_empty()) { "&" } else { "?" };
    let base = parts.path_and_query.as_ref()?.as_str().trim_end_matches(['?', '&']);
    let told = format!("{base}{separator}timeout={}ms", limit.as_millis());
    parts.path_and_query = Some(told.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// The content of an answer, which breaks off at its end, and where there is too much of it.
pub(super) struct Timed {
    inner: Answer,
    end: Option<Pin<Box<Sleep>>>,
    measure: Measure,
    metrics: Metrics,
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(end) = self.end.as_mut() else { return Poll::Ready(None) };
        if end.as_mut().poll(context).is_ready() {
            self.end = None;
            return Poll::Ready(Some(Err("the answer did not end in time".into())));
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(error) = self.measure.take(data)
        {
            self.end = None;
            self.metrics.limit_hit(metrics::Limit::ApiAnswer);
            return Poll::Ready(Some(Err(error.into())));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_told_its_time_whatever_its_query() {
        let told = |text: &str| telling(&text.parse().unwrap(), WRITE_LIMIT).unwrap().to_string();
        assert_eq!(told("/api/v1/x?"), "/api/v1/x?timeout=9000ms");
        assert_eq!(told("/api/v1/x"), "/api/v1/x?timeout=9000ms");
        assert_eq!(told("/api/v1/x?&force=true"), "/api/v1/x?&force=true&timeout=9000ms");
    }

    #[test]
    fn only_seconds_are_heard() {
        let heard = |text: &'static str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, http::HeaderValue::from_static(text))]))
        };
        assert_eq!(heard("1"), Some(Duration::from_secs(1)));
        assert_eq!(heard("999999"), Some(Duration::from_secs(999_999)));
        for text in ["", "-1", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", "99999999999999999999"] {
            assert_eq!(heard(text), None, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
