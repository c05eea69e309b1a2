//! After an operation: old pods of a changed ReplicationController go, and the outcome is recorded.
//!
//! A ReplicationController never replaces the pods of an earlier template by itself, and no other tool does it.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info};

use super::view::{self, Moment, Standing};
use super::{Operations, Target, prune};
use crate::cluster::{Held, Phase, Snapshot};
use crate::error::Result;
use crate::status::{self, DeploymentState};

/// How long the outcome of an operation is followed.
const PATIENCE: Duration = Duration::from_secs(600);

/// Pause before what failed is tried again; it doubles while it fails.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Whether a follower goes on.
enum Next {
    Follow,
    Done,
}

impl Operations {
    /// Follows a deployment in the background until its outcome is known, or another operation came.
    pub(super) fn follow(&self, target: &Target, moment: &Moment) {
        self.follow_after(target, moment, BTreeSet::new());
    }

    /// The same, where the objects of these uids were asked to go already.
    pub(super) fn follow_after(&self, target: &Target, moment: &Moment, mut asked: BTreeSet<String>) {
        let (operations, target, moment) = (self.clone(), target.clone(), moment.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = operations.follow_outcome(&target, &moment, &mut asked) => {}
                () = operations.shutdown.cancelled() => {}
            }
        });
    }

    async fn follow_outcome(&self, target: &Target, moment: &Moment, asked: &mut BTreeSet<String>) {
        let until = Instant::now() + PATIENCE;
        let mut subscription = self.cluster.subscribe(&target.namespace, &target.name);
        let mut seen = false;
        let mut pause = PAUSE;
        while Instant::now() < until {
            let driven = match subscription.next(until).await {
                Ok(Some(snapshot)) => self.drive(target, moment, &snapshot, &mut seen, asked).await,
                Ok(None) => return,
                Err(error) => Err(error),
            };
            match driven {
                Ok(Next::Follow) => pause = PAUSE,
                Ok(Next::Done) => return,
                Err(error) => {
                    debug!(context = ?error.context(), "outcome followed again");
                    tokio::time::sleep(pause).await;
                    pause = LONGEST_PAUSE.min(pause * 2);
                    subscription.again();
                }
            }
        }
    }

    /// Does what a snapshot asks for, and says whether there is more to come.
    async fn drive(
        &self,
        target: &Target,
        moment: &Moment,
        snapshot: &Snapshot,
        seen: &mut bool,
        asked: &mut BTreeSet<String>,
    ) -> Result<Next> {
        let Some(held) = &snapshot.head else {
            return Ok(if *seen { Next::Done } else { Next::Follow });
        };
        match moment.standing(held) {
            Standing::Earlier => return Ok(Next::Follow),
            Standing::Later | Standing::Replaced => return Ok(Next::Done),
            Standing::Same => *seen = true,
        }
        // Another operation would count on: this is our own, of which the watches have not shown the end yet.
        if held.head.operation.is_some() {
            return Ok(Next::Follow);
        }
        let expected = view::expected(held);
        // All at once: the component is interrupted until the new pods are ready.
        let outdated = status::outdated_pods(&expected, &snapshot.observed);
        self.delete_all(target, outdated, None).await?;
        let mut gone = self.finish_pruning(target, held, false, asked).await?;
        let state = status::conclude(&expected, &snapshot.observed).state;
        if state == DeploymentState::Deploying || state == DeploymentState::Deleting {
            return Ok(Next::Follow);
        }
        gone.extend(self.finish_pruning(target, held, state.is_ready(), asked).await?);
        self.record(held, state, &gone).await?;
        Ok(if state.is_ready() { Next::Done } else { Next::Follow })
    }

    /// Writes a state that was seen into the head, unless it says so already, and drops what is gone.
    async fn record(&self, held: &Held, state: DeploymentState, gone: &BTreeSet<String>) -> Result<()> {
        if held.head.recorded.state == state.as_str() && gone.is_empty() {
            return Ok(());
        }
        let amended = self.cluster.amend_head(held, |head| {
            state.as_str().clone_into(&mut head.recorded.state);
            prune::forget(&mut head.inventory, gone);
            if state == DeploymentState::Active {
                head.last_good = head.current.as_ref().map(|revision| revision.number);
                // Controllers that are ready have taken over what they were handed.
                head.inventory.iter_mut().for_each(|member| member.adopts = None);
            }
            if head.phase == Phase::Progressing && state.is_ready() {
                head.phase = Phase::Idle;
            }
        });
        amended.await?;
        info!(deployment = %held.name, state = state.as_str(), "state recorded");
        Ok(())
    }
}
