//! The end of an answer that goes by a protocol of others, as those of health and reflection.
//!
//! No failure there is without our details and a log line either, and no question of a stream without an answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use super::questions::{Asked, Messages};

/// An answer that is looked at for its end.
pub(super) struct Endings<B, F> {
    inner: B,
    asked: Asked,
    answered: Messages,
    failure: F,
}

impl<B, F> Endings<B, F>
where
    F: FnMut(Status, bool) -> Option<Status>,
{
    /// `failure` says what becomes of the status of an answer, and hears whether each question has one.
    pub(super) fn new(inner: B, asked: Asked, failure: F) -> Self {
        Self { inner, asked, answered: Messages::unbounded(), failure }
    }

    fn end(&mut self, trailers: &mut HeaderMap) {
        let Some(status) = Status::from_header_map(trailers) else { return };
        let is_answered = self.answered.begun() >= self.asked.begun();
        if let Some(failed) = (self.failure)(status, is_answered) {
            trailers.clear();
            // What cannot be put into trailers would be a status without a text.
            let _ = failed.add_header(trailers);
        }
    }
}

impl<B, F> Body for Endings<B, F>
where
    B: Body<Data = Bytes> + Unpin,
    F: FnMut(Status, bool) -> Option<Status> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let Some(Ok(frame)) = &mut frame {
            if let Some(data) = frame.data_ref() {
                // An answer of ours has nothing that is wrong.
                let _ = self.answered.read(data);
            } else if let Some(trailers) = frame.trailers_mut() {
                self.end(trailers);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
