//! Opens connections to the API server: each within its time, the handshake of TLS included.

use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::Uri;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use kube::client::ConfigExt;
use tower::{BoxError, Service};

use super::proxy::Way;

/// How long a connection may take to open, and how long until it is encrypted, too: who takes connections and says
/// nothing is no better than who takes none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const WHOLE: Duration = Duration::from_secs(5);

/// Opens connections.
pub(super) type Connector = InTime<HttpsConnector<Way>>;

/// Opens connections: over TLS with HTTP/2 where the API server has it, else with HTTP/1.1.
pub(super) fn connector(config: &kube::Config) -> kube::Result<Connector> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    // Requests are small: held back until the one before is acknowledged, each could stall for 40 ms.
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let mut builder =
        HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?).https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name.clone().try_into().map_err(kube::client::RustlsTlsError::InvalidServerName);
        let name = name.map_err(kube::Error::RustlsTls)?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(InTime(builder.enable_all_versions().wrap_connector(Way::of(config, tcp)?)))
}

/// Opens connections within their time.
#[derive(Clone)]
pub(super) struct InTime<C>(C);

impl<C> Service<Uri> for InTime<C>
where
    C: Service<Uri, Error = BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<C::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let opening = tokio::time::timeout(WHOLE, self.0.call(address));
        async move { opening.await.unwrap_or_else(|_| Err("no connection was opened in time".into())) }
            .boxed()
    }
}
