//! The one test binary: everything that is shown from outside the crate.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

/// What the tests stand on.
mod support {
    pub mod adapter;
    pub mod calls;
    pub mod control_plane;
    pub mod namespace;
    pub mod patience;
    pub mod programs;
    pub mod relay;
    pub mod survey;
    pub mod templates;
}

/// A template in, YAML out.
mod translate;

/// On the real control plane, a namespace per test.
mod cluster {
    mod crashes;
    mod lifecycle;
    mod main_job;
    mod plane;
    mod portable;
    mod races;
    mod templates;
}
