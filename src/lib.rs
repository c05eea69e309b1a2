//! Deploys Panamax templates to Kubernetes; the modules stand in the order a request walks through them.

pub mod artifacts;
pub mod cluster;
pub mod diagnostic;
pub mod error;
pub mod proto;
pub mod status;
