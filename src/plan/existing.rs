//! What is known of an object that may be on the cluster.

use serde_json::Value;

use super::{Inputs, owners};
use crate::artifacts::{Artifact, ObjectRef, Others};
use crate::record::{Member, MemberState};

/// What is known of one object that may be on the cluster.
pub(super) struct Existing<'a> {
    pub(super) uid: &'a str,
    pub(super) version: Option<&'a str>,
    pub(super) owned: Option<&'a str>,
    pub(super) ended: bool,
    pub(super) others: &'a [Others],
    pub(super) held: &'a Value,
}

/// Finds the object on the cluster: as seen, or, when nobody looked, as the inventory has it.
pub(super) fn find<'a>(inputs: &'a Inputs<'_>, reference: &ObjectRef) -> Option<Existing<'a>> {
    let recorded = inputs.head.and_then(|head| head.member(reference)?.uid.as_deref());
    match inputs.seen {
        Some(seen) => seen
            .iter()
            .find(|seen| seen.reference == *reference && seen.is_ours(recorded) && !seen.terminating)
            .map(|seen| Existing {
                uid: &seen.uid,
                version: Some(&seen.version),
                owned: Some(&seen.owned),
                ended: seen.ended,
                others: &seen.others,
                held: &seen.held,
            }),
        None => {
            let member = inputs.head?.member(reference)?;
            let uid = member.uid.as_deref()?;
            (member.state == MemberState::Applied).then_some(Existing {
                uid,
                version: None,
                owned: None,
                ended: false,
                others: &[],
                held: &Value::Null,
            })
        }
    }
}

/// Whether the object on the cluster is the one that the record has, with every field of ours still ours.
pub(super) fn is_same_object(
    inputs: &Inputs<'_>,
    existing: Option<&Existing<'_>>,
    member: Option<&Member>,
    stamped: &Artifact,
) -> bool {
    let (Some(existing), Some(member)) = (existing, member) else { return false };
    member.uid.as_deref() == Some(existing.uid)
        && existing.owned.is_none_or(|owned| owned == member.owned)
        && owners::leave_all(inputs, existing.others, existing.held, stamped)
}
