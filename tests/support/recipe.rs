//! The recipe of the tests' control plane: where it is, where things are built by it, and what is said meanwhile.

use std::io::Write;
use std::path::{Path, PathBuf};

/// The folder with the control plane's recipe.
pub fn recipe() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/control-plane")
}

/// Says something on the terminal at once; what the macros print would be held back by the test runner.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "control plane: {line}");
}

/// Where everything is built; outside `target/`, so that `cargo clean` does not cost a long build.
pub fn cache() -> Result<PathBuf, String> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    variable("XDG_CACHE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("panamax-kubernetes-adapter/control-plane"))
        .ok_or_else(|| "the control plane needs a cache folder: set HOME or XDG_CACHE_HOME".to_owned())
}
