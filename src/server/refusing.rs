//! Refuses a request before its body is read.
//!
//! What a caller has sent already would meet a stream that is gone, and count as its fault: HTTP/2 gives a connection up
//! after some of these, with all that is open on it. So the rest is let come for a moment, and forgotten.

use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::time::timeout;
use tonic::body::Body;

use super::origin::Origin;
use super::telling;
use crate::error::Error;

/// How long the rest of a request is let come: a message follows its head at once.
const MOMENT: Duration = Duration::from_millis(50);

/// The answer to a request that is refused.
pub(super) async fn refused<B>(request: Request<B>, error: &Error) -> Response<Body>
where
    B: http_body::Body + Unpin,
{
    let telling =
        request.extensions().get::<Origin>().map(|origin| origin.telling.clone()).unwrap_or_default();
    let span = telling::span(request.extensions());
    let mut body = request.into_body();
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    // Whoever goes on sending is told all the same.
    let _ = timeout(MOMENT, rest).await;
    telling.failed(error, &span).into_http()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::StreamExt;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;
    use crate::error::ErrorKind;

    #[tokio::test(start_paused = true)]
    async fn the_rest_is_let_come_and_nobody_is_waited_for() {
        let (seen, mut is_read) = (Error::new(ErrorKind::Overloaded, "no"), false);
        let pieces = futures::stream::iter(0..3).map(|piece| {
            is_read = piece == 2;
            Ok::<_, tonic::Status>(Frame::data(Bytes::new()))
        });
        let answer = refused(Request::new(StreamBody::new(pieces)), &seen).await;
        assert!(is_read && answer.headers().contains_key("grpc-status"));
        let begun = tokio::time::Instant::now();
        let endless = futures::stream::pending::<Result<Frame<Bytes>, tonic::Status>>();
        refused(Request::new(StreamBody::new(endless)), &seen).await;
        assert_eq!(begun.elapsed(), MOMENT);
    }
}
