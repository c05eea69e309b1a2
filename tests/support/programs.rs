//! Finds the programs of the test control plane, and builds them with Go where they are missing.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::kubernetes::{self, Other};
use super::recipe::{cache, recipe, tell};

/// Programs that are built from one Go module and found or missing together.
pub struct Set {
    name: &'static str,
    /// The module, below `tests/control-plane`.
    module: &'static str,
    /// The files and folders that decide about the programs' content: when one changes they are built anew.
    sources: &'static [&'static str],
    /// Whether C may be compiled too; without it a program needs nothing beside it.
    cgo: bool,
    tags: &'static str,
    /// Whether these are Kubernetes itself, which another version can take the place of.
    is_kubernetes: bool,
    /// Each program's name and Go package.
    programs: &'static [(&'static str, &'static str)],
}

const COMMON: Set = Set {
    name: "",
    module: ".",
    sources: &["go.mod", "go.sum"],
    cgo: true,
    tags: "",
    is_kubernetes: false,
    programs: &[],
};

/// What every control plane needs.
pub const CONTROL_PLANE: [Set; 5] = [
    Set {
        name: "kubernetes",
        is_kubernetes: true,
        programs: &[
            ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
            ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
            ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
        ],
        ..COMMON
    },
    // The same whichever Kubernetes is between them.
    Set {
        name: "kubernetes",
        programs: &[("etcd", "go.etcd.io/etcd/server/v3"), ("kwok", "sigs.k8s.io/kwok/cmd/kwok")],
        ..COMMON
    },
    // A module of its own: it wants other versions of the libraries that Kubernetes is pinned to.
    Set {
        name: "grpcurl",
        module: "grpcurl",
        sources: &["grpcurl/go.mod", "grpcurl/go.sum"],
        programs: &[("grpcurl", "github.com/fullstorydev/grpcurl/cmd/grpcurl")],
        ..COMMON
    },
    // The judge of the alert rules; here because what is built while other tests run disturbs them.
    Set { name: "alerts", module: "alerts", sources: &["alerts"], programs: &[("alerts", ".")], ..COMMON },
    Set { name: "plane", sources: &["plane"], programs: &[("plane", "./plane")], ..COMMON },
];

/// What a real node needs beside its control plane.
pub const NODE: [Set; 4] = [
    Set {
        name: "kubelet",
        is_kubernetes: true,
        programs: &[
            ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
            ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
        ],
        ..COMMON
    },
    Set {
        name: "containerd",
        module: "node",
        sources: &["node/go.mod", "node/go.sum", "node/probe"],
        cgo: false,
        programs: &[
            ("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
            ("containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"),
            ("ptp", "github.com/containernetworking/plugins/plugins/main/ptp"),
            ("portmap", "github.com/containernetworking/plugins/plugins/meta/portmap"),
            ("host-local", "github.com/containernetworking/plugins/plugins/ipam/host-local"),
            ("probe", "./probe"),
        ],
        ..COMMON
    },
    RUNC,
    Set {
        name: "coredns",
        module: "dns",
        sources: &["dns"],
        cgo: false,
        programs: &[("coredns", ".")],
        ..COMMON
    },
];

/// Without libseccomp it refuses every pod that asks for the runtime's own profile.
pub const RUNC: Set = Set {
    name: "runc",
    module: "node",
    sources: &["node/go.mod", "node/go.sum"],
    tags: "seccomp",
    programs: &[("runc", "github.com/opencontainers/runc")],
    ..COMMON
};

const NO_GO: &str = "the cluster tests need a control plane, and to build it Go 1.26 or newer: install it \
                     from https://go.dev/dl, or name a folder with the built programs in KUBEBUILDER_ASSETS";

/// Returns the path of every program of some sets, after building those that are neither in the folder that
/// `KUBEBUILDER_ASSETS` names nor in the cache.
///
/// The error is one sentence for whoever runs the tests.
pub fn find<'s>(sets: impl IntoIterator<Item = &'s Set>) -> Result<BTreeMap<&'static str, PathBuf>, String> {
    let mut paths = BTreeMap::new();
    for set in sets {
        let folder = find_set(set)?;
        paths.extend(set.programs.iter().map(|(name, _)| (*name, folder.join(name))));
    }
    Ok(paths)
}

/// Whether [`find`] would build nothing of a set.
pub fn is_built(set: &Set) -> bool {
    let cached = || Ok::<_, String>(Place::of(set)?.folder);
    assets().is_some_and(|assets| set.is_in(&assets)) || cached().is_ok_and(|folder| set.is_in(&folder))
}

impl Set {
    fn is_in(&self, folder: &Path) -> bool {
        self.programs.iter().all(|(name, _)| folder.join(name).is_file())
    }
}

fn assets() -> Option<PathBuf> {
    std::env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn find_set(set: &Set) -> Result<PathBuf, String> {
    let place = Place::of(set)?;
    // A version that is asked for by its number is built by us: nobody knows what a folder holds.
    if let (Some(assets), None) = (assets(), &place.other) {
        if set.is_in(&assets) {
            return Ok(assets);
        }
        let names: Vec<_> = set.programs.iter().map(|(name, _)| *name).collect();
        tell(&format!("{} does not hold all of {}; using our own", assets.display(), names.join(", ")));
    }
    if !set.is_in(&place.folder) {
        place.fill(set)?;
    }
    Ok(place.folder)
}

/// Where a set is built, and lies then.
struct Place {
    folder: PathBuf,
    /// The folder of its module.
    module: PathBuf,
    other: Option<Other>,
}

impl Place {
    fn of(set: &Set) -> Result<Self, String> {
        let other = if set.is_kubernetes { kubernetes::other()? } else { None };
        Ok(match other {
            Some(other) => {
                Self { folder: other.folder.clone(), module: other.folder.clone(), other: Some(other) }
            }
            None => Self {
                folder: cache()?.join(format!("{}-{}", set.name, fingerprint(set)?)),
                module: recipe().join(set.module),
                other: None,
            },
        })
    }

    /// Builds what is missing.
    fn fill(&self, set: &Set) -> Result<(), String> {
        fs::create_dir_all(&self.folder)
            .map_err(|error| format!("cannot create {}: {error}", self.folder.display()))?;
        let _lock = lock(&cache()?)?;
        if let Some(other) = &self.other {
            other.write()?;
        }
        for (number, (name, package)) in set.programs.iter().enumerate() {
            if !self.folder.join(name).is_file() {
                let (count, once) = (set.programs.len(), "the first time only");
                let step = format!("building {name} ({} of {count}, {once})", number + 1);
                self.build(set, package, &self.folder.join(name), &step)?;
            }
        }
        Ok(())
    }

    /// Builds one program; it appears under its name only when it is complete.
    fn build(&self, set: &Set, package: &str, target: &Path, step: &str) -> Result<(), String> {
        let partial = target.with_extension("partial");
        let version = match &self.other {
            Some(other) => other.version.clone(),
            None => kubernetes::own_version()?,
        };
        let mut command = Command::new("go");
        if !set.cgo {
            command.env("CGO_ENABLED", "0");
        }
        let child = command
            .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-tags", set.tags])
            .args(["-ldflags", &stamp(&version), "-o"])
            .arg(&partial)
            .arg(package)
            .current_dir(&self.module)
            .env("GOWORK", "off")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(NO_GO.to_owned()),
            Err(error) => return Err(format!("cannot run go: {error}")),
        };
        let (send, ended) = mpsc::channel();
        std::thread::spawn(move || send.send(child.wait()));
        let status = wait(&ended, step).map_err(|error| format!("cannot wait for go: {error}"))?;
        if !status.success() {
            return Err(format!("go could not build {package}: its reasons stand above"));
        }
        fs::rename(&partial, target).map_err(|error| format!("cannot place {}: {error}", target.display()))
    }
}

fn fingerprint(set: &Set) -> Result<String, String> {
    let mut digest = Sha256::new();
    for source in set.sources {
        let path = recipe().join(source);
        let content = if path.is_dir() { read_folder(&path) } else { fs::read(&path) };
        digest.update(content.map_err(|error| format!("cannot read {}: {error}", path.display()))?);
    }
    let [a, b, c, d, ..] = digest.finalize().0;
    Ok(format!("{:08x}", u32::from_be_bytes([a, b, c, d])))
}

fn read_folder(folder: &Path) -> std::io::Result<Vec<u8>> {
    let mut files = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    files.iter().try_fold(Vec::new(), |all, file| Ok([all, fs::read(file.path())?].concat()))
}

/// Keeps a second test run from building the same programs; the lock ends with the file.
fn lock(cache: &Path) -> Result<File, String> {
    let path = cache.join("lock");
    let failed = |error: &dyn std::fmt::Display| format!("cannot lock {}: {error}", path.display());
    let file = File::create(&path).map_err(|error| failed(&error))?;
    if file.try_lock().is_err() {
        tell("waiting for another test run that is building the programs");
        file.lock().map_err(|error| failed(&error))?;
    }
    Ok(file)
}

/// Shows that something is going on until it ends: a clock on a terminal, now and then a line elsewhere.
fn wait<T>(ended: &mpsc::Receiver<T>, step: &str) -> T {
    let terminal = std::io::stderr().is_terminal();
    let pause = Duration::from_secs(if terminal { 1 } else { 30 });
    let began = Instant::now();
    tell(step);
    loop {
        match ended.recv_timeout(pause) {
            Ok(result) => return result,
            Err(_) if terminal => {
                let _ = write!(std::io::stderr(), "{:>4} s\r", began.elapsed().as_secs());
            }
            Err(_) => tell(&format!("{step}: {} s", began.elapsed().as_secs())),
        }
    }
}

/// Without a version of its own the API server calls itself one that kubectl cannot parse.
fn stamp(version: &str) -> String {
    let minor = version.split('.').nth(1).unwrap_or_default();
    let set = |name: &str, value: &str| format!("-X k8s.io/component-base/version.{name}={value}");
    let whole = format!("v{version}");
    format!("-s -w {} {} {}", set("gitVersion", &whole), set("gitMajor", "1"), set("gitMinor", minor))
}
