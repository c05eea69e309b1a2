//! Raw to Template, or all faults at once.

use std::collections::BTreeSet;

use super::command::Command;
use super::image::{Count, Image, ImageName, ImageReference};
use super::links::{self, Names};
use super::names::{accept, boolean, check_name, check_text, check_visible, shown};
use super::raw::{self, RawImage, RawTemplate};
use super::{Fault, MAX_IMAGES, Parts, Place, Template, environment, overrides, ports, volumes};
use crate::diagnostic::{Code, Diagnostic, Findings};

/// Bounds that the operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest `deployment.count`; 100 unless set, at most 10,000.
    pub count: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { count: 100 }
    }
}

/// What checking a template gave.
#[derive(Debug, Default)]
pub struct Validated {
    /// The template; absent when a diagnostic is an error.
    pub template: Option<Template>,
    /// Everything found, in the order of the template.
    pub diagnostics: Vec<Diagnostic>,
    /// The names of the images in their order, without those that are at fault already: what is to be said about them
    /// is said even if there is no template.
    pub names: Vec<Option<ImageName>>,
}

/// Checks a raw template within the usual limits.
pub fn validate(raw: RawTemplate) -> Validated {
    validate_within(raw, &Limits::default())
}

/// Checks a raw template; reports every fault with its path.
pub fn validate_within(raw: RawTemplate, limits: &Limits) -> Validated {
    let mut findings = Findings::default();
    let names = image_names(&raw.images);
    let parts = check(raw, limits, &mut findings);
    let template = match parts {
        Some(parts) if !findings.refuse() => {
            accept(Template::try_from(parts), || "images".to_owned(), &mut findings)
        }
        _ => None,
    };
    Validated { template, diagnostics: findings.into_vec(), names }
}

/// The name of each image that has one of its own.
fn image_names(images: &[RawImage]) -> Vec<Option<ImageName>> {
    let names = Names::of(images);
    let own = |(index, image): (usize, &RawImage)| {
        let is_first = names.exact(&image.name) == Some(index);
        is_first.then(|| ImageName::new(image.name.clone()).ok()).flatten()
    };
    images.iter().enumerate().map(own).collect()
}

/// Reads a text, merges an override into it and checks the result: the whole walk of this room.
///
/// Every diagnostic about the text has its line and column. The positions serve later findings.
pub fn from_text(text: &str, changes: Option<RawTemplate>, limits: &Limits) -> (Validated, raw::Positions) {
    let reading = raw::read(text);
    let mut diagnostics = reading.diagnostics;
    let Some(template) = reading.template else {
        return (Validated { diagnostics, ..Validated::default() }, reading.positions);
    };
    let mut validated = from_raw(template, changes, limits);
    let unreadable: BTreeSet<&str> =
        diagnostics.iter().filter(|found| found.is_error()).map(|found| found.field.as_str()).collect();
    if !unreadable.is_empty() {
        validated.template = None;
    }
    // What could not be read is empty now; saying so again would not help.
    let is_unread = |field: &str| {
        reading.positions.is_unread(field) || places(field).any(|place| unreadable.contains(place))
    };
    validated.diagnostics.retain(|found| !is_unread(&found.field));
    blame_unknown_keys(&diagnostics, &mut validated.diagnostics, &reading.positions);
    reading.positions.locate(&mut validated.diagnostics);
    diagnostics.append(&mut validated.diagnostics);
    (Validated { diagnostics, ..validated }, reading.positions)
}

/// Merges an override into a raw template and checks the result.
pub fn from_raw(template: RawTemplate, changes: Option<RawTemplate>, limits: &Limits) -> Validated {
    let Some(changes) = changes else {
        return validate_within(template, limits);
    };
    let (merged, mut diagnostics) = overrides::merge(template, changes);
    let mut validated = validate_within(merged, limits);
    if diagnostics.iter().any(Diagnostic::is_error) {
        validated.template = None;
    }
    diagnostics.append(&mut validated.diagnostics);
    Validated { diagnostics, ..validated }
}

/// Where a key is missing and its mapping has one that is unknown, that one was meant: says so where the fault is told.
fn blame_unknown_keys(read: &[Diagnostic], faults: &mut [Diagnostic], positions: &raw::Positions) {
    let unknown: Vec<&Diagnostic> = read.iter().filter(|found| found.code == Code::UnknownField).collect();
    let missing = |fault: &Diagnostic| {
        let codes = [
            Code::SourceMissing,
            Code::NameMissing,
            Code::PortMissing,
            Code::LinkTargetMissing,
            Code::VolumePath,
            Code::NoImages,
        ];
        codes.contains(&fault.code) && !positions.has(&fault.field)
    };
    for fault in faults.iter_mut().filter(|fault| missing(fault)) {
        let (parent, key) = fault.field.rsplit_once('.').unwrap_or(("", &fault.field));
        let parent_of = |path: &str| path.rsplit_once('.').map_or("", |(parent, _)| parent).to_owned();
        let lies_in =
            |found: &&&Diagnostic, parent: &str| found.field == parent || parent_of(&found.field) == parent;
        let beside = unknown.iter().filter(|found| lies_in(found, parent));
        // Of the same mistake in many entries of a list the first alone is told.
        let first =
            parent.strip_suffix(']').and_then(|parent| Some(format!("{}[", parent.rsplit_once('[')?.0)));
        let alike = first.iter().flat_map(|list| {
            unknown.iter().filter(move |found| found.field.starts_with(list) && found.is_of_many())
        });
        let means = |found: &&&Diagnostic| {
            [found.hint(), &*found.message].iter().any(|text| text.contains(&format!("`{key}`")))
        };
        // A key that has an advice of its own means something else.
        let is_open = |found: &&&Diagnostic| found.advice.is_none();
        let meant = beside.clone().find(means).or_else(|| beside.clone().find(is_open));
        let meant = meant.or_else(|| alike.clone().find(means));
        let Some((found, at)) = meant.and_then(|found| Some((found, found.position?))) else { continue };
        fault.advice = Some(
            format!("line {}, column {}: {}; {}", at.line, at.column, found.message, found.hint()).into(),
        );
    }
}

/// A path and all that it lies in, but for the whole template.
fn places(path: &str) -> impl Iterator<Item = &str> {
    let ends =
        path.char_indices().filter(|(_, character)| matches!(character, '.' | '[')).map(|(end, _)| end);
    ends.chain([path.len()]).filter_map(|end| path.get(..end)).filter(|place| !place.is_empty())
}

fn check(raw: RawTemplate, limits: &Limits, findings: &mut Findings) -> Option<Parts> {
    accept(check_name(&raw.name), || "name".to_owned(), findings);
    for (text, key) in [
        (&raw.description, "description"),
        (&raw.keywords, "keywords"),
        (&raw.kind, "type"),
        (&raw.documentation, "documentation"),
    ] {
        accept(check_text(text), || key.to_owned(), findings);
    }
    for (index, author) in raw.authors.iter().enumerate() {
        accept(check_text(author), || format!("authors[{index}]"), findings);
    }
    let recommended = accept(boolean(&raw.recommended), || "recommended".to_owned(), findings);
    let images = check_images(raw.images, limits, findings);
    Some(Parts {
        name: raw.name,
        description: raw.description,
        keywords: raw.keywords,
        kind: raw.kind,
        documentation: raw.documentation,
        recommended: recommended?,
        authors: raw.authors,
        images: images?,
    })
}

fn check_images(raw: Vec<RawImage>, limits: &Limits, findings: &mut Findings) -> Option<Vec<Image>> {
    if raw.is_empty() {
        findings.report(Code::NoImages, "images", "the template has no image");
        return None;
    }
    if raw.len() > MAX_IMAGES {
        findings.report(Code::LimitExceeded, "images", format!("more than {MAX_IMAGES} images"));
        return None;
    }
    let spelled: Vec<RawImage> =
        raw.iter().map(|image| RawImage { name: image.name.clone(), ..RawImage::default() }).collect();
    let names = Names::of(&spelled);
    let mut images = Vec::with_capacity(raw.len());
    for (index, image) in raw.into_iter().enumerate() {
        images.extend(check_image(image, index, &names, limits, findings));
    }
    if images.len() == spelled.len() {
        check_cycles(&images, findings);
    }
    Some(images)
}

fn check_image(
    raw: RawImage,
    index: usize,
    names: &Names<'_>,
    limits: &Limits,
    findings: &mut Findings,
) -> Option<Image> {
    let field = format!("images[{index}]");
    let at = |key: &str| format!("{field}.{key}");
    if let Some(first) = names.exact(&raw.name).filter(|first| *first != index && !raw.name.is_empty()) {
        let message = format!("images[{first}] has the same name `{}`", shown(&raw.name));
        findings.report(Code::NameCollision, at("name"), message);
    }
    let name = accept(ImageName::new(raw.name), || at("name"), findings);
    let source = accept(check_source(raw.source), || at("source"), findings);
    if let Some(source) = source.as_ref().filter(|source| source.is_floating()) {
        let found = Diagnostic::new(Code::TagMissing, at("source"), "the source names no version");
        findings.push(match source.tag() {
            Some(_) => {
                found.advising("write a version in place of `latest`, which names whatever was pushed last")
            }
            None => found,
        });
    }
    for (text, key) in [(&raw.category, "category"), (&raw.kind, "type"), (&raw.description, "description")] {
        accept(check_text(text), || at(key), findings);
    }
    let command_field = Place::from(raw.command.field.unwrap_or_default());
    let count_field = Place::from(raw.count.field.unwrap_or_default());
    let command =
        Command::new(raw.command.value).and_then(|command| command.check_visible().map(|()| command));
    let command = accept(command, || command_field.or(|| at("command")), findings);
    let ports = ports::check(raw.ports, &field, findings);
    let expose = ports::check_exposed(&raw.expose, &field, findings);
    let links = links::check(raw.links, (index, &field), names, findings);
    let environment = environment::check(raw.environment, &field, findings);
    let volumes = volumes::check(raw.volumes, &field, findings);
    let volumes_from = links::check_volumes_from(&raw.volumes_from, (index, &field), names, findings);
    let count = match raw.count.value.as_str() {
        "" => Some(None),
        text => {
            let count_field = || count_field.or(|| at("deployment.count"));
            accept(Count::parse(text, limits.count), count_field, findings).map(Some)
        }
    };
    Some(Image {
        name: name?,
        source: source?,
        category: raw.category,
        kind: raw.kind,
        description: raw.description,
        command: command?,
        ports,
        expose,
        links,
        environment,
        volumes,
        volumes_from,
        count: count?,
        command_field,
        count_field,
    })
}

/// A source as people may write one; what was stored before a rule came is still read.
fn check_source(text: String) -> Result<ImageReference, Fault> {
    check_visible(&text, "the source")?;
    let advice = source_advice(&text);
    let source = ImageReference::new(text).map_err(|fault| match advice {
        Some(advice) => fault.advising(advice),
        None => fault,
    })?;
    if source.is_id() {
        let fault = Fault::new(Code::ImageReference, "the source is the id of an image on one machine");
        return Err(fault.advising("push the image to a registry and name it as `registry/repository:tag`"));
    }
    Ok(source)
}

/// What to write instead of a text that is no source.
fn source_advice(text: &str) -> Option<&'static str> {
    if text.contains("://") {
        return Some("leave out `http://` and the like: a source begins with its registry");
    }
    if text.contains(['$', '{']) {
        return Some("write the version out: nothing is expanded in a template");
    }
    if text.contains(char::is_whitespace) {
        return Some("write the image alone; what is to run in it belongs under `command`");
    }
    if text.ends_with(':') {
        return Some("write a tag behind the `:`, or leave it out");
    }
    text.contains(char::is_uppercase).then_some("write the repository in lower case; a tag may have capitals")
}

/// Refuses images that take volumes from each other in a circle.
fn check_cycles(images: &[Image], findings: &mut Findings) {
    for (index, image) in images.iter().enumerate() {
        let mut reached = vec![false; images.len()];
        let mut waiting: Vec<usize> = image.volumes_from.iter().map(|from| from.target).collect();
        while let Some(next) = waiting.pop() {
            let Some(lender) = images.get(next) else { continue };
            if !std::mem::replace(&mut reached[next], true) {
                waiting.extend(lender.volumes_from.iter().map(|from| from.target));
            }
        }
        if reached[index] {
            let message = "the image takes volumes from images that take them from it";
            findings.report(Code::VolumesFromTarget, format!("images[{index}].volumes_from"), message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name: T\nimages:\n- name: WP\n  source: a:1\n- name: DB\n  source: b:1\n";

    /// The findings of the good template with one line changed, as code, path and line.
    fn found(from: &str, to: &str) -> Vec<(Code, String, u32)> {
        let text = GOOD.replacen(from, to, 1);
        assert!(from.is_empty() || text != GOOD);
        let (validated, _) = from_text(&text, None, &Limits::default());
        let refused = validated.diagnostics.iter().any(Diagnostic::is_error);
        assert_eq!(validated.template.is_none(), refused);
        let line = |found: &Diagnostic| found.position.map_or(0, |at| at.line);
        validated.diagnostics.iter().map(|found| (found.code, found.field.clone(), line(found))).collect()
    }

    fn one(code: Code, field: &str, line: u32) -> Vec<(Code, String, u32)> {
        vec![(code, field.to_owned(), line)]
    }

    #[test]
    fn a_good_template_has_no_findings() {
        assert_eq!(found("", ""), []);
    }

    #[test]
    fn names_are_there_visible_and_unique() {
        assert_eq!(found("name: WP", "name: ''"), one(Code::NameMissing, "images[0].name", 3));
        assert_eq!(found("name: WP", "name: ___"), one(Code::NameMissing, "images[0].name", 3));
        assert_eq!(found("name: DB", "name: WP"), one(Code::NameCollision, "images[1].name", 5));
        assert_eq!(found("name: WP", "name: \"W\\0P\""), one(Code::ControlCharacter, "images[0].name", 3));
        assert_eq!(found("name: WP", "name: W\u{202e}P"), one(Code::InvisibleCharacter, "images[0].name", 3));
        assert_eq!(found("name: T", "name: \"\\e[2J\""), one(Code::ControlCharacter, "name", 1));
        assert_eq!(found("name: WP", "name: no"), []);
    }

    #[test]
    fn sources_are_references_with_a_version() {
        assert_eq!(found("  source: a:1\n", ""), one(Code::SourceMissing, "images[0].source", 3));
        assert_eq!(found("a:1", "A:1"), one(Code::ImageReference, "images[0].source", 4));
        assert_eq!(found("a:1", "a"), one(Code::TagMissing, "images[0].source", 4));
    }

    #[test]
    fn lists_have_a_bound_and_images_are_not_empty() {
        assert_eq!(
            found("- name: WP\n  source: a:1\n- name: DB\n  source: b:1\n", ""),
            one(Code::NoImages, "images", 2)
        );
        let images: String = (0..101).map(|index| format!("- {{name: i{index}, source: 'a:1'}}\n")).collect();
        let (validated, _) = from_text(&format!("images:\n{images}"), None, &Limits::default());
        assert_eq!(validated.diagnostics[0].code, Code::LimitExceeded);
    }

    #[test]
    fn counts_commands_and_booleans_are_checked() {
        let count =
            |count: &str| found("  source: a:1", &format!("  source: a:1\n  deployment: {{count: {count}}}"));
        assert_eq!(count("-1"), one(Code::CountNotANumber, "images[0].deployment.count", 5));
        assert_eq!(count("101"), one(Code::LimitExceeded, "images[0].deployment.count", 5));
        assert_eq!(count("'3'"), []);
        assert_eq!(count("0"), []);
        let command = found("  source: a:1", "  source: a:1\n  command: a 'b");
        assert_eq!(command, one(Code::CommandQuoting, "images[0].command", 5));
        assert_eq!(found("name: T", "recommended: perhaps"), one(Code::NotABoolean, "recommended", 1));
    }

    #[test]
    fn the_operators_limit_counts() {
        let text = GOOD.replace("a:1", "a:1\n  deployment: {count: 500}");
        assert!(from_text(&text, None, &Limits { count: 1_000 }).0.template.is_some());
    }

    #[test]
    fn volumes_from_has_to_lead_somewhere_and_not_back() {
        let from = |name: &str| found("  source: a:1", &format!("  source: a:1\n  volumes_from: [{name}]"));
        assert_eq!(from("DB"), []);
        assert_eq!(from("MQ"), one(Code::VolumesFromTarget, "images[0].volumes_from[0]", 5));
        assert_eq!(from("WP"), one(Code::VolumesFromTarget, "images[0].volumes_from[0]", 5));
        let text =
            GOOD.replace("a:1", "a:1\n  volumes_from: [DB]").replace("b:1", "b:1\n  volumes_from: [WP]");
        let (validated, _) = from_text(&text, None, &Limits::default());
        let fields: Vec<_> = validated.diagnostics.iter().map(|found| found.field.as_str()).collect();
        assert_eq!(fields, ["images[0].volumes_from", "images[1].volumes_from"]);
        // Who only takes from the circle is not to blame.
        let text = format!("{text}- name: MQ\n  source: c:1\n  volumes_from: [WP]\n");
        let (validated, _) = from_text(&text, None, &Limits::default());
        assert_eq!(validated.diagnostics.len(), 2);
    }

    #[test]
    fn what_could_not_be_read_is_told_once() {
        assert_eq!(found("source: a:1", "source: [a]"), one(Code::NotAScalar, "images[0].source", 4));
    }

    #[test]
    fn all_faults_come_at_once() {
        let text = "name: T\nimages:\n- name: ''\n  source: X\n  ports: [{container_port: 0}]\n  links: [{service: y}]\n";
        let (validated, _) = from_text(text, None, &Limits::default());
        let codes: Vec<_> = validated.diagnostics.iter().map(|found| found.code).collect();
        assert_eq!(
            codes,
            [Code::NameMissing, Code::ImageReference, Code::PortRange, Code::LinkTargetMissing]
        );
    }

    #[test]
    fn a_stray_entry_hides_no_other_fault() {
        let text = "name: T\nimages:\n- nginx\n- {name: A, source: X, environment: [{variable: 'A B'}]}\n- ~\n- {name: A, source: 'a:1', \
            command: a 'b, deployment: {count: 101}}\n";
        let (validated, _) = from_text(text, None, &Limits::default());
        let found: Vec<_> =
            validated.diagnostics.iter().map(|found| (found.code, found.field.as_str())).collect();
        assert_eq!(
            found,
            [
                (Code::NotAMapping, "images[0]"),
                (Code::NotAMapping, "images[2]"),
                (Code::ImageReference, "images[1].source"),
                (Code::VariableName, "images[1].environment[0].variable"),
                (Code::NameCollision, "images[3].name"),
                (Code::CommandQuoting, "images[3].command"),
                (Code::LimitExceeded, "images[3].deployment.count"),
            ]
        );
        assert!(validated.template.is_none());
    }

    #[test]
    fn no_fault_shows_a_value() {
        let text = GOOD.replace("a:1", "a:1\n  command: canary 'canary\n  environment: [{variable: A, value: \"canary\\0\"}, {variable: 'A B', value: canary}]");
        let (validated, _) = from_text(&text, None, &Limits::default());
        assert_eq!(validated.diagnostics.len(), 3);
        assert!(!format!("{validated:?}").contains("canary"));
    }

    #[test]
    fn an_override_is_checked_at_its_own_path() {
        let changes = raw::read("images:\n- name: WP\n  deployment: {count: x}\n").template;
        let (validated, _) = from_text(GOOD, changes, &Limits::default());
        assert_eq!(validated.diagnostics[0].field, "override.images[0].deployment.count");
        assert_eq!(validated.diagnostics[0].position, None);
    }

    #[test]
    fn what_is_kept_of_an_override_knows_its_own_path() {
        let text = GOOD.replace("a:1", "a:1\n  command: run\n  deployment: {count: 2}");
        let changes = raw::read("images:\n- name: WP\n  command: walk\n  deployment: {count: 3}\n").template;
        let merged = from_text(&text, changes, &Limits::default()).0.template.unwrap();
        let written = text.replace("run", "walk").replace("count: 2", "count: 3");
        let written = from_text(&written, None, &Limits::default()).0.template.unwrap();
        let paths =
            |template: &Template| [template.images[0].command_path(0), template.images[0].count_path(0)];
        assert_eq!(paths(&written), ["images[0].command", "images[0].deployment.count"]);
        assert_eq!(paths(&merged), ["override.images[0].command", "override.images[0].deployment.count"]);
        assert_eq!(merged, written, "where something was written is no part of what it says");
    }

    #[test]
    fn a_stored_template_reads_back_equal_and_checked() {
        let text =
            GOOD.replace("a:1", "a:1\n  links: [{service: DB}]\n  command: run 'x y'\n  expose: [53/udp]\n  ports: [{container_port: 1}]\n  volumes: [{container_path: /x}]\n  volumes_from: [DB]");
        let template = from_text(&text, None, &Limits::default()).0.template.unwrap();
        let stored = serde_json::to_string(&template).unwrap();
        // Stored as the version before did: what came since is written only where the template says it.
        assert!(!stored.contains("interface") && !stored.contains("read_only"), "{stored}");
        assert_eq!(serde_json::from_str::<Template>(&stored).unwrap(), template);
        assert!(serde_json::from_str::<Template>(&stored.replace("\"target\":1", "\"target\":2")).is_err());
        assert!(serde_json::from_str::<Template>(&stored.replace("\"DB\"", "\"WP\"")).is_err());
    }
}
