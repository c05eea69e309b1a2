//! Findings as a compiler shows them: file, line, column, what is wrong, the line where it holds no value, what to do.

use std::fmt::Write;

use tonic_types::FieldViolation;

use super::flags::{place, spoken};
use crate::diagnostic::Position;
use crate::template::raw::{self, Positions};
use panamax_kubernetes_adapter_client as proto;

/// What the paths of an override begin with; alone it is the whole text. A template may have a key of this name.
pub const OVERRIDE: &str = "override.";

/// One finding about a text that was sent.
pub struct Finding {
    severity: &'static str,
    code: String,
    message: String,
    field: String,
    position: Option<Position>,
    hint: String,
}

impl Finding {
    /// A finding of a response.
    pub fn of(found: &proto::Diagnostic) -> Self {
        let severity = match found.severity() {
            proto::Severity::Error => "error",
            proto::Severity::Warning => "warning",
            proto::Severity::Info | proto::Severity::Unspecified => "info",
        };
        Self {
            severity,
            code: found.code.clone(),
            message: spoken(&found.message),
            field: found.field.clone(),
            position: position(found.line, found.column),
            hint: spoken(&found.hint),
        }
    }

    /// A violation of a refusal; its description begins with the place in the text, if it has one.
    pub fn of_violation(violation: &FieldViolation, reason: &str) -> Self {
        let placed = placed(&violation.description);
        let (position, message) =
            placed.map_or((None, violation.description.as_str()), |(at, rest)| (Some(at), rest));
        // A violation has no place for what to do, so it stands behind what is wrong.
        let (message, hint) = message.split_once("; hint: ").unwrap_or((message, ""));
        let code = if violation.reason.is_empty() { reason } else { &violation.reason };
        Self {
            severity: "error",
            code: code.to_owned(),
            message: spoken(message),
            field: violation.field.clone(),
            position,
            hint: spoken(hint),
        }
    }
}

fn position(line: i32, column: i32) -> Option<Position> {
    let line = u32::try_from(line).ok().filter(|line| *line > 0)?;
    Some(Position { line, column: u32::try_from(column).unwrap_or(1).max(1) })
}

/// Reads `line 3, column 5: …`.
fn placed(description: &str) -> Option<(Position, &str)> {
    let (place, rest) = description.strip_prefix("line ")?.split_once(": ")?;
    let (line, column) = place.split_once(", column ")?;
    Some((position(line.parse().ok()?, column.parse().ok()?)?, rest))
}

/// The counts of a list of findings.
pub fn count(found: &[proto::Diagnostic]) -> String {
    let of = |severity: proto::Severity| found.iter().filter(|one| one.severity() == severity).count();
    let told = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let (errors, warnings) = (of(proto::Severity::Error), of(proto::Severity::Warning));
    let notes = of(proto::Severity::Info);
    format!("{}, {}, {}", told(errors, "error"), told(warnings, "warning"), told(notes, "note"))
}

/// A text that was sent, under the name that its reader knows it by.
struct Named<'t> {
    name: String,
    text: &'t str,
    positions: Positions,
}

impl<'t> Named<'t> {
    fn new(name: &str, text: &'t str) -> Self {
        Self { name: name.to_owned(), text, positions: raw::read(text).positions }
    }
}

/// The texts that a request was made from.
#[derive(Default)]
pub struct Texts<'t> {
    template: Option<Named<'t>>,
    overriding: Option<Named<'t>>,
}

impl<'t> Texts<'t> {
    /// A template and, if there is one, what overrides it: each its name and its text.
    pub fn new((name, text): (&str, &'t str), overriding: Option<(&str, &'t str)>) -> Self {
        let overriding = overriding.map(|(name, text)| Named::new(name, text));
        Self { template: Some(Named::new(name, text)), overriding }
    }

    /// Everything found, a few lines each.
    pub fn show_all(&self, found: &[proto::Diagnostic]) -> String {
        found.iter().map(|found| self.show(&Finding::of(found))).collect()
    }

    /// A finding in a few lines.
    pub fn show(&self, finding: &Finding) -> String {
        let in_override = finding.field.strip_prefix(OVERRIDE);
        let source = if in_override.is_some() { &self.overriding } else { &self.template };
        // Whoever gets the fields alone, as the adapter does of an override, knows no places in the text.
        let found = || source.as_ref()?.positions.of(in_override?);
        let at = finding.position.or_else(found);
        let mut shown = String::new();
        let name = source.as_ref().map(|source| source.name.as_str()).filter(|_| is_of_text(finding, at));
        // Writing into a text cannot fail.
        let _ = match (name, at) {
            (Some(name), Some(at)) => write!(shown, "{name}:{}:{}: ", at.line, at.column),
            (Some(name), None) => write!(shown, "{name}: "),
            (None, _) => Ok(()),
        };
        let code = if finding.code.is_empty() { String::new() } else { format!(" [{}]", finding.code) };
        let _ = writeln!(shown, "{}: {}{code}", finding.severity, finding.message);
        let line = source
            .as_ref()
            .zip(at)
            .and_then(|(source, at)| source.positions.open_line(source.text, at).map(|line| (at, line)));
        if let Some((at, line)) = line {
            let caret = usize::try_from(at.column).unwrap_or(1).min(line.chars().count() + 1);
            let _ = writeln!(shown, "{:>6} | {line}\n       | {:>caret$}", at.line, "^");
        }
        // What is about a whole text is about the file whose name stands in front.
        if !finding.field.is_empty() && finding.field != OVERRIDE {
            // What has a place in a text is a path of the template; others are fields of the request, and flags. Whoever
            // sends a template names the deployment by a flag, and others by a word of its own.
            let place = match finding.field.as_str() {
                field if at.is_some() => field.to_owned(),
                "name" if self.template.is_some() => "--name".to_owned(),
                field => place(field),
            };
            let _ = writeln!(shown, "       = at {place}");
        }
        if !finding.hint.is_empty() {
            let _ = writeln!(shown, "       = hint: {}", finding.hint);
        }
        shown
    }
}

/// Whether a finding is about a text, and not about a flag.
fn is_of_text(finding: &Finding, at: Option<Position>) -> bool {
    let field = finding.field.as_str();
    at.is_some()
        || field.is_empty()
        || ["images", "override", "template"].iter().any(|of| field.starts_with(of))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(field: &str, line: i32, column: i32) -> proto::Diagnostic {
        proto::Diagnostic {
            severity: proto::Severity::Error.into(),
            code: "LINK_TARGET_MISSING".into(),
            message: "no image is called DBB".into(),
            field: field.into(),
            line,
            column,
            hint: "add it".into(),
        }
    }

    const TEXT: &str = "images:\n- name: WP\n  links:\n  - service: DBB\n  environment:\n  - value: canary\n";

    #[test]
    fn a_finding_is_shown_as_a_compiler_shows_it() {
        let texts = Texts::new(("a.pmx", TEXT), None);
        assert_eq!(
            texts.show_all(&[found("images[0].links[0].service", 4, 14)]),
            "a.pmx:4:14: error: no image is called DBB [LINK_TARGET_MISSING]\n     4 |   - service: DBB\n       |              \
             ^\n       = at images[0].links[0].service\n       = hint: add it\n"
        );
    }

    #[test]
    fn no_value_is_shown() {
        let texts = Texts::new(("a.pmx", TEXT), None);
        let shown = texts.show_all(&[found("images[0].environment[0].value", 6, 12)]);
        assert!(shown.starts_with("a.pmx:6:12: error") && !shown.contains("canary"), "{shown}");
    }

    #[test]
    fn what_overrides_has_places_of_its_own() {
        let over = "images:\n- name: WX\n";
        let texts = Texts::new(("a.pmx", TEXT), Some(("o.yaml", over)));
        let shown = texts.show_all(&[found("override.images[0].name", 0, 0)]);
        assert!(shown.starts_with("o.yaml:2:9: error") && shown.contains("2 | - name: WX"), "{shown}");
        // One that brings its place keeps it, also if it has no path.
        let shown = texts.show_all(&[found(OVERRIDE, 1, 3), found("override.images[0].name", 1, 2)]);
        assert!(
            shown.starts_with("o.yaml:1:3: error: no image is called DBB [LINK_TARGET_MISSING]\n"),
            "{shown}"
        );
        assert!(shown.contains("\no.yaml:1:2: error") && !shown.contains("= at override.\n"), "{shown}");
    }

    #[test]
    fn lines_are_shown_however_they_end_and_whatever_stands_before_the_first() {
        for (begin, end) in [("", "\n"), ("", "\r\n"), ("", "\r"), ("\u{feff}", "\n"), ("\u{feff}", "\r\n")] {
            let text = format!("{begin}{}", TEXT.replace('\n', end));
            let positions = raw::read(&text).positions;
            let at = positions.of("images[0].links[0].service").unwrap();
            assert_eq!((at.line, at.column), (4, 14), "{text:?}");
            let texts = Texts::new(("a.pmx", &text), None);
            let shown = texts.show_all(&[found("images[0].links[0].service", 4, 14)]);
            assert!(
                shown.contains("     4 |   - service: DBB\n       |              ^\n"),
                "{text:?}: {shown}"
            );
            let shown = texts.show_all(&[found("images", 1, 1)]);
            assert!(shown.contains("     1 | images:\n       | ^\n"), "{text:?}: {shown}");
            let shown = texts.show_all(&[found("images[0].environment[0].value", 6, 12)]);
            assert!(!shown.contains("canary"), "{text:?}: {shown}");
        }
    }

    #[test]
    fn what_stands_in_the_template_is_no_flag() {
        let text = "name: [a]\nvolumes: x\nnamespace: y\nimage_configs: z\n";
        let texts = Texts::new(("a.pmx", text), None);
        for (line, field) in [(1, "name"), (2, "volumes"), (3, "namespace"), (4, "image_configs")] {
            assert!(texts.show_all(&[found(field, line, 1)]).contains(&format!("= at {field}\n")), "{field}");
        }
        for (field, flag) in
            [("name", "--name"), ("namespace", "--namespace"), ("options.volumes", "--volumes")]
        {
            assert!(texts.show_all(&[found(field, 0, 0)]).contains(&format!("= at {flag}\n")), "{field}");
        }
    }

    #[test]
    fn a_violation_tells_its_place() {
        let violation = FieldViolation {
            field: "images[0].links[0].service".into(),
            description: "line 4, column 14: no image is called DBB".into(),
            reason: "LINK_TARGET_MISSING".into(),
            localized_message: None,
        };
        let shown = Texts::new(("a.pmx", TEXT), None).show(&Finding::of_violation(&violation, ""));
        assert!(shown.starts_with("a.pmx:4:14: error: no image is called DBB [LINK"), "{shown}");
        let flag = FieldViolation::new("options.volume_size", "must be a size");
        let shown = Texts::default().show(&Finding::of_violation(&flag, "FIELD_INVALID"));
        assert_eq!(shown, "error: must be a size [FIELD_INVALID]\n       = at --volume-size\n");
        let name = FieldViolation::new("name", "must be a DNS label");
        let place = |texts: Texts<'_>| texts.show(&Finding::of_violation(&name, "FIELD_INVALID"));
        assert!(place(Texts::new(("a.pmx", TEXT), None)).contains("= at --name\n"));
        assert!(place(Texts::default()).contains("= at name\n"), "of a command that has no such flag");
    }
}
