//! The sizes of answers: what a common client would not take is refused by name, and lists are cut before.

use prost::Message;
use tonic::Response;

use crate::error::{Error, ErrorKind, Result};
use crate::operations::Listed;
use crate::proto;

/// The longest answer, in bytes: most clients take 4 MiB, and something is left for what surrounds it.
pub(super) const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024 - 64 * 1024;

/// The answer, if a client can take it.
pub(super) fn sized<M: Message>(message: M) -> Result<Response<M>> {
    fits(message).map(Response::new)
}

/// The message, if a client can take it.
pub(super) fn fits<M: Message>(message: M) -> Result<M> {
    let size = message.encoded_len();
    if size <= MAX_ANSWER_BYTES { Ok(message) } else { Err(too_long(size)) }
}

fn too_long(size: usize) -> Error {
    let text = format!(
        "the answer would have {size} bytes, {MAX_ANSWER_BYTES} are allowed; ask for less of it, as without \
         `object_manifests` or with DEPLOYMENT_VIEW_BASIC"
    );
    Error::new(ErrorKind::LimitExceeded, text).with("bytes", size.to_string())
}

/// A page of a list, cut where it would become too long; the next page begins there.
pub(super) fn page(mut listed: Listed) -> Result<Response<proto::ListDeploymentsResponse>> {
    let deployments: Vec<_> = listed.deployments.iter().map(super::encode::deployment).collect();
    // Each has its tag and its length before it, and the token comes after all.
    let mut left = MAX_ANSWER_BYTES.saturating_sub(8 * 1024);
    let mut whole = 0;
    for deployment in &deployments {
        let Some(rest) = left.checked_sub(deployment.encoded_len() + 16) else { break };
        left = rest;
        whole += 1;
    }
    if let (0, Some(first)) = (whole, deployments.first()) {
        let error = too_long(first.encoded_len());
        return Err(error.prefixed(&format!("deployment {}/{}: ", first.namespace, first.name)));
    }
    listed.cut(whole);
    sized(proto::ListDeploymentsResponse {
        deployments: deployments.into_iter().take(whole).collect(),
        next_page_token: listed.next_page_token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_refused_with_its_size() {
        let of = |bytes: usize| proto::TranslateTemplateResponse {
            manifest_yaml: "x".repeat(bytes),
            ..Default::default()
        };
        assert!(fits(of(MAX_ANSWER_BYTES - 5)).is_ok());
        let error = fits(of(MAX_ANSWER_BYTES)).expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        assert!(error.message().contains(&(MAX_ANSWER_BYTES + 5).to_string()), "{}", error.message());
    }
}
