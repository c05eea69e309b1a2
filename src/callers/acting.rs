//! What is done for a caller: within its bounds, with its rights, and told in the audit.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::audit::{Audited, Change, Ledger, Task};
use super::bounds::{Counted, Place};
use super::caller::{Caller, Shown};
use super::rights::{Ask, Right};
use super::{Callers, Inner};
use crate::artifacts::{Namespace, Target};
use crate::error::{Error, ErrorKind, Result};

/// How often whoever watches is asked about again.
const AGAIN: Duration = Duration::from_secs(30);
/// How soon where the cluster did not say, and for how long that may go on.
const SOON: Duration = Duration::from_secs(2);
const UNSURE: Duration = Duration::from_secs(120);

/// On whose behalf something is done: one call; cheap to clone.
#[derive(Clone, Default)]
pub struct Acting {
    who: Option<(Callers, Arc<Caller>)>,
    /// What the audit tells of the call, as long as it is open.
    told: Arc<Mutex<Weak<Ledger>>>,
    /// What the call changes, from its beginning until its caller has its answer and no task works at it any more.
    change: Arc<Mutex<Weak<Change>>>,
}

impl fmt::Debug for Acting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Acting").field(&self.name()).finish()
    }
}

impl Acting {
    /// For a caller.
    pub(super) fn of(callers: Callers, caller: Arc<Caller>) -> Self {
        Self { who: Some((callers, caller)), ..Self::default() }
    }

    /// The caller's name as it is written down; `None`: it is not known, or the adapter acts for itself.
    pub fn name(&self) -> Option<&str> {
        self.who
            .as_ref()
            .map(|(_, caller)| caller)
            .filter(|caller| caller.is_known())
            .map(|caller| caller.name())
    }

    /// Fails with CALLER_FORBIDDEN unless the caller has these rights; the adapter has those that the cluster gives it.
    pub async fn may(&self, ask: &Ask) -> Result<()> {
        match &self.who {
            Some((callers, caller)) => callers.0.authority.check(caller, ask).await,
            None => Ok(()),
        }
    }

    /// Fails with CALLER_FORBIDDEN unless the caller has these rights beside those of the deed that it was allowed; the
    /// file of rights knows deeds alone.
    pub async fn may_besides(&self, namespace: &Namespace, rights: BTreeSet<Right>) -> Result<()> {
        match &self.who {
            Some((callers, caller)) => callers.0.authority.check_besides(caller, namespace, rights).await,
            None => Ok(()),
        }
    }

    /// Looks at something: within the caller's bounds and with its rights.
    pub async fn look<T>(&self, ask: &Ask, look: impl Future<Output = Result<T>>) -> Result<T> {
        let _place = self.place(Counted::Looks)?;
        self.may(ask).await?;
        look.await
    }

    /// Answers a call that changes something, and tells in the audit what it is answered: in one line if it is refused
    /// before anything is changed, and otherwise in one before the first write and one afterwards. `word` is that of its
    /// failure.
    pub async fn answer<T, E>(
        &self,
        audited: Audited,
        word: impl FnOnce(&E) -> String,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let Some((_, caller)) = &self.who else { return work.await };
        let ledger = Ledger::open(caller.name(), audited);
        *lock(&self.told) = Arc::downgrade(&ledger);
        let waiting = ledger.waiting();
        drop(ledger);
        let result = work.await;
        waiting.answered(&result, word);
        result
    }

    /// Does something that changes the cluster: within the caller's bounds, with its rights, and with a line in the
    /// audit before. The one afterwards comes with the answer to the call; what nobody answers is a call of its own.
    pub async fn change<T>(
        &self,
        ask: &Ask,
        target: &Target,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let Some((_, caller)) = &self.who else { return work.await };
        let open = lock(&self.told).upgrade();
        if let Some(ledger) = open {
            return self.begin(&ledger, ask, target, work).await;
        }
        let audited = Audited { method: ask.deed.method(), ..Audited::default() };
        let ledger = Ledger::open(caller.name(), audited);
        let waiting = ledger.waiting();
        let result = self.begin(&ledger, ask, target, work).await;
        waiting.answered(&result, Error::word);
        result
    }

    async fn begin<T>(
        &self,
        ledger: &Arc<Ledger>,
        ask: &Ask,
        target: &Target,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        ledger.is_about(target);
        let place = self.place(Counted::Calls)?;
        self.may(ask).await?;
        ledger.begins();
        let change = Change::of(ledger, place);
        *lock(&self.change) = Arc::downgrade(&change);
        let result = work.await;
        drop(change);
        result
    }

    /// A task that works at what the call changes, whether or not its caller waits for it.
    pub fn task(&self) -> Task {
        Task::of(lock(&self.change).upgrade())
    }

    /// A place for a watch, which takes it for as long as it goes on; `None`: it needs none.
    pub fn watch_place(&self) -> Result<Option<Place>> {
        self.place(Counted::Watches)
    }

    /// Whoever is not known cannot be told from others.
    fn place(&self, counted: Counted) -> Result<Option<Place>> {
        let Some((callers, caller)) = self.who.as_ref().filter(|(_, caller)| caller.is_known()) else {
            return Ok(None);
        };
        callers.0.counting.place(caller.name(), counted).map(Some)
    }

    /// Resolves when the caller is not to be shown any more what it has asked for: its credentials have ended or are
    /// not accepted any more, or its rights are gone.
    pub async fn lost(self, ask: Ask) {
        let Some((callers, mut caller)) = self.who.filter(|(_, caller)| caller.is_known()) else {
            return std::future::pending().await;
        };
        let mut unsure: Option<Instant> = None;
        let mut trust = caller.trust().clone();
        loop {
            let pause = if unsure.is_some() { SOON } else { AGAIN };
            let end = caller.end().map(|end| until(&callers.0, end));
            tokio::select! {
                biased;
                () = trust.lost() => return,
                () = tokio::time::sleep(end.map_or(pause, |end| pause.min(end))) => {}
            }
            let checked = async {
                // What it was when the watch began is not asked about: it may have lost a group since.
                let now = callers.0.still(&caller).await?;
                callers.0.authority.check(&now, &ask).await?;
                Ok::<_, Error>(now)
            };
            // Rare and large: a watch at rest does not hold it.
            match Box::pin(checked).await {
                Ok(now) => (unsure, caller) = (None, now),
                Err(error) if passes(error.kind()) => {
                    if unsure.get_or_insert_with(Instant::now).elapsed() > UNSURE {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long until then, and a moment more: it is to be over by then.
fn until(inner: &Inner, end: jiff::Timestamp) -> Duration {
    let left = end.duration_since(inner.clock.now());
    Duration::try_from(left).unwrap_or_default() + Duration::from_millis(10)
}

/// Failures that say nothing about the caller.
fn passes(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ClusterUnreachable
            | ErrorKind::ClusterThrottled
            | ErrorKind::ClusterCredentialsRejected
            | ErrorKind::Overloaded
    )
}

impl Inner {
    /// The caller as it would be let in now; fails if it would not be, or would be somebody else.
    async fn still(&self, caller: &Arc<Caller>) -> Result<Arc<Caller>> {
        let now = self.clock.now();
        if caller.end().is_some_and(|end| end <= now) {
            return Err(super::identifying::invalid());
        }
        let Some(token) = caller.token() else { return Ok(Arc::clone(caller)) };
        let shown = Shown::Token(token.clone());
        let again = self.register.identify(&shown, None, None, now).await?;
        let (then, now) = (caller.identity(), again.identity());
        if (&then.user, &then.uid) == (&now.user, &now.uid) {
            Ok(Arc::new(again))
        } else {
            Err(super::identifying::invalid())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;
    use crate::artifacts::DeploymentName;
    use crate::callers::{Authentication, Authorization, Bounds, Deed};
    use crate::clock::Clock;
    use crate::cluster::Cluster;

    fn file(name: &str, text: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("panamax-acting-{}-{name}", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        file.unwrap().write_all(text.as_bytes()).unwrap();
        path
    }

    fn nowhere() -> Cluster {
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Err::<http::Response<http_body_util::Full<bytes::Bytes>>, tower::BoxError>(
                "nobody is asked".into(),
            )
        });
        Cluster::over(service, 1)
    }

    async fn acting(callers: &Callers) -> Acting {
        let shown = Shown::authorization([&b"Bearer a-long-token-of-alice"[..]]);
        callers.acting_for(callers.identify(&shown, None, None).await.unwrap())
    }

    fn callers(name: &str) -> (Callers, std::path::PathBuf) {
        let tokens = file(&format!("{name}-tokens"), "alice a-long-token-of-alice ops\n");
        let rights = file(&format!("{name}-rights"), "group:ops * *\n");
        let bounds = Bounds { calls: 1, reads: 1, watches: 1 };
        let known = (Authentication::Tokens(tokens.clone()), Authorization::Rules(rights));
        (Callers::new(known.0, known.1, bounds, &nowhere(), Clock::system()).unwrap(), tokens)
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_ends_when_its_caller_has_lost_the_group_that_it_may_watch_by() {
        let (callers, tokens) = callers("lost");
        let lost = acting(&callers).await.lost(Ask::new(Deed::Watch, Namespace::new("shop").ok().as_ref()));
        tokio::pin!(lost);
        assert!(tokio::time::timeout(AGAIN * 3, &mut lost).await.is_err());
        std::fs::write(tokens, "alice a-long-token-of-alice another-group\n").unwrap();
        let followed = async {
            tokio::select! {
                biased;
                () = callers.follow() => {}
                () = lost => {}
            }
        };
        assert!(tokio::time::timeout(AGAIN * 3, followed).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_open_until_its_work_has_ended() {
        let (callers, _) = callers("open");
        let namespace = Namespace::new("shop").unwrap();
        let target = Target { namespace: namespace.clone(), name: DeploymentName::new("web").unwrap() };
        let ask = Ask::new(Deed::Deploy, Some(&namespace));
        let first = acting(&callers).await;
        // Its caller leaves, and a task works on.
        let mut task = None;
        let work = async {
            task = Some(first.task());
            std::future::pending::<Result<()>>().await
        };
        let left = tokio::time::timeout(AGAIN, first.change(&ask, &target, work)).await;
        assert!(left.is_err());
        let second = acting(&callers).await;
        let refused = second.change(&ask, &target, async { Ok(()) }).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Overloaded);
        task.take().unwrap().ended(&Ok(()));
        assert_eq!(second.change(&ask, &target, async { Ok(()) }).await, Ok(()));
    }
}
