//! An old agent's deployments on the real control plane: pods that take their time, a restart in between, two façades.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::support::adapter::Binary;
use crate::support::agent::{Agent, Answer, recorded};
use crate::support::control_plane::{User, control_plane};
use crate::support::namespace::{Namespace, namespace};
use crate::support::relay::{Relay, free_address, kubeconfig_at};

/// How long the old pods take to end.
const GRACE: Duration = Duration::from_secs(8);

fn body() -> String {
    recorded("go")
}

async fn start(namespace: &str) -> Binary {
    let namespace = namespace.to_owned();
    let kubeconfig = control_plane().kubeconfig(User::Adapter);
    let flags = move || {
        let own = ["--namespace", &namespace, "--namespaces", &namespace];
        Binary::start(&kubeconfig, &[&own[..], &["--rest-listen", "127.0.0.1:0", "--lease", "3s"]].concat())
    };
    tokio::task::spawn_blocking(flags).await.expect("the binary starts")
}

async fn agent(binary: &Binary) -> Agent {
    Agent::to(binary.rest.expect("it serves the old agents")).await
}

/// Holds the pods as their grace would: they go a while after they were deleted.
async fn hold(namespace: &Namespace, finalizers: serde_json::Value) {
    let pods = namespace.api::<Pod>();
    for pod in pods.list(&ListParams::default()).await.expect("pods") {
        let patch = Patch::Merge(json!({ "metadata": { "finalizers": finalizers } }));
        pods.patch(&pod.name_any(), &PatchParams::default(), &patch).await.expect("a pod that is held");
    }
}

#[tokio::test]
async fn an_agent_redeploys_while_old_pods_take_their_time_and_the_adapter_restarts() {
    let namespace = namespace("rest-life").await;
    let mut binary = start(&namespace).await;
    let mut first = agent(&binary).await;
    let ids = first.post(&body()).await.ids();
    first.until(&ids[0], "running 2/2").await;
    first.until(&ids[1], "running 1/1").await;
    let other = body().replace("shop/store:5.5", "shop/store:6.0");
    assert_eq!(first.post(&other).await.refusal(), (409, "DEPLOYMENT_EXISTS".to_owned()));
    // Another process knows as much as the one before.
    binary.kill();
    let mut binary = start(&namespace).await;
    let mut second = agent(&binary).await;
    assert_eq!(second.post(&body()).await.ids(), ids);
    assert_eq!(second.state(&ids[0]).await, "running 2/2");
    // Redeploy: the POST waits until the old pods have gone.
    hold(&namespace, json!(["example.com/grace"])).await;
    for id in &ids {
        assert_eq!(second.delete(id).await, 204);
    }
    assert_eq!(second.state(&ids[0]).await, "deleting");
    let begun = Instant::now();
    let grace = async {
        tokio::time::sleep(GRACE).await;
        hold(&namespace, json!(null)).await;
    };
    let posted = body();
    let (created, ()) = tokio::join!(second.post(&posted), grace);
    let again = created.ids();
    assert!(begun.elapsed() >= GRACE, "{:?}", begun.elapsed());
    assert!(again.iter().all(|id| !ids.contains(id)), "{again:?}");
    assert_eq!(second.get(&ids[0]).await.status, 404);
    assert_eq!(second.delete(&ids[0]).await, 404, "a stale record deletes nothing");
    second.until(&again[0], "running 2/2").await;
    // Delete, and the adapter restarts before all has gone.
    hold(&namespace, json!(["example.com/grace"])).await;
    assert_eq!(second.delete(&again[0]).await, 204);
    binary.kill();
    let binary = start(&namespace).await;
    let mut third = agent(&binary).await;
    assert_eq!(third.delete(&again[1]).await, 204, "the other one joins in");
    hold(&namespace, json!(null)).await;
    third.until_gone(&again[0]).await;
    assert_eq!(third.delete(&again[1]).await, 404);
    let records = namespace.api::<ConfigMap>().list(&ListParams::default()).await.expect("records");
    let left: Vec<String> = records.iter().map(ResourceExt::name_any).collect();
    assert_eq!(left, ["kube-root-ca.crt"]);
}

#[tokio::test]
async fn two_facades_make_one_deployment_of_one_template() {
    let namespace = namespace("rest-two").await;
    let (left, right) = tokio::join!(start(&namespace), start(&namespace));
    let posted = body();
    let posts = [&left, &right, &left, &right, &left, &right]
        .map(|binary| async { agent(binary).await.post(&posted).await.ids() });
    let mut answers = futures::future::join_all(posts).await;
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    // What one has made the other deletes.
    let ids = answers.remove(0);
    let mut other = agent(&right).await;
    let mut statuses = Vec::new();
    for id in &ids {
        statuses.push(other.delete(id).await);
    }
    assert_eq!(statuses[0], 204);
    agent(&left).await.until_gone(&ids[0]).await;
}

#[tokio::test]
async fn an_agent_is_told_nothing_that_is_not_true_while_the_cluster_is_away() {
    let namespace = namespace("rest-away").await;
    let address = free_address().await;
    let kubeconfig = kubeconfig_at(address);
    let relay = Relay::start(address, Duration::ZERO).await;
    let name = namespace.to_string();
    let start = move || {
        let own = ["--namespace", &name, "--namespaces", &name, "--rest-listen", "127.0.0.1:0"];
        Binary::start(&kubeconfig, &own)
    };
    let binary = tokio::task::spawn_blocking(start).await.expect("the binary starts");
    let mut here = agent(&binary).await;
    let ids = here.post(&body()).await.ids();
    here.until(&ids[0], "running 2/2").await;
    drop(relay);
    let healthy = |answer: &Answer| answer.json()["isHealthy"] == json!(true);
    let begun = Instant::now();
    while healthy(&here.call("GET", "/v1/metadata", None).await) {
        assert!(begun.elapsed() < Duration::from_secs(30), "it notices nothing");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(here.call("GET", "/healthcheck", None).await.body, "false");
    let answer = here.get(&ids[0]).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some_and(|after| after != "0"), "{answer:?}");
    // A DELETE has time until the cluster is back: whatever is answered, the agent takes the service for deleted.
    let deleting = async { here.delete(&ids[0]).await };
    let back = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        Relay::start(address, Duration::ZERO).await
    };
    let (deleted, _relay) = tokio::join!(deleting, back);
    assert_eq!(deleted, 204);
    here.until_gone(&ids[0]).await;
}

/// The agent itself, built from its source: it keeps its records in a file, and ends where it is refused.
struct RealAgent {
    child: Child,
    address: SocketAddr,
    adapter: SocketAddr,
    records: PathBuf,
}

impl RealAgent {
    fn start(address: SocketAddr, adapter: SocketAddr, records: PathBuf) -> Self {
        let program = std::env::var_os("REMOTE_AGENT").expect("the path of the agent's binary");
        let child = Command::new(program)
            .arg("-secure=false")
            .env("ADAPTER_PORT", format!("tcp://{adapter}"))
            .env("DB_LOCATION", &records)
            .env("SERVER_PORT", address.port().to_string())
            .env("REMOTE_AGENT_VERSION", "1")
            .spawn();
        Self { child: child.expect("the agent starts"), address, adapter, records }
    }

    /// Makes a call of the agent's own contract; `None`: it has ended, and is started again.
    async fn call(&mut self, method: &str, path: &str, body: Option<&str>) -> Option<Answer> {
        let begun = Instant::now();
        let stream = loop {
            match tokio::net::TcpStream::connect(self.address).await {
                Ok(stream) => break stream,
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(20), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let mut caller = Agent::over(Box::new(stream), "agent");
        caller.send(method, path, body).await;
        let answer = caller.answer(method).await;
        if answer.is_none() {
            self.child.wait().expect("it has ended");
            let again = Self::start(self.address, self.adapter, self.records.clone());
            *self = again;
        }
        answer
    }

    /// The states that it shows of a deployment.
    async fn states(&mut self, id: &str) -> Vec<String> {
        let answer = self.call("GET", &format!("/deployments/{id}"), None).await.expect("it lives");
        let services = answer.json()["status"]["services"].clone();
        let services = services.as_array().unwrap_or_else(|| panic!("{answer:?}")).clone();
        services.iter().map(|one| one["actualState"].as_str().expect("a state").to_owned()).collect()
    }

    async fn until(&mut self, id: &str, states: &[&str]) {
        let begun = Instant::now();
        loop {
            let now = self.states(id).await;
            if now == states {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{now:?}, not {states:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for RealAgent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
#[ignore = "needs the built Go agent in REMOTE_AGENT, and its empty database in REMOTE_AGENT_RECORDS"]
async fn the_go_agent_itself_lives_through_all_of_it() {
    let namespace = namespace("rest-agent").await;
    let (adapter, address) = (free_address().await, free_address().await);
    let start = async || {
        let (namespace, at) = (namespace.to_string(), adapter.to_string());
        let kubeconfig = control_plane().kubeconfig(User::Adapter);
        let flags = move || {
            let own = ["--namespace", &namespace, "--namespaces", &namespace, "--rest-listen", &at];
            Binary::start(&kubeconfig, &[&own[..], &["--lease", "3s"]].concat())
        };
        tokio::task::spawn_blocking(flags).await.expect("the binary starts")
    };
    let mut binary = start().await;
    let empty = std::env::var_os("REMOTE_AGENT_RECORDS").expect("the agent's empty database");
    let records = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("agent-{}.db", std::process::id()));
    std::fs::copy(empty, &records).expect("a copy");
    let mut agent = RealAgent::start(address, adapter, records);
    let template = |source: &str| {
        let variable = |name: &str| json!({ "variable": name, "value": "canary <of> & it" });
        let variables: Vec<_> = (0..20).map(|index| variable(&format!("V{index}"))).collect();
        json!({
            "override": { "images": [{ "name": "WP", "deployment": { "count": 2 }, "environment": variables }] },
            "template": { "name": "Shop", "images": [
                { "name": "WP", "source": source, "links": [{ "service": "DB", "alias": "DB_1" }], "environment": variables,
                  "ports": [{ "host_port": 8000, "container_port": 80 }] },
                { "name": "DB", "source": "shop/db:1", "expose": ["3306", "80/tcp"], "volumes": [{ "container_path": "/data" }] },
            ] },
        })
        .to_string()
    };
    let metadata = agent.call("GET", "/metadata", None).await.expect("it lives").json();
    assert_eq!(metadata["adapter"]["type"], "Kubernetes", "{metadata}");
    // Create, status, repeat.
    let created = agent.call("POST", "/deployments", Some(&template("shop/wp:1"))).await.expect("it lives");
    assert_eq!(created.status, 201, "{created:?}");
    agent.until("1", &["running 2/2", "running 1/1"]).await;
    let repeated = agent.call("POST", "/deployments", Some(&template("shop/wp:1"))).await.expect("it lives");
    assert_eq!(repeated.status, 201, "{repeated:?}");
    // Conflict and refusal: it ends, as ever, and nothing has changed.
    assert_eq!(agent.call("POST", "/deployments", Some(&template("shop/wp:2"))).await, None);
    assert_eq!(agent.call("POST", "/deployments", Some(&template("no source"))).await, None);
    agent.until("1", &["running 2/2", "running 1/1"]).await;
    // Another process of the adapter.
    binary.kill();
    let binary = start().await;
    agent.until("1", &["running 2/2", "running 1/1"]).await;
    // Redeploy, while the old pods take their time.
    hold(&namespace, json!(["example.com/grace"])).await;
    let begun = Instant::now();
    let grace = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        hold(&namespace, json!(null)).await;
    };
    let (redeployed, ()) = tokio::join!(agent.call("POST", "/deployments/1/redeploy", None), grace);
    assert_eq!(redeployed.expect("it lives").status, 201);
    assert!(begun.elapsed() >= Duration::from_secs(30));
    agent.until("3", &["running 2/2", "running 1/1"]).await;
    // The record of the repetition leads to nothing, and deletes nothing.
    assert_eq!(agent.states("2").await, ["not found", "not found"]);
    assert_eq!(agent.call("DELETE", "/deployments/2", None).await.expect("it lives").status, 204);
    agent.until("3", &["running 2/2", "running 1/1"]).await;
    assert_eq!(agent.call("DELETE", "/deployments/3", None).await.expect("it lives").status, 204);
    let records = namespace.api::<ConfigMap>();
    let begun = Instant::now();
    while records.list(&ListParams::default()).await.expect("records").items.len() > 1 {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not go");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!binary.whole_log().contains("canary"), "a value is in the log");
}
