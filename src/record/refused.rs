//! What the cluster refuses to delete or to write: remembered, with why and since when, until it is over.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Applied, Cause, HeadFields, Member, MemberState, Outcome, Phase};
use crate::artifacts::{Kind, ObjectRef};

/// The most characters of a reason that a record keeps.
const LONGEST_WHY: usize = 300;
/// How many objects a message names.
const NAMED: usize = 5;

/// An object that the cluster refuses to delete or to write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedObject {
    /// Kind and name.
    pub reference: ObjectRef,
    /// The uid of what was to be deleted; `None`: a revision, or something that was to be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// What is refused.
    pub work: RefusedWork,
    /// Who refuses it, in the adapter's words; empty: it was not tried, since something else had failed before.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Since when.
    pub since: Timestamp,
}

/// What is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RefusedWork {
    /// To delete an object.
    Delete,
    /// To write an object.
    Write,
}

impl RefusedObject {
    /// A delete that is refused, or that a finalizer holds.
    pub fn delete(reference: ObjectRef, uid: Option<String>, why: &str, since: Timestamp) -> Self {
        Self { reference, uid, work: RefusedWork::Delete, why: shortened(why), since }
    }

    /// A write that is refused; with an empty reason one that was not tried.
    pub fn write(reference: ObjectRef, why: &str, since: Timestamp) -> Self {
        Self { reference, uid: None, work: RefusedWork::Write, why: shortened(why), since }
    }

    /// Whether it is a delete that is refused.
    pub fn is_delete(&self) -> bool {
        self.work == RefusedWork::Delete
    }

    fn is_about(&self, reference: &ObjectRef, uid: Option<&str>) -> bool {
        self.reference == *reference && self.uid.as_deref() == uid
    }
}

/// A reason as long as a record keeps one.
pub(super) fn shortened(why: &str) -> String {
    why.chars().take(LONGEST_WHY).collect()
}

/// The finalizers that are somebody else's: those of Kubernetes itself say only that it is at work.
pub fn foreign_finalizers(finalizers: &[String]) -> Vec<String> {
    let is_own = |one: &&String| {
        let domain = one.split_once('/').map(|(domain, _)| domain);
        domain.is_none_or(|domain| domain == "kubernetes.io" || domain.ends_with(".kubernetes.io"))
    };
    finalizers.iter().filter(|one| !is_own(one)).cloned().collect()
}

/// The finalizers that hold an object; that of the garbage collector says only that dependents go first.
pub fn holding_finalizers(mut finalizers: Vec<String>) -> Vec<String> {
    finalizers.retain(|one| one != "foregroundDeletion");
    finalizers
}

/// What is refused, as a sentence.
pub struct Refusing<'a>(pub &'a [RefusedObject]);

impl fmt::Display for Refusing<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (told, untried): (Vec<_>, Vec<_>) = self.0.iter().partition(|one| !one.why.is_empty());
        let mut parts: Vec<String> = told.iter().take(NAMED).map(|one| sentence(one)).collect();
        if told.len() > NAMED {
            parts.push(format!("{} more", told.len() - NAMED));
        }
        if !untried.is_empty() {
            let names = untried.iter().take(NAMED).map(|one| one.reference.to_string());
            let mut names: Vec<String> = names.collect();
            if untried.len() > NAMED {
                names.push(format!("{} more", untried.len() - NAMED));
            }
            parts.push(format!("not reached: {}", names.join(", ")));
        }
        formatter.write_str(&parts.join("; "))
    }
}

fn sentence(one: &RefusedObject) -> String {
    let RefusedObject { reference, why, since, .. } = one;
    match one.work {
        RefusedWork::Delete => {
            format!("{reference} cannot be deleted since {since} ({why}); the adapter goes on trying")
        }
        RefusedWork::Write => format!("{reference} was not written at {since} ({why})"),
    }
}

impl HeadFields {
    /// The deletes that are refused.
    pub fn refused_deletes(&self) -> impl Iterator<Item = &RefusedObject> {
        self.refused.iter().filter(|one| one.is_delete())
    }

    /// Notes how deletes were answered; what is known to be refused keeps the time of its first refusal.
    pub(super) fn answer_deletes(
        &mut self,
        refused: &[RefusedObject],
        accepted: &[(ObjectRef, Option<String>)],
    ) {
        self.refused.retain(|known| {
            !known.is_delete()
                || !accepted.iter().any(|(reference, uid)| known.is_about(reference, uid.as_deref()))
        });
        for one in refused {
            let known = self.refused.iter_mut();
            let mut known = known.filter(|known| known.is_delete());
            match known.find(|known| known.is_about(&one.reference, one.uid.as_deref())) {
                Some(known) => known.why.clone_from(&one.why),
                None => self.refused.push(one.clone()),
            }
        }
    }

    /// Drops the writes that were refused: another operation writes the objects anew.
    pub(super) fn forget_writes(&mut self) {
        self.refused.retain(RefusedObject::is_delete);
    }

    /// Drops what is not to be deleted, or not to be written, any more.
    pub(super) fn forget_what_is_over(&mut self) {
        if self.refused.is_empty() {
            return;
        }
        let mut refused = std::mem::take(&mut self.refused);
        refused.retain(|one| match one.work {
            RefusedWork::Write => matches!(self.phase, Phase::Applying | Phase::Incomplete),
            RefusedWork::Delete => self.is_to_be_deleted(one),
        });
        self.refused = refused;
    }

    fn is_to_be_deleted(&self, one: &RefusedObject) -> bool {
        let is_meant = |member: &Member| {
            // An apps Deployment may stay for one of its ReplicaSets, whose uid is told then.
            member.reference == one.reference
                && (member.uid == one.uid || one.reference.kind == Kind::Deployment)
                && member.state == MemberState::Deleting
        };
        let mut revisions = self.revisions.iter();
        self.phase == Phase::Deleting
            // Pods of controllers stand in no inventory: whoever sees them gone says so.
            || one.reference.kind == Kind::Pod && self.member(&one.reference).is_none()
            || self.inventory.iter().any(is_meant)
            || one.reference.kind == Kind::Secret
                && one.uid.is_none()
                && revisions.any(|entry| entry.revision.secret == one.reference.name.as_str())
    }

    /// The inventory after an operation: what it did not write, and nobody has since, stands as an earlier revision.
    pub(super) fn ended_inventory(&self, applied: &Applied) -> Vec<Member> {
        let mut inventory = applied.inventory.clone();
        if applied.revision.is_none() {
            return inventory;
        }
        let current = self.current.as_ref().map(|current| current.number);
        for member in &mut inventory {
            let is_untouched = applied.untouched.contains(&member.reference);
            let is_certain = is_untouched && member.state == MemberState::Applied;
            member.stands_as = if is_certain { member.stands_as.or(current) } else { None };
        }
        inventory
    }

    /// Marks the current revision as one that has failed and was taken back. The request that made it was not carried
    /// out then, and is no longer remembered; both were written down in one write.
    pub(super) fn mark_taken_back(&mut self, cause: &Cause) {
        let current = self.current.clone();
        let entries = self.revisions.iter_mut();
        for entry in entries.filter(|entry| Some(&entry.revision) == current.as_ref()) {
            entry.seen = Some(Outcome::RolledBack);
            entry.cause.get_or_insert_with(|| cause.clone());
            self.requests.retain(|known| known.time != entry.time);
        }
    }
}
