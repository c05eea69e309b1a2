//! What Prometheus makes of what adapters show: scrapes at times of the test's own, judged by Prometheus' own engine.
//!
//! Every scrape is a real one of the running binary. The time between two of them is stretched: each is told to be a
//! minute later than the one before, whatever passed meanwhile, so that a rule over a quarter of an hour takes seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};

use super::adapter::Binary;
use super::control_plane::control_plane;
use super::metrics::{measured, reaches, scrape};

/// How long everything is well before a fault: longer than any rule waits.
const QUIET: usize = 20;
const MINUTE: u64 = 60;

/// The rules.
pub const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/alerts/panamax.yaml");

/// What is shown, minute by minute.
#[derive(Default)]
pub struct History {
    scrapes: Vec<Value>,
    minutes: u64,
    /// When the last scrape was made before the fault.
    quiet: u64,
}

/// An alert of the rules, and each time that its expression was true; in seconds.
#[derive(Debug, Deserialize)]
pub struct Alert {
    pub alert: String,
    pub severity: String,
    #[serde(rename = "for")]
    holds: u64,
    active: Vec<Span>,
}

/// A time without a gap.
#[derive(Debug, Deserialize)]
struct Span {
    labels: BTreeMap<String, String>,
    since: u64,
    firing: Option<u64>,
    until: u64,
}

impl History {
    /// Begins with a while in which everything is well. The replicas are told by their addresses for metrics.
    pub async fn quiet(replicas: &[Option<SocketAddr>]) -> Self {
        let mut history = Self::default();
        for _ in 0..QUIET {
            history.minute(replicas).await;
        }
        history.quiet = (history.minutes - 1) * MINUTE;
        history
    }

    /// Scrapes every replica, a minute after the last time; `None`: there is nobody to be scraped any more.
    pub async fn minute(&mut self, replicas: &[Option<SocketAddr>]) {
        for (number, replica) in replicas.iter().enumerate() {
            let shown = match replica {
                Some(address) => scrape(*address).await,
                None => None,
            };
            let (kind, text) = shown.unzip();
            self.scrapes.push(json!({
                "at": self.minutes * MINUTE,
                "instance": format!("replica-{number}"),
                "type": kind.unwrap_or_default(),
                "text": text,
            }));
        }
        self.minutes += 1;
    }

    /// Several minutes of one replica in which nothing more happens.
    pub async fn minutes(&mut self, binary: &Binary, count: usize) {
        for _ in 0..count {
            self.minute(&[binary.metrics]).await;
        }
    }

    /// Several minutes of one replica, in each of which a series grows by so much at least, under a load without an end.
    pub async fn under(
        &mut self,
        load: impl Future<Output = ()>,
        binary: &Binary,
        count: usize,
        (series, by): (&str, f64),
    ) {
        let scrapes = async {
            for _ in 0..count {
                let wanted = measured(binary, series).await + by;
                reaches(binary, series, wanted).await;
                self.minute(&[binary.metrics]).await;
            }
        };
        tokio::select! {
            biased;
            () = scrapes => {}
            () = load => panic!("the load has ended"),
        }
    }

    /// Checks that no expression was true before the fault, and that since then these alerts have fired, each once it
    /// was true for as long as it says, and no other one.
    pub async fn fires(self, expected: &[&str]) {
        let quiet = self.quiet;
        let alerts = self.judged().await;
        for alert in &alerts {
            for span in &alert.active {
                assert!(span.since > quiet, "before any fault: {alert:#?}");
                let due = span.firing.is_none_or(|firing| firing == span.since + alert.holds);
                assert!(due && span.until >= span.since, "{alert:#?}");
            }
        }
        let is_firing = |alert: &&Alert| alert.active.iter().any(|span| span.firing.is_some());
        let firing: BTreeSet<&str> = alerts.iter().filter(is_firing).map(|one| one.alert.as_str()).collect();
        let truths: Vec<&Alert> = alerts.iter().filter(|alert| !alert.active.is_empty()).collect();
        let expected: BTreeSet<&str> = expected.iter().copied().collect();
        assert_eq!(firing, expected, "after {quiet} s: {truths:#?}");
    }

    /// Every alert of the rules, as Prometheus sees it.
    pub async fn judged(self) -> Vec<Alert> {
        let question = json!({ "every": MINUTE, "scrapes": self.scrapes }).to_string();
        tokio::task::spawn_blocking(move || ask(&question)).await.expect("an answer")
    }
}

fn ask(question: &str) -> Vec<Alert> {
    let mut child = Command::new(control_plane().program("alerts"))
        .arg(RULES)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the judge starts");
    // It reads everything before it says anything.
    child.stdin.take().expect("its input").write_all(question.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("its end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("alerts")
}
