//! Waits with a view of what is waited for; Ctrl-C ends a wait and never the operation.

use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tonic::{Request, Response, Status, Streaming, TimeoutExpired};

use super::connection::Client;
use super::failure::{Failure, INTERRUPTED, REFUSED, TIMED_OUT, reason};
use super::findings::Texts;
use super::unanswered::Told;
use super::view::View;
use super::words::said;
use crate::cli::PROGRAM;
use panamax_kubernetes_adapter_client as proto;
use panamax_kubernetes_adapter_client::watch_deployment_response::Event;

/// The longest that an adapter takes for one call; longer waits go on by watching.
pub const LONGEST_CALL: Duration = Duration::from_secs(120);
/// How long a call takes at the most that only looks.
pub const LOOKING: Duration = Duration::from_secs(30);
/// What an adapter keeps of a call's time for its answer, at the most.
const ANSWERING: Duration = Duration::from_secs(10);
/// How long a deployment that is not there yet is left alone before it is looked for again.
const PAUSE: Duration = Duration::from_millis(250);

/// What is true of every call that only checks, whatever became of it.
const CHECKED: &str = "it was only to be checked, so nothing is changed";

/// A call on its way.
pub type Call<R> = Pin<Box<dyn Future<Output = Result<Response<R>, Status>>>>;

/// What a wait is for.
pub struct Wait<'c> {
    /// The adapter.
    pub client: &'c Client,
    /// The namespace as the request has it.
    pub namespace: String,
    /// The deployment, if its name is known.
    pub name: Option<String>,
    /// How long to wait; `None`: for the answer alone.
    pub patience: Option<Duration>,
    /// Whether the call changes anything: one that only checks leaves nothing that could go on.
    pub changes: bool,
    /// What the deployment has to come to.
    pub until: proto::WatchUntil,
    /// Whether the wait goes on by watching where the adapter's own has ended.
    pub goes_on: bool,
}

/// How a wait has ended.
pub enum Waited<R> {
    /// With the answer.
    Answered(R),
    /// With what was waited for, seen by watching.
    Seen,
}

/// How long a call takes at the most whose wait takes so long.
fn limit(patience: Option<Duration>) -> Duration {
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

impl Wait<'_> {
    /// Waits for the answer of a call, and shows the deployment meanwhile.
    pub async fn on<R>(
        &self,
        call: Call<R>,
        view: &mut View<'_>,
        texts: &Texts<'_>,
    ) -> Result<Waited<R>, Failed> {
        let began = Instant::now();
        let mut call = pin!(within(limit(self.patience), call));
        let mut sight = Sight::new(self);
        let mut progress = Progress::default();
        let mut stopped = pin!(ctrl_c());
        loop {
            tokio::select! {
                biased;
                () = &mut stopped => return Err(self.interrupted(progress.is_taken).into()),
                answered = &mut call => match answered {
                    Ok(response) => return Ok(Waited::Answered(response)),
                    Err(status) => {
                        view.clear()?;
                        let until = self.patience.map(|patience| began + patience);
                        let is_out_of_time = reason(&status) == "WAIT_TIMEOUT" && self.goes_on
                            && began.elapsed() + ANSWERING >= LONGEST_CALL;
                        return match until.filter(|until| is_out_of_time && *until > Instant::now()) {
                            Some(until) => self.rest(sight, until, view).await.map_err(Failed::from),
                            None => Err(self.refused(status, began.elapsed(), texts).await),
                        };
                    }
                },
                seen = sight.next(), if self.patience.is_some() && self.name.is_some() => {
                    if let Seen::Snapshot(deployment) = seen {
                        progress.see(&deployment);
                        view.show(&deployment)?;
                    }
                }
            }
        }
    }

    /// A refusal; one that comes long before the time is up tells of a failure, not of a long wait.
    async fn refused(&self, status: Status, waited: Duration, texts: &Texts<'_>) -> Failed {
        let told = self.client.refused(&status, texts, limit(self.patience)).await;
        let Told { mut failure, is_open } = told;
        let longest = self.patience.unwrap_or_default().min(LONGEST_CALL.saturating_sub(ANSWERING));
        if failure.code == TIMED_OUT && reason(&status) == "WAIT_TIMEOUT" && waited + ANSWERING < longest {
            failure.code = REFUSED;
        }
        if !self.changes && (is_open || failure.code == TIMED_OUT) {
            failure.text.push_str(&format!("hint: {CHECKED}; ask again\n"));
        } else if is_open {
            failure.text.push_str(&format!("hint: the operation may go on; {}\n", self.advice()));
        } else if failure.code == TIMED_OUT {
            failure.text.push_str(&format!("hint: {}\n", self.advice()));
        }
        Failed { failure, status: Some(status) }
    }

    /// Watches for what is left of the patience.
    async fn rest<R>(
        &self,
        mut sight: Sight<'_>,
        until: Instant,
        view: &mut View<'_>,
    ) -> Result<Waited<R>, Failure> {
        let mut last = proto::Deployment::default();
        sight.watch_until(self.until);
        let mut stopped = pin!(ctrl_c());
        loop {
            tokio::select! {
                biased;
                () = &mut stopped => return Err(self.interrupted(true)),
                () = sleep_until(until) => {
                    view.clear()?;
                    let text = format!("the wait has ended, and the operation goes on; {}", self.advice());
                    return Err(Failure::new(TIMED_OUT, text));
                }
                seen = sight.next() => match seen {
                    Seen::Snapshot(deployment) => {
                        view.show(&deployment)?;
                        last = *deployment;
                    }
                    Seen::Complete => {
                        view.clear()?;
                        return end(&last, self.until).map(|()| Waited::Seen);
                    }
                }
            }
        }
    }

    /// Says whether the operation goes on, as far as that is known, and how to see what becomes of it.
    fn interrupted(&self, is_taken: bool) -> Failure {
        if !self.changes {
            let text = format!("interrupted: {CHECKED}\n");
            return Failure { code: INTERRUPTED, text };
        }
        let goes = if is_taken { "goes on" } else { "may go on" };
        let advice = self.advice();
        let text = format!("interrupted: the wait has ended, and the operation {goes}; {advice}\n");
        Failure { code: INTERRUPTED, text }
    }

    fn advice(&self) -> String {
        let namespace =
            if self.namespace.is_empty() { String::new() } else { format!(" -n {}", self.namespace) };
        let flags = &self.client.flags;
        match &self.name {
            Some(name) => format!("see what becomes of it with `{PROGRAM} watch {name}{namespace}{flags}`"),
            None => format!("see what becomes of it with `{PROGRAM} list{namespace}{flags}`"),
        }
    }
}

/// What is known of an operation before its answer.
#[derive(Default)]
struct Progress {
    /// Revision and time of the last change, as they were when the deployment was first seen.
    before: Option<(i32, Option<prost_types::Timestamp>)>,
    /// Whether the adapter has taken the request: something has begun since then.
    is_taken: bool,
}

impl Progress {
    fn see(&mut self, deployment: &proto::Deployment) {
        let now = (deployment.revision, deployment.update_time);
        // What is under way already belongs to this operation: another one would have refused it.
        let is_under_way = matches!(
            deployment.state(),
            proto::DeploymentState::Deploying | proto::DeploymentState::Deleting
        );
        self.is_taken |= is_under_way || self.before.is_some_and(|before| before != now);
        self.before.get_or_insert(now);
    }
}

/// A failed call, with its status if somebody has answered.
pub struct Failed {
    /// What is told.
    pub failure: Failure,
    /// The answer.
    pub status: Option<Status>,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self { failure, status: None }
    }
}

/// Whether a deployment that came to rest came to what was waited for.
pub fn end(last: &proto::Deployment, until: proto::WatchUntil) -> Result<(), Failure> {
    let is_well = matches!(last.state(), proto::DeploymentState::Active | proto::DeploymentState::Stopped);
    if until == proto::WatchUntil::Gone || is_well {
        return Ok(());
    }
    let state = said::<proto::DeploymentState>(last.state);
    Err(Failure::new(REFUSED, format!("{} came to rest as {state}: {}", last.name, last.message)))
}

/// What a watch has shown.
enum Seen {
    Snapshot(Box<proto::Deployment>),
    /// It came to what was waited for.
    Complete,
}

/// A watch that begins as soon as the deployment is there, and again where it breaks.
struct Sight<'c> {
    client: &'c Client,
    request: proto::WatchDeploymentRequest,
    stream: Option<Streaming<proto::WatchDeploymentResponse>>,
}

impl<'c> Sight<'c> {
    fn new(wait: &Wait<'c>) -> Self {
        let request = proto::WatchDeploymentRequest {
            namespace: wait.namespace.clone(),
            name: wait.name.clone().unwrap_or_default(),
            ..Default::default()
        };
        Self { client: wait.client, request, stream: None }
    }

    /// Begins anew, with an end. Until then there is none: what is at rest before an operation begins would end it.
    fn watch_until(&mut self, until: proto::WatchUntil) {
        self.request.until = until.into();
        self.stream = None;
    }

    /// The next that is seen. It may be dropped and asked again: nothing that has come is lost.
    async fn next(&mut self) -> Seen {
        loop {
            let Some(stream) = &mut self.stream else {
                match self.client.deployments().watch_deployment(self.request.clone()).await {
                    Ok(opened) => self.stream = Some(opened.into_inner()),
                    // A first Deploy has written nothing yet; the call that is waited for tells every failure.
                    Err(_) => sleep(PAUSE).await,
                }
                continue;
            };
            match stream.message().await.map(|message| message.and_then(|message| message.event)) {
                Ok(Some(Event::Snapshot(deployment))) => return Seen::Snapshot(Box::new(deployment)),
                Ok(Some(Event::Complete(complete))) => {
                    let reason = complete.reason();
                    self.stream = None;
                    if matches!(
                        reason,
                        proto::WatchCompleteReason::Ready
                            | proto::WatchCompleteReason::Settled
                            | proto::WatchCompleteReason::Gone
                    ) {
                        return Seen::Complete;
                    }
                    sleep(PAUSE).await;
                }
                Ok(Some(Event::Heartbeat(_))) => {}
                Ok(None) | Err(_) => {
                    self.stream = None;
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_goes_on_once_something_of_it_was_seen() {
        let seen = |states: &[(proto::DeploymentState, i32)]| {
            let mut progress = Progress::default();
            for (state, revision) in states {
                let state = (*state).into();
                progress.see(&proto::Deployment { state, revision: *revision, ..Default::default() });
            }
            progress.is_taken
        };
        use proto::DeploymentState::{Active, Deleting, Deploying};
        assert!(!seen(&[]) && !seen(&[(Active, 1)]) && !seen(&[(Active, 1), (Active, 1)]));
        assert!(seen(&[(Deploying, 1)]) && seen(&[(Active, 1), (Deleting, 1)]));
        assert!(seen(&[(Active, 1), (Active, 2)]));
    }

    #[tokio::test(start_paused = true)]
    async fn no_call_takes_longer_than_its_limit() {
        let silent = std::future::pending::<Result<Response<()>, Status>>();
        let status = within(LOOKING, silent).await.unwrap_err();
        assert!(super::super::failure::unanswered(&status).is_some(), "{status:?}");
    }
}
