//! Watches the records of the namespaces that are kept, and wakes the keeper where something is left to do.

use std::time::Duration;

use futures::StreamExt;
use tracing::{Instrument, debug, info, info_span};

use super::Engine;
use super::awake::wake;
use super::outlived::InDoubt;
use crate::artifacts::{DeploymentName, DeploymentState, Namespace, Target};
use crate::cluster::{Scope, Sight};
use crate::plan;

/// The first pause before the cluster is asked again what may be kept. It doubles with each failure.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The namespaces that are kept; `None` while nobody knows, since the cluster has not answered yet.
pub fn kept(engine: &Engine) -> Option<&Scope> {
    engine.cluster.kept()
}

/// Keeps the deployments of the namespaces that the settings name, until the adapter shuts down.
///
/// Its watch of records goes on until every operation has ended: they follow their deployments by it.
pub fn keep(engine: &Engine) {
    let own = engine.clone();
    let kept = async move {
        let drained = async {
            own.shutdown.cancelled().await;
            own.tasks.wait().await;
        };
        tokio::select! {
            biased;
            () = drained => {}
            () = keep_all(&own) => {}
        }
    };
    engine.keeping.spawn(kept.instrument(info_span!("keeper")));
}

/// Wakes a task for every record with something left to do, as a watch of all records shows them.
async fn keep_all(engine: &Engine) {
    let scope = engine.cluster.settle_kept(scope(engine).await, plan::is_at_rest);
    match scope {
        Scope::All => info!("keeps the deployments of all namespaces"),
        Scope::Namespaces(namespaces) => {
            let names: Vec<&str> = namespaces.iter().map(Namespace::as_str).collect();
            info!(namespaces = names.join(","), "keeps the deployments of these namespaces and of no others");
        }
    }
    let (mut sights, mut in_doubt) = (engine.cluster.watch_heads(), InDoubt::default());
    let metrics = engine.cluster.metrics();
    while let Some(sight) = sights.next().await {
        match sight {
            Ok(Sight::Listed(record) | Sight::Now(record)) => {
                let state = record.head.recorded.state.as_str();
                metrics.deployment(record.namespace.as_str(), record.name.as_str(), Some(state));
                in_doubt.see(&record);
                // A lease is judged from the first sight on.
                engine.unrenewed_for(&record);
                wake(engine, &record);
            }
            Ok(Sight::Gone(record)) => {
                metrics.deployment(record.namespace.as_str(), record.name.as_str(), None);
                engine.sights.forget(&record.target());
                engine.patience.forget(&record.target());
                in_doubt.gone(engine, &record);
            }
            // As lists show it: somebody has to do something.
            Ok(Sight::Unreadable(one)) => {
                let state = DeploymentState::Failed.as_str();
                metrics.deployment(one.target.namespace.as_str(), one.target.name.as_str(), Some(state));
            }
            Ok(Sight::Lost(target)) => {
                metrics.deployment(target.namespace.as_str(), target.name.as_str(), None);
                engine.sights.forget(&target);
                engine.patience.forget(&target);
            }
            // What went while nobody watched is missing in the list.
            Ok(Sight::Complete) => {
                let is_there = |target: &Target| !engine.cluster.shows_none(target);
                metrics.keep_deployments(|namespace, name| {
                    let namespace = Namespace::new(namespace.to_owned()).ok();
                    let names = namespace.zip(DeploymentName::new(name.to_owned()).ok());
                    names.is_some_and(|(namespace, name)| is_there(&Target { namespace, name }))
                });
                in_doubt.keep(engine, is_there);
            }
            Ok(Sight::Begin) => {}
            Err(error) => debug!(context = ?error.context(), "the watch of records broke"),
        }
    }
}

/// What is kept: what the settings name, or as much as the rights allow.
async fn scope(engine: &Engine) -> Scope {
    let settings = &engine.settings;
    if !settings.keeps.is_empty() {
        return Scope::Namespaces(settings.keeps.clone());
    }
    let mut pause = PAUSE;
    loop {
        match engine.cluster.may_watch_all_heads().await {
            Ok(true) => return Scope::All,
            Ok(false) => return Scope::Namespaces(vec![settings.namespace.clone()]),
            Err(error) => debug!(context = ?error.context(), "cannot find out which namespaces may be kept"),
        }
        tokio::time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}
