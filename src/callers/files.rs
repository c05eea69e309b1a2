//! A file of lines that is read at the start, and again whenever it changes.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{error, info};

use crate::files;

pub use crate::files::Unusable;

/// The wrong lines of a file that are told.
const TOLD: usize = 10;

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
    file: files::Followed<T>,
}

impl<T> Followed<T> {
    pub(super) fn read(path: &Path, form: Form<T>) -> Result<Self, Unusable> {
        let file = files::Followed::read(vec![path.to_owned()], || load(path, &form))?;
        Ok(Self { path: path.to_owned(), form, file })
    }

    /// What it says now.
    pub(super) fn now(&self) -> Arc<T> {
        self.file.now()
    }

    /// Reads it again if it has changed.
    pub(super) fn look(&self) {
        match self.file.look(|| load(&self.path, &self.form)) {
            Some(Ok(())) => info!("{} read again", self.form.what),
            Some(Err(why)) => {
                error!(why, "new {} cannot be used yet; the ones before stay in force", self.form.what);
            }
            None => {}
        }
    }
}

fn load<T>(path: &Path, form: &Form<T>) -> Result<T, Unusable> {
    let unusable = |what: &str| format!("{} {what}", path.display());
    let (bytes, metadata) = files::read(path).map_err(|why| unusable(&why.to_string()))?;
    let (mode, why) = form.open;
    if metadata.mode() & mode != 0 {
        return Err(unusable(why));
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
