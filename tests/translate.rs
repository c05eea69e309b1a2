//! Golden pairs: a template in, its findings and manifests out; `UPDATE=1 cargo test` rewrites the outputs.

mod goldens;
