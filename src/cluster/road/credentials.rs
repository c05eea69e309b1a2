//! Signs requests with the configuration's credentials, read again when these are refused, or the API server is not trusted.

use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::middleware::{AuthLayer, BaseUriLayer, ExtraHeadersLayer};
use kube::client::{Body, ConfigExt};
use tower::util::BoxCloneService;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use tower_http::decompression::DecompressionLayer;
use tracing::{debug, info};

use super::breaker::Breaker;
use super::connect::{Connector, connector};
use super::gate::Gate;
use super::{Answer, ApiService, answer_of};

/// How often a connection over HTTP/2 is tried, and how long its other end may take to answer: a silent one is
/// noticed within the two together.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(10);
/// The configuration is read again at most this often: credentials may come from a program that takes a while.
const RENEWAL: Duration = Duration::from_secs(5);

/// Reads a configuration again; `None`: it cannot be read now, or there is nothing to read it from.
pub type ReadAgain = Box<dyn Fn() -> BoxFuture<'static, Option<kube::Config>> + Send + Sync>;

/// A configuration, and what was last made of it.
pub(super) struct Credentials {
    again: ReadAgain,
    current: RwLock<Arc<Signed>>,
    last: tokio::sync::Mutex<Read>,
}

/// A configuration as it was last read, and when that was, if it was since the start.
struct Read {
    config: kube::Config,
    at: Option<Instant>,
}

/// What connections are opened and requests are signed with.
struct Signed {
    generation: u64,
    connector: Connector,
    auth: Option<AuthLayer>,
    base: BaseUriLayer,
    headers: ExtraHeadersLayer,
    gzip: bool,
}

impl Credentials {
    /// Reads the credentials that the configuration names.
    pub(super) fn new(config: kube::Config, again: ReadAgain) -> kube::Result<Self> {
        let current = RwLock::new(Arc::new(Signed::read(&config, 0)?));
        Ok(Self { again, current, last: tokio::sync::Mutex::new(Read { config, at: None }) })
    }

    fn current(&self) -> Arc<Signed> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the configuration again, after that of a generation was of no use; returns whether it may be another.
    async fn renew(&self, refused: u64) -> bool {
        let mut last = self.last.lock().await;
        if self.current().generation != refused {
            return true;
        }
        if last.at.is_some_and(|at| at.elapsed() < RENEWAL) {
            return false;
        }
        last.at = Some(Instant::now());
        if let Some(read) = (self.again)().await {
            // Never another address, and never less to verify: that was checked at the start.
            last.config.root_cert = read.root_cert;
            last.config.root_cert_file = read.root_cert_file;
            last.config.auth_info = read.auth_info;
        }
        let config = last.config.clone();
        // Files are read, and perhaps a program is run.
        match tokio::task::spawn_blocking(move || Signed::read(&config, refused + 1)).await {
            Ok(Ok(signed)) => {
                info!("credentials read again");
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(signed);
                true
            }
            Ok(Err(error)) => {
                debug!(error = super::super::errors::describe(&error), "credentials not read again");
                false
            }
            Err(_) => false,
        }
    }
}

impl Signed {
    fn read(config: &kube::Config, generation: u64) -> kube::Result<Self> {
        Ok(Self {
            generation,
            connector: connector(config)?,
            auth: config.auth_layer()?,
            base: config.base_uri_layer(),
            headers: config.extra_headers_layer()?,
            gzip: !config.disable_compression,
        })
    }

    /// kube's own stack on a client with connections of its own.
    fn stack(&self) -> ApiService {
        let client: Client<_, Body> = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PONG)
            .http2_keep_alive_while_idle(true)
            .http2_adaptive_window(true)
            .build(self.connector.clone());
        let unpack = DecompressionLayer::new().no_br().no_deflate().no_zstd().gzip(self.gzip);
        let service = ServiceBuilder::new()
            .layer(&self.base)
            .layer(unpack)
            .option_layer(self.auth.as_ref())
            .layer(&self.headers)
            .map_err(BoxError::from)
            .service(client);
        BoxCloneService::new(service.map_response(|answer| answer.map(answer_of)))
    }
}

/// A client's connections, signed for.
#[derive(Clone)]
pub(super) struct Signing {
    credentials: Arc<Credentials>,
    built: Arc<Mutex<(u64, ApiService)>>,
    gate: Arc<Gate>,
    breaker: Arc<Breaker>,
}

impl Signing {
    pub(super) fn new(credentials: Arc<Credentials>) -> Self {
        let signed = credentials.current();
        let built = Arc::new(Mutex::new((signed.generation, signed.stack())));
        Self { credentials, built, gate: Arc::default(), breaker: Arc::default() }
    }

    /// The service with the newest credentials, and their generation.
    fn current(&self) -> (u64, ApiService) {
        let signed = self.credentials.current();
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if built.0 != signed.generation {
            *built = (signed.generation, signed.stack());
        }
        built.clone()
    }

    async fn send(self, request: Request<Body>) -> Result<Response<Answer>, BoxError> {
        let again = copy(&request);
        let (generation, service) = self.current();
        let answer = self.breaker.pass(&self.gate, service.oneshot(request)).await;
        let is_refused = match &answer {
            Ok(answer) => answer.status() == StatusCode::UNAUTHORIZED,
            // Nothing was asked yet.
            Err(error) => is_of_tls(&**error),
        };
        let Some(again) = again.filter(|_| is_refused) else { return answer };
        if !self.credentials.renew(generation).await {
            return answer;
        }
        self.breaker.pass(&self.gate, self.current().1.oneshot(again)).await
    }
}

impl Service<Request<Body>> for Signing {
    type Response = Response<Answer>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.clone().send(request).boxed()
    }
}

/// Whether the two ends do not trust each other: a certificate of an authority that was replaced.
fn is_of_tls(error: &(dyn Error + 'static)) -> bool {
    // An error of a connection does not count what it wraps among its sources.
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<rustls::Error>()
        || wrapped.is_some_and(|inner| is_of_tls(inner))
        || error.source().is_some_and(is_of_tls)
}

/// The request once more; `None` if its content is a stream.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}
