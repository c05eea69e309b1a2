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

use crate::callers::Acting;
use crate::error::Error;
use crate::operations::Operations;

use asked::What;
use services::Services;

pub use answers::Refusal;
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
        let answer = match (asked.what(), acting) {
            (What::Metadata, _) => Ok(answers::json(
                StatusCode::OK,
                &json!({ "version": env!("CARGO_PKG_VERSION"), "type": "Kubernetes", "isHealthy": cluster }),
            )),
            (What::Health, _) => Ok(answers::text(&cluster.to_string())),
            (what, Some(acting)) => {
                let services = Services::new(self.operations.acting_for(acting), asked.namespace());
                services.audited(what, Box::pin(served(&services, what, body))).await
            }
            (_, None) => Err(unexpected("nobody has found out whose it is")),
        };
        answer.unwrap_or_else(|refusal| asked.refused(&refusal, true))
    }
}

fn unexpected(why: &str) -> Refusal {
    Error::internal(format!("a request has reached its route, and {why}")).into()
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
        What::Metadata | What::Health | What::Method(_) | What::Unknown => {
            return Err(unexpected("it is none of a service"));
        }
    })
}
