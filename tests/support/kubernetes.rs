//! Makes the Go module that another Kubernetes than the tests' own is built from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::recipe::{cache, recipe, tell};

/// Names another Kubernetes, as `1.29` or `1.29.15`.
pub const VARIABLE: &str = "CONTROL_PLANE_KUBERNETES";
/// The programs that a control plane and a node consist of.
const PROGRAMS: [&str; 6] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet", "kube-proxy"];

/// A Kubernetes that is not the tests' own.
pub struct Other {
    /// As in `1.29.15`.
    pub version: String,
    /// The folder of its module, where its programs are built, too.
    pub folder: PathBuf,
}

/// The Kubernetes that [`VARIABLE`] names; none if it names none, or the tests' own.
pub fn other() -> Result<Option<Other>, String> {
    let Some(asked) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) else { return Ok(None) };
    let asked = asked.to_string_lossy();
    let own = own_version()?;
    let version = find(&asked, &own, &known()?)?;
    if version == own {
        return Ok(None);
    }
    let folder = cache()?.join(format!("kubernetes-v{version}"));
    Ok(Some(Other { version, folder }))
}

/// The version that is meant: of a minor version, the patch that is known.
fn find(asked: &str, own: &str, known: &[String]) -> Result<String, String> {
    let asked = asked.trim_start_matches('v');
    let is_meant = |version: &&str| {
        *version == asked || asked.contains('.') && version.starts_with(&format!("{asked}."))
    };
    let mut all = known.iter().map(String::as_str).chain([own]);
    if let Some(version) = all.find(is_meant) {
        return Ok(version.to_owned());
    }
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match *asked.split('.').collect::<Vec<_>>() {
        ["1", minor, patch] if is_number(minor) && is_number(patch) => Ok(asked.to_owned()),
        _ => Err(format!(
            "{VARIABLE} is {asked}; name a whole version, as 1.29.15, or one of {}",
            known.iter().map(String::as_str).chain([own]).collect::<Vec<_>>().join(", ")
        )),
    }
}

/// The version of Kubernetes that `go.mod` names.
pub fn own_version() -> Result<String, String> {
    let path = recipe().join("go.mod");
    let text = read(&path)?;
    let version = text.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes v"));
    let version = version.and_then(|rest| rest.split(' ').next());
    version.map(str::to_owned).ok_or_else(|| format!("{} names no k8s.io/kubernetes", path.display()))
}

/// The versions whose checksums are here.
pub fn known() -> Result<Vec<String>, String> {
    let folder = recipe().join("versions");
    let failed = |error| format!("cannot read {}: {error}", folder.display());
    let names = fs::read_dir(&folder).map_err(failed)?.map(|entry| entry.map(|entry| entry.file_name()));
    let names = names.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let mut versions: Vec<String> =
        names.iter().filter_map(|name| Some(name.to_str()?.strip_suffix(".sum")?.to_owned())).collect();
    versions.sort();
    Ok(versions)
}

impl Other {
    /// Writes its module: what it was released with, since that is what its own `go.mod` says.
    ///
    /// Its staging modules, which lie in folders beside it there, are taken as they were published.
    pub fn write(&self) -> Result<(), String> {
        fs::create_dir_all(&self.folder)
            .map_err(|error| format!("cannot create {}: {error}", self.folder.display()))?;
        let published = self.download()?;
        let module = module(&read(&published.join("go.mod"))?, &self.version);
        write(&self.folder.join("go.mod"), &module)?;
        let libraries = read(&published.join("go.sum"))?;
        let (here, path) = (self.folder.join("go.sum"), self.checksums());
        if !path.exists() {
            write(&here, &libraries)?;
            self.ask_for_checksums()?;
            let all = read(&here)?;
            let is_own = |line: &&str| !libraries.lines().any(|known| known == *line);
            let own: String = all.lines().filter(is_own).flat_map(|line| [line, "\n"]).collect();
            write(&path, &own)?;
            tell(&format!("{} is new: keep it, so that the next build is held to it", path.display()));
        }
        write(&here, &format!("{libraries}{}", read(&path)?))
    }

    /// Lets go complete `go.sum` by what its checksum database says of all programs.
    fn ask_for_checksums(&self) -> Result<(), String> {
        let output = Command::new("go")
            .args(["list", "-mod=mod", "-deps"])
            .args(PROGRAMS.map(|program| format!("k8s.io/kubernetes/cmd/{program}")))
            .current_dir(&self.folder)
            .env("GOWORK", "off")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot run go: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(format!("go cannot list Kubernetes: {said}")) }
    }

    fn checksums(&self) -> PathBuf {
        recipe().join("versions").join(format!("{}.sum", self.version))
    }

    /// The folder of the published module, which holds no staging modules and no libraries.
    fn download(&self) -> Result<PathBuf, String> {
        let output = Command::new("go")
            .args(["mod", "download", "-json", &format!("k8s.io/kubernetes@v{}", self.version)])
            // Outside of every module, so that no `go.mod` is asked or changed.
            .current_dir(cache()?)
            .env("GOWORK", "off")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot run go: {error}"))?;
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let folder = answer["Dir"].as_str().map(PathBuf::from);
        folder.ok_or_else(|| {
            let reason = answer["Error"].as_str().unwrap_or_default();
            let said = String::from_utf8_lossy(&output.stderr);
            format!("go cannot download Kubernetes {}: {reason}{said}", self.version)
        })
    }
}

/// The published `go.mod` as that of a module which uses what it describes.
fn module(published: &str, version: &str) -> String {
    let staging = format!(" v0.{}", version.trim_start_matches("1."));
    let mut text = String::new();
    for line in published.lines() {
        if line.starts_with("module ") {
            text += "module kubernetes\n";
        } else if let Some((module, path)) = line.split_once("=> ./staging/src/") {
            text.extend([module, "=> ", path, &staging, "\n"]);
        } else {
            text.extend([line, "\n"]);
        }
    }
    text + &format!("\nrequire k8s.io/kubernetes v{version}\n")
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

#[test]
fn a_minor_version_means_the_patch_that_is_known() {
    let known = ["1.29.15".to_owned(), "1.33.13".to_owned()];
    let found = |asked: &str| find(asked, "1.37.2", &known);
    assert_eq!(found("1.29").as_deref(), Ok("1.29.15"));
    assert_eq!(found("v1.33.13").as_deref(), Ok("1.33.13"));
    assert_eq!(found("1.37").as_deref(), Ok("1.37.2"));
    assert_eq!(found("1.31.4").as_deref(), Ok("1.31.4"), "a whole version need not be known");
    for unclear in ["1.3", "1.2", "1", "2.29.15", "1.31.x", "latest", "1.31."] {
        let error = found(unclear).expect_err("no version");
        assert!(error.contains("1.29.15, 1.33.13, 1.37.2"), "{error}");
    }
}

#[test]
fn staging_modules_are_taken_as_published() {
    let published = "module k8s.io/kubernetes\n\ngo 1.21\n\nrequire (\n\tk8s.io/api v0.0.0\n)\n\nreplace (\n\
                     \tk8s.io/api => ./staging/src/k8s.io/api\n)\n";
    let wanted = "module kubernetes\n\ngo 1.21\n\nrequire (\n\tk8s.io/api v0.0.0\n)\n\nreplace (\n\
                  \tk8s.io/api => k8s.io/api v0.29.15\n)\n\nrequire k8s.io/kubernetes v1.29.15\n";
    assert_eq!(module(published, "1.29.15"), wanted);
}
