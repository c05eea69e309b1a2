//! Guarded server-side apply: one call that writes an object and checks that it may.

mod guard;
mod owner;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{DynamicObject, ObjectMeta, PartialObjectMeta, Patch, PatchParams};
use kube::core::Request;
use serde_json::Value;
use tokio::time::Instant;

use super::Cluster;
use super::answers::Subject;
use super::errors::Failure;
use super::gone::Terminating;
use super::patience;
use crate::artifacts::{
    ANNOTATION_LAYOUT, ANNOTATION_OPERATION, Artifact, DeploymentName, Form, Kind, Namespace, ObjectRef,
    Trace, Traces, field_manager, owned_fields,
};
use crate::error::{Error, ErrorKind, Hold, Refusal, Result};

pub use guard::Guard;
use guard::guarded;

/// How long to wait for an object of ours that is being deleted before it is created again.
const GOING: Duration = Duration::from_secs(60);

/// How often an object whose status keeps changing is read again for one write.
const LOOKS: usize = 20;

/// An object as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Its uid.
    pub uid: String,
    /// The digest of the fields we own.
    pub owned: String,
    /// Whether it was to be made and was there already, ours.
    pub adopted: bool,
    /// Its generation, for kinds that count one.
    pub generation: Option<i64>,
    /// What the write has left on it.
    pub trace: Trace,
    /// Whether the image of its pods was left to somebody else who had set it meanwhile.
    pub other_image: bool,
}

/// What one apply came to.
enum Attempt {
    /// The object is as the artifact says.
    Written(Written),
    /// The object took the apply while it is being deleted.
    Terminating(Terminating),
}

/// What a refused apply leads to.
enum Next {
    /// Try again under this guard.
    Again(Guard),
    /// Wait until this object is gone, then create.
    WaitFor(Terminating),
}

impl Cluster {
    /// Applies one object under a guard; ends with our object as the artifact says, or with an error.
    ///
    /// A lost answer, an object deleted by somebody and one that is still going are all seen to.
    /// Fails with OBJECT_NOT_OWNED, untouched, when the name is taken by anything that is not this deployment's;
    /// with FIELD_CONFLICT when another field manager holds a field.
    pub async fn apply(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        artifact: &Artifact,
        mut guard: Guard,
        dry_run: bool,
    ) -> Result<Written> {
        let reference = &artifact.reference;
        let asked = guard.clone();
        let mut pauses = self.pauses();
        let mut looks = 0;
        loop {
            let next = match self.try_apply(namespace, deployment, artifact, &guard, dry_run).await {
                Ok(Attempt::Written(written)) => {
                    let adopted = asked == Guard::CreateOnly && guard != Guard::CreateOnly;
                    return Ok(Written { adopted, ..written });
                }
                Ok(Attempt::Terminating(going)) => Next::WaitFor(going),
                Err(failure) if failure.conflict().is_some() || is_uid_changed(&failure) => {
                    self.look(namespace, deployment, artifact, &guard, &failure).await?
                }
                Err(failure) if is_met_claim(&asked, &guard, reference, &failure) => {
                    return Err(appeared(reference));
                }
                Err(failure) => return Err(failure.about(reference)),
            };
            // A controller that writes its status moves the version: that is no other writer of what we write.
            if let Next::Again(next) = &next
                && next.is_later_form_of(&guard)
                && looks < LOOKS
            {
                looks += 1;
                guard = next.clone();
                continue;
            }
            let Some(pause) = pauses.next() else { break };
            match next {
                // Somebody else writes it all the time.
                Next::Again(next) if next == guard => tokio::time::sleep(pause).await,
                Next::Again(next) => guard = next,
                // A dry run waits for nothing: the object is being deleted already.
                Next::WaitFor(_) if dry_run => return Ok(Written::default()),
                Next::WaitFor(going) => {
                    let left =
                        self.wait_gone(namespace, deployment, vec![going], Instant::now() + GOING).await?;
                    if !left.is_empty() {
                        return Err(still_going(reference));
                    }
                    guard = Guard::CreateOnly;
                }
            }
        }
        Err(Error::new(
            ErrorKind::OperationInProgress,
            format!("another writer keeps changing {reference}; find out who, then try again"),
        )
        .retry_after(Duration::from_secs(1)))
    }

    async fn try_apply(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        artifact: &Artifact,
        guard: &Guard,
        dry_run: bool,
    ) -> std::result::Result<Attempt, Failure> {
        let api = self.api(namespace, artifact.reference.kind);
        let manager = field_manager(deployment);
        let mut parameters = PatchParams::apply(&manager).validation_strict();
        parameters.dry_run = dry_run;
        parameters.force = matches!(guard, Guard::TakeFields(_));
        let body = Patch::Apply(guarded(&artifact.manifest, guard));
        let name = artifact.reference.name.as_str();
        let subject = Subject::member(&artifact.reference);
        let patch = || async {
            let request = Request::new(api.resource_url()).patch_metadata(name, &parameters, &body);
            let request = request.map_err(kube::Error::BuildRequest)?.map(escaped);
            self.client.request::<PartialObjectMeta<DynamicObject>>(request).await
        };
        let written = self.write("apply the object", subject, patch).await?;
        let metadata = written.metadata;
        let uid = metadata.uid.clone().unwrap_or_default();
        // The API server takes an apply to an object that is already going; it would be lost with it.
        if metadata.deletion_timestamp.is_some() {
            return Ok(Attempt::Terminating(Terminating::new(&artifact.reference, &uid, metadata)));
        }
        Ok(Attempt::Written(answered(metadata, deployment)))
    }

    /// Reads the object that prevents an apply.
    ///
    /// The API server reports other managers' fields before it compares uids, so even a field conflict says
    /// nothing about whose object it is.
    async fn look(
        &self,
        namespace: &Namespace,
        deployment: &DeploymentName,
        artifact: &Artifact,
        guard: &Guard,
        failure: &Failure,
    ) -> Result<Next> {
        let reference = &artifact.reference;
        let Some((seen, metadata)) = self.see(namespace, deployment, reference).await? else {
            return Ok(Next::Again(Guard::CreateOnly));
        };
        if !seen.is_ours(guard.form().map(|form| form.uid.as_str())) {
            let other = owner::instance(&metadata).filter(|other| other != deployment);
            // Whether the other deployment is there still: rare, so it is asked only here.
            let is_left = match &other {
                Some(other) => self.read_head(namespace, other).await.is_ok_and(|head| head.is_none()),
                None => false,
            };
            return Err(owner::not_owned(namespace, deployment, reference, &metadata, is_left));
        }
        if seen.terminating {
            return Ok(Next::WaitFor(Terminating::new(reference, &seen.uid, metadata)));
        }
        if *guard == Guard::CreateOnly && is_laid_out_otherwise(artifact, &metadata) {
            return Err(appeared(reference));
        }
        match (field_conflict(failure, reference), guard) {
            (Some(conflict), Guard::UpdateOnly(form)) if form.uid == seen.uid => Err(conflict),
            _ => {
                let generation = metadata.generation;
                if !is_known(artifact, guard, &metadata) {
                    // Somebody has written it: another operation, perhaps, which has taken the lock.
                    patience::confirmed().await;
                }
                Ok(Next::Again(guard.on(Form { uid: seen.uid, version: Some(seen.version), generation })))
            }
        }
    }
}

/// Whether nobody but this operation has written what there is of an object, its status aside.
fn is_known(artifact: &Artifact, guard: &Guard, metadata: &ObjectMeta) -> bool {
    let own = artifact.manifest.pointer("/metadata/annotations");
    let own = own.and_then(|all| all.get(ANNOTATION_OPERATION)).and_then(Value::as_str);
    let there = metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION_OPERATION));
    if own.is_none() || own != there.map(String::as_str) {
        return false;
    }
    match guard.form() {
        // The answer to its own creation was lost.
        None => true,
        Some(form) => Some(&form.uid) == metadata.uid.as_ref() && form.has_generation(metadata.generation),
    }
}

/// An object as the answer to a write shows it.
pub(super) fn answered(metadata: ObjectMeta, deployment: &DeploymentName) -> Written {
    let traces = Traces::of(&metadata, deployment);
    let entries = metadata.managed_fields.unwrap_or_default();
    Written {
        uid: metadata.uid.unwrap_or_default(),
        adopted: false,
        generation: metadata.generation,
        trace: traces.own().clone(),
        other_image: false,
        owned: owned_fields(&entries, &field_manager(deployment)).unwrap_or_default(),
    }
}

/// JSON without the characters that YAML forbids or takes for line ends, and JSON lets stand: the API server reads an
/// apply as YAML.
fn escaped(json: Vec<u8>) -> Vec<u8> {
    let special = |character: char| {
        matches!(
            character,
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
    };
    let text = match String::from_utf8(json) {
        Ok(text) => text,
        Err(error) => return error.into_bytes(),
    };
    if !text.contains(special) {
        return text.into_bytes();
    }
    let mut escaped = String::with_capacity(text.len() + 64);
    for character in text.chars() {
        match special(character) {
            true => escaped.push_str(&format!("\\u{:04x}", u32::from(character))),
            false => escaped.push(character),
        }
    }
    escaped.into_bytes()
}

/// The answer of an API server whose object of that name has another uid.
pub(super) fn is_uid_changed(failure: &Failure) -> bool {
    failure.is_invalid() && failure.causes().iter().any(|cause| cause.field == "metadata.uid")
}

/// The error for fields that other managers hold; `None` if that is not what happened.
fn field_conflict(failure: &Failure, reference: &ObjectRef) -> Option<Error> {
    let conflicts: Vec<_> =
        failure.causes().iter().filter(|cause| cause.reason == "FieldManagerConflict").collect();
    let holds = conflicts.iter().map(|cause| Hold {
        field: cause.field.trim_start_matches('.').to_owned(),
        manager: cause.message.split('"').nth(1).unwrap_or("another manager").to_owned(),
    });
    let holds: Vec<Hold> = holds.collect();
    let manager = holds.first()?.manager.clone();
    // The fields of one: whoever undoes its changes meets the next one afterwards.
    let fields = holds.iter().filter(|hold| hold.manager == manager).map(|hold| hold.field.clone());
    let fields: Vec<String> = fields.collect();
    Some(
        Error::new(
            ErrorKind::FieldConflict,
            format!(
                "{reference}: {} belongs to field manager {manager}; undo that change, or set options.conflicts",
                shown(&fields.join(", "))
            ),
        )
        .with("field", shown(&fields.join(",")))
        .with("manager", manager)
        .refused(Refusal::Held { holds })
        .about(reference.kind.as_str(), reference.name.as_str()),
    )
}

/// Paths as people may see them: the name of a variable ends where a value may begin.
fn shown(paths: &str) -> String {
    let ends_name = |letter: char| matches!(letter, ':' | '=') || letter.is_whitespace();
    let parts = paths.split('"').enumerate().map(|(index, part)| match part.find(ends_name) {
        Some(end) if index % 2 == 1 => format!("{}…", &part[..end]),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("\"")
}

/// Whether a claim that was to be made is there, and cannot become as it was to be: nobody had seen it, so nobody has
/// decided what of it stays.
fn is_met_claim(asked: &Guard, guard: &Guard, reference: &ObjectRef, failure: &Failure) -> bool {
    let is_met = *asked == Guard::CreateOnly && *guard != Guard::CreateOnly;
    is_met && reference.kind == Kind::PersistentVolumeClaim && failure.is_invalid()
}

/// How a volume claim is mounted, as it says itself.
pub(super) fn layout(metadata: &ObjectMeta) -> Option<String> {
    metadata.annotations.as_ref()?.get(ANNOTATION_LAYOUT).cloned()
}

/// Whether a claim that is there is mounted otherwise than the one that was to be made: nobody had seen it.
fn is_laid_out_otherwise(artifact: &Artifact, metadata: &ObjectMeta) -> bool {
    let wanted =
        artifact.manifest.pointer("/metadata/annotations").and_then(|all| all.get(ANNOTATION_LAYOUT));
    artifact.reference.kind == Kind::PersistentVolumeClaim
        && layout(metadata).as_deref() != wanted.and_then(Value::as_str)
}

fn appeared(reference: &ObjectRef) -> Error {
    Error::new(
        ErrorKind::OperationInProgress,
        format!("{reference} has appeared meanwhile, and cannot become as it was to be made; deploy again"),
    )
    .about(reference.kind.as_str(), reference.name.as_str())
    .refused(Refusal::Unseen)
    .retry_after(Duration::from_secs(1))
}

fn still_going(reference: &ObjectRef) -> Error {
    Error::new(
        ErrorKind::OperationInProgress,
        format!("{reference} is still being deleted; look at its finalizers, then try again"),
    )
    .about(reference.kind.as_str(), reference.name.as_str())
    .retry_after(Duration::from_secs(5))
}

/// The managers that own the replica count.
pub(super) fn replicas_owners(entries: &[ManagedFieldsEntry]) -> Vec<String> {
    entries
        .iter()
        .filter(|entry| {
            entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer("/f:spec/f:replicas").is_some())
        })
        .filter_map(|entry| entry.manager.clone())
        .collect()
}
