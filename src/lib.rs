//! Deploys Panamax templates to Kubernetes; the modules are listed in the order in which a request walks through them.

pub mod cli;
pub mod config;
pub mod server;
pub mod start;
pub mod telemetry;

pub mod proto;

pub mod grpc;
pub mod rest;

pub mod operations;

pub mod callers;

mod plan;

mod engine;

pub mod facts;
pub mod template;

pub mod translate;

pub mod artifacts;

pub mod record;

pub mod cluster;

pub mod status;

pub mod clock;
pub mod diagnostic;
pub mod error;
mod files;
pub mod metrics;
/// The API server in memory, a package of its own.
pub use panamax_kubernetes_sandbox as sandbox;
