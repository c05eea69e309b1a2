//! The operator's port: `/metrics`, `/livez` and `/readyz` over HTTP/1.1.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::health::Health;
use crate::metrics::{self, Metrics};

/// The most connections at once; one more ends the oldest: whoever asks nothing keeps nobody's liveness waiting.
const CONNECTIONS: usize = 64;
/// How long a connection is served: one question and its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the head of a question may take, and the most bytes that it may have.
const HEAD: Duration = Duration::from_secs(1);
const HEAD_BYTES: usize = 16 * 1024;
/// How long is waited when no connection can be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What is told there.
#[derive(Clone)]
pub(super) struct Port {
    pub(super) metrics: Metrics,
    pub(super) health: Health,
}

impl Port {
    /// Answers for as long as it is polled.
    pub(super) async fn serve(self, listener: TcpListener) {
        let mut open = VecDeque::new();
        // None of them outlives this.
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                Some(_) = tasks.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    debug!(%error, "no connection for metrics can be accepted");
                    sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            open.retain(|one: &AbortHandle| !one.is_finished());
            if open.len() >= CONNECTIONS
                && let Some(oldest) = open.pop_front()
            {
                oldest.abort();
            }
            let own = self.clone();
            open.push_back(tasks.spawn(async move {
                if timeout(PATIENCE, own.one(stream)).await.is_err() {
                    debug!("a connection for metrics took too long");
                }
            }));
        }
    }

    async fn one(self, stream: TcpStream) {
        let service = hyper::service::service_fn(|request: Request<Incoming>| {
            let answer = self.answer(request.method(), request.uri().path());
            async move { Ok::<_, Infallible>(answer) }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false).max_buf_size(HEAD_BYTES);
        if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
            debug!(%error, "a connection for metrics broke");
        }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<bytes::Bytes>> {
        let text = "text/plain; charset=utf-8";
        let (status, content, body) = match path {
            "/metrics" => (StatusCode::OK, metrics::CONTENT_TYPE, self.metrics.text()),
            // It answers, so it lives; whether the cluster does is no reason to start it again.
            "/livez" => (StatusCode::OK, text, "ok\n".to_owned()),
            "/readyz" if self.health.is_ready() => (StatusCode::OK, text, "ok\n".to_owned()),
            "/readyz" => (
                StatusCode::SERVICE_UNAVAILABLE,
                text,
                "the cluster does not answer, or the adapter ends\n".to_owned(),
            ),
            _ => (StatusCode::NOT_FOUND, text, "there are /metrics, /livez and /readyz\n".to_owned()),
        };
        let mut answer = Response::new(Full::from(body));
        *answer.status_mut() = status;
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
        if method != Method::GET && method != Method::HEAD {
            *answer.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            *answer.body_mut() = Full::default();
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        answer
    }
}
