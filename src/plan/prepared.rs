//! A template read, merged and named: the first steps of every call that brings one.

use std::collections::BTreeSet;

use super::Revision;
use crate::artifacts::{Artifacts, ComponentName, DeploymentName, Kind, ObjectName};
use crate::diagnostic::{Code, Diagnostic, Findings};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::facts::{self, Configs};
use crate::template::raw::{Positions, RawTemplate};
use crate::template::{Template, validate};
use crate::translate::{self, Options, Rules, VolumeMapping};

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
    /// The configurations of its images that the caller brings.
    pub image_configs: Configs,
    /// Whether warnings refuse it.
    pub strict: bool,
    /// How much it may ask for.
    pub limits: validate::Limits,
}

/// A template that can be translated.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The template, override merged in.
    pub template: Template,
    /// The deployment's name.
    pub name: DeploymentName,
    /// What reading it found.
    pub diagnostics: Vec<Diagnostic>,
    /// Where its text has what.
    pub positions: Positions,
    /// What becomes of its parts.
    pub rules: Rules,
    /// Whether a first Deploy looks for claims that an earlier deployment of the name has left; else it meets them.
    pub looks_back: bool,
    /// Whether warnings refuse it.
    strict: bool,
    /// What it was found to become, until somebody takes it.
    checked: Option<Rendered>,
    /// The key of the revision that it was stored in; see [`super::Revision::key`].
    pub key: Option<String>,
}

impl Prepared {
    /// A template that was stored: nothing is left to be said about it.
    pub fn stored(revision: &Revision) -> Self {
        let options = &revision.options;
        Self {
            template: revision.template.clone(),
            name: options.deployment.clone(),
            diagnostics: Vec::new(),
            positions: Positions::default(),
            rules: options.rules.clone(),
            looks_back: false,
            strict: false,
            checked: None,
            key: revision.key.clone(),
        }
    }
}

impl Prepared {
    /// The kinds of object that it was found to become.
    pub fn kinds(&self) -> BTreeSet<Kind> {
        let checked = self.checked.iter().flat_map(|checked| checked.artifacts.objects());
        checked.map(|artifact| artifact.reference.kind).collect()
    }

    /// The components for which it has no count.
    pub fn uncounted(&self) -> BTreeSet<ComponentName> {
        translate::uncounted(&self.template)
    }

    /// Whether it may have volume claims, those included that it has no longer.
    pub fn may_claim(&self) -> bool {
        let mut images = self.template.images.iter();
        self.rules.volumes == VolumeMapping::PersistentVolumeClaim
            && images.any(|image| !image.volumes.is_empty() || !image.volumes_from.is_empty())
    }

    /// Whether a claim that an earlier deployment has left decides what is mounted, although this one would not make it:
    /// nothing that is created meets such a claim, so it has to be looked for.
    pub fn may_find_claims(&self) -> bool {
        translate::may_have_left_claims(&self.template, &self.rules)
    }

    /// Whether it asks for what a revision was made from: the same template, under the same rules.
    pub fn repeats(&self, revision: &Revision) -> bool {
        (&self.template, &self.rules) == (&revision.template, &revision.options.rules)
    }

    /// Gives later findings their places in the text; fails with TEMPLATE_INVALID if one of them refuses it.
    pub(super) fn check(&self, found: &mut [Diagnostic]) -> Result<()> {
        self.positions.locate(found);
        judge(found, self.strict);
        if found.iter().any(Diagnostic::is_error) { Err(invalid(found)) } else { Ok(()) }
    }
}

/// A template read: what it says, what was found, and what is known beside it.
pub struct Reading {
    /// The template; absent when an error refuses it.
    pub template: Option<Template>,
    /// Everything found.
    pub diagnostics: Vec<Diagnostic>,
    /// Where its text has what.
    pub positions: Positions,
    /// What becomes of its parts, with what its images say of themselves.
    pub rules: Rules,
}

/// Reads, merges and validates; no template when an error refuses it.
pub fn read(call: &TemplateCall) -> Reading {
    let limits = call.limits;
    let overriding = call.overrides.clone();
    let (mut validated, positions) = match &call.source {
        Source::Text(text) => validate::from_text(text, overriding, &limits),
        Source::Structured(template) => {
            (validate::from_raw(template.clone(), overriding, &limits), Positions::default())
        }
    };
    if validated.template.is_none() {
        let mut found = translate::name_faults(&validated.names);
        positions.locate(&mut found);
        validated.diagnostics.extend(found);
    }
    let mut findings = Findings::default();
    let facts = facts::read(&call.image_configs, validated.template.as_ref(), &mut findings);
    let refuses = findings.refuse();
    // Two templates whose names become one are one deployment.
    let called = validated.template.as_ref().filter(|_| call.name.is_none());
    if let Some((name, slug)) = called.and_then(|one| Some((&one.name, translate::slug(&one.name)?))) {
        let mut found = Findings::default();
        translate::tell_slug(name, &slug, &mut found);
        let mut found = found.into_vec();
        positions.locate(&mut found);
        validated.diagnostics.extend(found);
    }
    validated.diagnostics.extend(findings.into_vec());
    judge(&mut validated.diagnostics, call.strict);
    Reading {
        template: validated.template.filter(|_| !refuses),
        diagnostics: validated.diagnostics,
        positions,
        rules: Rules { facts, ..call.rules.clone() },
    }
}

/// Makes errors of warnings where the caller wants it so.
pub fn judge(diagnostics: &mut [Diagnostic], strict: bool) {
    for diagnostic in diagnostics {
        diagnostic.strict = strict;
    }
}

/// The deployment's name: the one that is asked for, or one made from the template's; else why there is none.
pub fn deployment_name(
    call: &TemplateCall,
    template: &Template,
) -> std::result::Result<DeploymentName, &'static str> {
    let name = call.name.clone().or_else(|| translate::slug(&template.name));
    name.ok_or(match template.name.as_str() {
        "" => "the template has no name to make one from",
        _ => "the template's name has no Latin letter and no digit to make one from",
    })
}

/// Reads a template and settles the deployment's name; every fault at once.
pub fn prepare(call: &TemplateCall) -> Result<Prepared> {
    let Reading { template, diagnostics, positions, rules } = read(call);
    let template = template.ok_or_else(|| invalid(&combine(&diagnostics, &[])))?;
    let name = deployment_name(call, &template).map_err(|why| {
        let text = format!("is required: {why}; set `name` of the request");
        Error::fields(vec![Fault::field("name", text)])
    })?;
    let strict = call.strict;
    let (looks_back, checked, key) = (false, None, None);
    Ok(Prepared { template, name, diagnostics, positions, rules, looks_back, strict, checked, key })
}

/// A template as objects, and what translating it found.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The objects.
    pub artifacts: Artifacts,
    /// How they were made.
    pub options: Options,
    /// What was lost, changed or assumed.
    pub diagnostics: Vec<Diagnostic>,
}

/// What is there already and decides about a translation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Components that run as controllers and stay so whatever their count.
    pub controllers: BTreeSet<ComponentName>,
    /// Claims that are mounted at their roots.
    pub claims_at_root: BTreeSet<ObjectName>,
}

/// Checks that it can be translated; what it becomes is kept for [`render`].
///
/// Fails like [`render`].
pub fn check_renders(prepared: &mut Prepared) -> Result<()> {
    prepared.checked = Some(render(prepared, Standing::default())?);
    Ok(())
}

/// Translates for what is there already.
///
/// Fails with TEMPLATE_INVALID, and all that was found since the template was read, when anything refuses it.
pub fn render(prepared: &mut Prepared, standing: Standing) -> Result<Rendered> {
    let Standing { controllers, claims_at_root } = standing;
    let is_for_this = |checked: &mut Rendered| {
        checked.options.claims_at_root == claims_at_root
            && translate::is_same_with(&prepared.template, &checked.options, &controllers)
    };
    if let Some(mut checked) = prepared.checked.take_if(is_for_this) {
        checked.options.controllers = controllers;
        return Ok(checked);
    }
    let base = Options::with(prepared.name.clone(), prepared.rules.clone());
    let options = Options { controllers, claims_at_root, ..base };
    let mut translation = translate::translate(&prepared.template, &options);
    prepared.positions.locate(&mut translation.diagnostics);
    judge(&mut translation.diagnostics, prepared.strict);
    let refused = prepared.diagnostics.iter().chain(&translation.diagnostics).any(Diagnostic::is_error);
    match translation.artifacts {
        Some(artifacts) if !refused => {
            Ok(Rendered { artifacts, options, diagnostics: translation.diagnostics })
        }
        _ => Err(invalid(&combine(&prepared.diagnostics, &translation.diagnostics))),
    }
}

/// The findings of reading and of translating, in the order that every call tells them in: errors first, else in the
/// order of the template: by the place in its text, and what has none by its path.
pub fn combine(first: &[Diagnostic], second: &[Diagnostic]) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = first.iter().chain(second).cloned().collect();
    found.sort_by_cached_key(|found| {
        (!found.is_error(), found.position.is_none(), found.position, place(&found.field))
    });
    found
}

/// The keys of a template in the order of the contract, each with those below it behind it.
const KEYS: [&str; 27] = [
    "name",
    "images",
    "source",
    "ports",
    "host_port",
    "container_port",
    "proto",
    "host_interface",
    "links",
    "service",
    "alias",
    "environment",
    "variable",
    "value",
    "required",
    "command",
    "expose",
    "volumes",
    "host_path",
    "container_path",
    "volumes_from",
    "read_only",
    "deployment",
    "count",
    "category",
    "type",
    "description",
];

/// Where a path is in a template: at each step the place of its key, and the entry in its list. What is in none comes
/// last.
fn place(field: &str) -> Vec<usize> {
    if field.is_empty() {
        return vec![usize::MAX];
    }
    let step = |part: &str| {
        let (key, entry) = part.split_once('[').unwrap_or((part, ""));
        let key = KEYS.iter().position(|known| *known == key).unwrap_or(KEYS.len());
        [Some(key), entry.strip_suffix(']').and_then(|entry| entry.parse().ok())]
    };
    field.split('.').flat_map(step).flatten().collect()
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
                hint: diagnostic.hint().to_owned(),
            }
        })
        .collect();
    let first =
        faults.first().map(|fault| format!("{}: {}", fault.field, fault.explained())).unwrap_or_default();
    let message = match faults.len() {
        0 | 1 => format!("the template is refused: {first}"),
        count => format!("the template is refused for {count} faults; the first: {first}"),
    };
    Error::new(kind, message).with_faults(faults)
}
