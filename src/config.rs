//! Every setting: its name, default, range and meaning.

mod address;
mod callers;
mod limits;
mod listen;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::parser::ValueSource;
use clap::{ArgMatches, FromArgMatches, Parser, ValueEnum};

pub use address::{host_and_port, is_loopback};
pub use callers::{Authentication, Authorization, CallerSettings};
pub use limits::{Bytes, LimitSettings};
pub use listen::{Listen, MAX_SOCKET_PATH};

/// Deploys Panamax templates to Kubernetes, over gRPC.
///
/// The cluster comes from --kubeconfig, KUBECONFIG or ~/.kube/config, from the pod the adapter runs in, or from --sandbox.
#[derive(Clone, Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub struct Config {
    /// Address to listen on, or unix: and the path of a socket; off loopback only with TLS and a way to know callers, or with
    /// --allow-plaintext
    #[arg(long, env = "PANAMAX_LISTEN", default_value = "127.0.0.1:50051", value_parser = listen::listen, value_name = "ADDRESS")]
    pub listen: Listen,

    /// Address of /metrics, /livez and /readyz, over HTTP/1.1 and unencrypted; none: they are not served
    #[arg(long, env = "PANAMAX_METRICS_LISTEN", value_name = "ADDRESS")]
    pub metrics_listen: Option<SocketAddr>,

    /// Address of the old Panamax agents' HTTP contract, over HTTP/1.1, as 127.0.0.1:8001; off loopback as --listen; none: it
    /// is not served
    #[arg(long, env = "PANAMAX_REST_LISTEN", value_name = "ADDRESS")]
    pub rest_listen: Option<SocketAddr>,

    /// Kubeconfig of the cluster [default: KUBECONFIG, ~/.kube/config, or the pod's own]
    #[arg(long, env = "PANAMAX_KUBECONFIG", value_name = "FILE", conflicts_with = "sandbox")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig [default: its current one]
    #[arg(long, env = "PANAMAX_CONTEXT", value_parser = NonEmptyStringValueParser::new(), value_name = "NAME", conflicts_with = "sandbox")]
    pub context: Option<String>,

    /// Serve against an API server in memory; nothing is kept
    #[arg(long, env = "PANAMAX_SANDBOX")]
    pub sandbox: bool,

    /// Namespace of requests that name none
    #[arg(long, env = "PANAMAX_NAMESPACE", default_value = "default", value_name = "NAME")]
    pub namespace: String,

    /// Namespaces whose deployments are kept: what a crash left is finished, old pods are replaced, removed objects
    /// deleted; none: all namespaces, or the default one if the rights allow no more
    #[arg(long, env = "PANAMAX_NAMESPACES", value_delimiter = ',', value_name = "NAMES")]
    pub namespaces: Vec<String>,

    /// How long an operation holds a deployment without renewing; 1s to 10m
    #[arg(long, env = "PANAMAX_LEASE", default_value = "30s", value_parser = time, value_name = "TIME")]
    pub lease: Duration,

    /// How long a pod may be without a node or a volume before that is a failure; 0s to 1h
    #[arg(long, env = "PANAMAX_UNSCHEDULABLE_GRACE", default_value = "2m", value_parser = time, value_name = "TIME")]
    pub unschedulable_grace: Duration,

    /// How long running operations may take to end at a shutdown; 0s to 10m
    #[arg(long, env = "PANAMAX_DRAIN_TIMEOUT", default_value = "30s", value_parser = time, value_name = "TIME")]
    pub drain_timeout: Duration,

    /// Certificate that callers meet, in PEM form, with those between it and its authority; read again when it changes
    #[arg(long, env = "PANAMAX_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM form; nobody but its owner and group may read it
    #[arg(long, env = "PANAMAX_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Authority of callers' certificates, in PEM form: without a certificate of it nobody is served
    #[arg(long, env = "PANAMAX_TLS_CLIENT_CA", value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,

    /// Who callers are and what they may do.
    #[command(flatten)]
    pub callers: CallerSettings,

    /// Most connections at once; one more is closed
    #[arg(long, env = "PANAMAX_MAX_CONNECTIONS", default_value = "1000", value_parser = number, value_name = "NUMBER")]
    pub max_connections: usize,

    /// How long a connection may be without a call before it is asked to go; 1s to 24h, --connection-age at the most
    #[arg(long, env = "PANAMAX_CONNECTION_IDLE", default_value = "5m", value_parser = time, value_name = "TIME")]
    pub connection_idle: Duration,

    /// How old a connection may become before it is asked to go, a tenth more or less; 1s to 24h
    #[arg(long, env = "PANAMAX_CONNECTION_AGE", default_value = "1h", value_parser = time, value_name = "TIME")]
    pub connection_age: Duration,

    /// Most calls at once, of all callers; one more is refused and may be repeated
    #[arg(long, env = "PANAMAX_MAX_CALLS", default_value = "256", value_parser = number, value_name = "NUMBER")]
    pub max_calls: usize,

    /// Most watches at once, of all callers; one more is refused and may be repeated
    #[arg(long, env = "PANAMAX_MAX_WATCHES", default_value = "10000", value_parser = number, value_name = "NUMBER")]
    pub max_watches: usize,

    /// How much else is served, and for how long something may be on its way.
    #[command(flatten)]
    pub limits: LimitSettings,

    /// Listen off loopback without TLS and authentication: for a mesh that brings both
    #[arg(long, env = "PANAMAX_ALLOW_PLAINTEXT")]
    pub allow_plaintext: bool,

    /// Collector that spans are sent to, by OTLP over gRPC, as http://localhost:4317; none: they are not sent
    #[arg(long, env = "PANAMAX_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,

    /// Form of the log lines, on standard error
    #[arg(long, env = "PANAMAX_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,

    /// What is logged, as `info` or `warn,panamax_kubernetes_adapter=debug`
    #[arg(long, env = "PANAMAX_LOG", default_value = "info", value_parser = filter, value_name = "FILTER")]
    pub log: String,

    /// The settings that somebody has made.
    #[arg(skip)]
    made: BTreeSet<String>,
}

impl Config {
    /// Reads the settings as they were made.
    pub fn of(told: &ArgMatches) -> Result<Self, clap::Error> {
        let made = told.ids().map(|id| id.as_str().to_owned());
        let made = made.filter(|id| told.value_source(id) != Some(ValueSource::DefaultValue)).collect();
        Ok(Self { made, ..Self::from_arg_matches(told)? })
    }

    /// Lowers each limit within another, as one caller's within that of all, to it, unless somebody has set both: that
    /// is a contradiction. What is beyond its own range is told before: it would be in it afterwards.
    pub fn lowered(mut self) -> Self {
        let made = std::mem::take(&mut self.made);
        let are_set = |flags: [&str; 2]| flags.iter().all(|flag| made.contains(*flag));
        if !are_set(["connection_idle", "connection_age"]) {
            lower(&mut self.connection_idle, self.connection_age);
        }
        let (callers, limits) = (&mut self.callers, &mut self.limits);
        for (each, all, limit, most) in [
            ("max_calls_per_caller", "max_calls", &mut callers.max_calls_per_caller, self.max_calls),
            ("max_reads_per_caller", "max_calls", &mut callers.max_reads_per_caller, self.max_calls),
            ("max_watches_per_caller", "max_watches", &mut callers.max_watches_per_caller, self.max_watches),
            ("max_handshakes", "max_connections", &mut limits.max_handshakes, self.max_connections),
        ] {
            if !are_set([each, all]) {
                lower(limit, most);
            }
        }
        limits.lower(are_set, self.max_watches);
        self
    }

    /// Whether nobody from another machine can make a call.
    pub fn is_local(&self) -> bool {
        self.listen.is_local() && self.rest_listen.is_none_or(|rest| is_loopback(rest.ip()))
    }

    /// Whether every caller is known by something that it has proved: asked before anything is served off loopback.
    pub fn knows_callers(&self) -> bool {
        self.callers.is_authenticated() || self.tls_client_ca.is_some()
    }
}

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object per line.
    Json,
}

fn lower<T: Ord>(limit: &mut T, within: T) {
    if *limit > within {
        *limit = within;
    }
}

/// What is logged; a text that says nothing would hide every line, the audit's as well. Who wants that writes `off`.
fn filter(text: &str) -> Result<String, String> {
    match text.trim_matches([' ', ',']) {
        "" => Err("write what is logged, as info, or off for nothing".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

// What is too little or too much passes here: it can be read, and is refused as a limit.

/// Reads a number; one that no machine can hold is as large as can be.
fn number(text: &str) -> Result<usize, String> {
    digits(text).ok_or_else(|| "write a number, as 100".to_owned())
}

/// Reads `500ms`, `30s` or `5m`.
fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) =
        text.split_at(text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic()).len());
    let seconds =
        |each: usize| digits(number).map(|number| Duration::from_secs(number.saturating_mul(each) as u64));
    let time = match unit {
        "ms" => digits(number).map(|number| Duration::from_millis(number as u64)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3600),
        _ => None,
    };
    time.ok_or_else(|| "write a number and ms, s, m or h, as 30s".to_owned())
}

fn digits(text: &str) -> Option<usize> {
    let are_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    are_digits.then(|| text.parse().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Config::command().debug_assert();
    }

    #[test]
    fn a_filter_says_something() {
        for text in ["info", "off", "warn,audit=info"] {
            assert_eq!(filter(text).as_deref(), Ok(text));
        }
        for text in ["", " ", ",", " , "] {
            assert!(filter(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn times_have_a_unit() {
        for (text, read) in [
            ("500ms", Duration::from_millis(500)),
            ("0s", Duration::ZERO),
            ("2m", Duration::from_secs(120)),
            ("25h", Duration::from_secs(90_000)),
        ] {
            assert_eq!(time(text), Ok(read), "{text}");
        }
        for text in ["30", "", "s", "-1s", "+1s", "1.5s", "1 s", "1d"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert!(time("99999999999999999999h").is_ok_and(|time| time > Duration::from_secs(1 << 60)));
    }

    #[test]
    fn numbers_are_digits() {
        assert_eq!((number("0"), number("99999999999999999999")), (Ok(0), Ok(usize::MAX)));
        for text in ["", "-1", "+1", "1.5", "many"] {
            assert!(number(text).is_err(), "{text}");
        }
    }
}
