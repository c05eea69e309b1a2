//! The lock on a deployment: how it is taken, renewed and given back.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{info, warn};

use super::awake::wake;
use super::{Engine, outlived, telling};
use crate::artifacts::Target;
use crate::cluster::Patience;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{self, Outcome};
use crate::record::{Begin, Head, Operation, OperationKind, Record, Request, Transition, Work};

/// A deployment held by one operation of ours.
pub(super) struct Lock {
    engine: Engine,
    record: Record,
    /// The record on which it was taken; `None`: there was none.
    before: Option<Head>,
    /// When others may take it over, by our own monotonic clock: a lease's length after the last renewal was sent.
    until: Instant,
    is_released: bool,
    /// Whether it was taken from an operation whose holder has died.
    has_taken_over: bool,
    /// Whether the operation has not done what it was begun for, however well it ends.
    has_failed: bool,
    /// Whether nobody has said what became of one of its writes.
    is_in_doubt: bool,
    /// What it is taken for, and since when; measured at its end.
    measured: (metrics::Operation, Instant),
}

impl Drop for Lock {
    /// Leaves what a lock was taken for to the keeper: the operation has failed, or the record could not be written.
    fn drop(&mut self) {
        let is_done = self.is_released && !self.has_failed;
        let outcome = if is_done { Outcome::Done } else { Outcome::Failed };
        let (operation, begun) = self.measured;
        let took = self.engine.clock.elapsed().saturating_duration_since(begun);
        self.engine.cluster.metrics().operation(operation, outcome, took);
        if !self.is_released {
            wake(&self.engine, &self.record);
        }
    }
}

impl Lock {
    /// Takes the lock: one compare-and-swap that also writes down what is about to happen.
    ///
    /// `record` is the record as it was read (`None`: there is none yet); `id` is random and unique; `request`
    /// is what its caller has named, if anything.
    pub(super) async fn take(
        engine: &Engine,
        target: &Target,
        record: Option<&Record>,
        id: String,
        work: Work,
        request: Option<Request>,
    ) -> Result<Self> {
        let lease = engine.settings.lease;
        let now = engine.clock.now();
        let dead = record.and_then(|record| record.head.operation.as_ref());
        // An update that failed takes itself over to go back: its lease has not ended.
        let is_over =
            |record: &Record, dead: &Operation| dead.remaining(engine.unrenewed_for(record)).is_zero();
        let died = record.zip(dead).filter(|(record, dead)| is_over(record, dead)).map(|(_, dead)| dead);
        if let Some(dead) = dead {
            warn!(holder = dead.holder, kind = ?dead.kind, "taking over an operation");
        }
        let kind = work.kind();
        let until = engine.clock.elapsed() + lease;
        let operation = Operation {
            id,
            kind,
            epoch: dead.map_or(1, |operation| operation.epoch + 1),
            holder: engine.settings.holder.clone(),
            started: now,
            lease_until: after(now, lease),
            lease_millis: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
            revision: work.revision().cloned(),
            request,
            back_to: work.back_to().cloned(),
            rollback_of: work.rollback_of(),
            by: engine.by.as_deref().map(str::to_owned),
        };
        let name = match &work {
            Work::Deploy { template_name, .. } => template_name.clone(),
            Work::Scale { .. } | Work::Teardown { .. } => String::new(),
        };
        let begin = Transition::Begin(Box::new(Begin { operation, work }));
        let (before, record) = match record {
            Some(record) => {
                let (before, record) = engine.cluster.change_from(record, &begin).await?;
                (Some(before.head), record)
            }
            None => {
                let head = begin.apply(&Head::new(name, now));
                (None, engine.cluster.create_head(&target.namespace, &target.name, head).await?)
            }
        };
        engine.beginning.promise();
        info!(?kind, generation = record.head.generation, "operation started");
        if let Some(dead) = died {
            engine.cluster.metrics().takeover();
            telling::taken_over(engine, &record, dead);
        }
        let measured = match kind {
            OperationKind::Deploy => metrics::Operation::Deploy,
            OperationKind::Scale => metrics::Operation::Scale,
            OperationKind::Teardown => metrics::Operation::Teardown,
        };
        let measured = (measured, until - lease);
        Ok(Self {
            engine: engine.clone(),
            record,
            before,
            until,
            is_released: false,
            has_taken_over: died.is_some(),
            has_failed: false,
            is_in_doubt: false,
            measured,
        })
    }

    /// Whether it has taken over an operation whose holder has died.
    pub(super) fn has_taken_over(&self) -> bool {
        self.has_taken_over
    }

    /// The record as this operation last wrote it.
    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// The record on which this operation began, keepers' notes included that were made since it was decided; `None`: there
    /// was none.
    pub(super) fn before(&self) -> Option<&Head> {
        self.before.as_ref()
    }

    /// Runs work that needs the lock, renewing the lease at a third of its length.
    ///
    /// When the work has met what somebody else may have written, the lease is renewed at once, and the work goes on only
    /// if the lock is held. When the lease has ended without a renewal the work makes no new call until a renewal says that
    /// the lock is ours still. Fails, dropping the work, when the lock is lost, or when nobody says so for another lease.
    /// What was sent before names the version it was meant for, and does not land on a later one.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T> {
        let lease = self.engine.settings.lease;
        // A call that fails in a way that passes is repeated as long as the lock is held.
        let patience = Patience::until(self.until, lease);
        let output = self.renewing(lease, &patience, patience.during(work)).await;
        self.is_in_doubt |= patience.is_in_doubt();
        output
    }

    async fn renewing<T>(
        &mut self,
        lease: Duration,
        patience: &Patience,
        work: impl Future<Output = T>,
    ) -> Result<T> {
        let mut work = pin!(work);
        loop {
            let turn = self.until.min(self.engine.clock.elapsed() + lease / 3);
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(turn) => {}
                () = patience.asked() => {}
                output = &mut work => return Ok(output),
            }
            let (sent, questions) = (self.engine.clock.elapsed(), patience.questions());
            let (output, renewed) = {
                let mut renewal = pin!(self.renewed());
                tokio::select! {
                    biased;
                    renewed = &mut renewal => (None, renewed),
                    // A renewal that is under way is waited for: the next write needs its version.
                    output = &mut work => (Some(output), renewal.await),
                }
            };
            match renewed {
                Ok(Some(record)) => {
                    self.record = record;
                    self.until = sent + lease;
                    patience.extend(self.until);
                    patience.confirm(questions);
                }
                // The write that follows finds out whether the lock is lost.
                _ if output.is_some() => {}
                Ok(None) if self.engine.clock.elapsed() < self.until + lease => {}
                Ok(None) => return Err(self.ended()),
                Err(error) => return Err(behind_writes(error)),
            }
            if let Some(output) = output {
                return Ok(output);
            }
        }
    }

    /// Writes a later end of the lease; `None` if the cluster cannot be reached and may be asked again.
    async fn renewed(&self) -> Result<Option<Record>> {
        let until = after(self.engine.clock.now(), self.engine.settings.lease);
        match self.engine.cluster.change(&self.record, &Transition::Renew { until }).await {
            Ok(record) => Ok(Some(record)),
            Err(error) if may_pass(error.kind()) => {
                warn!(context = ?error.context(), "lease not renewed");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The answer of an operation that could not renew its lease in time.
    fn ended(&self) -> Error {
        Error::new(
            ErrorKind::ClusterUnreachable,
            format!(
                "the lease on deployment {} ended before it could be renewed; the keeper finishes the operation",
                self.record.name
            ),
        )
        .with("applied", "unknown")
        .retry_after(self.engine.settings.lease)
    }

    /// Writes the record and keeps the lock.
    pub(super) async fn change(&mut self, transition: &Transition) -> Result<()> {
        let changed = self.engine.cluster.change(&self.record, transition).await;
        self.record = changed.map_err(behind_writes)?;
        Ok(())
    }

    /// Notes that the operation does not do what it was begun for; it may end well all the same.
    pub(super) fn fails(&mut self) {
        self.has_failed = true;
    }

    /// Whether nobody has said what became of a write that was made under the lock.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.is_in_doubt
    }

    /// Ends the operation: its record is gone, or goes.
    pub(super) fn gone(mut self) {
        self.is_released = true;
        outlived::look_out(&self.engine, &self.record);
    }

    /// Ends the operation with this change of the record.
    pub(super) async fn release(mut self, transition: &Transition) -> Result<Record> {
        let doubted = self.is_in_doubt.then(|| Transition::Doubted(Box::new(transition.clone())));
        let transition = doubted.as_ref().unwrap_or(transition);
        let record = self.engine.cluster.change(&self.record, transition).await.map_err(behind_writes)?;
        self.is_released = true;
        info!(phase = record.head.phase.as_str(), "operation ended");
        Ok(record)
    }
}

/// The failure of an operation that holds the lock, or has lost it: what it has written before is written.
fn behind_writes(error: Error) -> Error {
    error.with("applied", "unknown")
}

/// Failures of a renewal that say nothing about who holds the lock.
fn may_pass(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ClusterUnreachable | ErrorKind::ClusterThrottled | ErrorKind::ClusterCredentialsRejected
    )
}

fn after(now: Timestamp, lease: Duration) -> Timestamp {
    now.checked_add(lease).unwrap_or(now)
}
