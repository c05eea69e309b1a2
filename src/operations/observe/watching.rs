//! Watch: a stream of snapshots, each when something changed, until the asked-for moment.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, stream};
use tokio::time::Instant;

use super::super::view::{self, DeploymentView};
use super::super::{Operations, Target};
use crate::artifacts::{ComponentName, DeploymentState};
use crate::callers::{Ask, Deed, Place};
use crate::engine::{self, Snapshot, Subscription};
use crate::error::{ErrorKind, Result};
use crate::record::{HeadRef, Moment, Record, Standing};
use crate::status::{self, ComponentState, ComponentStatus, Status};
use crate::template::Template;

/// How long nothing may have been shown before the cluster is asked whether there is anything.
const DOUBT: Duration = Duration::from_secs(1);

/// How long the Events of a namespace are shown to all who watch in it, before they are read again.
const EVENTS_FOR: Duration = Duration::from_secs(5);
/// How old they may be that are shown with a change: it waits for nothing, and they are read right after it.
const EVENTS_BESIDE: Duration = Duration::from_secs(60);

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
    /// The caller's credentials have ended, or its right.
    AuthorizationLost,
}

/// One event of a watch.
#[derive(Clone, Debug)]
pub enum WatchUpdate {
    /// The whole deployment, with the components that changed since the last snapshot.
    Snapshot(Arc<DeploymentView>, Vec<ComponentName>),
    /// Nothing has changed; the watch is alive.
    Heartbeat {
        /// Whether the cluster answers at the moment: if not, something may have changed.
        is_reachable: bool,
    },
    /// The last event.
    Complete(WatchEnd),
}

/// A watch under way.
struct Watching {
    operations: Operations,
    /// Resolves when the caller may not watch any more.
    lost: BoxFuture<'static, ()>,
    _place: Option<Place>,
    target: Target,
    subscription: Subscription,
    until: Until,
    heartbeat: Duration,
    deadline: Option<Instant>,
    full: bool,
    /// The template of the revision that was last shown; FULL only.
    template: Option<(HeadRef, Option<Arc<Template>>)>,
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
        let ask = Ask::new(Deed::Watch, Some(&target.namespace)).with_events(full);
        let acting = self.engine.acting();
        let place = acting.watch_place()?;
        // The shared watches may lag; nothing older than this is shown.
        let read = match self.looking(&ask, engine::must_read(&self.engine, &target)).await {
            Ok(record) => {
                engine::wake(&self.engine, &record);
                Some(record)
            }
            Err(error) if until == Until::Gone && error.kind() == ErrorKind::DeploymentNotFound => None,
            Err(error) => return Err(error),
        };
        let watching = Watching {
            subscription: engine::subscribe(&self.engine, &target, read.as_ref()),
            operations: self.clone(),
            lost: acting.clone().lost(ask).boxed(),
            _place: place,
            target,
            until,
            heartbeat,
            deadline,
            full,
            template: None,
            moment: read.as_ref().map(Record::moment),
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
                () = &mut self.lost => return Ok(WatchUpdate::Complete(WatchEnd::AuthorizationLost)),
                snapshot = self.subscription.next(until) => snapshot?,
                () = self.operations.shutting_down() => return Ok(WatchUpdate::Complete(WatchEnd::ServerShutdown)),
            };
            let Some(snapshot) = snapshot else {
                if self.again.take_if(|again| *again <= Instant::now()).is_some() {
                    self.subscription.replay();
                } else if in_doubt {
                    // Rare and large: a watch at rest does not hold it.
                    match Box::pin(engine::must_read(&self.operations.engine, &self.target)).await {
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
                    WatchUpdate::Heartbeat { is_reachable: self.operations.is_cluster_reachable() }
                });
            };
            if let Some(update) = self.take(&snapshot).await? {
                return Ok(update);
            }
        }
    }

    /// What a snapshot means for the caller; `None` if it shows nothing new.
    async fn take(&mut self, snapshot: &Snapshot) -> Result<Option<WatchUpdate>> {
        let Some(record) = &snapshot.head else {
            let was_there = self.last.is_some() || self.moment.is_none();
            return Ok(was_there.then_some(WatchUpdate::Complete(WatchEnd::Gone)));
        };
        match self.moment.as_ref().map(|moment| moment.standing(record)) {
            Some(Standing::Earlier) => return Ok(None),
            Some(Standing::Replaced) => return Ok(Some(WatchUpdate::Complete(WatchEnd::Gone))),
            Some(Standing::Same | Standing::Later) | None => {}
        }
        let engine = &self.operations.engine;
        let Some((mut view, again_in)) = view::watched(engine, snapshot, self.full).await else {
            return Ok(None);
        };
        self.again = again_in.map(|again_in| Instant::now() + again_in);
        if self.full {
            view = Box::pin(self.filled(record, snapshot, &view)).await?;
        }
        let last = self.last.as_deref();
        let changed = changed(last, &view);
        if last.is_some_and(|last| is_same(last, &view) && last.events == view.events) {
            return Ok(None);
        }
        self.end = end(self.until, &view);
        self.last = Some(Arc::clone(&view));
        Ok(Some(WatchUpdate::Snapshot(view, changed)))
    }

    /// The view with its template and with what happened.
    ///
    /// Events come after what they tell of, and nobody watches them: a change is followed by one look at them, later, and
    /// all who watch in the namespace share what is read.
    async fn filled(
        &mut self,
        record: &Record,
        snapshot: &Snapshot,
        view: &Arc<DeploymentView>,
    ) -> Result<Arc<DeploymentView>> {
        let engine = &self.operations.engine;
        let current = record.head.current.as_ref();
        if self.template.as_ref().map(|(shown, _)| shown) != current {
            let read = async {
                let revision = engine::read_revision(engine, &self.target, current).await?;
                Ok(revision.map(|one| Arc::new(one.template)))
            };
            let template = view::template(snapshot, read).await?;
            self.template = current.cloned().map(|current| (current, template));
        }
        let template = self.template.as_ref().and_then(|(_, template)| template.clone());
        let has_changed = self.last.as_deref().is_none_or(|last| !is_same(last, view));
        let asked = Instant::now();
        let no_older_than = if has_changed && self.last.is_some() { EVENTS_BESIDE } else { EVENTS_FOR };
        let Some(read) = engine::recent_happenings(engine, &record.namespace, no_older_than).await else {
            // The rest is true without them; the next look may have them.
            let events = self.last.as_ref().map(|last| last.events.clone()).unwrap_or_default();
            return Ok(Arc::new(DeploymentView { template, events, ..DeploymentView::clone(view) }));
        };
        if read.read < asked || has_changed {
            let later = read.read + EVENTS_FOR;
            self.again = Some(self.again.map_or(later, |again| again.min(later)));
        }
        Ok(view::filled(snapshot, view, read.read, || DeploymentView {
            template,
            events: status::happenings(record, &snapshot.observed, &read.all),
            ..DeploymentView::clone(view)
        }))
    }
}

/// Whether nothing of a deployment has changed but what happened to its objects.
fn is_same(last: &DeploymentView, now: &DeploymentView) -> bool {
    last.status == now.status && last.etag == now.etag
}

/// Whether a deployment is failing, and nothing of it changes of itself any more: a component beside the one that has
/// failed may be on its way still.
///
/// One whose components are all on their way and that is degraded all the same is held up by what cannot be deleted.
fn is_failing(status: &Status) -> bool {
    let is_failing = matches!(status.state, DeploymentState::Failed | DeploymentState::Degraded);
    let moves = |component: &ComponentStatus| {
        matches!(component.state, ComponentState::Pending | ComponentState::Progressing)
    };
    let is_stuck = status.of_components == DeploymentState::Deploying;
    is_failing && (is_stuck || !status.components.iter().any(moves))
}

/// Whether the asked-for moment has come.
fn end(until: Until, view: &DeploymentView) -> Option<WatchEnd> {
    let settled = is_failing(&view.status);
    if view.is_in_doubt() {
        return None;
    }
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
