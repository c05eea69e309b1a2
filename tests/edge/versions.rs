//! `docs/versions.md` says which tests hold on every Kubernetes, and says it of all of them; the command reads it there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use xtask::kubernetes::{CORE, FOUND, LEFT_OUT, Outcome, PAGE, cells};

use crate::support::kubernetes::{known, own_version};

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    fs::read_to_string(path).expect("the page")
}

/// A list without repetition.
fn once(list: &[String]) -> BTreeSet<String> {
    let set: BTreeSet<String> = list.iter().cloned().collect();
    assert_eq!(set.len(), list.len(), "something stands twice: {list:?}");
    set
}

#[test]
fn every_cluster_test_is_of_the_core_or_left_out_with_a_reason() {
    let page = page();
    let said = once(&[cells(&page, CORE), cells(&page, LEFT_OUT)].concat());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster");
    let files = fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("a file").path());
    let modules = files.filter(|path| path.extension().is_some_and(|ending| ending == "rs"));
    let modules = modules.map(|path| format!("cluster::{}", path.file_stem().expect("a name").display()));
    assert_eq!(said, modules.collect());
    let rows = page.lines().filter(|line| line.starts_with("| `cluster::"));
    for row in rows {
        let reason = row.split('|').nth(2).unwrap_or_default().trim();
        assert!(reason.len() > 10, "{row} says nothing");
    }
}

#[test]
fn the_table_has_the_versions_whose_checksums_are_here_and_the_tests_own() {
    let mut versions = known().expect("the checksums");
    versions.push(own_version().expect("the tests' own"));
    assert_eq!(once(&cells(&page(), FOUND)), once(&versions));
}

#[test]
fn what_is_promised_is_what_was_tried() {
    let page = page();
    let minor = |version: &str| version.split('.').nth(1).and_then(|part| part.parse().ok()).expect("1.n.n");
    let tried: BTreeSet<u32> = cells(&page, FOUND).iter().map(|version| minor(version)).collect();
    let (oldest, newest) = (tried.first().expect("one"), tried.last().expect("one"));
    assert!(page.contains(&format!("made for Kubernetes 1.{oldest} to 1.{newest}.")), "{oldest} to {newest}");
    let schemas = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/manifests"));
    assert!(schemas.expect("the check of manifests").contains(&format!("-k 1.{newest} ")));
}

#[test]
fn first_cells_are_read_below_their_head_alone() {
    let page = "| A | B |\n|---|---|\n| `one` | x |\n| two | y |\n\n| C |\n|---|\n| three |\n\n| A | B |\n|---|---|\n| four | z |";
    assert_eq!(cells(page, "| A |"), ["one", "two", "four"]);
    assert_eq!(cells(page, "| C |"), ["three"]);
    assert_eq!(cells(page, "| B |"), [""; 0]);
}

#[test]
fn what_passed_and_failed_is_heard() {
    let mut outcome = Outcome::of("1.29");
    for line in
        ["running 3 tests", "test a::b ... ok", "test a::c ... FAILED", "test a::d - x ... ok", "test"]
    {
        outcome.hear(line);
    }
    assert_eq!(outcome.lines(), ["Kubernetes 1.29: 2 of 3 tests passed", "  a::c failed"]);
}
