//! The body of a request that goes on with questions: it ends after a time, and with the server.
//!
//! The library reads it in a task that nobody else holds: while the body goes on, so does the stream.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, Select, select};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

/// The most bytes of one question.
pub(super) const LONGEST: usize = 4 * 1024;

/// A request's body until a time has passed or the server ends.
pub(super) struct Questions<B> {
    inner: B,
    end: Select<Pin<Box<Sleep>>, Pin<Box<WaitForCancellationFutureOwned>>>,
    has_ended: bool,
}

impl<B> Questions<B> {
    pub(super) fn new(inner: B, time: Duration, stop: CancellationToken) -> Self {
        let end = select(Box::pin(sleep(time)), Box::pin(stop.cancelled_owned()));
        Self { inner, end, has_ended: false }
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
                Either::Right(_) => Status::unavailable("the adapter is shutting down"),
            })));
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        Poll::Ready(frame.map(|frame| frame.map_err(|error| Status::from_error(error.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended || self.inner.is_end_stream()
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
        Questions::new(body, Duration::from_secs(5), stop.clone())
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
