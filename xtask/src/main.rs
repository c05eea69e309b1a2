//! What is done with this repository beside building and testing it: `cargo xtask help` lists it.

mod image;
mod kubernetes;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use image::{CA_BUNDLE, Contents, Image};

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

fn run(task: Task) -> Result<String, Box<dyn Error>> {
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
        Task::Kubernetes { versions } => Ok(kubernetes::run(versions)?.join("\n")),
    }
}

fn contents(files: &Files) -> Result<Contents, image::Error> {
    Contents::collect(&files.binary, &files.ca_bundle, files.with_libraries)
}

#[allow(clippy::print_stderr, reason = "this is what a command says")]
fn tell(line: &str) {
    eprintln!("{line}");
}
