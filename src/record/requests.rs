//! Requests that their callers have named: which were carried out, so that a repeated one is not done twice.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{HeadFields, Operation};
use crate::error::{Error, ErrorKind, Fault};

/// How many requests are remembered.
const KEPT: usize = 20;
/// How long a request is remembered.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);

/// A request that its caller has named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The caller's name for it.
    pub id: String,
    /// The call that it names: Deploy, Rollback, Scale or Teardown.
    pub method: String,
    /// A keyed digest of what was asked for; `None` if there was no key yet, and then name and call alone count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequestOutcome {
    /// A Deploy created the deployment.
    Created,
    /// It changed the deployment.
    Updated,
    /// It found everything as it was asked for.
    Unchanged,
    /// A Scale set its counts.
    Scaled,
}

/// A request that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestEntry {
    /// Its name, and what it asked for.
    #[serde(flatten)]
    pub request: Request,
    /// What came of it.
    pub outcome: RequestOutcome,
    /// When.
    pub time: Timestamp,
}

impl HeadFields {
    /// The outcome of the request of this name, if it was carried out within the last 24 hours.
    pub fn answered(&self, id: &str, now: Timestamp) -> Option<&RequestEntry> {
        self.requests.iter().rev().find(|entry| entry.request.id == id && !is_over(entry, now))
    }

    /// The operation that carries out the request of this name now.
    pub fn carries_out(&self, id: &str) -> Option<&Operation> {
        let is_it = |operation: &&Operation| operation.request.as_ref().is_some_and(|one| one.id == id);
        self.operation.as_ref().filter(is_it)
    }

    /// Remembers that a request was carried out, and forgets the oldest ones.
    pub(super) fn answer(&mut self, entry: RequestEntry) {
        let now = entry.time;
        self.requests.retain(|known| known.request.id != entry.request.id && !is_over(known, now));
        self.requests.push(entry);
        let surplus = self.requests.len().saturating_sub(KEPT);
        self.requests.drain(..surplus);
    }
}

/// Whether a request is remembered no longer; a clock that was set back keeps it a while more.
fn is_over(entry: &RequestEntry, now: Timestamp) -> bool {
    now.duration_since(entry.time) > KEPT_FOR
}

/// The answer to a name that was used for another request before.
pub fn reused(id: &str) -> Error {
    let text = "was used for another request before; choose another one";
    Error::new(ErrorKind::RequestIdReused, format!("request_id {id:?} {text}"))
        .with_faults(vec![Fault { reason: "REQUEST_ID_REUSED", ..Fault::field("request_id", text) }])
}
