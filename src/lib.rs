//! Deploys Panamax templates to Kubernetes.
