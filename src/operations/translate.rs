//! Validate and translate: the first steps of a Deploy, without a cluster.

use std::collections::BTreeSet;

use super::Operations;
use crate::artifacts::{Artifacts, ComponentName, DeploymentName};
use crate::diagnostic::{Code, Diagnostic};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::template::raw::{Positions, RawTemplate};
use crate::template::{Template, validate};
use crate::translate::{self, Options, Rules};

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

/// A template, and how it is to be translated.
#[derive(Clone, Debug)]
pub struct TemplateCall {
    /// The template.
    pub source: Source,
    /// What is merged into it.
    pub overrides: Option<RawTemplate>,
    /// The deployment's name; `None`: made from the template's name.
    pub name: Option<DeploymentName>,
    /// What becomes of its parts.
    pub rules: Rules,
    /// Whether warnings refuse it.
    pub strict: bool,
}

/// A template that can be translated.
#[derive(Debug)]
pub struct Prepared {
    /// The template, override merged in.
    pub(super) template: Template,
    /// The deployment's name.
    pub(super) name: DeploymentName,
    /// What reading it found.
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Where its text has what.
    pub(super) positions: Positions,
    /// What becomes of its parts.
    pub(super) rules: Rules,
    /// Whether warnings refuse it.
    strict: bool,
}

impl Prepared {
    /// A template that was stored: nothing is left to be said about it.
    pub(super) fn stored(template: Template, options: &Options) -> Self {
        Self {
            template,
            name: options.deployment.clone(),
            diagnostics: Vec::new(),
            positions: Positions::default(),
            rules: options.rules.clone(),
            strict: false,
        }
    }
}

/// The answer to ValidateTemplate.
#[derive(Clone, Debug)]
pub struct Validated {
    /// Whether it can be deployed: nothing found refuses it.
    pub valid: bool,
    /// The template as it was understood, if it was.
    pub template: Option<Template>,
    /// Everything that was found.
    pub diagnostics: Vec<Diagnostic>,
}

/// The answer to TranslateTemplate.
#[derive(Clone)]
pub struct Translated {
    /// The objects, in the order of applying.
    pub artifacts: Artifacts,
    /// Each of them as YAML text, in the same order.
    pub manifests: Vec<String>,
    /// All of them as one YAML text.
    pub manifest_yaml: String,
    /// What was lost, changed or assumed.
    pub diagnostics: Vec<Diagnostic>,
}

impl std::fmt::Debug for Translated {
    /// Leaves the manifests out: they hold the values of the environment.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Translated")
            .field("artifacts", &self.artifacts)
            .field("diagnostics", &self.diagnostics)
            .finish_non_exhaustive()
    }
}

/// Reads, merges and validates; no template when an error refuses it.
fn read(call: &TemplateCall) -> (validate::Validated, Positions) {
    let limits = validate::Limits::default();
    let overriding = call.overrides.clone();
    let (mut validated, positions) = match &call.source {
        Source::Text(text) => validate::from_text(text, overriding, &limits),
        Source::Structured(template) => {
            (validate::from_raw(template.clone(), overriding, &limits), Positions::default())
        }
    };
    judge(&mut validated.diagnostics, call.strict);
    (validated, positions)
}

/// Makes errors of warnings where the caller wants it so.
fn judge(diagnostics: &mut [Diagnostic], strict: bool) {
    for diagnostic in diagnostics {
        diagnostic.strict = strict;
    }
}

/// Reads a template and settles the deployment's name; every fault at once.
pub(super) fn prepare(call: &TemplateCall) -> Result<Prepared> {
    let (validated, positions) = read(call);
    let diagnostics = validated.diagnostics;
    let template = validated.template.ok_or_else(|| invalid(&diagnostics))?;
    let name = call.name.clone().or_else(|| translate::slug(&template.name)).ok_or_else(|| {
        let text = "is required: the template's name gives none (letters, digits and dashes are needed)";
        Error::fields(vec![Fault::field("name", text)])
    })?;
    Ok(Prepared { template, name, diagnostics, positions, rules: call.rules.clone(), strict: call.strict })
}

/// Translates; components in `controllers` stay controllers whatever their count.
///
/// Fails with TEMPLATE_INVALID, and all that was found since the template was read, when anything refuses it.
pub(super) fn render(
    prepared: &Prepared,
    controllers: BTreeSet<ComponentName>,
) -> Result<(Artifacts, Options, Vec<Diagnostic>)> {
    let options = Options { controllers, ..Options::with(prepared.name.clone(), prepared.rules.clone()) };
    let mut translation = translate::translate(&prepared.template, &options);
    prepared.positions.locate(&mut translation.diagnostics);
    judge(&mut translation.diagnostics, prepared.strict);
    let refused = prepared.diagnostics.iter().chain(&translation.diagnostics).any(Diagnostic::is_error);
    match translation.artifacts {
        Some(artifacts) if !refused => Ok((artifacts, options, translation.diagnostics)),
        _ => Err(invalid(&combine(&prepared.diagnostics, &translation.diagnostics))),
    }
}

/// The numbers in a path, as 1 and 0 in `images[1].ports[0].proto`; for a path without any, beyond all.
fn numbers(field: &str) -> Vec<usize> {
    let parts = field.split(['[', ']']).skip(1).step_by(2);
    let numbers: Vec<usize> = parts.map_while(|part| part.parse().ok()).collect();
    if numbers.is_empty() { vec![usize::MAX] } else { numbers }
}

/// The findings of two steps, in the order of the steps.
pub(super) fn combine(first: &[Diagnostic], second: &[Diagnostic]) -> Vec<Diagnostic> {
    first.iter().chain(second).cloned().collect()
}

/// The error of a template that is refused: every fault, each with its path.
///
/// A template that has no fault of its own, and whose objects would be too many or too large, goes beyond a limit.
fn invalid(diagnostics: &[Diagnostic]) -> Error {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
    let is_limit = |found: &Diagnostic| matches!(found.code, Code::TooManyObjects | Code::ObjectTooLarge);
    let kind = match errors.clone().all(is_limit) {
        true => ErrorKind::LimitExceeded,
        false => ErrorKind::TemplateInvalid,
    };
    let faults: Vec<Fault> = errors
        .map(|diagnostic| {
            let place = diagnostic.position.map(|at| format!("line {}, column {}: ", at.line, at.column));
            Fault {
                field: if diagnostic.field.is_empty() {
                    "template_yaml".to_owned()
                } else {
                    diagnostic.field.clone()
                },
                reason: diagnostic.code.as_str(),
                description: format!("{}{}", place.unwrap_or_default(), diagnostic.message),
            }
        })
        .collect();
    let first =
        faults.first().map(|fault| format!("{}: {}", fault.field, fault.description)).unwrap_or_default();
    let message = match faults.len() {
        0 | 1 => format!("the template is refused: {first}"),
        count => format!("the template is refused for {count} faults; the first: {first}"),
    };
    Error::new(kind, message).with_faults(faults)
}

impl Operations {
    /// Says everything there is to say about a template; a bad one is no failure.
    pub fn validate_template(call: &TemplateCall) -> Validated {
        let (validate::Validated { template, mut diagnostics }, positions) = read(call);
        // A template without a usable name is translated under a placeholder: its own faults are what is asked.
        let named = template.as_ref().and_then(|template| {
            let name = call.name.clone().or_else(|| translate::slug(&template.name));
            name.or_else(|| DeploymentName::new("template").ok())
        });
        if let (Some(template), Some(name)) = (&template, named) {
            let options = Options::with(name, call.rules.clone());
            let mut translation = translate::translate(template, &options);
            positions.locate(&mut translation.diagnostics);
            judge(&mut translation.diagnostics, call.strict);
            diagnostics.append(&mut translation.diagnostics);
        }
        let valid = !diagnostics.iter().any(Diagnostic::is_error);
        // The contract: errors first, else in the order of the template. What has no place in a text comes last, by
        // the numbers in its path.
        diagnostics.sort_by_cached_key(|found| {
            (!found.is_error(), found.position.is_none(), found.position, numbers(&found.field))
        });
        Validated { valid, template, diagnostics }
    }

    /// Translates a template into manifests.
    pub fn translate_template(call: &TemplateCall) -> Result<Translated> {
        let prepared = prepare(call)?;
        let (artifacts, _, diagnostics) = render(&prepared, BTreeSet::new())?;
        let manifest_yaml = translate::manifest_yaml(&artifacts);
        let manifests = artifacts.objects().iter().map(translate::object_yaml).collect();
        Ok(Translated {
            manifests,
            manifest_yaml,
            artifacts,
            diagnostics: combine(&prepared.diagnostics, &diagnostics),
        })
    }
}
