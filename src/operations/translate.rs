//! Validate and translate: the first steps of a Deploy, without a cluster.

use std::collections::BTreeSet;

use super::Operations;
use crate::artifacts::{Artifacts, ComponentName, DeploymentName, Planned};
use crate::diagnostic::Diagnostic;
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::template::raw::{self, RawTemplate};
use crate::template::{Template, overrides, validate};
use crate::translate::{self, Options};

/// A template as it came.
#[derive(Clone)]
pub enum Source {
    /// YAML or JSON text.
    Text(String),
    /// Fields of a request.
    Structured(RawTemplate),
}

impl std::fmt::Debug for Source {
    /// Says the form alone: the content holds values of the environment.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Source::Text(_) => "Text(..)",
            Source::Structured(_) => "Structured(..)",
        })
    }
}

/// A template that can be translated.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The template, override merged in.
    pub(super) template: Template,
    /// The deployment's name.
    pub(super) name: DeploymentName,
    /// What reading it found.
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// The answer to ValidateTemplate.
#[derive(Clone, Debug)]
pub struct Validated {
    /// The template as it was understood, if it was.
    pub template: Option<Template>,
    /// Everything that was found.
    pub diagnostics: Vec<Diagnostic>,
}

/// The answer to TranslateTemplate.
#[derive(Clone, Debug)]
pub struct Translated {
    /// The objects, in the order of applying.
    pub artifacts: Artifacts<Planned>,
    /// All of them as one YAML text.
    pub manifest_yaml: String,
    /// What was lost, changed or assumed.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads, merges and validates; `None` with the errors that refuse it.
fn read(source: &Source, overriding: Option<&RawTemplate>) -> (Option<Template>, Vec<Diagnostic>) {
    let (template, mut diagnostics) = match source {
        Source::Text(text) => {
            let reading = raw::read(text);
            (reading.template, reading.diagnostics)
        }
        Source::Structured(template) => (Some(template.clone()), Vec::new()),
    };
    let Some(mut template) = template else { return (None, diagnostics) };
    if let Some(overriding) = overriding {
        let (merged, mut found) = overrides::merge(template, overriding.clone());
        template = merged;
        diagnostics.append(&mut found);
    }
    let mut validated = validate::validate(template);
    diagnostics.append(&mut validated.diagnostics);
    let refused = diagnostics.iter().any(Diagnostic::is_error);
    (validated.template.filter(|_| !refused), diagnostics)
}

/// Reads a template and settles the deployment's name; every fault at once.
pub(super) fn prepare(
    source: &Source,
    overriding: Option<&RawTemplate>,
    name: Option<DeploymentName>,
) -> Result<Prepared> {
    let (template, diagnostics) = read(source, overriding);
    let template = template.ok_or_else(|| invalid(&diagnostics))?;
    let name = name.or_else(|| translate::slug(&template.name)).ok_or_else(|| {
        let text = "is required: the template's name gives none (letters, digits and dashes are needed)";
        Error::fields(vec![Fault::field("name", text)])
    })?;
    Ok(Prepared { template, name, diagnostics })
}

/// Translates; components in `controllers` stay controllers whatever their count.
pub(super) fn render(
    prepared: &Prepared,
    controllers: BTreeSet<ComponentName>,
) -> Result<(Artifacts<Planned>, Options, Vec<Diagnostic>)> {
    let options = Options { deployment: prepared.name.clone(), controllers };
    let translation = translate::translate(&prepared.template, &options);
    match translation.artifacts {
        Some(artifacts) => Ok((artifacts, options, translation.diagnostics)),
        None => Err(invalid(&combine(&prepared.diagnostics, &translation.diagnostics))),
    }
}

/// The findings of two steps, in the order of the steps.
pub(super) fn combine(first: &[Diagnostic], second: &[Diagnostic]) -> Vec<Diagnostic> {
    first.iter().chain(second).cloned().collect()
}

/// The error of a template that is refused: every fault, each with its path.
fn invalid(diagnostics: &[Diagnostic]) -> Error {
    let faults: Vec<Fault> = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.is_error())
        .map(|diagnostic| {
            let place = diagnostic.position.map(|at| format!("line {}, column {}: ", at.line, at.column));
            Fault {
                field: if diagnostic.field.is_empty() { "template_yaml".to_owned() } else { diagnostic.field.clone() },
                reason: diagnostic.code.as_str(),
                description: format!("{}{}", place.unwrap_or_default(), diagnostic.message),
            }
        })
        .collect();
    let first = faults.first().map(|fault| format!("{}: {}", fault.field, fault.description)).unwrap_or_default();
    let message = match faults.len() {
        0 | 1 => format!("the template is refused: {first}"),
        count => format!("the template is refused for {count} faults; the first: {first}"),
    };
    Error::new(ErrorKind::TemplateInvalid, message).with_faults(faults)
}

impl Operations {
    /// Says everything there is to say about a template; a bad one is no failure.
    pub fn validate_template(
        source: &Source,
        overriding: Option<&RawTemplate>,
        name: Option<DeploymentName>,
    ) -> Validated {
        let (template, mut diagnostics) = read(source, overriding);
        let named = template.as_ref().and_then(|template| name.or_else(|| translate::slug(&template.name)));
        // A template without a usable name is translated under a placeholder: its own faults are what is asked.
        let named = named.or_else(|| DeploymentName::new("template").ok());
        let (Some(read), Some(name)) = (&template, named) else { return Validated { template, diagnostics } };
        let translation = translate::translate(read, &Options { deployment: name, controllers: BTreeSet::new() });
        diagnostics.extend(translation.diagnostics);
        let refused = diagnostics.iter().any(Diagnostic::is_error);
        Validated { template: template.filter(|_| !refused), diagnostics }
    }

    /// Translates a template into manifests.
    pub fn translate_template(
        source: &Source,
        overriding: Option<&RawTemplate>,
        name: Option<DeploymentName>,
    ) -> Result<Translated> {
        let prepared = prepare(source, overriding, name)?;
        let (artifacts, _, diagnostics) = render(&prepared, BTreeSet::new())?;
        let manifest_yaml = translate::manifest_yaml(&artifacts);
        Ok(Translated { manifest_yaml, artifacts, diagnostics: combine(&prepared.diagnostics, &diagnostics) })
    }
}
