//! What is done with the repository beside building and testing it: its container image, all that a release hands out, and tests on other versions of Kubernetes.

pub mod archive;
pub mod bill;
pub mod compile;
pub mod dist;
pub mod error;
pub mod image;
pub mod kubernetes;
pub mod reproduce;
pub mod sources;
