//! The adapter's own image, for the node's registry.

use std::fs;
use std::path::{Path, PathBuf};

pub use xtask::image::{CA_BUNDLE, Contents, Image, PORTS, PROGRAM, USER};

/// The folder with the image's layout, made anew from the program under test.
///
/// That is no static program, so its libraries come along.
pub fn packed() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
    write(&folder.join("panamax-kubernetes-adapter")).map_err(|error| error.to_string())?;
    Ok(folder)
}

fn write(layout: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut authorities = PathBuf::from(CA_BUNDLE);
    if !authorities.exists() {
        // Nothing in the tests calls anybody whose certificate is public.
        authorities = Path::new(env!("CARGO_TARGET_TMPDIR")).join("authorities.crt");
        fs::write(&authorities, "")?;
    }
    let program = Path::new(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter"));
    let contents = Contents::collect(program, &authorities, true)?;
    Ok(Image::of(&contents, std::env::consts::ARCH)?.write(layout)?)
}
