//! The adapter under test: in this process for most tests, as the built binary where the process matters.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use panamax_kubernetes_adapter::artifacts::Namespace as NamespaceName;
use panamax_kubernetes_adapter::callers::{Authentication, Authorization, Bounds, Callers};
use panamax_kubernetes_adapter::clock::Clock;
use panamax_kubernetes_adapter::cluster::Cluster;
use panamax_kubernetes_adapter::operations::{RequestLimits, Settings};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deploy_request::TemplateSource;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use panamax_kubernetes_adapter::proto::server_service_client::ServerServiceClient;
use panamax_kubernetes_adapter::proto::template_service_client::TemplateServiceClient;
use panamax_kubernetes_adapter::sandbox::Sandbox;
use panamax_kubernetes_adapter::server::{self, Parts};
use tokio::net::TcpListener;
use tonic::transport::Channel;

use super::control_plane::{ControlPlane, User};

/// How long the binary may take to say that it serves.
const START: Duration = Duration::from_secs(20);
/// Short, so that nobody waits long for an operation that died; long enough for a busy machine to renew it.
const LEASE: Duration = Duration::from_secs(3);

/// Longer than any test waits.
const GRACE: Duration = Duration::from_secs(120);

/// How callers and their rights are known; nobody is by default.
pub type Known = (Authentication, Authorization);

/// An adapter in this process; ends with the test's runtime.
pub struct Adapter {
    channel: Channel,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    sandbox: Option<Sandbox>,
}

impl Adapter {
    /// Serves the real control plane as one of its users.
    pub async fn real(plane: &ControlPlane, user: User) -> Self {
        Self::at(&plane.kubeconfig(user), LEASE).await
    }

    /// Serves the cluster of a kubeconfig, with a lease of another length.
    pub async fn at(kubeconfig: &Path, lease: Duration) -> Self {
        let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
        Self::serve_with_lease(config.expect("a configuration"), None, lease).await
    }

    /// Serves the real control plane with a short patience for pods that get no node or no volume.
    pub async fn impatient(plane: &ControlPlane, user: User, grace: Duration) -> Self {
        let kubeconfig = kube::config::Kubeconfig::read_from(plane.kubeconfig(user)).expect("a kubeconfig");
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let config = config.expect("a configuration");
        Self::serve_all(config, None, LEASE, grace, Clock::system(), "default", Known::default()).await
    }

    /// Serves the real control plane with all rights, to callers who are known and have rights of their own.
    pub async fn to_callers(plane: &ControlPlane, clock: Clock, known: Known) -> Self {
        let kubeconfig =
            kube::config::Kubeconfig::read_from(plane.kubeconfig(User::Adapter)).expect("a kubeconfig");
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
        Self::to_callers_by(config.expect("a configuration"), clock, known).await
    }

    /// The same, as whoever the configuration names.
    pub async fn to_callers_by(config: kube::Config, clock: Clock, known: Known) -> Self {
        Self::serve_all(config, None, LEASE, GRACE, clock, "default", known).await
    }

    /// Serves a sandbox of its own.
    pub async fn sandbox() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let sandbox = Sandbox::start(listener).await.expect("a sandbox");
        let config = kube::Config::new(sandbox.url().parse().expect("an address"));
        Self::serve(config, Some(sandbox)).await
    }

    /// Serves whatever API server the configuration names.
    pub async fn serve(config: kube::Config, sandbox: Option<Sandbox>) -> Self {
        Self::serve_with_lease(config, sandbox, LEASE).await
    }

    /// Serves it with a lease of another length.
    pub async fn serve_with_lease(config: kube::Config, sandbox: Option<Sandbox>, lease: Duration) -> Self {
        Self::serve_by(config, sandbox, lease, Clock::system()).await
    }

    /// Serves it by another clock, too.
    pub async fn serve_by(
        config: kube::Config,
        sandbox: Option<Sandbox>,
        lease: Duration,
        clock: Clock,
    ) -> Self {
        Self::serve_keeping(config, sandbox, lease, clock, "default").await
    }

    /// Serves it, and keeps another namespace than the default one.
    pub async fn serve_keeping(
        config: kube::Config,
        sandbox: Option<Sandbox>,
        lease: Duration,
        clock: Clock,
        keeps: &str,
    ) -> Self {
        Self::serve_all(config, sandbox, lease, GRACE, clock, keeps, Known::default()).await
    }

    async fn serve_all(
        config: kube::Config,
        sandbox: Option<Sandbox>,
        lease: Duration,
        grace: Duration,
        clock: Clock,
        keeps: &str,
        known: Known,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let cluster = Cluster::new(config).expect("a cluster");
        let (who, what) = known;
        let callers = Callers::new(who, what, Bounds::default(), &cluster, clock.clone());
        let usual = parts(cluster);
        let settings = Settings {
            lease,
            unschedulable_grace: grace,
            keeps: vec![NamespaceName::new(keeps).expect("a namespace")],
            ..usual.settings
        };
        let callers = callers.expect("what is known of callers");
        let parts = Parts { sandbox: sandbox.is_some(), settings, callers, clock, ..usual };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        #[expect(clippy::disallowed_methods, reason = "the test's runtime ends it")]
        tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            server::run(parts, listener, shutdown).await.expect("the server ends well");
        });
        let channel = connect(address).await;
        Self { channel, stop: Some(stop), sandbox }
    }

    /// Serves whatever API server the configuration names, and keeps this namespace.
    pub async fn keeping(config: kube::Config, namespace: &str) -> Self {
        Self::serve_keeping(config, None, LEASE, Clock::system(), namespace).await
    }

    /// A client of the sandbox that this adapter serves.
    pub fn sandbox_client(&self) -> kube::Client {
        let sandbox = self.sandbox.as_ref().expect("an adapter of a sandbox");
        let config = kube::Config::new(sandbox.url().parse().expect("an address"));
        kube::Client::try_from(config).expect("a client")
    }

    /// Begins the shutdown, as a signal would.
    pub fn shut_down(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    pub fn deployments(&self) -> DeploymentServiceClient<Channel> {
        DeploymentServiceClient::new(self.channel.clone())
    }

    pub fn templates(&self) -> TemplateServiceClient<Channel> {
        TemplateServiceClient::new(self.channel.clone())
    }

    pub fn server(&self) -> ServerServiceClient<Channel> {
        ServerServiceClient::new(self.channel.clone())
    }

    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }
}

/// The parts of a server that knows no callers and keeps the default namespace.
pub fn parts(cluster: Cluster) -> Parts {
    let namespace = NamespaceName::new("default").expect("a namespace");
    let clock = Clock::system();
    let (who, what) = Known::default();
    let callers = Callers::new(who, what, Bounds::default(), &cluster, clock.clone());
    Parts {
        cluster,
        sandbox: false,
        settings: Settings {
            namespace: namespace.clone(),
            lease: LEASE,
            unschedulable_grace: GRACE,
            holder: "test".to_owned(),
            keeps: vec![namespace],
            requests: RequestLimits::default(),
        },
        callers: callers.expect("what is known of callers"),
        clock,
        drain_timeout: Duration::from_secs(10),
        tls: None,
        capacity: server::Capacity::default(),
    }
}

/// Opens a channel to an adapter.
pub async fn connect(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}"))
        .expect("an address")
        .connect()
        .await
        .expect("a connection")
}

/// A Deploy of a text that waits until everything is ready.
pub fn deploy(namespace: &str, name: &str, template: &str) -> proto::DeployRequest {
    proto::DeployRequest { wait: proto::WaitMode::Ready.into(), ..deploy_at_once(namespace, name, template) }
}

/// A Deploy of a text that waits for nothing.
pub fn deploy_at_once(namespace: &str, name: &str, template: &str) -> proto::DeployRequest {
    proto::DeployRequest {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        template_source: Some(TemplateSource::TemplateYaml(template.to_owned())),
        ..proto::DeployRequest::default()
    }
}

/// The same Deploy with profile MODERN.
pub fn modern(request: proto::DeployRequest) -> proto::DeployRequest {
    let mut options = request.options.clone().unwrap_or_default();
    options.set_profile(proto::Profile::Modern);
    proto::DeployRequest { options: Some(options), ..request }
}

/// A Scale that waits until everything is ready.
pub fn scale(namespace: &str, name: &str, component: &str, replicas: i32) -> proto::ScaleRequest {
    proto::ScaleRequest {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        replicas: [(component.to_owned(), replicas)].into(),
        wait: proto::WaitMode::Ready.into(),
        ..proto::ScaleRequest::default()
    }
}

/// A Teardown that waits until everything is gone.
pub fn teardown(namespace: &str, name: &str) -> proto::TeardownRequest {
    proto::TeardownRequest {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        wait: proto::TeardownWait::Gone.into(),
        ..proto::TeardownRequest::default()
    }
}

/// With a deadline that any size meets also on a slow machine.
pub fn in_time<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(std::time::Duration::from_secs(180));
    request
}

/// The reason in a status's ErrorInfo.
pub fn reason(status: &tonic::Status) -> String {
    use tonic_types::StatusExt;
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// Runs the binary with flags that it refuses; returns the exit code and what it says.
pub fn refused(flags: &[&str]) -> (Option<i32>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter"))
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let until = Instant::now() + START;
    while child.try_wait().expect("its state").is_none() {
        if Instant::now() > until {
            child.kill().expect("it can be killed");
            panic!("{flags:?} are not refused");
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let output = child.wait_with_output().expect("its end");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The built binary, serving; killed when dropped.
pub struct Binary {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it shows what it measures, if it does.
    pub metrics: Option<SocketAddr>,
    /// Where it serves the old agents, if it does.
    pub rest: Option<SocketAddr>,
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Binary {
    /// Starts the binary against a kubeconfig, on a port of its own.
    pub fn start(kubeconfig: &Path, flags: &[&str]) -> Self {
        let kubeconfig = kubeconfig.to_str().expect("a path");
        Self::start_with(&[&["--kubeconfig", kubeconfig], flags].concat())
    }

    /// Starts the binary with these flags beside the listener's and, if they name none, the log's.
    pub fn start_with(flags: &[&str]) -> Self {
        let log: &[&str] = if flags.contains(&"--log") { &[] } else { &["--log", "debug"] };
        // The other tests' deployments are theirs: a keeper of all of them would finish what they interrupt.
        let keeps: &[&str] = if flags.contains(&"--namespaces") { &[] } else { &["--namespaces", "default"] };
        let program = Path::new(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter"));
        Self::start_program(program, &[log, keeps, flags].concat())
    }

    /// Starts the binary with these variables beside those of the test.
    pub fn start_in(environment: &[(&str, &str)], flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter"));
        command.envs(environment.iter().copied());
        Self::start_listening(command, "127.0.0.1:0", flags)
    }

    /// Starts any build of the binary, with these flags beside the listener's.
    pub fn start_program(program: &Path, flags: &[&str]) -> Self {
        Self::start_listening(Command::new(program), "127.0.0.1:0", flags)
    }

    /// Starts the binary at an address or path of one's own.
    pub fn start_at(listen: &str, flags: &[&str]) -> Self {
        Self::start_listening(Command::new(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter")), listen, flags)
    }

    fn start_listening(mut command: Command, listen: &str, flags: &[&str]) -> Self {
        let mut child = command
            .args(["--listen", listen, "--log-format", "json"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let lines = BufReader::new(child.stderr.take().expect("its standard error")).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let (found, serving) = std::sync::mpsc::channel();
        let kept = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                let field =
                    |name: &str| Some(event.pointer(&format!("/fields/{name}"))?.as_str()?.to_owned());
                if let Some(address) = field("address") {
                    let beside = |name: &str| field(name).and_then(|address| address.parse().ok());
                    let _ = found.send((address, beside("metrics"), beside("rest")));
                }
                let mut log = kept.lock().expect("no panic while logging");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let Ok((address, metrics, rest)) = serving.recv_timeout(START) else {
            let _ = child.kill();
            panic!("the binary does not serve:\n{}", log.lock().expect("no panic while logging"));
        };
        // Who listens at a path has no address.
        let address = address.parse().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)));
        Self { address, metrics, rest, child, log, reader: Some(reader) }
    }

    /// Ends it and returns everything it has logged: what it wrote last is in the pipe, and read to its end here.
    pub fn whole_log(mut self) -> String {
        self.kill();
        if let Some(reader) = self.reader.take() {
            reader.join().expect("no panic while logging");
        }
        self.log()
    }

    /// Everything that has arrived of its log.
    pub fn log(&self) -> String {
        self.log.lock().expect("no panic while logging").clone()
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a power failure would.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it is gone");
    }

    /// Stops it where it is, as a machine that is put to sleep; `wake` lets it go on.
    pub fn freeze(&self) {
        self.send("STOP");
    }

    /// Lets it go on.
    pub fn wake(&self) {
        self.send("CONT");
    }

    /// Sends a signal by name.
    pub fn send(&self, signal: &str) {
        let status =
            Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Sends a signal by name and waits for its end; returns the exit code.
    pub fn signal(&mut self, name: &str, patience: Duration) -> Option<i32> {
        self.send(name);
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                return status.code();
            }
            assert!(Instant::now() < until, "it does not end:\n{}", self.log());
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// The memory it has in use, in bytes; Linux only.
    pub fn resident_bytes(&self) -> Option<u64> {
        self.memory("VmRSS:")
    }

    /// The memory that is its own and no file's, as its program is, in bytes; Linux only.
    pub fn anonymous_bytes(&self) -> Option<u64> {
        self.memory("RssAnon:")
    }

    fn memory(&self, name: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with(name))?;
        let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes * 1024)
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
