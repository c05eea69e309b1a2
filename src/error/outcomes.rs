//! What becomes of an operation that failed in part, as an error; the first failure decides the code.

use super::{Error, ErrorKind};

impl Error {
    /// The failure of an update that is not whole: its cause stays the one that decides the code. Without `objects`, no
    /// write has failed.
    fn of_update(self, objects: String) -> Self {
        let cause = self.kind();
        let mut error = if objects.is_empty() { self } else { self.with("objects", objects) };
        error.0.cause = Some(cause);
        error.0.kind = ErrorKind::ApplyIncomplete;
        error
    }

    /// An update that wrote some objects and failed at others.
    #[must_use]
    pub fn incomplete(first: Error, objects: String) -> Self {
        first.prefixed("not every object was written; the next Deploy repairs it: ").of_update(objects)
    }

    /// A Scale that has set some counts and failed at others: no Deploy knows what was asked for.
    #[must_use]
    pub fn scaled_in_part(first: Error, done: String) -> Self {
        first.prefixed("not every count was set; the same Scale again sets the others: ").of_update(done)
    }

    /// Something that is to go as a whole and could not all be deleted.
    #[must_use]
    pub fn left(first: Error, objects: &str) -> Self {
        let mut error = first.with("objects", objects);
        error.0.message = format!("these could not be deleted, and the adapter goes on trying: {objects}");
        error
    }

    /// An update that wrote everything and could not delete what the template no longer has.
    #[must_use]
    pub fn not_deleted(first: Error, objects: String) -> Self {
        let prefix = format!("everything was written, but these could not be deleted: {objects}; ");
        first.prefixed(&prefix).of_update(objects)
    }

    /// An update that failed and was taken back to the revision of this number.
    #[must_use]
    pub fn rolled_back(first: Error, objects: String, number: u32) -> Self {
        let prefix = format!("the update failed and was rolled back to revision {number}: ");
        first.prefixed(&prefix).of_update(objects).with("rolled_back_to", number.to_string())
    }

    /// An update that failed, as did putting the revision of this number back.
    #[must_use]
    pub fn not_rolled_back(first: Error, objects: String, number: u32, why: &Error) -> Self {
        let text = format!("; going back to revision {number} did not succeed either: {}", why.message());
        let error = first.prefixed("the update failed; ").followed(&text);
        error.because(why.context().join("; ")).of_update(objects)
    }
}
