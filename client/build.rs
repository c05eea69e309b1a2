//! Turns the contract under `proto/` into Rust and into the descriptor set that reflection serves.

use std::error::Error;
use std::path::{Path, PathBuf};

const ROOT: &str = "proto";

const PACKAGE: &str = "panamax.kubernetes.v1";

/// The messages that carry values of variables or texts that hold them, with the oneofs inside.
///
/// They get no derived Debug; `src/redacted.rs` has one for each that leaves the values out.
const REDACTED: [&str; 12] = [
    "DeployRequest",
    "Environment",
    "FieldChange",
    "Image",
    "PlanDeployRequest",
    "PlanDeployResponse",
    "Template",
    "TranslateTemplateRequest",
    "TranslateTemplateResponse",
    "TranslatedObject",
    "ValidateTemplateRequest",
    "ValidateTemplateResponse",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={ROOT}");

    let mut compiler = protox::Compiler::new([ROOT])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(contract()?)?;

    let out_dir = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out_dir.join("descriptor.bin"), compiler.encode_file_descriptor_set())?;

    tonic_prost_build::configure()
        // In order, so that the same request has the same bytes.
        .btree_map(".")
        .codec_path("crate::codec::Codec")
        .skip_debug(REDACTED.map(|message| format!(".{PACKAGE}.{message}")))
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// Lists the files of the contract, in a fixed order.
fn contract() -> std::io::Result<Vec<PathBuf>> {
    let directory = Path::new(ROOT).join(PACKAGE.replace('.', "/"));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
