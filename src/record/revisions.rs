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
        let short: String = operation.chars().take(8).collect();
        Self { number, secret: format!("panamax-deployment-{deployment}-r{number}-{short}") }
    }
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
}

impl Head {
    /// Takes the oldest revisions out of the index and returns them: ten stay, and the last good one.
    pub fn drop_old_revisions(&mut self) -> Vec<HeadRef> {
        let mut dropped = Vec::new();
        while self.revisions.len() > KEPT_REVISIONS {
            let last_good = self.last_good;
            let oldest = self.revisions.iter().position(|entry| Some(entry.revision.number) != last_good);
            let Some(oldest) = oldest else { break };
            dropped.push(self.revisions.remove(oldest).revision);
        }
        dropped
    }

    /// The revision of an operation that never ended, if the index does not have it.
    pub fn begun_revision(&self) -> Option<RevisionEntry> {
        let operation = self.operation.as_ref()?;
        let revision = operation.revision.clone()?;
        let known = self.revisions.iter().any(|entry| entry.revision == revision);
        (!known).then_some(RevisionEntry { revision, time: operation.started, complete: false })
    }

    /// The number after every one that was ever begun.
    pub fn next_revision(&self) -> u32 {
        let begun = self.operation.as_ref().and_then(|operation| operation.revision.as_ref());
        let known = self.revisions.iter().map(|entry| entry.revision.number);
        known.chain(self.current.iter().chain(begun).map(|revision| revision.number)).max().unwrap_or(0) + 1
    }
}
