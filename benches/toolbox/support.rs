//! The tests' toolbox for benches, in one list: what its parts need of each other is needed by every bench.

#![allow(dead_code, reason = "each bench uses a part")]

#[path = "../../tests/support/adapter.rs"]
pub mod adapter;
#[path = "../../tests/support/certificates.rs"]
pub mod certificates;
#[path = "../../tests/support/control_plane.rs"]
pub mod control_plane;
#[path = "../../tests/support/kubernetes.rs"]
pub mod kubernetes;
#[path = "../../tests/support/namespace.rs"]
pub mod namespace;
#[path = "../../tests/support/patience.rs"]
pub mod patience;
#[path = "../../tests/support/programs.rs"]
pub mod programs;
#[path = "../../tests/support/proxy.rs"]
pub mod proxy;
#[path = "../../tests/support/recipe.rs"]
pub mod recipe;
#[path = "../../tests/support/relay.rs"]
pub mod relay;
#[path = "../../tests/support/templates.rs"]
pub mod templates;
