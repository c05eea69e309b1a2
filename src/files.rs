//! A file of settings: a regular one, or a link to one, of bounded size, opened without waiting for anybody; and what some say.

use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

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

/// Why files cannot be used: one sentence, which quotes nothing of their content.
pub type Unusable = String;

/// Which versions of files were looked at.
type Versions = Vec<Option<(u64, SystemTime, u64)>>;

/// What files say together; what was last read well stays in force.
pub struct Followed<T> {
    paths: Vec<PathBuf>,
    known: Mutex<Known>,
    now: RwLock<Arc<T>>,
}

/// Which versions of files are known.
struct Known {
    /// Those that were read well.
    read: Versions,
    /// Those of which it was told that they cannot be used, and why.
    told: Option<(Versions, Unusable)>,
}

impl<T> Followed<T> {
    /// Reads the files for the first time.
    pub fn read(paths: Vec<PathBuf>, read: impl FnOnce() -> Result<T, Unusable>) -> Result<Self, Unusable> {
        let known = Mutex::new(Known { read: versions(&paths), told: None });
        Ok(Self { paths, known, now: RwLock::new(Arc::new(read()?)) })
    }

    /// What they say now.
    pub fn now(&self) -> Arc<T> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the files again if they have changed; says what is to be told of it.
    ///
    /// What cannot be used is tried at every look: a mode, the time or the file system may change, and nobody writes the
    /// files. It is told once.
    pub fn look(&self, read: impl FnOnce() -> Result<T, Unusable>) -> Option<Result<(), Unusable>> {
        let seen = versions(&self.paths);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.read == seen {
            return None;
        }
        match read() {
            Ok(new) => {
                *known = Known { read: seen, told: None };
                *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                Some(Ok(()))
            }
            Err(why) => {
                let told = Some((seen, why.clone()));
                let is_new = known.told != told;
                known.told = told;
                is_new.then_some(Err(why))
            }
        }
    }
}

fn versions(paths: &[PathBuf]) -> Versions {
    let version = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.len(), metadata.modified().ok()?, metadata.ino()))
    };
    paths.iter().map(version).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

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

    #[test]
    fn what_could_not_be_used_is_taken_as_soon_as_it_can_be_and_told_once() {
        let path = std::env::temp_dir().join(format!("panamax-followed-{}", std::process::id()));
        let mode = |mode: u32| fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        // What it says, unless everybody may read it.
        let text = || {
            let (bytes, metadata) = read(&path).map_err(|why| why.to_string())?;
            if metadata.mode() & 0o004 != 0 {
                return Err("is open".to_owned());
            }
            Ok(String::from_utf8(bytes).unwrap())
        };
        fs::write(&path, "one").unwrap();
        mode(0o600);
        let followed = Followed::read(vec![path.clone()], text).unwrap();
        assert_eq!(followed.look(text), None);
        fs::write(&path, "another").unwrap();
        mode(0o644);
        assert_eq!(followed.look(text), Some(Err("is open".to_owned())));
        assert_eq!((followed.look(text), followed.now().as_str()), (None, "one"));
        // Nobody writes it, so nothing of its version changes.
        mode(0o600);
        assert_eq!((followed.look(text), followed.now().as_str()), (Some(Ok(())), "another"));
        // Nor does it where only the time passes.
        let bad = || Err("is not valid yet".to_owned());
        fs::write(&path, "later").unwrap();
        assert_eq!((followed.look(bad), followed.look(bad)), (Some(bad().map(drop)), None));
        assert_eq!((followed.look(text), followed.now().as_str()), (Some(Ok(())), "later"));
        // Another reason is told, and so is the same one of another file.
        fs::remove_file(&path).unwrap();
        assert!(followed.look(text).is_some_and(|told| told.unwrap_err().contains("no such file")));
        fs::create_dir(&path).unwrap();
        assert!(followed.look(text).is_some_and(|told| told.unwrap_err().contains("no regular file")));
        assert_eq!(followed.look(text), None);
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "at last").unwrap();
        mode(0o600);
        assert_eq!((followed.look(text), followed.now().as_str()), (Some(Ok(())), "at last"));
        fs::remove_file(&path).unwrap();
    }
}
