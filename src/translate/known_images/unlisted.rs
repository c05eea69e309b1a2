//! Images of the public templates that have no line in the table, each with the reason.

use serde::Deserialize;

/// An image without a line.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Entry")]
pub struct Unlisted {
    /// The name of its repository.
    pub repository: &'static str,
    /// Why it has no line.
    pub reason: Reason,
}

/// Why an image has no line.
#[derive(Debug, PartialEq, Eq)]
pub enum Reason {
    /// It has no port, no data directory and no user by number, as these sources say.
    ExposesNothing(Vec<&'static str>),
    /// Its Dockerfile was not found in the repositories that this phrase names.
    NotFound(&'static str),
}

/// An entry as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    repository: &'static str,
    why: Why,
    #[serde(borrow, default)]
    sources: Vec<&'static str>,
    #[serde(default)]
    looked: &'static str,
}

#[derive(Deserialize)]
enum Why {
    #[serde(rename = "exposes nothing")]
    ExposesNothing,
    #[serde(rename = "not found")]
    NotFound,
}

impl TryFrom<Entry> for Unlisted {
    type Error = String;

    fn try_from(entry: Entry) -> Result<Self, Self::Error> {
        let Entry { repository, why, sources, looked } = entry;
        let (has_sources, has_looked) = (!sources.is_empty(), !looked.trim().is_empty());
        let reason = match why {
            Why::ExposesNothing if has_sources && !has_looked => Reason::ExposesNothing(sources),
            Why::NotFound if has_looked && !has_sources => Reason::NotFound(looked),
            Why::ExposesNothing => {
                return Err(format!("{repository} exposes nothing: `sources` alone say so"));
            }
            Why::NotFound => return Err(format!("{repository} was not found: `looked` alone says where")),
        };
        Ok(Self { repository, reason })
    }
}
