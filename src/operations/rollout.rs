//! After an operation: old pods of a changed ReplicationController go, and the outcome is recorded.
//!
//! A ReplicationController never replaces the pods of an earlier template by itself, and no other tool does it.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info};

use super::view::{self, Moment, Standing};
use super::{Operations, Target};
use crate::cluster::{Held, Phase, Snapshot};
use crate::error::Result;
use crate::status::{self, DeploymentState};

/// How long the outcome of an operation is followed.
const PATIENCE: Duration = Duration::from_secs(600);

/// Pause before what failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether a follower goes on.
enum Next {
    Follow,
    Done,
}

impl Operations {
    /// Follows a deployment in the background until its outcome is known, or another operation came.
    pub(super) fn follow(&self, target: &Target, moment: &Moment) {
        let (operations, target, moment) = (self.clone(), target.clone(), moment.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = operations.follow_outcome(&target, &moment) => {}
                () = operations.shutdown.cancelled() => {}
            }
        });
    }

    async fn follow_outcome(&self, target: &Target, moment: &Moment) {
        let until = Instant::now() + PATIENCE;
        let mut subscription = self.cluster.subscribe(&target.namespace, &target.name);
        let mut seen = false;
        while Instant::now() < until {
            let driven = match subscription.next(until).await {
                Ok(Some(snapshot)) => self.drive(target, moment, &snapshot, &mut seen).await,
                Ok(None) => return,
                Err(error) => Err(error),
            };
            match driven {
                Ok(Next::Follow) => {}
                Ok(Next::Done) => return,
                Err(error) => {
                    debug!(context = ?error.context(), "outcome followed again");
                    tokio::time::sleep(PAUSE).await;
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
        let state = status::conclude(&expected, &snapshot.observed).state;
        if state == DeploymentState::Deploying || state == DeploymentState::Deleting {
            return Ok(Next::Follow);
        }
        self.record(held, state).await?;
        Ok(if state.is_ready() { Next::Done } else { Next::Follow })
    }

    /// Writes a state that was seen into the head, unless it says so already.
    async fn record(&self, held: &Held, state: DeploymentState) -> Result<()> {
        if held.head.recorded.state == state.as_str() {
            return Ok(());
        }
        let amended = self.cluster.amend_head(held, |head| {
            state.as_str().clone_into(&mut head.recorded.state);
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
