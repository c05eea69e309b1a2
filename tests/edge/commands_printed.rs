//! The commands in docs/commands.md run as they are printed, in front of the real control plane.
//!
//! Those of the README run on the real node, in `node::examples`.

use std::fs;
use std::process::Command;

use crate::support::adapter::Binary;
use crate::support::control_plane::{User, control_plane};
use crate::support::document::blocks;
use crate::support::namespace::namespace;
use crate::support::printed;

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_run_as_printed() {
    let namespace = namespace("edge-commands").await;
    // What `kubectl apply` makes and what is deployed share no name.
    let by_hand = crate::support::namespace::namespace("edge-commands-by-hand").await;
    let adapter = Binary::start(&control_plane().kubeconfig(User::Adapter), &["--namespace", &namespace]);
    let (path, address) = (printed::path(control_plane(), &by_hand), adapter.address.to_string());
    let document = fs::read_to_string("docs/commands.md").expect("the document");
    let lines: Vec<String> = blocks(&document, "sh").concat().lines().map(str::to_owned).collect();
    for line in &lines {
        let output = printed::bash(line, &path, &address);
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
