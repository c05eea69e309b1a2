//! The example that newcomers run first: alone on its sandbox, and against the binary on the real control plane.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::api::ListParams;

use crate::support::adapter::Binary;
use crate::support::control_plane::{User, control_plane};
use crate::support::namespace::namespace;

/// The built example, which lies beside the built binary.
fn agent() -> Command {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter"));
    let folder = binary.parent().expect("a binary lies in a folder").join("examples");
    let path = folder.join(format!("agent{}", std::env::consts::EXE_SUFFIX));
    assert!(
        path.is_file(),
        "{} is missing: `cargo test` without a filter on targets builds it",
        path.display()
    );
    let mut command = Command::new(path);
    command.stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    agent().args(arguments).output().expect("the example starts")
}

/// Checks the whole story, line by line where a reader would look.
fn check(output: &Output, namespace: &str) {
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    let words: Vec<String> =
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let place = |wanted: &str| {
        let found = words.iter().position(|line| line.starts_with(wanted));
        found.unwrap_or_else(|| panic!("no line begins with {wanted:?}:\n{text}"))
    };
    let steps = [
        "becomes Service db-1 db",
        "becomes Pod wp-pod wp",
        "info NAME_CHANGED images[0].links[0].alias",
        "Deploy agent-",
        "create Pod db-pod db",
        "reach db-1.",
        "Scale WP to 3",
        "create ReplicationController wp-replication-controller wp",
        "Tear down agent-",
        "delete Service db-1 db",
        "Done in",
    ];
    let places: Vec<usize> = steps.iter().map(|step| place(step)).collect();
    assert!(places.is_sorted(), "{places:?}\n{text}");
    for replicas in ["wp 1/1 db 1/1", "wp 3/3 db 1/1"] {
        let ready = |line: &&String| line.contains("ACTIVE") && line.contains(replicas);
        assert!(words.iter().any(|line| ready(&line)), "never ACTIVE with {replicas}:\n{text}");
    }
    assert!(words.iter().any(|line| line.ends_with(&format!("in namespace {namespace}"))), "{text}");
    assert!(!text.contains('\u{1b}'), "no colour where no terminal is");
    assert!(text.lines().all(|line| line.chars().count() <= 120 && line.trim_end() == line), "{text}");
}

#[test]
fn the_agent_needs_no_cluster() {
    check(&run(&[]), "default");
}

#[tokio::test]
async fn the_agent_runs_twice_against_a_real_cluster_and_leaves_nothing() {
    let namespace = namespace("edge-agent").await;
    let binary = Binary::start(&control_plane().kubeconfig(User::Adapter), &[]);
    let server = format!("http://{}", binary.address);
    for _ in 0..2 {
        check(&run(&["--server", &server, "--namespace", &namespace]), &namespace);
    }
    let every = ListParams::default();
    assert!(namespace.api::<Pod>().list(&every).await.expect("pods").items.is_empty());
    assert!(namespace.api::<Service>().list(&every).await.expect("services").items.is_empty());
    assert_eq!(
        namespace.api::<ConfigMap>().list(&every).await.expect("maps").items.len(),
        1,
        "the cluster's own"
    );
}

#[test]
fn the_agent_fails_with_one_sentence() {
    let nobody = run(&["--server", "http://127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&nobody.stderr), "agent: no adapter answers at http://127.0.0.1:1\n");
    let refused = run(&["--namespace", "kube-system"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("(NAMESPACE_RESERVED)"));
    assert_eq!(run(&["--help"]).status.code(), Some(64));
}
