//! Which revisions of a deployment are kept.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Head;
use crate::artifacts::DeploymentName;

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
}

impl Head {
    /// The revisions that are no longer kept: those that were never in force, and, oldest first, all but the newest
    /// ten, the last good one and the current one. They stay in the index until they are deleted.
    pub fn superfluous_revisions(&self) -> Vec<HeadRef> {
        // What a dead operation has sent may store its revision late: it is deleted when that is over.
        let is_in_doubt = |entry: &RevisionEntry| self.superseded.iter().any(|id| entry.revision.is_of(id));
        let discarded = self.revisions.iter().filter(|entry| entry.discarded && !is_in_doubt(entry));
        let in_force: Vec<&HeadRef> =
            self.revisions.iter().filter(|entry| !entry.discarded).map(|entry| &entry.revision).collect();
        let is_kept = |revision: &HeadRef| {
            Some(revision.number) == self.last_good || Some(revision) == self.current.as_ref()
        };
        let old = in_force.iter().copied().filter(|revision| !is_kept(revision));
        let old = old.take(in_force.len().saturating_sub(KEPT_REVISIONS));
        discarded.map(|entry| &entry.revision).chain(old).cloned().collect()
    }

    /// The revision of an operation that never ended, if the index does not have it.
    pub fn begun_revision(&self) -> Option<RevisionEntry> {
        let operation = self.operation.as_ref()?;
        let revision = operation.revision.clone()?;
        let known = self.revisions.iter().any(|entry| entry.revision == revision);
        (!known).then_some(RevisionEntry {
            revision,
            time: operation.started,
            complete: false,
            discarded: true,
        })
    }

    /// The revisions that a dead operation is rolled forward to, the newest first, and at last the current one: the
    /// first of them that is stored is the one. Each was begun after the current one, by a holder that has died.
    pub fn candidates(&self) -> Vec<HeadRef> {
        let current = self.current.as_ref().map_or(0, |revision| revision.number);
        let begun = self.operation.as_ref().and_then(|operation| operation.revision.as_ref());
        let is_dead = |revision: &&HeadRef| self.superseded.iter().any(|id| revision.is_of(id));
        let newer = self.revisions.iter().map(|entry| &entry.revision);
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
