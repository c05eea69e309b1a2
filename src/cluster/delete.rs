//! Deletes member objects by uid only; what is gone already counts as deleted.

use either::Either;
use kube::api::{DeleteParams, ObjectMeta, Preconditions, PropagationPolicy};

use super::Cluster;
use super::gone::Going;
use crate::artifacts::{Kind, Namespace, ObjectRef};
use crate::error::Result;

/// How a delete ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The object is gone.
    Gone,
    /// The object is marked and will go.
    Going(Going),
}

/// What becomes of an object's dependents; always named, since the API's default for a
/// ReplicationController leaves its pods running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Dependents go first.
    Foreground,
    /// Dependents go after.
    Background,
}

impl Propagation {
    /// The policy for a kind.
    pub fn of(kind: Kind) -> Self {
        if kind.is_controller() { Propagation::Foreground } else { Propagation::Background }
    }
}

impl Cluster {
    /// Deletes the object with exactly this uid; another object of the same name is left alone.
    pub async fn delete(
        &self,
        namespace: &Namespace,
        reference: &ObjectRef,
        uid: &str,
        grace_seconds: Option<u32>,
    ) -> Result<Deletion> {
        let api = self.api(namespace, reference.kind);
        let name = reference.name.as_str();
        let parameters = DeleteParams {
            propagation_policy: Some(match Propagation::of(reference.kind) {
                Propagation::Foreground => PropagationPolicy::Foreground,
                Propagation::Background => PropagationPolicy::Background,
            }),
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            grace_period_seconds: grace_seconds,
            ..DeleteParams::default()
        };
        match self.call("delete the object", || api.delete(name, &parameters)).await {
            Ok(Either::Left(object)) if is_going(&object.metadata) => {
                Ok(Deletion::Going(Going::new(reference, uid, object.metadata)))
            }
            Ok(_) => Ok(Deletion::Gone),
            // 409: the name has another uid now, so the one that was meant is gone.
            Err(failure) if failure.is_not_found() || failure.is_conflict() => Ok(Deletion::Gone),
            Err(failure) => Err(failure.about(reference)),
        }
    }
}

/// Whether the answer to a delete shows an object that is still there.
///
/// A pod that goes without grace is marked and removed in one step: the answer still has the mark, at the very
/// version of the removal, and a watch from there on would wait for an event that never comes.
fn is_going(metadata: &ObjectMeta) -> bool {
    let at_once = metadata.deletion_grace_period_seconds == Some(0)
        && metadata.finalizers.as_deref().unwrap_or_default().is_empty();
    metadata.deletion_timestamp.is_some() && !at_once
}
