//! The cluster: everything that talks to the Kubernetes API, behind one handle.

mod answers;
mod apply;
mod call;
mod chance;
mod delete;
mod displace;
mod errors;
mod events;
mod gone;
mod head;
mod heads;
mod large;
mod leftovers;
mod members;
mod namespaces;
mod observe;
mod patience;
mod reviews;
mod revisions;
mod road;
mod scale;
mod warnings;
mod watch;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use http::{HeaderValue, Request, Response};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::client::Body;
use kube::core::GroupVersionKind;
use tokio::sync::Semaphore;
use tower::{BoxError, Service};

use crate::artifacts::{Kind, Namespace};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::Metrics;

pub use apply::{Guard, Written};
pub use delete::Deletion;
pub use events::{Happenings, Told};
pub use gone::Terminating;
pub use head::Heads;
pub use leftovers::HeldBack;
pub use patience::Patience;
pub use reviews::{Identity, Right};
pub use revisions::RevisionDeletion;
pub use road::{ReadAgain, is_proxy};
pub use warnings::collecting;
pub use watch::{Scope, Sight, Snapshot, Subscription};

/// Calls to the API server that may run at once, if nobody says otherwise.
const CALLS_IN_FLIGHT: usize = 100;

/// Who the API server says it was.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")));

/// How long the API server may take to show that it is there.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(5);

/// A handle on one cluster; cheap to clone, shared by every operation.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    road: Arc<road::Road>,
    calls: Arc<Semaphore>,
    most_calls: usize,
    watches: Arc<watch::Watches>,
    recent: Arc<events::Recent>,
    rights_missed: Arc<Mutex<BTreeSet<(Namespace, &'static str)>>>,
    chance: chance::Chance,
    server: Arc<str>,
    metrics: Metrics,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Cluster").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Prepares a handle; opens no connection yet.
    ///
    /// Fails when the configuration's credentials or certificates cannot be used.
    pub fn new(config: kube::Config) -> Result<Self> {
        Self::reading(config, Box::new(|| std::future::ready(None).boxed()))
    }

    /// The same, of a configuration that is read again when the API server refuses its credentials or is not trusted: the
    /// authority and the credentials of what is read are taken, and nothing else.
    pub fn reading(mut config: kube::Config, again: ReadAgain) -> Result<Self> {
        config.headers.push((http::header::USER_AGENT, AGENT));
        let server = config.cluster_url.to_string();
        let metrics = Metrics::default();
        let road = road::Road::to(config, again, &metrics).map_err(|error| {
            Error::new(ErrorKind::ClusterUnreachable, "the cluster's configuration cannot be used")
                .because(errors::describe(&error))
        })?;
        Ok(Self::on(road, &server, rand::random(), metrics))
    }

    /// A handle on whatever answers requests to an API server's paths, as a simulation has it in memory.
    ///
    /// All but the connections is as with [`Cluster::new`]; the jitter of retries comes from `seed`. Call it inside a
    /// tokio runtime.
    pub fn over<S, B>(service: S, seed: u64) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError> + 'static,
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let named = |mut request: Request<Body>| {
            request.headers_mut().insert(http::header::USER_AGENT, AGENT);
            request
        };
        let service = tower::util::MapRequest::new(service, named);
        let metrics = Metrics::default();
        let road = road::Road::over(service, "default".to_owned(), &metrics);
        Self::on(road, "a service in memory", seed, metrics)
    }

    fn on(road: road::Road, server: &str, seed: u64, metrics: Metrics) -> Self {
        Self {
            client: road.calls(),
            road: Arc::new(road),
            calls: Arc::new(Semaphore::new(CALLS_IN_FLIGHT)),
            most_calls: CALLS_IN_FLIGHT,
            watches: Arc::new(watch::Watches::default()),
            recent: Arc::default(),
            rights_missed: Arc::default(),
            chance: chance::Chance::new(seed),
            server: server.into(),
            metrics,
        }
    }

    /// The same handle with calls of its own: so many at once, whatever is done with the other.
    #[must_use]
    pub fn apart(&self, calls: usize) -> Self {
        self.clone().with_calls(calls)
    }

    /// The same handle with so many calls at once in place of a hundred.
    #[must_use]
    pub fn with_calls(self, most: usize) -> Self {
        Self { calls: Arc::new(Semaphore::new(most)), most_calls: most, ..self }
    }

    /// The most calls at once, watches aside.
    pub fn most_calls(&self) -> usize {
        self.most_calls
    }

    /// What is counted of everything that is done with this cluster.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// A random id; in a simulation its seed decides about it.
    pub fn random_id(&self) -> String {
        // Neighbours in the sequence of seeds have nothing in common any more.
        let mut id = self.chance.next();
        id = (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        format!("{:016x}", id ^ (id >> 31))
    }

    /// A secret key of 32 random bytes, in hexadecimal digits. Other ids are no secrets, and those of one process can be
    /// told from each other, so this one comes from the system's own chance, in a simulation as well.
    pub fn random_key(&self) -> String {
        rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The API server's address, for people.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Asks the API server for its version; fails when it cannot be reached, or does not answer soon. It waits for no
    /// other call.
    pub async fn version(&self) -> Result<String> {
        let own = self.apart(1);
        let asked = own.call("ask for the version", || self.client.apiserver_version());
        let asked = tokio::time::timeout(ANSWER, asked).await;
        self.metrics.reachable(matches!(asked, Ok(Ok(_))));
        let silent =
            |_| Error::new(ErrorKind::ClusterUnreachable, "the cluster does not say its version in time");
        let version = asked.map_err(silent)?.map_err(|failure| failure.into_error("the version", ""))?;
        Ok(version.git_version)
    }

    /// The API of one kind in one namespace.
    fn api(&self, namespace: &Namespace, kind: Kind) -> Api<DynamicObject> {
        api_of(self.client.clone(), namespace, kind)
    }
}

/// The API of one kind in one namespace, by a client.
fn api_of(client: kube::Client, namespace: &Namespace, kind: Kind) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(kind.group(), "v1", kind.as_str());
    let resource = ApiResource::from_gvk(&kind);
    Api::namespaced_with(client, namespace.as_str(), &resource)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use bytes::Bytes;
    use http_body_util::Full;
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;

    /// What any call gets.
    async fn called(cluster: &Cluster) -> Result<String> {
        let asked = cluster.call("ask for the version", || cluster.client.apiserver_version()).await;
        Ok(asked.map_err(|failure| failure.into_error("the version", ""))?.git_version)
    }

    fn hits(cluster: &Cluster, limit: &str) -> bool {
        cluster.metrics().text().contains(&format!("panamax_limit_hits_total{{limit=\"{limit}\"}} 1\n"))
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_ends_its_call_and_is_not_asked_for_again() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let service = tower::service_fn(move |_: Request<Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            let body = Full::new(Bytes::from(vec![b' '; (8 << 20) + 1]));
            std::future::ready(Ok::<_, BoxError>(Response::new(body)))
        });
        let cluster = Cluster::over(service, 1);
        let error = cluster.version().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error:?}");
        assert!(error.message().contains("the answer is larger than 8 MiB"), "{}", error.message());
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert!(hits(&cluster, "api_answer"));
    }

    #[tokio::test]
    async fn a_call_beyond_the_most_waits_for_its_turn() {
        let service = tower::service_fn(move |_: Request<Body>| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok::<_, BoxError>(Response::new(Full::new(Bytes::from_static(
                br#"{"major":"1","minor":"1","gitVersion":"v1",
                "gitCommit":"","gitTreeState":"","buildDate":"","goVersion":"","compiler":"","platform":""}"#,
            ))))
        });
        let cluster = Cluster::over(service, 1).with_calls(1);
        assert_eq!(cluster.most_calls(), 1);
        let (first, second) = tokio::join!(called(&cluster), called(&cluster));
        assert_eq!((first.unwrap(), second.unwrap()), ("v1".to_owned(), "v1".to_owned()));
        assert!(hits(&cluster, "api_calls"));
    }

    #[tokio::test]
    async fn nobody_waits_for_who_takes_connections_and_says_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut config = kube::Config::new(format!("https://{address}").parse().unwrap());
        config.accept_invalid_certs = true;
        let cluster = Cluster::new(config).unwrap();
        tokio::time::pause();
        let took = async || {
            let begun = Instant::now();
            let error = called(&cluster).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ClusterUnreachable, "{error:?}");
            begun.elapsed()
        };
        assert!(took().await >= Duration::from_secs(20), "four tries of five seconds");
        took().await;
        // One of them may be the one that tries.
        let all = futures::future::join_all((0..5).map(|_| took())).await;
        let at_once = all.iter().filter(|took| **took < Duration::from_secs(2)).count();
        assert!(at_once >= 4, "{all:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn whether_it_is_there_is_known_soon_whatever_else_is_asked() {
        let service = tower::service_fn(move |_: Request<Body>| {
            std::future::pending::<std::result::Result<Response<Full<Bytes>>, BoxError>>()
        });
        let cluster = Cluster::over(service, 1).with_calls(1);
        cluster.metrics().reachable(true);
        let begun = Instant::now();
        let asked = async {
            let error = cluster.version().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ClusterUnreachable, "{error:?}");
        };
        tokio::select! {
            biased;
            _ = called(&cluster) => panic!("nobody answers"),
            () = asked => {}
        }
        assert_eq!(begun.elapsed(), ANSWER);
        assert!(!cluster.metrics().is_reachable() && !hits(&cluster, "api_calls"));
    }
}
