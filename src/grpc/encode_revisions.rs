//! Domain to wire: the history of a deployment.

use super::encode::deploy_response;
use super::encode_time::timestamp;
use crate::operations::{Deployed, ListedRevisions, RevisionResult, RevisionView};
use crate::proto;

pub(super) fn rollback_response(deployed: &Deployed) -> proto::RollbackResponse {
    let proto::DeployResponse { deployment, changes, diagnostics, warnings, outcome } =
        deploy_response(deployed);
    proto::RollbackResponse { deployment, changes, diagnostics, warnings, outcome }
}

pub(super) fn revisions_response(listed: &ListedRevisions) -> proto::ListRevisionsResponse {
    let revision = |view: &RevisionView| proto::Revision {
        number: i32::try_from(view.number).unwrap_or(i32::MAX),
        create_time: Some(timestamp(view.created)),
        created_by: view.created_by.clone(),
        result: match view.result {
            RevisionResult::InProgress => proto::RevisionResult::InProgress,
            RevisionResult::Succeeded => proto::RevisionResult::Succeeded,
            RevisionResult::Failed => proto::RevisionResult::Failed,
            RevisionResult::Incomplete => proto::RevisionResult::Incomplete,
            RevisionResult::RolledBack => proto::RevisionResult::RolledBack,
            RevisionResult::Superseded => proto::RevisionResult::Superseded,
        }
        .into(),
        rollback_of: view.rollback_of.map(|number| i32::try_from(number).unwrap_or(i32::MAX)),
        message: view.message.clone(),
    };
    proto::ListRevisionsResponse {
        revisions: listed.revisions.iter().map(revision).collect(),
        next_page_token: listed.next_page_token.clone(),
    }
}
