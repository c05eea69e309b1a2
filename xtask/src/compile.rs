//! Builds the program for others: static, optimised, and without a word of where it was built.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::error::{Error, Result, failed};
use crate::sources::{self, NAME, Sources};

/// A kind of machine that the program is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name for rustc.
    pub triple: &'static str,
    /// The architecture as Rust calls it.
    pub architecture: &'static str,
    /// What links for it on a machine of another kind, and compiles C.
    compiler: &'static str,
}

/// All kinds of machines that the program is built for.
pub const TARGETS: [Target; 2] = [
    Target { triple: "x86_64-unknown-linux-gnu", architecture: "x86_64", compiler: "x86_64-linux-gnu-gcc" },
    Target {
        triple: "aarch64-unknown-linux-gnu",
        architecture: "aarch64",
        compiler: "aarch64-linux-gnu-gcc",
    },
];

impl Target {
    /// Whether this machine is of the kind, and runs what is built for it.
    pub fn is_here(&self) -> bool {
        std::env::consts::ARCH == self.architecture
    }

    /// What this machine lacks to build for the kind; nothing, if it can.
    pub fn lacks(&self) -> Result<Option<String>> {
        let mut rustc = Command::new("rustc");
        rustc.args(["--print", "target-libdir", "--target", self.triple]);
        let libraries = sources::output(&mut rustc)?;
        let has_compiler = self.is_here() || is_on_path(self.compiler);
        Ok(lacking(self, Path::new(libraries.trim()).is_dir(), has_compiler))
    }
}

/// What is lacking, in words that say what to install.
pub fn lacking(target: &Target, has_library: bool, has_compiler: bool) -> Option<String> {
    let mut lacks = Vec::new();
    if !has_library {
        lacks.push(format!("Rust's library (rustup target add {})", target.triple));
    }
    if !has_compiler {
        lacks.push(format!("a linker ({})", target.compiler));
    }
    (!lacks.is_empty()).then(|| format!("{} for want of {}", target.triple, lacks.join(" and ")))
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// What was built.
#[derive(Debug)]
pub struct Built {
    /// The program.
    pub program: PathBuf,
    /// The contract's descriptor set, as the program carries it.
    pub descriptors: PathBuf,
}

/// Builds the program.
pub fn build(sources: &Sources, target: &Target) -> Result<Built> {
    let folders = folders(sources)?;
    let mut cargo = sources::cargo(&sources.root);
    cargo
        .args(["build", "--locked", "--release", "--package", NAME, "--bin", NAME])
        .args(["--target", target.triple, "--message-format", "json-render-diagnostics"])
        .env("CARGO_TARGET_DIR", &sources.target)
        .env("SOURCE_DATE_EPOCH", sources.time.to_string())
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(&folders))
        .env(format!("CFLAGS_{}", target.triple.replace('-', "_")), c_flags(&folders));
    if !target.is_here() {
        let variable = target.triple.replace('-', "_").to_uppercase();
        cargo.env(format!("CARGO_TARGET_{variable}_LINKER"), target.compiler);
    }
    let messages = sources::output(&mut cargo)?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str(line).ok());
    let messages: Vec<Value> = messages.collect();
    built(&messages)
}

/// What cargo's messages say was built.
pub fn built(messages: &[Value]) -> Result<Built> {
    let program = messages
        .iter()
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == NAME)
        .find_map(|message| message["executable"].as_str());
    let is_client = |message: &&Value| {
        message["reason"] == "build-script-executed"
            && message["package_id"].as_str().is_some_and(|id| id.contains(&format!("#{NAME}-client@")))
    };
    let generated = messages.iter().find(is_client).and_then(|message| message["out_dir"].as_str());
    match (program, generated) {
        (Some(program), Some(generated)) => Ok(Built {
            program: PathBuf::from(program),
            descriptors: Path::new(generated).join("descriptor.bin"),
        }),
        _ => Err(Error::new("cargo does not say where it has put the program and the descriptor set")),
    }
}

/// Folders of this machine, with what stands for them in what is built.
type Folders = Vec<(PathBuf, &'static str)>;

fn folders(sources: &Sources) -> Result<Folders> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let home = home.ok_or_else(|| Error::new("there is no home folder of cargo: set CARGO_HOME"))?;
    let root = sources.root.canonicalize().map_err(failed("find", &sources.root))?;
    Ok(vec![(home, "/cargo"), (sources.target.clone(), "/target"), (root, "/source")])
}

/// Flags of rustc: a static program, and no folder of this machine in it. The last one that fits a path counts.
pub fn rust_flags(folders: &[(PathBuf, &'static str)]) -> OsString {
    let mut flags = OsString::from("-Ctarget-feature=+crt-static");
    for (folder, name) in folders.iter().rev() {
        flags.push("\u{1f}--remap-path-prefix=");
        flags.push(folder);
        flags.push("=");
        flags.push(name);
    }
    flags
}

/// Flags of the C compiler for the libraries that have C in them.
pub fn c_flags(folders: &[(PathBuf, &'static str)]) -> OsString {
    let mut flags = OsString::new();
    for (folder, name) in folders.iter().rev() {
        flags.push("-ffile-prefix-map=");
        flags.push(folder);
        flags.push("=");
        flags.push(name);
        flags.push(" ");
    }
    flags
}
