//! One real Kubernetes control plane for the whole test run, started when the first test asks for it.

use super::programs::{self, CONTROL_PLANE, NODE};
use super::recipe::recipe;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;

/// A running control plane; it ends, with everything in it, when the test process does.
pub struct ControlPlane {
    /// Where the API server listens, as an `https` address.
    pub server: String,
    /// The API server's log of calls; read it with [`super::calls::Recorder`].
    pub audit: PathBuf,
    /// Where a real node's network is entered; simulated nodes have none.
    pub(super) door: Option<SocketAddr>,
    state: PathBuf,
    tokens: BTreeMap<String, String>,
    programs: BTreeMap<&'static str, PathBuf>,
    /// The other end watches this pipe: however this process dies, the kernel closes it, and that ends the plane.
    _lifeline: ChildStdin,
}

/// Who calls the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// All rights; a person at a terminal.
    Admin,
    /// All rights; for the adapter under test, so that its calls can be told from all others.
    Adapter,
    /// No rights until a test grants some.
    Alice,
    /// No rights until a test grants some.
    Bob,
    /// All rights; the tests' own looking and cleaning, which is never counted.
    Harness,
}

impl User {
    /// The name that the API server knows the user by.
    pub fn name(self) -> &'static str {
        match self {
            User::Admin => "admin",
            User::Adapter => "adapter",
            User::Alice => "alice",
            User::Bob => "bob",
            User::Harness => "harness",
        }
    }
}

/// Returns the control plane of this test run; the first caller starts it and blocks until pods can run.
///
/// Panics with one sentence that says what to install when it can neither be found nor built.
pub fn control_plane() -> &'static ControlPlane {
    static PLANE: OnceLock<Result<ControlPlane, String>> = OnceLock::new();
    match PLANE.get_or_init(|| start(Nodes::Simulated, None)) {
        Ok(plane) => plane,
        Err(sentence) => panic!("{sentence}"),
    }
}

impl ControlPlane {
    /// The kubeconfig file of a user.
    pub fn kubeconfig(&self, user: User) -> PathBuf {
        self.state.join(format!("{}.kubeconfig", user.name()))
    }

    /// The bearer token of a user.
    pub fn token(&self, user: User) -> &str {
        &self.tokens[user.name()]
    }

    /// A new client; clients belong to the runtime that made them, so each test makes its own.
    pub async fn client(&self, user: User) -> kube::Client {
        let kubeconfig =
            Kubeconfig::read_from(self.kubeconfig(user)).expect("the plane wrote its kubeconfigs");
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
        kube::Client::try_from(config.expect("a kubeconfig of ours")).expect("a client")
    }

    /// The path of a program that came with the plane: `kubectl`, `grpcurl` or one of the plane's own.
    pub fn program(&self, name: &str) -> &Path {
        self.programs.get(name).unwrap_or_else(|| panic!("the plane has no program called {name}"))
    }

    /// A `kubectl` command line of a user, ready for its arguments.
    pub fn kubectl(&self, user: User) -> Command {
        let mut command = Command::new(self.program("kubectl"));
        command.arg("--kubeconfig").arg(self.kubeconfig(user));
        command.arg("--cache-dir").arg(self.state.join("kubectl-cache"));
        command
    }
}

/// What runs the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nodes {
    /// Many that only say so.
    Simulated,
    /// A single one that does.
    Real,
}

/// What the plane says when it is ready.
#[derive(Deserialize)]
struct Ready {
    server: String,
    state: PathBuf,
    audit: PathBuf,
    door: Option<SocketAddr>,
    tokens: BTreeMap<String, String>,
}

/// Starts one; the error is a sentence for whoever runs the tests.
///
/// A real node's registry has the images of a folder of OCI layouts, too.
pub(super) fn start(nodes: Nodes, images: Option<&Path>) -> Result<ControlPlane, String> {
    let more: &[_] = if nodes == Nodes::Real { &NODE } else { &[] };
    let programs = programs::find(CONTROL_PLANE.iter().chain(more))?;
    // The first that holds a program is taken: beside our own etcd lies our own Kubernetes, which may not be the one.
    let first = programs["kube-apiserver"].parent();
    let others: BTreeSet<_> =
        programs.values().map(|path| path.parent()).filter(|folder| *folder != first).collect();
    let folders = std::iter::once(first).chain(others).flatten();
    let folders = std::env::join_paths(folders).map_err(|error| format!("the programs' folders: {error}"))?;
    let mut command = Command::new(&programs["plane"]);
    command.arg("--programs").arg(folders);
    command.arg("--stages").arg(recipe().join("stages.yaml"));
    if nodes == Nodes::Real {
        command.arg("--node");
    }
    if let Some(images) = images {
        command.arg("--images").arg(images);
    }
    if let Some(nodes) = std::env::var_os("CONTROL_PLANE_NODES") {
        command.arg("--nodes").arg(nodes);
    }
    if std::env::var_os("CONTROL_PLANE_KEEP").is_some() {
        command.arg("--keep");
    }
    // In a process group of its own, an interrupt at the terminal reaches the tests alone and the pipe does the rest.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|error| format!("cannot start the control plane: {error}"))?;
    let lifeline = child.stdin.take().expect("standard input is a pipe");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("standard output is a pipe"))
        .read_line(&mut line)
        .map_err(|error| format!("cannot hear the control plane: {error}"))?;
    let ready: Ready = serde_json::from_str(&line)
        .map_err(|_| "the control plane did not start: its reasons stand above".to_owned())?;
    Ok(ControlPlane {
        server: ready.server,
        audit: ready.audit,
        door: ready.door,
        state: ready.state,
        tokens: ready.tokens,
        programs,
        _lifeline: lifeline,
    })
}
