//! What is done with this repository beside building and testing it: `cargo xtask help` lists it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use xtask::dist;
use xtask::error::Result;
use xtask::image::{CA_BUNDLE, Contents, Image};
use xtask::kubernetes;
use xtask::reproduce;
use xtask::sources::Sources;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "What is done with this repository beside building and testing it.")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Writes a container image as an OCI layout, without a container runtime: the same bytes from the same files.
    Image {
        #[command(flatten)]
        files: Files,
        /// The folder to write; what is in it is replaced.
        #[arg(long)]
        out: PathBuf,
    },
    /// Writes the root directory of the image as a folder, for `deploy/Containerfile`.
    Root {
        #[command(flatten)]
        files: Files,
        /// The folder to write; what is in it is replaced.
        #[arg(long)]
        out: PathBuf,
    },
    /// Makes all that a release hands out: programs, images, contract, bills of materials, digests.
    Dist {
        /// The folder to write; what is in it is replaced [default: dist, where cargo builds].
        #[arg(long)]
        out: Option<PathBuf>,
        /// Takes a tree in which not everything is committed: for trying, not for release.
        #[arg(long)]
        allow_dirty: bool,
        /// The certificates of the authorities that the images trust.
        #[arg(long, default_value = CA_BUNDLE)]
        ca_bundle: PathBuf,
    },
    /// Makes a release twice, in two folders and from nothing, and fails if a byte differs.
    Reproduce {
        /// The certificates of the authorities that the images trust.
        #[arg(long, default_value = CA_BUNDLE)]
        ca_bundle: PathBuf,
    },
    /// Runs the tests that hold on every Kubernetes on the versions that docs/versions.md names, one after another.
    Kubernetes {
        /// Only these, as 1.29 or 1.29.15.
        versions: Vec<String>,
    },
}

#[derive(clap::Args)]
struct Files {
    /// The program: a static one, as `docs/in-cluster.md` says how to build it.
    #[arg(long)]
    binary: PathBuf,
    /// The certificates of the authorities that the image trusts.
    #[arg(long, default_value = CA_BUNDLE)]
    ca_bundle: PathBuf,
    /// Takes a program that needs shared libraries, and adds those of this machine: for trying an image, not for release.
    #[arg(long)]
    with_libraries: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.task) {
        Ok(line) => {
            tell(&line);
            ExitCode::SUCCESS
        }
        Err(error) => {
            tell(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<String> {
    match task {
        Task::Image { files, out } => {
            let image = Image::of(&contents(&files)?, std::env::consts::ARCH)?;
            image.write(&out)?;
            Ok(format!("{} in {}", image.digest(), out.display()))
        }
        Task::Root { files, out } => {
            let contents = contents(&files)?;
            contents.write(&out)?;
            let paths: Vec<&str> = contents.paths().collect();
            Ok(format!("{} in {}", paths.join(", "), out.display()))
        }
        Task::Dist { out, allow_dirty, ca_bundle } => {
            let sources = Sources::at(root(), allow_dirty)?;
            let release = dist::make(&sources, &ca_bundle)?;
            let out = out.unwrap_or_else(|| sources.target.join("dist"));
            release.write(&out)?;
            Ok(format!("{}\nin {}", release.told(), out.display()))
        }
        Task::Reproduce { ca_bundle } => {
            let release = reproduce::twice(&Sources::at(root(), false)?, &ca_bundle)?;
            Ok(format!("{}\ntwice, with the same bytes", release.told()))
        }
        Task::Kubernetes { versions } => Ok(kubernetes::run(root(), versions)?.join("\n")),
    }
}

/// The repository.
fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

fn contents(files: &Files) -> Result<Contents> {
    Contents::collect(&files.binary, &files.ca_bundle, files.with_libraries)
}

#[allow(clippy::print_stderr, reason = "this is what a command says")]
fn tell(line: &str) {
    eprintln!("{line}");
}
