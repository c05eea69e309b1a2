//! The cluster that a configuration names, and whether its credentials may do too much.

use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::net::TcpListener;
use tracing::warn;

use super::{Refusal, refusal};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::sandbox::Sandbox;

/// How long the start waits to hear what the credentials may do.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long until a cluster that did not answer is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// The cluster that was asked for; the sandbox lives as long as its handle.
pub(super) async fn cluster(config: &Config) -> Result<(Cluster, Option<Sandbox>), Refusal> {
    if config.sandbox {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener =
            listener.map_err(|error| refusal(69, format!("the sandbox finds no port: {error}")))?;
        let sandbox = Sandbox::start(listener).await;
        let sandbox =
            sandbox.map_err(|error| refusal(70, format!("the sandbox cannot be started: {error}")))?;
        let url =
            sandbox.url().parse().map_err(|error| refusal(70, format!("the sandbox's address: {error}")))?;
        let cluster = handle(kube::Config::new(url))?;
        return Ok((cluster, Some(sandbox)));
    }
    Ok((handle(kubernetes(config).await?)?, None))
}

/// Refuses credentials that may do everything, if callers come from other machines.
///
/// A cluster that does not answer now is asked again by [`too_wide`].
pub(super) async fn check_rights(config: &Config, cluster: &Cluster) -> Result<(), Refusal> {
    if config.listen.is_local() {
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

fn handle(config: kube::Config) -> Result<Cluster, Refusal> {
    let local = config
        .cluster_url
        .host()
        .is_some_and(|host| host == "localhost" || host.starts_with("127.") || host == "[::1]");
    let verified = config.cluster_url.scheme_str() == Some("https") && !config.accept_invalid_certs;
    if !local && !verified {
        return Err(refusal(
            78,
            "the cluster's address is off loopback and its certificate is not verified; use https with a certificate authority",
        ));
    }
    Cluster::new(config)
        .map_err(|error| refusal(78, format!("{}: {}", error.message(), error.context().join("; "))))
}

async fn kubernetes(config: &Config) -> Result<kube::Config, Refusal> {
    let options = KubeConfigOptions { context: config.context.clone(), ..KubeConfigOptions::default() };
    if let Some(path) = &config.kubeconfig {
        let kubeconfig = Kubeconfig::read_from(path).map_err(|error| {
            refusal(78, format!("--kubeconfig {} cannot be read: {error}", path.display()))
        })?;
        return kube::Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|error| refusal(78, format!("--kubeconfig {}: {error}", path.display())));
    }
    match kube::Config::from_kubeconfig(&options).await {
        Ok(found) => Ok(found),
        Err(error) if config.context.is_some() => Err(refusal(78, format!("--context: {error}"))),
        Err(error) => kube::Config::incluster().map_err(|_| {
            refusal(
                78,
                format!(
                    "no cluster found: name one with --kubeconfig, run in a pod with a service account, or try \
                     --sandbox ({error})"
                ),
            )
        }),
    }
}
