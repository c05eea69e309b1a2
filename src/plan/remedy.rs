//! What a refused write leads to, and who is to blame for it: one rule for plans and for what carries them out.

use super::displaced::{Displaced, displaced};
use super::{Step, fields};
use crate::artifacts::{Artifact, FIELD_MANAGER, Kind, ObjectRef, Others};
use crate::error::{Error, ErrorKind, Hold, Refusal};

/// The mark of the operation that wrote last, as a conflict names it.
const MARK: &str = "metadata.annotations.panamax.io/applied";

/// What is done where somebody else manages a field that the template sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConflictPolicy {
    /// The call fails.
    #[default]
    Fail,
    /// The other's value stays.
    Yield,
    /// The template's value is set, and the field taken over.
    Force,
}

/// What is done about a refused write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing: the step has failed.
    Fail,
    /// Delete the object and create it anew: nobody knew which form was there.
    Replace,
    /// Leave these fields out: they stay as whoever holds them has set them.
    LeaveOut(Vec<Hold>),
    /// Take these fields from whoever holds them.
    Take(Vec<Hold>),
    /// Take these fields away: ours cannot be beside them.
    Displace(Vec<Displaced>),
}

/// Decides what is done about a refused write of this step.
pub fn remedy(error: &Error, step: &Step, conflicts: ConflictPolicy) -> Remedy {
    match error.refusal() {
        Some(Refusal::Invalid { fields })
            if step.may_replace && matches!(fields.as_slice(), [one] if one == "spec") =>
        {
            Remedy::Replace
        }
        Some(Refusal::Invalid { .. }) if conflicts == ConflictPolicy::Yield => {
            excluded(error, step).map_or(Remedy::Fail, Remedy::LeaveOut)
        }
        Some(Refusal::Invalid { fields }) if conflicts == ConflictPolicy::Force => {
            match displaced(&step.others, &step.artifact.manifest, fields) {
                found if found.is_empty() => Remedy::Fail,
                found => Remedy::Displace(found),
            }
        }
        Some(Refusal::Held { holds }) => held(holds, step.artifact.reference.kind, conflicts),
        Some(Refusal::Invalid { .. } | Refusal::Unseen) | None => Remedy::Fail,
    }
}

/// Decides about fields that others hold.
fn held(holds: &[Hold], kind: Kind, conflicts: ConflictPolicy) -> Remedy {
    // A plan asks for a size only if the claim grows.
    let is_size = |hold: &Hold| hold.field == "spec.resources.requests.storage";
    if kind == Kind::PersistentVolumeClaim && holds.iter().all(is_size) {
        return Remedy::Take(holds.to_vec());
    }
    // Whoever holds the replica count came after the plan was made, which decides about it: a count is never taken by
    // the way.
    let (counts, fields): (Vec<Hold>, Vec<Hold>) =
        holds.iter().cloned().partition(|hold| hold.field == "spec.replicas");
    let (ours, fields): (Vec<Hold>, Vec<Hold>) = fields.into_iter().partition(is_ours);
    match conflicts {
        _ if fields.is_empty() && counts.is_empty() => Remedy::Take(ours),
        _ if fields.is_empty() => Remedy::LeaveOut(counts),
        ConflictPolicy::Fail => Remedy::Fail,
        ConflictPolicy::Yield if fields.iter().any(|hold| fields::is_protected(&hold.field)) => Remedy::Fail,
        ConflictPolicy::Yield => Remedy::LeaveOut(counts.into_iter().chain(fields).collect()),
        ConflictPolicy::Force if counts.is_empty() => Remedy::Take(fields),
        ConflictPolicy::Force => Remedy::LeaveOut(counts),
    }
}

/// Whether a field is ours alone, whoever holds it: the mark of who wrote last, and what was written under our own name.
///
/// Of an object that was restored, or whose entries were wiped, somebody else holds the mark, too.
pub(super) fn is_ours(hold: &Hold) -> bool {
    hold.field == MARK || hold.manager.starts_with(FIELD_MANAGER)
}

/// The fields of ours that cannot be beside what somebody else holds, if that is why the write was refused.
fn excluded(error: &Error, step: &Step) -> Option<Vec<Hold>> {
    let Some(Refusal::Invalid { fields: refused }) = error.refusal() else { return None };
    let manifest = &step.artifact.manifest;
    let mut left_out = Vec::new();
    for path in refused {
        let (field, manager) = fields::holder(&step.others, manifest, path)?;
        let ours = fields::excluded(manifest, path, &field)?;
        left_out.extend(ours.into_iter().map(|field| Hold { field, manager: manager.clone() }));
    }
    let is_free = |hold: &Hold| !fields::is_protected(&hold.field);
    (!left_out.is_empty() && left_out.iter().all(is_free)).then_some(left_out)
}

/// The object without these fields; `None` if it does not have one of them.
pub fn without(artifact: &Artifact, holds: &[Hold]) -> Option<Artifact> {
    let mut left = artifact.clone();
    holds.iter().all(|hold| fields::remove(&mut left.manifest, &hold.field)).then_some(left)
}

/// Who has made a Secret immutable, if somebody has: then the API server takes no other data, whatever they are, and
/// names the data as what it refuses.
pub(super) fn sealed_by<'a>(others: &'a [Others], artifact: &Artifact) -> Option<&'a str> {
    let seals = |other: &&Others| other.fields.get("f:immutable").is_some();
    let other = others.iter().filter(|_| artifact.reference.kind == Kind::Secret).find(seals)?;
    Some(&other.manager)
}

/// The conflict with whoever has made a Secret immutable.
fn sealed(reference: &ObjectRef, manager: &str) -> Error {
    let text = format!(
        "{reference}: its data cannot change, since field manager {manager} has set its field immutable; delete the \
         Secret and deploy again, or set options.conflicts to CONFLICT_POLICY_FORCE, which replaces it"
    );
    Error::new(ErrorKind::FieldConflict, text)
        .with("field", "immutable")
        .with("manager", manager.to_owned())
        .about(reference.kind.as_str(), reference.name.as_str())
}

/// Says whose a refused write is: what is invalid only beside a field of somebody else's is a conflict with them.
pub fn blamed(error: Error, step: &Step) -> Error {
    let Some(Refusal::Invalid { fields: refused }) = error.refusal() else { return error };
    if let Some(manager) = sealed_by(&step.others, &step.artifact) {
        return sealed(&step.artifact.reference, manager)
            .because(error.context().join("; "))
            .refused(Refusal::Invalid { fields: refused.clone() });
    }
    let manifest = &step.artifact.manifest;
    let found = refused.iter().find_map(|path| fields::holder(&step.others, manifest, path));
    let Some((field, manager)) = found else { return error };
    let reference = &step.artifact.reference;
    let helps = if displaced(&step.others, manifest, refused).is_empty() {
        "undo that change, then deploy again"
    } else {
        "undo that change, or set options.conflicts to CONFLICT_POLICY_FORCE, which takes it away"
    };
    Error::new(
        ErrorKind::FieldConflict,
        format!(
            "{reference}: the cluster does not accept it beside {field}, which field manager {manager} has set; {helps}"
        ),
    )
    .with("field", field)
    .with("manager", manager)
    .about(reference.kind.as_str(), reference.name.as_str())
    .because(error.context().join("; "))
    .refused(Refusal::Invalid { fields: refused.clone() })
}

/// Whether such a failure says for certain that the object was not written.
pub fn is_refusal(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ManifestRejected
            | ErrorKind::ObjectNotOwned
            | ErrorKind::FieldConflict
            | ErrorKind::ClusterForbidden
            | ErrorKind::CallerForbidden
            | ErrorKind::AdmissionDenied
            | ErrorKind::VolumeImmutable
            | ErrorKind::QuotaExceeded
    )
}

/// Whether a plan that fails so fails again for as long as things are as they are, whoever makes it.
pub fn is_for_good(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::TemplateInvalid
            | ErrorKind::LimitExceeded
            | ErrorKind::ManifestRejected
            | ErrorKind::ObjectNotOwned
            | ErrorKind::FieldConflict
            | ErrorKind::VolumeImmutable
            | ErrorKind::RecordUnreadable
    )
}

/// Whether a plan that fails so is worth trying again, and somebody has to do something before it succeeds.
pub fn waits_for_somebody(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::QuotaExceeded
            | ErrorKind::AdmissionDenied
            | ErrorKind::ClusterForbidden
            | ErrorKind::Internal
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(field: &str) -> Hold {
        Hold { field: field.to_owned(), manager: "somebody".to_owned() }
    }

    #[test]
    fn a_policy_decides_about_fields_and_never_about_marks_or_counts() {
        use ConflictPolicy::{Fail, Force, Yield};
        let kind = Kind::ReplicationController;
        let (image, count, mark) = (hold("spec.x"), hold("spec.replicas"), hold("metadata.labels.name"));
        let decided = |holds: &[Hold], conflicts| held(holds, kind, conflicts);
        let (field, counts) = ([image.clone()], [count.clone()]);
        assert_eq!(decided(&field, Fail), Remedy::Fail);
        assert_eq!(decided(&field, Yield), Remedy::LeaveOut(field.to_vec()));
        assert_eq!(decided(&field, Force), Remedy::Take(field.to_vec()));
        for policy in [Fail, Yield, Force] {
            assert_eq!(decided(&counts, policy), Remedy::LeaveOut(counts.to_vec()));
        }
        // First the count is left out, and then the field is taken.
        assert_eq!(decided(&[image.clone(), count], Force), Remedy::LeaveOut(counts.to_vec()));
        assert_eq!(decided(&[image, mark.clone()], Yield), Remedy::Fail);
        assert_eq!(decided(std::slice::from_ref(&mark), Force), Remedy::Take(vec![mark]));
        // The mark of who wrote last is ours, and so is what somebody wrote under our name.
        let ours = [hold(MARK), Hold { manager: "panamax:shop".to_owned(), ..hold("spec.x") }];
        for policy in [Fail, Yield, Force] {
            assert_eq!(decided(&ours, policy), Remedy::Take(ours.to_vec()));
        }
        let both = [hold("spec.x"), ours[0].clone()];
        assert_eq!(decided(&both, Fail), Remedy::Fail);
        assert_eq!(decided(&both, Yield), Remedy::LeaveOut(vec![hold("spec.x")]));
        let size = [hold("spec.resources.requests.storage")];
        assert_eq!(held(&size, Kind::PersistentVolumeClaim, Fail), Remedy::Take(size.to_vec()));
    }
}
