//! Lenient reading: text or number, both spellings, nulls; what is odd about a template ends here.

mod document;
mod positions;
mod reader;

use std::fmt;

use crate::diagnostic::{Diagnostic, Findings};

pub use positions::Positions;

/// The largest template text, in bytes.
pub const MAX_TEXT_BYTES: usize = 256 * 1024;

/// What a text was read as.
#[derive(Debug, Default)]
pub struct Reading {
    /// The template as written; absent when the text is no template at all.
    pub template: Option<RawTemplate>,
    /// What was found; errors refuse the template even if it could be read.
    pub diagnostics: Vec<Diagnostic>,
    /// Where the text has what; [`Positions::locate`] puts lines into later diagnostics.
    pub positions: Positions,
}

/// Reads YAML or JSON text; reports every fault it finds and never quotes the text.
///
/// A list at the top is read as the images of a template without a name (the old adapters' wire form).
pub fn read(text: &str) -> Reading {
    let mut findings = Findings::default();
    let root = document::parse(text, &mut findings);
    let template = root
        .as_ref()
        .and_then(|root| reader::template(root, &mut findings));
    let positions = Positions::new(root);
    let mut diagnostics = findings.into_vec();
    positions.locate(&mut diagnostics);
    Reading {
        template,
        diagnostics,
        positions,
    }
}

/// A text and, if it was not written at its own place, the path of the place it came from.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Text {
    /// The text as written; empty means absent.
    pub value: String,
    /// The path it came from, as `override.images[0].command`; absent when it stands where it was written.
    pub field: Option<String>,
}

impl From<String> for Text {
    fn from(value: String) -> Self {
        Self { value, field: None }
    }
}

impl From<&str> for Text {
    fn from(value: &str) -> Self {
        value.to_owned().into()
    }
}

impl fmt::Debug for Text {
    /// Leaves the text out: a command may hold a password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Text")
            .field("field", &self.field)
            .finish_non_exhaustive()
    }
}

/// A template as written; every scalar is text, and an empty one means absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawTemplate {
    /// `name`.
    pub name: String,
    /// `description`.
    pub description: String,
    /// `keywords`; a list is joined by commas.
    pub keywords: String,
    /// `type`.
    pub kind: String,
    /// `documentation`.
    pub documentation: String,
    /// `recommended`.
    pub recommended: String,
    /// `authors`.
    pub authors: Vec<String>,
    /// `images`.
    pub images: Vec<RawImage>,
}

/// One entry of `images` as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawImage {
    /// `name`.
    pub name: String,
    /// `source`.
    pub source: String,
    /// `category`.
    pub category: String,
    /// `type`.
    pub kind: String,
    /// `description`.
    pub description: String,
    /// `command`.
    pub command: Text,
    /// `ports`.
    pub ports: Vec<RawPort>,
    /// `expose`; one text may hold several ports.
    pub expose: Vec<Text>,
    /// `links`.
    pub links: Vec<RawLink>,
    /// `environment`.
    pub environment: Vec<RawVariable>,
    /// `volumes`.
    pub volumes: Vec<RawVolume>,
    /// `volumes_from`: names of images.
    pub volumes_from: Vec<Text>,
    /// `deployment.count`.
    pub count: Text,
}

/// One entry of `ports` as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawPort {
    /// `host_port`.
    pub host_port: String,
    /// `container_port`.
    pub container_port: String,
    /// `proto`.
    pub proto: String,
    /// Where it came from, if not from its own place.
    pub field: Option<String>,
}

/// One entry of `links` as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawLink {
    /// `service`.
    pub service: String,
    /// `alias`.
    pub alias: String,
    /// Where it came from, if not from its own place.
    pub field: Option<String>,
}

/// One entry of `environment` as written.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RawVariable {
    /// `variable`.
    pub variable: String,
    /// `value`.
    pub value: String,
    /// `required`.
    pub required: String,
    /// Where it came from, if not from its own place.
    pub field: Option<String>,
}

impl fmt::Debug for RawVariable {
    /// Leaves the value out.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RawVariable")
            .field("variable", &self.variable)
            .finish_non_exhaustive()
    }
}

/// One entry of `volumes` as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawVolume {
    /// `host_path`.
    pub host_path: String,
    /// `container_path`.
    pub container_path: String,
    /// Where it came from, if not from its own place.
    pub field: Option<String>,
}
