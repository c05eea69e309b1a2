//! The conformance report over our own templates, and how it says that something is wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::adapter::Binary;
use crate::support::control_plane::{User, control_plane};

/// Our own templates; one of them has a link that leads nowhere.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance");
const HEAD: &str = "template profile translate dry run deploy ready links teardown reason";

fn run(arguments: &[&str]) -> Output {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter"));
    let folder = binary.parent().expect("a binary lies in a folder").join("examples");
    let path = folder.join(format!("conformance{}", std::env::consts::EXE_SUFFIX));
    assert!(
        path.is_file(),
        "{} is missing: `cargo test` without a filter on targets builds it",
        path.display()
    );
    Command::new(path).args(arguments).stdin(Stdio::null()).output().expect("the example starts")
}

/// The lines of the table and below it, each with single blanks.
fn lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Checks the report over our own templates, all right.
fn check(output: &Output) {
    let lines = lines(output);
    let shown = || format!("{lines:#?}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{}", shown());
    let templates = fs::read_dir(FOLDER).expect("the folder").count();
    assert_eq!(lines.iter().filter(|line| line.as_str() == HEAD).count(), 1, "{}", shown());
    for profile in ["CLASSIC", "MODERN"] {
        for line in [
            format!("blog.pmx {profile} ok ok ok ok ok 1 ok"),
            format!("wire.json {profile} ok ok ok ok ok 1 ok"),
            format!("portless.pmx {profile} ok ok ok ok ok 3, 3 guessed ok"),
            format!("missing.yml {profile} refused - - - - - images[1].links[1].service leads nowhere"),
        ] {
            assert!(lines.contains(&line), "no line {line:?}: {}", shown());
        }
        let rows = lines.iter().filter(|line| line.split(' ').nth(1) == Some(profile)).count();
        assert_eq!(rows, templates, "{}", shown());
    }
    let summary = format!("CLASSIC {templates} of {templates}, MODERN {templates} of {templates}");
    assert_eq!(lines.last(), Some(&summary));
    let progress = String::from_utf8_lossy(&output.stderr);
    let end = format!("{0} of {0}: wire.json MODERN right", 2 * templates);
    assert_eq!(progress.lines().last(), Some(end.as_str()), "a plain line each where no terminal is");
}

#[test]
fn our_own_templates_conform_in_a_sandbox() {
    check(&run(&[FOLDER]));
}

#[test]
fn a_running_adapter_is_enough() {
    let binary = Binary::start_with(&["--sandbox"]);
    let output = run(&[FOLDER, "--server", &format!("http://{}", binary.address), "--parallel", "8"]);
    check(&output);
    assert!(lines(&output)[0].starts_with("The cluster is not known, so the namespaces conformance-"));
}

#[test]
fn a_cluster_is_served_and_looked_at() {
    let kubeconfig = control_plane().kubeconfig(User::Adapter);
    check(&run(&[FOLDER, "--kubeconfig", kubeconfig.to_str().expect("a path"), "--parallel", "8"]));
}

/// A folder of its own with one file.
fn folder_with(name: &str, text: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance").join(name);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(name), text).expect("a file");
    folder
}

#[test]
fn what_is_wrong_is_told_with_its_reason() {
    let folder = folder_with("wrong.pmx", "images:\n- {name: a, source: 'a b'}\n");
    let wrong = run(&[folder.to_str().expect("a path")]);
    assert_eq!(wrong.status.code(), Some(1));
    let lines = lines(&wrong);
    assert!(lines[1].starts_with("wrong.pmx CLASSIC no - - - - - images[0].source: "), "{lines:#?}");
    assert_eq!(lines.last().map(String::as_str), Some("CLASSIC 0 of 1, MODERN 0 of 1"));
    let unready = folder_with("unready.pmx", "images:\n- {name: a, source: 'a:1'}\n");
    let nobody = run(&[unready.to_str().expect("a path"), "--server", "http://127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&nobody.stderr),
        "conformance: no adapter answers at http://127.0.0.1:1\n"
    );
    let empty = folder_with("readme.txt", "no template");
    assert!(
        String::from_utf8_lossy(&run(&[empty.to_str().expect("a path")]).stderr)
            .ends_with(" has no templates\n")
    );
    assert_eq!(run(&[]).status.code(), Some(64));
    assert_eq!(run(&[FOLDER, "--parallel", "0"]).status.code(), Some(64));
}
