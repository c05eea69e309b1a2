//! Opens connections to the API server: straight, or through the proxy that the configuration names.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use kube::client::ConfigExt;
use tokio::net::TcpStream;
use tower::{BoxError, Service};

/// Where a SOCKS proxy listens whose address has no port.
const SOCKS_PORT: u16 = 1080;

/// Whether an address is one of a proxy that can be gone through: of `http`, `https` or `socks5`.
pub fn is_proxy(address: &Uri) -> bool {
    proxy(address).is_some()
}

/// The proxy at an address, with the credentials that the address holds.
fn proxy(address: &Uri) -> Option<Intercept> {
    let (scheme, authority) = (address.scheme_str().unwrap_or("http"), address.authority()?.as_str());
    // A password may have an `@` of its own, at which the library would cut it; the last one ends it.
    let text = match authority.rsplit_once('@') {
        Some((credentials, place)) => format!("{scheme}://{}@{place}", credentials.replace('@', "%40")),
        None => format!("{scheme}://{authority}"),
    };
    let all = Matcher::builder().https(text).build();
    let proxy = all.intercept(&Uri::from_static("https://any"))?;
    matches!(proxy.uri().scheme_str(), Some("http" | "https" | "socks5" | "socks5h")).then_some(proxy)
}

/// Opens connections to the API server, on which nothing is encrypted yet that is for the API server.
#[derive(Clone)]
pub(super) enum Way {
    Straight(HttpConnector),
    Tunnel(Tunnel<HttpConnector>),
    /// Encrypted up to the proxy, and in it once more up to the API server.
    EncryptedTunnel(Tunnel<HttpsConnector<HttpConnector>>),
    Socks(SocksV5<HttpConnector>),
}

impl Way {
    /// The way of a configuration; `tcp` opens its connections.
    pub(super) fn of(config: &kube::Config, tcp: HttpConnector) -> kube::Result<Self> {
        let Some(address) = &config.proxy_url else { return Ok(Self::Straight(tcp)) };
        let unknown = || kube::Error::Service("the proxy is none of http, https or socks5".into());
        let proxy = proxy(address).ok_or_else(unknown)?;
        Ok(match proxy.uri().scheme_str() {
            Some("http") => Self::Tunnel(tunnel(&proxy, tcp)),
            Some("https") => {
                // As kubectl does: the proxy is trusted by the authority of the cluster. It speaks HTTP/1.1.
                let tls = HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?);
                Self::EncryptedTunnel(tunnel(&proxy, tls.https_only().enable_http1().wrap_connector(tcp)))
            }
            _ => {
                let socks = SocksV5::new(with_port(proxy.uri(), SOCKS_PORT).ok_or_else(unknown)?, tcp);
                Self::Socks(match proxy.raw_auth() {
                    Some((user, password)) => socks.with_auth(user.to_owned(), password.to_owned()),
                    None => socks,
                })
            }
        })
    }
}

fn tunnel<C>(proxy: &Intercept, opens: C) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy.uri().clone(), opens);
    match proxy.basic_auth() {
        Some(auth) => tunnel.with_auth(auth.clone()),
        None => tunnel,
    }
}

/// An address with a port, its own if it has one.
fn with_port(address: &Uri, port: u16) -> Option<Uri> {
    if address.port().is_some() {
        return Some(address.clone());
    }
    let authority = format!("{}:{port}", address.host()?);
    Uri::builder().scheme(address.scheme_str()?).authority(authority).path_and_query("/").build().ok()
}

impl Service<Uri> for Way {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Straight(way) => way.poll_ready(context).map_err(Into::into),
            Self::Tunnel(way) => way.poll_ready(context).map_err(Into::into),
            Self::EncryptedTunnel(way) => way.poll_ready(context).map_err(Into::into),
            Self::Socks(way) => way.poll_ready(context).map_err(Into::into),
        }
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        match self {
            Self::Straight(way) => way.call(address).map_ok(Into::into).map_err(Into::into).boxed(),
            Self::Tunnel(way) => way.call(address).map_ok(Into::into).map_err(Into::into).boxed(),
            Self::EncryptedTunnel(way) => way.call(address).map_err(Into::into).boxed(),
            Self::Socks(way) => way.call(address).map_ok(Into::into).map_err(Into::into).boxed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_at_sign_ends_a_password() {
        for address in ["socks5://user:p@ss@proxy.example:1", "socks5://user:p%40ss@proxy.example:1"] {
            let found = proxy(&address.parse().unwrap()).unwrap();
            assert_eq!(found.raw_auth(), Some(("user", "p@ss")), "{address}");
            assert_eq!(found.uri().to_string(), "socks5://proxy.example:1/");
        }
    }
}
