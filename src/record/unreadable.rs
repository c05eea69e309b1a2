//! What was written down of a deployment and cannot be read any more: what is told of it, and what helps.

use jiff::Timestamp;

use super::{HeadRef, Record, head_name};
use crate::artifacts::{DeploymentName, Target};
use crate::error::{Error, ErrorKind};

/// A deployment whose record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The deployment, by the name of the ConfigMap.
    pub target: Target,
    /// The ConfigMap's uid.
    pub uid: String,
    /// When the ConfigMap was made.
    pub created: Option<Timestamp>,
    /// What is told of it.
    pub why: Error,
}

/// Why a revision cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// Its Secret is not there.
    Missing,
    /// Its Secret holds something else.
    Damaged,
}

/// The answer where a record was changed from outside so that it is none any more.
///
/// The context says nothing of what is in it.
pub fn damaged_record(name: &DeploymentName, context: &str) -> Error {
    let config_map = head_name(name);
    let text = format!(
        "the record of deployment {name} cannot be read: ConfigMap {config_map} was changed from outside; restore its \
         content, or delete that ConfigMap and deploy again, which takes over what is there"
    );
    unreadable(text, "ConfigMap", &config_map).because(format!("ConfigMap {config_map} {context}"))
}

/// The answer where a later version of the adapter has written the record.
pub fn later_record(name: &DeploymentName, schema: u32) -> Error {
    let config_map = head_name(name);
    let text = format!(
        "the record of deployment {name}, ConfigMap {config_map}, was written by a later version of the adapter; use \
         that version"
    );
    unreadable(text, "ConfigMap", &config_map).because(format!("its schema is {schema}"))
}

/// The answer where the revision in force is needed and cannot be read.
pub fn lost_revision(record: &Record, revision: &HeadRef, unread: Unread) -> Error {
    let text = format!(
        "revision {} of deployment {}, which is in force, cannot be read: {}; deploy again to repair it",
        revision.number,
        record.name,
        unread.tell(revision)
    );
    unreadable(text, "Secret", &revision.secret)
}

/// What a read tells of a revision in force that it cannot show.
pub fn tell_lost_revision(revision: &HeadRef) -> String {
    format!(
        "revision {} cannot be read, Secret {} was changed or deleted: the next Deploy repairs that",
        revision.number, revision.secret
    )
}

/// The answer where an earlier revision is asked for and was damaged; `others` are the ones that are kept beside it.
pub fn damaged_revision(name: &DeploymentName, revision: &HeadRef, others: &str) -> Error {
    let known = if others.is_empty() { "none" } else { others };
    let text = format!(
        "revision {} of deployment {name} cannot be read: {}; restore that Secret, or choose another revision; kept are \
         {known}",
        revision.number,
        Unread::Damaged.tell(revision)
    );
    unreadable(text, "Secret", &revision.secret).with("revisions", others)
}

/// The answer where no revision that would end an operation can be read.
pub fn unended(name: &DeploymentName, revisions: &[HeadRef]) -> Error {
    let secrets: Vec<&str> = revisions.iter().map(|revision| revision.secret.as_str()).collect();
    let text = format!(
        "neither the revision of deployment {name} that was begun nor the one before can be read, their Secrets were \
         changed or deleted ({}); deploy again to repair it",
        secrets.join(", ")
    );
    unreadable(text, "Secret", secrets.first().copied().unwrap_or_default())
}

impl Unread {
    fn tell(self, revision: &HeadRef) -> String {
        let what = match self {
            Unread::Missing => "is missing",
            Unread::Damaged => "was changed from outside",
        };
        format!("Secret {} {what}", revision.secret)
    }
}

fn unreadable(text: String, kind: &str, name: &str) -> Error {
    Error::new(ErrorKind::RecordUnreadable, text).about(kind, name)
}
