//! The contract as the client's crate has it, and gRPC's health protocol.

pub use panamax_kubernetes_adapter_client::*;

/// gRPC's health protocol as an encoded `FileDescriptorSet`.
pub const HEALTH_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/health.bin"));

/// gRPC's health protocol.
#[allow(clippy::too_many_lines, reason = "the generator decides the shape")]
pub mod health {
    tonic::include_proto!("grpc.health.v1");
}
