//! What the template no longer has goes: workloads and Services at once, Secrets when no pod needs them any more.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::{Engine, keeper, stages};
use crate::artifacts::{ObjectRef, Target};
use crate::cluster::{Deletion, Going};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Doomed, waits};
use crate::record::{Held, MemberState, Phase, Transition};

/// How long a caller waits for deleted objects to go as well.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long they are waited for in the background.
const LONG_PATIENCE: Duration = Duration::from_secs(600);

/// What became of deletes that were asked for.
#[derive(Default)]
struct Asked {
    /// The uids of objects that are gone or going.
    done: BTreeSet<String>,
    /// Those that are gone.
    gone: BTreeSet<String>,
    /// Those that are still there.
    going: Vec<Going>,
    /// Those that could not be deleted, and why.
    failures: Vec<(ObjectRef, Error)>,
}

/// Deletes by uid what the template no longer has, and follows the outcome, which Secrets wait for.
///
/// Entries leave the inventory when seen gone.
pub(super) async fn prune(engine: &Engine, target: &Target, held: Held, doomed: &[Doomed]) -> Result<Held> {
    let now: Vec<_> = doomed.iter().filter(|one| !waits(one)).flat_map(Doomed::objects).collect();
    let asked = ask_each(engine, target, now).await;
    // What could not be deleted here is tried again there.
    keeper::follow_after(engine, target, &held.moment(), asked.done.clone());
    let listing = |references: Vec<String>| references.join(", ");
    if !asked.failures.is_empty() {
        let failed =
            asked.failures.iter().map(|(reference, error)| format!("{reference}: {:?}", error.kind()));
        let failed = listing(failed.collect());
        let first = asked.failures.into_iter().next().map(|(_, error)| error);
        return first.map_or(Ok(held), |error| Err(Error::incomplete(error, failed)));
    }
    let names = listing(asked.going.iter().map(|going| going.reference.to_string()).collect());
    let waited = engine
        .cluster
        .wait_gone(&target.namespace, &target.name, asked.going, Instant::now() + PATIENCE)
        .await;
    let left = waited.map_err(|error| Error::incomplete(error, names))?;
    if left.is_empty() {
        return forget(engine, &held, &asked.done).await;
    }
    // A pod that ignores its signal takes its grace period; its entry leaves when it is gone.
    forget_later(engine, target, &held, left, asked.done);
    Ok(held)
}

/// Deletes what an operation left to be deleted: what waits only once the rollout has settled.
///
/// Those in `done` were asked to go; returns the uids of those that are gone.
pub(super) async fn finish(
    engine: &Engine,
    target: &Target,
    held: &Held,
    is_settled: bool,
    done: &mut BTreeSet<String>,
) -> Result<BTreeSet<String>> {
    // After an update that was not written whole, the former workload may be the one that serves.
    if !matches!(held.head.phase, Phase::Progressing | Phase::Idle) {
        return Ok(BTreeSet::new());
    }
    let deleting = held.head.inventory.iter().filter(|member| member.state == MemberState::Deleting);
    let doomed =
        deleting.filter_map(|member| Some(Doomed { uid: member.uid.clone()?, member: member.clone() }));
    let objects: Vec<_> = doomed
        .filter(|one| !done.contains(&one.uid) && (is_settled || !waits(one)))
        .flat_map(|one| one.objects().collect::<Vec<_>>())
        .collect();
    if objects.is_empty() {
        return Ok(BTreeSet::new());
    }
    let asked = ask_each(engine, target, objects).await;
    if !asked.going.is_empty() {
        let uids = asked.going.iter().map(|going| going.uid.clone()).collect();
        forget_later(engine, target, held, asked.going, uids);
    }
    done.extend(asked.done);
    match asked.failures.into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(asked.gone),
    }
}

async fn ask_each(engine: &Engine, target: &Target, objects: Vec<(ObjectRef, String)>) -> Asked {
    let mut asked = Asked::default();
    for (reference, uid, deletion) in stages::delete_each(engine, target, objects, None).await {
        match deletion {
            Ok(Deletion::Gone) => {
                asked.done.insert(uid.clone());
                asked.gone.insert(uid);
            }
            Ok(Deletion::Going(going)) => {
                asked.done.insert(uid);
                asked.going.push(going);
            }
            Err(error) => asked.failures.push((reference, error)),
        }
    }
    asked
}

/// Waits in the background for what is still going, and then drops the entries of all of these.
fn forget_later(engine: &Engine, target: &Target, held: &Held, going: Vec<Going>, uids: BTreeSet<String>) {
    let (own, target, held) = (engine.clone(), target.clone(), held.clone());
    engine.tasks.spawn(async move {
        let until = Instant::now() + LONG_PATIENCE;
        let work = async {
            let left = own.cluster.wait_gone(&target.namespace, &target.name, going, until).await?;
            let gone = uids.into_iter().filter(|uid| left.iter().all(|going| going.uid != *uid)).collect();
            let now = own.cluster.read_head(&target.namespace, &target.name).await?;
            let same = now.filter(|now| now.uid == held.uid && now.head.generation == held.head.generation);
            match same {
                Some(now) => forget(&own, &now, &gone).await.map(|_| ()),
                // Another operation came meanwhile: it sees for itself that they are gone.
                None => Ok(()),
            }
        };
        tokio::select! {
            result = work => if let Err(error) = result {
                warn!(context = ?error.context(), "entries of deleted objects not dropped");
            },
            () = own.shutting_down() => {}
        }
    });
}

/// Drops the entries of deleted objects that are gone.
async fn forget(engine: &Engine, held: &Held, gone: &BTreeSet<String>) -> Result<Held> {
    let settled = Transition::Settled { state: None, gone: gone.clone() };
    match engine.cluster.change(held, &settled).await {
        // Another operation came meanwhile: it sees for itself that they are gone.
        Err(error) if error.kind() == ErrorKind::OperationInProgress => Ok(held.clone()),
        other => other,
    }
}
