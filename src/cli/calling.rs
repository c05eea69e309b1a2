//! Calls within their time.

use std::pin::Pin;
use std::time::Duration;

use tonic::{Request, Response, Status, TimeoutExpired};

/// The longest that one call is given. An adapter may give it less: its answer says that the work goes on, and longer waits
/// go on by watching.
pub const LONGEST_CALL: Duration = Duration::from_secs(120);
/// How long a call takes at the most that only looks.
pub const LOOKING: Duration = Duration::from_secs(30);
/// What a call is given beside its wait.
const ANSWERING: Duration = Duration::from_secs(10);

/// A call on its way.
pub type Call<R> = Pin<Box<dyn Future<Output = Result<Response<R>, Status>>>>;

/// How long a call takes at the most whose wait takes so long.
pub fn limit(patience: Option<Duration>) -> Duration {
    patience.map_or(LONGEST_CALL, |patience| patience.saturating_add(ANSWERING).min(LONGEST_CALL))
}

/// A request with the time that its wait takes.
pub fn timed<R>(request: R, patience: Option<Duration>) -> Request<R> {
    limited(request, limit(patience))
}

/// A request with so much time.
pub fn limited<R>(request: R, limit: Duration) -> Request<R> {
    let mut request = Request::new(request);
    request.set_timeout(limit);
    request
}

/// The answer of a call, whole within its time: the library watches over its beginning alone.
pub async fn within<R>(
    limit: Duration,
    call: impl Future<Output = Result<Response<R>, Status>>,
) -> Result<R, Status> {
    let answered = tokio::time::timeout(limit, call).await;
    answered
        .unwrap_or_else(|_| Err(Status::from_error(Box::new(TimeoutExpired(())))))
        .map(Response::into_inner)
}

/// Resolves when somebody presses Ctrl-C.
pub async fn ctrl_c() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Without a handler the signal ends the process, as it does anyway.
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_call_takes_longer_than_its_limit() {
        let silent = std::future::pending::<Result<Response<()>, Status>>();
        let status = within(LOOKING, silent).await.unwrap_err();
        assert!(super::super::failure::unanswered(&status).is_some(), "{status:?}");
    }
}
