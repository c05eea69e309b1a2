//! The lock on a deployment: how it is taken, renewed and given back.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use jiff::Timestamp;
use tracing::{info, warn};

use super::Engine;
use crate::artifacts::Target;
use crate::error::{ErrorKind, Result};
use crate::record::{Begin, Head, Held, Operation, Transition, Work};

/// A deployment held by one operation of ours.
pub(super) struct Lock {
    engine: Engine,
    held: Held,
}

impl Lock {
    /// Takes the lock: one compare-and-swap that also writes down what is about to happen.
    ///
    /// `held` is the record as it was read (`None`: there is none yet); `id` is random and unique.
    pub(super) async fn take(
        engine: &Engine,
        target: &Target,
        held: Option<&Held>,
        id: String,
        work: Work,
    ) -> Result<Self> {
        let lease = engine.settings.lease;
        let now = engine.clock.now();
        let dead = held.and_then(|held| held.head.operation.as_ref());
        if let Some(dead) = dead {
            warn!(holder = dead.holder, kind = ?dead.kind, "taking over an operation past its lease");
        }
        let kind = work.kind();
        let operation = Operation {
            id,
            kind,
            epoch: dead.map_or(1, |operation| operation.epoch + 1),
            holder: engine.settings.holder.clone(),
            started: now,
            lease_until: after(now, lease),
            lease_millis: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
            revision: work.revision().cloned(),
        };
        let name = match &work {
            Work::Deploy { template_name, .. } => template_name.clone(),
            Work::Scale { .. } | Work::Teardown { .. } => String::new(),
        };
        let begin = Transition::Begin(Box::new(Begin { operation, work }));
        let held = match held {
            Some(held) => engine.cluster.change(held, &begin).await?,
            None => {
                let head = begin.apply(&Head::new(name, now));
                engine.cluster.create_head(&target.namespace, &target.name, head).await?
            }
        };
        info!(?kind, generation = held.head.generation, "operation started");
        Ok(Self { engine: engine.clone(), held })
    }

    /// The record as this operation last wrote it.
    pub(super) fn held(&self) -> &Held {
        &self.held
    }

    /// Runs work that needs the lock, renewing the lease at a third of its length.
    ///
    /// Fails, dropping the work, when the lock is lost: every write is guarded, so nothing is broken by that.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                output = &mut work => return Ok(output),
                () = tokio::time::sleep(self.engine.settings.lease / 3) => {}
            }
            // A renewal that is under way when the work ends is waited for: the next write needs its version.
            let (output, renewed) = {
                let mut renewal = pin!(self.renewed());
                tokio::select! {
                    output = &mut work => (Some(output), renewal.await),
                    renewed = &mut renewal => (None, renewed),
                }
            };
            match (output, renewed) {
                (Some(output), Ok(held)) => {
                    self.held = held;
                    return Ok(output);
                }
                // The write that follows finds out whether the lock is lost.
                (Some(output), Err(_)) => return Ok(output),
                (None, renewed) => self.held = renewed?,
            }
        }
    }

    /// Writes a later end of the lease; a cluster that cannot be reached is asked again until the lease is over.
    async fn renewed(&self) -> Result<Held> {
        let until = after(self.engine.clock.now(), self.engine.settings.lease);
        match self.engine.cluster.change(&self.held, &Transition::Renew { until }).await {
            Ok(held) => Ok(held),
            Err(error) if may_pass(error.kind()) && !self.is_over() => {
                warn!(context = ?error.context(), "lease not renewed");
                Ok(self.held.clone())
            }
            Err(error) => Err(error),
        }
    }

    fn is_over(&self) -> bool {
        let operation = self.held.head.operation.as_ref();
        operation.is_none_or(|operation| operation.lease_until <= self.engine.clock.now())
    }

    /// Writes the record and keeps the lock.
    pub(super) async fn change(&mut self, transition: &Transition) -> Result<()> {
        self.held = self.engine.cluster.change(&self.held, transition).await?;
        Ok(())
    }

    /// Ends the operation with this change of the record.
    pub(super) async fn release(self, transition: &Transition) -> Result<Held> {
        let held = self.engine.cluster.change(&self.held, transition).await?;
        info!(phase = held.head.phase.as_str(), "operation ended");
        Ok(held)
    }
}

/// Failures of a renewal that say nothing about who holds the lock.
fn may_pass(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ClusterUnreachable | ErrorKind::ClusterThrottled | ErrorKind::ClusterCredentialsRejected
    )
}

/// A random id for an operation.
pub(super) fn operation_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

fn after(now: Timestamp, lease: Duration) -> Timestamp {
    now.checked_add(lease).unwrap_or(now)
}
