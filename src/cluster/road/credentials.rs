//! Signs requests with the configuration's credentials, read again when these are refused, or the API server is not trusted.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::middleware::{AuthLayer, BaseUriLayer, ExtraHeadersLayer};
use kube::client::{AuthError, Body, ConfigExt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
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
/// How much of one answer is on its way before its reader has taken any, and of all on a connection, in bytes: bounds of
/// what waits in memory, too.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// The configuration is read again at most this often: credentials may come from a program that takes a while.
const RENEWAL: Duration = Duration::from_secs(5);
/// How long whoever was refused waits for that; it goes on, and whoever comes later may have what comes of it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a file with a token is read.
const MINUTE: Duration = Duration::from_secs(60);

/// Reads a configuration again; `None`: it cannot be read now, or there is nothing to read it from.
pub type ReadAgain = Box<dyn Fn() -> BoxFuture<'static, Option<kube::Config>> + Send + Sync>;

/// A configuration, and what was last made of it.
pub(super) struct Credentials {
    again: ReadAgain,
    current: RwLock<Arc<Signed>>,
    last: tokio::sync::Mutex<Read>,
    /// All connections lead to one place: the first that has one tells the others.
    breaker: Breaker,
}

/// A configuration as it was last read, and when that was, if it was since the start.
struct Read {
    config: kube::Config,
    at: Option<Instant>,
    /// What is being made of it: one that does not end is never begun again beside itself.
    making: Option<JoinHandle<kube::Result<Signed>>>,
}

/// What connections are opened and requests are signed with.
struct Signed {
    generation: u64,
    connector: Connector,
    auth: Option<AuthLayer>,
    token: Option<Arc<TokenFile>>,
    base: BaseUriLayer,
    headers: ExtraHeadersLayer,
    gzip: bool,
}

impl Credentials {
    /// Reads the credentials that the configuration names.
    pub(super) fn new(config: kube::Config, again: ReadAgain) -> kube::Result<Self> {
        let current = RwLock::new(Arc::new(Signed::read(&config, 0)?));
        Ok(Self {
            again,
            current,
            last: tokio::sync::Mutex::new(Read { config, at: None, making: None }),
            breaker: Breaker::default(),
        })
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
        let Read { config, at, making } = &mut *last;
        if making.is_none() {
            if at.is_some_and(|at| at.elapsed() < RENEWAL) {
                return false;
            }
            *at = Some(Instant::now());
            if let Some(read) = (self.again)().await {
                // Never another address, and never less to verify: that was checked at the start.
                config.root_cert = read.root_cert;
                config.root_cert_file = read.root_cert_file;
                config.auth_info = read.auth_info;
            }
            let config = config.clone();
            // Files are read, and perhaps a program is run.
            *making = Some(tokio::task::spawn_blocking(move || Signed::read(&config, refused + 1)));
        }
        let (Some(making_now), Some(begun)) = (making.as_mut(), *at) else { return false };
        let Ok(made) = timeout_at(begun + PATIENCE, making_now).await else { return false };
        *making = None;
        match made {
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

/// A token in a file. Who brings it writes a new one there before the old one ends, and perhaps an end of line behind it.
struct TokenFile {
    path: PathBuf,
    now: Mutex<(HeaderValue, Instant)>,
}

impl TokenFile {
    fn open(path: PathBuf) -> kube::Result<Arc<Self>> {
        let value = Self::read(&path)
            .map_err(|error| kube::Error::Auth(AuthError::ReadTokenFile(error, path.clone())))?;
        Ok(Arc::new(Self { path, now: Mutex::new((value, Instant::now())) }))
    }

    fn read(path: &Path) -> io::Result<HeaderValue> {
        let text = fs::read_to_string(path)?;
        let value = HeaderValue::try_from(format!("Bearer {}", text.trim()));
        let mut value = value.map_err(|_| io::Error::other("no header can carry it"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// What `authorization` says now; the last token that could be read, where there is none any more.
    fn value(&self) -> HeaderValue {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.1.elapsed() >= MINUTE {
            let value = Self::read(&self.path).unwrap_or_else(|_| now.0.clone());
            *now = (value, Instant::now());
        }
        now.0.clone()
    }
}

impl Signed {
    fn read(config: &kube::Config, generation: u64) -> kube::Result<Self> {
        let mut config = config.clone();
        // What it shows in the place of a file, the library does not need the file for.
        let auth = &mut config.auth_info;
        let has_name = auth.username.is_some() && auth.password.is_some();
        let shows_other = auth.token.is_some() || auth.auth_provider.is_some() || has_name;
        let file = auth.token_file.take().filter(|_| !shows_other);
        Ok(Self {
            generation,
            connector: connector(&config)?,
            auth: config.auth_layer()?,
            token: file.map(|path| TokenFile::open(path.into())).transpose()?,
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
            // A list of a large deployment comes in one round trip.
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .build(self.connector.clone());
        let token = self.token.clone();
        let shows = move |mut request: Request<Body>| {
            if let Some(token) = &token {
                request.headers_mut().insert(AUTHORIZATION, token.value());
            }
            request
        };
        let unpack = DecompressionLayer::new().no_br().no_deflate().no_zstd().gzip(self.gzip);
        let service = ServiceBuilder::new()
            .layer(&self.base)
            .layer(unpack)
            .option_layer(self.auth.as_ref())
            .map_request(shows)
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
}

impl Signing {
    pub(super) fn new(credentials: Arc<Credentials>) -> Self {
        let signed = credentials.current();
        let built = Arc::new(Mutex::new((signed.generation, signed.stack())));
        Self { credentials, built, gate: Arc::default() }
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
        let answer = self.credentials.breaker.pass(&self.gate, service.oneshot(request)).await;
        let is_refused = match &answer {
            Ok(answer) => answer.status() == StatusCode::UNAUTHORIZED,
            // Nothing was asked yet.
            Err(error) => is_of_tls(&**error),
        };
        let Some(again) = again.filter(|_| is_refused) else { return answer };
        if !self.credentials.renew(generation).await {
            return answer;
        }
        self.credentials.breaker.pass(&self.gate, self.current().1.oneshot(again)).await
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_token_of_a_file_is_what_a_header_can_carry_of_it() {
        let path = std::env::temp_dir().join(format!("panamax-token-{}", std::process::id()));
        let shown = |text: &str| {
            fs::write(&path, text).unwrap();
            TokenFile::read(&path).map(|value| value.to_str().unwrap().to_owned()).ok()
        };
        for text in ["a.token", "a.token\n", " a.token\r\n\n"] {
            assert_eq!(shown(text).as_deref(), Some("Bearer a.token"), "{text:?}");
        }
        assert_eq!(shown("a\nb"), None);
        fs::remove_file(&path).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_does_not_end_is_never_begun_again_beside_itself() {
        let begun = std::env::temp_dir().join(format!("panamax-command-{}", std::process::id()));
        let line = format!("echo begun >> '{}'; sleep 1", begun.display());
        let exec = json!({ "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never",
                           "command": "sh", "args": ["-c", line] });
        let usual = || kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let again = move || {
            let mut config = usual();
            config.auth_info = serde_json::from_value(json!({ "exec": exec })).unwrap();
            std::future::ready(Some(config)).boxed()
        };
        let credentials = Credentials::new(usual(), Box::new(again)).unwrap();
        for _ in 0..5 {
            // Whoever asks leaves.
            assert_ne!(credentials.renew(0).now_or_never(), Some(true));
            tokio::time::advance(RENEWAL * 2).await;
        }
        let making = credentials.last.lock().await.making.take().unwrap();
        assert!(making.await.unwrap().is_err());
        // One reading runs it twice, one after the other: for a certificate and for a token.
        assert_eq!(fs::read_to_string(&begun).unwrap(), "begun\nbegun\n");
        fs::remove_file(&begun).unwrap();
    }
}
