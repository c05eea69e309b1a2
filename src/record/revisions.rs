//! Which revisions of a deployment are kept, and what came of each.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::refused::shortened;
use super::{HeadFields, Member, MemberState, Phase};
use crate::artifacts::{ComponentName, DeploymentName, DeploymentState};

/// Revisions that are kept beside the last good one.
const KEPT_REVISIONS: usize = 10;

/// Names a revision and the Secret that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadRef {
    /// The revision's number, from 1.
    pub number: u32,
    /// The Secret's name.
    pub secret: String,
}

impl HeadRef {
    /// The revision that an operation writes: its Secret's name holds the operation's own random id, so that a lost
    /// race never meets another's revision.
    pub fn new(deployment: &DeploymentName, number: u32, operation: &str) -> Self {
        Self { number, secret: format!("panamax-deployment-{deployment}-r{number}-{}", short(operation)) }
    }

    /// Whether its Secret has a name as the revisions of this deployment have.
    pub fn is_named_for(&self, deployment: &DeploymentName) -> bool {
        self.secret.starts_with(&format!("panamax-deployment-{deployment}-r"))
    }

    /// Whether this operation writes it.
    pub fn is_of(&self, operation: &str) -> bool {
        self.secret.ends_with(&format!("-{}", short(operation)))
    }
}

/// What a revision's name holds of the operation's id.
fn short(operation: &str) -> String {
    operation.chars().take(8).collect()
}

/// One revision of the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionEntry {
    /// Number and Secret.
    #[serde(flatten)]
    pub revision: HeadRef,
    /// When it was deployed.
    pub time: Timestamp,
    /// Whether all of its objects were written.
    pub complete: bool,
    /// Whether it was never in force, so that it is deleted as soon as possible.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub discarded: bool,
    /// What was seen of it; `None`: nothing yet, or the entry is of a version that wrote nothing of it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Outcome>,
    /// The number of the revision that it repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_of: Option<u32>,
    /// The caller that has deployed it, as it is shown; `None`: nobody was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Why it failed, was not written whole or was taken back; `None`: none of these, or seen by a version that wrote
    /// nothing of it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// Why a revision failed, was not written whole or was taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The component that failed, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<ComponentName>,
    /// What became of it, in the adapter's words.
    pub why: String,
}

impl Cause {
    /// A cause as long as a record keeps one.
    pub fn new(component: Option<ComponentName>, why: &str) -> Self {
        Self { component, why: shortened(why) }
    }
}

/// What was seen of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its state.
    pub state: DeploymentState,
    /// Why it has failed, if it has.
    pub cause: Option<Cause>,
    /// Whether every component runs that the template wants to run: one that somebody has stopped may never have.
    pub ran: bool,
}

/// A revision that is not in force where that was promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotPutBack {
    /// Its number.
    pub revision: u32,
    /// What refuses it, in the adapter's words.
    pub why: String,
    /// Whether that may pass, so that it is tried again; otherwise it is given up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

impl NotPutBack {
    /// A refusal for good, as long as a record keeps one.
    pub fn new(revision: u32, why: &str) -> Self {
        Self { revision, why: shortened(why), again: false }
    }

    /// A refusal that may pass.
    pub fn for_now(revision: u32, why: &str) -> Self {
        Self { again: true, ..Self::new(revision, why) }
    }
}

impl fmt::Display for NotPutBack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "revision {} could not be put in force", self.revision)?;
        if self.again {
            formatter.write_str(" yet, and is tried again")?;
        }
        write!(formatter, ": {}", self.why)
    }
}

/// What was seen of a revision; written down once, so that what happens later does not take it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every component was seen ready.
    Succeeded,
    /// A component was seen failed, and none of the later looks found all of them ready.
    Failed,
    /// It failed and was taken back.
    RolledBack,
}

/// What came of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevisionResult {
    /// It is being applied or rolled out.
    InProgress,
    /// Every component was seen ready.
    Succeeded,
    /// It was applied, but a component failed.
    Failed,
    /// Some of its objects could not be applied.
    Incomplete,
    /// It failed and was taken back.
    RolledBack,
    /// Another came before its end was known.
    Superseded,
}

impl RevisionEntry {
    /// A revision that was never in force.
    pub(super) fn discarded(revision: HeadRef, time: Timestamp) -> Self {
        Self {
            revision,
            time,
            complete: false,
            discarded: true,
            seen: None,
            rollback_of: None,
            created_by: None,
            cause: None,
        }
    }
}

impl HeadFields {
    /// Why a revision failed, was not written whole or was taken back, if that was written down.
    pub fn cause_of(&self, revision: &HeadRef) -> Option<&Cause> {
        let entry = self.revisions.iter().find(|entry| entry.revision == *revision)?;
        entry.cause.as_ref()
    }

    /// The revisions that are listed, the newest first: those that were in force and are not about to be deleted.
    pub fn listed(&self) -> Vec<&RevisionEntry> {
        let superfluous = self.superfluous_revisions();
        let is_listed = |entry: &&RevisionEntry| !entry.discarded && !superfluous.contains(&entry.revision);
        let mut listed: Vec<&RevisionEntry> = self.revisions.iter().filter(is_listed).collect();
        listed.sort_by_key(|entry| std::cmp::Reverse(entry.revision.number));
        listed
    }

    /// What came of a revision that was in force.
    pub fn result(&self, entry: &RevisionEntry) -> RevisionResult {
        let is_current = self.current.as_ref() == Some(&entry.revision);
        match entry.seen {
            Some(Outcome::Succeeded) => RevisionResult::Succeeded,
            Some(Outcome::Failed) => RevisionResult::Failed,
            Some(Outcome::RolledBack) => RevisionResult::RolledBack,
            // The version before wrote no more down than which one was good last.
            None if Some(entry.revision.number) == self.last_good => RevisionResult::Succeeded,
            None if !entry.complete => RevisionResult::Incomplete,
            None if !is_current => RevisionResult::Superseded,
            None => match self.recorded.state {
                DeploymentState::Failed | DeploymentState::Degraded => RevisionResult::Failed,
                DeploymentState::Deploying
                | DeploymentState::Active
                | DeploymentState::Stopped
                | DeploymentState::Deleting => RevisionResult::InProgress,
            },
        }
    }

    /// The revisions that `Rollback` chooses from by itself, the newest first: those below the current that were seen
    /// ready. What an operation that died was about to make counts as the current: part of it may be in force.
    pub fn good_before(&self) -> impl Iterator<Item = &RevisionEntry> {
        let begun = self.operation.as_ref().and_then(|operation| operation.revision.as_ref());
        let bound = begun.or(self.current.as_ref()).map_or(0, |revision| revision.number);
        let is_good = move |entry: &&RevisionEntry| {
            entry.revision.number < bound && self.result(entry) == RevisionResult::Succeeded
        };
        self.listed().into_iter().filter(is_good)
    }

    /// The revision that the operation was to put in the place of the current one, which has failed.
    ///
    /// While it is put back, the current one is marked as taken back: then nobody goes back to that.
    pub fn being_put_back(&self) -> Option<&HeadRef> {
        let number = self.operation.as_ref()?.rollback_of?;
        let current = self.current.as_ref()?;
        let is_taken_back =
            |entry: &RevisionEntry| entry.revision == *current && entry.seen == Some(Outcome::RolledBack);
        let mut revisions = self.revisions.iter().map(|entry| &entry.revision);
        revisions
            .find(|revision| revision.number == number)
            .filter(|_| self.revisions.iter().any(is_taken_back))
    }

    /// The revision that an update which fails is taken back to: the current one, or, if that was seen to fail or was
    /// never applied whole, the last good one.
    pub fn back_to(&self) -> Option<HeadRef> {
        let current = self.current.as_ref()?;
        let entry = |number: u32| self.revisions.iter().find(|entry| entry.revision.number == number);
        let is_whole = |entry: &RevisionEntry| {
            matches!(self.result(entry), RevisionResult::Succeeded | RevisionResult::InProgress)
        };
        if entry(current.number).is_some_and(is_whole) {
            return Some(current.clone());
        }
        let good = self.last_good.and_then(entry).map(|entry| entry.revision.clone());
        Some(good.unwrap_or_else(|| current.clone()))
    }

    /// Writes down what was seen of the current revision, with why it has failed: ready stays, whatever comes later.
    pub(super) fn note(&mut self, seen: &Seen) {
        let Seen { state, cause, ran } = seen;
        let is_good = state.is_ready() && *ran;
        // Nor is one good that never ran: somebody else's image was left in its place.
        let is_left =
            |member: &Member| member.other_image && member.state == MemberState::Applied && !member.kept;
        let is_good = is_good && !self.inventory.iter().any(is_left);
        // What an operation could not write says nothing of the revision.
        let is_bad = matches!(state, DeploymentState::Failed | DeploymentState::Degraded)
            && self.phase != Phase::Incomplete;
        // The version before wrote down by this number alone which revision was good.
        let (current, good) = (self.current.clone(), self.last_good);
        for entry in &mut self.revisions {
            let is_current = current.as_ref() == Some(&entry.revision);
            if Some(entry.revision.number) == good || is_current && is_good {
                entry.seen = entry.seen.or(Some(Outcome::Succeeded)).map(|seen| match seen {
                    Outcome::Failed => Outcome::Succeeded,
                    other => other,
                });
                entry.cause.take_if(|_| entry.seen == Some(Outcome::Succeeded));
            } else if is_current && is_bad && entry.complete && entry.seen.is_none() {
                entry.seen = Some(Outcome::Failed);
                entry.cause.clone_from(cause);
            }
        }
        if is_good {
            self.last_good = current.map(|revision| revision.number);
        }
    }

    /// The revisions that are no longer kept: those that were never in force, and, oldest first, all but the newest
    /// ten, the last good one and the current one. They stay in the index until they are deleted.
    pub fn superfluous_revisions(&self) -> Vec<HeadRef> {
        // What was sent may store it late, or once more: it is deleted when that is over.
        let is_in_doubt = |entry: &RevisionEntry| self.doubts().any(|id| entry.revision.is_of(id));
        let discarded = self.revisions.iter().filter(|entry| entry.discarded && !is_in_doubt(entry));
        let in_force: Vec<&HeadRef> =
            self.revisions.iter().filter(|entry| !entry.discarded).map(|entry| &entry.revision).collect();
        let is_kept = |revision: &HeadRef| {
            Some(revision.number) == self.last_good || Some(revision) == self.current.as_ref()
        };
        let old = in_force.iter().copied().take(in_force.len().saturating_sub(KEPT_REVISIONS));
        let old = old.filter(|revision| !is_kept(revision));
        discarded.map(|entry| &entry.revision).chain(old).cloned().collect()
    }

    /// The caller whose work it is: that of the operation under way, or of the current revision.
    pub fn by(&self) -> Option<&str> {
        if let Some(operation) = &self.operation {
            return operation.by.as_deref();
        }
        let current = self.revisions.iter().find(|entry| Some(&entry.revision) == self.current.as_ref());
        current?.created_by.as_deref()
    }

    /// The revision of an operation that never ended, if the index does not have it.
    pub fn begun_revision(&self) -> Option<RevisionEntry> {
        let operation = self.operation.as_ref()?;
        let revision = operation.revision.clone()?;
        let known = self.revisions.iter().any(|entry| entry.revision == revision);
        (!known).then(|| RevisionEntry {
            rollback_of: operation.rollback_of,
            created_by: operation.by.clone(),
            ..RevisionEntry::discarded(revision, operation.started)
        })
    }

    /// The revisions that a dead operation is rolled forward to, the newest first, and at last the current one: the
    /// first of them that is stored is the one. Each was begun after the current one, by a holder that has died.
    pub fn candidates(&self) -> Vec<HeadRef> {
        let current = self.current.as_ref().map_or(0, |revision| revision.number);
        let begun = self.operation.as_ref().and_then(|operation| operation.revision.as_ref());
        let is_dead = |revision: &&HeadRef| self.superseded.iter().any(|id| revision.is_of(id));
        // What was taken back is none to go forward to.
        let newer = self.revisions.iter().filter(|entry| entry.seen != Some(Outcome::RolledBack));
        let newer = newer.map(|entry| &entry.revision);
        let newer = newer.filter(|revision| revision.number > current).filter(is_dead);
        let mut found: Vec<HeadRef> = newer.chain(begun).cloned().collect();
        found.sort_by_key(|revision| std::cmp::Reverse(revision.number));
        found.dedup();
        found.extend(self.current.clone());
        found
    }

    /// The number after every one that was ever begun.
    pub fn next_revision(&self) -> u32 {
        let begun = self.operation.as_ref().and_then(|operation| operation.revision.as_ref());
        let known = self.revisions.iter().map(|entry| entry.revision.number);
        known.chain(self.current.iter().chain(begun).map(|revision| revision.number)).max().unwrap_or(0) + 1
    }
}
