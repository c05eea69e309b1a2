//! The edge for the old Panamax agents: the HTTP contract between them and their adapters, a few lines per route.

mod answers;
mod asked;
mod body;
mod ids;
mod services;
mod spoken;
mod words;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use tracing::{Instrument, info_span};

use crate::callers::Acting;
use crate::error::Error;
use crate::operations::Operations;

use answers::Refusal;
use asked::What;
use services::Services;

pub use asked::Asked;

/// The most bytes of a request's body: those of a template.
pub const MAX_BODY_BYTES: usize = crate::template::raw::MAX_TEXT_BYTES;

/// Answers whole requests; who asks was found out before.
#[derive(Clone)]
pub struct Rest {
    operations: Operations,
}

impl Rest {
    /// Answers with these operations.
    pub fn new(operations: Operations) -> Self {
        Self { operations }
    }

    /// Answers a request; `acting` is on whose behalf, and only what is for everybody goes without.
    pub async fn answer(&self, asked: &Asked, acting: Option<Acting>, body: &Bytes) -> Response {
        let cluster = self.operations.is_cluster_reachable();
        match (asked.what(), acting) {
            (What::Metadata, _) => answers::json(
                StatusCode::OK,
                &json!({ "version": env!("CARGO_PKG_VERSION"), "type": "Kubernetes", "isHealthy": cluster }),
            ),
            (What::Health, _) => answers::text(&cluster.to_string()),
            (what, Some(acting)) => {
                let operations = self.operations.acting_for(acting);
                let caller = operations.caller().unwrap_or_default().to_owned();
                let namespace = asked.namespace();
                let span = info_span!("call", method = asked.label(), namespace, caller);
                let services = Services::new(operations, namespace);
                let answer = services.audited(what, Box::pin(served(&services, what, body)));
                async { answer.await.unwrap_or_else(|refusal| asked.told(&refusal)) }.instrument(span).await
            }
            (_, None) => {
                let error =
                    Error::internal("a request has reached its route, and nobody has found out whose it is");
                asked.refused(&error)
            }
        }
    }
}

/// Does what is asked.
async fn served(services: &Services, what: &What, body: &[u8]) -> Result<Response, Refusal> {
    Ok(match what {
        What::Create => answers::json(StatusCode::CREATED, &services.create(body).await?),
        What::List => answers::json(StatusCode::OK, &services.list().await?),
        What::Get(id) => answers::json(StatusCode::OK, &services.get(id).await?),
        What::Delete(id) => {
            services.delete(id).await?;
            answers::empty(StatusCode::NO_CONTENT)
        }
        What::Update => return Err(Refusal::not_implemented()),
        What::Method(allowed) => return Err(Refusal::method(allowed)),
        What::Unknown | What::Metadata | What::Health => return Err(Refusal::unknown_route()),
    })
}
