//! The messages of failures, spelt as gRPC's specification does: what tonic escapes beyond it, grpc-js shows as it came.
//!
//! By the specification every byte from a space to `~` is itself, `%` apart, and all others are escaped.

use http::{HeaderMap, HeaderValue, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};
use tonic::body::Body;

const MESSAGE: &str = "grpc-message";
/// What is escaped beside all that is not ASCII.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// The answer with its message spelt, wherever that stands: before a body or behind it.
pub(super) fn spelt(answer: Response<Body>) -> Response<Body> {
    let (mut head, body) = answer.into_parts();
    spell(&mut head.headers);
    if body.is_end_stream() {
        return Response::from_parts(head, body);
    }
    let body = body.map_frame(|mut frame| {
        frame.trailers_mut().into_iter().for_each(spell);
        frame
    });
    Response::from_parts(head, Body::new(body))
}

fn spell(headers: &mut HeaderMap) {
    let Some(message) = headers.get_mut(MESSAGE) else { return };
    let bytes: Vec<u8> = percent_decode(message.as_bytes()).collect();
    let spelt: String = percent_encode(&bytes, ESCAPED).collect();
    // What is left in it can stand in a header.
    if let Ok(spelt) = HeaderValue::try_from(spelt) {
        *message = spelt;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tonic::Status;

    use super::*;

    /// What the bytes of a message become, before a body and behind it.
    async fn on_the_wire(message: &str) -> [Vec<u8>; 2] {
        let status = Status::not_found(message);
        let first = spelt(status.clone().into_http());
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers).unwrap();
        let frames = [Frame::data(Bytes::from_static(&[0; 5])), Frame::trailers(trailers)];
        let body = StreamBody::new(futures::stream::iter(frames.map(Ok::<_, Status>)));
        let last = spelt(Response::new(Body::new(body))).into_body().collect().await.unwrap();
        [first.headers(), last.trailers().unwrap()].map(|headers| {
            assert_eq!(Status::from_header_map(headers).unwrap().message(), message);
            headers[MESSAGE].as_bytes().to_vec()
        })
    }

    #[tokio::test]
    async fn a_message_is_spelt_as_the_specification_says() {
        let printable: String = (b' '..=b'~').map(char::from).collect();
        for (message, spelt) in [
            ("did you mean `Store`? see #1", "did you mean `Store`? see #1"),
            ("a%b%23", "a%25b%2523"),
            ("é\n€", "%C3%A9%0A%E2%82%AC"),
            ("\u{0}\u{1f}\u{7f}\u{80}", "%00%1F%7F%C2%80"),
            (&printable, &printable.replace('%', "%25")),
        ] {
            assert_eq!(on_the_wire(message).await, [spelt.as_bytes(); 2], "{message}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_has_ended_stays_one() {
        let answer = spelt(Status::not_found("gone?").into_http());
        assert!(answer.body().is_end_stream(), "its status is in its headers, and nothing comes behind them");
        assert!(spelt(Response::new(Body::empty())).headers().is_empty());
    }
}
