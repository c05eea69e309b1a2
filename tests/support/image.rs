//! The adapter's own image, for the node's registry.

use std::fs;
use std::path::{Path, PathBuf};

pub use xtask::image::{CA_BUNDLE, Contents, Image, PORTS, PROGRAM, USER};

/// Names another program for the image, as a release has it: a static one.
const OTHER: &str = "IMAGE_PROGRAM";

/// The folder with the image's layout, made anew from the program under test.
///
/// That is no static program, so its libraries come along; with one that [`OTHER`] names nothing does.
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
    let ours = env!("CARGO_BIN_EXE_panamax-kubernetes-adapter");
    let contents = match std::env::var_os(OTHER) {
        Some(program) => Contents::collect(Path::new(&program), &authorities, false)?,
        None => Contents::collect(Path::new(ours), &authorities, true)?,
    };
    Ok(Image::of(&contents, std::env::consts::ARCH)?.write(layout)?)
}
