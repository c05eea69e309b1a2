//! Stops waiting for connections that cannot be had: after five that failed in a row, one is tried each second.
//!
//! Without it every call would wait until its own connection has failed: for seconds, where nobody says no.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper_util::client::legacy;
use tokio::time::Instant;
use tower::BoxError;

use super::gate::Gate;

/// How many connections in a row must fail.
const FAILURES: u32 = 5;
/// Those that fail so soon after another count as one: many calls meet the same moment in which nobody listens.
const AT_ONCE: Duration = Duration::from_millis(200);
/// How often one is tried once so many have failed.
const AGAIN: Duration = Duration::from_secs(1);

/// Stands before one client's connections, and before their gate.
#[derive(Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Default)]
struct State {
    /// The connections that have failed since the last request that had one.
    failed: u32,
    /// When the last of these failed, or was tried and left.
    at: Option<Instant>,
    /// One is being tried.
    is_probed: bool,
}

impl State {
    fn is_broken(&self) -> bool {
        self.failed >= FAILURES
    }

    fn is_due(&self, now: Instant) -> bool {
        !self.is_probed && self.at.is_none_or(|at| now >= at + AGAIN)
    }
}

/// The one request that tries, until it is dropped.
struct Probe<'b>(&'b Breaker);

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        (state.is_probed, state.at) = (false, Some(Instant::now()));
    }
}

/// Nobody was asked: connections fail, and it is not the time to try one.
#[derive(Debug)]
pub(super) struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("connections fail, and one a second is tried")
    }
}

impl Error for Refused {}

impl Breaker {
    /// Runs a request through the gate; fails at once while connections fail, but for one request a second.
    pub(super) async fn pass<T>(
        &self,
        gate: &Gate,
        request: impl Future<Output = Result<T, BoxError>>,
    ) -> Result<T, BoxError> {
        let probe = self.enter()?;
        let answer = gate.pass(async {
            // Who waited for its turn meanwhile has waited long enough.
            if probe.is_none() && self.state().is_broken() {
                return Err(BoxError::from(Refused));
            }
            request.await
        });
        let answer = answer.await;
        self.note(answer.as_ref().err());
        drop(probe);
        answer
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request may begin, and whether it is the one that tries.
    fn enter(&self) -> Result<Option<Probe<'_>>, BoxError> {
        let mut state = self.state();
        if !state.is_broken() {
            return Ok(None);
        }
        if !state.is_due(Instant::now()) {
            return Err(Refused.into());
        }
        state.is_probed = true;
        Ok(Some(Probe(self)))
    }

    /// Notes what came of a request: any answer means that there was a connection.
    fn note(&self, error: Option<&BoxError>) {
        let (mut state, now) = (self.state(), Instant::now());
        match error {
            Some(error) if error.is::<Refused>() => {}
            Some(error) if is_of_connection(&**error) => {
                let is_another = state.at.is_none_or(|at| now >= at + AT_ONCE);
                if !state.is_broken() && is_another {
                    (state.failed, state.at) = (state.failed + 1, Some(now));
                }
            }
            Some(_) | None => (state.failed, state.at) = (0, None),
        }
    }
}

/// Whether no connection could be opened.
fn is_of_connection(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect)
        || error.source().is_some_and(is_of_connection)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use hyper_util::client::legacy::Client;
    use hyper_util::client::legacy::connect::HttpConnector;
    use hyper_util::rt::TokioExecutor;
    use tokio::net::TcpListener;
    use tokio::time::advance;

    use super::*;

    /// The error of a connection that nobody takes.
    async fn untaken() -> BoxError {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        client.get(address.parse().unwrap()).await.unwrap_err().into()
    }

    /// What comes of a request whose connection cannot be opened: whether one was tried.
    async fn tries(breaker: &Breaker) -> bool {
        let answer: Result<(), _> = breaker.pass(&Gate::default(), async { Err(untaken().await) }).await;
        !answer.unwrap_err().is::<Refused>()
    }

    async fn answers(breaker: &Breaker) -> bool {
        breaker.pass(&Gate::default(), async { Ok(()) }).await.is_ok()
    }

    async fn broken() -> Breaker {
        let breaker = Breaker::default();
        for _ in 0..FAILURES {
            assert!(tries(&breaker).await);
            advance(AT_ONCE).await;
        }
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn after_five_in_a_row_one_a_second_tries_and_the_first_answer_ends_it() {
        let breaker = broken().await;
        assert!(!tries(&breaker).await, "nobody is asked");
        assert!(!answers(&breaker).await, "nor would anybody be heard");
        advance(AGAIN).await;
        assert!(tries(&breaker).await);
        assert!(!tries(&breaker).await, "one a second");
        advance(AGAIN).await;
        assert!(answers(&breaker).await);
        assert!(tries(&breaker).await && tries(&breaker).await, "from here on as ever");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_between_and_failures_of_one_moment_do_not_count() {
        let breaker = Breaker::default();
        for _ in 0..3 * FAILURES {
            assert!(tries(&breaker).await, "they are of one moment");
        }
        assert!(answers(&breaker).await);
        for _ in 0..3 {
            for _ in 0..FAILURES - 1 {
                advance(AT_ONCE).await;
                assert!(tries(&breaker).await);
            }
            assert!(answers(&breaker).await);
        }
        // What fails on a connection had one.
        let other: Result<(), _> = breaker.pass(&Gate::default(), async { Err("another".into()) }).await;
        assert!(!other.unwrap_err().is::<Refused>());
    }

    #[tokio::test(start_paused = true)]
    async fn while_one_tries_and_does_not_end_the_others_do_not_wait_for_it() {
        let breaker = broken().await;
        let gate = Gate::default();
        advance(AGAIN).await;
        let mut probe = Box::pin(breaker.pass(&gate, std::future::pending::<Result<(), BoxError>>()));
        assert!(futures::poll!(&mut probe).is_pending());
        for _ in 0..3 {
            advance(AGAIN).await;
            let other = breaker.pass(&gate, async { Ok(()) }).await;
            assert!(other.unwrap_err().is::<Refused>());
        }
        // Whoever asked has gone, and another tries.
        drop(probe);
        advance(AGAIN).await;
        assert!(breaker.pass(&gate, async { Ok(()) }).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_at_the_gate_meanwhile_is_told_so_in_its_turn() {
        let (breaker, gate) = (Breaker::default(), Gate::default());
        let (release, held) = tokio::sync::oneshot::channel::<()>();
        let mut holder = Box::pin(gate.pass(async {
            let _ = held.await;
            Err::<(), _>(BoxError::from("no"))
        }));
        let mut waiter = Box::pin(breaker.pass(&gate, async { Ok(()) }));
        assert!(futures::poll!(&mut holder).is_pending() && futures::poll!(&mut waiter).is_pending());
        for _ in 0..FAILURES {
            advance(AT_ONCE).await;
            breaker.note(Some(&untaken().await));
        }
        release.send(()).unwrap();
        holder.await.unwrap_err();
        assert!(waiter.await.unwrap_err().is::<Refused>());
    }
}
