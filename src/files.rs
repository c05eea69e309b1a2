//! A file of settings: a regular one, or a link to one, of bounded size, opened without waiting for anybody.

use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// The most bytes of a file of settings: 1 MiB.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// Why a file was not read: what stands behind its name in a sentence. It quotes nothing of its content.
#[derive(Debug)]
pub enum Unread {
    /// The system does not let it be read, or there is none.
    Io(io::Error),
    /// A pipe, a device, a socket or a folder: who opens or reads it may wait for ever, or never come to its end.
    NotRegular,
    /// It has more bytes than are read.
    TooLarge(u64),
}

impl fmt::Display for Unread {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) if error.kind() == ErrorKind::NotFound => {
                formatter.write_str("cannot be read: there is no such file")
            }
            Self::Io(error) => write!(formatter, "cannot be read: {error}"),
            Self::NotRegular => {
                formatter.write_str("is no regular file: pipes, devices and folders are not read")
            }
            Self::TooLarge(most) => write!(formatter, "is larger than {} MiB", most / MAX_BYTES),
        }
    }
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Opens a file that may have so many bytes.
///
/// Fails unless it is a regular file within them, or a link to one, as Kubernetes mounts them.
fn opened(path: &Path, most: u64) -> Result<(File, Metadata), Unread> {
    // Of a pipe without a writer, opening waits for one.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Unread::NotRegular);
    }
    if metadata.len() > most { Err(Unread::TooLarge(most)) } else { Ok((file, metadata)) }
}

/// Reads a file of settings whole, with what the system says of it.
pub fn read(path: &Path) -> Result<(Vec<u8>, Metadata), Unread> {
    let (file, metadata) = opened(path, MAX_BYTES)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES { Err(Unread::TooLarge(MAX_BYTES)) } else { Ok((bytes, metadata)) }
}

/// Checks a file that a library reads by its name: fails unless it can be read to its end, which is within so many bytes.
pub fn check(path: &Path, most: u64) -> Result<(), Unread> {
    opened(path, most).map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn folder() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("panamax-files-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn only_regular_files_within_their_bound_are_read_and_nothing_is_waited_for() {
        let folder = folder();
        let (file, link, pipe) = (folder.join("file"), folder.join("link"), folder.join("pipe"));
        std::fs::write(&file, "text").unwrap();
        let _ = std::fs::remove_file(&link);
        symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            assert_eq!(read(path).unwrap().0, b"text", "{}", path.display());
        }
        let _ = std::fs::remove_file(&pipe);
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        for path in [&pipe, &folder, Path::new("/dev/zero"), Path::new("/dev/null")] {
            assert!(matches!(read(path), Err(Unread::NotRegular)), "{}", path.display());
            assert!(matches!(check(path, 1), Err(Unread::NotRegular)), "{}", path.display());
        }
        assert!(matches!(check(&file, 3), Err(Unread::TooLarge(3))) && check(&file, 4).is_ok());
        let large = folder.join("large");
        std::fs::write(&large, vec![b'a'; MAX_BYTES as usize + 1]).unwrap();
        assert_eq!(read(&large).unwrap_err().to_string(), "is larger than 1 MiB");
        let absent = read(&folder.join("absent")).unwrap_err().to_string();
        assert_eq!(absent, "cannot be read: there is no such file");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
