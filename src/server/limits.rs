//! How many calls and watches are served at once: what is beyond is told so at once, and health always answers.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tonic::body::Body;
use tower::{Layer, Service};

use super::capacity::Capacity;
use super::identity::is_open;
use super::refusing::refused;
use super::streams::Progress;
use super::wire::Peer;
use crate::callers::{Opened, Tally};
use crate::error::{Beyond, Error, ErrorKind};
use crate::grpc;
use crate::metrics::{Cut, Limit, Metrics};

/// The most requests of one connection, and of all, that have begun to come and are not whole yet. They have no place
/// among the calls: whoever never ends its requests would keep all of these.
const COMING_PER_CONNECTION: usize = 256;
const COMING: usize = 20_000;
/// The most questions about health of one connection that are not answered yet: each may hold some memory.
const HEALTH_PER_CONNECTION: usize = 100;
/// The most bytes of an answer that are handed out at once.
const PIECE: usize = 16 * 1024;
/// The most calls and watches that are for everybody, and how many of each a connection may have.
const OPEN: usize = 256;
const OPEN_WATCHES: usize = 1_000;
const OPEN_PER_CONNECTION: usize = 16;
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
pub(super) const ASKING: Duration = Duration::from_secs(120);

/// The layer that counts.
#[derive(Clone)]
pub(super) struct Limits {
    calls: Arc<Semaphore>,
    coming: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    /// Calls and watches that are for everybody: whoever is not known takes no place from those who are.
    open: Arc<Semaphore>,
    open_watches: Arc<Semaphore>,
    connections: Tally<(Peer, Kind)>,
    watches_of_connection: usize,
    metrics: Metrics,
}

/// What is counted against a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Coming,
    Watch,
    Health,
    /// Of what is for everybody.
    Open,
    OpenWatch,
}

impl From<Beyond> for Limit {
    fn from(beyond: Beyond) -> Self {
        match beyond {
            Beyond::Replicas => Self::Replicas,
            Beyond::Template => Self::Template,
            Beyond::Deadline => Self::Deadline,
        }
    }
}

impl Limits {
    /// So many calls and watches, of all callers together and of each connection.
    pub(super) fn new(capacity: &Capacity, metrics: Metrics) -> Self {
        let watches = capacity.watches;
        Self {
            calls: Arc::new(Semaphore::new(capacity.calls)),
            coming: Arc::new(Semaphore::new(COMING)),
            watches: Arc::new(Semaphore::new(watches)),
            open: Arc::new(Semaphore::new(OPEN)),
            open_watches: Arc::new(Semaphore::new(OPEN_WATCHES.min(watches))),
            connections: Tally::default(),
            watches_of_connection: capacity.watches_of_connection,
            metrics,
        }
    }

    /// A place for the call of a path: that of a watch at once, that of another call once its request is whole.
    fn admit(&self, path: &str, peer: Option<Peer>) -> Result<Option<Admission>, Error> {
        if ALWAYS.contains(&path) {
            let counted = peer.map(|peer| self.count(peer, Kind::Health)).transpose()?;
            let place = counted.map(|counted| Place { _permit: None, _connection: Some(counted) });
            return Ok(place.map(|place| self.hold(place, true)));
        }
        let (semaphore, limit, kind) = match (is_open(path), WATCHES.contains(&path)) {
            (true, true) => (&self.open_watches, Limit::Watches, Kind::OpenWatch),
            (true, false) => (&self.open, Limit::Calls, Kind::Open),
            (false, true) => (&self.watches, Limit::Watches, Kind::Watch),
            (false, false) => (&self.coming, Limit::Calls, Kind::Coming),
        };
        let permit = self.take(semaphore, limit)?;
        let connection = peer.map(|peer| self.count(peer, kind)).transpose()?;
        let place = Place { _permit: Some(permit), _connection: connection };
        Ok(Some(self.hold(place, kind != Kind::Coming)))
    }

    fn hold(&self, place: Place, is_lasting: bool) -> Admission {
        Admission(Arc::new(Held { place: Mutex::new(Some(place)), limits: self.clone(), is_lasting }))
    }

    /// A place for a call whose request is whole already.
    pub(super) fn call(&self) -> Result<OwnedSemaphorePermit, Error> {
        self.take(&self.calls, Limit::Calls)
    }

    fn take(&self, semaphore: &Arc<Semaphore>, limit: Limit) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(semaphore).try_acquire_owned().map_err(|_| {
            self.metrics.limit_hit(limit);
            overloaded(&format!("the server has too many {} open", limit.as_str()))
        })
    }

    fn count(&self, peer: Peer, kind: Kind) -> Result<Opened<(Peer, Kind)>, Error> {
        let (most, limit, what) = match kind {
            Kind::Watch => {
                (self.watches_of_connection, Limit::WatchesOfConnection, "watches open; open another")
            }
            Kind::Health => {
                (HEALTH_PER_CONNECTION, Limit::Calls, "questions about health that are not answered yet")
            }
            Kind::OpenWatch => {
                (OPEN_PER_CONNECTION, Limit::WatchesOfConnection, "watches open for everybody")
            }
            Kind::Open => (OPEN_PER_CONNECTION, Limit::Calls, "calls open for everybody"),
            Kind::Coming => {
                (COMING_PER_CONNECTION, Limit::Calls, "requests that are not whole yet; end them")
            }
        };
        self.connections.open((peer, kind), most).ok_or_else(|| {
            self.metrics.limit_hit(limit);
            overloaded(&format!("the connection has {most} {what}"))
        })
    }
}

/// The place of one call, as its request goes along; cheap to clone.
#[derive(Clone)]
pub(super) struct Admission(Arc<Held>);

struct Held {
    place: Mutex<Option<Place>>,
    limits: Limits,
    /// Whether it keeps its place once its request is whole.
    is_lasting: bool,
}

impl Admission {
    /// The request is whole: from here on it has a place among the calls; says whether there was one.
    pub(super) fn is_whole(&self) -> bool {
        if self.0.is_lasting {
            return true;
        }
        let limits = &self.0.limits;
        let place = limits.take(&limits.calls, Limit::Calls).ok();
        let place = place.map(|permit| Place { _permit: Some(permit), _connection: None });
        let is_admitted = place.is_some();
        *self.0.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
        is_admitted
    }
}

/// The answer to a call that finds no place.
pub(super) fn no_place() -> Error {
    overloaded("the server has too many calls open")
}

/// The answer to a request that does not fit beside those that are coming.
pub(super) fn no_memory() -> Error {
    overloaded("the requests that are coming hold as much memory as they may")
}

fn overloaded(message: &str) -> Error {
    Error::new(ErrorKind::Overloaded, message).retry_after(AGAIN)
}

/// One of the places there are, until it is dropped.
struct Place {
    _permit: Option<OwnedSemaphorePermit>,
    _connection: Option<Opened<(Peer, Kind)>>,
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
        let peer = request.extensions().get::<Peer>().copied();
        match self.limits.admit(request.uri().path(), peer) {
            Ok(place) => {
                if let Some(place) = &place {
                    request.extensions_mut().insert(place.clone());
                }
                let limit = request.uri().path().starts_with(REFLECTION).then_some(ASKING);
                let answer = self.inner.call(request);
                let metrics = self.limits.metrics.clone();
                Box::pin(async move {
                    Ok(answer.await?.map(|body| Body::new(Placed::new(body, place, limit, metrics))))
                })
            }
            Err(error) => Box::pin(async move { Ok(refused(request, &error).await) }),
        }
    }
}

/// An answer that keeps its place until it has been sent, or its caller has gone or takes nothing.
struct Placed {
    body: Body,
    /// What is left of a frame that is handed out in pieces.
    rest: Bytes,
    /// Until when it may go on.
    until: Option<Pin<Box<Sleep>>>,
    progress: Option<Progress>,
    metrics: Metrics,
    _place: Option<Admission>,
}

impl Placed {
    fn new(body: Body, place: Option<Admission>, limit: Option<Duration>, metrics: Metrics) -> Self {
        let progress = Progress::current();
        // The head of the answer is on its way.
        if let Some(progress) = &progress {
            progress.offered();
        }
        let rest = Bytes::new();
        Self {
            body,
            rest,
            until: limit.map(|limit| Box::pin(sleep(limit))),
            progress,
            metrics,
            _place: place,
        }
    }
}

impl Placed {
    /// The next frame of the answer, or a piece of it: what is handed to HTTP/2 at once lies there without a place and
    /// without a clock until its reader takes it.
    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        if self.rest.is_empty() {
            let frame = ready!(http_body::Body::poll_frame(Pin::new(&mut self.body), context));
            let Some(Ok(frame)) = frame else { return Poll::Ready(frame) };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
        let piece = self.rest.split_to(PIECE.min(self.rest.len()));
        Poll::Ready(Some(Ok(Frame::data(piece))))
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
        let frame = self.next(context);
        if let (Poll::Ready(Some(_)), Some(progress)) = (&frame, &self.progress) {
            progress.offered();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() { self.body.size_hint() } else { SizeHint::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(calls: usize, watches: usize) -> Limits {
        Limits::new(&Capacity { calls, watches, ..Capacity::default() }, Metrics::default())
    }

    #[test]
    fn what_is_beyond_is_refused_and_health_is_not() {
        let limits = limits(1, 1);
        let call = "/panamax.kubernetes.v1.DeploymentService/Deploy";
        let place = || limits.admit(call, None).unwrap().unwrap();
        let first = place();
        assert!(first.is_whole());
        // One that is still coming has none of the calls' places.
        let second = place();
        assert!(!second.is_whole());
        assert!(limits.admit(ALWAYS[0], None).unwrap().is_none());
        let watch = limits.admit(WATCHES[0], None).unwrap();
        assert!(limits.admit(WATCHES[0], None).is_err());
        drop((first, watch));
        assert!(place().is_whole() && limits.admit(WATCHES[0], None).is_ok());
    }

    #[test]
    fn strangers_take_no_place_of_those_who_are_known() {
        let limits = limits(1, 100);
        let info = "/panamax.kubernetes.v1.ServerService/GetServerInfo";
        for path in [info, WATCHES[1], WATCHES[2]] {
            let peer = Some(Peer::of(1));
            let held: Vec<_> =
                (0..OPEN_PER_CONNECTION).map_while(|_| limits.admit(path, peer).ok().flatten()).collect();
            assert!(limits.admit(path, peer).is_err());
            assert!(limits.admit(path, Some(Peer::of(2))).is_ok());
            let call = limits.admit("/panamax.kubernetes.v1.DeploymentService/Deploy", None);
            assert!(call.unwrap().is_some_and(|call| call.is_whole()));
            assert!(limits.admit(WATCHES[0], None).is_ok());
            drop(held);
        }
        let strangers: Vec<_> =
            (0..2 * OPEN).filter_map(|peer| limits.admit(info, Some(Peer::of(peer as u64))).ok()).collect();
        assert_eq!(strangers.len(), OPEN);
    }

    #[test]
    fn a_connection_has_fewer_watches_than_streams() {
        let limits = limits(1, 10_000);
        let peer = |port: u64| Some(Peer::of(port));
        let held: Vec<_> = (0..900).map(|_| limits.admit(WATCHES[0], peer(1)).unwrap()).collect();
        assert!(limits.admit(WATCHES[0], peer(1)).is_err());
        assert!(limits.admit(WATCHES[0], peer(2)).is_ok());
        drop(held);
        assert!(limits.connections.is_empty());
        assert!(limits.admit(WATCHES[0], peer(1)).is_ok());
    }

    #[test]
    fn a_connection_cannot_begin_requests_without_end() {
        let limits = limits(10_000, 1);
        let call = "/panamax.kubernetes.v1.DeploymentService/Deploy";
        let peer = Some(Peer::of(1));
        let held: Vec<_> =
            (0..COMING_PER_CONNECTION).map(|_| limits.admit(call, peer).unwrap().unwrap()).collect();
        assert_eq!(limits.admit(call, peer).err().unwrap().kind(), ErrorKind::Overloaded);
        assert!(limits.admit(call, Some(Peer::of(2))).is_ok());
        // What is whole makes room for others to come.
        assert!(held[0].is_whole());
        assert!(limits.admit(call, peer).is_ok());
    }

    #[test]
    fn a_connection_cannot_hold_memory_by_asking_how_the_server_is() {
        let limits = limits(1, 1);
        let peer = Some(Peer::of(1));
        let held: Vec<_> =
            (0..HEALTH_PER_CONNECTION).map(|_| limits.admit(ALWAYS[0], peer).unwrap().unwrap()).collect();
        assert!(limits.admit(ALWAYS[1], peer).is_err());
        assert!(limits.admit(ALWAYS[0], Some(Peer::of(2))).is_ok());
        // None of them has a place of the calls, whole or not.
        assert!(held.iter().all(Admission::is_whole));
        assert_eq!(limits.calls.available_permits(), 1);
        drop(held);
        assert!(limits.admit(ALWAYS[0], peer).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn questions_about_the_contract_end_with_a_word() {
        let metrics = Metrics::default();
        let endless = http_body_util::StreamBody::new(futures::stream::pending::<
            Result<Frame<Bytes>, tonic::Status>,
        >());
        assert!(metrics.text().contains("cut_total{reason=\"reflection\"} 0"));
        let body = Placed::new(Body::new(endless), None, Some(ASKING), metrics.clone());
        let trailers = http_body_util::BodyExt::collect(body).await.unwrap().trailers().cloned().unwrap();
        assert_eq!(grpc::outcome(&trailers), Some("DEADLINE_EXCEEDED"));
        assert!(metrics.text().contains("cut_total{reason=\"reflection\"} 1"));
    }

    #[tokio::test]
    async fn an_answer_keeps_its_place_until_its_last_piece() {
        let text = Bytes::from(vec![7; PIECE * 2 + 1]);
        let limits = limits(1, 1);
        let place = limits.admit("/S/M", None).unwrap().unwrap();
        assert!(place.is_whole());
        let whole = http_body_util::Full::new(text);
        let mut body = Placed::new(Body::new(whole), Some(place), None, Metrics::default());
        for size in [PIECE, PIECE, 1] {
            assert!(!http_body::Body::is_end_stream(&body));
            let frame = http_body_util::BodyExt::frame(&mut body).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap().len(), size);
            assert!(limits.calls.available_permits() == 0);
        }
        assert!(http_body::Body::is_end_stream(&body));
        drop(body);
        assert_eq!(limits.calls.available_permits(), 1);
    }
}
