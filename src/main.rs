//! Starts the adapter.
fn main() {}
