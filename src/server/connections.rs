//! Serves connections: with limits on HTTP/2, until each is idle, old, or no longer its caller's.
//!
//! A connection that is to end is told so first (GOAWAY): its caller opens another for its next call, and the calls that
//! are under way end as they would. What does not end in time is cut.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tower::{Service, ServiceExt};
use tracing::debug;

use super::accept::Door;
use super::capacity::Capacity;
use super::cuts::Cuts;
use super::streams::Streams;
use super::wire::{Connection, Writes};
use crate::metrics::{Cut, Metrics};

/// HTTP/2 limits; the library leaves most of them open.
const LOCAL_RESETS: usize = 128;
const PENDING_RESETS: usize = 20;
/// More than is taken: who sends more than [`super::metadata`] takes is told so in words, and only who goes far beyond
/// loses the connection.
const HEADER_LIST: u32 = 256 * 1024;
/// The longest frame, or as long as the metadata that are taken: these fit into one, and what continues them is a flood.
const FRAME: u32 = 16 * 1024;
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The most that is kept for a reader of one stream.
const SEND_BUFFER: usize = 64 * 1024;
/// How often a silent peer is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(20);
/// How long the head of a request over HTTP/1.1 may take.
const HEAD: Duration = Duration::from_secs(5);
/// The most bytes of that head: nobody who speaks it is served anything but a sentence.
const HEAD_BYTES: usize = 16 * 1024;

/// How long the streams of an old connection may go on; shorter, if the age is.
const GRACE: Duration = Duration::from_secs(300);
/// How long a peer without calls may take to go.
pub(super) const GOING: Duration = Duration::from_secs(1);

/// When connections end.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    /// Without a call.
    pub(super) idle: Duration,
    /// With or without.
    pub(super) age: Duration,
}

/// When everything ends.
#[derive(Clone)]
pub(super) struct Ends {
    /// From here on no connection is accepted, and those that are open are told to go.
    pub(super) stop: CancellationToken,
    /// From here on none is open.
    pub(super) cut: CancellationToken,
}

/// Serves every connection that comes through the door, until it is told to stop and the last of them has ended.
pub(super) async fn serve<S>(mut door: Door, service: S, capacity: Capacity, ends: Ends, metrics: Metrics)
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    let open = TaskTracker::new();
    loop {
        let connection = tokio::select! {
            biased;
            () = ends.stop.cancelled() => break,
            connection = door.next() => connection,
        };
        let one = one(connection, service.clone(), capacity, ends.clone(), metrics.clone());
        open.spawn(one);
    }
    // Who connects now is refused by the system, at once.
    drop(door);
    open.close();
    open.wait().await;
}

/// Why a connection is to end, and how long its streams may go on.
fn ending(why: Cut, rules: Rules) -> Duration {
    // Whoever was idle may have called just when it was told to go. Nobody is served any more whose certificate expired.
    if why == Cut::Certificate { GOING } else { GRACE.min(rules.age) }
}

/// Resolves once no stream has been open and no byte has been written for a while: an answer is on its way longer than
/// its stream is open.
async fn has_gone(streams: &Streams, written: &Writes) {
    loop {
        streams.idle(GOING).await;
        let quiet_at = written.last() + GOING;
        if quiet_at <= Instant::now() {
            return;
        }
        sleep_until(quiet_at).await;
    }
}

/// Serves one connection.
async fn one<S>(mut connection: Connection, service: S, capacity: Capacity, ends: Ends, metrics: Metrics)
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    let rules = Rules { idle: capacity.idle, age: capacity.age };
    let _open = metrics.connection();
    let (peer, cuts) = (connection.peer(), connection.cuts().clone());
    let mut standing = pin!(connection.standing().ends().fuse());
    let origin = connection.origin().clone();
    let (streams, written) = (Streams::new(&capacity, cuts.clone(), metrics), connection.written());
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(origin.clone());
        service.clone().oneshot(request)
    });
    let builder = builder(streams.clone(), &capacity);
    let mut served = pin!(builder.serve_connection(TokioIo::new(connection), service));
    let why = tokio::select! {
        biased;
        ended = served.as_mut() => return told(ended, &cuts),
        () = ends.cut.cancelled() => return,
        () = ends.stop.cancelled() => None,
        () = standing.as_mut() => Some(Cut::Certificate),
        () = streams.idle(rules.idle) => Some(Cut::Idle),
        () = sleep(jittered(rules.age)) => Some(Cut::Age),
    };
    served.as_mut().graceful_shutdown();
    let has_gone = has_gone(&streams, &written);
    going(served, has_gone, standing, why, rules, &ends, &cuts).await;
}

/// Lets a connection end that was told to go: what is under way on it may end, for a time, and whoever `has_gone` is not
/// waited for. Nor is, for longer than a moment, whose caller loses its standing meanwhile.
pub(super) async fn going<E: std::fmt::Display>(
    served: impl Future<Output = Result<(), E>>,
    has_gone: impl Future<Output = ()>,
    standing: impl Future<Output = ()>,
    why: Option<Cut>,
    rules: Rules,
    ends: &Ends,
    cuts: &Cuts,
) {
    let end = async {
        tokio::select! {
            biased;
            ended = served => told(ended, cuts),
            () = ends.cut.cancelled() => if why.is_none() { cuts.cut(Cut::Drain) },
            () = has_gone => {}
            () = async {
                standing.await;
                sleep(GOING).await;
            } => {}
        }
    };
    // What is under way when everything ends does so by itself, and the drain timeout bounds what does not.
    let Some(why) = why else { return end.await };
    cuts.cut(why);
    if timeout(ending(why, rules), end).await.is_err() {
        debug!(why = why.as_str(), "a connection is cut");
    }
}

/// Notes how a connection has ended that was not cut.
pub(super) fn told(ended: Result<(), impl std::fmt::Display>, cuts: &Cuts) {
    if let Err(error) = ended {
        debug!(%error, peer = %cuts.peer(), "a connection broke");
    }
}

fn builder(streams: Streams, capacity: &Capacity) -> auto::Builder<Streams> {
    let metadata = u32::try_from(capacity.metadata).unwrap_or(HEADER_LIST);
    let mut builder = auto::Builder::new(streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(capacity.streams)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_header_list_size(HEADER_LIST)
        .max_frame_size(FRAME.max(metadata))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    builder
}

/// A tenth more or less: connections that were opened together do not end together.
pub(super) fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.9 + 0.2 * rand::random::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_idle_has_as_much_time_as_whoever_is_old() {
        let rules = Rules { idle: Duration::from_secs(1), age: Duration::from_secs(60) };
        assert_eq!(ending(Cut::Idle, rules), Duration::from_secs(60));
        assert_eq!(ending(Cut::Age, rules), Duration::from_secs(60));
        assert_eq!(ending(Cut::Certificate, rules), GOING);
    }

    fn streams() -> Streams {
        let metrics = Metrics::default();
        Streams::new(&Capacity::default(), Cuts::new(metrics.clone()), metrics)
    }

    #[tokio::test(start_paused = true)]
    async fn who_still_reads_has_not_gone() {
        let (streams, written) = (streams(), Writes::now());
        let begun = Instant::now();
        let writes = async {
            for _ in 0..10 {
                sleep(GOING / 2).await;
                written.note();
            }
        };
        tokio::join!(has_gone(&streams, &written), writes);
        assert!((GOING * 6..=GOING * 8).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }

    #[test]
    fn ages_differ_by_a_tenth() {
        let age = Duration::from_secs(1000);
        let ages: Vec<Duration> = (0..1000).map(|_| jittered(age)).collect();
        assert!(ages.iter().all(|one| (900..=1100).contains(&one.as_secs())));
        assert!(ages.iter().any(|one| one.as_secs() < 950) && ages.iter().any(|one| one.as_secs() > 1050));
    }
}
