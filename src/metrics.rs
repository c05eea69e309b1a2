//! What the process counts and measures, for Prometheus.
//!
//! Every label has a closed set of values: no caller, no name and no text that somebody sends becomes one.

mod labels;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

pub use labels::{Cut, Limit, Operation, Outcome, Verb, http_code};

/// The content type of what [`Metrics::text`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper ends of what calls, operations and lags take, in seconds.
const CALLS: [f64; 11] = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];
const OPERATIONS: [f64; 9] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];
const LAGS: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0];

type One = [(&'static str, &'static str); 1];
type Two = [(&'static str, &'static str); 2];
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Counts and measures; cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    rpcs: Family<Two, Counter>,
    rpc_time: Histograms<One>,
    rpcs_in_flight: Family<One, Gauge>,
    api_calls: Family<Two, Counter>,
    limit_hits: Family<One, Counter>,
    cuts: Family<One, Counter>,
    connections: Gauge,
    deployments: Family<One, Gauge>,
    /// The state of each deployment, by namespace and name.
    states: Mutex<HashMap<(String, String), &'static str>>,
    operation_time: Histograms<Two>,
    takeovers: Counter,
    watch_lag: Histogram,
    reachable: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut inner = Inner {
            registry: Registry::with_prefix("panamax"),
            rpcs: Family::default(),
            rpc_time: Family::new_with_constructor(|| Histogram::new(CALLS)),
            rpcs_in_flight: Family::default(),
            api_calls: Family::default(),
            limit_hits: Family::default(),
            cuts: Family::default(),
            connections: Gauge::default(),
            deployments: Family::default(),
            states: Mutex::default(),
            operation_time: Family::new_with_constructor(|| Histogram::new(OPERATIONS)),
            takeovers: Counter::default(),
            watch_lag: Histogram::new(LAGS),
            reachable: Gauge::default(),
        };
        inner.register();
        inner.show();
        Self(Arc::new(inner))
    }
}

impl Inner {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("rpcs", "Calls that have ended, by method and gRPC code", self.rpcs.clone());
        registry.register_with_unit(
            "rpc",
            "How long calls took until their answer was sent whole",
            Unit::Seconds,
            self.rpc_time.clone(),
        );
        registry.register("rpcs_in_flight", "Calls under way", self.rpcs_in_flight.clone());
        registry.register(
            "api_calls",
            "Calls to the API server, by verb and HTTP code",
            self.api_calls.clone(),
        );
        registry.register("limit_hits", "What a limit has refused", self.limit_hits.clone());
        registry.register(
            "connections_cut",
            "Connections and streams that the adapter has ended, by reason",
            self.cuts.clone(),
        );
        registry.register("connections", "Connections that are open", self.connections.clone());
        registry.register(
            "deployments",
            "Deployments in the namespaces that are kept, by their recorded state",
            self.deployments.clone(),
        );
        registry.register_with_unit(
            "operation",
            "How long operations held their deployment",
            Unit::Seconds,
            self.operation_time.clone(),
        );
        registry.register(
            "takeovers",
            "Operations of processes that died and were taken over",
            self.takeovers.clone(),
        );
        registry.register_with_unit(
            "watch_lag",
            "How long changes took from the API server's watch to a caller's",
            Unit::Seconds,
            self.watch_lag.clone(),
        );
        registry.register(
            "cluster_reachable",
            "1 while the API server answers, 0 while it does not",
            self.reachable.clone(),
        );
    }
}

impl Inner {
    /// Shows what has not happened yet as 0: a series that begins with its first event hides that event from `rate`
    /// and `increase`, which see what a series gains.
    fn show(&self) {
        for limit in Limit::ALL {
            drop(self.limit_hits.get_or_create(&[("limit", limit.as_str())]));
        }
        for reason in Cut::ALL {
            drop(self.cuts.get_or_create(&[("reason", reason.as_str())]));
        }
        for operation in Operation::ALL {
            for outcome in Outcome::ALL {
                let labels = [("operation", operation.as_str()), ("outcome", outcome.as_str())];
                drop(self.operation_time.get_or_create(&labels));
            }
        }
    }
}

impl Metrics {
    /// Shows that a method is served, and that no call of it has ended with this code.
    pub fn serves(&self, method: &'static str, code: &'static str) {
        drop(self.0.rpcs.get_or_create(&[("method", method), ("code", code)]));
    }

    /// Counts a call that has begun.
    pub fn rpc_began(&self, method: &'static str) {
        self.0.rpcs_in_flight.get_or_create(&[("method", method)]).inc();
    }

    /// Counts a call that has ended.
    pub fn rpc_ended(&self, method: &'static str, code: &'static str, took: Duration) {
        self.0.rpcs_in_flight.get_or_create(&[("method", method)]).dec();
        self.0.rpcs.get_or_create(&[("method", method), ("code", code)]).inc();
        self.0.rpc_time.get_or_create(&[("method", method)]).observe(took.as_secs_f64());
    }

    /// Counts a call to the API server; without a code nothing was answered.
    pub fn api_call(&self, verb: Verb, code: Option<u16>) {
        self.0.api_calls.get_or_create(&[("verb", verb.as_str()), ("code", labels::http_code(code))]).inc();
    }

    /// Counts something that a limit has refused.
    pub fn limit_hit(&self, limit: Limit) {
        self.0.limit_hits.get_or_create(&[("limit", limit.as_str())]).inc();
    }

    /// Counts a connection or stream that was ended.
    pub fn cut(&self, why: Cut) {
        self.0.cuts.get_or_create(&[("reason", why.as_str())]).inc();
    }

    /// Counts a connection for as long as what is returned lives.
    pub fn connection(&self) -> Open {
        self.0.connections.inc();
        Open(self.clone())
    }

    /// Notes the state of a deployment, as it is recorded; `None`: there is no such deployment any more.
    pub fn deployment(&self, namespace: &str, name: &str, state: Option<&'static str>) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut states = self.0.states.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match state {
            Some(state) => states.insert(key, state),
            None => states.remove(&key),
        };
        self.moved(before, state);
    }

    /// Forgets the deployments that are gone without a word: those for which `is_there` is false, by namespace and name.
    pub fn keep_deployments(&self, is_there: impl Fn(&str, &str) -> bool) {
        let mut states = self.0.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.retain(|(namespace, name), state| {
            let stays = is_there(namespace, name);
            if !stays {
                self.moved(Some(state), None);
            }
            stays
        });
    }

    fn moved(&self, before: Option<&'static str>, state: Option<&'static str>) {
        if before == state {
            return;
        }
        if let Some(before) = before {
            self.0.deployments.get_or_create(&[("state", before)]).dec();
        }
        if let Some(state) = state {
            self.0.deployments.get_or_create(&[("state", state)]).inc();
        }
    }

    /// Measures an operation that has ended.
    pub fn operation(&self, operation: Operation, outcome: Outcome, took: Duration) {
        let labels = [("operation", operation.as_str()), ("outcome", outcome.as_str())];
        self.0.operation_time.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts an operation of a process that died.
    pub fn takeover(&self) {
        self.0.takeovers.inc();
    }

    /// Measures how long a change took until a caller that watches was told.
    pub fn watch_lag(&self, lag: Duration) {
        self.0.watch_lag.observe(lag.as_secs_f64());
    }

    /// Notes whether the API server answers.
    pub fn reachable(&self, reachable: bool) {
        self.0.reachable.set(i64::from(reachable));
    }

    /// Whether the API server answered when it was last asked.
    pub fn is_reachable(&self) -> bool {
        self.0.reachable.get() == 1
    }

    /// Everything, as Prometheus reads it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Only what writes into memory could fail.
        match encode(&mut text, &self.0.registry) {
            Ok(()) => text,
            Err(fmt::Error) => String::new(),
        }
    }
}

/// An open connection, as it is counted.
#[derive(Debug)]
pub struct Open(Metrics);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.connections.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_counted_once_in_its_state() {
        let metrics = Metrics::default();
        metrics.deployment("n", "a", Some("ACTIVE"));
        metrics.deployment("n", "a", Some("ACTIVE"));
        metrics.deployment("n", "b", Some("ACTIVE"));
        assert!(metrics.text().contains("panamax_deployments{state=\"ACTIVE\"} 2\n"), "{}", metrics.text());
        metrics.deployment("n", "b", Some("FAILED"));
        metrics.deployment("n", "a", None);
        metrics.deployment("n", "a", None);
        let text = metrics.text();
        assert!(text.contains("panamax_deployments{state=\"ACTIVE\"} 0\n"), "{text}");
        assert!(text.contains("panamax_deployments{state=\"FAILED\"} 1\n"), "{text}");
        metrics.keep_deployments(|namespace, name| (namespace, name) != ("n", "b"));
        let text = metrics.text();
        assert!(text.contains("panamax_deployments{state=\"FAILED\"} 0\n"), "{text}");
    }

    #[test]
    fn what_has_not_happened_yet_is_there() {
        let metrics = Metrics::default();
        metrics.serves("m", "INTERNAL");
        let text = metrics.text();
        for line in [
            "panamax_rpcs_total{method=\"m\",code=\"INTERNAL\"} 0",
            "panamax_limit_hits_total{limit=\"request_time\"} 0",
            "panamax_connections_cut_total{reason=\"reflection\"} 0",
            "panamax_operation_seconds_count{operation=\"teardown\",outcome=\"failed\"} 0",
            "panamax_takeovers_total 0",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
    }

    #[test]
    fn names_are_those_that_are_documented() {
        let metrics = Metrics::default();
        metrics.rpc_began("m");
        metrics.rpc_ended("m", "OK", Duration::from_millis(2));
        metrics.api_call(Verb::Get, Some(404));
        metrics.limit_hit(Limit::Calls);
        metrics.cut(Cut::Idle);
        metrics.operation(Operation::Deploy, Outcome::Done, Duration::from_secs(1));
        metrics.takeover();
        metrics.watch_lag(Duration::from_millis(1));
        metrics.reachable(true);
        let text = metrics.text();
        for line in [
            "panamax_rpcs_total{method=\"m\",code=\"OK\"} 1",
            "panamax_rpc_seconds_count{method=\"m\"} 1",
            "panamax_rpcs_in_flight{method=\"m\"} 0",
            "panamax_api_calls_total{verb=\"get\",code=\"404\"} 1",
            "panamax_limit_hits_total{limit=\"calls\"} 1",
            "panamax_connections_cut_total{reason=\"idle\"} 1",
            "panamax_connections 0",
            "panamax_operation_seconds_count{operation=\"deploy\",outcome=\"done\"} 1",
            "panamax_takeovers_total 1",
            "panamax_watch_lag_seconds_count 1",
            "panamax_cluster_reachable 1",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
    }
}
