//! The server: services, health and reflection on a listener, until it is asked to stop.

mod accept;
mod answers;
mod envelope;
mod gate;
mod identity;
mod limits;
mod origin;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::util::MapRequestLayer;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{info, warn};

use crate::callers::Callers;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::grpc::{DeploymentApi, MAX_MESSAGE_BYTES, ServerApi, TemplateApi};
use crate::operations::{Operations, Settings};
use crate::proto;
use crate::proto::deployment_service_server::DeploymentServiceServer;
use crate::proto::server_service_server::ServerServiceServer;
use crate::proto::template_service_server::TemplateServiceServer;

pub use tls::{Files, Tls, Unusable};

/// How often the cluster is asked whether it is there, and how often while it is not.
const PROBE: Duration = Duration::from_secs(10);
const PROBE_LOST: Duration = Duration::from_secs(1);
/// HTTP/2 limits; tonic leaves all of them open.
const STREAMS: u32 = 1_000;
const LOCAL_RESETS: usize = 128;
const PENDING_RESETS: usize = 20;
const HEADER_LIST: u32 = 16 * 1024;
const FRAME: u32 = 16 * 1024;
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// The services that need the cluster.
const CLUSTERED: [&str; 2] = ["", "panamax.kubernetes.v1.DeploymentService"];
/// The services that do not.
const ALWAYS: [&str; 2] = ["panamax.kubernetes.v1.TemplateService", "panamax.kubernetes.v1.ServerService"];

/// Why the server ended without being asked to.
#[derive(Debug)]
pub enum Failure {
    /// The listener or a connection's set-up failed.
    Transport(tonic::transport::Error),
    /// The descriptor set cannot be served.
    Reflection(tonic_reflection::server::Error),
}

impl From<tonic::transport::Error> for Failure {
    fn from(error: tonic::transport::Error) -> Self {
        Self::Transport(error)
    }
}

impl From<tonic_reflection::server::Error> for Failure {
    fn from(error: tonic_reflection::server::Error) -> Self {
        Self::Reflection(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Transport(error) => write!(formatter, "serving failed: {error}"),
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

/// How much is served at once, of all callers together; the defaults are those of the flags.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// The most connections; one more is closed.
    pub connections: usize,
    /// The most calls; one more is refused.
    pub calls: usize,
    /// The most watches; one more is refused.
    pub watches: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { connections: 1_000, calls: 256, watches: 10_000 }
    }
}

/// Serves until `shutdown` resolves, then drains: streams end, running operations finish or are left to
/// their lease, and it returns within the drain timeout whatever the callers do.
///
/// Fails when the listener does.
pub async fn run(
    parts: Parts,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let clock = parts.clock.clone();
    let operations = Operations::new(parts.cluster, parts.settings, parts.clock, stop.clone());
    operations.keep();
    let (reporter, health) = tonic_health::server::health_reporter();
    for service in CLUSTERED {
        reporter.set_service_status(service, ServingStatus::NotServing).await;
    }
    for service in ALWAYS {
        reporter.set_service_status(service, ServingStatus::Serving).await;
    }
    let reflection_v1 = reflection().build_v1()?;
    let reflection_v1alpha = reflection().build_v1alpha()?;
    let router = Server::builder()
        .accept_http1(true)
        .max_concurrent_streams(STREAMS)
        .http2_max_local_error_reset_streams(Some(LOCAL_RESETS))
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS))
        .http2_max_header_list_size(HEADER_LIST)
        .max_frame_size(FRAME)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .layer(MapRequestLayer::new(accept::introduced))
        .layer(gate::Gate)
        .layer(limits::Limits::new(parts.capacity.calls, parts.capacity.watches))
        .layer(identity::Identity(parts.callers.clone()))
        .layer(answers::Answers)
        .layer(CatchPanicLayer::custom(panicked))
        .add_service(health)
        .add_service(reflection_v1)
        .add_service(reflection_v1alpha)
        .add_service(
            DeploymentServiceServer::new(DeploymentApi::new(operations.clone()))
                .accept_compressed(CompressionEncoding::Gzip)
                .send_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
        )
        .add_service(
            TemplateServiceServer::new(TemplateApi::new(operations.clone()))
                .accept_compressed(CompressionEncoding::Gzip)
                .send_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
        )
        .add_service(
            ServerServiceServer::new(ServerApi::new(operations.clone(), parts.sandbox))
                .accept_compressed(CompressionEncoding::Gzip)
                .send_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
        );
    let incoming = accept::incoming(listener, parts.tls.clone(), parts.capacity.connections);
    let serving = router.serve_with_incoming_shutdown(incoming, stop.cancelled());
    tokio::pin!(serving);
    let probe = probe(operations.clone(), reporter.clone());
    tokio::select! {
        served = &mut serving => return Ok(served?),
        () = probe => {}
        () = follow(parts.tls.as_deref(), &clock) => {}
        () = parts.callers.follow() => {}
        () = shutdown => {}
    }
    info!("shutting down");
    for service in CLUSTERED.into_iter().chain(ALWAYS) {
        reporter.set_service_status(service, ServingStatus::NotServing).await;
    }
    stop.cancel();
    // A silent client would keep the server waiting for ever; the drain timeout does not.
    let drained = tokio::time::timeout(parts.drain_timeout, async {
        operations.drain().await;
        serving.await
    });
    match drained.await {
        Ok(served) => Ok(served?),
        Err(_) => {
            warn!("drain timeout passed; what is left goes on after its lease");
            Ok(())
        }
    }
}

/// Follows changes of the certificates, if there are any; never returns.
async fn follow(tls: Option<&Tls>, clock: &Clock) {
    match tls {
        Some(tls) => tls.follow(clock).await,
        None => std::future::pending().await,
    }
}

/// Keeps the health of the services that need the cluster true; never returns.
async fn probe(operations: Operations, reporter: HealthReporter) {
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
            let status = if reachable { ServingStatus::Serving } else { ServingStatus::NotServing };
            for service in CLUSTERED {
                reporter.set_service_status(service, status).await;
            }
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
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}
