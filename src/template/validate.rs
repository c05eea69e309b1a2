//! Raw to Template, or all faults at once.

use super::command::Command;
use super::image::{Count, Image, ImageName, ImageReference};
use super::links::{self, Names};
use super::names::{accept, boolean, check_name, check_text, shown};
use super::raw::{self, RawImage, RawTemplate};
use super::{MAX_IMAGES, Parts, Template, environment, overrides, ports, volumes};
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
}

/// Checks a raw template within the usual limits.
pub fn validate(raw: RawTemplate) -> Validated {
    validate_within(raw, &Limits::default())
}

/// Checks a raw template; reports every fault with its path.
pub fn validate_within(raw: RawTemplate, limits: &Limits) -> Validated {
    let mut findings = Findings::default();
    let parts = check(raw, limits, &mut findings);
    let template = match parts {
        Some(parts) if !findings.refuse() => {
            accept(Template::try_from(parts), || "images".to_owned(), &mut findings)
        }
        _ => None,
    };
    Validated {
        template,
        diagnostics: findings.into_vec(),
    }
}

/// Reads a text, merges an override into it and checks the result: the whole walk of this room.
///
/// Every diagnostic about the text has its line and column. The positions serve later findings.
pub fn from_text(text: &str, changes: Option<RawTemplate>, limits: &Limits) -> (Validated, raw::Positions) {
    let reading = raw::read(text);
    let mut diagnostics = reading.diagnostics;
    let Some(template) = reading.template else {
        return (
            Validated {
                template: None,
                diagnostics,
            },
            reading.positions,
        );
    };
    let mut validated = from_raw(template, changes, limits);
    let unreadable: Vec<String> = diagnostics
        .iter()
        .filter(|found| found.is_error())
        .map(|found| found.field.clone())
        .collect();
    if !unreadable.is_empty() {
        validated.template = None;
    }
    // What could not be read is empty now; saying so again would not help.
    validated
        .diagnostics
        .retain(|found| !unreadable.iter().any(|field| covers(field, &found.field)));
    reading.positions.locate(&mut validated.diagnostics);
    diagnostics.append(&mut validated.diagnostics);
    (
        Validated {
            template: validated.template,
            diagnostics,
        },
        reading.positions,
    )
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
    Validated {
        template: validated.template,
        diagnostics,
    }
}

/// Whether a fault at one path explains another at the same path or below it.
fn covers(fault: &str, other: &str) -> bool {
    !fault.is_empty()
        && other
            .strip_prefix(fault)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
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
        findings.report(
            Code::LimitExceeded,
            "images",
            format!("more than {MAX_IMAGES} images"),
        );
        return None;
    }
    let spelled: Vec<RawImage> = raw
        .iter()
        .map(|image| RawImage {
            name: image.name.clone(),
            ..RawImage::default()
        })
        .collect();
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
    if let Some(first) = names
        .exact(&raw.name)
        .filter(|first| *first != index && !raw.name.is_empty())
    {
        let message = format!("images[{first}] has the same name `{}`", shown(&raw.name));
        findings.report(Code::NameCollision, at("name"), message);
    }
    let name = accept(ImageName::new(raw.name), || at("name"), findings);
    let source = accept(ImageReference::new(raw.source), || at("source"), findings);
    if source.as_ref().is_some_and(ImageReference::is_floating) {
        findings.report(Code::TagMissing, at("source"), "the source names no version");
    }
    for (text, key) in [
        (&raw.category, "category"),
        (&raw.kind, "type"),
        (&raw.description, "description"),
    ] {
        accept(check_text(text), || at(key), findings);
    }
    let command_field = raw.command.field.unwrap_or_else(|| at("command"));
    let command = accept(Command::new(raw.command.value), || command_field, findings);
    let ports = ports::check(raw.ports, &field, findings);
    let expose = ports::check_exposed(&raw.expose, &field, findings);
    let links = links::check(raw.links, (index, &field), names, findings);
    let environment = environment::check(raw.environment, &field, findings);
    let volumes = volumes::check(raw.volumes, &field, findings);
    let volumes_from = links::check_volumes_from(&raw.volumes_from, (index, &field), names, findings);
    let count = match raw.count.value.as_str() {
        "" => Some(None),
        text => {
            let count_field = raw.count.field.clone().unwrap_or_else(|| at("deployment.count"));
            accept(Count::parse(text, limits.count), || count_field, findings).map(Some)
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
    })
}

/// Refuses images that take volumes from each other in a circle.
fn check_cycles(images: &[Image], findings: &mut Findings) {
    // An image whose lenders are all settled is settled; who never settles is in a circle or behind one.
    let mut settled = vec![false; images.len()];
    loop {
        let ready = |image: &Image| {
            image
                .volumes_from
                .iter()
                .all(|from| settled.get(from.target).copied().unwrap_or(true))
        };
        let next: Vec<bool> = images.iter().map(ready).collect();
        if next == settled {
            break;
        }
        settled = next;
    }
    for (index, _) in settled.iter().enumerate().filter(|(_, settled)| !**settled) {
        let message = "the image takes volumes from images that take them from it";
        findings.report(
            Code::VolumesFromTarget,
            format!("images[{index}].volumes_from"),
            message,
        );
    }
}
