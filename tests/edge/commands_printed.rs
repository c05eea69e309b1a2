//! The commands in docs/commands.md and in the README run as they are printed, in front of the real control plane.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::adapter::Binary;
use crate::support::control_plane::{User, control_plane};
use crate::support::namespace::namespace;

/// The lines of the blocks for a shell, in their order.
fn lines(document: &str) -> Vec<String> {
    let mut is_open = false;
    let mut lines = Vec::new();
    for line in document.lines() {
        match (line, is_open) {
            ("```sh", false) => is_open = true,
            ("```", true) => is_open = false,
            (line, true) => lines.push(line.to_owned()),
            _ => {}
        }
    }
    lines
}

/// A folder with the programs that the lines name: the binary under test, `kubectl` in one namespace, and a `crane` that
/// asks no registry.
fn folder(namespace: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("printed-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let program = |name: &str, line: &str| {
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\n{line}\n")).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be run");
    };
    let plane = control_plane();
    let (kubectl, kubeconfig) = (plane.program("kubectl"), plane.kubeconfig(User::Admin));
    let kubectl =
        format!("exec {} --kubeconfig {} -n {namespace} \"$@\"", kubectl.display(), kubeconfig.display());
    program("kubectl", &kubectl);
    program("crane", "printf '%s' '{\"config\": {\"ExposedPorts\": {\"3306/tcp\": {}}}}'");
    let binary = env!("CARGO_BIN_EXE_panamax-kubernetes-adapter");
    program("panamax-kubernetes-adapter", &format!("exec {binary} \"$@\""));
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_run_as_printed() {
    let namespace = namespace("edge-commands").await;
    // What `kubectl apply` makes and what is deployed share no name.
    let by_hand = crate::support::namespace::namespace("edge-commands-by-hand").await;
    let adapter = Binary::start(&control_plane().kubeconfig(User::Adapter), &["--namespace", &namespace]);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(folder(&by_hand)).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(path).expect("a PATH");
    let document = fs::read_to_string("docs/commands.md").expect("the document");
    let readme = fs::read_to_string("README.md").expect("the document");
    let mut of_readme = lines(&readme);
    of_readme.retain(|line| line.starts_with("panamax-kubernetes-adapter "));
    assert!(of_readme.len() >= 5, "{of_readme:?}");
    let lines = [lines(&document), of_readme].concat();
    for line in &lines {
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", line])
            .env("PATH", &path)
            .env("PANAMAX_SERVER", format!("http://{}", adapter.address))
            .stdin(Stdio::null())
            .output()
            .expect("bash runs");
        let (answer, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{line}\n{answer}\n{errors}{}", namespace.dump());
        let is_quiet = line.contains(" > ") || line.starts_with("mkdir ");
        assert!(is_quiet || !answer.trim().is_empty(), "{line} answers nothing");
        // Manifests hold values, because they are for applying; nothing else does.
        let may_show = line.contains(" translate ");
        assert!(may_show || !format!("{answer}{errors}").contains("pass@word01"), "{line} shows a value");
    }
    assert!(lines.len() >= 20, "{} lines", lines.len());
    for command in ["validate", "translate", "plan", "deploy", "get", "list", "scale", "watch", "revisions"] {
        assert!(lines.iter().any(|line| line.starts_with(&format!("panamax-kubernetes-adapter {command} "))));
    }
}

/// What the README shows is what is printed, when the adapter has never seen the template.
#[tokio::test(flavor = "multi_thread")]
async fn the_readme_shows_what_is_printed() {
    let adapter = Binary::start_with(&["--sandbox"]);
    let readme = fs::read_to_string("README.md").expect("the document");
    let (_, block) = readme.split_once("```text\n$ ").expect("a block");
    let (block, _) = block.split_once("```").expect("its end");
    let (command, shown) = block.split_once('\n').expect("a command and what it prints");
    let mut words = command.split(' ');
    assert_eq!(words.next(), Some("panamax-kubernetes-adapter"));
    let output = Command::new(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter"))
        .args(words)
        .env("PANAMAX_SERVER", format!("http://{}", adapter.address))
        .output()
        .expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), shown);
}
