//! The rules of the house that no compiler holds; ARCHITECTURE.md says why.

mod circles;
pub mod source;
mod walls;

use std::collections::BTreeSet;
use std::fs;

use source::{Source, files, product, root, sources};

/// The most lines of a file beside its tests.
const MAX_LINES: usize = 400;

/// Every Rust file of the repository.
fn everything() -> Vec<Source> {
    let mut all = product();
    for folder in ["tests", "examples", "benches", "xtask/src"] {
        all.extend(sources(folder));
    }
    for path in ["build.rs", "client/build.rs"] {
        all.push(Source::new(path, &fs::read_to_string(root().join(path)).expect("a build script")));
    }
    all
}

/// Fails with all that a rule found, in every file.
fn none(rule: impl Fn(&Source) -> Option<String>, sources: &[Source]) {
    let found: Vec<String> = sources.iter().filter_map(rule).collect();
    assert!(found.is_empty(), "{found:#?}");
}

fn without_purpose(source: &Source) -> Option<String> {
    let first = source.text.lines().next().unwrap_or_default();
    let purpose = first.strip_prefix("//! ").unwrap_or_default();
    let sentence = purpose.len() > 10 && purpose.ends_with('.');
    (!sentence).then(|| format!("{}: the first line is no sentence of purpose: {first}", source.path))
}

#[test]
fn every_file_says_its_purpose() {
    none(without_purpose, &everything());
    assert!(without_purpose(&Source::new("a.rs", "use x;\n")).is_some());
    assert!(without_purpose(&Source::new("a.rs", "//! no stop\n")).is_some());
    assert!(without_purpose(&Source::new("a.rs", "//! Says what it is for.\n")).is_none());
}

fn too_long(source: &Source) -> Option<String> {
    let lines = source.production().lines().count();
    (lines > MAX_LINES).then(|| format!("{}: {lines} lines; split it by noun", source.path))
}

#[test]
fn no_file_is_too_long() {
    none(too_long, &product());
    assert!(too_long(&Source::new("src/a.rs", &"x\n".repeat(401))).is_some());
    let tested = format!("{}#[cfg(test)]\n{}", "x\n".repeat(400), "y\n".repeat(100));
    assert!(too_long(&Source::new("src/a.rs", &tested)).is_none());
}

fn is_mod_rs(source: &Source) -> Option<String> {
    source.path.ends_with("mod.rs").then(|| format!("{}: name the file after its module", source.path))
}

#[test]
fn no_file_is_called_mod() {
    none(is_mod_rs, &everything());
    assert!(is_mod_rs(&Source::new("src/a/mod.rs", "")).is_some());
}

/// What only one file may say.
fn says(
    what: &'static [&'static str],
    allowed: &'static [&'static str],
) -> impl Fn(&Source) -> Option<String> {
    move |source| {
        let code = source.code();
        let said = what.iter().find(|what| code.contains(**what))?;
        let is_allowed = allowed.contains(&source.path.as_str());
        (!is_allowed).then(|| format!("{}: only {} may say `{said}`", source.path, allowed.join(", ")))
    }
}

#[test]
fn only_apply_makes_what_is_applied() {
    let written = says(&["Written {"], &["src/cluster/apply.rs"]);
    none(&written, &sources("src"));
    assert!(written(&Source::new("src/operations/a.rs", "let a = Written { uid };")).is_some());
}

#[test]
fn only_the_edge_knows_the_generated_code() {
    // The map of the crate declares the module and uses nothing of it.
    let imports = |source: &Source| {
        let is_edge = matches!(source.room(), Some("cli" | "grpc" | "server" | "proto"));
        let code = source.code();
        let named = ["proto::", "panamax_kubernetes_adapter_client"].iter().any(|name| code.contains(name));
        (named && !is_edge).then(|| format!("{}: the generated code stops at the edge", source.path))
    };
    none(imports, &sources("src"));
    assert!(imports(&Source::new("src/status.rs", "use crate::proto::Image;")).is_some());
    assert!(imports(&Source::new("src/status.rs", "use panamax_kubernetes_adapter_client as a;")).is_some());
    assert!(imports(&Source::new("src/grpc/a.rs", "use crate::proto::Image;")).is_none());
}

#[test]
fn only_one_file_names_a_grpc_code_and_one_reads_it() {
    let codes = |source: &Source| {
        let imports = source.code().lines().any(|line| {
            let line = line.trim();
            line.starts_with("use tonic::")
                && line.split(|c: char| !c.is_alphanumeric()).any(|word| word == "Code")
        });
        let named =
            imports || ["tonic::Code", "Status::new("].iter().any(|name| source.code().contains(name));
        // A panic has passed all rooms by; its answer is made where it is caught.
        // Who calls reads codes, and makes none.
        let is_allowed = ["src/grpc/errors.rs", "src/cli/failure.rs"].contains(&source.path.as_str());
        (named && !is_allowed).then(|| format!("{}: names a gRPC code", source.path))
    };
    none(codes, &sources("src"));
    assert!(codes(&Source::new("src/grpc.rs", "use tonic::{Code, Status};")).is_some());
    assert!(codes(&Source::new("src/a.rs", "tonic::Code::Ok")).is_some());
    assert!(codes(&Source::new("src/a.rs", "use crate::diagnostic::Code;")).is_none());
}

#[test]
fn only_the_clock_reads_the_time_of_day() {
    let read = |source: &Source| {
        let is_clock = source.path == "src/clock.rs";
        let reads = ["Timestamp::now", "SystemTime::now", "Zoned::now"];
        let reads = reads.iter().any(|sign| source.code().contains(sign));
        (reads && !is_clock).then(|| format!("{}: asks what time it is", source.path))
    };
    none(read, &sources("src"));
    assert!(read(&Source::new("src/a.rs", "fn f() { Timestamp::now() }")).is_some());
}

/// Rooms that simulation repeats call by call, as it does the sandbox: no choice in them is left to chance.
const REPEATABLE: [&str; 3] = ["cluster", "engine", "operations"];

/// A `select!` that begins with a branch drawn by lot.
fn drawn(source: &Source) -> Option<String> {
    let code = source.code();
    let mut bodies = code.split("select! {").skip(1);
    let is_drawn = bodies.any(|body| !body.trim_start().starts_with("biased;"));
    is_drawn.then(|| format!("{}: a `select!` without `biased;`", source.path))
}

#[test]
fn no_branch_is_drawn_by_lot() {
    let mut sources = product();
    sources.retain(|source| source.room().is_none_or(|room| REPEATABLE.contains(&room)));
    none(drawn, &sources);
    assert!(drawn(&Source::new("src/a.rs", "tokio::select! { () = a => {} }")).is_some());
    assert!(drawn(&Source::new("src/a.rs", "tokio::select! {\n    biased;\n    () = a => {} }")).is_none());
}

/// Golden files without their partner.
fn alone(files: &[String]) -> Vec<String> {
    let known: BTreeSet<&String> = files.iter().collect();
    let partner = |file: &String| match file.rsplit_once('.') {
        Some((stem, "pmx")) => match stem.strip_suffix(".override") {
            Some(overridden) => Some(format!("{overridden}.pmx")),
            None => Some(format!("{stem}.yaml")),
        },
        Some((stem, "yaml")) => Some(format!("{stem}.pmx")),
        _ => None,
    };
    let is_alone = |file: &&String| partner(file).is_none_or(|partner| !known.contains(&partner));
    files.iter().filter(is_alone).cloned().collect()
}

#[test]
fn every_golden_file_has_its_partner() {
    assert_eq!(alone(&files("tests/translate/cases")), [""; 0]);
    assert_eq!(alone(&["a.pmx".to_owned(), "b.txt".to_owned()]), ["a.pmx", "b.txt"]);
    assert_eq!(alone(&["a.pmx".to_owned(), "a.yaml".to_owned(), "a.override.pmx".to_owned()]), [""; 0]);
}

/// Test files that no module declares: they would never run.
fn forgotten(sources: &[Source]) -> Vec<String> {
    let declared = |source: &Source| {
        let (folder, file) = source.path.rsplit_once('/').expect("a file in a folder");
        let line = format!("mod {};", file.trim_end_matches(".rs"));
        let parent = format!("{folder}.rs");
        sources.iter().any(|other| {
            (other.path == parent || other.path == "tests/main.rs")
                && other.text.lines().any(|other| other.trim().trim_start_matches("pub ") == line)
        })
    };
    let mut forgotten: Vec<String> = Vec::new();
    for source in sources.iter().filter(|source| source.path != "tests/main.rs" && !declared(source)) {
        forgotten.push(source.path.clone());
    }
    forgotten
}

#[test]
fn no_test_file_is_forgotten() {
    assert_eq!(forgotten(&sources("tests")), [""; 0]);
    let main = Source::new("tests/main.rs", "mod edge {\n    mod agent;\n}\n");
    let lost = [main, Source::new("tests/edge/agent.rs", ""), Source::new("tests/edge/lost.rs", "")];
    assert_eq!(forgotten(&lost), ["tests/edge/lost.rs"]);
}

#[test]
fn no_test_is_ignored() {
    let mark = ["#[", "ignore"].concat();
    let ignored = |source: &Source| source.text.contains(&mark).then(|| source.path.clone());
    none(ignored, &everything());
    assert!(ignored(&Source::new("a.rs", &format!("{mark}]"))).is_some());
}

/// Values of an enum of the contract that have no comment of their own.
fn uncommented(text: &str, name: &str) -> Vec<String> {
    let lines = text.lines().skip_while(|line| *line != format!("enum {name} {{")).skip(1);
    let mut before = "";
    let mut uncommented = Vec::new();
    for line in lines.take_while(|line| *line != "}").map(str::trim) {
        if line.contains(" = ") && !before.starts_with("//") {
            uncommented.push(line.to_owned());
        }
        before = line;
    }
    uncommented
}

#[test]
fn every_reason_is_explained_in_the_contract() {
    let path = root().join("proto/panamax/kubernetes/v1/error.proto");
    let text = fs::read_to_string(path).expect("the contract");
    assert!(text.contains("\nenum ErrorReason {\n"));
    assert_eq!(uncommented(&text, "ErrorReason"), [""; 0]);
    let text = "enum E {\n  // Good.\n  A = 0;\n\n  B = 1;\n}\n";
    assert_eq!(uncommented(text, "E"), ["B = 1;"]);
}
