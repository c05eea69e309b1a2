//! Watches the records of all deployments in the namespaces that are kept.

use futures::stream::{BoxStream, select_all};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams};
use kube::runtime::{WatchStreamExt, watcher};

use super::Cluster;
use super::head::{self, selector};
use super::road::WATCH_SECONDS;
use super::watch::watch_failure;
use crate::artifacts::Namespace;
use crate::error::{ErrorKind, Result};
use crate::record::Held;

/// The namespaces whose deployments are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of the cluster.
    All,
    /// These.
    Namespaces(Vec<Namespace>),
}

impl Scope {
    /// The number of the watch that shows a namespace's records; `None`: nobody watches them.
    pub fn watch_of(&self, namespace: &Namespace) -> Option<usize> {
        match self {
            Scope::All => Some(0),
            Scope::Namespaces(namespaces) => namespaces.iter().position(|one| one == namespace),
        }
    }
}

/// What a watch of records shows.
#[derive(Debug)]
pub enum Sight {
    /// All records are listed anew.
    Begin,
    /// A record in such a list.
    Listed(Box<Held>),
    /// The list is complete.
    Complete,
    /// A record as it is now.
    Now(Box<Held>),
    /// A record was deleted.
    Gone(Box<Held>),
}

impl Cluster {
    /// Whether the records of all namespaces may be watched.
    pub async fn may_watch_all_heads(&self) -> Result<bool> {
        let api: Api<ConfigMap> = Api::all(self.client.clone());
        let parameters = ListParams::default().labels(&selector()).limit(1);
        match self.call("list the records of all namespaces", || api.list_metadata(&parameters)).await {
            Ok(_) => Ok(true),
            Err(failure) => {
                let error = failure.into_error("ConfigMap", "");
                if error.kind() == ErrorKind::ClusterForbidden { Ok(false) } else { Err(error) }
            }
        }
    }

    /// Watches records; a broken watch is opened again with a growing pause, and shows all of them anew.
    ///
    /// Each sight comes with the number of its watch.
    pub fn watch_heads(&self, scope: &Scope) -> BoxStream<'static, Result<(usize, Sight)>> {
        let namespaces: &[Namespace] = match scope {
            Scope::All => &[],
            Scope::Namespaces(namespaces) => namespaces,
        };
        let road = self.road.watches(u32::try_from(namespaces.len().max(1)).unwrap_or(u32::MAX));
        let client = || road.client.clone();
        let apis: Vec<Api<ConfigMap>> = match scope {
            Scope::All => vec![Api::all(client())],
            Scope::Namespaces(_) => {
                namespaces.iter().map(|namespace| Api::namespaced(client(), namespace.as_str())).collect()
            }
        };
        let watches = apis.into_iter().enumerate().map(|(number, api)| {
            let config = watcher::Config::default().labels(&selector()).timeout(WATCH_SECONDS);
            watcher(api, config).backoff(self.watch_pauses()).map_ok(move |event| (number, event)).boxed()
        });
        select_all(watches)
            .map_err(|error| watch_failure(error).into_error("Watch", ""))
            .try_filter_map(move |(number, event)| {
                // The connection is set aside for as long as anything comes over it.
                let _road = &road;
                let sight = sight(&event).map(|sight| (number, sight));
                async move { Ok(sight) }
            })
            .boxed()
    }
}

/// What an event shows; records that cannot be read are left out and logged.
fn sight(event: &watcher::Event<ConfigMap>) -> Option<Sight> {
    let (object, sight): (_, fn(Box<Held>) -> Sight) = match event {
        watcher::Event::Init => return Some(Sight::Begin),
        watcher::Event::InitDone => return Some(Sight::Complete),
        watcher::Event::InitApply(object) => (object, Sight::Listed),
        watcher::Event::Apply(object) => (object, Sight::Now),
        watcher::Event::Delete(object) => (object, Sight::Gone),
    };
    match head::parse(object)? {
        Ok(held) => Some(sight(Box::new(held))),
        Err(error) => {
            tracing::warn!(context = ?error.context(), "head skipped");
            None
        }
    }
}
