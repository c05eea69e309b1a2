//! A record as it was read or written, with what a compare-and-swap needs.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;

use super::{Head, Phase};
use crate::artifacts::{
    DeploymentName, LABEL_INSTANCE, LABEL_MANAGED_BY, LABEL_RECORD, MANAGED_BY, Namespace, Target,
};

/// What the names of all heads begin with.
const PREFIX: &str = "panamax-deployment-";

/// The name of the ConfigMap that holds a deployment's record.
pub fn head_name(name: &DeploymentName) -> String {
    format!("{PREFIX}{name}")
}

/// The deployment whose record a ConfigMap of this name holds.
pub fn deployment_of(head_name: &str) -> Option<DeploymentName> {
    DeploymentName::new(head_name.strip_prefix(PREFIX)?.to_owned()).ok()
}

/// The labels by which the record of a deployment is found.
pub fn marks(name: &DeploymentName) -> [(&'static str, &str); 3] {
    [(LABEL_MANAGED_BY, MANAGED_BY), (LABEL_INSTANCE, name.as_str()), (LABEL_RECORD, "head")]
}

/// Whether the ConfigMap of a deployment's record lacks one of the labels by which it is found.
pub fn lacks_marks(object: &ConfigMap, name: &DeploymentName) -> bool {
    let labels = object.metadata.labels.as_ref();
    marks(name)
        .iter()
        .any(|(key, value)| labels.and_then(|labels| labels.get(*key)).is_none_or(|one| one != value))
}

/// The version of a stored record; only the cluster makes one, and nobody else looks inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(String);

impl Version {
    /// Takes the version that the API server gave.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Whether the object had this version before it, or another of its kind, had the other: the API server counts.
    pub fn is_before(&self, other: &Version) -> bool {
        let number = |version: &Version| version.0.parse::<u64>().ok();
        matches!((number(self), number(other)), (Some(one), Some(other)) if one < other)
    }

    /// The version as the API server spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A head as it was read or written, with what a compare-and-swap needs.
#[derive(Clone, Debug)]
pub struct Record {
    /// The record.
    pub head: Head,
    /// The namespace it lies in.
    pub namespace: Namespace,
    /// The deployment it is of.
    pub name: DeploymentName,
    /// The ConfigMap's uid; the deployment's identity for callers.
    pub uid: String,
    /// Whether the ConfigMap itself is being deleted.
    pub terminating: bool,
    /// The version that a write must find.
    pub version: Version,
    /// The object as it was read, less the record: others may have put things on it, and every write keeps them.
    pub stored: Arc<ConfigMap>,
}

#[cfg(test)]
impl Record {
    /// A record of a deployment `shop` as the cluster would have it, for tests.
    pub fn of(head: Head) -> Self {
        Self {
            head,
            namespace: Namespace::new("default").expect("a name"),
            name: DeploymentName::new("shop").expect("a name"),
            uid: "head".to_owned(),
            terminating: false,
            version: Version::new("1".to_owned()),
            stored: Arc::default(),
        }
    }
}

impl Record {
    /// The deployment it is of.
    pub fn target(&self) -> Target {
        Target { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// Whether somebody has taken a label away, or changed it, by which it is found; every write puts them back.
    pub fn lacks_marks(&self) -> bool {
        lacks_marks(&self.stored, &self.name)
    }

    /// Whether it is being torn down, or its record already goes.
    pub fn is_deleting(&self) -> bool {
        self.terminating || self.head.phase == Phase::Deleting
    }

    /// Whether the record was restored from a backup: it lies in another ConfigMap than it was written to.
    ///
    /// Where an earlier version has not noted that, a look says so: see [`Record::found_restored`].
    pub fn is_restored(&self) -> bool {
        self.head.uid.as_ref().map_or(self.head.restored, |uid| *uid != self.uid)
    }

    /// The record, as whoever has found out knows that it was restored from a backup.
    pub fn found_restored(mut self) -> Self {
        self.head.0.restored = true;
        self
    }

    /// The token that callers compare: changes with every operation, never with a renewed lease.
    pub fn etag(&self) -> String {
        let identity: String = self.uid.chars().take(8).collect();
        format!("{identity}-{}", self.head.generation)
    }
}
