//! ListRevisions and Rollback: what a deployment was, and how it becomes that again.

use jiff::Timestamp;
use tokio::time::Instant;

use super::{Deployed, NamedRequest, Operations, Target};
use crate::callers::{Ask, Deed};
use crate::engine;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{ConflictPolicy, FailurePolicy, PrunePolicy, ReplicasPolicy};
use crate::record::{self, RevisionEntry, RevisionResult};

/// A ListRevisions, decoded.
#[derive(Clone, Debug)]
pub struct RevisionsCall {
    /// The deployment.
    pub target: Target,
    /// Revisions per page.
    pub page_size: u32,
    /// Where to go on; empty: at the start.
    pub page_token: String,
}

/// A revision as callers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionView {
    /// Its number.
    pub number: u32,
    /// When it was deployed.
    pub created: Timestamp,
    /// What came of it.
    pub result: RevisionResult,
    /// The number of the revision that it repeats.
    pub rollback_of: Option<u32>,
    /// The caller that has deployed it; empty: nobody was known.
    pub created_by: String,
    /// Why it failed, was not written whole or was taken back; empty: none of these was seen.
    pub message: String,
}

/// The answer to a ListRevisions.
#[derive(Clone, Debug)]
pub struct ListedRevisions {
    /// The revisions of this page, newest first.
    pub revisions: Vec<RevisionView>,
    /// Where the next page starts; empty: there is none.
    pub next_page_token: String,
}

/// A Rollback, decoded.
#[derive(Clone, Debug)]
pub struct RollbackCall {
    /// The deployment.
    pub target: Target,
    /// The revision to deploy again; 0: the newest good one below the current.
    pub revision: u32,
    /// Check everything, write nothing.
    pub validate_only: bool,
    /// The etag the caller has seen; empty: any.
    pub etag: String,
    /// The request, if its caller has named it.
    pub request: Option<NamedRequest>,
    /// Wait until every component is ready, at most until then.
    pub wait_ready: Option<Instant>,
    /// When the caller's own deadline ends.
    pub deadline: Instant,
}

impl Operations {
    /// Lists the revisions that are kept, newest first.
    pub async fn revisions(&self, call: &RevisionsCall) -> Result<ListedRevisions> {
        let ask = Ask::new(Deed::Revisions, Some(&call.target.namespace));
        let record = self.looking(&ask, engine::must_read(&self.engine, &call.target)).await?;
        record::check_readable(&record)?;
        engine::wake(&self.engine, &record);
        let below = Token::read(&call.page_token, &record.uid)?;
        let entries = engine::revisions(&self.engine, &record).await?;
        let view = |entry: &RevisionEntry| RevisionView {
            number: entry.revision.number,
            created: entry.time,
            result: if entry.discarded { RevisionResult::InProgress } else { record.head.result(entry) },
            rollback_of: entry.rollback_of,
            created_by: entry.created_by.clone().unwrap_or_default(),
            message: entry.cause.as_ref().map(|cause| cause.why.clone()).unwrap_or_default(),
        };
        let mut revisions: Vec<RevisionView> = entries.iter().map(view).collect();
        revisions.retain(|revision| below.is_none_or(|below| revision.number < below));
        let size = usize::try_from(call.page_size).unwrap_or(usize::MAX);
        let is_last = revisions.len() <= size;
        revisions.truncate(size);
        let last = revisions.last().filter(|_| !is_last);
        let next_page_token = last.map_or_else(String::new, |last| Token::write(&record.uid, last.number));
        Ok(ListedRevisions { revisions, next_page_token })
    }

    /// Deploys an earlier revision again, as a new one.
    pub async fn rollback(&self, call: RollbackCall) -> Result<Deployed> {
        Self::check_namespace(&call.target.namespace)?;
        let choices = engine::Choices {
            create_namespace: false,
            // What the stored revision says counts.
            prune: PrunePolicy::default(),
            on_failure: FailurePolicy::default(),
            conflicts: ConflictPolicy::default(),
            replicas: ReplicasPolicy::default(),
            plan_id: String::new(),
            waits_ready: call.wait_ready.is_some(),
            validate_only: call.validate_only,
            must_be_new: false,
            etag: call.etag,
            request: call.request,
            deadline: call.deadline,
        };
        let target = &call.target;
        let wait_ready = call.wait_ready.filter(|_| !call.validate_only);
        let ask = Ask::new(Deed::Rollback, Some(&target.namespace)).waiting(wait_ready.is_some());
        let change = async {
            let done = engine::rollback(&self.engine, target, call.revision, choices).await?;
            self.deployed(target, done, wait_ready).await
        };
        self.changing(&ask, target, call.validate_only, change).await
    }
}

/// The token of a page: the deployment, by its uid, and the number below which the page begins.
struct Token;

impl Token {
    fn write(uid: &str, number: u32) -> String {
        format!("{uid}.{number}")
    }

    /// Fails with PAGE_TOKEN_EXPIRED if it is of another deployment, or none of ours.
    fn read(token: &str, uid: &str) -> Result<Option<u32>> {
        if token.is_empty() {
            return Ok(None);
        }
        let number = token.strip_prefix(uid).and_then(|rest| rest.strip_prefix('.')?.parse().ok());
        number.map(Some).ok_or_else(|| {
            Error::new(
                ErrorKind::PageTokenExpired,
                "the page token is of a deployment that is gone, or was not issued here; start again without it",
            )
        })
    }
}
