//! Domain: a Panamax template, valid by construction.

mod command;
mod environment;
mod image;
mod links;
mod names;
pub mod overrides;
mod path;
mod place;
mod ports;
pub mod raw;
pub mod validate;
mod volumes;

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use command::{Command, Ending, ending};
pub use environment::{
    MAX_TOTAL as MAX_ENVIRONMENT_BYTES, MAX_VALUE, MAX_VARIABLES, Variable, VariableName, open_part,
};
pub use image::{Count, Image, ImageName, ImageReference};
pub use links::{Alias, Link, MAX_LINKS};
pub use names::{did_you_mean, sanitise, shown, variable_prefix};
pub use place::Place;
pub use ports::{Exposed, Interface, MAX_PORTS, Port, PortNumber, Protocol};
pub use volumes::{MAX_VOLUMES, Volume, VolumesFrom, plain as plain_path};

use crate::diagnostic::Code;

/// The most images of one template.
pub const MAX_IMAGES: usize = 100;

/// A Panamax template: what its text means, after every rule was checked.
///
/// Only [`validate::validate`] makes one, and reading back a stored one checks again that every link
/// leads to one of its images. Its `Debug` never shows a value of the environment or a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Template(Parts);

/// The parts of a template; [`Template`] lends them for reading.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Parts {
    /// Its name as written; empty when the text was a bare list of images.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub keywords: String,
    /// Its kind, as `Wordpress`; a word for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its documentation, in Markdown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub documentation: String,
    /// Whether its author recommends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommended: Option<bool>,
    /// Who wrote it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<String>,
    /// Its images, at least one, in the order of the text.
    pub images: Vec<Image>,
}

impl fmt::Debug for Parts {
    /// Shows names alone: any other text may hold a value that was put there by mistake.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Parts")
            .field("name", &self.name)
            .field("images", &self.images)
            .finish_non_exhaustive()
    }
}

impl std::ops::Deref for Template {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl From<Template> for Parts {
    fn from(template: Template) -> Parts {
        template.0
    }
}

impl TryFrom<Parts> for Template {
    type Error = Fault;

    /// Checks what spans several images: names are unique, and links lead to images.
    fn try_from(parts: Parts) -> Result<Self, Fault> {
        let images = parts.images.len();
        if images == 0 {
            return Err(Fault::new(Code::NoImages, "the template has no image"));
        }
        let names: std::collections::BTreeSet<_> = parts.images.iter().map(|image| &image.name).collect();
        if names.len() != images {
            return Err(Fault::new(Code::NameCollision, "two images have the same name"));
        }
        let links = parts.images.iter().flat_map(|image| image.links.iter().map(|link| link.target));
        let volumes = parts.images.iter().flat_map(|image| image.volumes_from.iter().map(|from| from.target));
        if links.chain(volumes).any(|target| target >= images) {
            return Err(Fault::new(Code::LinkTargetMissing, "a link leads to no image"));
        }
        Ok(Self(parts))
    }
}

/// Why one value is refused: the code, and a sentence that never quotes the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The code of the diagnostic.
    pub code: Code,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it, if the case asks for other words than its code.
    pub advice: Option<Cow<'static, str>>,
}

impl Fault {
    /// Puts code and sentence together.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), advice: None }
    }

    /// Adds what to do about this very case.
    #[must_use]
    pub fn advising(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}
