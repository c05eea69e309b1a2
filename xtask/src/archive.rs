//! Archives whose bytes depend on nothing but the files in them and one time.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use flate2::{Compression, GzBuilder};

use crate::error::{Result, failed};

/// One file of an archive.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path in the archive, relative and with slashes.
    pub path: String,
    /// What may be done with it, as `0o644`.
    pub mode: u32,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl File {
    /// A file that everybody may read.
    pub fn new(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), mode: 0o644, bytes: bytes.into() }
    }

    /// A file that everybody may run.
    pub fn program(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), mode: 0o755, bytes: bytes.into() }
    }
}

/// Packs files: sorted, nobody's, all of one time in seconds; a directory before what it holds.
pub fn tar(files: &[File], time: u64) -> Result<Vec<u8>> {
    let mut sorted: Vec<&File> = files.iter().collect();
    sorted.sort_by(|one, other| one.path.cmp(&other.path));
    let mut archive = tar::Builder::new(Vec::new());
    let mut made = BTreeSet::new();
    for file in sorted {
        let path = Path::new(&file.path);
        let folders: Vec<&Path> = path.ancestors().skip(1).filter(|path| *path != Path::new("")).collect();
        for folder in folders.into_iter().rev().filter(|folder| made.insert(folder.to_path_buf())) {
            append(&mut archive, folder, tar::EntryType::Directory, 0o755, time, &[])?;
        }
        append(&mut archive, path, tar::EntryType::Regular, file.mode, time, &file.bytes)?;
    }
    archive.into_inner().map_err(failed("pack", Path::new("an archive")))
}

fn append(
    archive: &mut tar::Builder<Vec<u8>>,
    path: &Path,
    kind: tar::EntryType,
    mode: u32,
    time: u64,
    bytes: &[u8],
) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(time);
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, path, bytes).map_err(failed("pack", path))
}

/// Compresses without a name and a time.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut writer = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    let packed = writer.write_all(bytes).and_then(|()| writer.finish());
    packed.map_err(failed("compress", Path::new("an archive")))
}
