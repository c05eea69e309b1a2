//! A file of lines that is read at the start, and again whenever it changes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use tracing::{error, info};

/// The most bytes of a file.
const MAX_FILE: u64 = 1024 * 1024;

/// Why a file cannot be used: one sentence, which quotes nothing of its content.
pub type Unusable = String;

/// Which version of a file was read.
type Version = Option<(u64, SystemTime, u64)>;

/// How a file's text is read; who may read or write the file is said by its mode.
pub(super) struct Form<T> {
    /// What the file is called in messages.
    pub(super) what: &'static str,
    /// The bits of the mode that nobody may have, and what is wrong where somebody has.
    pub(super) open: (u32, &'static str),
    /// Reads the text.
    pub(super) parse: fn(&str) -> Result<T, Unusable>,
}

/// What a file says; what was last read well stays in force.
pub(super) struct Followed<T> {
    path: PathBuf,
    form: Form<T>,
    known: Mutex<Version>,
    now: RwLock<Arc<T>>,
}

impl<T> Followed<T> {
    pub(super) fn read(path: &Path, form: Form<T>) -> Result<Self, Unusable> {
        let known = Mutex::new(version(path));
        let now = RwLock::new(Arc::new(load(path, &form)?));
        Ok(Self { path: path.to_owned(), form, known, now })
    }

    /// What it says now.
    pub(super) fn now(&self) -> Arc<T> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads it again if it has changed.
    pub(super) fn look(&self) {
        let seen = version(&self.path);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == seen {
            return;
        }
        *known = seen;
        match load(&self.path, &self.form) {
            Ok(new) => {
                *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                info!("{} read again", self.form.what);
            }
            Err(why) => error!(why, "new {} cannot be used; the ones before stay in force", self.form.what),
        }
    }
}

fn version(path: &Path) -> Version {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()?, metadata.ino()))
}

fn load<T>(path: &Path, form: &Form<T>) -> Result<T, Unusable> {
    let unusable = |what: &str| format!("{} {what}", path.display());
    let cannot = |error: std::io::Error| unusable(&format!("cannot be read: {error}"));
    let metadata = fs::metadata(path).map_err(cannot)?;
    if metadata.len() > MAX_FILE {
        return Err(unusable("is larger than 1 MiB"));
    }
    let (mode, why) = form.open;
    if metadata.mode() & mode != 0 {
        return Err(unusable(why));
    }
    let bytes = fs::read(path).map_err(cannot)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| unusable("is not UTF-8"))?;
    (form.parse)(text).map_err(|why| unusable(&why))
}

/// The lines that say something, each with its number and its words.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    let lines = text.lines().enumerate();
    let lines = lines.map(|(index, line)| (index + 1, line.split_whitespace().collect::<Vec<_>>()));
    lines.filter(|(_, words)| words.first().is_some_and(|word| !word.starts_with('#')))
}
