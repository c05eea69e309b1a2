//! Turns gRPC's health protocol and the table of known images into what the binary holds of them.
//!
//! The protocol, under `third_party/`, becomes Rust and the descriptor set that reflection serves. The table, which people
//! write as YAML, becomes JSON, which is read without copies.

use std::error::Error;
use std::path::{Path, PathBuf};

/// The contracts of others, as they publish them.
const THIRD_PARTY: &str = "third_party";

const HEALTH: &str = "grpc/health/v1/health.proto";

const KNOWN_IMAGES: &str = "src/translate/known_images/images.yaml";

fn main() -> Result<(), Box<dyn Error>> {
    let out_dir = PathBuf::from(std::env::var("OUT_DIR")?);
    health(&out_dir)?;
    known_images(&out_dir)
}

fn health(out_dir: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={THIRD_PARTY}");
    let mut compiler = protox::Compiler::new([THIRD_PARTY])?;
    compiler.include_source_info(true);
    compiler.open_file(HEALTH)?;
    std::fs::write(out_dir.join("health.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure().compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

fn known_images(out_dir: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={KNOWN_IMAGES}");
    let table: serde_json::Value = serde_saphyr::from_str(&std::fs::read_to_string(KNOWN_IMAGES)?)?;
    std::fs::write(out_dir.join("known-images.json"), serde_json::to_vec(&table)?)?;
    Ok(())
}
