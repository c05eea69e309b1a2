//! Volumes of an image, its own and those of other images.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::{accept, boolean, check_text, check_visible};
use super::raw::RawVolume;
use super::{Fault, Place};
use crate::diagnostic::{Code, Findings};

/// The most volumes of one image.
pub const MAX_VOLUMES: usize = 32;
/// The longest path: Linux's PATH_MAX.
const MAX_PATH: usize = 4_096;

/// One entry of `volumes`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The path on the host, as written; empty when the template names none.
    pub host_path: String,
    /// The absolute path in the container, in its plain form: one slash between parts, none at the end.
    pub container_path: String,
    /// Whether nothing may be written there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Where it was written, as `images[0].volumes[1]`.
    pub field: Place,
}

impl fmt::Debug for Volume {
    /// Shows the place alone: a path may hold a value that was put there by mistake.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Volume").field("field", &self.field).finish_non_exhaustive()
    }
}

/// One entry of `volumes_from`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    /// Which image of the template lends its volumes.
    pub target: usize,
    /// Whether nothing may be written to what it lends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Where it was written, as `images[0].volumes_from[1]`.
    pub field: Place,
}

/// Checks `volumes`.
pub(super) fn check(raw: Vec<RawVolume>, image: &str, findings: &mut Findings) -> Vec<Volume> {
    if raw.len() > MAX_VOLUMES {
        let message = format!("more than {MAX_VOLUMES} volumes");
        findings.report(Code::LimitExceeded, format!("{image}.volumes"), message);
    }
    let mut volumes: Vec<Volume> = Vec::with_capacity(raw.len());
    for (index, entry) in raw.into_iter().enumerate().take(MAX_VOLUMES) {
        let field = entry.field.unwrap_or_else(|| format!("{image}.volumes[{index}]"));
        let (path, mode) = split_mode(&entry.container_path);
        let container = accept(check_container_path(path), || format!("{field}.container_path"), findings);
        let (host_path, host_mode) = split_mode(&entry.host_path);
        let host = accept(check_host_path(host_path), || format!("{field}.host_path"), findings);
        let read_only = boolean(&entry.read_only.value);
        let read_only =
            accept(read_only, || entry.read_only.place(|| format!("{field}.read_only")), findings);
        let (Some(()), Some(()), Some(read_only)) = (container, host, read_only) else { continue };
        if !path.starts_with('/') {
            let message = "the path in the container is relative; the volume was left out";
            findings.report(Code::VolumePathRelative, format!("{field}.container_path"), message);
            continue;
        }
        let container_path = plain(path);
        if volumes.iter().any(|known| known.container_path == container_path) {
            let message = "another volume of this image has the same path in the container";
            findings.report(Code::VolumeRepeated, format!("{field}.container_path"), message);
            continue;
        }
        let read_only = read_only == Some(true) || [mode, host_mode].contains(&Some(Mode::ReadOnly));
        volumes.push(Volume {
            host_path: host_path.to_owned(),
            container_path,
            read_only,
            field: field.into(),
        });
    }
    volumes
}

/// What Docker's mode behind a path or a name says about writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// `:ro`.
    ReadOnly,
    /// Any other, as `:rw` and `:z`.
    Writable,
}

/// What Docker takes behind a path beside `ro`; on a cluster it has no meaning.
const OTHER_MODES: &[&str] = &[
    "rw",
    "z",
    "Z",
    "cached",
    "consistent",
    "delegated",
    "nocopy",
    "private",
    "rprivate",
    "rshared",
    "rslave",
    "shared",
    "slave",
];

/// A path or a name, and the mode behind its last `:` if that is one of Docker's.
pub(super) fn split_mode(text: &str) -> (&str, Option<Mode>) {
    let Some((path, modes)) = text.rsplit_once(':') else { return (text, None) };
    let known = |mode: &str| mode == "ro" || OTHER_MODES.contains(&mode);
    if !modes.split(',').all(known) {
        return (text, None);
    }
    let read_only = modes.split(',').any(|mode| mode == "ro");
    (path, Some(if read_only { Mode::ReadOnly } else { Mode::Writable }))
}

fn check_path(path: &str) -> Result<(), Fault> {
    check_length(path)?;
    check_visible(path, "the path")
}

fn check_length(path: &str) -> Result<(), Fault> {
    if path.len() > MAX_PATH {
        return Err(Fault::new(Code::LimitExceeded, format!("the path is longer than {MAX_PATH} bytes")));
    }
    check_text(path)
}

/// Docker takes `host:container:mode` in one text, in which no path has a `:` of its own.
fn one_path(path: &str, message: &'static str) -> Result<(), Fault> {
    if !path.contains(':') {
        return Ok(());
    }
    let advice =
        "write host_path and container_path as keys of their own; of modes, `:ro` may stand behind the path";
    Err(Fault::new(Code::VolumePath, message).advising(advice))
}

fn check_host_path(path: &str) -> Result<(), Fault> {
    check_path(path)?;
    one_path(path, "the path on the host has a `:` in it")
}

fn check_container_path(path: &str) -> Result<(), Fault> {
    check_path(path)?;
    if path.is_empty() {
        return Err(Fault::new(Code::VolumePath, "the path in the container is missing"));
    }
    one_path(path, "the path in the container has a `:` in it")?;
    if path.split('/').any(|part| part == "..") {
        return Err(Fault::new(Code::VolumePath, "the path in the container has `..` in it"));
    }
    if path.starts_with('/') && belongs_to_the_runtime(&plain(path)) {
        let message =
            "the container runtime needs this path itself: nothing can be mounted at /, at /dev or in /proc";
        return Err(Fault::new(Code::VolumePath, message));
    }
    Ok(())
}

/// A path without what changes nothing: doubled slashes, a slash at the end, parts that are `.`.
pub fn plain(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        if path.starts_with('/') || !plain.is_empty() {
            plain.push('/');
        }
        plain.push_str(part);
    }
    if plain.is_empty() && path.starts_with('/') { "/".to_owned() } else { plain }
}

/// Whether a container cannot start with a volume there; single files below /dev, as /dev/shm, are usual.
fn belongs_to_the_runtime(plain: &str) -> bool {
    matches!(plain, "/" | "/dev" | "/proc") || plain.starts_with("/proc/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(paths: &[(&str, &str)]) -> (usize, Vec<(Code, String)>) {
        let mut findings = Findings::default();
        let raw = paths
            .iter()
            .map(|(host, container)| RawVolume {
                host_path: (*host).into(),
                container_path: (*container).into(),
                ..RawVolume::default()
            })
            .collect();
        let volumes = check(raw, "images[0]", &mut findings);
        (volumes.len(), findings.into_vec().into_iter().map(|found| (found.code, found.field)).collect())
    }

    #[test]
    fn paths_are_absolute_and_plain() {
        for path in ["", "/a/../b", "/a:b", "/a:ro:rw:x", ".."] {
            let found = run(&[("/host", path)]).1;
            assert_eq!(found, [(Code::VolumePath, "images[0].volumes[0].container_path".into())], "{path}");
        }
        assert_eq!(run(&[("", "/a\0b")]).1[0].0, Code::ControlCharacter);
        assert_eq!(run(&[("", "/data"), ("/var/run/docker.sock", "/tmp/docker.sock")]), (2, vec![]));
    }

    #[test]
    fn a_mode_behind_the_path_says_whether_it_is_written_to() {
        for (path, read_only) in [
            ("/x", false),
            ("/x:ro", true),
            ("/x:rw", false),
            ("/x:z,ro", true),
            ("/x:Z", false),
            ("/x:cached", false),
        ] {
            let raw = RawVolume { container_path: path.into(), ..RawVolume::default() };
            let volumes = check(vec![raw], "images[0]", &mut Findings::default());
            assert_eq!(
                (volumes[0].container_path.as_str(), volumes[0].read_only),
                ("/x", read_only),
                "{path}"
            );
        }
        let raw = RawVolume { container_path: "/x".into(), read_only: "true".into(), ..RawVolume::default() };
        assert!(check(vec![raw], "images[0]", &mut Findings::default())[0].read_only);
    }

    #[test]
    fn nothing_in_a_path_is_hidden() {
        for path in ["/data\u{a0}", "/da\u{200b}ta"] {
            assert_eq!(run(&[("", path)]).1[0].0, Code::InvisibleCharacter);
            assert_eq!(
                run(&[(path, "/data")]).1,
                [(Code::InvisibleCharacter, "images[0].volumes[0].host_path".into())]
            );
        }
        assert_eq!(run(&[("/a b", "/a b")]).1, []);
    }

    #[test]
    fn the_runtimes_own_paths_are_refused_however_written() {
        for path in ["/", "//", "/./", "/proc", "/proc/", "/proc/self/fd", "/dev", "//dev/."] {
            let found = run(&[("", path)]).1;
            assert_eq!(found, [(Code::VolumePath, "images[0].volumes[0].container_path".into())], "{path}");
        }
        assert_eq!(run(&[("", "/dev/shm"), ("", "/procedures"), ("", "/sys/fs/cgroup/")]), (3, vec![]));
    }

    #[test]
    fn paths_are_kept_plain() {
        for (written, kept) in [
            ("/data//x/.", "/data/x"),
            ("/", "/"),
            ("/a/", "/a"),
            ("a//b", "a/b"),
            ("./", ""),
            ("/..a", "/..a"),
        ] {
            assert_eq!(plain(written), kept, "{written}");
        }
    }

    #[test]
    fn a_relative_path_is_left_out() {
        let found = run(&[("", "data_container")]);
        assert_eq!(
            found,
            (0, vec![(Code::VolumePathRelative, "images[0].volumes[0].container_path".into())])
        );
    }

    #[test]
    fn one_path_is_mounted_once() {
        let found = run(&[("/a", "/data"), ("/b", "//data/./")]);
        assert_eq!(found, (1, vec![(Code::VolumeRepeated, "images[0].volumes[1].container_path".into())]));
    }

    #[test]
    fn the_limit_is_32() {
        let paths: Vec<_> = (0..33).map(|index| format!("/data{index}")).collect();
        let paths: Vec<_> = paths.iter().map(|path| ("", path.as_str())).collect();
        assert_eq!(run(&paths).1, [(Code::LimitExceeded, "images[0].volumes".into())]);
    }
}
