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
/// Stands for no proxy until the configuration is read.
const UNUSED: &str = "http://unused";
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
    let named = [("the cluster's address", Some(&config.cluster_url)), ("the proxy's address", proxy)];
    for (what, address) in named.into_iter().filter_map(|(what, address)| Some((what, address?))) {
        if has_no_port(address) {
            return Err(refusal(78, format!("{what} names a port that is none; ports are 1 to 65535")));
        }
    }
    let holds_more = config.cluster_url.authority().is_some_and(|authority| authority.as_str().contains('@'))
        || config.cluster_url.query().is_some();
    if holds_more {
        return Err(refusal(
            78,
            "the cluster's address holds a user, a password or a query; credentials belong to `users` of the kubeconfig",
        ));
    }
    // A proxy on another machine looks the cluster's address up there: its `localhost` is not this machine.
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

/// Whether an address has something behind its host that is no port. The libraries take that for no port at all, and
/// ask the one that is usual.
fn has_no_port(address: &Uri) -> bool {
    let Some(authority) = address.authority() else { return false };
    let behind = authority.as_str().rsplit('@').next().and_then(|named| named.strip_prefix(authority.host()));
    !matches!(behind, Some("")) && address.port_u16().is_none_or(|port| port == 0)
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

/// The configuration of a kubeconfig, with the proxy that the kubeconfig or the environment names, as kubectl reads them.
async fn found(
    kubeconfig: Result<Kubeconfig, KubeconfigError>,
    options: &KubeConfigOptions,
) -> Result<kube::Config, KubeconfigError> {
    let mut kubeconfig = kubeconfig?;
    let names_proxy = names_proxy(&kubeconfig, options);
    if !names_proxy {
        // Where none is named, the library takes HTTPS_PROXY for every cluster, and holds NO_PROXY against the proxy.
        for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
            cluster.proxy_url = Some(UNUSED.to_owned());
        }
    }
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, options).await?;
    if !names_proxy {
        // The first that is not empty, as Go's clients read them.
        let of = |names: [&str; 2]| {
            names.iter().find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()))
        };
        let except = of(["NO_PROXY", "no_proxy"]).unwrap_or_default();
        let proxy = of(["HTTPS_PROXY", "https_proxy"]).filter(|_| is_proxied(&except, &config.cluster_url));
        let address = proxy.map(|proxy| proxy.parse()).transpose();
        config.proxy_url = address.map_err(KubeconfigError::ParseProxyUrl)?;
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
///
/// NO_PROXY lists `*` for everything, addresses, networks, and names with all below them; each may have a port.
fn is_proxied(except: &str, address: &Uri) -> bool {
    let port = address.port_u16().unwrap_or(443).to_string();
    let mut entries: Vec<&str> = except.split(',').map(str::trim).collect();
    for entry in &mut entries {
        *entry = entry.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(entry);
        let (host, behind) = entry.rsplit_once(':').unwrap_or((entry, ""));
        // An address of IPv6 has colons of its own, and brackets where a port follows.
        if !behind.is_empty() && (!host.contains(':') || host.ends_with(']')) {
            *entry = if behind == port { host } else { "" };
        }
        *entry = entry.trim_start_matches('[').trim_end_matches(']');
    }
    if entries.contains(&"*") || address.host().is_some_and(is_loopback) {
        return false;
    }
    let matcher = Matcher::builder().https("http://any").no(entries.join(",")).build();
    matcher.intercept(address).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environments_proxy_is_not_on_every_way() {
        let is_proxied = |except: &str, address: &str| is_proxied(except, &address.parse().unwrap());
        let except = "10.0.0.0/8, .internal.example,192.0.2.7, *.star.example, port.example:6443, \
                      192.0.2.9:6443, [2001:db8::2]:6443, 2001:db8::3";
        let proxied = [
            "https://cluster.example",
            "https://192.0.2.8:6443",
            "https://[2001:db8::1]:6443",
            "https://port.example:443",
            "https://192.0.2.9",
            "https://[2001:db8::2]",
        ];
        for address in proxied {
            assert!(is_proxied(except, address) && is_proxied("", address), "{address}");
            assert!(!is_proxied("*", address) && !is_proxied("a, *", address), "{address}");
        }
        let straight = [
            "https://10.1.2.3:6443",
            "https://a.internal.example",
            "https://192.0.2.7",
            "https://localhost:1",
            "https://b.star.example",
            "https://port.example:6443",
            "https://192.0.2.9:6443",
            "https://[2001:db8::2]:6443",
            "https://[2001:db8::3]:1",
        ];
        for address in straight {
            assert!(!is_proxied(except, address), "{address}");
        }
        assert!(!is_proxied("", "https://127.0.0.1:1"));
    }

    #[test]
    fn what_is_no_port_is_not_read_as_none() {
        for address in
            ["https://a:99999", "https://a:", "https://a:0", "https://u:p@a:x1", "https://[::1]:70000"]
        {
            let parsed: std::result::Result<Uri, _> = address.parse();
            assert!(parsed.is_err() || parsed.is_ok_and(|address| has_no_port(&address)), "{address}");
        }
        for address in ["https://a", "https://a:1", "http://u:p@a:65535", "socks5://[::1]:1080", "a:3128"] {
            assert!(!has_no_port(&address.parse().unwrap()), "{address}");
        }
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
