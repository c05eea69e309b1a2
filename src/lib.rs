//! Deploys Panamax templates to Kubernetes.
pub mod sandbox;
