//! Deploys Panamax templates to Kubernetes.

pub mod proto;
