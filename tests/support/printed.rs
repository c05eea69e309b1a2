//! What the lines of documents need to run as they are printed: the programs that they name.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::control_plane::{ControlPlane, User};

/// A folder with the binary under test, `kubectl` in one namespace, and a `crane` that asks no registry.
fn folder(plane: &ControlPlane, namespace: &str) -> PathBuf {
    let name = format!("printed-{}-{namespace}", std::process::id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).expect("a folder");
    let program = |name: &str, line: &str| {
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\n{line}\n")).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be run");
    };
    let (kubectl, kubeconfig) = (plane.program("kubectl"), plane.kubeconfig(User::Admin));
    let kubectl =
        format!("exec {} --kubeconfig {} -n {namespace} \"$@\"", kubectl.display(), kubeconfig.display());
    program("kubectl", &kubectl);
    program("crane", "printf '%s' '{\"config\": {\"ExposedPorts\": {\"4711/tcp\": {}}}}'");
    let binary = env!("CARGO_BIN_EXE_panamax-kubernetes-adapter");
    program("panamax-kubernetes-adapter", &format!("exec {binary} \"$@\""));
    folder
}

/// The PATH of somebody who has installed all that documents name.
pub fn path(plane: &ControlPlane, namespace: &str) -> OsString {
    let grpcurl = plane.program("grpcurl").parent().expect("a program lies in a folder").to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = [folder(plane, namespace), grpcurl].into_iter().chain(std::env::split_paths(&path));
    std::env::join_paths(path).expect("a PATH")
}

/// Whether `jq` can be run, which some lines need. Without it these are left out, after one sentence; in CI that fails.
pub fn has_jq() -> bool {
    if Command::new("jq").arg("--version").output().is_ok() {
        return true;
    }
    let sentence = "lines of the documents that need jq cannot run here: it is not installed";
    assert!(std::env::var_os("CI").is_none_or(|value| value != "true"), "{sentence}");
    eprintln!("{sentence}");
    false
}

/// Runs a line as a reader would: in bash, from the root of the repository; `server` is the adapter's address.
pub fn bash(line: &str, path: &OsString, server: &str) -> Output {
    Command::new("bash")
        .args(["-euo", "pipefail", "-c", line])
        .env("PATH", path)
        .env("PANAMAX_SERVER", format!("http://{server}"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output()
        .expect("bash runs")
}

/// The commands of the binary in a document, in their order, and the line that collects what one of them reads.
pub fn of_the_binary(document: &str) -> Vec<String> {
    let lines = super::document::blocks(document, "sh").concat();
    let is_one =
        |line: &&str| line.starts_with("panamax-kubernetes-adapter ") || line.contains("crane config ");
    lines.lines().filter(is_one).map(str::to_owned).collect()
}
