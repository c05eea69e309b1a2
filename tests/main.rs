//! The one test binary: everything that is shown from outside the crate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

/// What the tests stand on.
mod support {
    pub mod adapter;
    pub mod calls;
    pub mod control_plane;
    pub mod looking;
    pub mod namespace;
    pub mod programs;
    pub mod proxy;
    pub mod templates;
}

/// A template in, YAML out.
mod translate;

/// On the real control plane, a namespace per test.
mod cluster {
    mod main_job;
    mod ownership;
    mod plane;
    mod refusals;
    mod round_trips;
    mod secrets;
    mod unbuilt;
    mod updates;
    mod watching;
}

/// The sandbox: beside the real API server, and as its callers use it.
mod sandbox {
    mod differential;
    mod life;
}
