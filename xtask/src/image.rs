//! Packs the program as a container image: one list of contents, and an OCI layout whose bytes depend on nothing else.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Where the program lies in the image; its entry point.
pub const PROGRAM: &str = "/panamax-kubernetes-adapter";
/// Where the certificates of authorities lie in the image, and on Debian's and Alpine's machines.
pub const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Who the program runs as: nobody that the image or a node knows.
pub const USER: &str = "65532:65532";
/// The ports that the manifests in `deploy/` use: calls; metrics and probes.
pub const PORTS: [&str; 2] = ["50051/tcp", "9090/tcp"];

/// Says why there is no image.
#[derive(Debug)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

type Result<T> = std::result::Result<T, Error>;

fn failed(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let text = format!("cannot {what} {}", path.display());
    move |error| Error(format!("{text}: {error}"))
}

/// One file of the image.
struct Entry {
    /// Its path in the image.
    path: String,
    /// Where its bytes are taken from.
    source: PathBuf,
    mode: u32,
}

/// Everything in the image.
pub struct Contents(Vec<Entry>);

impl Contents {
    /// The program and the certificates; the libraries of a program that is not static only where they are asked for.
    pub fn collect(binary: &Path, ca_bundle: &Path, with_libraries: bool) -> Result<Self> {
        let libraries = libraries(binary)?;
        if !libraries.is_empty() && !with_libraries {
            return Err(Error(format!(
                "{} needs {} shared libraries, and the image has none; build it with \
                 RUSTFLAGS='-C target-feature=+crt-static' and --target",
                binary.display(),
                libraries.len()
            )));
        }
        let mut entries = vec![
            Entry { path: PROGRAM.to_owned(), source: binary.to_owned(), mode: 0o755 },
            Entry { path: CA_BUNDLE.to_owned(), source: ca_bundle.to_owned(), mode: 0o644 },
        ];
        entries.extend(libraries.into_iter().map(|path| {
            let source = PathBuf::from(&path);
            Entry { path, source, mode: 0o755 }
        }));
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(Self(entries))
    }

    /// The paths of all files of the image, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|entry| entry.path.as_str())
    }

    /// Writes them below a folder.
    pub fn write(&self, root: &Path) -> Result<()> {
        empty(root)?;
        for entry in &self.0 {
            let path = root.join(entry.path.trim_start_matches('/'));
            let folder = path.parent().unwrap_or(root);
            fs::create_dir_all(folder).map_err(failed("create", folder))?;
            fs::copy(&entry.source, &path).map_err(failed("copy", &entry.source))?;
        }
        Ok(())
    }

    /// The layer: no owner, no time, sorted; a directory before what it holds.
    fn layer(&self) -> Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut made = std::collections::BTreeSet::new();
        for entry in &self.0 {
            let path = Path::new(entry.path.trim_start_matches('/'));
            let folders: Vec<&Path> =
                path.ancestors().skip(1).filter(|path| *path != Path::new("")).collect();
            for folder in folders.into_iter().rev().filter(|folder| made.insert(folder.to_path_buf())) {
                append(&mut archive, folder, tar::EntryType::Directory, 0o755, &[])?;
            }
            let bytes = fs::read(&entry.source).map_err(failed("read", &entry.source))?;
            append(&mut archive, path, tar::EntryType::Regular, entry.mode, &bytes)?;
        }
        archive.into_inner().map_err(failed("pack", Path::new(PROGRAM)))
    }
}

fn append(
    archive: &mut tar::Builder<Vec<u8>>,
    path: &Path,
    kind: tar::EntryType,
    mode: u32,
    bytes: &[u8],
) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, path, bytes).map_err(failed("pack", path))
}

/// The shared libraries that a program names, the loader included; none of a static one.
fn libraries(binary: &Path) -> Result<Vec<String>> {
    let output = Command::new("ldd").arg(binary).output().map_err(failed("ask ldd about", binary))?;
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if errors.contains("not a dynamic executable") || text.contains("statically linked") {
        return Ok(Vec::new());
    }
    if !output.status.success() || text.contains("not found") {
        return Err(Error(format!("ldd does not know what {} needs: {errors}{text}", binary.display())));
    }
    let mut paths: Vec<String> =
        text.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect();
    paths.sort_unstable();
    paths.dedup();
    Ok(paths)
}

/// Makes a folder that holds nothing.
fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(failed("replace", folder))?;
    }
    fs::create_dir_all(folder).map_err(failed("create", folder))
}

/// An image: a layer, its configuration and its manifest.
pub struct Image {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

impl Image {
    /// Packs contents for an architecture as Rust calls it.
    pub fn of(contents: &Contents, architecture: &str) -> Result<Self> {
        let architecture = match architecture {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => {
                return Err(Error(format!("container images have no name for the architecture {other}")));
            }
        };
        let layer = contents.layer()?;
        let ports: serde_json::Map<String, Value> =
            PORTS.iter().map(|port| ((*port).to_owned(), json!({}))).collect();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": { "User": USER, "Entrypoint": [PROGRAM], "ExposedPorts": ports },
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        });
        Ok(Self { layer, config, manifest: manifest.to_string().into_bytes() })
    }

    /// What the image is referred to by.
    pub fn digest(&self) -> String {
        digest(&self.manifest)
    }

    /// Writes it as an OCI layout.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let blobs = folder.join("blobs/sha256");
        empty(folder)?;
        fs::create_dir_all(&blobs).map_err(failed("create", &blobs))?;
        for blob in [&self.layer, &self.config, &self.manifest] {
            let path = blobs.join(digest(blob).trim_start_matches("sha256:"));
            fs::write(&path, blob).map_err(failed("write", &path))?;
        }
        let manifest = descriptor("application/vnd.oci.image.manifest.v1+json", &self.manifest);
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        let layout = json!({ "imageLayoutVersion": "1.0.0" });
        for (name, text) in [("index.json", index), ("oci-layout", layout)] {
            let path = folder.join(name);
            fs::write(&path, text.to_string()).map_err(failed("write", &path))?;
        }
        Ok(())
    }
}

fn descriptor(kind: &str, blob: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": digest(blob), "size": blob.len() })
}

fn digest(blob: &[u8]) -> String {
    let bytes = Sha256::digest(blob);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
