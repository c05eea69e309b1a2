//! Two releases of one commit, made in two folders, byte beside byte.

use std::fs;
use std::path::Path;

use crate::archive::File;
use crate::dist::{self, Release};
use crate::error::{Error, Result, failed};
use crate::image::empty;
use crate::sources::{self, Sources};

/// The folders of the two checkouts: neither the names nor their lengths are the same.
const FOLDERS: [&str; 2] = ["one", "the-other/one"];

/// Makes a release of a commit twice, each time from nothing, and says in what they differ.
pub fn twice(sources: &Sources, authorities: &Path) -> Result<Release> {
    let folder = sources.target.join("reproduce");
    empty(&folder)?;
    let [one, other] = FOLDERS.map(|name| folder.join(name));
    let one = once(sources, authorities, &one)?;
    let other = once(sources, authorities, &other)?;
    let differences = differences(&one.files, &other.files);
    if !differences.is_empty() {
        // What was made stays there to be looked at.
        return Err(Error::new(differences.join("\n")));
    }
    fs::remove_dir_all(&folder).map_err(failed("delete", &folder))?;
    Ok(one)
}

/// Makes a release in a fresh checkout.
fn once(sources: &Sources, authorities: &Path, root: &Path) -> Result<Release> {
    let (from, to) = (sources.root.display().to_string(), root.display().to_string());
    sources::git(&sources.root, &["clone", "--quiet", "--no-checkout", &from, &to])?;
    sources::git(root, &["checkout", "--quiet", "--detach", &sources.commit])?;
    let copy = Sources { target: root.join("target"), ..Sources::at(root, false)? };
    let release = dist::make(&copy, authorities)?;
    release.write(&copy.target.join("dist"))?;
    Ok(release)
}

/// In what two sets of files differ.
pub fn differences(one: &[File], other: &[File]) -> Vec<String> {
    let named = |files: &[File], path: &str| files.iter().find(|file| file.path == path).cloned();
    let mut differences = Vec::new();
    for file in one {
        let Some(twin) = named(other, &file.path) else {
            differences.push(format!("{} is made once only", file.path));
            continue;
        };
        let place = file.bytes.iter().zip(&twin.bytes).position(|(one, other)| one != other);
        let shorter = file.bytes.len().min(twin.bytes.len());
        let place = place.or_else(|| (file.bytes.len() != twin.bytes.len()).then_some(shorter));
        if let Some(place) = place {
            differences.push(format!("{} differs from byte {place} on", file.path));
        }
    }
    let extra = other.iter().filter(|file| named(one, &file.path).is_none());
    differences.extend(extra.map(|file| format!("{} is made once only", file.path)));
    differences
}
