//! A tree of texts to a raw template: known keys, both spellings, one value where several forms are usual.

use std::collections::BTreeMap;

use super::document::{Entry, Node, Value};
use super::{RawImage, RawLink, RawPort, RawTemplate, RawVariable, RawVolume, Text};
use crate::diagnostic::{Code, Diagnostic, Findings};
use crate::template::MAX_VARIABLES;
use crate::template::names::{did_you_mean, shown};
use crate::template::open_part;
use crate::template::path::Path;

/// How many items of a list are read: one more than any list may hold, so that the list's own check can say so.
const MAX_ITEMS: usize = MAX_VARIABLES + 1;

type Keys = &'static [&'static str];

const TEMPLATE_KEYS: Keys =
    &["name", "description", "keywords", "type", "documentation", "recommended", "authors", "images"];
const IMAGE_KEYS: Keys = &[
    "name",
    "source",
    "category",
    "categories",
    "type",
    "description",
    "command",
    "ports",
    "expose",
    "links",
    "environment",
    "volumes",
    "volumes_from",
    "deployment",
];
const PORT_KEYS: Keys = &["host_port", "container_port", "proto"];
const LINK_KEYS: Keys = &["service", "alias"];
const VARIABLE_KEYS: Keys = &["variable", "value", "required"];
const VOLUME_KEYS: Keys = &["host_path", "container_path"];
const FROM_KEYS: Keys = &["service"];
const DEPLOYMENT_KEYS: Keys = &["count"];

/// The other spellings of a key: those of the wire format between the Panamax agent and its adapters.
pub(super) fn spellings(key: &str) -> Keys {
    match key {
        "host_port" => &["hostPort"],
        "container_port" => &["containerPort"],
        "proto" => &["protocol"],
        "host_path" => &["hostPath"],
        "container_path" => &["containerPath"],
        "volumes_from" => &["volumesFrom"],
        "service" => &["name"],
        _ => &[],
    }
}

/// Reads the root of a text; `None` when it is neither a mapping nor a list of images.
pub(super) fn template(root: &Node, findings: &mut Findings) -> Option<RawTemplate> {
    let mut reader = Reader { findings, wire: matches!(root.value, Value::Sequence(_)) };
    let top = Path::ROOT;
    if let Value::Sequence(items) = &root.value {
        let images = reader.images(most(items), top.key("images"))?;
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
        images: reader.images(images, top.key("images"))?,
    })
}

/// The values of one mapping by their documented spelling.
type Fields<'n> = BTreeMap<&'static str, &'n Node>;

struct Reader<'f> {
    findings: &'f mut Findings,
    /// Whether the text is the bare list that the Panamax agents sent to their adapters.
    wire: bool,
}

impl Reader<'_> {
    fn report(&mut self, code: Code, path: Path<'_>, node: &Node, message: impl Into<String>) {
        self.findings.push(Diagnostic::new(code, path.to_string(), message).at(Some(node.position)));
    }

    /// Takes a mapping's values by key.
    fn mapping<'n>(&mut self, node: &'n Node, path: Path<'_>, known: Keys) -> Option<Fields<'n>> {
        let Value::Mapping(entries) = &node.value else {
            self.report(Code::NotAMapping, path, node, "a mapping of keys was expected here");
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
        entries: impl Iterator<Item = &'n Entry>,
        path: Path<'_>,
        known: Keys,
    ) -> Fields<'n> {
        let mut fields = Fields::new();
        let mut written: BTreeMap<&str, &Entry> = BTreeMap::new();
        for entry in entries {
            if written.insert(&entry.key, entry).is_some() {
                let message = |key: &str| format!("{key} appears twice in one mapping");
                self.report_key(Code::DuplicateKey, (entry, known), path, message);
                continue;
            }
            let Some(name) = known_key(&entry.key, known) else {
                let near = match self.findings.are_many() {
                    false => did_you_mean(&entry.key, known.iter().copied()),
                    true => String::new(),
                };
                let message = |key: &str| format!("{key} is not a known key here{near}");
                self.report_key(Code::UnknownField, (entry, known), path, message);
                continue;
            };
            match fields.get(name) {
                None => {
                    fields.insert(name, &entry.value);
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

    /// Reports a key as far as it may be shown: one that has no value may be a piece of one, as `b` of
    /// `{command: a,b}`, and what follows a `:` or `=` as well.
    fn report_key(
        &mut self,
        code: Code,
        (entry, known): (&Entry, Keys),
        path: Path<'_>,
        message: impl FnOnce(&str) -> String,
    ) {
        let key = shown(&open_part(&entry.key));
        let unsaid = matches!(entry.value.value, Value::Null) && known_key(&entry.key, known).is_none();
        let found = match unsaid {
            true => Diagnostic::new(code, path.to_string(), message("a key without a value")),
            false => Diagnostic::new(code, path.key(&key).to_string(), message(&format!("`{key}`"))),
        };
        self.findings.push(found.at(Some(entry.position)));
    }

    /// Refuses what is unknown in an entry of `environment`. It may be a piece of a value, as `b` of `{value: a,b}`, so
    /// it is never shown, not even to suggest what is near. The agents sent keys of their own, which are left out.
    fn unknown_beside_a_value(&mut self, entries: &[Entry], path: Path<'_>) {
        let unknown = |entry: &&Entry| known_key(&entry.key, VARIABLE_KEYS).is_none();
        let Some(first) = entries.iter().find(unknown) else { return };
        let (code, message) = match self.wire {
            true => (Code::UnknownField, "keys other than `variable`, `value` and `required` were ignored"),
            false => (Code::VariableKey, "only the keys `variable`, `value` and `required` are allowed here"),
        };
        self.findings.push(Diagnostic::new(code, path.to_string(), message).at(Some(first.position)));
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
            Value::Sequence(items) => most(items),
            Value::Null => &[],
            Value::Scalar(text) if text.is_empty() => &[],
            Value::Scalar(_) | Value::Mapping(_) => {
                self.report(Code::NotAList, path.key(key), node, "a list was expected here");
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

    fn images(&mut self, items: &[Node], path: Path<'_>) -> Option<Vec<RawImage>> {
        let images: Vec<_> = items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| self.image(item, path.index(index)))
            .collect();
        (images.len() == items.len()).then_some(images)
    }

    fn image(&mut self, node: &Node, path: Path<'_>) -> Option<RawImage> {
        let fields = &self.mapping(node, path, IMAGE_KEYS)?;
        Some(RawImage {
            name: self.text(fields, path, "name"),
            source: self.text(fields, path, "source"),
            category: self.text(fields, path, "category"),
            kind: self.text(fields, path, "type"),
            description: self.text(fields, path, "description"),
            command: self.text(fields, path, "command").into(),
            ports: self.ports(fields, path),
            expose: self.texts(fields, path, "expose").into_iter().map(Text::from).collect(),
            links: self.links(fields, path),
            environment: self.environment(fields, path),
            volumes: self.volumes(fields, path),
            volumes_from: self.volumes_from(fields, path),
            count: self.count(fields, path).into(),
        })
    }

    fn ports(&mut self, fields: &Fields<'_>, path: Path<'_>) -> Vec<RawPort> {
        self.each((fields, path), "ports", PORT_KEYS, |reader, fields, path, field| RawPort {
            host_port: reader.host_port(fields, path),
            container_port: reader.text(fields, path, "container_port"),
            proto: reader.text(fields, path, "proto"),
            field,
        })
    }

    /// The agents wrote 0 for a host port that there is not.
    fn host_port(&mut self, fields: &Fields<'_>, path: Path<'_>) -> String {
        let port = self.text(fields, path, "host_port");
        if self.wire && port == "0" { String::new() } else { port }
    }

    fn links(&mut self, fields: &Fields<'_>, path: Path<'_>) -> Vec<RawLink> {
        self.each((fields, path), "links", LINK_KEYS, |reader, fields, path, field| RawLink {
            service: reader.text(fields, path, "service"),
            alias: reader.text(fields, path, "alias"),
            field,
        })
    }

    fn environment(&mut self, fields: &Fields<'_>, path: Path<'_>) -> Vec<RawVariable> {
        self.each((fields, path), "environment", VARIABLE_KEYS, |reader, fields, path, field| RawVariable {
            variable: reader.text(fields, path, "variable"),
            value: reader.text(fields, path, "value"),
            required: reader.text(fields, path, "required"),
            field,
        })
    }

    fn volumes(&mut self, fields: &Fields<'_>, path: Path<'_>) -> Vec<RawVolume> {
        self.each((fields, path), "volumes", VOLUME_KEYS, |reader, fields, path, field| RawVolume {
            host_path: reader.text(fields, path, "host_path"),
            container_path: reader.text(fields, path, "container_path"),
            field,
        })
    }

    /// Names of images, each a text or a mapping with the key `service`.
    fn volumes_from(&mut self, fields: &Fields<'_>, path: Path<'_>) -> Vec<Text> {
        let items = self.list(fields, path, "volumes_from");
        let list = path.key("volumes_from");
        let mut names = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = list.index(index);
            let name = match &item.value {
                Value::Mapping(_) => self
                    .mapping(item, path, FROM_KEYS)
                    .map(|fields| self.text(&fields, path, "service"))
                    .unwrap_or_default(),
                Value::Null | Value::Scalar(_) | Value::Sequence(_) => self.scalar(item, path),
            };
            names.push(name.into());
        }
        names
    }

    fn count(&mut self, fields: &Fields<'_>, path: Path<'_>) -> String {
        let Some(node) = fields.get("deployment") else {
            return String::new();
        };
        if matches!(node.value, Value::Null) {
            return String::new();
        }
        let path = path.key("deployment");
        self.mapping(node, path, DEPLOYMENT_KEYS)
            .map(|fields| self.text(&fields, path, "count"))
            .unwrap_or_default()
    }
}

/// The documented spelling of a key.
fn known_key(key: &str, known: Keys) -> Option<&'static str> {
    known.iter().find(|name| **name == key || spellings(name).contains(&key)).copied()
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
