//! How many calls and watches are served at once: what is beyond is told so at once, and health always answers.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tonic::body::Body;
use tower::{Layer, Service};

use super::streams::Progress;
use super::wire::Peer;
use crate::error::{Error, ErrorKind};
use crate::grpc;
use crate::metrics::{Cut, Limit, Metrics};

/// The most watches of one connection: fewer than its streams, so that one too many is told so and does not wait in
/// its client for a stream that never comes free.
const WATCHES_PER_CONNECTION: usize = 900;
/// When a caller that was told so may try again.
const AGAIN: Duration = Duration::from_secs(1);
/// Calls whose answers go on for as long as their callers like.
const WATCHES: [&str; 4] = [
    "/panamax.kubernetes.v1.DeploymentService/WatchDeployment",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
/// The calls that are never refused: whoever asks restarts what does not answer.
const ALWAYS: [&str; 2] = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/List"];
/// Questions about the contract, and how long a caller may go on with them.
const REFLECTION: &str = "/grpc.reflection.";
const ASKING: Duration = Duration::from_secs(120);

/// The layer that counts.
#[derive(Clone)]
pub(super) struct Limits {
    calls: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    connections: Arc<Mutex<HashMap<Peer, usize>>>,
    metrics: Metrics,
}

impl Limits {
    /// So many calls and watches, of all callers together.
    pub(super) fn new(calls: usize, watches: usize, metrics: Metrics) -> Self {
        Self {
            calls: Arc::new(Semaphore::new(calls)),
            watches: Arc::new(Semaphore::new(watches)),
            connections: Arc::default(),
            metrics,
        }
    }

    /// A place for the call of a path.
    fn admit(&self, path: &str, peer: Option<Peer>) -> Result<Option<Place>, Error> {
        if ALWAYS.contains(&path) {
            return Ok(None);
        }
        let is_watch = WATCHES.contains(&path);
        let (semaphore, limit) =
            if is_watch { (&self.watches, Limit::Watches) } else { (&self.calls, Limit::Calls) };
        let permit = Arc::clone(semaphore).try_acquire_owned();
        let permit = permit.map_err(|_| {
            self.metrics.limit_hit(limit);
            overloaded(&format!("the server has too many {} open", limit.as_str()))
        })?;
        let connection = match peer.filter(|_| is_watch) {
            Some(peer) => Some(self.count(peer)?),
            None => None,
        };
        Ok(Some(Place { _permit: permit, _connection: connection }))
    }

    fn count(&self, peer: Peer) -> Result<Counted, Error> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let watches = connections.entry(peer).or_default();
        if *watches >= WATCHES_PER_CONNECTION {
            self.metrics.limit_hit(Limit::WatchesOfConnection);
            let message = format!("the connection has {WATCHES_PER_CONNECTION} watches open; open another");
            return Err(overloaded(&message));
        }
        *watches += 1;
        Ok(Counted { peer, connections: Arc::clone(&self.connections) })
    }
}

fn overloaded(message: &str) -> Error {
    Error::new(ErrorKind::Overloaded, message).retry_after(AGAIN)
}

/// One of the places there are, until it is dropped.
struct Place {
    _permit: OwnedSemaphorePermit,
    _connection: Option<Counted>,
}

/// A watch that counts against its connection.
struct Counted {
    peer: Peer,
    connections: Arc<Mutex<HashMap<Peer, usize>>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watches) = connections.get_mut(&self.peer) {
            *watches -= 1;
            if *watches == 0 {
                connections.remove(&self.peer);
            }
        }
    }
}

impl<S> Layer<S> for Limits {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner, limits: self.clone() }
    }
}

/// The service made by [`Limits`].
#[derive(Clone)]
pub(super) struct Limited<S> {
    inner: S,
    limits: Limits,
}

impl<S, B> Service<Request<B>> for Limited<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let peer = request.extensions().get::<Peer>().copied();
        match self.limits.admit(request.uri().path(), peer) {
            Ok(place) => {
                let limit = request.uri().path().starts_with(REFLECTION).then_some(ASKING);
                let answer = self.inner.call(request);
                let metrics = self.limits.metrics.clone();
                Box::pin(async move {
                    Ok(answer.await?.map(|body| Body::new(Placed::new(body, place, limit, metrics))))
                })
            }
            Err(error) => Box::pin(async move { Ok(grpc::failed(&error).into_http()) }),
        }
    }
}

/// An answer that keeps its place until it has been sent, or its caller has gone or takes nothing.
struct Placed {
    body: Body,
    /// Until when it may go on.
    until: Option<Pin<Box<Sleep>>>,
    progress: Option<Progress>,
    metrics: Metrics,
    _place: Option<Place>,
}

impl Placed {
    fn new(body: Body, place: Option<Place>, limit: Option<Duration>, metrics: Metrics) -> Self {
        let progress = Progress::current();
        // The head of the answer is on its way.
        if let Some(progress) = &progress {
            progress.offered();
        }
        Self { body, until: limit.map(|limit| Box::pin(sleep(limit))), progress, metrics, _place: place }
    }
}

impl http_body::Body for Placed {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        if let Some(progress) = &self.progress {
            progress.taken();
        }
        if self.until.as_mut().is_some_and(|until| until.as_mut().poll(context).is_ready()) {
            self.until = None;
            self.body = Body::empty();
            self.metrics.cut(Cut::Reflection);
            let message = format!("a stream of questions ends after {} s; ask again", ASKING.as_secs());
            let ended = grpc::failed(&Error::new(ErrorKind::ClusterTimeout, message));
            let mut trailers = http::HeaderMap::new();
            // What cannot be put into trailers would be a status without a text.
            let _ = ended.add_header(&mut trailers);
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let (Poll::Ready(Some(_)), Some(progress)) = (&frame, &self.progress) {
            progress.offered();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_is_refused_and_health_is_not() {
        let limits = Limits::new(1, 1, Metrics::default());
        let call = "/panamax.kubernetes.v1.DeploymentService/Deploy";
        let first = limits.admit(call, None).unwrap();
        assert_eq!(limits.admit(call, None).err().unwrap().kind(), ErrorKind::Overloaded);
        assert!(limits.admit(ALWAYS[0], None).unwrap().is_none());
        let watch = limits.admit(WATCHES[0], None).unwrap();
        assert!(limits.admit(WATCHES[1], None).is_err());
        drop((first, watch));
        assert!(limits.admit(call, None).is_ok() && limits.admit(WATCHES[1], None).is_ok());
    }

    #[test]
    fn a_connection_has_fewer_watches_than_streams() {
        let limits = Limits::new(1, 10_000, Metrics::default());
        let peer = |port: u64| Some(Peer::of(port));
        let held: Vec<_> =
            (0..WATCHES_PER_CONNECTION).map(|_| limits.admit(WATCHES[0], peer(1)).unwrap()).collect();
        assert!(limits.admit(WATCHES[0], peer(1)).is_err());
        assert!(limits.admit(WATCHES[0], peer(2)).is_ok());
        drop(held);
        assert!(limits.connections.lock().unwrap().is_empty());
        assert!(limits.admit(WATCHES[0], peer(1)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn questions_about_the_contract_end_with_a_word() {
        let metrics = Metrics::default();
        let endless = http_body_util::StreamBody::new(futures::stream::pending::<
            Result<Frame<Bytes>, tonic::Status>,
        >());
        let body = Placed::new(Body::new(endless), None, Some(ASKING), metrics.clone());
        let trailers = http_body_util::BodyExt::collect(body).await.unwrap().trailers().cloned().unwrap();
        assert_eq!(grpc::outcome(&trailers), Some("DEADLINE_EXCEEDED"));
        assert!(metrics.text().contains("cut_total{reason=\"reflection\"} 1"));
    }
}
