//! One world of a schedule: an API server in memory, replicas of the adapter on roads to it, and time that is skipped.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use axum::Router;
use jiff::Timestamp;
use panamax_kubernetes_adapter::artifacts::Namespace;
use panamax_kubernetes_adapter::clock::Clock;
use panamax_kubernetes_adapter::cluster::Cluster;
use panamax_kubernetes_adapter::operations::{Operations, RequestLimits, Settings};
use panamax_kubernetes_adapter::sandbox::{Image, Sandbox};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::judge::{self, Objects};
use super::outside::Outsider;
use super::replica::Replica;
use super::road::{Call, Log, Road, lock};

/// The lease of every replica.
pub const LEASE: Duration = Duration::from_secs(30);
/// How long nothing may have been asked for before a world counts as at rest: longer than any pause before a retry, and
/// than the time for which operations that were taken over, or have not heard every answer, are remembered.
const QUIET: Duration = Duration::from_secs(70);
/// The longest that a world may take to come to rest.
const LONGEST: Duration = Duration::from_secs(1_500);
/// The wall time at which every world begins: 2026-01-01.
const BEGIN: i64 = 1_767_225_600;

/// A world with nothing in it but one namespace.
pub struct World {
    api: Router,
    log: Arc<Mutex<Log>>,
    tasks: TaskTracker,
    began: Instant,
    /// How much time had passed before it began.
    before: Duration,
    seed: u64,
    sandbox: Arc<Sandbox>,
}

/// A world at rest, as others begin: with what its API server holds, and with processes of their own.
#[derive(Clone, Debug)]
pub struct Stage {
    image: Image,
    passed: Duration,
}

/// The stack of a schedule's thread: futures that nobody has optimised are large.
const STACK: usize = 32 << 20;

/// Runs one schedule in an empty world of its own, on a thread of its own.
pub fn run<T: Send>(seed: u64, schedule: impl AsyncFnOnce(&World) -> T + Send) -> T {
    run_on(None, seed, schedule)
}

/// Runs one schedule in a world of its own, which begins as another one was; on a thread of its own.
pub fn run_on<T: Send>(
    stage: Option<&Stage>,
    seed: u64,
    schedule: impl AsyncFnOnce(&World) -> T + Send,
) -> T {
    let work = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let world = match stage {
                Some(stage) => World::on(stage.clone(), seed),
                None => World::new(seed).await,
            };
            schedule(&world).await
        })
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).expect("a thread");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

impl World {
    async fn new(seed: u64) -> Self {
        let began = Instant::now();
        let (sandbox, api) = Sandbox::in_memory(seed, move || at(began, Duration::ZERO)).expect("a sandbox");
        let world = Self::over(sandbox, api, seed, began, Duration::ZERO);
        world.make_namespace().await;
        world
    }

    fn on(stage: Stage, seed: u64) -> Self {
        // Nobody draws again what was drawn before.
        let seed = seed ^ 0x5eed_0000;
        let (began, before) = (Instant::now(), stage.passed);
        let (sandbox, api) = Sandbox::of_image(stage.image, seed, move || at(began, before));
        Self::over(sandbox, api, seed, began, before)
    }

    fn over(sandbox: Sandbox, api: Router, seed: u64, began: Instant, before: Duration) -> Self {
        let (log, tasks, sandbox) = (Arc::default(), TaskTracker::new(), Arc::new(sandbox));
        Self { api, log, tasks, began, before, seed, sandbox }
    }

    /// What others may begin with; nothing may be under way.
    pub fn stage(&self) -> Stage {
        Stage { image: self.sandbox.image(), passed: self.passed() }
    }

    fn passed(&self) -> Duration {
        self.before + self.began.elapsed()
    }

    async fn make_namespace(&self) {
        let body = serde_json::json!({ "metadata": { "name": "sim" } }).to_string();
        let request =
            http::Request::post("/api/v1/namespaces").body(body.into_bytes().into()).expect("a request");
        let request: http::Request<kube::client::Body> = request;
        let answer = tower::ServiceExt::oneshot(self.api.clone(), request).await;
        assert!(answer.is_ok_and(|answer| answer.status().is_success()), "a namespace");
    }

    /// Starts a process of the adapter whose clock shows the true time.
    pub fn replica(&self, name: char) -> Replica {
        self.replica_ahead(name, |_| Duration::ZERO)
    }

    /// Starts a process of the adapter; `ahead` says by how much its clock is ahead when so much time has passed.
    pub fn replica_ahead(
        &self,
        name: char,
        ahead: impl Fn(Duration) -> Duration + Send + Sync + 'static,
    ) -> Replica {
        let server = (self.api.clone(), Arc::clone(&self.sandbox));
        let road = Road::new(name, server, Arc::clone(&self.log), self.tasks.clone());
        let cluster = Cluster::over(road.clone(), self.seed ^ u64::from(u32::from(name)));
        let settings = Settings {
            namespace: namespace(),
            lease: LEASE,
            unschedulable_grace: Duration::from_secs(120),
            holder: format!("replica-{name}"),
            keeps: vec![namespace()],
            requests: RequestLimits::default(),
        };
        let (began, before) = (self.began, self.before);
        let clock = Clock::new(move || at(began, before + ahead(began.elapsed())));
        let operations = Operations::new(cluster, settings, clock, CancellationToken::new());
        operations.keep();
        Replica { operations, road }
    }

    /// Somebody who writes without the adapter.
    pub fn outsider(&self) -> Outsider {
        Outsider::new(self.api.clone(), Arc::clone(&self.sandbox))
    }

    /// Whether somebody has done what was to be done beside the adapter.
    pub fn is_done(&self) -> bool {
        lock(&self.log).is_done
    }

    /// Waits until nothing goes on any more.
    pub async fn settle(&self) -> Result<(), String> {
        let until = Instant::now() + LONGEST;
        let begin = Instant::now();
        loop {
            let (active, late) = {
                let log = lock(&self.log);
                (log.active.unwrap_or(begin).max(begin), log.late)
            };
            if late == 0 && active.elapsed() >= QUIET {
                return Ok(());
            }
            if Instant::now() > until {
                return Err("the world does not come to rest".to_owned());
            }
            sleep(Duration::from_secs(10)).await;
        }
    }

    pub fn objects(&self) -> Objects {
        judge::objects(&self.sandbox.image())
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<(char, Call)> {
        lock(&self.log).calls.clone()
    }

    /// Whether a fault has struck so far.
    pub fn has_struck(&self) -> bool {
        lock(&self.log).has_struck
    }

    pub fn misdeeds(&self) -> Vec<String> {
        lock(&self.log).misdeeds.clone()
    }

    pub fn trace(&self) -> Vec<String> {
        lock(&self.log).trace.clone()
    }

    /// Writes a line between the calls.
    pub fn tell(&self, line: impl Into<String>) {
        let passed = self.passed().as_secs_f32();
        lock(&self.log).trace.push(format!("-- {passed:.1}s {}", line.into()));
    }
}

fn at(began: Instant, ahead: Duration) -> Timestamp {
    let passed = began.elapsed() + ahead;
    Timestamp::from_second(BEGIN).and_then(|begin| begin.checked_add(passed)).expect("a time")
}

pub fn namespace() -> Namespace {
    Namespace::new("sim".to_owned()).expect("a namespace")
}
