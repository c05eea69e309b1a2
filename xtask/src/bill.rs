//! The bill of materials: every library in the program, as CycloneDX has it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::compile::Target;
use crate::error::{Error, Result, failed};
use crate::image::empty;
use crate::sources::{self, NAME, Sources};

/// The version of cargo-cyclonedx, the tool of the format's own authors.
const TOOL: &str = "0.5.9";

/// Writes the bill for one kind of machine, and holds it against cargo's own tree.
pub fn write(sources: &Sources, target: &Target) -> Result<Vec<u8>> {
    let tool = tool()?;
    // The tool writes beside every manifest, so it gets a copy of what is committed.
    let copy = sources.target.join("bill");
    empty(&copy)?;
    sources::git(&sources.root, &["checkout-index", "--all", &format!("--prefix={}/", copy.display())])?;
    let mut cyclonedx = Command::new(tool);
    cyclonedx
        .args(["cyclonedx", "--format", "json", "--spec-version", "1.5", "--no-build-deps", "--quiet"])
        .args(["--target", target.triple, "--manifest-path"])
        .arg(copy.join("Cargo.toml"))
        .current_dir(&copy)
        .env("SOURCE_DATE_EPOCH", sources.time.to_string());
    sources::output(&mut cyclonedx)?;
    let path = copy.join(format!("{NAME}.cdx.json"));
    let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
    let text = text.replace(&copy.display().to_string(), "/source");
    let missing = missing(&sources::json(&text, "cargo-cyclonedx")?, &tree(sources, target)?);
    if !missing.is_empty() {
        return Err(Error::new(format!("the bill of materials lacks {}", missing.join(", "))));
    }
    Ok(text.into_bytes())
}

/// Where the tool lies; it is built once.
fn tool() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    let cache = cache.ok_or_else(|| Error::new("there is no folder for what is kept: set XDG_CACHE_HOME"))?;
    let folder = cache.join(NAME).join(format!("cargo-cyclonedx-{TOOL}"));
    let tool = folder.join("bin/cargo-cyclonedx");
    if !tool.is_file() {
        let mut cargo = sources::cargo(Path::new("."));
        cargo
            .args(["install", "cargo-cyclonedx", "--locked", "--version", TOOL, "--root"])
            .arg(&folder)
            .env_remove("CARGO_TARGET_DIR");
        sources::output(&mut cargo)?;
    }
    Ok(tool)
}

/// Every package that is linked into the program, as `name version`.
fn tree(sources: &Sources, target: &Target) -> Result<BTreeSet<String>> {
    let mut cargo = sources::cargo(&sources.root);
    cargo.args(["tree", "--locked", "--package", NAME, "--edges", "normal", "--prefix", "none"]).args([
        "--format",
        "{p}",
        "--target",
        target.triple,
    ]);
    Ok(packages(&sources::output(&mut cargo)?))
}

/// The packages that cargo's tree prints, a line each, as `name version`; those of the program's own repository too.
pub fn packages(tree: &str) -> BTreeSet<String> {
    let package = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        Some(format!("{name} {version}"))
    };
    tree.lines().filter_map(package).collect()
}

/// The packages that a bill does not list.
pub fn missing(bill: &Value, packages: &BTreeSet<String>) -> Vec<String> {
    let named = |component: &Value| {
        Some(format!("{} {}", component["name"].as_str()?, component["version"].as_str()?))
    };
    let components = bill["components"].as_array().into_iter().flatten();
    let listed: BTreeSet<String> =
        components.chain([&bill["metadata"]["component"]]).filter_map(named).collect();
    packages.difference(&listed).cloned().collect()
}
