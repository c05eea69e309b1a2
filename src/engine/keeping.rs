//! Watches the records of the namespaces that are kept, and wakes the keeper where something is left to do.

use std::time::Duration;

use futures::StreamExt;
use tracing::{Instrument, debug, info, info_span};

use super::Engine;
use super::awake::wake;
use crate::artifacts::Namespace;
use crate::cluster::{Scope, Sight};

/// The first pause before the cluster is asked again what may be kept. It doubles with each failure.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Keeps the deployments of the namespaces that the settings name, until the adapter shuts down.
pub fn keep(engine: &Engine) {
    let own = engine.clone();
    let kept = async move {
        tokio::select! {
            biased;
            () = own.shutdown.cancelled() => {}
            () = keep_all(&own) => {}
        }
    };
    engine.tasks.spawn(kept.instrument(info_span!("keeper")));
}

/// Wakes a task for every record with something left to do, as a watch of all records shows them.
async fn keep_all(engine: &Engine) {
    let scope = engine.known.settle(scope(engine).await);
    match scope {
        Scope::All => info!("keeps the deployments of all namespaces"),
        Scope::Namespaces(namespaces) => {
            let names: Vec<&str> = namespaces.iter().map(Namespace::as_str).collect();
            info!(namespaces = names.join(","), "keeps the deployments of these namespaces and of no others");
        }
    }
    let mut sights = engine.cluster.watch_heads(scope);
    while let Some(sight) = sights.next().await {
        let (watch, sight) = match sight {
            Ok(sight) => sight,
            Err(error) => {
                debug!(context = ?error.context(), "the watch of records broke");
                continue;
            }
        };
        engine.known.take(watch, &sight);
        match sight {
            Sight::Listed(held) | Sight::Now(held) => {
                // A lease is judged from the first sight on.
                engine.unrenewed_for(&held);
                wake(engine, &held);
            }
            Sight::Gone(held) => {
                engine.sights.forget(&held.target());
                engine.patience.forget(&held.target());
            }
            Sight::Begin | Sight::Complete => {}
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
