//! Status updates to a response stream; ends on drain, at the asked-for moment, or when the caller leaves.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use tonic::Status;
use tracing::Span;

use super::{encode, errors, sizes};
use crate::error::Error;
use crate::operations::WatchUpdate;
use crate::proto;

/// The responses of one watch, each with the time; an error is the last of them.
pub(super) fn responses(
    updates: impl Stream<Item = Result<WatchUpdate, Error>> + Send + 'static,
    now: impl Fn() -> Timestamp + Send + 'static,
    span: Span,
) -> Pin<Box<dyn Stream<Item = Result<proto::WatchDeploymentResponse, Status>> + Send + 'static>> {
    Box::pin(updates.map(move |update| match update {
        Ok(update) => {
            let response = encode::watch_response(update, now());
            sizes::fits(response).map_err(|error| errors::logged(&error, &span))
        }
        Err(error) => Err(errors::logged(&error, &span)),
    }))
}
