//! A file of lines that is read at the start, and again whenever it changes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use tracing::{error, info};

use crate::files::{self, Unread};

/// The wrong lines of a file that are told.
const TOLD: usize = 10;

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

/// Which versions of a file are known.
struct Known {
    /// The one that was read, or that no later try could read otherwise.
    read: Version,
    /// The one of which it was told that it cannot be read now.
    told: Option<Version>,
}

/// Why a file was not read.
enum Failure {
    /// It may be read the next time, though nobody writes it: the file system has failed, or its mode is changed.
    Passing(Unusable),
    /// It says what cannot be used.
    Lasting(Unusable),
}

impl Failure {
    fn into_text(self) -> Unusable {
        match self {
            Failure::Passing(why) | Failure::Lasting(why) => why,
        }
    }
}

/// What a file says; what was last read well stays in force.
pub(super) struct Followed<T> {
    path: PathBuf,
    form: Form<T>,
    known: Mutex<Known>,
    now: RwLock<Arc<T>>,
}

impl<T> Followed<T> {
    pub(super) fn read(path: &Path, form: Form<T>) -> Result<Self, Unusable> {
        let known = Mutex::new(Known { read: version(path), told: None });
        let now = RwLock::new(Arc::new(load(path, &form).map_err(Failure::into_text)?));
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
        if known.read == seen {
            return;
        }
        match load(&self.path, &self.form) {
            Ok(new) => {
                *known = Known { read: seen, told: None };
                *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                info!("{} read again", self.form.what);
            }
            Err(Failure::Lasting(why)) => {
                *known = Known { read: seen, told: None };
                error!(why, "new {} cannot be used; the ones before stay in force", self.form.what);
            }
            // A caller may have been taken out of it: it is tried until it is read, and told once.
            Err(Failure::Passing(why)) => {
                if known.told.replace(seen) != Some(seen) {
                    error!(why, "new {} cannot be read yet; the ones before stay in force", self.form.what);
                }
            }
        }
    }
}

fn version(path: &Path) -> Version {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()?, metadata.ino()))
}

fn load<T>(path: &Path, form: &Form<T>) -> Result<T, Failure> {
    let text = |what: &str| format!("{} {what}", path.display());
    let unusable = |what: &str| Failure::Lasting(text(what));
    let (bytes, metadata) = files::read(path).map_err(|why| match why {
        Unread::TooLarge(_) => unusable(&why.to_string()),
        Unread::Io(_) | Unread::NotRegular => Failure::Passing(text(&why.to_string())),
    })?;
    let (mode, why) = form.open;
    if metadata.mode() & mode != 0 {
        return Err(Failure::Passing(text(why)));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| unusable("is not UTF-8"))?;
    // It would be a piece of the first name, which nobody sees.
    if text.starts_with('\u{feff}') {
        return Err(unusable("begins with a byte order mark; save it as UTF-8 without one"));
    }
    (form.parse)(text).map_err(|why| unusable(&why))
}

/// What every line says that says something, or which lines are wrong, with what is wrong in each.
pub(super) fn all<T>(
    text: &str,
    mut read: impl FnMut(&[&str]) -> Result<T, String>,
) -> Result<Vec<T>, Unusable> {
    let (mut said, mut wrong) = (Vec::new(), Vec::new());
    for (number, words) in lines(text) {
        match read(&words) {
            Ok(one) => said.push(one),
            Err(what) => wrong.push(format!("in line {number}: {what}")),
        }
    }
    if wrong.is_empty() {
        return Ok(said);
    }
    let more = wrong.len().saturating_sub(TOLD);
    wrong.truncate(TOLD);
    let more = if more > 0 { format!("; and in {more} more") } else { String::new() };
    Err(format!("is wrong {}{more}", wrong.join("; ")))
}

/// The lines that say something, each with its number and its words.
fn lines(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    let lines = text.lines().enumerate();
    let lines = lines.map(|(index, line)| (index + 1, line.split_whitespace().collect::<Vec<_>>()));
    lines.filter(|(_, words)| words.first().is_some_and(|word| !word.starts_with('#')))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const FORM: Form<String> = Form {
        what: "words",
        open: (0o006, "is open"),
        parse: |text| if text.contains("bad") { Err("is bad".to_owned()) } else { Ok(text.to_owned()) },
    };

    #[test]
    fn what_could_not_be_read_is_read_as_soon_as_it_can_be() {
        let path = std::env::temp_dir().join(format!("panamax-followed-{}", std::process::id()));
        let mode = |mode: u32| fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        fs::write(&path, "one").unwrap();
        mode(0o600);
        let followed = Followed::read(&path, FORM).unwrap();
        // Revoked, in a file that cannot be used yet.
        fs::write(&path, "another").unwrap();
        mode(0o644);
        followed.look();
        assert_eq!(*followed.now(), "one");
        // Nobody writes it, so nothing of its version changes.
        mode(0o600);
        followed.look();
        assert_eq!(*followed.now(), "another");
        fs::write(&path, "bad words").unwrap();
        followed.look();
        assert_eq!(*followed.now(), "another");
        fs::remove_file(&path).unwrap();
        followed.look();
        assert_eq!(*followed.now(), "another");
        fs::create_dir(&path).unwrap();
        followed.look();
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "at last").unwrap();
        mode(0o600);
        followed.look();
        assert_eq!(*followed.now(), "at last");
        fs::remove_file(&path).unwrap();
    }
}
