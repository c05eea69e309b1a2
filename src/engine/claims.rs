//! Which volume claims a teardown leaves where they are.

use super::Engine;
use crate::artifacts::{Seen, Target};
use crate::error::Result;
use crate::record::Member;

/// Looks at the claims that are to stay: a claim that is not there, or goes already, is not said to be kept.
pub(super) async fn standing(engine: &Engine, target: &Target, retained: Vec<Member>) -> Result<Vec<Member>> {
    if retained.is_empty() {
        return Ok(retained);
    }
    let claims = retained.iter().map(|claim| claim.reference.clone()).collect();
    let seen = engine.cluster.list_members(&target.namespace, &target.name, &claims).await?;
    let standing = retained.into_iter().filter_map(|claim| {
        let is_found = |seen: &&Seen| seen.reference == claim.reference && seen.is_ours(claim.uid.as_deref());
        let found = seen.iter().find(is_found).filter(|seen| !seen.terminating)?;
        Some(Member { uid: Some(found.uid.clone()), ..claim })
    });
    Ok(standing.collect())
}
