//! Answers the calls of TemplateService without a server: the same rules of requests, the same answers.

use tonic::Status;

use super::{decode, encode, errors};
use crate::artifacts::Namespace;
use crate::error::{Error, Fault, Result};
use crate::operations::Operations;
use crate::proto;
use crate::template::validate::Limits;

/// The namespace of requests that name none: what a server without a setting of its own has.
const NAMESPACE: &str = "default";

fn namespace() -> Result<Namespace> {
    Namespace::new(NAMESPACE).map_err(|rule| Error::fields(vec![Fault::field("namespace", rule.to_string())]))
}

/// Says everything there is to say about a template.
///
/// Fails on a request that is invalid beside its template.
pub fn validate(
    request: proto::ValidateTemplateRequest,
) -> std::result::Result<proto::ValidateTemplateResponse, Status> {
    let answer = || {
        let call = decode::validate(request, &namespace()?, Limits::default())?;
        Ok(encode::validate_response(&Operations::validate_template(&call)))
    };
    answer().map_err(|error: Error| errors::status(&error))
}

/// Translates a template into manifests.
///
/// Fails on an invalid request, and on a template that an error refuses.
pub fn translate(
    request: proto::TranslateTemplateRequest,
) -> std::result::Result<proto::TranslateTemplateResponse, Status> {
    let answer = || translated(&decode::translate(request, &namespace()?, Limits::default())?);
    answer().map_err(|error: Error| errors::status(&error))
}

/// The answer to a TranslateTemplate.
pub(super) fn translated(call: &decode::TranslateCall) -> Result<proto::TranslateTemplateResponse> {
    let named = Some(&call.namespace).filter(|_| call.is_named);
    encode::translate_response(
        &call.namespace,
        Operations::translate_template(&call.template, named)?,
        call.each,
    )
}
