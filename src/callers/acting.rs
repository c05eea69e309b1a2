//! What is done for a caller: within its bounds, with its rights, and told in the audit.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::audit::{Audit, Audited};
use super::bounds::{Counted, Place};
use super::caller::{Caller, Shown};
use super::rights::Ask;
use super::{Callers, Inner};
use crate::error::{ErrorKind, Result};

/// How often whoever watches is asked about again.
const AGAIN: Duration = Duration::from_secs(30);
/// How soon where the cluster did not say, and for how long that may go on.
const SOON: Duration = Duration::from_secs(2);
const UNSURE: Duration = Duration::from_secs(120);

/// On whose behalf something is done; cheap to clone.
#[derive(Clone, Default)]
pub struct Acting(Option<(Callers, Arc<Caller>)>);

impl fmt::Debug for Acting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Acting").field(&self.name()).finish()
    }
}

impl Acting {
    /// For a caller.
    pub(super) fn of(callers: Callers, caller: Arc<Caller>) -> Self {
        Self(Some((callers, caller)))
    }

    /// The caller's name as it is written down; `None`: it is not known, or the adapter acts for itself.
    pub fn name(&self) -> Option<&str> {
        self.0
            .as_ref()
            .map(|(_, caller)| caller)
            .filter(|caller| caller.is_known())
            .map(|caller| caller.name())
    }

    /// Fails with CALLER_FORBIDDEN unless the caller has these rights; the adapter has those that the cluster gives it.
    pub async fn may(&self, ask: &Ask) -> Result<()> {
        match &self.0 {
            Some((callers, caller)) => callers.0.authority.check(caller, ask).await,
            None => Ok(()),
        }
    }

    /// Does something that changes the cluster: within the caller's bounds, with its rights, and with a line in the
    /// audit before and afterwards.
    pub async fn change<T>(
        &self,
        ask: &Ask,
        audited: &Audited,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let Some((_, caller)) = &self.0 else { return work.await };
        let begun = async {
            let place = self.place(Counted::Calls)?;
            self.may(ask).await?;
            Ok(place)
        };
        let _place = begun.await.inspect_err(|error| Audit::refused(caller.name(), audited, error))?;
        let audit = Audit::begin(caller.name(), audited);
        let result = work.await;
        audit.end(&result);
        result
    }

    /// A place for a watch, which takes it for as long as it goes on; `None`: it needs none.
    pub fn watch_place(&self) -> Result<Option<Place>> {
        self.place(Counted::Watches)
    }

    /// Whoever is not known cannot be told from others.
    fn place(&self, counted: Counted) -> Result<Option<Place>> {
        let Some((callers, caller)) = self.0.as_ref().filter(|(_, caller)| caller.is_known()) else {
            return Ok(None);
        };
        callers.0.counting.place(caller.name(), counted).map(Some)
    }

    /// Resolves when the caller is not to be shown any more what it has asked for: its credentials have ended or are
    /// not accepted any more, or its rights are gone.
    pub async fn lost(self, ask: Ask) {
        let Some((callers, caller)) = self.0.as_ref().filter(|(_, caller)| caller.is_known()) else {
            return std::future::pending().await;
        };
        let mut unsure: Option<Instant> = None;
        loop {
            let pause = if unsure.is_some() { SOON } else { AGAIN };
            let end = caller.end().map(|end| until(&callers.0, end));
            tokio::time::sleep(end.map_or(pause, |end| pause.min(end))).await;
            let checked = async {
                callers.0.still(caller).await?;
                self.may(&ask).await
            };
            match checked.await {
                Ok(()) => unsure = None,
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
    /// Fails if the caller would not be let in any more.
    async fn still(&self, caller: &Caller) -> Result<()> {
        let now = self.clock.now();
        if caller.end().is_some_and(|end| end <= now) {
            return Err(super::identifying::invalid());
        }
        let Some(token) = caller.token() else { return Ok(()) };
        let shown = Shown::Token(token.clone());
        let again = self.register.identify(&shown, None, None, now).await?;
        if again.name() == caller.name() { Ok(()) } else { Err(super::identifying::invalid()) }
    }
}
