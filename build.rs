//! Turns gRPC's health protocol under `third_party/` into Rust and into the descriptor set that reflection serves.

use std::error::Error;
use std::path::PathBuf;

/// The contracts of others, as they publish them.
const THIRD_PARTY: &str = "third_party";

const HEALTH: &str = "grpc/health/v1/health.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={THIRD_PARTY}");

    let mut compiler = protox::Compiler::new([THIRD_PARTY])?;
    compiler.include_source_info(true);
    compiler.open_file(HEALTH)?;
    let out_dir = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out_dir.join("health.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure().compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
