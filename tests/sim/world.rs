//! One world of a schedule: an API server in memory, replicas of the adapter on roads to it, and time that is skipped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use axum::Router;
use futures::StreamExt;
use jiff::Timestamp;
use panamax_kubernetes_adapter::artifacts::{DeploymentName, Namespace};
use panamax_kubernetes_adapter::clock::Clock;
use panamax_kubernetes_adapter::cluster::Cluster;
use panamax_kubernetes_adapter::error::{Error, ErrorKind};
use panamax_kubernetes_adapter::facts::Configs;
use panamax_kubernetes_adapter::operations::{
    ConflictPolicy, DeployCall, DeployChoices, FailurePolicy, NamedRequest, Operations, Outcome, PrunePolicy,
    ReplicasPolicy, RollbackCall, ScaleCall, Settings, Source, Target, TeardownCall, TemplateCall, Until,
    VolumePolicy, WatchUpdate,
};
use panamax_kubernetes_adapter::sandbox::Sandbox;
use panamax_kubernetes_adapter::translate::Rules;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::judge::{self, Objects};
use super::road::{Call, Log, Road, lock};

/// The lease of every replica.
pub const LEASE: Duration = Duration::from_secs(30);
/// How long a caller waits for one answer.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long nothing may have been asked for before a world counts as at rest: longer than any pause before a retry, and
/// than the minute for which operations that were taken over are remembered.
const QUIET: Duration = Duration::from_secs(70);
/// The longest that a world may take to come to rest.
const LONGEST: Duration = Duration::from_secs(1_500);
/// The wall time at which every world begins: 2026-01-01.
const BEGIN: i64 = 1_767_225_600;

/// What a caller asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    /// Deploy this template.
    Deploy(&'static str),
    /// Deploy this template, under a name of the caller's.
    Named(&'static str),
    /// Deploy this template, and put the revision before back if that fails: to do so is to have done it.
    OrBack(&'static str),
    /// The same, of a template that is written whole: what waits until it is ready finds out that it fails.
    ReadyOrBack(&'static str),
    /// Deploy an earlier revision again; 0: the newest good one.
    Rollback(u32),
    /// Set the count of a component.
    Scale(&'static str, i32),
    /// Tear everything down; nothing to tear down is fine.
    Teardown,
    /// Look at the deployment.
    Get,
    /// Watch the deployment until it is ready.
    Watch,
}

impl Ask {
    /// The request in two words.
    pub fn name(&self) -> String {
        match self {
            Self::Deploy(text) | Self::Named(text) => format!("Deploy of {} bytes", text.len()),
            Self::ReadyOrBack(text) => format!("Deploy, ready or back, of {} bytes", text.len()),
            Self::OrBack(text) => format!("Deploy or back of {} bytes", text.len()),
            Self::Scale(component, count) => format!("Scale {component} to {count}"),
            Self::Rollback(_) | Self::Teardown | Self::Get | Self::Watch => format!("{self:?}"),
        }
    }
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Done,
    Failed(ErrorKind, Option<Duration>),
    /// The replica died before it answered.
    Died,
    /// No answer came in all the time that there was.
    Stuck,
}

/// What a good answer says of the deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// There was none.
    Created,
    /// It was changed.
    Updated,
    /// It was so already.
    Unchanged,
    /// The template of this name stands.
    Stands(String),
}

/// A world with nothing in it but one namespace.
pub struct World {
    api: Router,
    log: Arc<Mutex<Log>>,
    tasks: TaskTracker,
    began: Instant,
    seed: u64,
    _sandbox: Sandbox,
}

/// A process of the adapter.
pub struct Replica {
    operations: Operations,
    pub road: Road,
}

/// The stack of a schedule's thread: futures that nobody has optimised are large.
const STACK: usize = 32 << 20;

/// Runs one schedule in a world of its own, on a thread of its own.
pub fn run<T: Send>(seed: u64, schedule: impl AsyncFnOnce(&World) -> T + Send) -> T {
    let work = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let world = World::new(seed).await;
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
        let (log, tasks) = (Arc::default(), TaskTracker::new());
        let world = Self { api, log, tasks, began, seed, _sandbox: sandbox };
        world.make_namespace().await;
        world
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
        let road = Road::new(name, self.api.clone(), Arc::clone(&self.log), self.tasks.clone());
        let cluster = Cluster::over(road.clone(), self.seed ^ u64::from(u32::from(name)));
        let settings = Settings {
            namespace: namespace(),
            lease: LEASE,
            unschedulable_grace: Duration::from_secs(120),
            holder: format!("replica-{name}"),
            keeps: vec![namespace()],
        };
        let began = self.began;
        let clock = Clock::new(move || at(began, ahead(began.elapsed())));
        let operations = Operations::new(cluster, settings, clock, CancellationToken::new());
        operations.keep();
        Replica { operations, road }
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

    pub async fn objects(&self) -> Objects {
        judge::objects(&self.api).await
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<(char, Call)> {
        lock(&self.log).calls.clone()
    }

    /// How many faults have struck so far.
    pub fn struck(&self) -> usize {
        lock(&self.log).struck
    }

    pub fn misdeeds(&self) -> Vec<String> {
        lock(&self.log).misdeeds.clone()
    }

    pub fn trace(&self) -> Vec<String> {
        lock(&self.log).trace.clone()
    }

    /// Writes a line between the calls.
    pub fn tell(&self, line: impl Into<String>) {
        let passed = self.began.elapsed().as_secs_f32();
        lock(&self.log).trace.push(format!("-- {passed:.1}s {}", line.into()));
    }
}

fn at(began: Instant, ahead: Duration) -> Timestamp {
    let passed = began.elapsed() + ahead;
    Timestamp::from_second(BEGIN).and_then(|begin| begin.checked_add(passed)).expect("a time")
}

fn namespace() -> Namespace {
    Namespace::new("sim".to_owned()).expect("a namespace")
}

fn name() -> DeploymentName {
    DeploymentName::new("shop".to_owned()).expect("a name")
}

impl Replica {
    /// Asks once.
    pub async fn ask(&self, ask: &Ask) -> Answer {
        self.ask_told(ask).await.0
    }

    /// Asks once; also returns what a good answer says of the deployment.
    pub async fn ask_told(&self, ask: &Ask) -> (Answer, Option<Told>) {
        let work = tokio::time::timeout(PATIENCE * 2, self.carry_out(ask));
        let answer = tokio::select! {
            biased;
            answered = work => match answered {
                Ok(Ok(told)) => return (Answer::Done, told),
                Ok(Err(error)) => Answer::Failed(error.kind(), error.retry_delay().filter(|_| error.kind().retryable())),
                Err(_) => Answer::Stuck,
            },
            () = self.road.died() => Answer::Died,
        };
        (answer, None)
    }

    /// Asks until there is an answer that is not meant to be asked again, as a patient client does.
    pub async fn insist(&self, ask: &Ask) -> Answer {
        let until = Instant::now() + PATIENCE * 2;
        loop {
            match self.ask(ask).await {
                Answer::Failed(_, Some(pause)) if Instant::now() + pause < until => sleep(pause).await,
                answer => return answer,
            }
        }
    }

    async fn carry_out(&self, ask: &Ask) -> Result<Option<Told>, Error> {
        let deadline = Instant::now() + PATIENCE;
        let target = Target { namespace: namespace(), name: name() };
        match ask {
            Ask::Deploy(text) | Ask::Named(text) | Ask::OrBack(text) | Ask::ReadyOrBack(text) => {
                let mut call = deploy(text, deadline);
                match ask {
                    Ask::Named(_) => {
                        call.choices.request =
                            Some(NamedRequest::new("once".to_owned(), "Deploy", text.as_bytes().to_vec()));
                    }
                    Ask::OrBack(_) => call.choices.on_failure = FailurePolicy::Rollback,
                    Ask::ReadyOrBack(_) => {
                        call.choices.on_failure = FailurePolicy::Rollback;
                        call.choices.waits_ready = true;
                        call.wait_ready = Some(deadline - Duration::from_secs(1));
                    }
                    _ => {}
                }
                match self.operations.deploy(call).await {
                    Err(error) if error.metadata().contains_key("rolled_back_to") => Ok(None),
                    // Everything is written; what could not be deleted is the keeper's.
                    Err(error) if error.message().contains("could not be deleted") => Ok(Some(Told::Updated)),
                    Err(error) => Err(error),
                    Ok(deployed) => Ok(Some(told(deployed.outcome))),
                }
            }
            Ask::Rollback(revision) => {
                let call = RollbackCall {
                    target,
                    revision: *revision,
                    validate_only: false,
                    etag: String::new(),
                    request: None,
                    wait_ready: None,
                    deadline,
                };
                self.operations.rollback(call).await.map(|done| Some(told(done.outcome)))
            }
            Ask::Scale(component, count) => {
                let call = ScaleCall {
                    namespace: namespace(),
                    name: name(),
                    replicas: BTreeMap::from([((*component).to_owned(), *count)]),
                    validate_only: false,
                    etag: String::new(),
                    request: None,
                    wait_ready: None,
                    deadline,
                };
                self.operations.scale(call).await.map(|_| Some(Told::Updated))
            }
            Ask::Teardown => {
                let call = TeardownCall {
                    namespace: namespace(),
                    name: name(),
                    volumes: VolumePolicy::Delete,
                    allow_missing: true,
                    grace_seconds: None,
                    wait_gone: Some(deadline),
                    validate_only: false,
                    etag: String::new(),
                    request: None,
                    deadline,
                };
                self.operations.teardown(call).await.map(|_| Some(Told::Updated))
            }
            Ask::Get => {
                let view = self.operations.get(&target, true).await?;
                // What is under way may stand or not.
                Ok(view.status.is_ready().then_some(Told::Stands(view.template_name)))
            }
            Ask::Watch => self.watch(target, deadline).await.map(|()| None),
        }
    }

    async fn watch(&self, target: Target, deadline: Instant) -> Result<(), Error> {
        let beat = Duration::from_secs(30);
        let updates = self.operations.watch(target, Until::Ready, beat, None, false).await?;
        let mut updates = Box::pin(updates);
        let ended = async {
            while let Some(update) = updates.next().await {
                if let WatchUpdate::Complete(_) = update? {
                    return Ok(());
                }
            }
            Err(Error::internal("the watch ended without a reason"))
        };
        // A watch that does not end is a fault of its own kind, not one that asks to be repeated.
        timeout_at(deadline, ended).await.unwrap_or_else(|_| Err(Error::internal("the watch does not end")))
    }

    /// Whether the deployment says that it is ready.
    pub async fn is_active(&self) -> bool {
        let target = Target { namespace: namespace(), name: name() };
        self.operations.get(&target, false).await.is_ok_and(|view| view.status.is_ready())
    }
}

fn told(outcome: Outcome) -> Told {
    match outcome {
        Outcome::Created => Told::Created,
        Outcome::Updated => Told::Updated,
        Outcome::Unchanged => Told::Unchanged,
    }
}

fn deploy(text: &str, deadline: Instant) -> DeployCall {
    DeployCall {
        namespace: namespace(),
        template: TemplateCall {
            source: Source::Text(text.to_owned()),
            overrides: None,
            name: Some(name()),
            rules: Rules::default(),
            image_configs: Configs::default(),
            strict: false,
        },
        choices: DeployChoices {
            create_namespace: false,
            prune: PrunePolicy::DeleteRemoved,
            on_failure: FailurePolicy::Keep,
            conflicts: ConflictPolicy::Fail,
            replicas: ReplicasPolicy::Auto,
            waits_ready: false,
            validate_only: false,
            etag: String::new(),
            request: None,
            plan_id: String::new(),
            deadline,
        },
        wait_ready: None,
    }
}
