//! The only test binary; each module is a stair of ARCHITECTURE.md's tests.

mod translate;
