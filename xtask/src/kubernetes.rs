//! Runs the part of the cluster's tests that holds on every Kubernetes, on one version after another.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use crate::error::{Error, Result, failed};
use crate::sources;

/// The page that says which versions and which tests: it is read, so it cannot be wrong about them.
pub const PAGE: &str = "docs/versions.md";
/// How the head of its table of versions begins.
pub const FOUND: &str = "| Kubernetes |";
/// How the head of its table of the tests that run begins.
pub const CORE: &str = "| Tests |";
/// How the head of its table of the tests that do not run begins.
pub const LEFT_OUT: &str = "| Left out |";
/// What tells the tests' control plane which Kubernetes to be.
const VARIABLE: &str = "CONTROL_PLANE_KUBERNETES";

/// What the tests said of one version.
pub struct Outcome {
    version: String,
    passed: usize,
    failed: Vec<String>,
}

/// Runs the core on the versions, or on all of the page's if none is named, and returns the lines to print.
pub fn run(root: &Path, versions: Vec<String>) -> Result<Vec<String>> {
    let page = root.join(PAGE);
    let text = std::fs::read_to_string(&page).map_err(failed("read", &page))?;
    let versions = if versions.is_empty() { cells(&text, FOUND) } else { versions };
    let core = cells(&text, CORE);
    if core.is_empty() || versions.is_empty() {
        return Err(Error::new(format!("{} names no tests or no versions", page.display())));
    }
    let outcomes = versions.iter().map(|version| try_version(root, version, &core));
    let outcomes = outcomes.collect::<Result<Vec<_>>>()?;
    let lines: Vec<String> = outcomes.iter().flat_map(Outcome::lines).collect();
    if outcomes.iter().any(|outcome| !outcome.failed.is_empty()) {
        return Err(Error::new(format!("not everything passed\n{}", lines.join("\n"))));
    }
    Ok(lines)
}

/// The first cells of the rows of every table with that head, without their quotes.
pub fn cells(text: &str, head: &str) -> Vec<String> {
    let mut cells = Vec::new();
    let mut lines = text.lines();
    while lines.any(|line| line.starts_with(head)) {
        // The line below the head.
        let rows = lines.by_ref().skip(1).take_while(|line| line.starts_with('|'));
        let first = rows.filter_map(|row| row.split('|').nth(1));
        cells.extend(first.map(|cell| cell.trim().trim_matches('`').to_owned()));
    }
    cells
}

/// Runs the tests as everybody does, and listens.
fn try_version(root: &Path, version: &str, core: &[String]) -> Result<Outcome> {
    let failed = |error: std::io::Error| Error::new(format!("cannot run the tests: {error}"));
    let mut child = sources::cargo(root)
        .args(["test", "--test", "main", "--"])
        // With what follows a module's name, or a longer name would be meant, too.
        .args(core.iter().map(|module| format!("{module}::")))
        .env(VARIABLE, version)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut outcome = Outcome::of(version);
    for line in child.stdout.take().into_iter().flat_map(|output| BufReader::new(output).lines()) {
        let line = line.map_err(failed)?;
        show(&line);
        outcome.hear(&line);
    }
    let status = child.wait().map_err(failed)?;
    match (status.success(), outcome.passed, outcome.failed.len()) {
        (true, 0, _) => Err(Error::new(format!("no test ran on Kubernetes {}", outcome.version))),
        (false, _, 0) => Err(Error::new(format!("the tests did not run on Kubernetes {}", outcome.version))),
        _ => Ok(outcome),
    }
}

impl Outcome {
    /// Nothing so far.
    pub fn of(version: &str) -> Self {
        Self { version: version.to_owned(), passed: 0, failed: Vec::new() }
    }

    /// Understands a line of the test runner.
    pub fn hear(&mut self, line: &str) {
        let Some((name, end)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... ")) else {
            return;
        };
        match end {
            "ok" => self.passed += 1,
            "FAILED" => self.failed.push(name.to_owned()),
            _ => {}
        }
    }

    /// What came of it, and beneath that what failed.
    pub fn lines(&self) -> Vec<String> {
        let all = self.passed + self.failed.len();
        let first = format!("Kubernetes {}: {} of {all} tests passed", self.version, self.passed);
        let failed = self.failed.iter().map(|name| format!("  {name} failed"));
        std::iter::once(first).chain(failed).collect()
    }
}

#[allow(clippy::print_stdout, reason = "what the tests print, as they print it")]
fn show(line: &str) {
    println!("{line}");
}
