//! Why a task has failed.

use std::fmt;
use std::path::Path;

/// Says why something has not been made.
#[derive(Debug)]
pub struct Error(String);

impl Error {
    /// Says it in these words.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// What a task makes, or why it does not.
pub type Result<T> = std::result::Result<T, Error>;

/// What could not be done to a file.
pub fn failed(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let text = format!("cannot {what} {}", path.display());
    move |error| Error(format!("{text}: {error}"))
}
