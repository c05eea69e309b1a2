//! The façade for the old agents: connections over HTTP/1.1, each request whole and its caller known before it is answered.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use futures::FutureExt;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, EXPECT, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::request::Parts;
use http::{HeaderMap, Request, Version};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{sleep, timeout};
use tokio_util::io::InspectReader;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span, debug};

use super::accept::Door;
use super::activity::{Activity, Doing};
use super::connections::{Ends, GOING, Rules, going, jittered, told};
use super::limits::Limits;
use super::measured::Call;
use super::origin::Origin;
use super::pages::{self, Hosts};
use super::wire::Connection;
use crate::callers::{Acting, Callers, Shown};
use crate::error::{Beyond, Error, ErrorKind};
use crate::metrics::{Cut, Limit, Metrics, http_code};
use crate::rest::{Asked, MAX_BODY_BYTES, Refusal, Rest};
use crate::telemetry::Parent;

/// The most connections at once: there are few agents. One more ends the one that has kept nobody waiting for longest.
pub(super) const CONNECTIONS: usize = 128;
/// The most bytes of a request's head, and the most of its fields.
const HEAD_BYTES: usize = 32 * 1024;
const HEAD_FIELDS: usize = 100;
/// How much of a head is read, so that who is beyond is told so in words. The library's own answer has none.
const READ_BYTES: usize = 2 * HEAD_BYTES;
const READ_FIELDS: usize = 2 * HEAD_FIELDS;
/// How long the body of a request may take.
const BODY: Duration = Duration::from_secs(10);
/// How long the rest of a refused request is let come, and how much of it: who sends it would not see the answer.
const MOMENT: Duration = Duration::from_millis(500);
const REST_BYTES: usize = 8 * 1024 * 1024;

/// What answers requests; cheap to clone.
#[derive(Clone)]
pub(super) struct Facade {
    pub(super) rest: Rest,
    pub(super) callers: Callers,
    pub(super) limits: Limits,
    pub(super) metrics: Metrics,
    pub(super) hosts: Hosts,
    /// From here on nothing that has not come is waited for.
    pub(super) stop: CancellationToken,
}

/// Serves every connection that comes through the door, until it is told to stop and the last of them has ended.
pub(super) async fn serve(mut door: Door, facade: Facade, rules: Rules, ends: Ends) {
    let tasks = TaskTracker::new();
    let mut open: Vec<(Activity, CancellationToken)> = Vec::new();
    for label in Asked::LABELS {
        facade.metrics.serves(label, http_code(Some(500)));
    }
    loop {
        let connection = tokio::select! {
            biased;
            () = ends.stop.cancelled() => break,
            connection = door.next() => connection,
        };
        open.retain(|(_, gives_way)| !gives_way.is_cancelled());
        if open.len() >= CONNECTIONS {
            facade.metrics.limit_hit(Limit::Connections);
            // All of them are answered: whoever comes now is closed.
            let Some(idlest) = idlest(&open) else { continue };
            open.swap_remove(idlest).1.cancel();
        }
        let (activity, gives_way) = (Activity::new(), CancellationToken::new());
        open.push((activity.clone(), gives_way.clone()));
        let one = one(connection, facade.clone(), activity, rules, ends.clone(), gives_way.clone());
        tasks.spawn(async move {
            one.await;
            gives_way.cancel();
        });
    }
    // Who connects now is refused by the system, at once.
    drop(door);
    tasks.close();
    tasks.wait().await;
}

/// The connection that has kept nobody waiting for longest.
fn idlest(open: &[(Activity, CancellationToken)]) -> Option<usize> {
    let since = |(index, (activity, _)): (usize, &(Activity, CancellationToken))| {
        activity.idle_since().map(|since| (since, index))
    };
    open.iter().enumerate().filter_map(since).min().map(|(_, index)| index)
}

/// Serves one connection.
async fn one(
    mut connection: Connection,
    facade: Facade,
    activity: Activity,
    rules: Rules,
    ends: Ends,
    gives_way: CancellationToken,
) {
    let _open = facade.metrics.connection();
    let (origin, cuts) = (connection.origin().clone(), connection.cuts().clone());
    let mut standing = pin!(connection.standing().ends().fuse());
    let written = connection.written();
    let heard = activity.clone();
    let bytes = InspectReader::new(connection, move |bytes: &[u8]| heard.heard(bytes));
    let noted = activity.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (facade, origin, activity) = (facade.clone(), origin.clone(), noted.clone());
        async move { Ok::<_, Infallible>(facade.answered(request, &origin, &activity).await) }
    });
    let mut builder = http1::Builder::new();
    // Whoever says nothing is ended by what it does; the library's time would be that of heads and of silence in one.
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(READ_BYTES)
        .max_headers(READ_FIELDS);
    let mut served = pin!(builder.serve_connection(TokioIo::new(bytes), service));
    let why = tokio::select! {
        biased;
        ended = served.as_mut() => return told(ended, &cuts),
        () = ends.cut.cancelled() => return,
        () = gives_way.cancelled() => return cuts.cut(Cut::Idle),
        () = ends.stop.cancelled() => None,
        () = standing.as_mut() => Some(Cut::Certificate),
        why = activity.is_overdue(rules.idle) => Some(why),
        () = sleep(jittered(rules.age)) => Some(Cut::Age),
    };
    // The answer that is under way is its last.
    served.as_mut().graceful_shutdown();
    going(served, activity.is_over(GOING, &written), standing, why, rules, &ends, &cuts).await;
}

/// Why a body is not whole.
enum Unfinished {
    TooLarge,
    TooLate,
    /// The server ends.
    Ending,
    /// Its caller has left, or it is no body.
    Broken,
}

impl Facade {
    /// The answer to a request, counted, whatever comes of it.
    async fn answered(self, request: Request<Incoming>, origin: &Origin, activity: &Activity) -> Response {
        activity.becomes(Doing::Body);
        let asked = Asked::of(request.method(), request.uri().path());
        let mut call = Call::begin(&self.metrics, asked.label());
        let (parts, mut body) = request.into_parts();
        let acting = self.known(&asked, &parts, origin).await;
        let span = acting.as_ref().ok().and_then(Option::as_ref);
        let span = span.map_or_else(Span::none, |acting| asked.span(acting));
        let answering = async {
            match self.come(&asked, acting, &mut body).await {
                Err(refusal) => {
                    let answer = refused(&asked, &refusal, origin);
                    // Who waits to be asked for its body is not asked.
                    if parts.headers.contains_key(EXPECT) {
                        closing(answer)
                    } else {
                        last(answer, &mut body).await
                    }
                }
                Ok((acting, bytes)) => {
                    activity.becomes(Doing::Answer);
                    self.answer(&asked, acting, &bytes, origin).await
                }
            }
        };
        let answer = Parent::of(&parts.headers).over(answering.instrument(span)).await;
        if let Some(beyond) = answer.extensions().get::<Beyond>() {
            self.metrics.limit_hit((*beyond).into());
        }
        call.ends_with(http_code(Some(answer.status().as_u16())));
        activity.becomes(Doing::Nothing);
        answer
    }

    /// Who asks, once the head of the request is within its bounds.
    async fn known(&self, asked: &Asked, parts: &Parts, origin: &Origin) -> Result<Option<Acting>, Refusal> {
        head(parts).map_err(|why| {
            self.metrics.limit_hit(Limit::Metadata);
            Refusal::head_too_large(why)
        })?;
        framed(parts)?;
        if parts.headers.get_all(CONTENT_ENCODING).iter().any(|coding| coding != "identity") {
            return Err(Refusal::encoded());
        }
        pages::refused(&parts.headers, self.hosts).map_err(Refusal::of_page)?;
        Ok(self.acting(asked, &parts.headers, origin).await?)
    }

    /// Who asks for something that there is, and the whole body.
    async fn come(
        &self,
        asked: &Asked,
        acting: Result<Option<Acting>, Refusal>,
        body: &mut Incoming,
    ) -> Result<(Option<Acting>, Bytes), Refusal> {
        let acting = acting?;
        asked.missing().map_or(Ok(()), Err)?;
        let bytes = self.whole(body).await.map_err(|why| self.unfinished(&why))?;
        Ok((acting, bytes))
    }

    /// On whose behalf something is done; `None`: it is for everybody.
    async fn acting(
        &self,
        asked: &Asked,
        headers: &HeaderMap,
        origin: &Origin,
    ) -> Result<Option<Acting>, Error> {
        if asked.is_open() {
            return Ok(None);
        }
        let shown = Shown::of_http(headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes));
        let caller = self.callers.identify(&shown, origin.certificate.as_deref(), origin.source).await?;
        Ok(Some(self.callers.acting_for(caller)))
    }

    /// The whole body, within its bounds.
    async fn whole(&self, body: &mut Incoming) -> Result<Bytes, Unfinished> {
        let coming = timeout(BODY, Limited::new(body, MAX_BODY_BYTES).collect());
        let come = tokio::select! {
            biased;
            come = coming => come,
            () = self.stop.cancelled() => return Err(Unfinished::Ending),
        };
        match come {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Unfinished::TooLarge),
            Ok(Err(error)) => {
                debug!(%error, "a body broke");
                Err(Unfinished::Broken)
            }
            Err(_) => Err(Unfinished::TooLate),
        }
    }

    fn unfinished(&self, why: &Unfinished) -> Refusal {
        match why {
            Unfinished::TooLarge => {
                self.metrics.limit_hit(Limit::Request);
                Refusal::too_large()
            }
            Unfinished::TooLate => {
                self.metrics.limit_hit(Limit::RequestTime);
                Refusal::too_late()
            }
            Unfinished::Broken => {
                let text = "the body is not what the head of the request says of it";
                Error::new(ErrorKind::FramingInvalid, text).into()
            }
            Unfinished::Ending => {
                let text = "the adapter is shutting down; try again";
                Error::new(ErrorKind::ShuttingDown, text).into()
            }
        }
    }

    /// Answers a whole request, if there is a place for it.
    async fn answer(&self, asked: &Asked, acting: Option<Acting>, body: &Bytes, origin: &Origin) -> Response {
        let place = if asked.is_open() { Ok(None) } else { self.limits.call().map(Some) };
        let _place = match place {
            Ok(place) => place,
            Err(error) => return refused(asked, &error.into(), origin),
        };
        let answer = AssertUnwindSafe(self.rest.answer(asked, acting, body)).catch_unwind().await;
        answer.unwrap_or_else(|_| asked.refused(&Error::internal("a handler has panicked").into(), true))
    }
}

/// The answer to a request that is refused; in the log, with its peer, too, if a line is left.
fn refused(asked: &Asked, refusal: &Refusal, origin: &Origin) -> Response {
    let is_told = origin.telling.takes_line();
    let span = if is_told { origin.telling.peer() } else { Span::none() };
    span.in_scope(|| asked.refused(refusal, is_told))
}

/// Refuses a head that is too much; what it counts is what was sent, a few bytes for each line aside.
fn head(parts: &Parts) -> Result<(), String> {
    let field =
        |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + ": \r\n".len();
    let line = parts.method.as_str().len() + parts.uri.to_string().len() + "  HTTP/1.1\r\n\r\n".len();
    let bytes = line + parts.headers.iter().map(field).sum::<usize>();
    let text = if bytes > HEAD_BYTES {
        format!("the head of the request is larger than {} KiB", HEAD_BYTES / 1024)
    } else if parts.headers.len() > HEAD_FIELDS {
        format!("the head of the request has more than {HEAD_FIELDS} fields")
    } else {
        return Ok(());
    };
    Err(text)
}

/// Refuses a head that is not HTTP/1.1's, which the library takes.
fn framed(parts: &Parts) -> Result<(), Error> {
    let wrong = |text: &str| Err(Error::new(ErrorKind::FramingInvalid, text));
    let hosts = parts.headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && parts.version == Version::HTTP_11) {
        return wrong("a request of HTTP/1.1 has exactly one Host");
    }
    let codings: Vec<&HeaderValue> = parts.headers.get_all(TRANSFER_ENCODING).iter().collect();
    match codings.as_slice() {
        [] => Ok(()),
        [only] if only.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => wrong("a body comes in no other Transfer-Encoding than chunked"),
    }
}

fn closing(mut answer: Response) -> Response {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// The answer to a request that is refused before it was whole: the last of its connection, unless the rest comes soon.
async fn last(answer: Response, body: &mut Incoming) -> Response {
    let rest = async {
        let mut come = 0;
        while let Some(Ok(frame)) = body.frame().await {
            come += frame.data_ref().map_or(0, Bytes::len);
            if come > REST_BYTES {
                return false;
            }
        }
        true
    };
    // Whoever goes on sending is told all the same.
    if timeout(MOMENT, rest).await.unwrap_or(false) { answer } else { closing(answer) }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn every_status_that_has_a_meaning_is_counted_as_itself() {
        for status in (200..600).filter_map(|code| StatusCode::from_u16(code).ok()) {
            let is_itself = http_code(Some(status.as_u16())) == status.as_str();
            assert_eq!(is_itself, status.canonical_reason().is_some(), "{status}");
        }
    }
}
