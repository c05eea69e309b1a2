//! Wire to domain: requests of TemplateService.

use std::collections::BTreeMap;

use super::super::decode_template as template;
use super::super::faults::{Faults, enumeration};
use super::super::options;
use super::no_source;
use crate::artifacts::Namespace;
use crate::error::Result;
use crate::facts::Configs;
use crate::operations::{Operations, Source, TemplateCall};
use crate::proto;
use crate::template::validate::Limits;

/// What the two requests have in common.
struct Common<'r> {
    namespace: &'r str,
    name: &'r str,
    source: Option<Source>,
    overrides: Option<proto::Template>,
    options: Option<&'r proto::DeployOptions>,
    image_configs: BTreeMap<String, String>,
}

pub(in super::super) fn validate(
    request: proto::ValidateTemplateRequest,
    default: &Namespace,
    limits: Limits,
) -> Result<TemplateCall> {
    use proto::validate_template_request::TemplateSource;
    let source = request.template_source.map(|source| match source {
        TemplateSource::TemplateYaml(text) => Source::Text(text),
        TemplateSource::Template(message) => Source::Structured(template::raw(message)),
    });
    let common = Common {
        namespace: &request.namespace,
        name: &request.name,
        source,
        overrides: request.r#override,
        options: request.options.as_ref(),
        image_configs: request.image_configs,
    };
    template_call(common, (default, limits), Faults::default()).map(|(_, call)| call)
}

/// A TranslateTemplate.
pub(in super::super) struct TranslateCall {
    pub(in super::super) template: TemplateCall,
    pub(in super::super) namespace: Namespace,
    /// Whether the request names the namespace: then manifests do so, too.
    pub(in super::super) is_named: bool,
    /// The format of each object's manifest; `None`: only all together are asked for.
    pub(in super::super) each: Option<proto::ManifestFormat>,
}

pub(in super::super) fn translate(
    request: proto::TranslateTemplateRequest,
    default: &Namespace,
    limits: Limits,
) -> Result<TranslateCall> {
    use proto::translate_template_request::TemplateSource;
    let mut faults = Faults::default();
    let source = request.template_source.map(|source| match source {
        TemplateSource::TemplateYaml(text) => Source::Text(text),
        TemplateSource::Template(message) => Source::Structured(template::raw(message)),
    });
    let format = enumeration(request.format, "format", &mut faults);
    // Who names a format wants it for something.
    let each = request.object_manifests || format != proto::ManifestFormat::Unspecified;
    let common = Common {
        namespace: &request.namespace,
        name: &request.name,
        source,
        overrides: request.r#override,
        options: request.options.as_ref(),
        image_configs: request.image_configs,
    };
    let is_named = !common.namespace.is_empty();
    let (namespace, template) = template_call(common, (default, limits), faults)?;
    Ok(TranslateCall { template, namespace, is_named, each: each.then_some(format) })
}

fn template_call(
    common: Common<'_>,
    (default, limits): (&Namespace, Limits),
    mut faults: Faults,
) -> Result<(Namespace, TemplateCall)> {
    let source = common.source.or_else(|| no_source(&mut faults));
    let options = options::deploy(common.options, &mut faults);
    let namespace = faults.namespace(common.namespace, default);
    let name = faults.optional_name(common.name);
    let overrides = common.overrides.map(template::raw);
    let call = || {
        let call = TemplateCall {
            source: source?,
            overrides,
            name,
            rules: options.rules,
            image_configs: Configs(common.image_configs),
            strict: options.strict,
            limits,
        };
        Some((namespace?, call))
    };
    let call = call();
    let (namespace, call) = faults.finish(call)?;
    Operations::check_namespace(&namespace)?;
    Ok((namespace, call))
}
