//! What is known of an object that may be on the cluster.

use serde_json::Value;

use super::{Inputs, Plan, beside, owners};
use crate::artifacts::{Action, Artifact, ListedObject, ObjectRef, Others, Traces};
use crate::diagnostic::{Code, Diagnostic};
use crate::record::{Member, MemberState};

/// What is known of one object that may be on the cluster.
pub(super) struct Existing<'a> {
    pub(super) uid: &'a str,
    pub(super) version: Option<&'a str>,
    pub(super) owned: Option<&'a str>,
    pub(super) traces: Option<&'a Traces>,
    pub(super) ended: bool,
    pub(super) others: &'a [Others],
    pub(super) held: &'a Value,
}

/// Finds the object on the cluster: as seen, or, when nobody looked, as the inventory has it.
pub(super) fn find<'a>(inputs: &'a Inputs<'_>, reference: &ObjectRef) -> Option<Existing<'a>> {
    match inputs.seen {
        Some(seen) => seen
            .iter()
            .find(|seen| seen.reference == *reference && is_ours(inputs, seen) && !seen.terminating)
            .map(|seen| Existing {
                uid: &seen.uid,
                version: Some(&seen.version),
                owned: Some(&seen.owned),
                traces: Some(&seen.traces),
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
                traces: None,
                ended: false,
                others: &[],
                held: &Value::Null,
            })
        }
    }
}

/// Whether an object is this deployment's.
///
/// Where the whole deployment was restored from a backup, objects have other uids and, mostly, no entry of our field
/// manager: then whatever the inventory names and our marks are on is ours.
pub(super) fn is_ours(inputs: &Inputs<'_>, seen: &ListedObject) -> bool {
    let member = inputs.head.and_then(|head| head.member(&seen.reference));
    let is_marked = |member: &Member| member.operation.is_none() || member.operation == seen.operation;
    seen.is_ours(member.and_then(|member| member.uid.as_deref()))
        || inputs.restored && seen.labelled && member.is_some_and(is_marked)
}

/// Whether the object was written by somebody since we wrote it; as nobody knows, where an earlier version wrote it.
pub(super) fn is_drifted(existing: Option<&Existing<'_>>, member: Option<&Member>) -> bool {
    let traces = existing.and_then(|existing| existing.traces);
    let (Some(traces), Some(member)) = (traces, member) else { return false };
    member.trace.as_ref().is_none_or(|written| traces.differ(member.reference.kind, written))
}

/// An object's entry; from an adopting Deploy on, the record says which object is meant of a restored one.
pub(super) fn restored(inputs: &Inputs<'_>, uid: Option<&str>, entry: Member) -> Member {
    match uid.filter(|_| inputs.restored) {
        Some(uid) => Member { uid: Some(uid.to_owned()), ..entry },
        None => entry,
    }
}

/// Tells what others have to do with an object; `after` as it is wanted, and as it is applied.
pub(super) fn tell(
    action: Action,
    known: Option<&Artifact>,
    existing: Option<&Existing<'_>>,
    member: Option<&Member>,
    after: (&Artifact, &Artifact),
    plan: &mut Plan,
) {
    let Some(existing) = existing else { return };
    let told = &mut plan.diagnostics;
    match (action, known) {
        (Action::Update, Some(before)) => {
            tell_drift(existing, member, after.0, told);
            let stays = owners::tell_given_up(before, after.0, existing.others, told);
            beside::tell(existing.others, after.1, &stays, &mut plan.beside);
        }
        (Action::Unchanged, _) => {
            owners::tell_left(existing.others, existing.held, after.1, told);
            beside::tell(existing.others, after.1, &[], &mut plan.beside);
        }
        (Action::Update, None) => beside::tell(existing.others, after.1, &[], &mut plan.beside),
        _ => {}
    }
}

/// Tells that an object was written from outside; that an earlier version wrote it is nobody's fault.
fn tell_drift(
    existing: &Existing<'_>,
    member: Option<&Member>,
    artifact: &Artifact,
    diagnostics: &mut Vec<Diagnostic>,
) {
    if is_drifted(Some(existing), member) && member.is_some_and(|member| member.trace.is_some()) {
        let text = format!(
            "{} was written from outside since it was deployed; it is applied again",
            artifact.reference
        );
        diagnostics.push(Diagnostic::new(Code::ObjectDrifted, artifact.origin.clone(), text));
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
        && !is_drifted(Some(existing), Some(member))
        && owners::leave_all(inputs, existing.others, existing.held, stamped)
}
