//! The road to the API server: one client for calls, and connections of their own for watches.

mod breaker;
mod connect;
mod counted;
mod credentials;
mod gate;
mod limits;
mod measured;
mod proxy;
mod verbs;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use kube::client::{Body, ClientBuilder};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::util::BoxCloneService;
use tower::{BoxError, Layer, ServiceExt};

use super::warnings::CollectWarnings;
use crate::metrics::Metrics;
use counted::Count;
use credentials::{Credentials, Signing};
use limits::Limit;

pub use credentials::ReadAgain;
pub(super) use limits::{CALL_LIMIT, WATCH_SECONDS, hearing};
pub use proxy::is_proxy;

/// Watches on one connection; API servers take 100 streams on each, and a LIST needs one, too.
const STREAMS: usize = 80;

/// Whatever answers requests to the API server.
pub(super) type ApiService = BoxCloneService<Request<Body>, Response<Answer>, BoxError>;
/// The content of an answer, whoever gave it.
pub(super) type Answer = UnsyncBoxBody<Bytes, BoxError>;

/// Makes the client of any service; what every request needs, wherever it goes, is here.
fn client(service: ApiService, namespace: &str, metrics: &Metrics) -> kube::Client {
    let service = CollectWarnings.layer(service);
    let service = Limit(metrics.clone()).layer(service);
    let service = Count(metrics.clone()).layer(service);
    ClientBuilder::new(service, namespace).build()
}

/// The clients of one cluster.
pub(super) struct Road {
    open: Box<dyn Fn() -> kube::Client + Send + Sync>,
    calls: kube::Client,
    watches: Mutex<Vec<Lane>>,
}

/// One connection for watches.
struct Lane {
    client: kube::Client,
    streams: Arc<Semaphore>,
}

/// A client for watches, and the room that was set aside for them.
pub(super) struct WatchClient {
    pub(super) client: kube::Client,
    _streams: Option<OwnedSemaphorePermit>,
}

impl Road {
    /// The road that a configuration describes; opens no connection yet.
    ///
    /// Fails when the configuration's credentials or certificates cannot be used.
    pub(super) fn to(config: kube::Config, again: ReadAgain, metrics: &Metrics) -> kube::Result<Self> {
        let namespace = config.default_namespace.clone();
        let credentials = Arc::new(Credentials::new(config, again)?);
        let metrics = metrics.clone();
        Ok(Self::new(move || {
            let signing = Signing::new(Arc::clone(&credentials));
            client(BoxCloneService::new(signing), &namespace, &metrics)
        }))
    }

    /// The road that ends at a service.
    pub(super) fn over<S, B>(service: S, namespace: String, metrics: &Metrics) -> Self
    where
        S: tower::Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let metrics = metrics.clone();
        Self::new(move || {
            let service = service.clone().map_err(Into::into).map_response(|answer| answer.map(answer_of));
            client(BoxCloneService::new(service), &namespace, &metrics)
        })
    }

    fn new(open: impl Fn() -> kube::Client + Send + Sync + 'static) -> Self {
        Self { calls: open(), open: Box::new(open), watches: Mutex::default() }
    }

    /// The client for calls.
    pub(super) fn calls(&self) -> kube::Client {
        self.calls.clone()
    }

    /// A client for so many watches at once, on a connection that calls do not use: a watch keeps its stream for
    /// as long as it runs.
    pub(super) fn watches(&self, count: u32) -> WatchClient {
        let mut lanes = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        for lane in lanes.iter() {
            if let Ok(permit) = Arc::clone(&lane.streams).try_acquire_many_owned(count) {
                return WatchClient { client: lane.client.clone(), _streams: Some(permit) };
            }
        }
        let streams = Arc::new(Semaphore::new(STREAMS));
        let permit = Arc::clone(&streams).try_acquire_many_owned(count).ok();
        let client = (self.open)();
        lanes.push(Lane { client: client.clone(), streams });
        WatchClient { client, _streams: permit }
    }
}

/// Any content as the content of an answer.
fn answer_of<B>(body: B) -> Answer
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}
