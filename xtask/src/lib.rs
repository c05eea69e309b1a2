//! What is made of the repository beside the program: its container image, and all that a release hands out.

pub mod archive;
pub mod bill;
pub mod compile;
pub mod dist;
pub mod error;
pub mod image;
pub mod reproduce;
pub mod sources;
