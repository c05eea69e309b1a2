//! After an operation: old pods of a changed ReplicationController go, and the outcome is recorded.
//!
//! A ReplicationController never replaces the pods of an earlier template by itself, and no other tool does it.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info};

use super::{Engine, removal, stages};
use crate::artifacts::{DeploymentState, Target};
use crate::cluster::Snapshot;
use crate::error::Result;
use crate::record::{Held, Moment, Standing, Transition};
use crate::status;

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

/// Follows a deployment in the background until its outcome is known, or another operation came.
pub(super) fn follow(engine: &Engine, target: &Target, moment: &Moment) {
    follow_after(engine, target, moment, BTreeSet::new());
}

/// The same, where the objects of these uids were asked to go already.
pub(super) fn follow_after(engine: &Engine, target: &Target, moment: &Moment, mut asked: BTreeSet<String>) {
    let (own, target, moment) = (engine.clone(), target.clone(), moment.clone());
    engine.tasks.spawn(async move {
        tokio::select! {
            () = follow_outcome(&own, &target, &moment, &mut asked) => {}
            () = own.shutdown.cancelled() => {}
        }
    });
}

async fn follow_outcome(engine: &Engine, target: &Target, moment: &Moment, asked: &mut BTreeSet<String>) {
    let until = Instant::now() + PATIENCE;
    let mut subscription = engine.cluster.subscribe(&target.namespace, &target.name);
    let mut seen = false;
    let mut pause = PAUSE;
    while Instant::now() < until {
        let driven = match subscription.next(until).await {
            Ok(Some(snapshot)) => drive(engine, target, moment, &snapshot, &mut seen, asked).await,
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
    engine: &Engine,
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
    let expected = status::expected(held);
    // All at once: the component is interrupted until the new pods are ready.
    let outdated = status::outdated_pods(&expected, &snapshot.observed);
    stages::delete_all(engine, target, outdated, None).await?;
    let mut gone = removal::finish(engine, target, held, false, asked).await?;
    let state = status::conclude(&expected, &snapshot.observed).state;
    if state == DeploymentState::Deploying || state == DeploymentState::Deleting {
        return Ok(Next::Follow);
    }
    gone.extend(removal::finish(engine, target, held, state.is_ready(), asked).await?);
    record(engine, held, state, &gone).await?;
    Ok(if state.is_ready() { Next::Done } else { Next::Follow })
}

/// Writes down a state that was seen, unless the record says so already, and drops what is gone.
async fn record(engine: &Engine, held: &Held, state: DeploymentState, gone: &BTreeSet<String>) -> Result<()> {
    if held.head.recorded.state == state && gone.is_empty() {
        return Ok(());
    }
    let settled = Transition::Settled { state: Some(state), gone: gone.clone() };
    engine.cluster.change(held, &settled).await?;
    info!(deployment = %held.name, state = state.as_str(), "state recorded");
    Ok(())
}
