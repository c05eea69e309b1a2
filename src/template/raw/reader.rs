//! A tree of texts to a raw template: known keys, both spellings, one value where several forms are usual.

mod image;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::keys::{ALL, Keys, TEMPLATE_KEYS, VARIABLE_KEYS, form, known_key, list_form};
use super::tree::{Entry, Node, Value};
use super::unknown::{self, Unknown};
use super::{RawImage, RawTemplate};
use crate::diagnostic::{Code, Diagnostic, Findings, Position};
use crate::template::MAX_VARIABLES;
use crate::template::names::{deceptive, is_deceptive};
use crate::template::path::Path;

/// How many items of a list are read: one more than any list may hold, so that the list's own check can say so.
const MAX_ITEMS: usize = MAX_VARIABLES + 1;

/// Reads the root of a text; `None` when it is neither a mapping nor a list of images.
///
/// `cut` lists the places of values that a comment seems to have cut off.
pub(super) fn template(root: &Node, cut: &[Position], findings: &mut Findings) -> Option<RawTemplate> {
    let mut reader = Reader { findings, cut, wire: matches!(root.value, Value::Sequence(_)) };
    let top = Path::ROOT;
    if let Value::Sequence(items) = &root.value {
        let images = reader.images(most(items), top.key("images"));
        return Some(RawTemplate { images, ..RawTemplate::default() });
    }
    let fields = reader.mapping(root, top, TEMPLATE_KEYS)?;
    let images = reader.list(&fields, top, "images");
    Some(RawTemplate {
        name: reader.text(&fields, top, "name"),
        description: reader.text(&fields, top, "description"),
        keywords: reader.texts(&fields, top, "keywords").join(", "),
        kind: reader.text(&fields, top, "type"),
        documentation: reader.text(&fields, top, "documentation"),
        recommended: reader.text(&fields, top, "recommended"),
        authors: reader.texts(&fields, top, "authors"),
        images: reader.images(images, top.key("images")),
    })
}

/// The values of one mapping by their documented spelling.
#[derive(Default)]
struct Fields<'n> {
    nodes: BTreeMap<&'static str, &'n Node>,
    /// Known keys whose narrowing an unknown key seems to mean.
    narrowed: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    fn get(&self, key: &str) -> Option<&'n Node> {
        self.nodes.get(key).copied()
    }

    fn is_narrowed(&self, key: &str) -> bool {
        self.narrowed.contains(&key)
    }
}

struct Reader<'f> {
    findings: &'f mut Findings,
    cut: &'f [Position],
    /// Whether the text is the bare list that the Panamax agents sent to their adapters.
    wire: bool,
}

impl Reader<'_> {
    fn report(&mut self, code: Code, path: Path<'_>, node: &Node, message: impl Into<Cow<'static, str>>) {
        self.findings.push(Diagnostic::new(code, path.to_string(), message).at(Some(node.position)));
    }

    /// Reports with an advice for the case at hand, if there is one.
    fn advise(
        &mut self,
        code: Code,
        path: Path<'_>,
        node: &Node,
        message: &'static str,
        advice: Option<&'static str>,
    ) {
        let found = Diagnostic::new(code, path.to_string(), message);
        self.findings.push(Diagnostic { advice: advice.map(Into::into), ..found }.at(Some(node.position)));
    }

    /// Takes a mapping's values by key.
    fn mapping<'n>(&mut self, node: &'n Node, path: Path<'_>, known: Keys) -> Option<Fields<'n>> {
        let Value::Mapping(entries) = &node.value else {
            self.advise(Code::NotAMapping, path, node, "a mapping of keys was expected here", form(known));
            return None;
        };
        if known != VARIABLE_KEYS {
            return Some(self.fields(entries.iter(), path, known));
        }
        self.unknown_beside_a_value(entries, path);
        let read = entries.iter().filter(|entry| known_key(&entry.key, known).is_some());
        Some(self.fields(read, path, known))
    }

    /// Sorts values by key; reports keys that are unknown, repeated or doubly spelled.
    fn fields<'n>(
        &mut self,
        entries: impl Iterator<Item = &'n Entry> + Clone,
        path: Path<'_>,
        known: Keys,
    ) -> Fields<'n> {
        let mut fields = Fields::default();
        let present = entries.clone().filter_map(|entry| known_key(&entry.key, known)).collect();
        let mut written: BTreeMap<&str, &Entry> = BTreeMap::new();
        for entry in entries {
            if written.insert(&entry.key, entry).is_some() {
                self.repeated_key(entry, path, known);
                continue;
            }
            let Some(name) = known_key(&entry.key, known) else {
                fields.narrowed.extend(self.unknown_key(entry, path, known, &present));
                continue;
            };
            match fields.nodes.get(name) {
                None => {
                    fields.nodes.insert(name, &entry.value);
                }
                Some(first) if same(first, &entry.value, name == "proto") => {}
                Some(_) => {
                    let message = format!("`{name}` is given in two spellings with different values");
                    self.report(Code::DuplicateKey, path.key(name), &entry.value, message);
                }
            }
        }
        fields
    }

    fn repeated_key(&mut self, entry: &Entry, path: Path<'_>, known: Keys) {
        let found = match known_key(&entry.key, known).is_some()
            || Unknown::of(&entry.key, &[], known, true).is_shown
        {
            true => {
                let message = format!("`{}` appears twice in one mapping", entry.key);
                Diagnostic::new(Code::DuplicateKey, path.key(&entry.key).to_string(), message)
            }
            false => {
                Diagnostic::new(Code::DuplicateKey, path.to_string(), "a key appears twice in one mapping")
            }
        };
        self.findings.push(found.at(Some(entry.position)));
    }

    /// Reports a key that its mapping does not have. It is shown if it is of the list of those that people bring along:
    /// any other may be a piece of a value, as `b` of `{command: a,b}`. Returns the known key whose narrowing is lost.
    fn unknown_key(
        &mut self,
        entry: &Entry,
        path: Path<'_>,
        known: Keys,
        present: &BTreeSet<&str>,
    ) -> Option<&'static str> {
        if self.deceptive_key(entry, path, known) || self.misplaced_key(entry, path, known) {
            return None;
        }
        let mut unknown = Unknown::of(&entry.key, &texts_in(&entry.value), known, self.findings.are_many());
        // What is there already is not what was meant.
        if present.iter().any(|key| unknown.near.contains(&format!("`{key}`"))) {
            unknown.near.clear();
        }
        let found = match unknown.is_shown {
            true => {
                let message = format!("`{}` is not a known key here{}", entry.key, unknown.near);
                Diagnostic::new(Code::UnknownField, path.key(&entry.key).to_string(), message)
            }
            false => {
                let message = format!("a key is not known here{}", unknown.near);
                Diagnostic::new(Code::UnknownField, path.to_string(), message)
            }
        };
        self.findings.push(Diagnostic { advice: unknown.advice, ..found }.at(Some(entry.position)));
        unknown.narrows
    }

    /// Refuses a key that stands outside of any entry, and without which an entry is empty or open. Ignoring the key would
    /// leave a password empty, or open a port to everybody that was to be open to this machine alone.
    fn misplaced_key(&mut self, entry: &Entry, path: Path<'_>, known: Keys) -> bool {
        let list = unknown::misplaced(&entry.key, &texts_in(&entry.value), known);
        let Some(list) = list.filter(|_| !self.wire) else { return false };
        // The key is of a closed list, so it may be shown.
        let message = format!("`{}` stands outside of any entry of `{list}`", entry.key);
        let found = Diagnostic::new(Code::KeyMisplaced, path.key(&entry.key).to_string(), message);
        self.findings.push(found.at(Some(entry.position)));
        true
    }

    /// Refuses a key that only looks like a known one, because it contains a character that nobody sees.
    fn deceptive_key(&mut self, entry: &Entry, path: Path<'_>, known: Keys) -> bool {
        let Some(character) = entry.key.chars().find(|character| is_deceptive(*character)) else {
            return false;
        };
        let plain: String = entry.key.chars().filter(|character| !is_deceptive(*character)).collect();
        // In an indentation the character also moves the key into another mapping, so keys of all mappings are meant.
        let mut places = std::iter::once(&known).chain(&ALL);
        let Some(name) = places.find_map(|keys| known_key(plain.trim(), keys)) else { return false };
        let fault = deceptive(&format!("the key `{name}`"), character);
        let found = Diagnostic::new(fault.code, path.key(name).to_string(), fault.message);
        self.findings.push(Diagnostic { advice: fault.advice, ..found }.at(Some(entry.position)));
        true
    }

    /// Refuses what is unknown in an entry of `environment`. It may be a piece of a value, as `b` of `{value: a,b}`, so
    /// it is never shown; only the key of ours that it seems to mean is. The agents sent keys of their own, which are
    /// left out.
    fn unknown_beside_a_value(&mut self, entries: &[Entry], path: Path<'_>) {
        let unknown = |entry: &&Entry| known_key(&entry.key, VARIABLE_KEYS).is_none();
        let mut strange = entries.iter().filter(unknown);
        if strange.any(|entry| self.deceptive_key(entry, path, VARIABLE_KEYS)) {
            return;
        }
        let Some(first) = entries.iter().find(unknown) else { return };
        let found = match self.wire {
            true => {
                let message = "keys other than `variable`, `value` and `required` were ignored";
                let found = Diagnostic::new(Code::UnknownField, path.to_string(), message);
                found.advising("nothing has to be done: the agents send keys of their own")
            }
            false => {
                let message = "only the keys `variable`, `value` and `required` are allowed here";
                let advice = unknown::advice_beside_a_value(entries, self.findings.are_many());
                Diagnostic { advice, ..Diagnostic::new(Code::VariableKey, path.to_string(), message) }
            }
        };
        self.findings.push(found.at(Some(first.position)));
    }

    /// The text of a key; empty when it is absent, null or no scalar.
    fn text(&mut self, fields: &Fields<'_>, path: Path<'_>, key: &'static str) -> String {
        fields.get(key).map(|node| self.scalar(node, path.key(key))).unwrap_or_default()
    }

    fn scalar(&mut self, node: &Node, path: Path<'_>) -> String {
        match &node.value {
            Value::Scalar(text) => text.clone(),
            Value::Null => String::new(),
            Value::Sequence(_) | Value::Mapping(_) => {
                self.report(Code::NotAScalar, path, node, "one text or number was expected here");
                String::new()
            }
        }
    }

    /// The texts of a key whose value is one text or a list of them.
    fn texts(&mut self, fields: &Fields<'_>, path: Path<'_>, key: &'static str) -> Vec<String> {
        let Some(node) = fields.get(key) else {
            return Vec::new();
        };
        let path = path.key(key);
        match &node.value {
            Value::Sequence(items) => {
                items.iter().enumerate().map(|(index, item)| self.scalar(item, path.index(index))).collect()
            }
            Value::Scalar(text) if !text.is_empty() => vec![text.clone()],
            Value::Scalar(_) | Value::Null => Vec::new(),
            Value::Mapping(_) => {
                self.report(Code::NotAList, path, node, "a list was expected here");
                Vec::new()
            }
        }
    }

    /// The items of a key, as many as any list may hold; none when it is absent, null or an empty text.
    fn list<'n>(&mut self, fields: &Fields<'n>, path: Path<'_>, key: &'static str) -> &'n [Node] {
        let Some(node) = fields.get(key) else { return &[] };
        match &node.value {
            // The agents repeat variables; what is left of them is counted.
            Value::Sequence(items) if self.wire && key == "environment" => items,
            Value::Sequence(items) => most(items),
            Value::Null => &[],
            Value::Scalar(text) if text.is_empty() => &[],
            Value::Scalar(_) | Value::Mapping(_) => {
                self.advise(Code::NotAList, path.key(key), node, "a list was expected here", list_form(key));
                &[]
            }
        }
    }

    /// Reads each item of a list of mappings; behind an item that is none, the others keep their paths.
    fn each<T>(
        &mut self,
        (fields, path): (&Fields<'_>, Path<'_>),
        key: &'static str,
        known: Keys,
        mut read: impl FnMut(&mut Self, &Fields<'_>, Path<'_>, Option<String>) -> T,
    ) -> Vec<T> {
        let items = self.list(fields, path, key);
        let list = path.key(key);
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = list.index(index);
            if let Some(fields) = self.mapping(item, path, known) {
                let field = (index != values.len()).then(|| path.to_string());
                values.push(read(self, &fields, path, field));
            }
        }
        values
    }

    /// Reads each image; one that is no mapping is empty, so that the others keep their paths.
    fn images(&mut self, items: &[Node], path: Path<'_>) -> Vec<RawImage> {
        let images = items.iter().enumerate();
        images.map(|(index, item)| self.image(item, path.index(index)).unwrap_or_default()).collect()
    }
}

/// Every text below a node, at whatever depth.
fn texts_in(node: &Node) -> Vec<&str> {
    match &node.value {
        Value::Null => Vec::new(),
        Value::Scalar(text) => vec![text],
        Value::Sequence(items) => items.iter().flat_map(texts_in).collect(),
        Value::Mapping(entries) => entries.iter().flat_map(|entry| texts_in(&entry.value)).collect(),
    }
}

/// The items that are read.
fn most(items: &[Node]) -> &[Node] {
    items.get(..MAX_ITEMS).unwrap_or(items)
}

/// Whether two spellings of one key say the same; lists are compared by their texts.
fn same(left: &Node, right: &Node, any_case: bool) -> bool {
    match (&left.value, &right.value) {
        (Value::Scalar(left), Value::Scalar(right)) => {
            left == right || (any_case && left.eq_ignore_ascii_case(right))
        }
        (Value::Sequence(left), Value::Sequence(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| same(left, right, any_case))
        }
        (Value::Null, Value::Null) => true,
        (Value::Null | Value::Scalar(_) | Value::Sequence(_) | Value::Mapping(_), _) => false,
    }
}
