//! The cluster that a configuration names, and whether its credentials may do too much.

use std::net::IpAddr;
use std::time::Duration;

use futures::FutureExt;
use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use tokio::net::TcpListener;
use tracing::warn;

use super::{Refusal, refusal};
use crate::cluster::{Cluster, ReadAgain, is_proxy};
use crate::config::Config;
use crate::sandbox::Sandbox;

/// How long the start waits to hear what the credentials may do.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long until a cluster that did not answer is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// The cluster that was asked for; the sandbox lives as long as its handle.
pub(super) async fn cluster(config: &Config) -> Result<(Cluster, Option<Sandbox>), Refusal> {
    let calls = config.limits.max_api_calls;
    if config.sandbox {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener =
            listener.map_err(|error| refusal(69, format!("the sandbox finds no port: {error}")))?;
        let sandbox = Sandbox::start(listener).await;
        let sandbox =
            sandbox.map_err(|error| refusal(70, format!("the sandbox cannot be started: {error}")))?;
        let url =
            sandbox.url().parse().map_err(|error| refusal(70, format!("the sandbox's address: {error}")))?;
        let cluster = handle(kube::Config::new(url), Box::new(|| std::future::ready(None).boxed()))?;
        return Ok((cluster.with_calls(calls), Some(sandbox)));
    }
    let source = config.clone();
    let again = move || {
        let source = source.clone();
        async move { kubernetes(&source).await.ok() }.boxed()
    };
    Ok((handle(kubernetes(config).await?, Box::new(again))?.with_calls(calls), None))
}

/// Refuses credentials that may do everything, if callers come from other machines.
///
/// A cluster that does not answer now is asked again by [`too_wide`].
pub(super) async fn check_rights(config: &Config, cluster: &Cluster) -> Result<(), Refusal> {
    if config.is_local() {
        return Ok(());
    }
    match tokio::time::timeout(PATIENCE, cluster.may_do_everything()).await {
        Ok(Ok(true)) => Err(is_too_wide()),
        Ok(Ok(false)) => Ok(()),
        Ok(Err(_)) | Err(_) => {
            warn!("the cluster does not say what the adapter's credentials may do; it is asked again");
            Ok(())
        }
    }
}

/// Resolves once the cluster says that the credentials may do everything, if callers come from other machines.
pub(super) async fn too_wide(is_local: bool, cluster: &Cluster) -> Refusal {
    if is_local {
        return std::future::pending().await;
    }
    loop {
        match cluster.may_do_everything().await {
            Ok(true) => return is_too_wide(),
            Ok(false) => return std::future::pending().await,
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

fn is_too_wide() -> Refusal {
    refusal(
        77,
        "the adapter's own credentials may do everything in the cluster, and it is to listen off loopback; give it \
         the rights of deploy/served and no others",
    )
}

fn handle(config: kube::Config, again: ReadAgain) -> Result<Cluster, Refusal> {
    let proxy = config.proxy_url.as_ref();
    if proxy.is_some_and(|address| !is_proxy(address)) {
        return Err(refusal(
            78,
            "the proxy on the way to the cluster (`proxy-url` of the kubeconfig, or HTTPS_PROXY) is none of http, https \
             or socks5; name one of these",
        ));
    }
    // Whoever is named behind a proxy is named as that sees it.
    let ends = [Some(&config.cluster_url), proxy];
    let local = ends.into_iter().flatten().all(|end| end.host().is_some_and(is_loopback));
    let verified = config.cluster_url.scheme_str() == Some("https") && !config.accept_invalid_certs;
    if !local && !verified {
        return Err(refusal(
            78,
            "the cluster's address is off loopback and its certificate is not verified; use https with a certificate authority",
        ));
    }
    // The library quotes what a command for credentials has printed, and bytes of what cannot be read.
    let auth = &config.auth_info;
    let is_command = auth.exec.is_some() || auth.auth_provider.is_some();
    let is_inline = auth.client_key_data.is_some()
        || auth.client_certificate_data.is_some()
        || auth.password.is_some()
        || auth.token.is_some();
    Cluster::reading(config, again).map_err(|error| {
        let why = if is_command {
            "the command of the kubeconfig that brings credentials fails; run it by hand".to_owned()
        } else if is_inline {
            "the credentials in the kubeconfig cannot be read, or do not belong together".to_owned()
        } else {
            error.context().join("; ")
        };
        refusal(78, format!("{}: {why}", error.message()))
    })
}

/// Whether a host is this machine; a name that only looks like an address of it is not.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// What is wrong with a kubeconfig, without a piece of what stands in it: the parsers quote lines and bytes, and these
/// may be tokens and keys.
fn told(error: &KubeconfigError) -> String {
    let which = match error {
        KubeconfigError::Parse(error) => {
            let at = error.location().filter(|at| at.line() > 0);
            let at = at.map(|at| format!(" (line {}, column {})", at.line(), at.column()));
            return format!("is no kubeconfig{}", at.unwrap_or_default());
        }
        KubeconfigError::LoadCertificateAuthority(_) | KubeconfigError::ParseCertificates(_) => {
            "certificate authority"
        }
        KubeconfigError::LoadClientCertificate(_) => "client certificate",
        KubeconfigError::LoadClientKey(_) => "client key",
        KubeconfigError::ParseClusterUrl(_) => "server's address",
        KubeconfigError::ParseProxyUrl(_) => "proxy's address (its own, or HTTPS_PROXY)",
        KubeconfigError::ReadConfig(error, _) => return format!("cannot be read: {}", error.kind()),
        KubeconfigError::CurrentContextNotSet
        | KubeconfigError::KindMismatch
        | KubeconfigError::ApiVersionMismatch
        | KubeconfigError::LoadContext(_)
        | KubeconfigError::LoadClusterOfContext(_)
        | KubeconfigError::FindPath
        | KubeconfigError::MissingClusterUrl => return format!("cannot be used: {error}"),
        // What a library adds later is not known to quote nothing.
        #[allow(unreachable_patterns, reason = "further variants come with features of the library")]
        _ => return "cannot be used".to_owned(),
    };
    format!("has a {which} that cannot be read")
}

async fn kubernetes(config: &Config) -> Result<kube::Config, Refusal> {
    let options = KubeConfigOptions { context: config.context.clone(), ..KubeConfigOptions::default() };
    if let Some(path) = &config.kubeconfig {
        let wrong =
            |error: KubeconfigError| refusal(78, format!("--kubeconfig {} {}", path.display(), told(&error)));
        return found(Kubeconfig::read_from(path), &options).await.map_err(wrong);
    }
    match found(Kubeconfig::read(), &options).await {
        Ok(found) => Ok(found),
        Err(error) if config.context.is_some() => {
            Err(refusal(78, format!("--context: the kubeconfig {}", told(&error))))
        }
        Err(error) => kube::Config::incluster().map_err(|_| {
            refusal(
                78,
                format!(
                    "no cluster found: name one with --kubeconfig, run in a pod with a service account, or try \
                     --sandbox (the kubeconfig {})",
                    told(&error)
                ),
            )
        }),
    }
}

/// What a kubeconfig says of the cluster, and the environment of the proxy on the way to it, as kubectl reads them.
async fn found(
    kubeconfig: Result<Kubeconfig, KubeconfigError>,
    options: &KubeConfigOptions,
) -> Result<kube::Config, KubeconfigError> {
    let kubeconfig = kubeconfig?;
    let names_proxy = names_proxy(&kubeconfig, options);
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, options).await?;
    // The library takes HTTPS_PROXY for every cluster that names none, and holds NO_PROXY against the proxy.
    if !names_proxy && !is_proxied(&Matcher::from_env(), &config.cluster_url) {
        config.proxy_url = None;
    }
    Ok(config)
}

/// Whether a kubeconfig itself names the proxy on the way to its cluster.
fn names_proxy(kubeconfig: &Kubeconfig, options: &KubeConfigOptions) -> bool {
    let context = options.context.as_ref().or(kubeconfig.current_context.as_ref());
    let context = kubeconfig.contexts.iter().find(|one| Some(&one.name) == context);
    let cluster = context.and_then(|one| one.context.as_ref()).map(|context| &context.cluster);
    let cluster = kubeconfig.clusters.iter().find(|one| Some(&one.name) == cluster);
    let address = cluster.and_then(|one| one.cluster.as_ref()?.proxy_url.as_ref());
    address.is_some_and(|address| !address.is_empty())
}

/// Whether the environment's proxy is on the way to an address: never to this machine, nor where NO_PROXY says so.
fn is_proxied(environment: &Matcher, address: &Uri) -> bool {
    !address.host().is_some_and(is_loopback) && environment.intercept(address).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environments_proxy_is_not_on_every_way() {
        let environment = Matcher::builder()
            .https("http://proxy.example:3128")
            .no("10.0.0.0/8, .internal.example, 192.0.2.7")
            .build();
        for address in ["https://cluster.example", "https://192.0.2.8:6443", "https://[2001:db8::1]:6443"] {
            assert!(is_proxied(&environment, &address.parse().unwrap()), "{address}");
        }
        let straight = [
            "https://10.1.2.3:6443",
            "https://a.internal.example",
            "https://192.0.2.7",
            "https://localhost:1",
        ];
        for address in straight {
            assert!(!is_proxied(&environment, &address.parse().unwrap()), "{address}");
        }
        assert!(!is_proxied(&Matcher::builder().build(), &"https://cluster.example".parse().unwrap()));
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["127.evil.example", "127.0.0.1.example", "localhost.example", "10.0.0.1", "[::]", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
