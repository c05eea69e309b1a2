//! Something that happened to an object, as the cluster's Event about it says.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The object that an Event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// Its API group; empty for the core group.
    pub group: String,
    /// The version of that group.
    pub version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// An Event, less the words of others: those may quote arguments and values of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// The object that it is about.
    pub subject: Subject,
    /// Whether Kubernetes calls it anything but Normal.
    pub is_warning: bool,
    /// The reason, if it is a word.
    pub reason: String,
    /// The sentence of an Event that this adapter created.
    pub told: Option<String>,
    /// How often it happened.
    pub count: i32,
    /// When it first happened.
    pub first: Option<Time>,
    /// When it last happened.
    pub last: Option<Time>,
}
