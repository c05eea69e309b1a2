//! After an operation: old pods of a changed ReplicationController go, and the outcome is recorded.
//!
//! A ReplicationController never replaces the pods of an earlier template by itself, and no other tool does it.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info};

use super::view;
use super::{Operations, Target};
use crate::cluster::{Held, Phase};
use crate::error::Result;
use crate::status::{self, DeploymentState};

/// How long the outcome of an operation is followed.
const PATIENCE: Duration = Duration::from_secs(600);

impl Operations {
    /// Follows a deployment in the background until its outcome is known, or another operation came.
    pub(super) fn follow(&self, target: &Target, generation: u64) {
        let (operations, target) = (self.clone(), target.clone());
        self.tasks.spawn(async move {
            let work = operations.follow_outcome(&target, generation);
            tokio::select! {
                result = work => if let Err(error) = result {
                    debug!(context = ?error.context(), "outcome not followed to its end");
                },
                () = operations.shutdown.cancelled() => {}
            }
        });
    }

    async fn follow_outcome(&self, target: &Target, generation: u64) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut subscription = self.cluster.subscribe(&target.namespace, &target.name);
        let mut seen = false;
        while let Some(snapshot) = subscription.next(until).await? {
            let Some(held) = snapshot.head else {
                if seen {
                    return Ok(());
                }
                continue;
            };
            if held.head.generation < generation {
                continue;
            }
            seen = true;
            if held.head.generation > generation {
                return Ok(());
            }
            // Another operation would count on: this is our own, of which the watches have not shown the end yet.
            if held.head.operation.is_some() {
                continue;
            }
            let expected = view::expected(&held);
            // All at once: the component is interrupted until the new pods are ready.
            let outdated = status::outdated_pods(&expected, &snapshot.observed);
            self.delete_all(target, outdated, None).await?;
            let state = status::conclude(&expected, &snapshot.observed).state;
            if state == DeploymentState::Deploying || state == DeploymentState::Deleting {
                continue;
            }
            self.record(&held, state).await?;
            if matches!(state, DeploymentState::Active | DeploymentState::Stopped) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes a state that was seen into the head, unless it says so already.
    async fn record(&self, held: &Held, state: DeploymentState) -> Result<()> {
        if held.head.recorded.state == state.as_str() {
            return Ok(());
        }
        let mut head = held.head.clone();
        state.as_str().clone_into(&mut head.recorded.state);
        if state == DeploymentState::Active {
            head.last_good = head.current.as_ref().map(|revision| revision.number);
            // Controllers that are ready have taken over what they were handed.
            head.inventory.iter_mut().for_each(|member| member.adopts = None);
        }
        if head.phase == Phase::Progressing {
            head.phase = Phase::Idle;
        }
        self.cluster.record_head(held, head).await?;
        info!(deployment = %held.name, state = state.as_str(), "state recorded");
        Ok(())
    }
}
