//! Validate and translate: the first steps of a Deploy, without a cluster.

use super::{DeployCall, Operations};
use crate::artifacts::{Artifacts, ComponentName, DeploymentName, Namespace};
use crate::diagnostic::{Code, Diagnostic};
use crate::error::Result;
use crate::plan::{
    Reading, Rendered, Standing, TemplateCall, check_renders, combine, deployment_name, judge, prepare, read,
    render,
};
use crate::template::Template;
use crate::translate::{self, Options};

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

impl Operations {
    /// Says everything there is to say about a template; a bad one is no failure.
    pub fn validate_template(call: &TemplateCall) -> Validated {
        let Reading { template, diagnostics, positions, rules } = read(call);
        let mut translated = Vec::new();
        if let Some(template) = &template {
            let name = match deployment_name(call, template) {
                Ok(name) => Some(name),
                // It is translated under a placeholder then: its own faults are what is asked.
                Err(why) => {
                    translated.push(Diagnostic::new(Code::DeploymentUnnamed, "name", why));
                    DeploymentName::new("template").ok()
                }
            };
            if let Some(name) = name {
                let options = Options::with(name, rules);
                translated.extend(translate::translate(template, &options).diagnostics);
            }
            positions.locate(&mut translated);
            judge(&mut translated, call.strict);
        }
        let diagnostics = combine(&diagnostics, &translated);
        let valid = !diagnostics.iter().any(Diagnostic::is_error);
        Validated { valid, template, diagnostics }
    }

    /// The components that a Deploy would make, in the template's order, whether or not it has a name already.
    ///
    /// Fails as the Deploy would before it asks the cluster anything.
    pub fn components(call: &DeployCall) -> Result<Vec<ComponentName>> {
        Self::check_namespace(&call.namespace)?;
        let name = call.template.name.clone().or_else(|| DeploymentName::new("template").ok());
        let mut prepared = prepare(&TemplateCall { name, ..call.template.clone() })?;
        check_renders(&mut prepared)?;
        Ok(translate::components(&prepared.template).into_iter().map(|component| component.name).collect())
    }

    /// Translates a template into manifests, which have a namespace if one is named.
    pub fn translate_template(call: &TemplateCall, named: Option<&Namespace>) -> Result<Translated> {
        let mut prepared = prepare(call)?;
        let Rendered { artifacts, diagnostics, .. } = render(&mut prepared, Standing::default())?;
        let artifacts = match named {
            Some(namespace) => artifacts.within(namespace),
            None => artifacts,
        };
        let manifest_yaml = translate::manifest_yaml(&artifacts);
        Ok(Translated { manifest_yaml, artifacts, diagnostics: combine(&prepared.diagnostics, &diagnostics) })
    }
}
