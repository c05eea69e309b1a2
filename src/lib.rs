//! Deploys Panamax templates to Kubernetes; the modules stand in the order a request walks through them.

pub mod artifacts;
pub mod diagnostic;
pub mod template;
pub mod translate;
