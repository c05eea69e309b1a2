//! Watch: a stream of snapshots, each when something changed, until the asked-for moment.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use futures::stream;
use tokio::time::Instant;

use super::super::view::{self, DeploymentView};
use super::super::{Operations, Target};
use crate::artifacts::{ComponentName, DeploymentState};
use crate::engine::{self, Snapshot, Subscription};
use crate::error::{ErrorKind, Result};
use crate::record::{Held, Moment, Standing};

/// How long nothing may have been shown before the cluster is asked whether there is anything.
const DOUBT: Duration = Duration::from_secs(1);

/// When a watch ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When the deployment is gone.
    Forever,
    /// When every component is ready, or the deployment is gone.
    Ready,
    /// When it is ready or failing, or gone.
    Settled,
    /// When it is gone.
    Gone,
}

/// Why a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchEnd {
    /// Every component is ready.
    Ready,
    /// It is ready or failing.
    Settled,
    /// It is gone.
    Gone,
    /// The adapter shuts down; watch again.
    ServerShutdown,
    /// The caller's deadline is near.
    Deadline,
}

/// One event of a watch.
#[derive(Clone, Debug)]
pub enum WatchUpdate {
    /// The whole deployment, with the components that changed since the last snapshot.
    Snapshot(Arc<DeploymentView>, Vec<ComponentName>),
    /// Nothing has changed; the watch is alive.
    Heartbeat,
    /// The last event.
    Complete(WatchEnd),
}

/// A watch under way.
struct Watching {
    operations: Operations,
    target: Target,
    subscription: Subscription,
    until: Until,
    heartbeat: Duration,
    deadline: Option<Instant>,
    full: bool,
    moment: Option<Moment>,
    last: Option<Arc<DeploymentView>>,
    /// When to judge what was shown again, if nothing changes until then.
    again: Option<Instant>,
    end: Option<WatchEnd>,
    ended: bool,
}

impl Operations {
    /// Follows a deployment: a snapshot at once, then one whenever something changed; ends with a reason.
    ///
    /// `deadline` is when the caller's own deadline ends; `None`: it has none.
    pub async fn watch(
        &self,
        target: Target,
        until: Until,
        heartbeat: Duration,
        deadline: Option<Instant>,
        full: bool,
    ) -> Result<impl Stream<Item = Result<WatchUpdate>> + Send + use<>> {
        // The shared watches may lag; nothing older than this is shown.
        let read = match engine::must_read(&self.engine, &target).await {
            Ok(held) => {
                engine::wake(&self.engine, &held);
                Some(held)
            }
            Err(error) if until == Until::Gone && error.kind() == ErrorKind::DeploymentNotFound => None,
            Err(error) => return Err(error),
        };
        let watching = Watching {
            subscription: engine::subscribe(&self.engine, &target, read.as_ref()),
            operations: self.clone(),
            target,
            until,
            heartbeat,
            deadline,
            full,
            moment: read.as_ref().map(Held::moment),
            last: None,
            again: None,
            end: None,
            ended: false,
        };
        Ok(stream::unfold(watching, |mut watching| async move {
            if watching.ended {
                return None;
            }
            let update = watching.next().await;
            watching.ended = matches!(update, Err(_) | Ok(WatchUpdate::Complete(_)));
            Some((update, watching))
        }))
    }
}

impl Watching {
    async fn next(&mut self) -> Result<WatchUpdate> {
        if let Some(end) = self.end.take() {
            return Ok(WatchUpdate::Complete(end));
        }
        let heartbeat = Instant::now() + self.heartbeat;
        let wake = self.deadline.map_or(heartbeat, |deadline| deadline.min(heartbeat));
        loop {
            // Nothing was ever shown: the watches lag, or it went before they began. Only a look can tell.
            let in_doubt = self.last.is_none() && self.moment.is_some();
            let until = if in_doubt { wake.min(Instant::now() + DOUBT) } else { wake };
            let until = self.again.map_or(until, |again| until.min(again));
            let snapshot = tokio::select! {
                biased;
                snapshot = self.subscription.next(until) => snapshot?,
                () = self.operations.shutting_down() => return Ok(WatchUpdate::Complete(WatchEnd::ServerShutdown)),
            };
            let Some(snapshot) = snapshot else {
                if self.again.take_if(|again| *again <= Instant::now()).is_some() {
                    self.subscription.replay();
                } else if in_doubt {
                    match engine::must_read(&self.operations.engine, &self.target).await {
                        Ok(_) => {}
                        Err(error) if error.kind() == ErrorKind::DeploymentNotFound => {
                            return Ok(WatchUpdate::Complete(WatchEnd::Gone));
                        }
                        Err(error) => return Err(error),
                    }
                }
                if Instant::now() < wake {
                    continue;
                }
                let over = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
                return Ok(if over {
                    WatchUpdate::Complete(WatchEnd::Deadline)
                } else {
                    WatchUpdate::Heartbeat
                });
            };
            if let Some(update) = self.take(&snapshot).await {
                return Ok(update);
            }
        }
    }

    /// What a snapshot means for the caller; `None` if it shows nothing new.
    async fn take(&mut self, snapshot: &Snapshot) -> Option<WatchUpdate> {
        let Some(held) = &snapshot.head else {
            let was_there = self.last.is_some() || self.moment.is_none();
            return was_there.then_some(WatchUpdate::Complete(WatchEnd::Gone));
        };
        match self.moment.as_ref().map(|moment| moment.standing(held)) {
            Some(Standing::Earlier) => return None,
            Some(Standing::Replaced) => return Some(WatchUpdate::Complete(WatchEnd::Gone)),
            Some(Standing::Same | Standing::Later) | None => {}
        }
        let (view, again_in) = view::watched(&self.operations.engine, snapshot, self.full).await?;
        self.again = again_in.map(|again_in| Instant::now() + again_in);
        let last = self.last.as_deref();
        let changed = changed(last, &view);
        let same = last.is_some_and(|last| last.status == view.status && last.etag == view.etag);
        if same {
            return None;
        }
        self.end = end(self.until, &view);
        self.last = Some(Arc::clone(&view));
        Some(WatchUpdate::Snapshot(view, changed))
    }
}

/// Whether the asked-for moment has come.
fn end(until: Until, view: &DeploymentView) -> Option<WatchEnd> {
    let settled = matches!(view.status.state, DeploymentState::Failed | DeploymentState::Degraded);
    match until {
        Until::Ready if view.status.is_ready() => Some(WatchEnd::Ready),
        Until::Settled if view.status.is_ready() || settled => Some(WatchEnd::Settled),
        Until::Ready | Until::Settled | Until::Forever | Until::Gone => None,
    }
}

fn changed(last: Option<&DeploymentView>, now: &DeploymentView) -> Vec<ComponentName> {
    let before = last.map(|view| view.status.components.as_slice()).unwrap_or_default();
    let components =
        now.status.components.iter().filter(|component| !before.iter().any(|earlier| earlier == *component));
    components.map(|component| component.name.clone()).collect()
}
