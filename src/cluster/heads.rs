//! Watches the records of all deployments in the namespaces that are kept.

use futures::stream::{BoxStream, select_all};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams};
use kube::runtime::{WatchStreamExt, watcher};

use super::Cluster;
use super::head;
use super::road::WATCH_SECONDS;
use super::watch::watch_failure;
use crate::artifacts::{LABEL_MANAGED_BY, LABEL_RECORD, MANAGED_BY, Namespace};
use crate::error::{Error, ErrorKind, Result};
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
    /// Whether a namespace is among them.
    pub fn contains(&self, namespace: &Namespace) -> bool {
        match self {
            Scope::All => true,
            Scope::Namespaces(namespaces) => namespaces.contains(namespace),
        }
    }
}

/// What a watch of records shows.
#[derive(Debug)]
pub enum Sight {
    /// A record as it is now.
    Now(Box<Held>),
    /// A record was deleted.
    Gone(Box<Held>),
}

fn selector() -> String {
    format!("{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_RECORD}=head")
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
    pub fn watch_heads(&self, scope: &Scope) -> BoxStream<'static, Result<Sight>> {
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
        let watches = apis.into_iter().map(|api| {
            let config = watcher::Config::default().labels(&selector()).timeout(WATCH_SECONDS);
            watcher(api, config).backoff(self.watch_pauses()).boxed()
        });
        select_all(watches)
            .map_err(|error| watch_failure(error).into_error("Watch", ""))
            .try_filter_map(move |event| {
                // The connection is set aside for as long as anything comes over it.
                let _road = &road;
                let sight = sight(&event);
                async move { Ok(sight) }
            })
            .boxed()
    }
}

/// What an event shows; records that cannot be read are left out and logged.
fn sight(event: &watcher::Event<ConfigMap>) -> Option<Sight> {
    let (object, is_gone) = match event {
        watcher::Event::InitApply(object) | watcher::Event::Apply(object) => (object, false),
        watcher::Event::Delete(object) => (object, true),
        watcher::Event::Init | watcher::Event::InitDone => return None,
    };
    let read: Result<Held, Error> = head::parse(object)?;
    match read {
        Ok(held) if is_gone => Some(Sight::Gone(Box::new(held))),
        Ok(held) => Some(Sight::Now(Box::new(held))),
        Err(error) => {
            tracing::warn!(context = ?error.context(), "head skipped");
            None
        }
    }
}
