//! `docs/api.md` says what the comments of the contract say; `UPDATE=1` writes it anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use panamax_kubernetes_adapter::proto;
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto};

const PACKAGE: &str = "panamax.kubernetes.v1";

const HEAD: &str = "# The contract

Services, messages and enums of `panamax.kubernetes.v1`, written from the comments in \
[proto/panamax/kubernetes/v1](../proto/panamax/kubernetes/v1).
";

/// Where a thing stands in its file, as the descriptors number it.
type Place = Vec<i32>;

/// One file of the contract with its comments.
struct File {
    descriptor: FileDescriptorProto,
    comments: BTreeMap<Place, String>,
}

impl File {
    fn new(descriptor: FileDescriptorProto) -> Self {
        let info = descriptor.source_code_info.clone().unwrap_or_default();
        let comments = info.location.into_iter().filter_map(|location| {
            let text = location.leading_comments.or(location.trailing_comments)?;
            Some((location.path, text))
        });
        let comments = comments.collect();
        Self { descriptor, comments }
    }

    /// What is said of a place, in paragraphs.
    fn said(&self, place: &[i32]) -> String {
        let text = self.comments.get(place).unwrap_or_else(|| panic!("no comment at {place:?}"));
        let paragraphs = text.trim().split("\n\n").map(|paragraph| {
            let lines: Vec<&str> = paragraph.lines().map(str::trim_end).collect();
            // Lists keep their lines; prose flows.
            let is_list = lines.iter().any(|line| line.trim_start().starts_with("- "));
            if is_list {
                lines.join("\n")
            } else {
                lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
            }
        });
        paragraphs.collect::<Vec<_>>().join("\n\n")
    }

    /// The same in one line, for a cell of a table.
    fn cell(&self, place: &[i32]) -> String {
        let said = self.said(place).replace("\n\n", "<br>").replace('\n', " ");
        said.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
    }
}

fn anchor(name: &str) -> String {
    name.rsplit('.').next().unwrap_or(name).to_lowercase()
}

/// A type as a reader sees it: a link where the page has it.
fn linked(full: &str) -> String {
    match full.strip_prefix(&format!(".{PACKAGE}.")) {
        Some(name) => format!("[{name}](#{})", anchor(name)),
        None => format!("`{}`", full.trim_start_matches('.')),
    }
}

fn type_of(field: &FieldDescriptorProto, parent: &DescriptorProto) -> String {
    let plain = |field: &FieldDescriptorProto| match field.r#type() {
        Type::Message | Type::Enum => linked(field.type_name()),
        other => format!("`{}`", other.as_str_name().trim_start_matches("TYPE_").to_lowercase()),
    };
    let entry = parent.nested_type.iter().find(|nested| {
        nested.options.as_ref().is_some_and(|options| options.map_entry())
            && field.type_name().ends_with(&format!(".{}", nested.name()))
    });
    match entry {
        Some(entry) => format!("map of {} to {}", plain(&entry.field[0]), plain(&entry.field[1])),
        None if field.label() == Label::Repeated => format!("list of {}", plain(field)),
        None if field.proto3_optional() => format!("{}, optional", plain(field)),
        None => plain(field),
    }
}

fn services(page: &mut String, file: &File) {
    for (index, service) in (0..).zip(&file.descriptor.service) {
        write!(page, "\n## {}\n\n{}\n", service.name(), file.said(&[6, index])).unwrap();
        for (number, method) in (0..).zip(&service.method) {
            let answers = if method.server_streaming() { "stream of " } else { "" };
            let (asked, answer) = (linked(method.input_type()), linked(method.output_type()));
            write!(page, "\n### {}.{}\n\n{asked} → {answers}{answer}\n\n", service.name(), method.name())
                .unwrap();
            writeln!(page, "{}", file.said(&[6, index, 2, number])).unwrap();
        }
    }
}

fn message(page: &mut String, file: &File, place: &[i32], message: &DescriptorProto, name: &str) {
    write!(page, "\n### {name}\n\n{}\n", file.said(place)).unwrap();
    if !message.field.is_empty() {
        page.push_str("\n| Field | Type | Meaning |\n|---|---|---|\n");
    }
    for (index, field) in (0..).zip(&message.field) {
        let own = [place, &[2, index]].concat();
        let choice = match field.oneof_index.filter(|_| !field.proto3_optional()) {
            Some(number) => {
                let oneof = usize::try_from(number).ok().and_then(|number| message.oneof_decl.get(number));
                format!("<br>one of `{}`", oneof.expect("a oneof").name())
            }
            None => String::new(),
        };
        let of_type = type_of(field, message);
        writeln!(
            page,
            "| `{}` = {} | {of_type}{choice} | {} |",
            field.name(),
            field.number(),
            file.cell(&own)
        )
        .unwrap();
    }
    for (index, nested) in (0..).zip(&message.nested_type) {
        if !nested.options.as_ref().is_some_and(|options| options.map_entry()) {
            let own = [place, &[3, index]].concat();
            self::message(page, file, &own, nested, &format!("{name}.{}", nested.name()));
        }
    }
    for (index, nested) in (0..).zip(&message.enum_type) {
        values(page, file, &[place, &[4, index]].concat(), nested);
    }
}

fn values(page: &mut String, file: &File, place: &[i32], described: &EnumDescriptorProto) {
    write!(page, "\n### {}\n\n{}\n", described.name(), file.said(place)).unwrap();
    page.push_str("\n| Value | Meaning |\n|---|---|\n");
    for (index, value) in (0..).zip(&described.value) {
        let own = [place, &[2, index]].concat();
        writeln!(page, "| `{}` = {} | {} |", value.name(), value.number(), file.cell(&own)).unwrap();
    }
}

fn rendered() -> String {
    let set = prost_types::FileDescriptorSet::decode(proto::DESCRIPTOR_SET).expect("a descriptor set");
    let files = set.file.into_iter().filter(|file| file.package() == PACKAGE).map(File::new);
    let files: Vec<File> = files.collect();
    let mut page = HEAD.to_owned();
    files.iter().for_each(|file| services(&mut page, file));
    page.push_str("\n## Messages\n");
    for file in &files {
        for (index, described) in (0..).zip(&file.descriptor.message_type) {
            message(&mut page, file, &[4, index], described, described.name());
        }
    }
    page.push_str("\n## Enums\n");
    for file in &files {
        for (index, described) in (0..).zip(&file.descriptor.enum_type) {
            values(&mut page, file, &[5, index], described);
        }
    }
    page
}

#[test]
fn the_page_holds_the_comments_of_the_contract() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, rendered()).expect("the page can be written");
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(page == rendered(), "{} is behind the contract: run this test with UPDATE=1", path.display());
}
