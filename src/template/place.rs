//! Where a part of a template was written: for findings, and no part of what the template says.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// The path of an entry, as `images[0].ports[1]` or `override.images[0].ports[0]`.
///
/// Two places are always equal, so that a template equals another that says the same in another place.
///
/// ```
/// use panamax_kubernetes_adapter::template::Place;
/// assert_eq!(Place::from("images[0].ports[1]".to_owned()), Place::from("images[0].ports[0]".to_owned()));
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Place(String);

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

impl Deref for Place {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<String> for Place {
    fn from(path: String) -> Self {
        Self(path)
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.0
    }
}

impl Place {
    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The path, or another if there is none.
    pub fn or(&self, other: impl FnOnce() -> String) -> String {
        if self.0.is_empty() { other() } else { self.0.clone() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
