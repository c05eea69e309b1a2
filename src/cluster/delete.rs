//! Deletes member objects by uid only; what is gone already counts as deleted.

use either::Either;
use kube::api::{DeleteParams, ObjectMeta, Preconditions, PropagationPolicy};

use super::Cluster;
use super::answers::Subject;
use super::errors::Failure;
use super::gone::Terminating;
use crate::artifacts::{Form, Kind, Namespace, ObjectRef};
use crate::error::Result;

/// How a delete ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The object is gone.
    Gone,
    /// The object is gone, and another has its name.
    Replaced,
    /// The object is marked and will go.
    Terminating(Terminating),
}

/// What becomes of an object's dependents; always named, since the API's default for a
/// ReplicationController leaves its pods running.
fn propagation(kind: Kind) -> PropagationPolicy {
    if kind.is_controller() { PropagationPolicy::Foreground } else { PropagationPolicy::Background }
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
            propagation_policy: Some(propagation(reference.kind)),
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            grace_period_seconds: grace_seconds,
            ..DeleteParams::default()
        };
        let subject = Subject::member(reference);
        let mut pauses = self.pauses();
        loop {
            match self.write("delete the object", subject, || api.delete(name, &parameters)).await {
                Ok(Either::Left(object)) if is_still_there(&object.metadata) => {
                    return Ok(Deletion::Terminating(Terminating::new(reference, uid, object.metadata)));
                }
                Ok(_) => return Ok(Deletion::Gone),
                Err(failure) if failure.is_not_found() => return Ok(Deletion::Gone),
                // The name has another uid now, so the one that was meant is gone; if a look says so, too.
                Err(failure) if failure.conflict().is_some() => {
                    if self.is_replaced(namespace, reference, uid).await? {
                        return Ok(Deletion::Replaced);
                    }
                    match pauses.next() {
                        Some(pause) => tokio::time::sleep(pause).await,
                        None => return Err(failure.about(reference)),
                    }
                }
                Err(failure) => return Err(failure.about(reference)),
            }
        }
    }

    /// Asks whether the object with this uid may be deleted: a dry run, which changes nothing.
    pub async fn would_delete(&self, namespace: &Namespace, reference: &ObjectRef, uid: &str) -> Result<()> {
        let api = self.api(namespace, reference.kind);
        let name = reference.name.as_str();
        let parameters = tried(uid);
        let answer = self.write(ASK, Subject::member(reference), || api.delete(name, &parameters)).await;
        taken(answer).map_err(|failure| failure.about(reference))
    }

    /// Deletes the object in exactly this form; one that somebody has written since is left alone. Returns whether it was deleted.
    pub async fn delete_form(
        &self,
        namespace: &Namespace,
        reference: &ObjectRef,
        form: &Form,
    ) -> Result<bool> {
        let api = self.api(namespace, reference.kind);
        let name = reference.name.as_str();
        let preconditions =
            Preconditions { uid: Some(form.uid.clone()), resource_version: form.version.clone() };
        let parameters = DeleteParams {
            propagation_policy: Some(propagation(reference.kind)),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        let subject = Subject::member(reference);
        match self.write("delete the object", subject, || api.delete(name, &parameters)).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.is_not_found() => Ok(true),
            Err(failure) if failure.conflict().is_some() => Ok(false),
            Err(failure) => Err(failure.about(reference)),
        }
    }

    /// Whether the object with this uid is gone, by a look at its name.
    pub(super) async fn is_replaced(
        &self,
        namespace: &Namespace,
        reference: &ObjectRef,
        uid: &str,
    ) -> Result<bool> {
        let api = self.api(namespace, reference.kind);
        let name = reference.name.as_str();
        let found = self
            .call("read the object", || api.get_metadata_opt(name))
            .await
            .map_err(|failure| failure.about(reference))?;
        Ok(found.and_then(|object| object.metadata.uid).as_deref() != Some(uid))
    }
}

/// What a dry run of a delete is for.
pub(super) const ASK: &str = "ask whether the object may be deleted";

/// A delete that was taken, or whose object is gone or another by now: the next look says which.
pub(super) fn taken<T>(answer: std::result::Result<T, Failure>) -> std::result::Result<(), Failure> {
    match answer {
        Err(failure) if !(failure.is_not_found() || failure.conflict().is_some()) => Err(failure),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A delete of exactly this uid that is only tried.
pub(super) fn tried(uid: &str) -> DeleteParams {
    DeleteParams {
        dry_run: true,
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    }
}

/// Whether a deleted object is only marked so far.
///
/// One whose time of grace is over and which no finalizer holds was removed before the answer was sent, and its
/// version is that of the removal: a watch from there would never report it.
pub(super) fn is_still_there(metadata: &ObjectMeta) -> bool {
    let over = metadata.deletion_grace_period_seconds == Some(0)
        && metadata.finalizers.as_ref().is_none_or(Vec::is_empty);
    metadata.deletion_timestamp.is_some() && !over
}
