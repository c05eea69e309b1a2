//! The lock on a deployment: who holds it, how it is taken, renewed and taken over.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Operations, Target};
use crate::cluster::{Cluster, Head, HeadRef, Held, Operation, OperationKind, Patience, Phase};
use crate::error::{Error, ErrorKind, Result};

/// Says whether an operation may start on a deployment as it was read.
///
/// Fails with OPERATION_IN_PROGRESS while another one holds it. An operation past its lease is taken over:
/// its inventory says what may be there.
pub(super) fn gate(held: &Held) -> Result<()> {
    check_readable(held)?;
    if let Some(operation) = &held.head.operation {
        let remaining = operation.remaining(Timestamp::now());
        if remaining > Duration::ZERO {
            return Err(in_progress(held, operation, remaining));
        }
        warn!(holder = operation.holder, kind = ?operation.kind, "operation past its lease is taken over");
    }
    Ok(())
}

/// Refuses a record of a later version of the adapter.
pub(super) fn check_readable(held: &Held) -> Result<()> {
    if held.head.is_readable() {
        return Ok(());
    }
    Err(Error::internal(format!("the head of {} has schema {}", held.name, held.head.schema))
        .prefixed("the deployment was made by a later version of the adapter: "))
}

/// Compares the caller's etag; an empty one matches everything.
pub(super) fn check_etag(held: Option<&Held>, etag: &str) -> Result<()> {
    let now = held.map(Held::etag).unwrap_or_default();
    if etag.is_empty() || etag == now {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::EtagMismatch,
        "the deployment has changed since its etag was read; read it again with GetDeployment",
    )
    .with("etag", now)
    .retry_after(Duration::from_millis(100)))
}

fn in_progress(held: &Held, operation: &Operation, remaining: Duration) -> Error {
    let verb = match operation.kind {
        OperationKind::Deploy => "being deployed",
        OperationKind::Scale => "being scaled",
        OperationKind::Teardown => "being torn down",
    };
    Error::new(
        ErrorKind::OperationInProgress,
        format!("deployment {} is {verb} by {} since {}", held.name, operation.holder, operation.started),
    )
    .with("holder", operation.holder.clone())
    .with("since", operation.started.to_string())
    // Most operations end long before their lease does.
    .retry_after(remaining.min(Duration::from_secs(1)))
}

/// The answer to a write on a deployment that is being torn down.
pub(super) fn being_deleted(held: &Held) -> Error {
    Error::new(
        ErrorKind::OperationInProgress,
        format!("deployment {} is being torn down; wait until it is gone, or call Teardown again", held.name),
    )
    .retry_after(Duration::from_secs(1))
}

/// The answer when others keep writing the record.
pub(super) fn being_changed(held: &Held) -> Error {
    Error::new(
        ErrorKind::OperationInProgress,
        format!("deployment {} keeps changing; look again and retry", held.name),
    )
    .retry_after(Duration::from_secs(1))
}

/// A deployment held by one operation of ours.
pub(super) struct Lock {
    cluster: Cluster,
    held: Held,
    lease: Duration,
}

impl Lock {
    /// Takes the lock: one compare-and-swap that also writes down what is about to happen.
    ///
    /// `held` is the head as it was read (`None`: there is none yet); `head` is the new record.
    pub(super) async fn take(
        operations: &Operations,
        target: &Target,
        held: Option<&Held>,
        mut head: Head,
        kind: OperationKind,
        id: String,
        revision: Option<HeadRef>,
    ) -> Result<Self> {
        let lease = operations.settings.lease;
        let now = Timestamp::now();
        let epoch =
            held.and_then(|held| held.head.operation.as_ref()).map_or(1, |operation| operation.epoch + 1);
        head.generation += 1;
        head.updated = now;
        head.operation = Some(Operation {
            id,
            kind,
            epoch,
            holder: operations.settings.holder.clone(),
            started: now,
            lease_until: after(now, lease),
            lease_millis: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
            revision,
        });
        let cluster = operations.cluster.clone();
        let held = match held {
            Some(held) => cluster.write_head(held, head).await?,
            None => cluster.create_head(&target.namespace, &target.name, head).await?,
        };
        info!(?kind, generation = held.head.generation, "operation started");
        Ok(Self { cluster, held, lease })
    }

    /// The head as this operation last wrote it.
    pub(super) fn held(&self) -> &Held {
        &self.held
    }

    /// Runs work that needs the lock, renewing the lease at a third of its length.
    ///
    /// Fails, dropping the work, when the lock is lost: every write is guarded, so nothing is broken by that.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T> {
        let patience = Patience::until(self.lease_end(), self.lease);
        let mut work = pin!(patience.during(work));
        loop {
            tokio::select! {
                output = &mut work => return Ok(output),
                () = tokio::time::sleep(self.lease / 3) => {}
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
                (None, renewed) => {
                    self.held = renewed?;
                    patience.extend(self.lease_end());
                }
            }
        }
    }

    /// Writes a later end of the lease; a cluster that cannot be reached is asked again until the lease is over.
    async fn renewed(&self) -> Result<Held> {
        let mut head = self.held.head.clone();
        let Some(operation) = head.operation.as_mut() else {
            return Err(Error::internal("the lock has no operation"));
        };
        operation.lease_until = after(Timestamp::now(), self.lease);
        match self.cluster.renew_head(&self.held, head).await {
            Ok(held) => Ok(held),
            Err(error) if may_pass(error.kind()) && !self.is_over() => {
                warn!(context = ?error.context(), "lease not renewed");
                Ok(self.held.clone())
            }
            Err(error) => Err(error),
        }
    }

    /// When the lease is over as it was last written.
    fn lease_end(&self) -> Instant {
        let until = self.held.head.operation.as_ref().map(|operation| operation.lease_until);
        let left = until.map(|until| until.duration_since(Timestamp::now()));
        Instant::now() + left.and_then(|left| Duration::try_from(left).ok()).unwrap_or_default()
    }

    fn is_over(&self) -> bool {
        let operation = self.held.head.operation.as_ref();
        operation.is_none_or(|operation| operation.lease_until <= Timestamp::now())
    }

    /// Writes the head and keeps the lock.
    pub(super) async fn write(&mut self, head: Head) -> Result<()> {
        self.held = self.cluster.write_head(&self.held, head).await?;
        Ok(())
    }

    /// Ends the operation: writes the head without it.
    pub(super) async fn release(self, mut head: Head, phase: Phase) -> Result<Held> {
        head.operation = None;
        head.phase = phase;
        head.updated = Timestamp::now();
        let held = self.cluster.write_head(&self.held, head).await?;
        info!(phase = phase.as_str(), "operation ended");
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
