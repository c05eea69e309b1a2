//! The body of a request that goes on with questions: it ends after a time, and with the server.
//!
//! The library reads it in a task that nobody else holds: while the body goes on, so does the stream.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, Select, select};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

use super::envelope::{Found, PREFIX, Violation, length};

/// The most bytes of one question.
pub(super) const LONGEST: usize = 4 * 1024;

/// A request's body until a time has passed or the server ends.
pub(super) struct Questions<B> {
    inner: B,
    messages: Messages,
    asked: Asked,
    found: Found,
    end: Select<Pin<Box<Sleep>>, Pin<Box<WaitForCancellationFutureOwned>>>,
    has_ended: bool,
}

/// How many questions have begun to come; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Asked(Arc<AtomicUsize>);

impl Asked {
    pub(super) fn begun(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Finds the messages in one direction of a stream.
pub(super) struct Messages {
    encoded: bool,
    limit: usize,
    prefix: [u8; PREFIX],
    have: usize,
    /// The bytes of the message that are still to come.
    left: usize,
    begun: usize,
}

impl Messages {
    fn new(encoded: bool, limit: usize) -> Self {
        Self { encoded, limit, prefix: [0; PREFIX], have: 0, left: 0, begun: 0 }
    }

    /// Those of an answer.
    pub(super) fn unbounded() -> Self {
        Self::new(true, usize::MAX)
    }

    pub(super) fn begun(&self) -> usize {
        self.begun
    }

    /// Reads on; says what is wrong.
    pub(super) fn read(&mut self, mut data: &[u8]) -> Option<Violation> {
        while !data.is_empty() {
            if self.left > 0 {
                let now = self.left.min(data.len());
                self.left -= now;
                data = data.get(now..).unwrap_or_default();
                continue;
            }
            self.begun += usize::from(self.have == 0);
            let (now, rest) = data.split_at(data.len().min(PREFIX - self.have));
            if let Some(place) = self.prefix.get_mut(self.have..self.have + now.len()) {
                place.copy_from_slice(now);
            }
            (self.have, data) = (self.have + now.len(), rest);
            if self.have == PREFIX {
                self.have = 0;
                match length(self.prefix, self.encoded, self.limit) {
                    Ok(length) => self.left = length,
                    Err(violation) => return Some(violation),
                }
            }
        }
        None
    }

    /// What is wrong with a stream that ends here.
    fn end(&self) -> Option<Violation> {
        (self.have > 0 || self.left > 0).then_some(Violation::CutOff)
    }
}

impl<B> Questions<B> {
    /// `encoded`: it says how its messages are compressed.
    pub(super) fn new(
        inner: B,
        encoded: bool,
        time: Duration,
        stop: CancellationToken,
        (asked, found): (Asked, Found),
    ) -> Self {
        let end = select(Box::pin(sleep(time)), Box::pin(stop.cancelled_owned()));
        Self { inner, messages: Messages::new(encoded, LONGEST), asked, found, end, has_ended: false }
    }

    /// Ends it here, for the library reads no more of a question that it cannot take and says nothing.
    fn violated(&mut self, violation: Violation) -> Status {
        self.found.note(violation);
        self.has_ended = true;
        Status::internal("a question is wrong")
    }
}

impl<B> Body for Questions<B>
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
        if self.has_ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(end) = Pin::new(&mut self.end).poll(context) {
            self.has_ended = true;
            return Poll::Ready(Some(Err(match end {
                Either::Left(_) => Status::deadline_exceeded("a stream of questions has its time"),
                Either::Right(_) => {
                    self.found.note(Violation::Stopping);
                    Status::unavailable("the adapter is shutting down")
                }
            })));
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        let violation = match &frame {
            Some(Ok(frame)) => frame.data_ref().and_then(|data| self.messages.read(data)),
            Some(Err(_)) => None,
            None => self.messages.end(),
        };
        self.asked.0.store(self.messages.begun(), Ordering::Relaxed);
        if let Some(violation) = violation {
            return Poll::Ready(Some(Err(self.violated(violation))));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| Status::from_error(error.into()))))
    }

    fn is_end_stream(&self) -> bool {
        // An end that nobody looks at could hide that a question is cut off.
        self.has_ended || (self.messages.end().is_none() && self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};
    use tokio::time::Instant;

    use super::*;

    fn endless(stop: &CancellationToken) -> Questions<impl Body<Data = Bytes, Error = Status> + Unpin> {
        let body = StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, Status>>());
        Questions::new(body, false, Duration::from_secs(5), stop.clone(), Default::default())
    }

    #[tokio::test(start_paused = true)]
    async fn questions_end_after_their_time_and_with_the_server() {
        let stop = CancellationToken::new();
        let begun = Instant::now();
        let ended = endless(&stop).collect().await.err().unwrap();
        assert_eq!((ended.code(), begun.elapsed().as_secs()), (tonic::Code::DeadlineExceeded, 5));
        stop.cancel();
        let ended = endless(&stop).collect().await.err().unwrap();
        assert_eq!((ended.code(), begun.elapsed().as_secs()), (tonic::Code::Unavailable, 5));
    }
}
