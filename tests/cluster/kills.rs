//! The process is killed at every call to the API server; then nobody calls, and a keeper ends what it began.
//!
//! `KILL_ALL=1` kills at every call; without it a tenth of these moments is chosen by a seed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use serde_json::Value;
use tonic::Status;
use tonic::transport::Channel;

use super::revisions::rollback;
use crate::support::adapter::{Adapter, Binary, connect, deploy, deploy_at_once, scale, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::namespace::{Namespace, namespace};
use crate::support::patience::Seeded;
use crate::support::proxy::{Point, Proxy};
use crate::support::survey::Survey;

/// Namespaces in which processes are killed, one after another in each.
const LANES: usize = 6;
/// The last call at which a process that comes after a kill is killed, too.
const SECOND: usize = 12;
/// One of so many moments is chosen.
const CHOSEN: f64 = 10.0;
/// The lease of the processes that are killed, and of those that come after them.
const LEASE: Duration = Duration::from_secs(2);
/// How long a keeper may take once the lease is over, and the pods to start and to go.
const KEEPER: Duration = Duration::from_secs(10);
const PODS: Duration = Duration::from_secs(15);
/// How often the cluster is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long the process lives on after the answer to the call at which it is killed.
const LINGER: Duration = Duration::from_millis(2);

/// Two replicas, a component with a Secret, and a bare one.
const OLD: &str = "name: App\nimages:\n\
    - {name: web, source: 'example/web:1', deployment: {count: 2}, ports: [{host_port: 80, container_port: 80}], links: [{service: db, alias: DB}]}\n\
    - {name: db, source: 'example/db:1', expose: [5432], environment: [{variable: DB_PASSWORD, value: one}]}\n\
    - {name: job, source: 'example/job:1'}\n";

/// The operations that are killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    First,
    Update,
    Rollout,
    Count,
    Convert,
    Teardown,
    /// An update that is to be taken back if it fails; to be killed is to fail.
    OrBack,
    Rollback,
}

const OPERATIONS: [Operation; 8] = [
    Operation::First,
    Operation::Update,
    Operation::Rollout,
    Operation::Count,
    Operation::Convert,
    Operation::Teardown,
    Operation::OrBack,
    Operation::Rollback,
];

impl Operation {
    /// The template afterwards.
    fn template(self) -> String {
        match self {
            // One component goes, one comes, and a Secret changes.
            Operation::Update | Operation::OrBack => {
                OLD.replace("job", "more").replace("value: one", "value: two")
            }
            Operation::Rollout => OLD.replace("web:1", "web:2"),
            Operation::First
            | Operation::Count
            | Operation::Convert
            | Operation::Teardown
            | Operation::Rollback => OLD.to_owned(),
        }
    }

    /// The template before.
    fn template_before(self) -> String {
        if self == Operation::Rollback { Operation::Update.template() } else { OLD.to_owned() }
    }

    /// What stands afterwards, as [`standing`] shows it.
    fn made(self) -> BTreeMap<String, String> {
        let template = self.template();
        let web = if template.contains("web:2") { "example/web:2" } else { "example/web:1" };
        let (count, jobs) = (if self == Operation::Count { 3 } else { 2 }, self == Operation::Convert);
        let secret = if template.contains("value: two") { "two" } else { "one" };
        let job = if template.contains("more") { "example/more:1" } else { "example/job:1" };
        let mut made = BTreeMap::from([
            (format!("pods of {web}"), count.to_string()),
            ("pods of example/db:1".to_owned(), "1".to_owned()),
            (format!("pods of {job}"), if jobs { "2" } else { "1" }.to_owned()),
            ("replicas of web-replication-controller".to_owned(), count.to_string()),
            ("secret db-environment".to_owned(), secret.to_owned()),
        ]);
        if jobs {
            made.insert("replicas of job-replication-controller".to_owned(), "2".to_owned());
        }
        if self == Operation::Teardown { BTreeMap::new() } else { made }
    }

    /// What stands before.
    fn before(self) -> BTreeMap<String, String> {
        match self {
            Operation::First => BTreeMap::new(),
            Operation::Rollback => Operation::Update.made(),
            _ => Operation::First.made(),
        }
    }

    async fn call(
        self,
        mut client: DeploymentServiceClient<Channel>,
        namespace: String,
    ) -> Result<(), Status> {
        match self {
            Operation::First | Operation::Update | Operation::Rollout => {
                let request = deploy_at_once(&namespace, "app", &self.template());
                client.deploy(with_secrets(request)).await.map(|_| ())
            }
            Operation::OrBack => {
                let mut request = with_secrets(deploy_at_once(&namespace, "app", &self.template()));
                request.options.get_or_insert_default().set_on_failure(proto::FailurePolicy::Rollback);
                client.deploy(request).await.map(|_| ())
            }
            Operation::Rollback => {
                let request = proto::RollbackRequest { wait: 0, ..rollback(&namespace, "app", 1) };
                client.rollback(request).await.map(|_| ())
            }
            Operation::Count => client.scale(at_once(scale(&namespace, "app", "web", 3))).await.map(|_| ()),
            Operation::Convert => client.scale(at_once(scale(&namespace, "app", "job", 2))).await.map(|_| ()),
            Operation::Teardown => client.teardown(teardown(&namespace, "app")).await.map(|_| ()),
        }
    }
}

fn at_once(request: proto::ScaleRequest) -> proto::ScaleRequest {
    proto::ScaleRequest { wait: proto::WaitMode::None.into(), ..request }
}

fn with_secrets(request: proto::DeployRequest) -> proto::DeployRequest {
    let mut options = request.options.clone().unwrap_or_default();
    options.set_secrets(proto::SecretHandling::Secret);
    proto::DeployRequest { options: Some(options), ..request }
}

/// When a process is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// At a call to the API server.
    Call(usize, Point),
    /// When the caller has its answer.
    Answer,
}

/// What stands: the pods by image, the counts of controllers, the content of the Secret.
fn standing(survey: &Survey) -> BTreeMap<String, String> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut pods: BTreeMap<String, usize> = BTreeMap::new();
    for (_, pod) in survey.of_kind("Pod") {
        *pods.entry(text(pod.data.pointer("/spec/containers/0/image"))).or_default() += 1;
    }
    let mut standing: BTreeMap<String, String> =
        pods.into_iter().map(|(image, count)| (format!("pods of {image}"), count.to_string())).collect();
    for (name, controller) in survey.of_kind("ReplicationController") {
        let replicas = controller.data.pointer("/spec/replicas").map(Value::to_string);
        standing.insert(format!("replicas of {name}"), replicas.unwrap_or_default());
    }
    for (name, secret) in survey.of_kind("Secret").filter(|(name, _)| *name == "db-environment") {
        use base64::Engine;
        let value = text(secret.data.pointer("/data/DB_PASSWORD"));
        let value = base64::engine::general_purpose::STANDARD.decode(value).expect("base64");
        standing.insert(format!("secret {name}"), String::from_utf8(value).expect("a text"));
    }
    standing
}

/// A namespace with what lives in it.
struct Lane {
    namespace: Namespace,
    /// Another replica that keeps it; without one, a process is started after each kill.
    other: Option<Binary>,
    /// Asks when all is over.
    judge: Adapter,
}

impl Lane {
    async fn new(index: usize) -> Self {
        let namespace = namespace("kills").await;
        let other = if index.is_multiple_of(2) { None } else { Some(replica(&namespace, None).await) };
        let judge = Adapter::real(control_plane(), User::Admin).await;
        Self { namespace, other, judge }
    }

    /// Waits until nothing is left to do, and one of these stands; looks and never calls.
    async fn rests(
        &self,
        what: &str,
        ends: &[BTreeMap<String, String>],
        until: Instant,
    ) -> BTreeMap<String, String> {
        loop {
            let head = self.namespace.api::<ConfigMap>().get_opt("panamax-deployment-app").await;
            let head = head.expect("a look");
            let phase = head.as_ref().and_then(|head| head.metadata.labels.as_ref()?.get("panamax.io/phase"));
            let is_late = Instant::now() > until;
            if phase.is_none_or(|phase| phase == "idle") || is_late {
                let survey = Survey::of(&self.namespace.client, &self.namespace).await;
                let unrest = if survey.objects.is_empty() { Vec::new() } else { survey.unrest("app") };
                let standing = standing(&survey);
                if unrest.is_empty() && ends.contains(&standing) {
                    return standing;
                }
                assert!(!is_late, "{what}: {unrest:#?}\nof {:#?}\nstands {standing:#?}", survey.names());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Runs an operation, kills its process at a moment, and sees how it ends when nobody calls.
    ///
    /// The process that comes after it may be killed, too, at its so manieth call.
    async fn run(&self, operation: Operation, moment: Option<Moment>, second: Option<usize>) -> Run {
        let what = format!("{operation:?} killed at {moment:?}, then at {second:?}");
        let proxy = Proxy::start(control_plane().client(User::Adapter).await, Duration::ZERO).await;
        let mut victim = replica(&self.namespace, Some(&proxy)).await;
        let mut client = DeploymentServiceClient::new(connect(victim.address).await);
        let long = || Instant::now() + Duration::from_secs(60);
        if operation != Operation::First {
            let request = with_secrets(deploy(&self.namespace, "app", OLD));
            client.deploy(request).await.expect("deployed");
            self.rests(&what, &[Operation::First.made()], long()).await;
            if operation == Operation::Rollback {
                let request = with_secrets(deploy(&self.namespace, "app", &operation.template_before()));
                client.deploy(request).await.expect("deployed");
                self.rests(&what, &[operation.before()], long()).await;
            }
        }
        let at = match moment {
            Some(Moment::Call(call, point)) => Some((call, point)),
            Some(Moment::Answer) | None => None,
        };
        proxy.trap(&self.part(), at);
        let call = tokio::task::spawn_local(operation.call(client, self.namespace.to_string()));
        let made = [operation.made()];
        let (answered, late) = match moment {
            None => {
                call.await.expect("no panic").expect("undisturbed");
                self.rests(&what, &made, long()).await;
                let run = Run { calls: proxy.calls(), time: Duration::ZERO, late: false };
                self.clear().await;
                return run;
            }
            Some(Moment::Answer) => {
                call.await.expect("no panic").expect("answered");
                victim.kill();
                (true, false)
            }
            Some(Moment::Call(_, point)) => {
                let late = tokio::select! {
                    () = proxy.sprung() => false,
                    // There were fewer calls this time, and nothing is left to be killed at.
                    _ = self.rests(&what, &made, long()) => true,
                };
                if point == Point::Answered {
                    tokio::time::sleep(LINGER).await;
                }
                victim.kill();
                (call.await.expect("no panic").is_ok(), late)
            }
        };
        let killed = Instant::now();
        let ends = if answered { made.to_vec() } else { vec![operation.before(), operation.made()] };
        let end = self.ends(&what, &ends, second).await;
        let run = Run { calls: proxy.calls(), time: killed.elapsed(), late };
        self.is_whole(&what, operation, &end).await;
        self.clear().await;
        run
    }

    /// What the path of every call in the namespace holds.
    fn part(&self) -> String {
        format!("/namespaces/{}/", &*self.namespace)
    }

    /// Waits for the end that another replica brings about, or a process that is started now; or, if that is killed at
    /// a call, the one after it.
    async fn ends(
        &self,
        what: &str,
        ends: &[BTreeMap<String, String>],
        second: Option<usize>,
    ) -> BTreeMap<String, String> {
        let until = Instant::now() + LEASE + KEEPER + PODS;
        if self.other.is_some() {
            return self.rests(what, ends, until).await;
        }
        if let Some(call) = second {
            let road = Proxy::start(control_plane().client(User::Adapter).await, Duration::ZERO).await;
            road.trap(&self.part(), Some((call, Point::Unanswered)));
            let mut next = replica(&self.namespace, Some(&road)).await;
            tokio::select! {
                () = road.sprung() => {}
                end = self.rests(what, ends, until) => return end,
            }
            next.kill();
        }
        let _last = replica(&self.namespace, None).await;
        // A lease that was taken over has begun anew.
        self.rests(what, ends, until + LEASE + KEEPER).await
    }

    /// The template that stands is all there: deploying it changes nothing.
    async fn is_whole(&self, what: &str, operation: Operation, end: &BTreeMap<String, String>) {
        if end.is_empty() {
            return;
        }
        let template =
            if *end == operation.made() { operation.template() } else { operation.template_before() };
        let request = with_secrets(deploy_at_once(&self.namespace, "app", &template));
        let again = self.judge.deployments().deploy(request).await.expect("deployed").into_inner();
        assert_eq!(again.outcome(), proto::DeployOutcome::Unchanged, "{what}: {again:#?}");
    }

    /// Tears down what stands; nothing may be left.
    async fn clear(&self) {
        let request = proto::TeardownRequest { allow_missing: true, ..teardown(&self.namespace, "app") };
        let gone = self.judge.deployments().teardown(request).await.expect("torn down").into_inner();
        assert!(gone.complete, "{gone:#?}");
        let survey = Survey::of(&self.namespace.client, &self.namespace).await;
        assert_eq!(survey.names(), [""; 0]);
    }
}

/// How an operation went.
struct Run {
    /// The calls to the API server until nothing was left to do.
    calls: usize,
    /// How long that took after the kill.
    time: Duration,
    /// Whether nothing was left to do when the process was killed.
    late: bool,
}

/// A replica that keeps the namespace, behind a proxy or not.
async fn replica(namespace: &Namespace, proxy: Option<&Proxy>) -> Binary {
    let kubeconfig = proxy.map_or_else(|| control_plane().kubeconfig(User::Adapter), Proxy::kubeconfig);
    let lease = format!("{}s", LEASE.as_secs());
    let name = namespace.to_string();
    // Starting blocks; the other lanes must not wait for it.
    let start = move || Binary::start(&kubeconfig, &["--lease", &lease, "--namespaces", &name]);
    tokio::task::spawn_blocking(start).await.expect("the binary starts")
}

/// Every moment of operations that make so many calls.
fn moments(calls: &[(Operation, usize)]) -> Vec<(Operation, Moment)> {
    let of = |&(operation, calls): &(Operation, usize)| {
        let points = [Point::Unsent, Point::Unanswered, Point::Answered];
        let at = (1..=calls).flat_map(move |call| points.map(|point| Moment::Call(call, point)));
        at.chain([Moment::Answer]).map(move |moment| (operation, moment))
    };
    calls.iter().flat_map(of).collect()
}

#[tokio::test]
async fn a_keeper_ends_what_a_killed_process_began_though_nobody_calls() {
    let began = Instant::now();
    let lanes: Vec<Lane> = join_all((0..LANES).map(Lane::new)).await;
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let mut calls: Vec<(Operation, usize)> = Vec::new();
            for some in OPERATIONS.chunks(LANES) {
                let undisturbed = lanes.iter().zip(some).map(|(lane, operation)| async move {
                    (*operation, lane.run(*operation, None, None).await.calls)
                });
                calls.extend(join_all(undisturbed).await);
            }
            let mut moments = moments(&calls);
            let all = moments.len();
            if std::env::var_os("KILL_ALL").is_none() {
                let mut seeded = Seeded::new(11);
                moments.retain(|(_, moment)| {
                    // That the answer is there is what callers rely on: never left out.
                    seeded.next() * CHOSEN < 1.0 || matches!(moment, Moment::Answer)
                });
            }
            // Every second process that comes after a kill is killed, too.
            let mut seeded = Seeded::new(12);
            let seconds: Vec<Option<usize>> =
                moments.iter().map(|_| (1..=SECOND).find(|_| seeded.next() < 1.0 / 16.0)).collect();
            let next = AtomicUsize::new(0);
            let work = lanes.iter().map(|lane| async {
                let (mut longest, mut late): (BTreeMap<Operation, Duration>, usize) = Default::default();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((operation, moment)) = moments.get(index) else { break };
                    let run = lane.run(*operation, Some(*moment), seconds[index]).await;
                    let time = longest.entry(*operation).or_default();
                    *time = run.time.max(*time);
                    late += usize::from(run.late);
                }
                (longest, late)
            });
            let runs = join_all(work).await;
            for (operation, calls) in calls {
                let times = runs.iter().filter_map(|(longest, _)| longest.get(&operation));
                let time = times.max().copied().unwrap_or_default();
                eprintln!("kills: {operation:?} makes {calls} calls; the longest end took {time:.1?}");
            }
            let late: usize = runs.iter().map(|(_, late)| late).sum();
            let (killed, time) = (moments.len(), began.elapsed());
            eprintln!("kills: {killed} of {all} moments, {late} of them when all was done, in {time:.0?}");
            // Otherwise the moments were none.
            assert!(late * 4 < killed, "{late} of {killed} were killed when all was done");
        })
        .await;
}
