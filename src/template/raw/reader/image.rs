//! One entry of `images` and the entries of its lists.

use std::collections::BTreeMap;

use super::{Fields, Reader};
use crate::diagnostic::{Code, Diagnostic};
use crate::template::path::Path;
use crate::template::raw::keys::{
    DEPLOYMENT_KEYS, FROM_KEYS, IMAGE_KEYS, LINK_KEYS, PORT_KEYS, VARIABLE_KEYS, VOLUME_KEYS,
};
use crate::template::raw::tree::{Node, Value};
use crate::template::raw::{RawFrom, RawImage, RawLink, RawPort, RawVariable, RawVolume, Text};
use crate::template::{Command, open_part, shown};

impl Reader<'_> {
    pub(super) fn image(&mut self, node: &Node, path: Path<'_>) -> Option<RawImage> {
        let fields = &self.mapping(node, path, IMAGE_KEYS)?;
        Some(RawImage {
            name: self.text(fields, path, "name"),
            source: self.source(fields, path),
            category: self.text(fields, path, "category"),
            kind: self.text(fields, path, "type"),
            description: self.text(fields, path, "description"),
            command: self.command(fields, path).into(),
            ports: self.ports(fields, path),
            expose: self.exposed(fields, path),
            links: self.links(fields, path),
            environment: self.environment(fields, path),
            volumes: self.volumes(fields, path),
            volumes_from: self.volumes_from(fields, path),
            count: self.count(fields, path).into(),
        })
    }

    /// The source; before there was one key for it, templates had `repository` and `tag`.
    fn source(&mut self, fields: &Fields<'_>, path: Path<'_>) -> String {
        let source = self.text(fields, path, "source");
        let (repository, tag) = (self.text(fields, path, "repository"), self.text(fields, path, "tag"));
        let joined = match tag.as_str() {
            "" => repository,
            tag => format!("{repository}:{tag}"),
        };
        if source.is_empty() && !joined.starts_with(':') {
            return joined;
        }
        let old = ["repository", "tag"].iter().find_map(|key| Some((*key, fields.get(key)?)));
        if let Some((key, node)) = old.filter(|_| !joined.is_empty() && joined != source) {
            let message = format!("`{key}` was ignored: it is the old way to write what `source` says");
            self.report(Code::UnknownField, path.key(key), node, message);
        }
        source
    }

    /// A command is one text; a list of words is plain in its meaning and taken as well.
    fn command(&mut self, fields: &Fields<'_>, path: Path<'_>) -> String {
        let Some(node) = fields.get("command") else { return String::new() };
        self.tell_cut(node, path.key("command"));
        let Value::Sequence(items) = &node.value else { return self.text(fields, path, "command") };
        let list = path.key("command");
        let words = items.iter().enumerate().map(|(index, item)| self.scalar(item, list.index(index)));
        Command::joined(words)
    }

    /// Tells of a value that a comment has cut off.
    fn tell_cut(&mut self, node: &Node, path: Path<'_>) {
        let is_text = matches!(node.value, Value::Scalar(_) | Value::Null);
        if is_text && self.cut.binary_search(&node.position).is_ok() {
            let message = "the text ends where a `#` begins a comment";
            self.report(Code::ValueCut, path, node, message);
        }
    }

    /// The agents wrote 0 for an exposed port that they could not read.
    fn exposed(&mut self, fields: &Fields<'_>, path: Path<'_>) -> Vec<Text> {
        let ports = self.texts(fields, path, "expose");
        let list = path.key("expose");
        let mut exposed = Vec::with_capacity(ports.len());
        for (index, port) in ports.into_iter().enumerate() {
            if self.wire && port == "0" {
                let message = "the agent could not read this port and wrote 0; it was left out";
                let place = fields.get("expose").map(|node| match &node.value {
                    Value::Sequence(items) => items.get(index).unwrap_or(node).position,
                    Value::Null | Value::Scalar(_) | Value::Mapping(_) => node.position,
                });
                let found = Diagnostic::new(Code::PortUnread, list.index(index).to_string(), message);
                self.findings.push(found.at(place));
                continue;
            }
            let field = (index != exposed.len()).then(|| list.index(index).to_string());
            exposed.push(Text { value: port, field });
        }
        exposed
    }

    fn ports(&mut self, fields: &Fields<'_>, path: Path<'_>) -> Vec<RawPort> {
        self.each((fields, path), "ports", PORT_KEYS, |reader, fields, path, field| RawPort {
            host_interface: reader.text(fields, path, "host_interface").into(),
            host_port: reader.host_port(fields, path),
            container_port: reader.text(fields, path, "container_port"),
            proto: reader.text(fields, path, "proto"),
            closed: fields.is_narrowed("host_interface"),
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
        let read = self.each((fields, path), "environment", VARIABLE_KEYS, |reader, fields, path, field| {
            if let Some(value) = fields.get("value") {
                reader.tell_cut(value, path.key("value"));
            }
            RawVariable {
                variable: reader.text(fields, path, "variable"),
                value: reader.text(fields, path, "value"),
                required: reader.text(fields, path, "required").into(),
                field,
            }
        });
        if self.wire { self.last_of_each(&read, path.key("environment")) } else { read }
    }

    /// Of the agents' repeated variables the last counts; where all copies agree, nothing needs to be said.
    fn last_of_each(&mut self, read: &[RawVariable], list: Path<'_>) -> Vec<RawVariable> {
        let mut last: BTreeMap<&str, usize> = BTreeMap::new();
        let mut disagree: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, variable) in read.iter().enumerate() {
            let earlier = last.insert(&variable.variable, index);
            if let Some(earlier) = earlier.filter(|earlier| read[*earlier].value != variable.value) {
                disagree.entry(&variable.variable).or_insert(earlier);
            }
        }
        let field = |index: usize| read[index].field.clone().unwrap_or_else(|| list.index(index).to_string());
        for (name, index) in &disagree {
            let name = shown(&open_part(name));
            let message = format!("`{name}` is set twice; the last value counts");
            self.findings.report(Code::VariableRepeated, format!("{}.variable", field(*index)), message);
        }
        let mut kept: Vec<usize> = last.into_values().collect();
        kept.sort_unstable();
        let place = |(at, index): (usize, usize)| {
            let variable = &read[index];
            RawVariable { field: (at != index).then(|| field(index)), ..variable.clone() }
        };
        kept.into_iter().enumerate().map(place).collect()
    }

    fn volumes(&mut self, fields: &Fields<'_>, path: Path<'_>) -> Vec<RawVolume> {
        self.each((fields, path), "volumes", VOLUME_KEYS, |reader, fields, path, field| RawVolume {
            host_path: reader.text(fields, path, "host_path"),
            container_path: reader.text(fields, path, "container_path"),
            read_only: reader.read_only(fields, path).into(),
            field,
        })
    }

    /// Whether an entry is read-only; one that an unknown key seems to restrict is.
    fn read_only(&mut self, fields: &Fields<'_>, path: Path<'_>) -> String {
        let written = self.text(fields, path, "read_only");
        if written.is_empty() && fields.is_narrowed("read_only") { "true".to_owned() } else { written }
    }

    /// Names of images, each a text or a mapping with the key `service`.
    fn volumes_from(&mut self, fields: &Fields<'_>, path: Path<'_>) -> Vec<RawFrom> {
        let items = self.list(fields, path, "volumes_from");
        let list = path.key("volumes_from");
        let mut lenders = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = list.index(index);
            lenders.push(match &item.value {
                Value::Mapping(_) => match self.mapping(item, path, FROM_KEYS) {
                    Some(fields) => RawFrom {
                        service: self.text(&fields, path, "service"),
                        read_only: self.read_only(&fields, path),
                        field: None,
                    },
                    None => RawFrom::default(),
                },
                Value::Null | Value::Scalar(_) | Value::Sequence(_) => self.scalar(item, path).into(),
            });
        }
        lenders
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
