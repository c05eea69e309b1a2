//! Watches the records of all deployments in the namespaces that are kept.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream, select_all};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use tracing::{info, warn};

use super::Cluster;
use super::head::{self, selector};
use super::road::WATCH_SECONDS;
use super::watch::{Kept, Scope, Sight, watch_failure};
use crate::artifacts::{Namespace, Target};
use crate::error::{ErrorKind, Result};
use crate::record::Record;

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

    /// Whether these credentials may do everything in the cluster; whoever may not even ask does not.
    pub async fn may_do_everything(&self) -> Result<bool> {
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let any = || Some("*".to_owned());
        let everything = ResourceAttributes {
            group: any(),
            resource: any(),
            verb: any(),
            ..ResourceAttributes::default()
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(everything),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let parameters = PostParams::default();
        let reviewed =
            self.call("ask what the credentials may do", || api.create(&parameters, &review)).await;
        match reviewed {
            Ok(review) => Ok(review.status.is_some_and(|status| status.allowed)),
            Err(failure) => {
                let error = failure.into_error("SelfSubjectAccessReview", "");
                if error.kind() == ErrorKind::ClusterForbidden { Ok(false) } else { Err(error) }
            }
        }
    }

    /// The namespaces that are kept; `None` while that is not settled.
    pub fn kept(&self) -> Option<&Scope> {
        self.watches.kept.scope()
    }

    /// Whether the keeper's watch has listed its deployments, and shows no such one; it may lag, and `false` says nothing.
    pub fn shows_none(&self, target: &Target) -> bool {
        self.watches.kept.is_absent(target)
    }

    /// Settles which namespaces are kept; where the deployment of a record is at rest, its version alone is kept.
    pub fn settle_kept(&self, scope: Scope, is_at_rest: fn(&Record) -> bool) -> &Scope {
        self.watches.kept.settle(scope, is_at_rest)
    }

    /// Watches the records of the namespaces that are kept, for the keeper and for everybody who follows a deployment there;
    /// a broken watch is opened again with a growing pause, and shows all of them anew.
    pub fn watch_heads(&self) -> BoxStream<'static, Result<Sight>> {
        let namespaces: &[Namespace] = match self.kept() {
            Some(Scope::Namespaces(namespaces)) => namespaces,
            Some(Scope::All) => &[],
            None => return stream::empty().boxed(),
        };
        let road = self.road.watches(u32::try_from(namespaces.len().max(1)).unwrap_or(u32::MAX));
        let client = || road.client.clone();
        // No namespace is named: all of the cluster.
        let apis: Vec<Api<ConfigMap>> = if namespaces.is_empty() {
            vec![Api::all(client())]
        } else {
            namespaces.iter().map(|namespace| Api::namespaced(client(), namespace.as_str())).collect()
        };
        let mut refused = Refused::new(namespaces);
        let watches = apis.into_iter().enumerate().map(|(number, api)| {
            let config = watcher::Config::default().labels(&selector()).timeout(WATCH_SECONDS);
            watcher(api, config).backoff(self.watch_pauses()).map(move |event| (number, event)).boxed()
        });
        let watches = select_all(watches);
        let shown = Arc::clone(&self.watches);
        watches
            .filter_map(move |(number, event)| {
                // The connection is set aside for as long as anything comes over it.
                let _road = &road;
                let sight = take(&shown.kept, number, event);
                refused.tell(number, sight.as_ref());
                async move { sight }
            })
            .boxed()
    }
}

/// The watches that are refused, each with its namespace.
struct Refused(Vec<(String, bool)>);

impl Refused {
    fn new(namespaces: &[Namespace]) -> Self {
        let all = if namespaces.is_empty() { Some("*".to_owned()) } else { None };
        let names = namespaces.iter().map(|namespace| namespace.as_str().to_owned());
        Self(names.chain(all).map(|name| (name, false)).collect())
    }

    /// Tells that a watch is refused, once, and when it is not any more.
    fn tell(&mut self, watch: usize, sight: Option<&Result<Sight>>) {
        let Some((namespace, is_refused)) = self.0.get_mut(watch) else { return };
        let refusal = match sight {
            Some(Err(error)) if error.kind() == ErrorKind::ClusterForbidden => Some(error),
            Some(Ok(Sight::Complete)) => None,
            _ => return,
        };
        let was_refused = std::mem::replace(is_refused, refusal.is_some());
        match refusal {
            Some(refusal) if !was_refused => warn!(
                namespace,
                told = refusal.message(),
                "its deployments are not kept: grant the adapter what deploy/served does there, or take it out of \
                 --namespaces"
            ),
            None if was_refused => info!(namespace, "its deployments are kept"),
            _ => {}
        }
    }
}

/// Takes an event of one watch, and says what it shows.
fn take(
    kept: &Kept,
    watch: usize,
    event: watcher::Result<watcher::Event<ConfigMap>>,
) -> Option<Result<Sight>> {
    let event = match event {
        Ok(event) => event,
        Err(error) => {
            let failure = watch_failure(error);
            let is_refusal = matches!(failure.code(), 401 | 403);
            let error = failure.into_error("Watch", "");
            if is_refusal {
                kept.refuse(watch, &error);
            }
            return Some(Err(error));
        }
    };
    let (object, sight): (_, fn(Arc<Record>) -> Sight) = match &event {
        watcher::Event::Init => return Some(Ok(shown(kept, watch, Sight::Begin))),
        watcher::Event::InitDone => return Some(Ok(shown(kept, watch, Sight::Complete))),
        watcher::Event::InitApply(object) => (object, Sight::Listed),
        watcher::Event::Apply(object) => (object, Sight::Now),
        watcher::Event::Delete(object) => (object, Sight::Gone),
    };
    let sight = match head::parse(object)? {
        Ok(record) => sight(Arc::new(record)),
        Err(unreadable) if matches!(event, watcher::Event::Delete(_)) => Sight::Lost(unreadable.target),
        Err(unreadable) => {
            warn!(context = ?unreadable.why.context(), "a record cannot be read");
            Sight::Unreadable(Arc::new(unreadable))
        }
    };
    Some(Ok(shown(kept, watch, sight)))
}

fn shown(kept: &Kept, watch: usize, sight: Sight) -> Sight {
    kept.take(watch, &sight);
    sight
}
