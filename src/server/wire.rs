//! One connection's bytes: cut where it does not say soon what it is, or floods.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};

use super::capacity::Capacity;
use super::cuts::Cuts;
use super::frames::{Flood, Frames};
use super::listener::Bytes;
use super::origin::Origin;
use super::standing::Standing;
use crate::metrics::Cut;

/// How long a connection may take to send HTTP/2's first bytes, and which these are (RFC 9113, 3.4).
const PREFACE: Duration = Duration::from_secs(5);
const PREFACE_BYTES: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How many frames are read before other connections have their turn: whoever sends many small ones would keep a thread.
const STRETCH: u32 = 64;

/// When bytes of a connection were last taken by the system; cheap to clone.
#[derive(Clone)]
pub(super) struct Writes(Arc<Mutex<Instant>>);

impl Writes {
    pub(super) fn now() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    pub(super) fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Peer(u64);

impl Peer {
    fn next() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        Self(NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    #[cfg(test)]
    pub(super) fn of(number: u64) -> Self {
        Self(number)
    }
}

/// An accepted connection. It ends with an error if it does not say soon what it is.
pub(super) struct Connection {
    bytes: Box<dyn Bytes>,
    peer: Peer,
    origin: Origin,
    standing: Standing,
    beginning: Beginning,
    received: Frames,
    sent: Frames,
    flood: Flood,
    /// The frames that were read since others last had their turn.
    stretch: u32,
    written: Writes,
    /// How long bytes may wait to be taken by the other end: less than one in all this time.
    taking: Duration,
    /// Until when what is to be written must be taken; `None`: nothing waits.
    taken_by: Option<Pin<Box<Sleep>>>,
    cuts: Cuts,
    _place: OwnedSemaphorePermit,
}

/// What a connection has said so far.
enum Beginning {
    /// So many bytes of the preface, until when it must be whole.
    Preface(Pin<Box<Sleep>>, usize),
    /// The preface of HTTP/2: frames follow.
    Http2,
    /// Something else.
    Other,
}

impl Connection {
    pub(super) fn new(
        bytes: Box<dyn Bytes>,
        origin: Origin,
        standing: Standing,
        place: OwnedSemaphorePermit,
        capacity: &Capacity,
        cuts: Cuts,
    ) -> Self {
        Self {
            bytes,
            peer: Peer::next(),
            origin,
            standing,
            beginning: Beginning::Preface(Box::pin(sleep(PREFACE)), 0),
            received: Frames::default(),
            sent: Frames::default(),
            flood: Flood::new(capacity.streams, Instant::now()),
            stretch: 0,
            written: Writes::now(),
            taking: capacity.taking,
            taken_by: None,
            cuts,
            _place: place,
        }
    }

    pub(super) fn peer(&self) -> Peer {
        self.peer
    }

    /// Where it comes from.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The standing of its caller, for whoever ends the connection with it.
    pub(super) fn standing(&mut self) -> Standing {
        std::mem::take(&mut self.standing)
    }

    pub(super) fn cuts(&self) -> &Cuts {
        &self.cuts
    }

    /// When its bytes were last taken.
    pub(super) fn written(&self) -> Writes {
        self.written.clone()
    }

    /// What came of writing; whose other end takes nothing for too long is cut.
    fn wrote<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.taken_by = None;
            self.written.note();
            return written;
        }
        let taking = self.taking;
        ready!(self.taken_by.get_or_insert_with(|| Box::pin(sleep(taking))).as_mut().poll(context));
        self.cuts.cut(Cut::SlowReader);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Looks at bytes that were received; says whether they are too many frames for nothing.
    fn look(&mut self, mut bytes: &[u8]) -> bool {
        if let Beginning::Preface(_, have) = &mut self.beginning {
            let expected = PREFACE_BYTES.get(*have..).unwrap_or_default();
            let now = expected.len().min(bytes.len());
            let (begin, rest) = bytes.split_at(now);
            if expected.get(..now) != Some(begin) {
                // What it is now has a time of its own for its head.
                self.beginning = Beginning::Other;
                return false;
            }
            *have += now;
            bytes = rest;
            if *have == PREFACE_BYTES.len() {
                self.beginning = Beginning::Http2;
            }
        }
        if !matches!(self.beginning, Beginning::Http2) {
            return false;
        }
        let (now, flood, stretch) = (Instant::now(), &mut self.flood, &mut self.stretch);
        let mut is_flood = false;
        self.received.read(bytes, |frame| {
            is_flood |= flood.received(frame, now);
            *stretch += 1;
        });
        is_flood
    }

    /// Looks at bytes that were sent.
    fn note(&mut self, bytes: &[u8]) {
        if matches!(self.beginning, Beginning::Http2) {
            let (now, flood) = (Instant::now(), &mut self.flood);
            self.sent.read(bytes, |frame| flood.sent(frame, now));
        }
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
        if this.stretch >= STRETCH {
            this.stretch = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let read = Pin::new(&mut this.bytes).poll_read(context, buffer);
        if read.is_pending() {
            this.stretch = 0;
        }
        if this.look(buffer.filled().get(before..).unwrap_or_default()) {
            this.cuts.cut(Cut::Flood);
            return Poll::Ready(Err(io::Error::other("too many control frames")));
        }
        if let (Beginning::Preface(deadline, _), true) = (&mut this.beginning, read.is_pending()) {
            ready!(deadline.as_mut().poll(context));
            this.cuts.cut(Cut::Silent);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
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
        let written = Pin::new(&mut self.bytes).poll_write(context, bytes);
        let written = ready!(self.wrote(context, written))?;
        self.note(bytes.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.bytes).poll_write_vectored(context, bytes);
        let written = ready!(self.wrote(context, written))?;
        let mut left = written;
        for slice in bytes {
            let now = left.min(slice.len());
            self.note(slice.get(..now).unwrap_or_default());
            left -= now;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.bytes.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::metrics::Metrics;

    fn connection() -> (DuplexStream, Connection) {
        let (here, there) = duplex(1 << 16);
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (origin, capacity, cuts) =
            (Origin::default(), Capacity::default(), Cuts::new(Metrics::default()));
        (here, Connection::new(Box::new(there), origin, Standing::default(), place, &capacity, cuts))
    }

    #[tokio::test]
    async fn who_says_nothing_is_cut() {
        let (mut here, mut there) = connection();
        here.write_all(b"PRI").await.unwrap();
        let mut bytes = [0; 64];
        assert_eq!(there.read(&mut bytes).await.unwrap(), 3);
        tokio::time::pause();
        assert_eq!(there.read(&mut bytes).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn who_floods_is_cut() {
        let (mut here, mut there) = connection();
        here.write_all(PREFACE_BYTES).await.unwrap();
        here.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0].repeat(60)).await.unwrap();
        let mut bytes = [0; 1 << 12];
        assert_eq!(there.read(&mut bytes).await.unwrap_err().kind(), io::ErrorKind::Other);
    }

    #[tokio::test]
    async fn who_sends_many_frames_lets_others_have_their_turn() {
        let (mut here, mut there) = connection();
        let data = [0, 0, 0, 0, 0, 0, 0, 0, 1].repeat(10 * 64);
        here.write_all(&[PREFACE_BYTES, &data].concat()).await.unwrap();
        let (mut left, mut turns) = (PREFACE_BYTES.len() + data.len(), 0);
        // Sixteen frames.
        let mut bytes = [0; 9 * 16];
        while left > 0 {
            match futures::poll!(std::pin::pin!(there.read(&mut bytes))) {
                Poll::Ready(read) => left -= read.unwrap(),
                Poll::Pending => turns += 1,
            }
        }
        assert_eq!(turns, 9, "between each 64 of 640");
    }

    #[tokio::test(start_paused = true)]
    async fn whose_other_end_takes_nothing_is_cut() {
        let (mut here, mut there) = connection();
        let (begun, taking) = (Instant::now(), Capacity::default().taking);
        there.write_all(&vec![0; 1 << 16]).await.unwrap();
        // A byte taken in time is enough for another while.
        let reads = async {
            sleep(taking - Duration::from_secs(1)).await;
            here.read_exact(&mut [0; 1]).await.unwrap();
        };
        let (written, ()) = tokio::join!(there.write_all(&[0; 2]), reads);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), taking * 2 - Duration::from_secs(1));
    }
}
