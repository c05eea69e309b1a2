//! Describes one request to change an object.
use super::store::Key;

/// One request to change an object.
pub struct Call {
    pub key: Key,
    pub manager: String,
    pub dry_run: bool,
    pub force: bool,
}

impl Call {
    /// What the sandbox itself writes.
    pub fn own(key: Key) -> Self {
        Self { key, manager: "sandbox".to_owned(), dry_run: false, force: false }
    }
}
