//! Packs the program as a container image: one list of contents, and an OCI layout whose bytes depend on nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::archive::{self, File};
use crate::error::{Error, Result, failed};

/// Where the program lies in the image; its entry point.
pub const PROGRAM: &str = "/panamax-kubernetes-adapter";
/// Where the certificates of authorities lie in the image, and on Debian's and Alpine's machines.
pub const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Who the program runs as: nobody that the image or a node knows.
pub const USER: &str = "65532:65532";
/// The ports that the manifests in `deploy/` use: calls; metrics and probes.
pub const PORTS: [&str; 2] = ["50051/tcp", "9090/tcp"];

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
            return Err(Error::new(format!(
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

    /// The layer, of no time.
    fn layer(&self) -> Result<Vec<u8>> {
        let mut files = Vec::new();
        for entry in &self.0 {
            let bytes = fs::read(&entry.source).map_err(failed("read", &entry.source))?;
            files.push(File { path: entry.path.trim_start_matches('/').to_owned(), mode: entry.mode, bytes });
        }
        archive::tar(&files, 0)
    }
}

/// The shared libraries that a program names, the loader included; none of a static one.
fn libraries(binary: &Path) -> Result<Vec<String>> {
    let output = Command::new("ldd").arg(binary).output().map_err(failed("ask ldd about", binary))?;
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if errors.contains("not a dynamic executable") || text.contains("statically linked") {
        return Ok(Vec::new());
    }
    if !output.status.success() || text.contains("not found") {
        return Err(Error::new(format!("ldd does not know what {} needs: {errors}{text}", binary.display())));
    }
    let mut paths: Vec<String> =
        text.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect();
    paths.sort_unstable();
    paths.dedup();
    Ok(paths)
}

/// Makes a folder that holds nothing.
pub fn empty(folder: &Path) -> Result<()> {
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
                return Err(Error::new(format!(
                    "container images have no name for the architecture {other}"
                )));
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

    /// The files of its OCI layout.
    pub fn layout(&self) -> Vec<File> {
        let blobs = [&self.layer, &self.config, &self.manifest];
        let mut files: Vec<File> = blobs
            .into_iter()
            .map(|blob| {
                let name = digest(blob);
                File::new(format!("blobs/sha256/{}", name.trim_start_matches("sha256:")), blob.clone())
            })
            .collect();
        let manifest = descriptor("application/vnd.oci.image.manifest.v1+json", &self.manifest);
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        let layout = json!({ "imageLayoutVersion": "1.0.0" });
        files.push(File::new("index.json", index.to_string()));
        files.push(File::new("oci-layout", layout.to_string()));
        files
    }

    /// Writes it as an OCI layout.
    pub fn write(&self, folder: &Path) -> Result<()> {
        empty(folder)?;
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(failed("create", &blobs))?;
        for file in self.layout() {
            let path = folder.join(&file.path);
            fs::write(&path, file.bytes).map_err(failed("write", &path))?;
        }
        Ok(())
    }
}

fn descriptor(kind: &str, blob: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": digest(blob), "size": blob.len() })
}

/// The digest of bytes as images name it.
pub fn digest(blob: &[u8]) -> String {
    format!("sha256:{}", sha256(blob))
}

/// The SHA-256 of bytes in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
