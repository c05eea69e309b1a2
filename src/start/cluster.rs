//! The cluster that a configuration names, and whether its credentials may do too much.

use std::time::Duration;

use futures::FutureExt;
use http::Uri;
use tokio::net::TcpListener;
use tracing::warn;

use super::kubeconfig::{is_loopback, kubernetes};
use super::{Refusal, refusal};
use crate::cluster::{Cluster, ReadAgain, is_proxy};
use crate::config::{Config, host_and_port};
use crate::sandbox::Sandbox;

/// How long the start waits to hear what the credentials may do.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the start waits for a command that brings credentials: it may ask a person.
const COMMAND: Duration = Duration::from_secs(120);
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
        let cluster = handle(kube::Config::new(url), Box::new(|| std::future::ready(None).boxed())).await?;
        return Ok((cluster.with_calls(calls), Some(sandbox)));
    }
    let source = config.clone();
    let again = move || {
        let source = source.clone();
        let read = async move {
            kubernetes(&source)
                .await
                .inspect_err(|why| warn!(told = why.sentence.as_str(), "credentials not read again"))
                .ok()
        };
        read.boxed()
    };
    Ok((handle(kubernetes(config).await?, Box::new(again)).await?.with_calls(calls), None))
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

async fn handle(config: kube::Config, again: ReadAgain) -> Result<Cluster, Refusal> {
    check(&config)?;
    let auth = &config.auth_info;
    let (is_command, is_provider) = (auth.exec.is_some(), auth.auth_provider.is_some());
    let is_inline = auth.client_key_data.is_some()
        || auth.client_certificate_data.is_some()
        || auth.password.is_some()
        || auth.token.is_some();
    // The library waits for a command that brings credentials, however long that takes, and ends with its thread where
    // no header can carry what it brings.
    let made = tokio::task::spawn_blocking(move || Cluster::reading(config, again));
    let made = match tokio::time::timeout(COMMAND, made).await {
        Ok(Ok(made)) => made,
        Ok(Err(_)) => return Err(refusal(78, "the credentials of the kubeconfig cannot be used")),
        Err(_) => {
            let text = "the command of the kubeconfig that brings credentials does not end; run it by hand";
            return Err(refusal(78, text));
        }
    };
    made.map_err(|error| {
        // The library quotes what a command for credentials has printed, and bytes of what cannot be read.
        let why = if is_provider {
            "the `auth-provider` of the kubeconfig cannot be used; use `exec` or a token".to_owned()
        } else if is_command {
            "the command of the kubeconfig that brings credentials fails; run it by hand".to_owned()
        } else if is_inline {
            "the credentials in the kubeconfig cannot be read, or do not belong together".to_owned()
        } else {
            error.context().join("; ")
        };
        refusal(78, format!("{}: {why}", error.message()))
    })
}

/// Refuses an address that leads nowhere, or that others could read and answer.
fn check(config: &kube::Config) -> Result<(), Refusal> {
    if !matches!(config.cluster_url.scheme_str(), Some("http" | "https")) {
        let text =
            "the cluster's address begins with neither https:// nor http://; write it so in the kubeconfig";
        return Err(refusal(78, text));
    }
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
    Ok(())
}

/// Whether an address has something behind its host that is no port.
pub(super) fn has_no_port(address: &Uri) -> bool {
    let named = address.authority().and_then(|authority| authority.as_str().rsplit('@').next());
    named.is_some_and(|named| host_and_port(named).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_behind_whatever_stands_before_it() {
        for address in ["https://a:99999", "https://a:", "https://u:p@a:0", "https://[::1]:70000"] {
            let parsed: std::result::Result<Uri, _> = address.parse();
            assert!(parsed.is_err() || parsed.is_ok_and(|address| has_no_port(&address)), "{address}");
        }
        for address in ["https://a", "https://a:1", "http://u:p@a:65535", "socks5://[::1]:1080", "a:3128"] {
            assert!(!has_no_port(&address.parse().unwrap()), "{address}");
        }
    }
}
