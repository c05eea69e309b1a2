//! How many calls and watches are served at once: what is beyond is told so at once, and health always answers.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;
use tonic::transport::server::TcpConnectInfo;
use tower::{Layer, Service};

use crate::error::{Error, ErrorKind};
use crate::grpc;

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
/// The call that is never refused: whoever asks restarts what does not answer.
const ALWAYS: &str = "/grpc.health.v1.Health/Check";

/// The layer that counts.
#[derive(Clone)]
pub(super) struct Limits {
    calls: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    connections: Arc<Mutex<HashMap<SocketAddr, usize>>>,
}

impl Limits {
    /// So many calls and watches, of all callers together.
    pub(super) fn new(calls: usize, watches: usize) -> Self {
        Self {
            calls: Arc::new(Semaphore::new(calls)),
            watches: Arc::new(Semaphore::new(watches)),
            connections: Arc::default(),
        }
    }

    /// A place for the call of a path.
    fn admit(&self, path: &str, peer: Option<SocketAddr>) -> Result<Option<Place>, Error> {
        if path == ALWAYS {
            return Ok(None);
        }
        let is_watch = WATCHES.contains(&path);
        let (semaphore, what) = if is_watch { (&self.watches, "watches") } else { (&self.calls, "calls") };
        let permit = Arc::clone(semaphore).try_acquire_owned();
        let permit = permit.map_err(|_| overloaded(&format!("the server has too many {what} open")))?;
        let connection = match peer.filter(|_| is_watch) {
            Some(peer) => Some(self.count(peer)?),
            None => None,
        };
        Ok(Some(Place { _permit: permit, _connection: connection }))
    }

    fn count(&self, peer: SocketAddr) -> Result<Counted, Error> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let watches = connections.entry(peer).or_default();
        if *watches >= WATCHES_PER_CONNECTION {
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
    peer: SocketAddr,
    connections: Arc<Mutex<HashMap<SocketAddr, usize>>>,
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
        let peer = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        match self.limits.admit(request.uri().path(), peer) {
            Ok(place) => {
                let answer = self.inner.call(request);
                Box::pin(
                    async move { Ok(answer.await?.map(|body| Body::new(Placed { body, _place: place }))) },
                )
            }
            Err(error) => Box::pin(async move { Ok(grpc::failed(&error).into_http()) }),
        }
    }
}

/// An answer that keeps its place until it has been sent, or its caller has gone.
struct Placed {
    body: Body,
    _place: Option<Place>,
}

impl http_body::Body for Placed {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
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
        let limits = Limits::new(1, 1);
        let call = "/panamax.kubernetes.v1.DeploymentService/Deploy";
        let first = limits.admit(call, None).unwrap();
        assert_eq!(limits.admit(call, None).err().unwrap().kind(), ErrorKind::Overloaded);
        assert!(limits.admit(ALWAYS, None).unwrap().is_none());
        let watch = limits.admit(WATCHES[0], None).unwrap();
        assert!(limits.admit(WATCHES[1], None).is_err());
        drop((first, watch));
        assert!(limits.admit(call, None).is_ok() && limits.admit(WATCHES[1], None).is_ok());
    }

    #[test]
    fn a_connection_has_fewer_watches_than_streams() {
        let limits = Limits::new(1, 10_000);
        let peer = |port: u16| Some(SocketAddr::from(([127, 0, 0, 1], port)));
        let held: Vec<_> =
            (0..WATCHES_PER_CONNECTION).map(|_| limits.admit(WATCHES[0], peer(1)).unwrap()).collect();
        assert!(limits.admit(WATCHES[0], peer(1)).is_err());
        assert!(limits.admit(WATCHES[0], peer(2)).is_ok());
        drop(held);
        assert!(limits.connections.lock().unwrap().is_empty());
        assert!(limits.admit(WATCHES[0], peer(1)).is_ok());
    }
}
