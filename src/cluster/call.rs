//! One call to the API server: limited, timed, and tried again while that can help.

use std::future::Future;
use std::time::Duration;

use backon::{BackoffBuilder, Retryable};
use tracing::debug;

use super::Cluster;
use super::errors::{Failure, Subject};

/// How long one try may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest pause the API server can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The first pause before a call is tried again; it doubles to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);
/// Tries of one call, the first included.
const TRIES: usize = 4;

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
        let attempt = || async {
            let _permit =
                self.calls.acquire().await.map_err(|_| Failure::broken(purpose, "the handle is closed"))?;
            match tokio::time::timeout(CALL_TIMEOUT, make()).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(error)) => Err(Failure::new(purpose, subject, error)),
                Err(_) => Err(Failure::timeout(purpose)),
            }
        };
        attempt
            .retry(self.chance.backoff(FIRST_PAUSE, LONGEST_BACKOFF).with_max_times(TRIES - 1))
            .when(Failure::is_transient)
            .adjust(|failure, planned| match (planned, failure.retry_after()) {
                (Some(planned), Some(asked)) => Some(planned.max(asked.min(LONGEST_PAUSE))),
                (planned, _) => planned,
            })
            .notify(|failure, delay| debug!(purpose, ?delay, failure = failure.summary(), "call tried again"))
            .await
    }
}

impl Cluster {
    /// The pauses between looks at an object that others keep changing; as many as a call has tries after its first.
    pub(super) fn pauses(&self) -> impl Iterator<Item = Duration> + use<> {
        self.chance.backoff(FIRST_PAUSE, LONGEST_BACKOFF).with_max_times(TRIES - 1).build()
    }
}
