//! Lenient reading: text or number, both spellings, nulls; what is odd about a template ends here.

mod control;
mod document;
mod foreign;
mod keys;
mod layout;
mod lines;
mod marks;
mod positions;
mod reader;
mod tree;
mod unknown;

use std::fmt;

use self::tree::Read;
use super::open_part;
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
    let mut cut = Vec::new();
    let parsed = document::parse(text, &mut findings, &mut cut);
    if let Ok(root) | Err(Some(root)) = &parsed
        && let Some(found) = foreign::recognise(root)
    {
        // Whatever else is found in it is of no use to anybody.
        return Reading { diagnostics: vec![found], ..Reading::default() };
    }
    let root = parsed.ok();
    let known = root.as_ref().filter(|root| root.read != Read::Nothing);
    let template = known.and_then(|root| reader::template(root, &cut, &mut findings));
    let positions = Positions::new(root);
    let mut diagnostics = findings.into_vec();
    diagnostics.retain(|found| !positions.is_unread(&found.field));
    positions.locate(&mut diagnostics);
    Reading { template, diagnostics, positions }
}

/// A text and, if it was not written at its own place, the path of the place it came from.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Text {
    /// The text as written; empty means absent.
    pub value: String,
    /// The path it came from, as `override.images[0].command`; absent if it is still where it was written.
    pub field: Option<String>,
}

impl Text {
    /// The path of the key that it stands under, `own` unless it came from elsewhere.
    pub(super) fn place(&self, own: impl FnOnce() -> String) -> String {
        self.field.clone().unwrap_or_else(own)
    }

    /// Takes the text of an entry that this one replaces, unless this one says something; `at` is where that stood.
    pub(super) fn keep(&mut self, before: &Text, at: impl FnOnce() -> String) {
        if self.value.is_empty() && !before.value.is_empty() {
            *self = Self { value: before.value.clone(), field: Some(before.place(at)) };
        }
    }
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
        formatter.debug_struct("Text").field("field", &self.field).finish_non_exhaustive()
    }
}

/// A template as written; every scalar is text, and an empty one means absent.
#[derive(Clone, Default, PartialEq, Eq)]
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

impl fmt::Debug for RawTemplate {
    /// Shows names alone: any other text may hold a value that was put there by mistake.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RawTemplate")
            .field("name", &self.name)
            .field("images", &self.images)
            .finish_non_exhaustive()
    }
}

/// One entry of `images` as written.
#[derive(Clone, Default, PartialEq, Eq)]
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
    /// `volumes_from`.
    pub volumes_from: Vec<RawFrom>,
    /// `deployment.count`.
    pub count: Text,
}

impl fmt::Debug for RawImage {
    /// Shows names alone: any other text may hold a value that was put there by mistake.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RawImage")
            .field("name", &self.name)
            .field("links", &self.links)
            .field("environment", &self.environment)
            .finish_non_exhaustive()
    }
}

/// One entry of `ports` as written.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RawPort {
    /// `host_interface`.
    pub host_interface: Text,
    /// `host_port`.
    pub host_port: String,
    /// `container_port`.
    pub container_port: String,
    /// `proto`.
    pub proto: String,
    /// Whether a key narrows it that a template does not have, so that it is not to be published.
    pub closed: bool,
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
    pub required: Text,
    /// Where it came from, if not from its own place.
    pub field: Option<String>,
}

impl fmt::Debug for RawVariable {
    /// Leaves the value out, and what may be one in the name.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variable = open_part(&self.variable);
        formatter.debug_struct("RawVariable").field("variable", &variable).finish_non_exhaustive()
    }
}

/// One entry of `volumes` as written.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RawVolume {
    /// `host_path`.
    pub host_path: String,
    /// `container_path`, with Docker's mode behind a `:` if there is one.
    pub container_path: String,
    /// `read_only`.
    pub read_only: Text,
    /// Where it came from, if not from its own place.
    pub field: Option<String>,
}

/// One entry of `volumes_from` as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawFrom {
    /// The name of the image, with Docker's mode behind a `:` if there is one.
    pub service: String,
    /// `read_only`.
    pub read_only: String,
    /// Where it came from, if not from its own place.
    pub field: Option<String>,
}

impl From<String> for RawFrom {
    fn from(service: String) -> Self {
        Self { service, ..Self::default() }
    }
}

impl From<&str> for RawFrom {
    fn from(service: &str) -> Self {
        service.to_owned().into()
    }
}

/// Writes a Debug that shows the place alone.
macro_rules! placed {
    ($($entry:ident)*) => { $(
        impl fmt::Debug for $entry {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.debug_struct(stringify!($entry)).field("field", &self.field).finish_non_exhaustive()
            }
        }
    )* };
}

placed! { RawPort RawVolume }

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Code;
    use crate::template::validate::{Limits, from_text};

    /// The findings of a text as code, path and line.
    fn found(text: &str) -> Vec<(Code, String, u32)> {
        let line = |found: &Diagnostic| found.position.map_or(0, |at| at.line);
        read(text).diagnostics.iter().map(|found| (found.code, found.field.clone(), line(found))).collect()
    }

    fn one(code: Code, field: &str, line: u32) -> Vec<(Code, String, u32)> {
        vec![(code, field.to_owned(), line)]
    }

    #[test]
    fn what_is_no_template_is_told() {
        assert_eq!(found("").first().map(|found| found.0), Some(Code::NotAMapping));
        for text in ["~", "just text"] {
            assert_eq!(found(text), one(Code::NotAMapping, "", 1), "{text:?}");
        }
        assert_eq!(found("[1]"), one(Code::NotAMapping, "images[0]", 1));
        assert_eq!(found("images: 5"), one(Code::NotAList, "images", 1));
        assert_eq!(found("images:\n- 5"), one(Code::NotAMapping, "images[0]", 2));
    }

    #[test]
    fn repeated_keys_are_told_with_their_place() {
        assert_eq!(found("name: a\nname: b\n"), one(Code::DuplicateKey, "name", 2));
        let lost_dash = "images:\n- name: a\n  source: x\n  name: b\n";
        assert_eq!(found(lost_dash), one(Code::DuplicateKey, "images[0].name", 4));
        assert!(Code::DuplicateKey.hint().contains("`- `"));
    }

    #[test]
    fn two_spellings_have_to_agree() {
        let text = |other: &str| format!("images:\n- ports:\n  - host_port: 80\n    hostPort: {other}\n");
        assert_eq!(found(&text("80")), []);
        assert_eq!(found(&text("81")), one(Code::DuplicateKey, "images[0].ports[0].host_port", 4));
        assert_eq!(found("images:\n- ports:\n  - proto: tcp\n    protocol: TCP\n"), []);
    }

    #[test]
    fn unknown_keys_are_told_with_a_suggestion() {
        let reading = read("images:\n- enviroment: []\n");
        let first = &reading.diagnostics[0];
        assert_eq!((first.code, first.field.as_str()), (Code::UnknownField, "images[0]"));
        assert!(first.message.ends_with("did you mean `environment`?"));
        assert!(reading.template.is_some());
    }

    #[test]
    fn an_unknown_key_beside_a_value_refuses_its_entry_and_is_never_shown() {
        let entry = |entry: &str| format!("images:\n- environment:\n  - {{variable: A}}\n  - {entry}\n");
        for (text, column) in [
            ("{variable: PASSWORD, value: abc,canary}", 37),
            ("{variable: PASSWORD, value:canary}", 26),
            ("{variable: PASSWORD, canary: x, canary: y}", 26),
            ("{? \"a\\ncanary\" : x}", 8),
            ("{variable: PASSWORD, valu: canary}", 26),
        ] {
            let reading = read(&entry(text));
            let [found] = &reading.diagnostics[..] else { panic!("{text}: {:?}", reading.diagnostics) };
            let place = found.position.map(|at| (at.line, at.column));
            assert_eq!((found.code, found.field.as_str()), (Code::VariableKey, "images[0].environment[1]"));
            assert_eq!(place, Some((4, column)), "{text}");
            assert!(!format!("{reading:?}").contains("canary"));
        }
        assert!(Code::VariableKey.hint().contains("in quotes"));
    }

    #[test]
    fn beside_a_value_the_key_that_is_meant_is_told_and_never_the_one_that_is_there() {
        for (entry, word) in [
            ("{variable: A, vaule: x}", "did you mean `value`?"),
            ("{varable: A, value: x}", "did you mean `variable`?"),
            ("{name: A, value: x}", "write `variable`"),
            ("{variable: A, value:x}", "blank behind the `:` of `value`"),
            ("{CANARY_PW: x}", "write `- variable: NAME`"),
            ("{variable: A, value: abc,canary}", "in quotes"),
            ("{variable: A, value: abc,values}", "in quotes"),
        ] {
            let found = read(&format!("images:\n- environment:\n  - {entry}\n")).diagnostics;
            assert_eq!(found[0].code, Code::VariableKey, "{entry}");
            assert!(found[0].hint().contains(word), "{entry}: {}", found[0].hint());
            let all = format!("{found:?}");
            assert!(["vaule", "CANARY", "canary", "varable"].iter().all(|key| !all.contains(key)), "{all}");
        }
    }

    #[test]
    fn an_entry_that_is_no_image_leaves_the_others_their_places() {
        for stray in ["nginx", "~", "[a]"] {
            let text = format!("images:\n- {stray}\n- name: WP\n  source: a:1\n");
            assert_eq!(found(&text), one(Code::NotAMapping, "images[0]", 2));
            assert_eq!(read(&text).template.unwrap().images[1].name, "WP");
        }
    }

    /// What is told of a text, as code and line, by the whole walk of reading and checking.
    fn told(text: &str) -> Vec<(Code, u32)> {
        let (validated, _) = from_text(text, None, &Limits::default());
        assert!(validated.template.is_none());
        let line = |found: &Diagnostic| found.position.map_or(0, |at| at.line);
        validated.diagnostics.iter().map(|found| (found.code, line(found))).collect()
    }

    #[test]
    fn what_is_refused_hides_no_other_fault_and_invents_none() {
        let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
        // `@` is the first line of an image whose source, name or entry it takes away; the port is at fault in any case.
        for (line, code) in [
            ("name: !ruby/object a", Code::TagForbidden),
            ("name: *a", Code::AliasForbidden),
            ("<<: *a", Code::AliasForbidden),
            ("? [a]\n  : 1", Code::KeyNotText),
            ("na\u{7}me: a", Code::ControlCharacter),
            ("name: a\u{1b}[2J", Code::ControlCharacter),
            ("name: &x a", Code::AliasForbidden),
            ("name: {{ x }}", Code::KeyNotText),
            // That a list stands where a text belongs is another fault.
            (&format!("x-deep: {deep}\n  name: a"), Code::TooDeep),
            ("environment: [!x {variable: 1}, {variable: B, value: *a}, *b]\n  name: a", Code::TagForbidden),
        ] {
            let text = format!(
                "images:\n- {line}\n  source: a:1\n  ports:\n  - container_port: 0\n- name: B\n  source: b:1\n  expose: [x]\n"
            );
            let found = told(&text);
            let refused = [Code::AliasForbidden, Code::MergeKey, Code::UnknownField, code];
            let others: Vec<_> = found.iter().filter(|(code, _)| !refused.contains(code)).collect();
            assert!(found.iter().any(|(found, _)| *found == code), "{line}: {found:?}");
            let codes: Vec<_> = others.iter().map(|(code, _)| *code).collect();
            assert_eq!(codes, [Code::PortRange, Code::PortNotDecimal], "{line}: {found:?}");
        }
    }

    #[test]
    fn a_merge_key_leaves_what_is_written_beside_it() {
        let text = "images:\n- <<: {source: 'a:1'}\n  name: A\n  expose: [x]\n- name: A\n  source: b:1\n";
        assert_eq!(told(text), [(Code::MergeKey, 2), (Code::PortNotDecimal, 4), (Code::NameCollision, 5)]);
    }

    #[test]
    fn control_characters_are_told_for_each_line_up_to_a_bound() {
        let text = "name: a\u{7}\u{7}\nimages:\n- name: \u{1b}\n  source: a:1\n  expose: [x]\n";
        assert_eq!(
            told(text),
            [(Code::ControlCharacter, 1), (Code::ControlCharacter, 3), (Code::PortNotDecimal, 5)]
        );
        let found = read(&"\0\n".repeat(100)).diagnostics;
        assert_eq!((found.len(), found.last().unwrap().code), (21, Code::ErrorsLeftOut));
        // A private character is nobody's mark.
        assert!(read("name: \u{e000}\nimages: []\n").template.unwrap().name.contains('\u{e000}'));
    }

    #[test]
    fn the_first_of_two_documents_is_read() {
        let text = "images:\n- {name: A, source: 'a:1', expose: [x]}\n---\nimages: []\n";
        assert_eq!(told(text), [(Code::MultipleDocuments, 3), (Code::PortNotDecimal, 2)]);
        assert_eq!(told("---\n---\nimages: []\n"), [(Code::MultipleDocuments, 2)]);
    }

    #[test]
    fn keys_of_the_agents_own_are_left_out_unseen() {
        let text =
            r#"[{"environment": [{"variable": "A", "value": "1", "canary": 7, "canary2": {"a": []}}]}]"#;
        assert_eq!(found(text), one(Code::UnknownField, "images[0].environment[0]", 1));
        assert!(!format!("{:?}", read(text)).contains("canary"));
        assert_eq!(read(text).template.unwrap().images[0].environment[0].value, "1");
    }

    #[test]
    fn of_a_key_that_may_be_a_piece_of_a_value_the_place_is_told() {
        let text = "images:\n- {name: a, command: run --password=abc,canary, key=canary: x, name}\n";
        assert_eq!(
            found(text),
            [
                (Code::UnknownField, "images[0]".into(), 2),
                (Code::UnknownField, "images[0]".into(), 2),
                (Code::DuplicateKey, "images[0].name".into(), 2),
            ]
        );
        assert!(!format!("{:?}", read(text)).contains("canary"));
    }

    #[test]
    fn wrong_shapes_are_told_and_neighbours_keep_their_paths() {
        let text = "images:\n- environment:\n  - oops\n  - variable: A\n    value: [1]\n  links: {a: b}\n  name: {x: y}\n";
        assert_eq!(
            found(text),
            [
                (Code::NotAScalar, "images[0].name".into(), 7),
                (Code::NotAList, "images[0].links".into(), 6),
                (Code::NotAMapping, "images[0].environment[0]".into(), 3),
                (Code::NotAScalar, "images[0].environment[1].value".into(), 5),
            ]
        );
        let template = read(text).template.unwrap();
        assert_eq!(template.images[0].environment[0].field.as_deref(), Some("images[0].environment[1]"));
    }

    #[test]
    fn the_old_wire_form_reads_like_yaml() {
        let wire = r#"[{"name":"WP","source":"a:1","command":"run","categories":[],
            "ports":[{"hostPort":"8000","containerPort":80,"protocol":"TCP"}],"expose":[443],
            "links":[{"name":"DB","alias":"DB_1"}],"environment":[{"variable":"A","value":"1"}],
            "volumes":[{"hostPath":"/h","containerPath":"/c"}],"volumesFrom":["DB"],"deployment":{"count":"3"}}]"#;
        let yaml = "images:\n- name: WP\n  source: a:1\n  command: run\n  ports:\n  - host_port: 8000\n    \
            container_port: '80'\n    proto: TCP\n  expose: '443'\n  links:\n  - service: DB\n    alias: DB_1\n  \
            environment:\n  - variable: A\n    value: 1\n  volumes:\n  - host_path: /h\n    container_path: /c\n  \
            volumes_from:\n  - service: DB\n  deployment:\n    count: 3\n";
        assert_eq!(found(wire), []);
        assert_eq!(read(wire).template, read(yaml).template);
        assert_eq!(read(wire).template.unwrap().images[0].volumes_from[0].service, "DB");
    }

    #[test]
    fn nulls_and_absent_keys_are_empty() {
        let text = "name:\ndescription: ~\nimages:\n- name: a\n  ports:\n  environment: ''\n  deployment:\n  expose: ''\n";
        assert_eq!(found(text), []);
        let template = read(text).template.unwrap();
        assert_eq!(template.images[0], RawImage { name: "a".into(), ..RawImage::default() });
    }

    #[test]
    fn positions_find_values_in_every_spelling() {
        let reading = read("- name: a\n  ports:\n  - hostPort: 1\n    protocol: x\n");
        let line = |field: &str| reading.positions.of(field).map(|at| (at.line, at.column));
        assert_eq!(line("images[0].ports[0].host_port"), Some((3, 15)));
        assert_eq!(line("images[0].ports[0].proto"), Some((4, 15)));
        assert_eq!(line("images[0].source"), Some((1, 3)));
        assert_eq!(line("override.images[0].name"), None);
        assert_eq!(line(""), None);
    }

    #[test]
    fn debug_shows_no_value() {
        let reading =
            read("images:\n- command: canary\n  environment:\n  - variable: A\n    value: canary\n");
        assert!(!format!("{reading:?}").contains("canary"));
    }
}
