//! Wire to domain: the wrong fields of a request, all of them before it is refused.

use crate::artifacts::NameError;
use crate::error::{Error, Fault, Result};

/// The wrong fields of a request, as they are found.
#[derive(Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.0.push(Fault::field(field, description));
    }

    /// The value, or the fault of its field.
    pub(super) fn take<T>(&mut self, field: &str, value: std::result::Result<T, NameError>) -> Option<T> {
        value.map_err(|error| self.add(field, error.to_string())).ok()
    }

    /// The request, if nothing is wrong with it; `decoded` is whole exactly then.
    pub(super) fn finish<T>(self, decoded: Option<T>) -> Result<T> {
        match decoded {
            Some(decoded) if self.0.is_empty() => Ok(decoded),
            _ => Err(Error::fields(self.0)),
        }
    }
}

/// An enum's number as its type; the zero and every named value are known, anything else is a fault.
pub(super) fn enumeration<E: TryFrom<i32> + Default>(number: i32, field: &str, faults: &mut Faults) -> E {
    E::try_from(number).unwrap_or_else(|_| {
        faults.add(field, format!("has no value {number}"));
        E::default()
    })
}
