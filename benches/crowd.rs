//! Many callers at once on the real control plane: deployments made, repeated, read, listed and torn down.
//!
//! `cargo bench --bench crowd` prints how many calls a second each phase answers, and the memory that the adapter
//! holds before, between and after them. `CROWD_DEPLOYMENTS` and `CROWD_CALLERS` change the size (400 and 16), and
//! `CROWD_ADAPTER` names another build of the binary: two builds on one machine are compared by turns.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what it prints is what it is for, and a failure ends it"
)]

#[path = "toolbox/support.rs"]
mod support;

use std::fmt::Write as _;
use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::future::join_all;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use panamax_kubernetes_adapter::proto::{DeploymentState, ListDeploymentsRequest};
use tonic::transport::Channel;

use support::adapter::{Binary, connect, deploy_at_once, teardown};
use support::control_plane::{User, control_plane};
use support::namespace::namespace;

/// Images per template.
const COMPONENTS: usize = 3;
/// How often the list is read; the fastest counts.
const LISTS: usize = 10;
/// How long the last operation may take to settle.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long after its start the adapter is idle, and how long after the last call it is at rest.
const IDLE: Duration = Duration::from_secs(3);
const REST: Duration = Duration::from_secs(30);

type Client = DeploymentServiceClient<Channel>;

/// The adapter under load, and who calls it.
struct Crowd {
    namespace: String,
    callers: Vec<Client>,
    deployments: usize,
    binary: Binary,
}

#[tokio::main]
async fn main() {
    let plane = control_plane();
    let number = |name: &str, usual: usize| {
        std::env::var(name).map_or(usual, |value| value.parse().expect("a number in the environment"))
    };
    let (deployments, callers) = (number("CROWD_DEPLOYMENTS", 400), number("CROWD_CALLERS", 16));
    let program = std::env::var_os("CROWD_ADAPTER")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter")), PathBuf::from);
    let namespace = namespace("crowd").await;
    let kubeconfig = plane.kubeconfig(User::Adapter);
    let flags = ["--kubeconfig", kubeconfig.to_str().expect("a path"), "--log", "info"];
    let binary = Binary::start_program(&program, &flags);
    let channels = join_all((0..callers).map(|_| connect(binary.address))).await;
    let callers = channels.into_iter().map(Client::new).collect();
    let crowd = Crowd { namespace: namespace.to_string(), callers, deployments, binary };
    println!("{deployments} deployments of {COMPONENTS} components, {} callers", crowd.callers.len());
    tokio::time::sleep(IDLE).await;
    crowd.tell_memory("idle");
    crowd.live().await;
    crowd.tell_memory("right after");
    tokio::time::sleep(REST).await;
    crowd.tell_memory("at rest");
}

impl Crowd {
    /// The whole life of every deployment, phase by phase.
    async fn live(&self) {
        let namespace = self.namespace.as_str();
        let request = |number: usize| deploy_at_once(namespace, &name(number), &template(number));
        let deployed = async |mut client: Client, number| {
            client.deploy(request(number)).await.map(|answer| answer.into_inner().outcome())
        };
        self.phase("first Deploy", async |client, number| {
            let outcome = deployed(client, number).await.expect("deployed");
            assert_eq!(outcome, proto::DeployOutcome::Created);
        })
        .await;
        let began = Instant::now();
        self.settled().await;
        println!("  {:<16} {:>8.1} s later", "all recorded", began.elapsed().as_secs_f64());
        self.tell_memory("deployed");
        self.phase("unchanged", async |client, number| {
            let outcome = deployed(client, number).await.expect("deployed again");
            assert_eq!(outcome, proto::DeployOutcome::Unchanged);
        })
        .await;
        self.phase("read", async |mut client, number| {
            let request = proto::GetDeploymentRequest {
                namespace: namespace.to_owned(),
                name: name(number),
                ..Default::default()
            };
            client.get_deployment(request).await.expect("a deployment");
        })
        .await;
        let mut fastest = Duration::MAX;
        for _ in 0..LISTS {
            let began = Instant::now();
            let listed = self.list().await;
            fastest = fastest.min(began.elapsed());
            assert_eq!(listed.len(), self.deployments);
        }
        println!("  {:<16} {:>8.1} ms", "list of all", fastest.as_secs_f64() * 1000.0);
        self.phase("Teardown", async |mut client, number| {
            client.teardown(teardown(namespace, &name(number))).await.expect("torn down");
        })
        .await;
    }

    /// Makes one call for every deployment, by all callers at once, and prints how many a second.
    async fn phase<F: Future<Output = ()>>(&self, what: &str, call: impl Fn(Client, usize) -> F) {
        let began = Instant::now();
        let callers = self.callers.iter().enumerate().map(|(caller, client)| {
            let call = &call;
            async move {
                for number in (caller..self.deployments).step_by(self.callers.len()) {
                    call(client.clone(), number).await;
                }
            }
        });
        join_all(callers).await;
        println!("  {what:<16} {:>8.1} a second", self.deployments as f64 / began.elapsed().as_secs_f64());
    }

    async fn list(&self) -> Vec<proto::Deployment> {
        let request = ListDeploymentsRequest {
            namespace: self.namespace.clone(),
            page_size: i32::try_from(self.deployments).expect("a page"),
            ..Default::default()
        };
        let listed = self.callers[0].clone().list_deployments(request).await.expect("a list");
        listed.into_inner().deployments
    }

    /// Waits until every deployment is recorded as running.
    async fn settled(&self) {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let listed = self.list().await;
            let open = listed.iter().filter(|one| one.state() != DeploymentState::Active).count();
            if open == 0 {
                return;
            }
            assert!(Instant::now() < give_up, "{open} deployments do not settle");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    fn tell_memory(&self, when: &str) {
        let megabytes = |bytes: Option<u64>| bytes.unwrap_or_default() as f64 / 1e6;
        let (resident, own) = (self.binary.resident_bytes(), self.binary.anonymous_bytes());
        // The rest is pages of the program's file, which the system drops when it needs them.
        println!("  {when:<16} {:>8.1} MB resident, {:.1} MB its own", megabytes(resident), megabytes(own));
    }
}

fn name(number: usize) -> String {
    format!("crowd-{number}")
}

/// Components in a row, each linked to the one before it; the objects of no two deployments have one name.
fn template(number: usize) -> String {
    let mut text = format!("name: Crowd {number}\nimages:\n");
    for index in 0..COMPONENTS {
        let port = 7000 + index;
        // Writing to a text cannot fail.
        let _ = write!(
            text,
            "- name: D{number}C{index}\n  source: example/component:{index}\n  expose: [{port}]\n  environment:\n  \
             - variable: NUMBER\n    value: '{number}'\n"
        );
        if let Some(before) = index.checked_sub(1) {
            let _ =
                write!(text, "  links:\n  - service: D{number}C{before}\n    alias: D{number}UP{before}\n");
        }
    }
    text
}
