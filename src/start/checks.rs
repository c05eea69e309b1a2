//! What a configuration must be before anything is opened: safe, and without contradictions.

use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Refusal, limits, refusal};
use crate::artifacts::Namespace;
use crate::clock::Clock;
use crate::config::{Config, Listen, is_loopback};
use crate::operations::is_reserved;
use crate::server::{Capacity, FILES_OF_FACADE, Files, Tls};

/// The files that the process needs beside its callers' connections: those to the API server, log and listeners, the
/// connections to the metrics' port, and one that was accepted and is closed because there are too many.
const FILES_BESIDE: usize = 128;

/// Refuses what is unsafe or contradicts itself.
pub(super) fn check(config: &Config) -> Result<(), Refusal> {
    listeners(config)?;
    limits::contradictions(config)
}

/// The namespaces of a configuration: that of requests which name none, and those that are kept.
pub(super) fn namespaces(config: &Config) -> Result<(Namespace, Vec<Namespace>), Refusal> {
    let read = |flag: &str, name: &String| {
        let namespace =
            Namespace::new(name.clone()).map_err(|rule| refusal(64, format!("{flag}: each {rule}")))?;
        if is_reserved(&namespace) {
            let why = format!("{flag} {namespace}: it belongs to the cluster and is never written to");
            return Err(refusal(78, why));
        }
        Ok(namespace)
    };
    let keeps = config.namespaces.iter().map(|name| read("--namespaces", name)).collect::<Result<_, _>>()?;
    Ok((read("--namespace", &config.namespace)?, keeps))
}

/// Off loopback nobody is known and everything is readable: refused unless asked for by name.
fn listeners(config: &Config) -> Result<(), Refusal> {
    let main = match &config.listen {
        Listen::Tcp(address) => Some(*address),
        Listen::Unix(_) => None,
    };
    let (metrics, rest) = (config.metrics_listen, config.rest_listen);
    for (first, second, addresses) in [
        ("--listen", "--metrics-listen", (main, metrics)),
        ("--listen", "--rest-listen", (main, rest)),
        ("--metrics-listen", "--rest-listen", (metrics, rest)),
    ] {
        if let (Some(address), Some(other)) = addresses
            && address == other
            && address.port() != 0
        {
            return Err(refusal(78, format!("{first} and {second} are both {address}")));
        }
    }
    if config.sandbox && config.metrics_listen.is_some_and(|metrics| !is_loopback(metrics.ip())) {
        return Err(refusal(
            78,
            "--sandbox serves on loopback only, its measures as well; use --metrics-listen 127.0.0.1:9090",
        ));
    }
    if config.is_local() {
        return Ok(());
    }
    if config.sandbox {
        let text = "--sandbox serves on loopback only; use --listen 127.0.0.1:50051 and --rest-listen 127.0.0.1:8001";
        return Err(refusal(78, text));
    }
    let is_safe = config.tls_cert.is_some() && config.knows_callers();
    if config.allow_plaintext || is_safe {
        return Ok(());
    }
    Err(refusal(
        78,
        "off loopback every caller would be unknown and every value readable; listen on 127.0.0.1, name \
         --tls-cert, --tls-key and how callers are known (--auth or --tls-client-ca), or, behind a mesh that brings TLS and identity, add \
         --allow-plaintext",
    ))
}

/// The certificates that are asked for, checked.
pub(super) fn tls(config: &Config) -> Result<Option<Arc<Tls>>, Refusal> {
    let (Some(certificate), Some(key)) = (&config.tls_cert, &config.tls_key) else { return Ok(None) };
    let files =
        Files { certificate: certificate.clone(), key: key.clone(), clients: config.tls_client_ca.clone() };
    let tls = Tls::load(files, Clock::system().now()).map_err(|why| refusal(78, why))?;
    Ok(Some(Arc::new(tls)))
}

/// How much is served at once. A process may have fewer files open than connections are asked for: then its limit is
/// raised as far as the system allows.
pub(super) fn capacity(config: &Config) -> Result<Capacity, Refusal> {
    let facade = config.rest_listen.map_or(0, |_| FILES_OF_FACADE);
    let needed = config.max_connections + FILES_BESIDE + facade;
    let needed = u64::try_from(needed).unwrap_or(u64::MAX);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < needed) {
        let raised = Rlimit { current: Some(needed), maximum };
        if maximum.is_some_and(|maximum| maximum < needed) || setrlimit(Resource::Nofile, raised).is_err() {
            let most = maximum.unwrap_or_default();
            return Err(refusal(
                78,
                format!(
                    "--max-connections {} needs {needed} open files, and this process may have {most}; lower it, or \
                     raise the limit (ulimit -n)",
                    config.max_connections
                ),
            ));
        }
    }
    Ok(served(config))
}

/// What a configuration says of how much is served.
fn served(config: &Config) -> Capacity {
    let limits = &config.limits;
    Capacity {
        connections: config.max_connections,
        calls: config.max_calls,
        watches: config.max_watches,
        idle: config.connection_idle,
        age: config.connection_age,
        streams: u32::try_from(limits.max_streams_per_connection).unwrap_or(u32::MAX),
        watches_of_connection: limits.max_watches_per_connection,
        message: limits.max_message.0,
        metadata: limits.max_metadata.0,
        memory: limits.max_request_memory.0,
        memory_of_connection: limits.most_of_connection().0,
        coming: limits.request_timeout,
        handshakes: limits.max_handshakes,
        handshake: limits.handshake_timeout,
        taking: limits.reader_timeout,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn what_nobody_sets_is_what_nobody_says() {
        let told = Config::command().try_get_matches_from(["adapter"]).unwrap();
        assert_eq!(served(&Config::of(&told).unwrap()), Capacity::default());
    }
}
