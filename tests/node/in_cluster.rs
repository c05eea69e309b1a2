//! The adapter in a cluster as `deploy/` starts it: its image in pods under Pod Security `restricted`, called over TLS.

mod dying;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::Api;
use kube::api::{LogParams, PostParams};
use kube::runtime::wait::await_condition;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use serde_json::json;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use crate::support::adapter::{deploy, deploy_at_once, reason, teardown};
use crate::support::certificates::{Issuer, authority, issued_to};
use crate::support::control_plane::User;
use crate::support::document::{blocks, commands};
use crate::support::image::{Contents, PORTS, PROGRAM, USER};
use crate::support::node::{Node, Passage, node};
use crate::support::templates::WORDPRESS;

/// Where `deploy/` starts it, and what its certificate is for.
const NAMESPACE: &str = "panamax-adapter";
const NAME: &str = "panamax-kubernetes-adapter";
const HOST: &str = "panamax-kubernetes-adapter.panamax-adapter.svc";
/// How long containers may take to run, and operations to be ended by another replica.
const PATIENCE: Duration = Duration::from_secs(110);

/// How long it may take until the Service leads to a replica.
const CONNECTED: Duration = Duration::from_secs(20);

/// How long a watch may outlive the right to it.
const REVOKED: Duration = Duration::from_secs(45);

/// A started adapter, and the folder its administrator works in.
struct Started {
    node: &'static Node,
    folder: PathBuf,
    authority: Issuer,
    passage: Passage,
}

impl Started {
    /// Starts it by the lines of the document, in a folder that has `deploy/` and the certificates beside each other.
    async fn new(node: &'static Node) -> Self {
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("in-cluster-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        std::os::unix::fs::symlink(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy"),
            folder.join("deploy"),
        )
        .expect("a link");
        let authority = authority("callers and servers");
        let (certificate, key) =
            issued_to(&authority, HOST, time::Duration::days(-1), time::Duration::days(1));
        for (name, text) in [("tls.crt", certificate), ("tls.key", key)] {
            fs::write(folder.join(name), text).expect("a file");
        }
        let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/in-cluster.md"));
        for command in blocks(&document.expect("a document"), "sh").iter().flat_map(|block| commands(block)) {
            let output = bash(node, &folder, &command);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{command}: {said}\n{}", logs(node).await);
            assert!(!said.contains("Warning"), "{command}: {said}");
        }
        let services: Api<Service> = Api::namespaced(node.plane.client(User::Harness).await, NAMESPACE);
        let service = services.get(NAME).await.expect("a Service").spec.expect("a specification");
        let address = format!("{}:50051", service.cluster_ip.expect("an address"));
        Self { node, passage: node.passage(address).await, folder, authority }
    }

    /// A caller with the token that the document's lines have made, on a connection of its own.
    async fn caller(&self) -> Deployments {
        self.caller_by(&self.passage).await
    }

    async fn caller_with(&self, token: &str) -> Deployments {
        self.caller_over(&self.passage, token).await
    }

    /// A caller with the token that the document's lines have made, by another way.
    async fn caller_by(&self, passage: &Passage) -> Deployments {
        let token = fs::read_to_string(self.folder.join("token")).expect("a token");
        self.caller_over(passage, &token).await
    }

    async fn caller_over(&self, passage: &Passage, token: &str) -> Deployments {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.authority.pem()))
            .domain_name(HOST);
        let endpoint = Endpoint::from_shared(format!("https://{}", passage.address)).expect("an address");
        let endpoint = endpoint.tls_config(tls).expect("TLS");
        let until = Instant::now() + CONNECTED;
        let channel = loop {
            match endpoint.connect().await {
                Ok(channel) => break channel,
                Err(error) => assert!(Instant::now() < until, "{error:?}\n{}", logs(self.node).await),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        let bearer: AsciiMetadataValue = format!("Bearer {}", token.trim()).parse().expect("a header");
        let known: Known = Box::new(move |mut request: Request<()>| {
            request.metadata_mut().insert("authorization", bearer.clone());
            Ok(request)
        });
        DeploymentServiceClient::with_interceptor(channel, known)
    }

    /// Calls from outside as whoever has grpcurl, the authority's certificate and a token does.
    fn grpcurl_lists(&self, name: &str) {
        let [certificate, token] = ["ca.crt", "token"].map(|name| self.folder.join(name));
        fs::write(&certificate, self.authority.pem()).expect("a file");
        let token = fs::read_to_string(token).expect("a token");
        let call = |headers: &[String]| {
            let mut command = Command::new(self.node.plane.program("grpcurl"));
            command.arg("-cacert").arg(&certificate).args(["-authority", HOST, "-max-time", "60"]);
            command.args(headers).arg(self.passage.address.to_string());
            command.arg("panamax.kubernetes.v1.DeploymentService/ListDeployments");
            let output = command.stdin(Stdio::null()).output().expect("grpcurl runs");
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
        };
        let known = call(&["-H".to_owned(), format!("authorization: Bearer {}", token.trim())]);
        assert!(known.contains(&format!("\"name\": \"{name}\"")), "{known}");
        let unknown = call(&[]);
        assert!(unknown.contains("Unauthenticated") && !unknown.contains(name), "{unknown}");
    }

    /// A token of an account in `default`, as `kubectl create token` makes it.
    fn token(&self, account: &str) -> String {
        let command = format!("kubectl create token {account} -n default --audience={NAME}");
        let output = bash(self.node, &self.folder, &command);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("a token is text")
    }

    fn kubectl(&self, command: &str) {
        let output = bash(self.node, &self.folder, &format!("kubectl {command}"));
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Reads a deployment until it is so; a replica that goes takes its callers' connections with it.
    async fn until(&self, name: &str, is_so: impl Fn(&proto::Deployment) -> bool) {
        let until = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < until {
            let request = proto::GetDeploymentRequest { name: name.to_owned(), ..Default::default() };
            match self.caller().await.get_deployment(request).await {
                Ok(answer) if answer.get_ref().deployment.as_ref().is_some_and(&is_so) => return,
                other => last = Some(other),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("{last:#?}\n{}", logs(self.node).await);
    }

    fn pods(&self, client: kube::Client) -> Api<Pod> {
        Api::namespaced(client, NAMESPACE)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // The node ends with the test process; the folder would stay.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Puts a token into every call.
type Known = Box<dyn FnMut(Request<()>) -> Result<Request<()>, Status> + Send>;
type Deployments = DeploymentServiceClient<InterceptedService<Channel, Known>>;

/// Runs a line as an administrator of the node's cluster would.
fn bash(node: &Node, folder: &Path, command: &str) -> Output {
    let programs = node.plane.program("kubectl").parent().expect("a program lies in a folder").to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(programs).chain(std::env::split_paths(&path));
    Command::new("bash")
        .args(["-euo", "pipefail", "-c", command])
        .env("PATH", std::env::join_paths(path).expect("a PATH"))
        .env("KUBECONFIG", node.plane.kubeconfig(User::Admin))
        .env("KUBECACHEDIR", folder.join("cache"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("bash runs")
}

/// What the adapter's pods say, for a person who looks for the reason of a failure.
async fn logs(node: &Node) -> String {
    let mut text = String::new();
    for arguments in [
        vec!["get", "pods,events", "-o", "wide"],
        vec!["logs", "--prefix", "--tail=40", "-l", "app.kubernetes.io/name=panamax-kubernetes-adapter"],
    ] {
        let output = node.plane.kubectl(User::Harness).args(["-n", NAMESPACE]).args(arguments).output();
        let output = output.expect("kubectl runs");
        text.push_str(&String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
    }
    text
}

/// A request with a deadline that containers can keep.
fn patient<T>(request: T) -> Request<T> {
    let mut request = Request::new(request);
    request.set_timeout(PATIENCE);
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_serve_and_finish_what_the_other_began() {
    let Some(node) = node() else { return };
    let started = Started::new(node).await;
    let client = node.plane.client(User::Harness).await;

    // The seed's sample, from outside.
    let mut caller = started.caller().await;
    // On a host port of its own: other tests deploy it to this node, too.
    let sample = WORDPRESS.replace("host_port: 8000", "host_port: 8077");
    assert_ne!(sample, WORDPRESS);
    caller.deploy(patient(deploy("default", "wp", &sample))).await.expect("deployed");

    started.grpcurl_lists("wp");
    dying::another_finishes_what_one_began(&started, &client, &sample).await;
    let mut caller = started.caller().await;

    // An update of the adapter itself, while it replaces the pods of a controller.
    let many = "name: Many\nimages:\n- {name: WEB, source: 'example/web:1', deployment: {count: 3}}\n";
    caller.deploy(patient(deploy("default", "many", many))).await.expect("deployed");
    let newer = many.replace("web:1", "web:2");
    caller.deploy(patient(deploy_at_once("default", "many", &newer))).await.expect("deployed");
    started.kubectl(&format!("rollout restart -n {NAMESPACE} deployment/{NAME}"));
    started.kubectl(&format!("rollout status -n {NAMESPACE} deployment/{NAME} --timeout=100s"));
    let has_new = |seen: &proto::Deployment| {
        let web = seen.components.first();
        let web = web.map(|component| (component.ready_replicas, component.updated_replicas));
        seen.state() == proto::DeploymentState::Active && web == Some((Some(3), Some(3)))
    };
    started.until("many", has_new).await;

    a_pod_calls(&started, &client).await;
    who_has_no_right_gets_nothing(&started).await;
    a_revoked_right_ends_a_watch(&started).await;

    let mut caller = started.caller().await;
    for name in ["many", "wp"] {
        caller.teardown(patient(teardown("default", name))).await.expect("torn down");
    }
    let own: Api<Deployment> = Api::namespaced(client, NAMESPACE);
    let ready = own.get(NAME).await.expect("the adapter").status.expect("a status").ready_replicas;
    assert_eq!(ready, Some(2), "and the adapter goes on");
}

/// A pod of the cluster calls with the token of its own account, by the adapter's own commands.
async fn a_pod_calls(started: &Started, client: &kube::Client) {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let trusted = json!({ "metadata": { "name": "trusted" }, "data": { "ca.crt": started.authority.pem() } });
    let trusted = serde_json::from_value(trusted).expect("a ConfigMap");
    maps.create(&PostParams::default(), &trusted).await.expect("created");
    let token = json!({ "serviceAccountToken": { "audience": NAME, "path": "token" } });
    let pod = json!({
        "metadata": { "name": "caller" },
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": "builder",
            "containers": [{
                "name": "caller",
                "image": format!("{NAME}:0.1.0"),
                "args": [
                    "list", "--server", format!("https://{HOST}:50051"),
                    "--ca-file", "/etc/caller/ca.crt", "--token-file", "/etc/caller/token",
                ],
                "volumeMounts": [{ "name": "known", "mountPath": "/etc/caller" }],
            }],
            "volumes": [{ "name": "known", "projected": { "sources": [
                token, { "configMap": { "name": "trusted" } },
            ] } }],
        },
    });
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let pod = serde_json::from_value(pod).expect("a Pod");
    pods.create(&PostParams::default(), &pod).await.expect("created");
    let ended = await_condition(pods.clone(), "caller", |pod: Option<&Pod>| {
        let phase = pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    });
    tokio::time::timeout(PATIENCE, ended).await.expect("it ends").expect("it can be watched");
    let said = pods.logs("caller", &LogParams::default()).await.expect("its output");
    let ended = pods.get("caller").await.expect("a Pod").status.expect("a status").phase;
    assert_eq!(ended.as_deref(), Some("Succeeded"), "{said}\n{}", logs(started.node).await);
    assert!(said.contains("wp") && said.contains("many"), "{said}");
}

/// Present and absent answer alike.
async fn who_has_no_right_gets_nothing(started: &Started) {
    started.kubectl("create serviceaccount stranger -n default");
    let mut stranger = started.caller_with(&started.token("stranger")).await;
    let mut told = Vec::new();
    for name in ["wp", "no"] {
        let request = proto::GetDeploymentRequest { name: name.to_owned(), ..Default::default() };
        let status = stranger.get_deployment(request).await.expect_err("refused");
        assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "CALLER_FORBIDDEN"));
        told.push(status.message().to_owned());
        let status = stranger.teardown(teardown("default", name)).await.expect_err("refused");
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    }
    assert_eq!(told[0], told[1], "whether it exists is nobody's business");
}

async fn a_revoked_right_ends_a_watch(started: &Started) {
    started.kubectl("create serviceaccount leaving -n default");
    started
        .kubectl("create rolebinding leaving -n default --clusterrole=view --serviceaccount=default:leaving");
    let mut leaving = started.caller_with(&started.token("leaving")).await;
    let request = proto::WatchDeploymentRequest { name: "wp".to_owned(), ..Default::default() };
    let mut watch = leaving.watch_deployment(request).await.expect("a watch").into_inner();
    watch.message().await.expect("a message").expect("a snapshot");
    started.kubectl("delete rolebinding leaving -n default");
    let ended = async { while let Ok(Some(_)) = watch.message().await {} };
    tokio::time::timeout(REVOKED, ended).await.expect("the watch ends");
    let request = proto::GetDeploymentRequest { name: "wp".to_owned(), ..Default::default() };
    let status = leaving.get_deployment(request).await.expect_err("refused");
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
}

#[test]
fn the_containerfile_and_the_list_of_contents_agree() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/Containerfile"));
    let text = text.expect("a Containerfile");
    let last = text.rsplit_once("\nFROM ").expect("stages").1;
    let lines: Vec<&str> = last.lines().collect();
    // All of the image comes from `cargo xtask root`, which writes what `cargo xtask image` packs.
    assert!(text.contains("cargo xtask root --binary"), "{text}");
    let expected = [
        "scratch".to_owned(),
        "COPY --from=build /root-of-image/ /".to_owned(),
        format!("USER {USER}"),
        format!("EXPOSE {}", PORTS.join(" ")),
        format!("ENTRYPOINT [{PROGRAM:?}]"),
    ];
    assert_eq!(lines, expected);
    let program = Path::new("/bin/true");
    let contents = Contents::collect(program, Path::new("/dev/null"), true).expect("contents");
    assert!(contents.paths().any(|path| path == PROGRAM));
}
