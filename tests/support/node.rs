//! One real node for the whole test run, where this machine can carry one: containers that really run.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::control_plane::{ControlPlane, Nodes, start};
use super::image;
use super::looking::eventually;
use super::programs::{RUNC, is_built};
use super::recipe::tell;

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// The port that the probe tells about its container on, whatever the template says.
const TELLS: u16 = 80;
/// The rights of root that containers often lack: to mount, and to make networks.
const RIGHTS: [(u32, &str); 2] = [(21, "CAP_SYS_ADMIN"), (12, "CAP_NET_ADMIN")];

/// A running node and its control plane; all of it ends when the test process does.
pub struct Node {
    pub plane: ControlPlane,
    door: SocketAddr,
}

/// Returns the node of this test run; the first caller starts it and blocks until pods can run.
///
/// Where the machine cannot carry one it returns nothing, after one sentence that says what is missing. In CI that
/// is a failure.
pub fn node() -> Option<&'static Node> {
    static NODE: OnceLock<Result<Option<Node>, String>> = OnceLock::new();
    let start = || {
        let missing = missing();
        if missing.is_empty() {
            let images = image::packed()?;
            let plane = start(Nodes::Real, Some(&images))?;
            return Ok(Some(Node { door: plane.door.expect("a door"), plane }));
        }
        let sentence =
            format!("the tests on a real node cannot run here, for want of {}", missing.join(", "));
        if std::env::var_os("CI").is_some_and(|value| value == "true") {
            return Err(sentence);
        }
        tell(&sentence);
        Ok(None)
    };
    match NODE.get_or_init(start) {
        Ok(node) => node.as_ref(),
        Err(sentence) => panic!("{sentence}"),
    }
}

/// What this machine lacks to carry a node.
fn missing() -> Vec<String> {
    if !cfg!(target_os = "linux") {
        return vec!["Linux".to_owned()];
    }
    let mut missing = Vec::new();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    if field("Uid:").split_whitespace().nth(1) != Some("0") {
        missing.push("root".to_owned());
    } else {
        let rights = u64::from_str_radix(field("CapEff:").trim(), 16).unwrap_or_default();
        let lacking = RIGHTS.iter().filter(|(bit, _)| rights & (1 << bit) == 0);
        missing.extend(lacking.map(|(_, name)| format!("the right {name}")));
    }
    if !has_memory_groups() {
        missing.push("control groups for memory that can be divided".to_owned());
    }
    if !runs("nft", &["--version"]) {
        missing.push("the package nftables".to_owned());
    }
    if !is_built(&RUNC) && !runs("pkg-config", &["--exists", "libseccomp"]) {
        missing.push("the packages libseccomp-dev and pkg-config".to_owned());
    }
    missing
}

fn has_memory_groups() -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| {
        let [_, place, kind, options, ..] = line.split(' ').collect::<Vec<_>>()[..] else { return false };
        let names = |text: &str, what: &str| text.split([',', ' ', '\n']).any(|name| name == what);
        let hands_on = |file| {
            let controllers = fs::read_to_string(Path::new(place).join(file));
            controllers.is_ok_and(|controllers| names(&controllers, "memory"))
        };
        // Only the true root, which has no type, may hold processes and hand controllers on.
        let is_root = || !Path::new(place).join("cgroup.type").exists();
        let has_memory = match kind {
            "cgroup" => names(options, "memory"),
            "cgroup2" => hands_on("cgroup.subtree_control") || (hands_on("cgroup.controllers") && is_root()),
            _ => false,
        };
        has_memory && names(options, "rw")
    })
}

/// Whether a program is there and content; administrators' programs are found, too.
fn runs(program: &str, arguments: &[&str]) -> bool {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("PATH", path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Node {
    /// What a probe tells a process of the node that asks at an address and a port.
    pub async fn reaches(&self, address: &str) -> Told {
        eventually(async || read(&self.fetch("GET", address, "/", "").await?)).await
    }

    /// Whether nobody answers a process of the node at an address and a port.
    pub async fn refuses(&self, address: &str) -> bool {
        self.fetch("GET", address, "/", "").await.is_err()
    }

    /// Opens a way from the host's loopback to an address of the node's network.
    pub async fn passage(&self, address: String) -> Passage {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (here, door) = (listener.local_addr().expect("an address"), self.door);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut here, _)) = listener.accept().await {
                let line = format!("{address}\n");
                connections.spawn(async move {
                    let mut there = TcpStream::connect(door).await?;
                    there.write_all(line.as_bytes()).await?;
                    tokio::io::copy_bidirectional(&mut here, &mut there).await
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Passage { address: here, _tasks: tasks }
    }

    /// One exchange from the node; the error says why there is no answer.
    async fn fetch(&self, method: &str, address: &str, path: &str, body: &str) -> Result<Answer, String> {
        let exchange = async {
            let mut stream = TcpStream::connect(self.door).await?;
            let length = body.len();
            let head = format!("{address}\n{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(format!("{head}{body}").as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = match tokio::time::timeout(ANSWER, exchange).await {
            Ok(answer) => answer.map_err(|error| format!("{address}: {error}"))?,
            Err(_) => return Err(format!("{address} does not answer")),
        };
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("{address} is closed"))?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.map(|status| (status, body.to_owned())).ok_or_else(|| format!("{address}: no HTTP: {head}"))
    }
}

/// A way into the node's network; it closes when dropped.
pub struct Passage {
    pub address: SocketAddr,
    _tasks: JoinSet<()>,
}

/// A status and a body.
type Answer = (u16, String);

fn read((status, body): &Answer) -> Result<Told, String> {
    match status {
        200 => serde_json::from_str(body).map_err(|error| format!("no probe: {error}: {body}")),
        _ => Err(body.clone()),
    }
}

/// What the program in a container tells of itself.
#[derive(Debug, Deserialize)]
pub struct Told {
    /// Its host name, which is its pod's.
    pub host: String,
    /// The port that was asked.
    pub port: String,
    pub arguments: Vec<String>,
    /// As `NAME=value`.
    pub environment: Vec<String>,
}

impl Told {
    /// The variables whose names begin so, sorted.
    pub fn variables(&self, prefix: &str) -> Vec<&str> {
        let mut found: Vec<_> = self
            .environment
            .iter()
            .map(String::as_str)
            .filter(|variable| variable.starts_with(prefix))
            .collect();
        found.sort_unstable();
        found
    }

    /// The value of a variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().find_map(|variable| variable.strip_prefix(name)?.strip_prefix('='))
    }
}

/// A path as a part of a query.
fn escaped(path: &str) -> String {
    path.replace('+', "%2B")
}

/// A running container, seen from inside; its image is the probe.
pub struct Container {
    pub pod: Pod,
    node: &'static Node,
}

impl Container {
    /// A container of a pod that is ready.
    pub fn of(pod: Pod, node: &'static Node) -> Self {
        Self { pod, node }
    }

    /// What it tells of itself.
    pub async fn told(&self) -> Told {
        read(&self.ask("GET", "/", "").await).expect("the probe tells")
    }

    /// What the server behind an URL tells, when this container asks.
    pub async fn reaches(&self, url: &str) -> Told {
        eventually(async || read(&self.ask("GET", &format!("/get?url={url}"), "").await)).await
    }

    /// What the server behind an address tells, when this container sends it a datagram.
    pub async fn sends(&self, address: &str) -> Told {
        eventually(async || read(&self.ask("GET", &format!("/send?to={address}"), "").await)).await
    }

    /// The content of a file in the container; none if there is no such file.
    pub async fn file(&self, path: &str) -> Option<String> {
        let (status, body) = self.ask("GET", &format!("/file?path={path}"), "").await;
        (status == 200).then_some(body)
    }

    /// Writes a file in the container, or makes a directory if the path ends with a slash.
    pub async fn write(&self, path: &str, content: &str) {
        self.try_write(path, content).await.expect("written");
    }

    /// The same where it may be refused; the error says why.
    pub async fn try_write(&self, path: &str, content: &str) -> Result<(), String> {
        let (status, body) = self.ask("PUT", &format!("/file?path={}", escaped(path)), content).await;
        if status == 200 { Ok(()) } else { Err(body) }
    }

    /// The names in a directory of the container.
    pub async fn names(&self, path: &str) -> Vec<String> {
        let (status, body) = self.ask("GET", &format!("/names?path={}", escaped(path)), "").await;
        assert_eq!(status, 200, "{body}");
        body.lines().map(str::to_owned).collect()
    }

    /// Whether something is mounted at exactly this path of the container.
    pub async fn mounts(&self, path: &str) -> bool {
        let mounts = self.file("/proc/mounts").await.expect("every process has a table of mounts");
        mounts.lines().any(|line| line.split(' ').nth(1) == Some(path))
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let address = self.pod.status.as_ref().and_then(|status| status.pod_ip.as_ref());
        let address = format!("{}:{TELLS}", address.expect("a ready pod has an address"));
        eventually(async || self.node.fetch(method, &address, path, body).await).await
    }
}
