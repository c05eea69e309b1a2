//! Calls panamax-kubernetes-adapter over gRPC: the generated client, the messages, and the contract's descriptor set.
#![doc = ""]
#![doc = include_str!("../README.md")]

mod codec;
mod redacted;

pub use generated::*;
/// The version of tonic whose channels, requests and statuses the client has.
pub use tonic;
/// Reads the details of a refusal: [`StatusExt`](tonic_types::StatusExt) gives the fields at fault, and when to try again.
pub use tonic_types;

use tonic_types::StatusExt;

/// The contract as an encoded `FileDescriptorSet`, imports and comments included; reflection serves it.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

/// The domain of every reason in an ErrorInfo.
pub const ERROR_DOMAIN: &str = "panamax.kubernetes.v1";

#[allow(clippy::large_enum_variant, clippy::too_many_lines, reason = "the generator decides the shape")]
mod generated {
    tonic::include_proto!("panamax.kubernetes.v1");
}

/// Why the adapter has refused a call.
///
/// There is none if somebody else has answered, or if the adapter is newer and the reason is not known here: then the
/// status' code decides.
///
/// ```
/// use panamax_kubernetes_adapter_client::tonic::{Code, Status};
/// use panamax_kubernetes_adapter_client::tonic_types::{ErrorDetails, StatusExt};
/// use panamax_kubernetes_adapter_client::{ERROR_DOMAIN, ErrorReason, reason};
///
/// let details = ErrorDetails::with_error_info("DEPLOYMENT_NOT_FOUND", ERROR_DOMAIN, []);
/// let status = Status::with_error_details(Code::NotFound, "there is no deployment \"wp\"", details);
/// assert_eq!(reason(&status), Some(ErrorReason::DeploymentNotFound));
///
/// assert_eq!(reason(&Status::unavailable("a proxy has no upstream")), None);
/// ```
pub fn reason(status: &tonic::Status) -> Option<ErrorReason> {
    let info = status.get_details_error_info().filter(|info| info.domain == ERROR_DOMAIN)?;
    ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason))
}
