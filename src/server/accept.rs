//! Accepts connections: bounded in number, each with a deadline until it has said what it is, TLS handshakes side by side.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use super::origin::Origin;
use super::tls::Tls;

/// The most connections that may be in their TLS handshake at once; others wait in the system's queue.
const HANDSHAKES: usize = 64;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a connection may take to send HTTP/2's first bytes, and how many these are (RFC 9113, 3.4).
const PREFACE: Duration = Duration::from_secs(5);
const PREFACE_BYTES: usize = 24;
/// How long is waited when no connection can be accepted: the process has too many files open.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How often refused connections are told in the log.
const TELL: Duration = Duration::from_secs(10);

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Peer(u64);

impl Peer {
    #[cfg(test)]
    pub(super) fn of(number: u64) -> Self {
        Self(number)
    }
}

/// What every request of a connection is told about it.
#[derive(Clone)]
pub(super) struct Remote {
    peer: Peer,
    origin: Origin,
}

/// Tells each layer what it asks for: which connection a request came over, and where that comes from.
pub(super) fn introduced<B>(mut request: Request<B>) -> Request<B> {
    if let Some(Remote { peer, origin }) = request.extensions_mut().remove() {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert::<Origin>(origin);
    }
    request
}

/// Accepts connections for as long as it is polled; at most `connections` are open at once.
pub(super) fn incoming(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    connections: usize,
) -> impl Stream<Item = io::Result<Connection>> {
    let door = Door {
        listener,
        tls,
        places: Arc::new(Semaphore::new(connections)),
        handshakes: JoinSet::new(),
        refused: 0,
        told: None,
    };
    futures::stream::unfold(door, |mut door| async move {
        let connection = door.next().await;
        Some((Ok(connection), door))
    })
}

/// The listener, and what comes through it.
struct Door {
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    places: Arc<Semaphore>,
    handshakes: JoinSet<Option<Connection>>,
    /// How many connections were closed since that was told last.
    refused: u64,
    told: Option<Instant>,
}

impl Door {
    async fn next(&mut self) -> Connection {
        loop {
            let may_begin = self.handshakes.len() < HANDSHAKES;
            let accepted = tokio::select! {
                biased;
                Some(done) = self.handshakes.join_next() => {
                    match done {
                        Ok(Some(connection)) => return connection,
                        Ok(None) | Err(_) => continue,
                    }
                }
                accepted = self.listener.accept(), if may_begin => accepted,
            };
            let (stream, source) = match accepted {
                Ok((stream, address)) => (stream, address.ip()),
                Err(error) => {
                    // The loop would spin where no descriptor is free.
                    warn!(%error, "no connection can be accepted");
                    sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                self.refuse();
                continue;
            };
            // Answers are small: held back until the one before is acknowledged, each could stall for 40 ms.
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%error, "connection lost while it was accepted");
                continue;
            }
            match &self.tls {
                None => {
                    return Connection::new(Road::Plain(stream), Origin::new(Some(source), None), place);
                }
                Some(tls) => {
                    let acceptor = TlsAcceptor::from(tls.config());
                    self.handshakes.spawn(async move {
                        match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                            Ok(Ok(stream)) => {
                                let chain = stream.get_ref().1.peer_certificates();
                                let origin = Origin::new(Some(source), chain);
                                Some(Connection::new(Road::Tls(Box::new(stream)), origin, place))
                            }
                            Ok(Err(error)) => {
                                debug!(%error, "TLS handshake failed");
                                None
                            }
                            Err(_) => {
                                debug!("TLS handshake took too long");
                                None
                            }
                        }
                    });
                }
            }
        }
    }

    /// Counts a connection that is closed because there are too many, and tells of them now and then.
    fn refuse(&mut self) {
        self.refused += 1;
        let is_due = self.told.is_none_or(|told| told.elapsed() >= TELL);
        if is_due {
            warn!(closed = self.refused, "connections closed: as many as are served are open");
            (self.refused, self.told) = (0, Some(Instant::now()));
        }
    }
}

/// What bytes go over.
enum Road {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// An accepted connection. It ends with an error if it does not say soon what it is.
pub(super) struct Connection {
    road: Road,
    remote: Remote,
    /// Until when the first bytes must have come, and how many are still missing.
    preface: Option<(Pin<Box<Sleep>>, usize)>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn new(road: Road, origin: Origin, place: OwnedSemaphorePermit) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let peer = Peer(NUMBER.fetch_add(1, Ordering::Relaxed));
        let remote = Remote { peer, origin };
        Self { road, remote, preface: Some((Box::pin(sleep(PREFACE)), PREFACE_BYTES)), _place: place }
    }
}

impl Connected for Connection {
    type ConnectInfo = Remote;

    fn connect_info(&self) -> Remote {
        self.remote.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let this = &mut *self;
        let read = match &mut this.road {
            Road::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Road::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        if let Some((deadline, missing)) = &mut this.preface {
            *missing = missing.saturating_sub(buffer.filled().len() - before);
            if *missing == 0 {
                this.preface = None;
            } else if read.is_pending() {
                ready!(deadline.as_mut().poll(context));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.road {
            Road::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Road::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.road {
            Road::Plain(stream) => Pin::new(stream).poll_flush(context),
            Road::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.road {
            Road::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Road::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.road {
            Road::Plain(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
            Road::Tls(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.road {
            Road::Plain(stream) => stream.is_write_vectored(),
            Road::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn door(connections: usize) -> (SocketAddr, Pin<Box<dyn Stream<Item = io::Result<Connection>>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (address, Box::pin(incoming(listener, None, connections)))
    }

    #[tokio::test]
    async fn accepted_connections_hold_nothing_back() {
        let (address, mut incoming) = door(1).await;
        let (_here, there) = tokio::join!(TcpStream::connect(address), incoming.next());
        let there = there.unwrap().unwrap();
        let Road::Plain(stream) = &there.road else { panic!("nothing is encrypted") };
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn one_connection_too_many_is_closed_at_once_and_others_have_its_place_later() {
        let (address, mut incoming) = door(1).await;
        let (_first, there) = tokio::join!(TcpStream::connect(address), incoming.next());
        let mut second = TcpStream::connect(address).await.unwrap();
        let mut end = [0];
        tokio::select! {
            read = second.read(&mut end) => assert!(matches!(read, Ok(0) | Err(_))),
            _ = incoming.next() => panic!("it is served"),
        }
        drop(there);
        let (_third, there) = tokio::join!(TcpStream::connect(address), incoming.next());
        assert!(there.unwrap().is_ok());
    }

    #[tokio::test]
    async fn who_says_nothing_is_cut() {
        let (address, mut incoming) = door(2).await;
        let (here, there) = tokio::join!(TcpStream::connect(address), incoming.next());
        let (mut here, mut there) = (here.unwrap(), there.unwrap().unwrap());
        here.write_all(b"PRI").await.unwrap();
        let mut bytes = [0; 64];
        assert_eq!(there.read(&mut bytes).await.unwrap(), 3);
        tokio::time::pause();
        assert_eq!(there.read(&mut bytes).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
