//! One call to the API server: limited, timed, and tried again while that can help.

use std::future::Future;
use std::time::Duration;

use backon::BackoffBuilder;
use tokio::time::Instant;
use tracing::debug;

use super::Cluster;
use super::answers::Subject;
use super::errors::Failure;
use super::patience;
use super::road::{CALL_LIMIT, hearing};
use crate::metrics::Limit;

/// The first pause before a call is tried again; it doubles to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often an object that others keep changing is read again.
const LOOKS: usize = 3;

impl Cluster {
    /// Makes a call that may be made twice; a conflict in its answer passes.
    ///
    /// `purpose` fits after "failed to".
    pub(super) async fn call<T, F, Fut>(&self, purpose: &'static str, make: F) -> Result<T, Failure>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = kube::Result<T>>,
    {
        self.repeated(purpose, None, make).await
    }

    /// Makes a write of one object; it may be made twice, too: every write of ours is guarded, so a lost answer
    /// does no harm.
    ///
    /// A conflict ends it only if the answer says that it is about this very object.
    pub(super) async fn write<T, F, Fut>(
        &self,
        purpose: &'static str,
        subject: Subject<'_>,
        make: F,
    ) -> Result<T, Failure>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = kube::Result<T>>,
    {
        self.repeated(purpose, Some(subject), make).await
    }

    async fn repeated<T, F, Fut>(
        &self,
        purpose: &'static str,
        subject: Option<Subject<'_>>,
        make: F,
    ) -> Result<T, Failure>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = kube::Result<T>>,
    {
        let begun = Instant::now();
        let mut pauses = self.chance.backoff(FIRST_PAUSE, LONGEST_PAUSE).build();
        for tries in 1.. {
            let failure = match self.tried(purpose, subject, &make).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if subject.is_some() && failure.leaves_doubt() {
                patience::doubt();
            }
            if failure.is_transient() {
                patience::had().await;
            }
            let pause = pauses.next().unwrap_or_default().max(failure.retry_after().unwrap_or_default());
            if !failure.is_transient() || !patience::allows(begun, tries, pause, failure.is_lasting()) {
                return Err(failure);
            }
            debug!(purpose, ?pause, failure = failure.summary(), "call tried again");
            tokio::time::sleep(pause).await;
        }
        Err(Failure::timeout(purpose))
    }

    /// Tries a call once.
    async fn tried<T, F, Fut>(
        &self,
        purpose: &'static str,
        subject: Option<Subject<'_>>,
        make: F,
    ) -> Result<T, Failure>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = kube::Result<T>>,
    {
        let _permit = loop {
            patience::had().await;
            let permit = match self.calls.try_acquire() {
                Ok(permit) => permit,
                Err(_) => {
                    self.metrics.limit_hit(Limit::ApiCalls);
                    let turn = self.calls.acquire().await;
                    turn.map_err(|_| Failure::broken(purpose, "the handle is closed"))?
                }
            };
            // It may be over by the time that a permit is there.
            if !patience::is_over() {
                break permit;
            }
        };
        // Boxed, since everything that waits for it would carry its size, and be moved with it.
        match tokio::time::timeout(CALL_LIMIT, hearing(Box::pin(make()))).await {
            Ok((Ok(answer), _)) => Ok(answer),
            Ok((Err(error), asked)) => Err(Failure::new(purpose, subject, error).asking(asked)),
            Err(_) => Err(Failure::timeout(purpose)),
        }
    }

    /// The pauses between looks at an object that others keep changing.
    pub(super) fn pauses(&self) -> impl Iterator<Item = Duration> + use<> {
        self.chance.backoff(FIRST_PAUSE, LONGEST_PAUSE).with_max_times(LOOKS).build()
    }
}
