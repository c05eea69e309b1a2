//! The server: services, health and reflection on a listener, until it is asked to stop.

mod accept;
mod activity;
mod answers;
mod capacity;
mod connections;
mod cuts;
mod endings;
mod envelope;
mod facade;
mod frames;
mod gate;
mod health;
mod identity;
mod limits;
mod listener;
mod measured;
mod messages;
mod metadata;
mod origin;
mod pages;
mod port;
mod questions;
mod refusing;
mod standing;
mod streams;
mod telling;
mod tls;
mod wire;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::future::OptionFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tower::util::MapResponse;
use tower::{Layer, Service};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{info, warn};

use crate::callers::Callers;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::is_loopback;
use crate::grpc::{DeploymentApi, ServerApi, Serving, TemplateApi};
use crate::metrics::Metrics;
use crate::operations::{Operations, Settings};
use crate::proto;
use crate::proto::deployment_service_server::DeploymentServiceServer;
use crate::proto::health::health_server::HealthServer;
use crate::proto::server_service_server::ServerServiceServer;
use crate::proto::template_service_server::TemplateServiceServer;
use crate::rest::{MAX_BODY_BYTES, Rest};

use accept::Door;
use connections::{Ends, Rules};
use facade::Facade;
use health::Health;
use limits::Limits;
use pages::Hosts;
use port::Port;
use tls::Speaks;

pub use capacity::Capacity;
pub use listener::{BindError, Listener};
pub use tls::{Files, Tls};

/// How often the cluster is asked whether it is there, and how often while it is not.
const PROBE: Duration = Duration::from_secs(10);
const PROBE_LOST: Duration = Duration::from_millis(500);
/// The most files that the façade for the old agents has open: a place is given back a moment after its connection was
/// ended, and handshakes have some, too.
pub const FILES_OF_FACADE: usize = facade::CONNECTIONS + 64;
/// How long connections may take to end once everything else has.
const LAST: Duration = Duration::from_millis(100);

/// Why the server ended without being asked to.
#[derive(Debug)]
pub enum Failure {
    /// The descriptor set cannot be served.
    Reflection(tonic_reflection::server::Error),
}

impl From<tonic_reflection::server::Error> for Failure {
    fn from(error: tonic_reflection::server::Error) -> Self {
        Self::Reflection(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reflection(error) => write!(formatter, "reflection cannot be served: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

/// The parts of the server.
pub struct Parts {
    /// The cluster.
    pub cluster: Cluster,
    /// Whether the cluster is the sandbox.
    pub sandbox: bool,
    /// What the operations need to know.
    pub settings: Settings,
    /// Where time comes from.
    pub clock: Clock,
    /// What is known of callers.
    pub callers: Callers,
    /// How long running operations may take to end.
    pub drain_timeout: Duration,
    /// The certificates that callers meet; `None`: nothing is encrypted.
    pub tls: Option<Arc<Tls>>,
    /// How much is served at once.
    pub capacity: Capacity,
}

/// Serves until `shutdown` resolves, then drains: streams end, running operations finish or are left to
/// their lease, and it returns within the drain timeout whatever the callers do.
///
/// Fails when reflection cannot be served.
pub async fn run(
    parts: Parts,
    listener: impl Into<Listener>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let listeners = Listeners { main: listener.into(), metrics: None, rest: None };
    run_all(parts, listeners, shutdown).await
}

/// Where callers of every kind arrive.
pub struct Listeners {
    /// Those who speak gRPC.
    pub main: Listener,
    /// Those who look at what is measured.
    pub metrics: Option<TcpListener>,
    /// The old agents.
    pub rest: Option<TcpListener>,
}

/// Serves as [`run`] does, on all listeners.
pub async fn run_all(
    parts: Parts,
    listeners: Listeners,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let metrics = parts.cluster.metrics().clone();
    let ends = Ends { stop: CancellationToken::new(), cut: CancellationToken::new() };
    // Whatever ends this, nothing of it goes on.
    let _cut = ends.cut.clone().drop_guard();
    let clock = parts.clock.clone();
    let api_calls = parts.cluster.most_calls();
    let operations = Operations::new(parts.cluster, parts.settings, parts.clock, ends.stop.clone());
    operations.keep();
    let health = Health::new();
    let capacity = parts.capacity;
    let limits = Limits::new(&capacity, metrics.clone());
    let mut serving = serving(parts.sandbox, &parts.callers, capacity, listeners.rest.is_some());
    serving.api_calls = api_calls;
    let inside = Inside { health: &health, callers: &parts.callers, limits: &limits, stop: &ends.stop };
    let service = service(&operations, serving, capacity, &inside, &metrics)?;
    let door = |listener, speaks, connections| {
        let tls = parts.tls.clone().map(|tls| (tls, speaks));
        let capacity = Capacity { connections, ..capacity };
        Door::new(listener, tls, clock.clone(), capacity, metrics.clone())
    };
    let rules = Rules { idle: capacity.idle, age: capacity.age };
    let main = door(listeners.main, Speaks::Http2, capacity.connections);
    let main = connections::serve(main, service, capacity, ends.clone(), metrics.clone());
    let rest = listeners.rest.map(|listener| {
        let (callers, metrics) = (parts.callers.clone(), metrics.clone());
        let rest = Rest::new(operations.clone());
        let is_ours_alone = listener.local_addr().is_ok_and(|address| is_loopback(address.ip()));
        // Over TLS a browser believes no name that the certificate does not have.
        let is_open = is_ours_alone && parts.tls.is_none() && !callers.know_anybody();
        let hosts = if is_open { Hosts::Own } else { Hosts::Any };
        let facade = Facade { rest, callers, limits, metrics, hosts, stop: ends.stop.clone() };
        // A place is given back a moment after its connection was ended.
        let door = door(listener.into(), Speaks::Http1, FILES_OF_FACADE);
        facade::serve(door, facade, rules, ends.clone())
    });
    let serving = async {
        tokio::join!(main, OptionFuture::from(rest));
    };
    let port = Port { metrics: metrics.clone(), health: health.clone() };
    let port = async {
        match listeners.metrics {
            Some(listener) => port.serve(listener).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(serving, port);
    tokio::select! {
        () = &mut serving => return Ok(()),
        () = &mut port => {}
        () = probe(operations.clone(), &health) => {}
        () = follow(parts.tls.as_deref(), &clock) => {}
        () = parts.callers.follow() => {}
        () = shutdown => {}
    }
    info!("shutting down");
    health.stop();
    ends.stop.cancel();
    // A silent client would keep the server waiting for ever; the drain timeout does not.
    let drained = tokio::time::timeout(parts.drain_timeout, async {
        tokio::join!(operations.drain(), &mut serving);
    });
    let is_drained = tokio::select! {
        drained = drained => drained.is_ok(),
        () = port => true,
    };
    if !is_drained {
        warn!("drain timeout passed; what is left goes on after its lease");
        ends.cut.cancel();
        // What is cut is counted; the process ends in any case.
        let _ = tokio::time::timeout(LAST, serving).await;
    }
    Ok(())
}

/// What the server tells of how it serves.
fn serving(sandbox: bool, callers: &Callers, capacity: Capacity, serves_rest: bool) -> Serving {
    Serving {
        sandbox,
        metadata: capacity.metadata,
        message: capacity.message,
        memory: capacity.memory,
        coming: capacity.coming,
        connections: capacity.connections,
        handshakes: capacity.handshakes,
        handshake: capacity.handshake,
        streams: capacity.streams,
        watches_of_connection: capacity.watches_of_connection,
        taking: capacity.taking,
        calls: capacity.calls,
        watches: capacity.watches,
        each: callers.bounds(),
        rest: serves_rest.then_some((facade::CONNECTIONS, MAX_BODY_BYTES)),
        idle: capacity.idle,
        age: capacity.age,
        api_calls: 0,
    }
}

/// What the layers look at.
struct Inside<'s> {
    health: &'s Health,
    callers: &'s Callers,
    limits: &'s Limits,
    stop: &'s CancellationToken,
}

/// All services behind all layers, the outermost first.
#[expect(clippy::type_complexity, reason = "a type of its own could not name what `impl` hides")]
fn service(
    operations: &Operations,
    serving: Serving,
    capacity: Capacity,
    inside: &Inside<'_>,
    metrics: &Metrics,
) -> Result<
    impl Service<
        Request<Incoming>,
        Response = Response<Body>,
        Error = Infallible,
        Future = impl Future<Output = Result<Response<Body>, Infallible>> + Send + use<>,
    > + Clone
    + Send
    + Sync
    + use<>,
    Failure,
> {
    let service = CatchPanicLayer::custom(panicked).layer(routes(operations, serving, inside.health)?);
    let longest = operations.settings().requests.max_deadline;
    let answers = answers::Answers::new(capacity, longest, metrics.clone(), inside.stop.clone());
    let service = inside.limits.layer(answers.layer(service));
    // Who is not known gets no place and has no body read.
    let service = identity::Identity::new(inside.callers.clone(), metrics.clone()).layer(service);
    let service = metadata::Metadata::new(capacity.metadata, metrics.clone()).layer(service);
    let service = measured::Measure::new(metrics.clone()).layer(gate::Gate.layer(service));
    Ok(MapResponse::new(service, messages::spelt))
}

/// A service that takes and sends gzip, of which a message may have so many bytes. Generated services share no trait.
macro_rules! bounded {
    ($service:expr, $bytes:expr) => {
        $service
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size($bytes)
    };
}

/// All services, each by gzip or without. A client that compresses all of its calls asks after health so, too.
fn routes(operations: &Operations, serving: Serving, health: &Health) -> Result<Routes, Failure> {
    let deployments = DeploymentServiceServer::new(DeploymentApi::new(operations.clone()));
    let templates = TemplateServiceServer::new(TemplateApi::new(operations.clone()));
    let longest = serving.message;
    let server = ServerServiceServer::new(ServerApi::new(operations.clone(), serving));
    Ok(Routes::new(bounded!(HealthServer::new(health.clone()), questions::LONGEST))
        .add_service(bounded!(reflection().build_v1()?, questions::LONGEST))
        .add_service(bounded!(reflection().build_v1alpha()?, questions::LONGEST))
        .add_service(bounded!(deployments, longest))
        .add_service(bounded!(templates, longest))
        .add_service(bounded!(server, longest))
        .prepare())
}

/// Follows changes of the certificates, if there are any; never returns.
async fn follow(tls: Option<&Tls>, clock: &Clock) {
    match tls {
        Some(tls) => tls.follow(clock).await,
        None => std::future::pending().await,
    }
}

/// Keeps the health of the services that need the cluster true; never returns.
async fn probe(operations: Operations, health: &Health) {
    let mut known = None;
    loop {
        let reachable = match operations.cluster_version().await {
            Ok(version) => {
                if known != Some(true) {
                    info!(version, "cluster answers");
                }
                true
            }
            Err(error) => {
                if known != Some(false) {
                    warn!(told = error.message(), context = ?error.context(), "cluster does not answer");
                }
                false
            }
        };
        if known != Some(reachable) {
            health.cluster(reachable);
            known = Some(reachable);
        }
        tokio::time::sleep(if reachable { PROBE } else { PROBE_LOST }).await;
    }
}

/// A handler that panics answers INTERNAL; the connection and the process live on.
fn panicked(_panic: Box<dyn std::any::Any + Send>) -> http::Response<tonic::body::Body> {
    answers::panicked()
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(proto::HEALTH_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}
