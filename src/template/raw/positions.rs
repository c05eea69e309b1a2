//! Where a text has what, so that findings made later still get their line and column.

use std::sync::Arc;

use super::keys::spellings;
use super::tree::{Node, Read, Value};
use crate::diagnostic::{Diagnostic, Position};

/// The places of a text's values; empty for a template that came field by field.
#[derive(Clone, Default)]
pub struct Positions(Option<Arc<Node>>);

impl std::fmt::Debug for Positions {
    /// Leaves the text out: it holds the values of the environment.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Positions").finish_non_exhaustive()
    }
}

impl Positions {
    pub(super) fn new(root: Option<Node>) -> Self {
        Self(root.map(Arc::new))
    }

    /// The tree of the text, if it could be read.
    pub(super) fn root(&self) -> Option<&Node> {
        self.0.as_deref()
    }

    /// Gives every diagnostic that has a path and no place the place of that path.
    pub fn locate(&self, diagnostics: &mut [Diagnostic]) {
        for diagnostic in diagnostics {
            if diagnostic.position.is_none() {
                diagnostic.position = self.of(&diagnostic.field);
            }
        }
    }

    /// Whether what belongs at this path may stand in the text where it could not be read: what is said about that place
    /// would be a guess.
    pub(in crate::template) fn is_unread(&self, field: &str) -> bool {
        // What comes from an override has no place here, and what concerns the whole text has been found in reading it.
        let is_place = !field.is_empty() && !field.starts_with("override.");
        let Some(mut node) = self.0.as_deref().filter(|_| is_place) else { return false };
        for step in field.split(['.', '[']) {
            let next = match step.strip_suffix(']') {
                _ if node.read == Read::Nothing => return true,
                Some(index) => index.parse().ok().and_then(|index| item(node, index)),
                None if step == "images" && matches!(node.value, Value::Sequence(_)) => Some(node),
                None => value(node, step),
            };
            match next {
                Some(next) => node = next,
                None => return node.read == Read::Partly,
            }
        }
        node.read == Read::Nothing
    }

    /// Whether the text has a value at exactly this path.
    pub(in crate::template) fn has(&self, field: &str) -> bool {
        let Some((parent, key)) = field.rsplit_once('.') else {
            return self.0.as_ref().is_some_and(|root| value(root, field).is_some());
        };
        self.node(parent).is_some_and(|node| value(node, key).is_some())
    }

    /// The value at exactly this path.
    fn node(&self, field: &str) -> Option<&Node> {
        let mut node = self.0.as_deref()?;
        for step in field.split(['.', '[']) {
            node = match step.strip_suffix(']') {
                Some(index) => item(node, index.parse().ok()?)?,
                None if step == "images" && matches!(node.value, Value::Sequence(_)) => node,
                None => value(node, step)?,
            };
        }
        Some(node)
    }

    /// The place of a path as `images[1].ports[0].host_port`, or of the nearest part above it that is written.
    ///
    /// `None` for a path that is not in the text at all, as one of an override.
    pub fn of(&self, field: &str) -> Option<Position> {
        let mut node = self.0.as_deref()?;
        let mut found = None;
        for step in field.split(['.', '[']) {
            let next = match step.strip_suffix(']') {
                Some(index) => item(node, index.parse().ok()?),
                None if step == "images" && matches!(node.value, Value::Sequence(_)) => Some(node),
                None => value(node, step),
            };
            let Some(next) = next else { break };
            node = next;
            found = Some(node.position);
        }
        found
    }
}

fn item(node: &Node, index: usize) -> Option<&Node> {
    match &node.value {
        Value::Sequence(items) => items.get(index),
        Value::Null | Value::Scalar(_) | Value::Mapping(_) => None,
    }
}

fn value<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    match &node.value {
        Value::Mapping(entries) => {
            let named = |spelling: &str| entries.iter().find(|entry| entry.key == spelling);
            // The old way to write a source.
            let old = || named("repository").filter(|_| key == "source");
            let entry = named(key)
                .or_else(|| spellings(key).iter().find_map(|spelling| named(spelling)))
                .or_else(old);
            entry.map(|entry| &entry.value)
        }
        Value::Null | Value::Scalar(_) | Value::Sequence(_) => None,
    }
}
