//! The tree that a text is read into: each value with its place, and how much of it could be read.

use crate::diagnostic::Position;

/// One value of the text and the place where it begins.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) position: Position,
    pub(super) value: Value,
    pub(super) read: Read,
}

/// How much of a node is in the tree: what was refused has a meaning that nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// All of it.
    Whole,
    /// All but some keys of a mapping.
    Partly,
    /// Nothing; what stands in its place says nothing.
    Nothing,
}

/// What a value is; scalars stay as they were written.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    Scalar(String),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// One key of a mapping and its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) position: Position,
    pub(super) value: Node,
}

/// A list or mapping that is still open.
pub(super) struct Frame {
    pub(super) position: Position,
    pub(super) read: Read,
    pub(super) items: Items,
}

/// What an open list or mapping has so far.
pub(super) enum Items {
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>, Key),
}

/// What an open mapping waits for.
pub(super) enum Key {
    /// A key.
    Awaited,
    /// The value of this key.
    Read(String, Position),
    /// A value that is dropped, because its key was refused.
    Refused,
}

/// A node of which nothing is known.
pub(super) fn unread(position: Position) -> Node {
    Node { position, value: Value::Null, read: Read::Nothing }
}

/// What a node has of a tag.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tagged {
    /// It has none.
    No,
    /// `!!str`.
    Text,
    /// Any other.
    Refused,
}
