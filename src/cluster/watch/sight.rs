//! Which records the keeper's watches show, and what they show of them.

use std::sync::Arc;

use crate::artifacts::{Namespace, Target};
use crate::record::{Record, Unreadable};

/// The namespaces whose deployments are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of the cluster.
    All,
    /// These.
    Namespaces(Vec<Namespace>),
}

impl Scope {
    /// The number of the watch that shows a namespace's records; `None`: nobody watches them.
    pub(super) fn watch_of(&self, namespace: &Namespace) -> Option<usize> {
        match self {
            Scope::All => Some(0),
            Scope::Namespaces(namespaces) => namespaces.iter().position(|one| one == namespace),
        }
    }

    /// How many watches show the records.
    pub(super) fn watches(&self) -> usize {
        match self {
            Scope::All => 1,
            Scope::Namespaces(namespaces) => namespaces.len(),
        }
    }
}

/// What a watch of records shows.
#[derive(Clone, Debug)]
pub enum Sight {
    /// All records are listed anew.
    Begin,
    /// A record in such a list.
    Listed(Arc<Record>),
    /// The list is complete.
    Complete,
    /// A record as it is now.
    Now(Arc<Record>),
    /// A record was deleted; this was its last form.
    Gone(Arc<Record>),
    /// A record cannot be read.
    Unreadable(Arc<Unreadable>),
    /// A record that could not be read was deleted.
    Lost(Target),
}
