//! The sources of a release: what the repository says of itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::error::{Error, Result, failed};

/// The name of the program and of its package.
pub const NAME: &str = "panamax-kubernetes-adapter";

/// How the variables begin that cargo sets for what it runs.
const TOLD: [&str; 3] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];

/// A checkout of the repository.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Where it lies.
    pub root: PathBuf,
    /// Where cargo builds.
    pub target: PathBuf,
    /// The program's version.
    pub version: String,
    /// The commit.
    pub commit: String,
    /// The time of everything that is made, in seconds: SOURCE_DATE_EPOCH, or else the commit's.
    pub time: u64,
}

impl Sources {
    /// Looks at a checkout. Fails if something in it is not committed, unless that is allowed.
    pub fn at(root: &Path, allow_dirty: bool) -> Result<Self> {
        let changed = git(root, &["status", "--porcelain"])?;
        if !changed.is_empty() && !allow_dirty {
            return Err(dirty(&changed));
        }
        let commit = git(root, &["rev-parse", "HEAD"])?;
        let of_commit = git(root, &["log", "-1", "--format=%ct"])?;
        let time = time(std::env::var("SOURCE_DATE_EPOCH").ok().as_deref(), &of_commit)?;
        let mut cargo = cargo(root);
        cargo.args(["metadata", "--locked", "--no-deps", "--format-version", "1"]);
        let metadata = json(&output(&mut cargo)?, "cargo metadata")?;
        let packages = metadata["packages"].as_array().into_iter().flatten();
        let version = packages
            .filter(|package| package["name"] == NAME)
            .find_map(|package| package["version"].as_str())
            .ok_or_else(|| Error::new(format!("{} has no package {NAME}", root.display())))?;
        let target = metadata["target_directory"].as_str().unwrap_or("target");
        Ok(Self {
            root: root.to_owned(),
            target: root.join(target),
            version: version.to_owned(),
            commit,
            time,
        })
    }
}

/// Says what is not committed, as `git status` lists it.
pub fn dirty(changed: &str) -> Error {
    // Two letters and a space say what was done to each.
    let files: Vec<&str> = changed.lines().take(5).filter_map(|line| line.get(3..)).collect();
    let more = changed.lines().count().saturating_sub(files.len());
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let files = files.join(", ");
    Error::new(format!(
        "what is not committed cannot be made again: {files}{more}; commit it, or say --allow-dirty to try"
    ))
}

/// The time of everything that is made: SOURCE_DATE_EPOCH where it is set, else the commit's.
pub fn time(epoch: Option<&str>, of_commit: &str) -> Result<u64> {
    let (name, text) = match epoch {
        Some(epoch) => ("SOURCE_DATE_EPOCH", epoch),
        None => ("the commit's time", of_commit),
    };
    text.parse().map_err(|_| Error::new(format!("{name} is no number of seconds: {text}")))
}

/// What git prints.
pub fn git(root: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(root).args(arguments);
    Ok(output(&mut command)?.trim_end().to_owned())
}

/// Cargo, in a checkout: the one that has started this program, if one has.
pub fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // What cargo has told this program of its own package would make it build others anew, which ask for it.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if TOLD.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
}

/// What a program prints; what it has to complain about goes to standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let name = Path::new(command.get_program()).to_owned();
    let output = command.stderr(Stdio::inherit()).output().map_err(failed("run", &name))?;
    if !output.status.success() {
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        return Err(Error::new(format!("`{} {}` has failed", name.display(), words.join(" "))));
    }
    String::from_utf8(output.stdout).map_err(|_| Error::new(format!("{} prints no text", name.display())))
}

/// Reads JSON that a program has printed.
pub fn json(text: &str, source: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| Error::new(format!("{source} prints no JSON: {error}")))
}
