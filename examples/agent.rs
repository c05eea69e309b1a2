//! What an agent does with the generated client, start to end: translate, deploy, watch, scale, watch, tear down.
//!
//! `cargo run --example agent` needs no cluster: it serves a sandbox to itself. `--server URL` talks to an adapter
//! that is running, and `--namespace NAME` says where.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what it prints is what it is for")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use panamax_kubernetes_adapter::artifacts::Namespace;
use panamax_kubernetes_adapter::callers::Callers;
use panamax_kubernetes_adapter::clock::Clock;
use panamax_kubernetes_adapter::cluster::Cluster;
use panamax_kubernetes_adapter::operations::{RequestLimits, Settings};
use panamax_kubernetes_adapter::sandbox::Sandbox;
use panamax_kubernetes_adapter::server::{self, Capacity, Parts};
use panamax_kubernetes_adapter_client as proto;
use panamax_kubernetes_adapter_client::deployment_service_client::DeploymentServiceClient;
use panamax_kubernetes_adapter_client::server_service_client::ServerServiceClient;
use panamax_kubernetes_adapter_client::template_service_client::TemplateServiceClient;
use proto::deploy_request::TemplateSource;
use proto::translate_template_request::TemplateSource as TranslateSource;
use proto::watch_deployment_response::Event;
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

/// WordPress and MySQL, linked.
const TEMPLATE: &str = include_str!("wordpress.pmx");
/// How long a watch may take to see the deployment come to rest.
const PATIENCE: Duration = Duration::from_secs(300);
const USAGE: &str = "usage: agent [--server URL] [--namespace NAME]";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(mut wishes) = wishes(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };
    let namespace = wishes.remove("--namespace").unwrap_or_default();
    let told = match wishes.remove("--server") {
        Some(server) => tell(&server, namespace).await,
        None => tell_in_sandbox(namespace).await,
    };
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("agent: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The flags and their values; `None` when there is anything else.
fn wishes(arguments: &[String]) -> Option<BTreeMap<&str, String>> {
    let mut wishes = BTreeMap::new();
    for pair in arguments.chunks(2) {
        match pair {
            [flag, value] if ["--server", "--namespace"].contains(&flag.as_str()) => {
                wishes.insert(flag.as_str(), value.clone());
            }
            _ => return None,
        }
    }
    Some(wishes)
}

/// Serves an API server in memory and an adapter before it, and tells the story to that adapter.
async fn tell_in_sandbox(namespace: String) -> Result<()> {
    let sandbox = Sandbox::start(TcpListener::bind("127.0.0.1:0").await?).await?;
    let cluster = Cluster::new(kube::Config::new(sandbox.url().parse()?))
        .map_err(|error| error.message().to_owned())?;
    let settings = Settings {
        namespace: Namespace::new("default")?,
        lease: Duration::from_secs(30),
        unschedulable_grace: Duration::from_secs(120),
        holder: "agent".to_owned(),
        keeps: Vec::new(),
        requests: RequestLimits::default(),
    };
    let (clock, drain_timeout) = (Clock::system(), Duration::from_secs(5));
    let parts = Parts {
        cluster,
        sandbox: true,
        settings,
        callers: Callers::open(clock.clone()),
        clock,
        drain_timeout,
        tls: None,
        capacity: Capacity::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = server::run(parts, listener, async {
        // A dropped sender means the story has ended, too.
        let _ = stopped.await;
    });
    let story = async {
        let told = tell(&url, namespace).await;
        let _ = stop.send(());
        told
    };
    let (told, served) = tokio::join!(story, serving);
    served?;
    told
}

/// The story as a table of contents; what was deployed is torn down even if something after it fails.
async fn tell(server: &str, namespace: String) -> Result<()> {
    let mut agent = Agent::connect(server, namespace).await?;
    agent.greet(server).await?;
    agent.translate().await?;
    agent.deploy().await?;
    let ran = agent.run().await;
    let torn_down = agent.tear_down().await;
    ran.and(torn_down)?;
    println!("\n{} in {:.1} s", agent.terminal.good("Done"), agent.began.elapsed().as_secs_f64());
    Ok(())
}

/// A client of the adapter, and the one deployment it cares for.
struct Agent {
    deployments: DeploymentServiceClient<Channel>,
    templates: TemplateServiceClient<Channel>,
    servers: ServerServiceClient<Channel>,
    namespace: String,
    name: String,
    terminal: Terminal,
    began: Instant,
}

impl Agent {
    async fn connect(server: &str, namespace: String) -> Result<Self> {
        let endpoint = Endpoint::from_shared(server.to_owned())
            .map_err(|error| format!("--server {server}: {error}; write it as http://localhost:50051"))?;
        let channel = endpoint
            .connect_timeout(Duration::from_secs(5))
            .connect()
            .await
            .map_err(|_| format!("no adapter answers at {server}"))?;
        // Two runs against one cluster must not meet: the name is this run's own.
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() & 0xffff_ffff;
        Ok(Self {
            deployments: DeploymentServiceClient::new(channel.clone()),
            templates: TemplateServiceClient::new(channel.clone()),
            servers: ServerServiceClient::new(channel),
            namespace,
            name: format!("agent-{now:08x}"),
            terminal: Terminal::find(),
            began: Instant::now(),
        })
    }

    /// Asks who answers, and where a request without a namespace goes.
    async fn greet(&mut self, server: &str) -> Result<()> {
        let answer = self.servers.get_server_info(proto::GetServerInfoRequest {}).await.map_err(failed)?;
        let info = answer.into_inner();
        let cluster = info.cluster.unwrap_or_default();
        if !cluster.reachable {
            return Err("the adapter does not reach its cluster; see its log".into());
        }
        if self.namespace.is_empty() {
            self.namespace = info.defaults.unwrap_or_default().namespace;
        }
        let place = if cluster.sandbox { "sandbox" } else { "Kubernetes" };
        println!("Adapter {} at {server}, {place} {}", info.version, cluster.version);
        Ok(())
    }

    /// Shows what the template becomes; nothing is written.
    async fn translate(&mut self) -> Result<()> {
        self.terminal.heading("Translate", "wordpress.pmx");
        let request = proto::TranslateTemplateRequest {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            template_source: Some(TranslateSource::TemplateYaml(TEMPLATE.to_owned())),
            ..Default::default()
        };
        let translated = self.templates.translate_template(request).await.map_err(failed)?.into_inner();
        for object in &translated.objects {
            self.terminal.object("becomes", object.r#ref.as_ref(), &object.component);
        }
        self.terminal.diagnostics(&translated.diagnostics);
        Ok(())
    }

    /// Deploys, and returns as soon as everything is applied.
    async fn deploy(&mut self) -> Result<()> {
        self.terminal.heading("Deploy", &format!("{} in namespace {}", self.name, self.namespace));
        let request = proto::DeployRequest {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            template_source: Some(TemplateSource::TemplateYaml(TEMPLATE.to_owned())),
            ..Default::default()
        };
        let deployed = self.deployments.deploy(request).await.map_err(failed)?.into_inner();
        self.terminal.changes(&deployed.changes);
        for warning in &deployed.warnings {
            println!("  {} {warning}", self.terminal.doubt("cluster warns"));
        }
        Ok(())
    }

    /// Everything between Deploy and Teardown.
    async fn run(&mut self) -> Result<()> {
        self.watch(&[("wp", 1), ("db", 1)]).await?;
        self.scale("WP", 3).await?;
        self.watch(&[("wp", 3), ("db", 1)]).await
    }

    /// Watches until the deployment is at rest; fails unless that is with so many replicas ready.
    async fn watch(&mut self, wanted: &[(&str, i32)]) -> Result<()> {
        self.terminal.heading("Watch", "until ready");
        let mut request = tonic::Request::new(proto::WatchDeploymentRequest {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            // A deployment that fails is at rest, too, and would never become ready.
            until: proto::WatchUntil::Settled.into(),
            ..Default::default()
        });
        request.set_timeout(PATIENCE);
        let began = Instant::now();
        let mut events = self.deployments.watch_deployment(request).await.map_err(failed)?.into_inner();
        let mut last = proto::Deployment::default();
        let mut shown = String::new();
        while let Some(message) = events.message().await.map_err(failed)? {
            match message.event {
                Some(Event::Snapshot(deployment)) => {
                    let line = self.terminal.snapshot(&deployment);
                    if line != shown {
                        println!("  {:>6.2} s   {line}", began.elapsed().as_secs_f64());
                        shown = line;
                    }
                    last = deployment;
                }
                Some(Event::Complete(_)) => break,
                Some(Event::Heartbeat(_)) | None => {}
            }
        }
        let is_ready = |(name, replicas): &(&str, i32)| {
            let component = last.components.iter().find(|component| component.name == *name);
            component.is_some_and(|component| component.ready_replicas == Some(*replicas))
        };
        if last.state() == proto::DeploymentState::Active && wanted.iter().all(is_ready) {
            self.terminal.endpoints(&last.endpoints);
            return Ok(());
        }
        Err(format!("{} came to rest as {} {}", self.name, state(&last), last.message).into())
    }

    async fn scale(&mut self, image: &str, replicas: i32) -> Result<()> {
        self.terminal.heading("Scale", &format!("{image} to {replicas}"));
        let request = proto::ScaleRequest {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            replicas: [(image.to_owned(), replicas)].into(),
            ..Default::default()
        };
        let scaled = self.deployments.scale(request).await.map_err(failed)?.into_inner();
        self.terminal.changes(&scaled.changes);
        self.terminal.diagnostics(&scaled.diagnostics);
        Ok(())
    }

    /// Takes down everything that belongs to the deployment, and waits until it is gone.
    async fn tear_down(&mut self) -> Result<()> {
        self.terminal.heading("Tear down", &self.name);
        let mut request = tonic::Request::new(proto::TeardownRequest {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            wait: proto::TeardownWait::Gone.into(),
            ..Default::default()
        });
        request.set_timeout(Duration::from_secs(120));
        let torn_down = self.deployments.teardown(request).await.map_err(failed)?.into_inner();
        self.terminal.changes(&torn_down.changes);
        if torn_down.complete { Ok(()) } else { Err("something is left; call Teardown again".into()) }
    }
}

/// A failed call as a sentence: the server's own, and its reason for programs.
#[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
fn failed(status: tonic::Status) -> Box<dyn Error> {
    let details = status.get_error_details();
    let reason =
        details.error_info().map_or_else(|| format!("{:?}", status.code()), |info| info.reason.clone());
    format!("{} ({reason})", status.message()).into()
}

/// Lines for a person: aligned, and coloured where that helps.
struct Terminal {
    has_colour: bool,
}

impl Terminal {
    /// Colour is for terminals alone, and not for those who ask for none.
    fn find() -> Self {
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { has_colour: std::io::stdout().is_terminal() && !is_unwanted }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.has_colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn good(&self, text: &str) -> String {
        self.paint("32", text)
    }

    fn doubt(&self, text: &str) -> String {
        self.paint("33", text)
    }

    fn heading(&self, verb: &str, what: &str) {
        println!("\n{} {what}", self.paint("1", verb));
    }

    fn object(&self, verb: &str, object: Option<&proto::ObjectRef>, component: &str) {
        let Some(object) = object else { return };
        println!("  {verb:<10} {:<22} {:<28} {component}", object.kind, object.name);
    }

    fn changes(&self, changes: &[proto::ObjectChange]) {
        for change in changes {
            let action = change.action().as_str_name().trim_start_matches("OBJECT_ACTION_").to_lowercase();
            self.object(&action, change.r#ref.as_ref(), &change.component);
        }
    }

    fn diagnostics(&self, diagnostics: &[proto::Diagnostic]) {
        for diagnostic in diagnostics {
            let severity = diagnostic.severity();
            let word = severity.as_str_name().trim_start_matches("SEVERITY_").to_lowercase();
            let word = format!("{word:<10}");
            let word =
                if severity == proto::Severity::Info { self.paint("2", &word) } else { self.doubt(&word) };
            println!("  {word} {:<22} {}: {}", diagnostic.code, diagnostic.field, diagnostic.message);
        }
    }

    /// A snapshot as one line.
    fn snapshot(&self, deployment: &proto::Deployment) -> String {
        let state = format!("{:<10}", state(deployment));
        let state = match deployment.state() {
            proto::DeploymentState::Active => self.good(&state),
            proto::DeploymentState::Failed | proto::DeploymentState::Degraded => self.paint("31", &state),
            proto::DeploymentState::Unspecified
            | proto::DeploymentState::Deploying
            | proto::DeploymentState::Stopped
            | proto::DeploymentState::Deleting => self.doubt(&state),
        };
        let components = deployment.components.iter().map(|component| {
            let ready = component.ready_replicas.unwrap_or_default();
            format!("{} {ready}/{}", component.name, component.desired_replicas.unwrap_or_default())
        });
        let components: Vec<String> = components.collect();
        let line = format!("{state} {:<22} {}", components.join("  "), deployment.message);
        line.trim_end().to_owned()
    }

    fn endpoints(&self, endpoints: &[proto::Endpoint]) {
        for endpoint in endpoints {
            let address = format!("{}:{}", endpoint.host, endpoint.port);
            let target = format!("{} port {}", endpoint.component, endpoint.container_port);
            println!("  {:<10} {address:<51} {target}", "reach");
        }
    }
}

/// The state of a deployment as a word.
fn state(deployment: &proto::Deployment) -> &'static str {
    deployment.state().as_str_name().trim_start_matches("DEPLOYMENT_STATE_")
}
