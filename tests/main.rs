//! The only test binary; each module is a stair of ARCHITECTURE.md's tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod translate;
