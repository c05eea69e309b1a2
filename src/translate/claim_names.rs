//! What volumes and claims are called: a path as a few digits.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::Context;
use super::mountable::normalised;
use super::naming::object_name;
use crate::artifacts::ObjectName;

/// How many bytes of a path's hash represent it in names.
const SHORT: usize = 4;
/// How many do where the short ones of two paths are alike.
const LONG: usize = 16;

/// The digits that represent a path in names.
fn hash(path: &str, bytes: usize) -> String {
    Sha256::digest(path.as_bytes()).iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

/// The digits of each path: few, but where those of two paths are alike many.
pub(super) fn digits<'p>(paths: impl Iterator<Item = &'p str>) -> BTreeMap<&'p str, String> {
    let mut digits: BTreeMap<&str, String> = paths.map(|path| (path, hash(path, SHORT))).collect();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for short in digits.values() {
        *counts.entry(short.clone()).or_default() += 1;
    }
    for (path, short) in &mut digits {
        if counts[short.as_str()] > 1 {
            *short = hash(path, LONG);
        }
    }
    digits
}

/// The name of an image's claim for each path: those of its volumes, and those that it declares beside them.
pub(super) fn of(context: &Context<'_>, index: usize, declared: &[&str]) -> BTreeMap<String, ObjectName> {
    let volumes = &context.template.images[index].volumes;
    let paths: Vec<String> = volumes.iter().map(|volume| normalised(&volume.container_path)).collect();
    let paths = || paths.iter().map(String::as_str);
    let mut names = digits(paths().chain(declared.iter().copied()));
    // What the image declares does not change the names of claims that the template makes.
    names.extend(digits(paths()));
    let named = names.into_iter();
    let named = named.map(|(path, digits)| (path.to_owned(), format!("{}-{digits}", context.names[index])));
    named.filter_map(|(path, name)| Some((path, object_name(name)?))).collect()
}
