//! How soon callers hear of an event, on the real control plane.
//!
//! `cargo bench --bench events` prints how long after the API server's own event a Deploy that waits answers READY
//! (the goal is 10 ms), and the last of 1,000 watchers of one deployment has its message (50 ms). The event is timed
//! by a bare watch in the same process; `EVENTS_WATCHERS` changes the number, `EVENTS_ADAPTER` names another build.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what it prints is what it is for, and a failure ends it"
)]

#[path = "toolbox/support.rs"]
mod support;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams, WatchEvent, WatchParams};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use panamax_kubernetes_adapter::proto::watch_deployment_response::Event;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use support::adapter::{Binary, connect, deploy, teardown};
use support::control_plane::{User, control_plane};
use support::namespace::{Namespace, namespace};
use support::templates::chain;

/// Streams on one connection; the adapter takes 100.
const STREAMS: usize = 90;
/// How often each is measured.
const DEPLOYS: usize = 15;
const EVENTS: i32 = 30;
/// Between two events, so that one round does not meet the next.
const PAUSE: Duration = Duration::from_millis(300);
/// How long a message may take.
const PATIENCE: Duration = Duration::from_secs(30);

type Client = DeploymentServiceClient<Channel>;

#[tokio::main]
async fn main() {
    let watchers = std::env::var("EVENTS_WATCHERS").map_or(1000, |count| count.parse().expect("a number"));
    let program = std::env::var_os("EVENTS_ADAPTER")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter")), PathBuf::from);
    let namespace = namespace("events").await;
    let kubeconfig = control_plane().kubeconfig(User::Adapter);
    let flags = ["--kubeconfig", kubeconfig.to_str().expect("a path"), "--log", "info"];
    let binary = Binary::start_program(&program, &flags);
    let client = Client::new(connect(binary.address).await);
    tell("READY after its event", deploys(client.clone(), &namespace).await);
    let rounds = events(client, &binary, &namespace, watchers).await;
    tell(&format!("the last of {watchers} watchers"), rounds);
    let memory = binary.resident_bytes().unwrap_or_default() as f64 / 1e6;
    println!("  {memory:.1} MB resident with {watchers} watchers");
}

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| {
        let index = (times.len() as f64 * share) as usize;
        times.get(index.min(times.len() - 1)).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    };
    println!("  {what:<28} fastest {:.1}, usual {:.1}, p99 {:.1} ms", at(0.0), at(0.5), at(0.99));
}

/// The moments at which a bare watch sees what is looked for in a pod.
fn pods<T: Send + 'static>(
    tasks: &mut JoinSet<()>,
    namespace: &Namespace,
    seen: impl Fn(&Pod) -> Option<T> + Send + 'static,
) -> mpsc::UnboundedReceiver<(T, Instant)> {
    let (send, moments) = mpsc::unbounded_channel();
    let api: Api<Pod> = namespace.api();
    tasks.spawn(async move {
        let events = api.watch(&WatchParams::default(), "0").await.expect("a watch");
        let mut events = events.boxed();
        while let Some(event) = events.try_next().await.expect("an event") {
            if let WatchEvent::Added(pod) | WatchEvent::Modified(pod) = event
                && let Some(what) = seen(&pod)
            {
                // Who asked may have heard enough.
                let _ = send.send((what, Instant::now()));
            }
        }
    });
    moments
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

/// How long after the event of the last pod a Deploy that waits for READY is answered.
async fn deploys(mut client: Client, namespace: &Namespace) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..DEPLOYS {
        let mut tasks = JoinSet::new();
        let mut moments = pods(&mut tasks, namespace, |pod| is_ready(pod).then(|| pod.metadata.name.clone()));
        client.deploy(deploy(namespace, "ready", &chain(3))).await.expect("deployed");
        let answered = Instant::now();
        let mut first = std::collections::BTreeMap::new();
        while first.len() < 3 {
            let (pod, moment) =
                tokio::time::timeout(PATIENCE, moments.recv()).await.expect("in time").expect("a pod");
            first.entry(pod).or_insert(moment);
        }
        let last = first.into_values().max().expect("a moment");
        times.push(answered.saturating_duration_since(last));
        client.teardown(teardown(namespace, "ready")).await.expect("torn down");
    }
    times
}

/// How often the containers of a deployment's pods were started again, in all.
fn restarts(deployment: &proto::Deployment) -> i32 {
    deployment.components.iter().flat_map(|component| &component.pods).map(|pod| pod.restart_count()).sum()
}

/// How long after the event the last of many watchers has its message.
async fn events(
    mut client: Client,
    binary: &Binary,
    namespace: &Namespace,
    watchers: usize,
) -> Vec<Duration> {
    client.deploy(deploy(namespace, "watched", &chain(3))).await.expect("deployed");
    let mut tasks = JoinSet::new();
    let (send, mut messages) = mpsc::unbounded_channel();
    let channels = join_all((0..watchers.div_ceil(STREAMS)).map(|_| connect(binary.address))).await;
    for index in 0..watchers {
        let (mut client, send) = (Client::new(channels[index / STREAMS].clone()), send.clone());
        let request = proto::WatchDeploymentRequest {
            namespace: namespace.to_string(),
            name: "watched".to_owned(),
            view: proto::DeploymentView::Full.into(),
            ..Default::default()
        };
        tasks.spawn(async move {
            let mut events = client.watch_deployment(request).await.expect("a watch").into_inner();
            while let Some(event) = events.message().await.expect("an event") {
                if let Some(Event::Snapshot(deployment)) = event.event {
                    let _ = send.send((restarts(&deployment), Instant::now()));
                }
            }
        });
    }
    let pod_restarts =
        |pod: &Pod| Some(pod.status.as_ref()?.container_statuses.as_ref()?.first()?.restart_count);
    let mut moments = pods(&mut tasks, namespace, pod_restarts);
    let mut times = Vec::new();
    let api: Api<Pod> = namespace.api();
    let pod = api.get("c0-pod").await.expect("a pod").status.and_then(|status| status.container_statuses);
    let mut containers = pod.expect("containers");
    // Every watcher has its first snapshot before anything is timed.
    heard(&mut messages, 0, watchers).await;
    for round in 1..=EVENTS {
        tokio::time::sleep(PAUSE).await;
        // All of it: the simulated node plays a container again whose image it does not find.
        containers.iter_mut().for_each(|container| container.restart_count = round);
        let again = json!({"status": {"containerStatuses": containers}});
        api.patch_status("c0-pod", &PatchParams::default(), &Patch::Strategic(again))
            .await
            .expect("a status");
        let last = heard(&mut messages, round, watchers).await;
        let event = loop {
            let (count, moment) = moments.recv().await.expect("an event");
            if count == round {
                break moment;
            }
        };
        times.push(last.saturating_duration_since(event));
    }
    times
}

/// When the last of so many watchers heard of a number of restarts.
async fn heard(
    messages: &mut mpsc::UnboundedReceiver<(i32, Instant)>,
    round: i32,
    watchers: usize,
) -> Instant {
    let mut left = watchers;
    let all = async {
        loop {
            let (count, moment) = messages.recv().await.expect("a message");
            if count == round {
                left -= 1;
            }
            if left == 0 {
                return moment;
            }
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("every watcher hears of it")
}
