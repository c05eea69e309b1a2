//! What a configuration must be before anything is opened: safe, and without contradictions.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Refusal, refusal};
use crate::artifacts::Namespace;
use crate::clock::Clock;
use crate::config::{Config, Listen};
use crate::operations::is_reserved;
use crate::server::{Capacity, FILES_OF_FACADE, Files, Tls};

/// The most that a limit can be.
const MOST: usize = 1_000_000;
/// The shortest time of a connection.
const SHORTEST: Duration = Duration::from_secs(1);
/// The files that the process needs beside its callers' connections: those to the API server, log and listeners, the
/// connections to the metrics' port, and one that was accepted and is closed because there are too many.
const FILES_BESIDE: usize = 128;

/// Refuses what is unsafe or contradicts itself.
pub(super) fn check(config: &Config) -> Result<(), Refusal> {
    listeners(config)?;
    let limits = [
        ("--max-connections", config.max_connections),
        ("--max-calls", config.max_calls),
        ("--max-watches", config.max_watches),
    ];
    for (flag, limit) in limits {
        if limit == 0 {
            return Err(refusal(78, format!("{flag} 0 serves nobody; it is 1 at least")));
        }
        if limit > MOST {
            return Err(refusal(78, format!("{flag} is {MOST} at most")));
        }
    }
    for (flag, time) in
        [("--connection-age", config.connection_age), ("--connection-idle", config.connection_idle)]
    {
        if time < SHORTEST {
            return Err(refusal(
                78,
                format!("{flag} {time:?} ends every connection at once; it is 1s at least"),
            ));
        }
    }
    contradictions(config)
}

/// Refuses a limit that another one never lets come true: a limit that nobody has set was lowered when it was read.
fn contradictions(config: &Config) -> Result<(), Refusal> {
    let callers = &config.callers;
    let limits = [
        ("--max-calls-per-caller", callers.max_calls_per_caller, "--max-calls", config.max_calls),
        ("--max-watches-per-caller", callers.max_watches_per_caller, "--max-watches", config.max_watches),
    ];
    for (flag, limit, whole, all) in limits {
        if limit > all {
            let why = format!(
                "{flag} {limit} is more than {whole} {all}, which all callers share; lower the one or raise the other"
            );
            return Err(refusal(78, why));
        }
    }
    let (idle, age) = (config.connection_idle, config.connection_age);
    if idle > age {
        let why = format!(
            "--connection-idle {idle:?} is longer than --connection-age {age:?}, which ends every connection; lower the one or raise the other"
        );
        return Err(refusal(78, why));
    }
    Ok(())
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
    if config.sandbox && config.metrics_listen.is_some_and(|metrics| !metrics.ip().is_loopback()) {
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
    let tls = Tls::load(files, Clock::system().now()).map_err(|why| refusal(78, why.to_string()))?;
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
    Ok(Capacity {
        connections: config.max_connections,
        calls: config.max_calls,
        watches: config.max_watches,
        idle: config.connection_idle,
        age: config.connection_age,
    })
}
