//! Wire to domain: requests of TemplateService.

use super::super::decode_template as template;
use super::super::options;
use super::{Faults, enumeration, namespace, no_source, optional_name};
use crate::artifacts::{DeploymentName, Namespace};
use crate::error::Result;
use crate::operations::{Settings, Source};
use crate::proto;
use crate::template::raw::RawTemplate;

/// A request of TemplateService, decoded.
pub(in super::super) struct TemplateCall {
    pub(in super::super) namespace: Namespace,
    pub(in super::super) name: Option<DeploymentName>,
    pub(in super::super) source: Source,
    pub(in super::super) overrides: Option<RawTemplate>,
}

pub(in super::super) fn validate(
    request: proto::ValidateTemplateRequest,
    settings: &Settings,
) -> Result<TemplateCall> {
    use proto::validate_template_request::TemplateSource;
    let mut faults = Faults::default();
    let source = match request.template_source {
        Some(TemplateSource::TemplateYaml(text)) => Some(Source::Text(text)),
        Some(TemplateSource::Template(message)) => Some(Source::Structured(template::raw(message))),
        None => no_source(&mut faults),
    };
    options::deploy(request.options.as_ref(), &mut faults)?;
    let overrides = request.r#override.map(template::raw);
    template_call(&request.namespace, &request.name, source, overrides, settings, faults)
}

pub(in super::super) fn translate(
    request: proto::TranslateTemplateRequest,
    settings: &Settings,
) -> Result<(TemplateCall, proto::ManifestFormat)> {
    use proto::translate_template_request::TemplateSource;
    let mut faults = Faults::default();
    let source = match request.template_source {
        Some(TemplateSource::TemplateYaml(text)) => Some(Source::Text(text)),
        Some(TemplateSource::Template(message)) => Some(Source::Structured(template::raw(message))),
        None => no_source(&mut faults),
    };
    options::deploy(request.options.as_ref(), &mut faults)?;
    let format = enumeration(request.format, "format", &mut faults);
    let overrides = request.r#override.map(template::raw);
    let call = template_call(&request.namespace, &request.name, source, overrides, settings, faults)?;
    Ok((call, format))
}

fn template_call(
    namespace_text: &str,
    name: &str,
    source: Option<Source>,
    overrides: Option<RawTemplate>,
    settings: &Settings,
    mut faults: Faults,
) -> Result<TemplateCall> {
    let namespace = namespace(namespace_text, settings, &mut faults);
    let name = optional_name(name, &mut faults);
    let call = || Some(TemplateCall { namespace: namespace?, name, source: source?, overrides });
    let call = call();
    faults.finish(call)
}
