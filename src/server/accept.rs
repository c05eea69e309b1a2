//! Accepts connections: bounded in number, TLS handshakes side by side, each with a deadline.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::capacity::Capacity;
use super::cuts::{Cuts, Source, Told};
use super::listener::{Bytes, Listener};
use super::origin::Origin;
use super::standing::Standing;
use super::tls::{Speaks, Tls};
use super::wire::Connection;
use crate::callers::Trust;
use crate::clock::Clock;
use crate::metrics::{Cut, Limit, Metrics};

/// How long a handshake has if others wait, because as many as there may be are under way. One more ends the oldest of
/// them, so that nobody who says nothing keeps others out.
const HANDSHAKE_AMONG_MANY: Duration = Duration::from_secs(1);
/// How long is waited when no connection can be accepted: the process has too many files open.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The listener, and what comes through it.
pub(super) struct Door {
    listener: Listener,
    tls: Option<(Arc<Tls>, Speaks)>,
    clock: Clock,
    capacity: Capacity,
    places: Arc<Semaphore>,
    handshakes: JoinSet<Option<Connection>>,
    /// When each handshake that is under way began, and whose it is, the oldest first.
    begun: VecDeque<(Instant, Cuts, AbortHandle)>,
    refused: Told,
    failed: Told,
    cuts: Cuts,
    metrics: Metrics,
}

impl Door {
    pub(super) fn new(
        listener: Listener,
        tls: Option<(Arc<Tls>, Speaks)>,
        clock: Clock,
        capacity: Capacity,
        metrics: Metrics,
    ) -> Self {
        Self {
            listener,
            tls,
            clock,
            places: Arc::new(Semaphore::new(capacity.connections)),
            capacity,
            handshakes: JoinSet::new(),
            begun: VecDeque::new(),
            refused: Told::default(),
            failed: Told::default(),
            cuts: Cuts::new(metrics.clone()),
            metrics,
        }
    }

    /// The next connection that is served.
    pub(super) async fn next(&mut self) -> Connection {
        loop {
            self.begun.retain(|(_, _, handshake)| !handshake.is_finished());
            let oldest = self.begun.front().filter(|_| self.begun.len() >= self.capacity.handshakes);
            let among_many = HANDSHAKE_AMONG_MANY.min(self.capacity.handshake);
            let may_begin = oldest.map(|(begun, ..)| *begun + among_many);
            let accepted = tokio::select! {
                biased;
                Some(done) = self.handshakes.join_next() => {
                    match done {
                        Ok(Some(connection)) => return connection,
                        Ok(None) | Err(_) => continue,
                    }
                }
                accepted = accept(&self.listener, may_begin) => accepted,
            };
            let (stream, source) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.fail(&error).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                self.metrics.limit_hit(Limit::Connections);
                if let Some(closed) = self.refused.count() {
                    warn!(closed, peer = %Source(source), "connections closed: as many as are served are open");
                }
                continue;
            };
            let cuts = self.cuts.of(source);
            match &self.tls {
                None => {
                    let memory = self.capacity.memory_of_connection;
                    let origin = Origin::new(source, (None, Trust::default()), memory);
                    let standing = Standing::default();
                    return Connection::new(stream, origin, standing, place, &self.capacity, cuts);
                }
                Some((tls, speaks)) => {
                    // Whatever changes from here on is heard of.
                    let trusts = (Arc::clone(tls), tls.changes());
                    let acceptor = TlsAcceptor::from(tls.config(*speaks));
                    let clock = self.clock.clone();
                    self.make_room();
                    let coming = (stream, source);
                    let handshake =
                        handshake(acceptor, coming, place, self.capacity, (trusts, clock), cuts.clone());
                    self.begun.push_back((Instant::now(), cuts, self.handshakes.spawn(handshake)));
                }
            }
        }
    }

    /// Ends the oldest handshake if there are as many as there may be.
    fn make_room(&mut self) {
        if self.begun.len() >= self.capacity.handshakes
            && let Some((_, cuts, oldest)) = self.begun.pop_front()
            && !oldest.is_finished()
        {
            oldest.abort();
            self.metrics.limit_hit(Limit::Handshakes);
            cuts.cut(Cut::Handshake);
        }
    }

    /// Tells that no connection could be accepted, and waits if the next one cannot either: the loop would spin where no
    /// descriptor is free.
    async fn fail(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
            return;
        }
        self.metrics.limit_hit(Limit::Descriptors);
        if let Some(times) = self.failed.count() {
            warn!(%error, times, "no connection can be accepted");
        }
        sleep(ACCEPT_AGAIN).await;
    }
}

/// The next connection, not before a moment.
async fn accept(listener: &Listener, from: Option<Instant>) -> io::Result<(Box<dyn Bytes>, Option<IpAddr>)> {
    if let Some(from) = from {
        sleep_until(from).await;
    }
    listener.accept().await
}

async fn handshake(
    acceptor: TlsAcceptor,
    (stream, source): (Box<dyn Bytes>, Option<IpAddr>),
    place: OwnedSemaphorePermit,
    capacity: Capacity,
    (trusts, clock): ((Arc<Tls>, watch::Receiver<()>), Clock),
    cuts: Cuts,
) -> Option<Connection> {
    match timeout(capacity.handshake, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let chain = stream.get_ref().1.peer_certificates();
            let standing = Standing::new(chain, trusts, clock);
            let origin = Origin::new(source, (chain, standing.trust()), capacity.memory_of_connection);
            Some(Connection::new(Box::new(stream), origin, standing, place, &capacity, cuts))
        }
        Ok(Err(error)) => {
            debug!(%error, peer = %cuts.peer(), "TLS handshake failed");
            cuts.cut(Cut::Handshake);
            None
        }
        Err(_) => {
            debug!(peer = %cuts.peer(), "TLS handshake took too long");
            cuts.cut(Cut::Handshake);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn door(connections: usize) -> (SocketAddr, Door) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let capacity = Capacity { connections, ..Capacity::default() };
        (address, Door::new(listener.into(), None, Clock::system(), capacity, Metrics::default()))
    }

    #[tokio::test]
    async fn one_connection_too_many_is_closed_at_once_and_others_have_its_place_later() {
        let (address, mut door) = door(1).await;
        let (_first, there) = tokio::join!(TcpStream::connect(address), door.next());
        let mut second = TcpStream::connect(address).await.unwrap();
        let mut end = [0];
        tokio::select! {
            read = second.read(&mut end) => assert!(matches!(read, Ok(0) | Err(_))),
            _ = door.next() => panic!("it is served"),
        }
        drop(there);
        let (third, _there) = tokio::join!(TcpStream::connect(address), door.next());
        assert!(third.is_ok());
    }
}
