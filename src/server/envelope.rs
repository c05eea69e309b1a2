//! The envelope of a request: exactly one message, whole and not too large, seen before anything is buffered.
//!
//! Every method that is served takes one message, reflection apart. tonic drops a second one unseen.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

use super::limits::Admission;

/// The bytes before a message: a flag, and the length.
pub(super) const PREFIX: usize = 5;

/// How many bytes of each request are not counted among those that all share: one that is small is taken whatever
/// others send.
const SMALL: usize = 4 * 1024;

/// What a request may be.
pub(super) struct Terms {
    /// It says how its messages are compressed.
    pub(super) encoded: bool,
    /// The most bytes of a message as it is sent.
    pub(super) limit: usize,
    /// How long it may take to come, whole and ended: a caller that sends nothing would keep its place for ever.
    pub(super) patience: Duration,
    /// The bytes that the requests of a connection share, and those that all do.
    pub(super) memory: [Arc<Semaphore>; 2],
    /// From here on nothing that has not come is waited for.
    pub(super) stop: CancellationToken,
}

/// What is wrong with an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    /// The request ended without a message.
    Missing,
    /// The request ended within a message.
    CutOff,
    /// A second message came.
    Second,
    /// The flag says neither «as it is» nor «compressed».
    Flag,
    /// The message says that it is compressed, the request does not say how.
    Encoding,
    /// The message is longer than is taken.
    TooLarge,
    /// The request has not ended in time.
    Late,
    /// The requests that are coming hold as much as they may.
    NoMemory,
    /// The server ends, and the request is not whole.
    Stopping,
    /// The request is whole, and there is no place for its call.
    NoPlace,
}

/// Where the answer learns what was wrong with its request.
#[derive(Clone, Default)]
pub(super) struct Found(Arc<OnceLock<Violation>>);

impl Found {
    /// Notes the first.
    pub(super) fn note(&self, violation: Violation) {
        let _ = self.0.set(violation);
    }

    pub(super) fn get(&self) -> Option<Violation> {
        self.0.get().copied()
    }
}

/// What a body has next; `None`: its end.
type Next<B> = Option<Result<Frame<Bytes>, <B as Body>::Error>>;

/// A request's body that ends with an error as soon as something is wrong with its envelope.
pub(super) struct Envelope<B> {
    inner: B,
    reader: Reader,
    deadline: Pin<Box<Sleep>>,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    found: Found,
    /// Where the call gets its place once the request is whole.
    admission: Option<Admission>,
}

impl<B> Envelope<B> {
    pub(super) fn new(inner: B, terms: Terms, found: Found, admission: Option<Admission>) -> Self {
        let Terms { encoded, limit, patience, memory, stop } = terms;
        Self {
            inner,
            reader: Reader::new(encoded, limit, memory),
            deadline: Box::pin(sleep(patience)),
            stopped: Box::pin(stop.cancelled_owned()),
            found,
            admission,
        }
    }

    /// The next frame; what has come is taken also when the server ends.
    fn next(&mut self, context: &mut Context<'_>) -> Poll<Result<Next<B>, Violation>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        // The time counts also where bytes come one by one.
        if self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(Violation::Late));
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            return Poll::Ready(Ok(frame));
        }
        ready!(self.stopped.as_mut().poll(context));
        Poll::Ready(Err(Violation::Stopping))
    }
}

impl<B> Body for Envelope<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let (frame, violation) = match ready!(self.next(context)) {
            Err(violation) => (None, Some(violation)),
            Ok(frame) => {
                let violation = match &frame {
                    Some(Ok(frame)) => frame.data_ref().and_then(|data| self.reader.read(data)),
                    Some(Err(_)) => None,
                    None => self.reader.end(),
                };
                // The call begins when nothing more can come.
                let has_ended = frame.is_none() || self.is_end_stream();
                let admission = if violation.is_none() && has_ended { self.admission.take() } else { None };
                let has_place = admission.is_none_or(|admission| admission.is_whole());
                (frame, violation.or((!has_place).then_some(Violation::NoPlace)))
            }
        };
        if let Some(violation) = violation {
            self.found.note(violation);
            return Poll::Ready(Some(Err(Status::internal("the envelope is wrong"))));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| Status::from_error(error.into()))))
    }

    fn is_end_stream(&self) -> bool {
        // An end that nobody looks at could hide that the message is missing.
        self.reader.is_whole && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The length of the message behind a prefix.
pub(super) fn length(prefix: [u8; PREFIX], encoded: bool, limit: usize) -> Result<usize, Violation> {
    let [flag, length @ ..] = prefix;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    match flag {
        0 => {}
        1 if encoded => {}
        1 => return Err(Violation::Encoding),
        _ => return Err(Violation::Flag),
    }
    if length > limit { Err(Violation::TooLarge) } else { Ok(length) }
}

/// How far a request has been read.
struct Reader {
    encoded: bool,
    limit: usize,
    prefix: Vec<u8>,
    /// The bytes of the message that are still to come; `None`: its prefix is not whole yet.
    left: Option<usize>,
    is_whole: bool,
    share: Share,
}

/// What a request holds of the bytes that are shared, until it is dropped.
struct Share {
    of: [Arc<Semaphore>; 2],
    held: Vec<OwnedSemaphorePermit>,
    /// The bytes that are not counted.
    free: usize,
}

impl Share {
    /// Takes so many bytes as they come, not as they are promised: five bytes that promise much would keep what others
    /// need. Says whether there were as many.
    fn take(&mut self, bytes: usize) -> bool {
        let free = bytes.min(self.free);
        self.free -= free;
        let Ok(counted) = u32::try_from(bytes - free) else { return false };
        if counted == 0 {
            return true;
        }
        let permits = self.of.iter().map(|of| Arc::clone(of).try_acquire_many_owned(counted));
        let Ok(permits) = permits.collect::<Result<Vec<_>, _>>() else { return false };
        if self.held.is_empty() {
            self.held = permits;
        } else {
            self.held.iter_mut().zip(permits).for_each(|(held, permit)| held.merge(permit));
        }
        true
    }
}

impl Reader {
    fn new(encoded: bool, limit: usize, memory: [Arc<Semaphore>; 2]) -> Self {
        let share = Share { of: memory, held: Vec::new(), free: SMALL };
        Self { encoded, limit, prefix: Vec::new(), left: None, is_whole: false, share }
    }

    fn read(&mut self, mut data: &[u8]) -> Option<Violation> {
        while !data.is_empty() {
            if self.is_whole {
                return Some(Violation::Second);
            }
            match self.left {
                None => {
                    let (now, rest) = data.split_at(data.len().min(PREFIX - self.prefix.len()));
                    self.prefix.extend_from_slice(now);
                    data = rest;
                    if let Some(violation) = self.begin() {
                        return Some(violation);
                    }
                }
                Some(left) => {
                    let now = left.min(data.len());
                    if !self.share.take(now) {
                        return Some(Violation::NoMemory);
                    }
                    data = data.get(now..).unwrap_or_default();
                    self.left = Some(left - now);
                    self.is_whole = left == now;
                }
            }
        }
        None
    }

    /// Reads the prefix once it is whole.
    fn begin(&mut self) -> Option<Violation> {
        let prefix: [u8; PREFIX] = self.prefix.as_slice().try_into().ok()?;
        match length(prefix, self.encoded, self.limit) {
            Ok(length) => {
                self.left = Some(length);
                self.is_whole = length == 0;
                None
            }
            Err(violation) => Some(violation),
        }
    }

    fn end(&self) -> Option<Violation> {
        match self.is_whole {
            true => None,
            false if self.prefix.is_empty() => Some(Violation::Missing),
            false => Some(Violation::CutOff),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: usize = 1 << 20;
    const PATIENCE: Duration = Duration::from_secs(30);

    fn terms(stop: CancellationToken) -> Terms {
        let memory = [MEMORY, MEMORY].map(|bytes| Arc::new(Semaphore::new(bytes)));
        Terms { encoded: false, limit: 4, patience: PATIENCE, memory, stop }
    }

    /// What is found in a request that comes in pieces of a size.
    fn run(bytes: &[u8], piece: usize, encoded: bool) -> Option<Violation> {
        let mut reader = Reader::new(encoded, 4, terms(CancellationToken::new()).memory);
        bytes.chunks(piece).find_map(|piece| reader.read(piece)).or_else(|| reader.end())
    }

    #[test]
    fn one_whole_message_passes_and_nothing_else() {
        for (bytes, encoded, found) in [
            (&[0, 0, 0, 0, 0][..], false, None),
            (&[0, 0, 0, 0, 2, 7, 7], false, None),
            (&[1, 0, 0, 0, 2, 7, 7], true, None),
            (&[1, 0, 0, 0, 2, 7, 7], false, Some(Violation::Encoding)),
            (&[], false, Some(Violation::Missing)),
            (&[0, 0], false, Some(Violation::CutOff)),
            (&[0, 0, 0, 0, 2, 7], false, Some(Violation::CutOff)),
            (&[0, 0, 0, 0, 5], false, Some(Violation::TooLarge)),
            (&[0, 255, 255, 255, 255], false, Some(Violation::TooLarge)),
            (&[7, 0, 0, 0, 0], false, Some(Violation::Flag)),
            (&[0, 0, 0, 0, 0, 0], false, Some(Violation::Second)),
            (&[0, 0, 0, 0, 1, 7, 0, 0, 0, 0, 0], false, Some(Violation::Second)),
        ] {
            for piece in [1, 3, 64] {
                assert_eq!(run(bytes, piece, encoded), found, "{bytes:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_connection_holds_its_part_of_what_all_share() {
        let all = Arc::new(Semaphore::new(10));
        let connection = || [Arc::new(Semaphore::new(6)), Arc::clone(&all)];
        let share = |of: &[Arc<Semaphore>; 2]| Share { of: of.clone(), held: Vec::new(), free: 2 };
        let (one, other) = (connection(), connection());
        let (mut first, mut second) = (share(&one), share(&other));
        assert!(first.take(3) && first.take(3), "two bytes are free");
        assert!(!share(&one).take(5), "the connection has six");
        assert!(second.take(7), "another has its own");
        assert!(!share(&connection()).take(4), "nobody has more than all share");
        drop(first);
        assert!(share(&one).take(6));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_does_not_end_gives_its_place_back() {
        use futures::StreamExt;
        use http_body_util::{BodyExt, StreamBody};
        let whole = Bytes::from_static(&[0, 0, 0, 0, 1, 7]);
        // One byte an hour, nothing at all, and a message behind which nothing ends.
        for begun in [&[0][..], &[], &whole] {
            let begun = futures::stream::iter([Ok::<_, Status>(Frame::data(Bytes::copy_from_slice(begun)))]);
            let found = Found::default();
            let body = StreamBody::new(begun.chain(futures::stream::pending()).boxed());
            let envelope = Envelope::new(body, terms(CancellationToken::new()), found.clone(), None);
            assert!(envelope.collect().await.is_err());
            assert_eq!(found.get(), Some(Violation::Late));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_ends_waits_for_no_request_and_takes_those_that_have_come() {
        use futures::StreamExt;
        use http_body_util::{BodyExt, Full, StreamBody};
        let stop = CancellationToken::new();
        stop.cancel();
        let whole = Bytes::from_static(&[0, 0, 0, 0, 1, 7]);
        let envelope = Envelope::new(Full::new(whole), terms(stop.clone()), Found::default(), None);
        assert!(envelope.collect().await.is_ok());
        let begun = futures::stream::iter([Ok::<_, Status>(Frame::data(Bytes::from_static(&[0])))]);
        let found = Found::default();
        let body = StreamBody::new(begun.chain(futures::stream::pending()).boxed());
        assert!(Envelope::new(body, terms(stop), found.clone(), None).collect().await.is_err());
        assert_eq!(found.get(), Some(Violation::Stopping));
    }

    #[test]
    fn what_all_requests_hold_is_bounded_and_small_ones_are_taken_all_the_same() {
        let memory = Arc::new(Semaphore::new(10));
        let limit = 2 * SMALL;
        let request = |length: usize| {
            let length = u32::try_from(length).unwrap().to_be_bytes();
            let connection = Arc::new(Semaphore::new(MEMORY));
            let mut reader = Reader::new(false, limit, [connection, Arc::clone(&memory)]);
            assert_eq!(reader.read(&[&[0][..], &length].concat()), None);
            reader
        };
        // What is promised and does not come holds nothing.
        let _promised: Vec<_> = (0..100).map(|_| request(limit)).collect();
        let mut first = request(SMALL + 10);
        assert_eq!(first.read(&vec![0; SMALL + 4]), None);
        assert_eq!(first.read(&[0; 6]), None);
        let mut second = request(SMALL + 1);
        assert_eq!(second.read(&vec![0; SMALL]), None);
        assert_eq!(second.read(&[0]), Some(Violation::NoMemory));
        assert_eq!(request(SMALL).read(&vec![0; SMALL]), None);
        drop(first);
        assert_eq!(request(SMALL + 10).read(&vec![0; SMALL + 10]), None);
    }
}
