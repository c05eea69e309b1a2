//! The product beside a bare client that makes the same calls, in one run on the real control plane.
//!
//! `cargo bench --bench beside` records the calls of a Deploy, the same Deploy again and a Scale, and makes them by
//! turns: through the product, and as bare requests in the same order, as many at once. It prints the fastest and the
//! usual time of both, near to the API server and 50 ms away from it; the goal is 1.2 times the bare client's.
//! `BESIDE_ADAPTER` names another build of the binary; the calls are always those of this one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what it prints is what it is for, and a failure ends it"
)]

#[path = "toolbox/support.rs"]
mod support;

#[path = "beside/tape.rs"]
mod tape;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use panamax_kubernetes_adapter::proto::watch_deployment_response::Event;
use tonic::transport::Channel;

use support::adapter::{Adapter, Binary, connect, deploy_at_once, teardown};
use support::control_plane::{User, control_plane};
use support::namespace::{Namespace, namespace};
use support::proxy::Proxy;
use support::relay::{Relay, free_address, kubeconfig_at};
use tape::{Bare, Tape};

/// Far longer than the calls of one stage need to start: what waits for what shows on the tape.
const APART: Duration = Duration::from_millis(200);
/// Long enough that no lease is renewed while a tape is made.
const LEASE: Duration = Duration::from_secs(120);
/// The one deployment of each namespace.
const NAME: &str = "beside";
/// How far away the API server is, and how often each operation is made.
const ROADS: [(u64, usize); 2] = [(0, 15), (50, 5)];

type Client = DeploymentServiceClient<Channel>;

/// What is measured, in the order in which it is done.
/// How often the calls are recorded, until none of them was refused.
const RECORDINGS: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Deploy,
    Unchanged,
    Up,
    Down,
}

/// How long nobody writes before a step begins: the API server answers a LIST once its cache has seen the last write to its
/// store, of whatever kind, which may take 100 ms. So who comes right behind the other's writes would wait for those.
const REST: Duration = Duration::from_millis(300);
const STEPS: [Step; 4] = [Step::Deploy, Step::Unchanged, Step::Up, Step::Down];

/// An application of a size.
struct Shape {
    components: usize,
    objects: usize,
    template: String,
}

#[tokio::main]
async fn main() {
    for shape in [shape(2), shape(20)] {
        let mut tapes = record(&shape).await;
        // What conflicted with the cluster's own writes conflicts with others when it is made again.
        for _ in 1..RECORDINGS {
            if tapes.iter().all(|(_, tape)| tape.is_smooth()) {
                break;
            }
            tapes = record(&shape).await;
        }
        println!("{} objects", shape.objects);
        for (step, tape) in &tapes {
            let (calls, chain) = tape.shape();
            println!("  {:<10} {calls:>3} calls, chain of {chain}", format!("{step:?}"));
        }
        for (milliseconds, rounds) in ROADS {
            compare(&shape, &tapes, Duration::from_millis(milliseconds), rounds).await;
        }
    }
}

/// Components in a row, or in a ring, where every one has a Service; each is a controller of two pods.
fn shape(components: usize) -> Shape {
    let is_ring = components > 2;
    let mut template = "name: Beside\nimages:\n".to_owned();
    for index in 0..components {
        // Writing to a text cannot fail.
        let _ = write!(
            template,
            "- name: C{index}\n  source: example/component:1\n  expose: [{}]\n  deployment: {{count: 2}}\n",
            7000 + index
        );
        let before = index.checked_sub(1).or(is_ring.then_some(components - 1));
        if let Some(before) = before {
            let _ = writeln!(template, "  links: [{{service: C{before}, alias: C{before}}}]");
        }
    }
    Shape { components, objects: 2 * components - usize::from(!is_ring), template }
}

/// Makes one step through the product.
async fn make(client: &mut Client, namespace: &str, shape: &Shape, step: Step) {
    let scale = |replicas: i32| proto::ScaleRequest {
        namespace: namespace.to_owned(),
        name: NAME.to_owned(),
        replicas: (0..shape.components).map(|index| (format!("C{index}"), replicas)).collect(),
        ..Default::default()
    };
    let deploy = || deploy_at_once(namespace, NAME, &shape.template);
    match step {
        Step::Deploy | Step::Unchanged => {
            let answer = client.deploy(deploy()).await.expect("deployed").into_inner();
            let wanted = match step {
                Step::Deploy => proto::DeployOutcome::Created,
                _ => proto::DeployOutcome::Unchanged,
            };
            assert_eq!(answer.outcome(), wanted);
        }
        Step::Up => drop(client.scale(scale(3)).await.expect("scaled")),
        Step::Down => drop(client.scale(scale(2)).await.expect("scaled")),
    }
}

/// Waits until everything is ready, as the product sees it.
async fn ready(client: &mut Client, namespace: &str) {
    let request = proto::WatchDeploymentRequest {
        namespace: namespace.to_owned(),
        name: NAME.to_owned(),
        until: proto::WatchUntil::Ready.into(),
        ..Default::default()
    };
    let mut events = client.watch_deployment(request).await.expect("a watch").into_inner();
    while let Some(event) = events.message().await.expect("an event") {
        if let Some(Event::Complete(complete)) = event.event {
            assert_eq!(complete.reason(), proto::WatchCompleteReason::Ready);
        }
    }
}

/// Records the calls of every step.
async fn record(shape: &Shape) -> Vec<(Step, Tape)> {
    let namespace = namespace("beside-tape").await;
    let proxy = Proxy::start(control_plane().client(User::Adapter).await, APART).await;
    let adapter = Adapter::serve_with_lease(proxy.config(), None, LEASE).await;
    let mut client = adapter.deployments();
    let mut tapes = Vec::new();
    for step in STEPS {
        let began = Instant::now();
        make(&mut client, &namespace, shape, step).await;
        tapes.push((step, Tape::of(proxy.passed(), &namespace, began, Instant::now())));
        ready(&mut client, &namespace).await;
    }
    client.teardown(teardown(&namespace, NAME)).await.expect("torn down");
    tapes
}

/// Makes every step by turns, and prints what it took.
async fn compare(shape: &Shape, tapes: &[(Step, Tape)], delay: Duration, rounds: usize) {
    let plane = control_plane();
    let address = free_address().await;
    let relay = if delay.is_zero() { None } else { Some(Relay::start(address, delay).await) };
    let (server, kubeconfig) = match &relay {
        Some(_) => (format!("https://{address}"), kubeconfig_at(address)),
        None => (plane.server.clone(), plane.kubeconfig(User::Adapter)),
    };
    let (ours, theirs) = (namespace("beside-ours").await, namespace("beside-bare").await);
    let binary = serve(&kubeconfig, &[&ours, &theirs]);
    let mut client = Client::new(connect(binary.address).await);
    let loaded = kube::config::Kubeconfig::read_from(&kubeconfig).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(loaded, &Default::default()).await;
    let bare = Bare::new(&config.expect("a configuration"), &server, plane.token(User::Adapter), &theirs);
    bare.warm().await;
    let mut times: Vec<(Vec<Duration>, Vec<Duration>)> = vec![Default::default(); STEPS.len()];
    for _ in 0..rounds {
        for ((step, tape), (product, beside)) in tapes.iter().zip(&mut times) {
            tokio::time::sleep(REST).await;
            let began = Instant::now();
            make(&mut client, &ours, shape, *step).await;
            product.push(began.elapsed());
            ready(&mut client, &ours).await;
            tokio::time::sleep(REST).await;
            beside.extend(bare.play(tape).await);
            ready(&mut client, &theirs).await;
        }
        for namespace in [&ours, &theirs] {
            client.teardown(teardown(namespace, NAME)).await.expect("torn down");
        }
    }
    for (step, (product, beside)) in STEPS.iter().zip(times) {
        tell(shape, *step, delay, product, beside);
    }
}

/// Starts the binary, which keeps these namespaces.
fn serve(kubeconfig: &Path, namespaces: &[&Namespace]) -> Binary {
    let kept: Vec<&str> = namespaces.iter().map(|namespace| &***namespace).collect();
    let kubeconfig = kubeconfig.to_str().expect("a path");
    let program = std::env::var_os("BESIDE_ADAPTER")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter")), PathBuf::from);
    let flags = ["--kubeconfig", kubeconfig, "--namespaces", &kept.join(","), "--log", "info"];
    Binary::start_program(&program, &flags)
}

fn tell(shape: &Shape, step: Step, delay: Duration, mut product: Vec<Duration>, mut beside: Vec<Duration>) {
    product.sort();
    beside.sort();
    let milliseconds = |time: Option<&Duration>| time.map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0);
    let best = (milliseconds(product.first()), milliseconds(beside.first()));
    let usual = (milliseconds(product.get(product.len() / 2)), milliseconds(beside.get(beside.len() / 2)));
    println!(
        "  {:<10} {:>2} objects at {:>2} ms: fastest {:>6.1} beside {:>6.1} ms = {:.2}, usual {:>6.1} beside {:>6.1} ms = {:.2} ({} and {} runs)",
        format!("{step:?}"),
        shape.objects,
        delay.as_millis(),
        best.0,
        best.1,
        best.0 / best.1,
        usual.0,
        usual.1,
        usual.0 / usual.1,
        product.len(),
        beside.len(),
    );
}
