//! What a Deploy will do: the deployment as it is, the template as it shall be, and the plan between them.

use std::collections::BTreeMap;

use super::prepared::{Prepared, Rendered, combine};
use super::{Course, Inputs, Plan, Revision, check_claims, plan, stamp, standing};
use crate::artifacts::{
    Artifacts, ComponentName, DeploymentState, ListedObject, field_manager, scale_manager,
};
use crate::diagnostic::{Code, Diagnostic};
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Head, HeadRef, Phase, Record, Recorded, RecordedComponent, Request};
use crate::translate::MAX_OBJECTS;

/// The most objects of one deployment with the leftovers of an earlier revision; translating bounds the rest.
const MAX_INVENTORY: usize = 512;

/// Everything decided about one Deploy before its first write.
pub struct Decided {
    /// The template.
    pub prepared: Prepared,
    /// What it becomes.
    pub rendered: Rendered,
    /// The record as it was read; `None` if there is no such deployment.
    pub record: Option<Record>,
    /// The id of the operation to come.
    pub operation: String,
    /// The revision to come.
    pub revision: HeadRef,
    /// Whether the current revision asks for the same already.
    pub repeats: bool,
    /// What happens to every object.
    pub plan: Plan,
    /// What digests of requests are mixed with; see [`Revision::key`].
    pub key: Option<String>,
    /// What the id of the plan is mixed with: the key of the current revision; empty before the first is stored.
    pub mixed: String,
    /// The request that is carried out, if its caller has named it.
    pub request: Option<Request>,
    /// How the template is brought about.
    pub course: Course,
}

/// Decides a Deploy from what was read; `previous` is the stored revision that comparisons are made with, `earlier` are
/// those that objects stand as which it was never written to, `operation` is the id of the operation to come.
///
/// Fails when a volume claim cannot become what is asked, or when the deployment would have too many objects.
#[expect(clippy::too_many_arguments, reason = "everything that was read, once")]
pub fn decide(
    prepared: Prepared,
    mut rendered: Rendered,
    record: Option<Record>,
    previous: Option<&Revision>,
    earlier: &BTreeMap<u32, Revision>,
    seen: &[ListedObject],
    course: Course,
    operation: &str,
) -> Result<Decided> {
    let head = record.as_ref().map(|record| &record.head);
    let controllers = head.map(Head::controllers).unwrap_or_default();
    let earlier = standing::rendered(earlier, &controllers);
    let before = previous.map(|previous| previous.rendered_with(controllers)).unwrap_or_default();
    let before = standing::standing(head, before, &earlier);
    let number = head.map_or(1, |head| head.next_revision());
    let links = crate::translate::linked_services(&prepared.template);
    let (own, scale) = (field_manager(&prepared.name), scale_manager(&prepared.name));
    let inputs = Inputs {
        head,
        before: &before,
        earlier: &earlier,
        after: &rendered.artifacts,
        links: &links,
        seen: Some(seen),
        restored: record.as_ref().is_some_and(Record::is_restored),
        revision: number,
        operation,
        prune: course.deletes_removed(),
        conflicts: course.conflicts_now(),
        replicas: course.replicas,
        uncounted: &prepared.uncounted(),
        scale: &BTreeMap::new(),
        managers: (&own, &scale),
        back: course.back.as_ref(),
    };
    check_claims(&inputs)?;
    // What is stored is what is applied: the next Deploy is compared with that.
    let (artifacts, kept) = stamp::keep_metadata(&inputs);
    let mut plan = plan(&Inputs { after: &artifacts, ..inputs });
    plan.yields_unasked = course.yields_unasked();
    plan.diagnostics.extend(kept.iter().filter_map(|component| tell_kept(&artifacts, component)));
    rendered.artifacts = artifacts;
    prepared.check(&mut plan.diagnostics)?;
    plan.beside.iter_mut().try_for_each(|one| prepared.check(std::slice::from_mut(&mut one.told)))?;
    let count = plan.union().len();
    if count > MAX_INVENTORY {
        return Err(too_many(count));
    }
    let revision = HeadRef::new(&prepared.name, number, operation);
    let key = previous.and_then(|previous| previous.key.clone());
    let mixed = key.clone().unwrap_or_default();
    let operation = operation.to_owned();
    let repeats = previous.is_some_and(|previous| prepared.repeats(previous));
    let request = None;
    Ok(Decided {
        prepared,
        rendered,
        record,
        operation,
        revision,
        repeats,
        plan,
        course,
        mixed,
        key,
        request,
    })
}

impl Decided {
    /// Whether the deployment is as the template says already, and was left in order.
    ///
    /// Another template, or other rules, that come to the same objects are a change: reads show a template, and Scale and
    /// Rollback go by both.
    pub fn is_unchanged(&self) -> bool {
        self.plan.is_noop() && self.head_in_order().is_some()
    }

    /// Whether it is so but for objects that the record says are to be deleted: that makes no revision.
    pub fn only_deletes(&self) -> bool {
        self.head_in_order().is_some_and(|head| self.plan.only_deletes(head))
    }

    /// The record, if the deployment was left in order.
    fn head_in_order(&self) -> Option<&Head> {
        let head = self.record.as_ref().map(|record| &record.head)?;
        let is_whole = head.operation.is_none() && head.phase != Phase::Incomplete && head.current.is_some();
        (is_whole && self.repeats && head.recorded.labels == self.labels()).then_some(head)
    }

    /// Whether nothing of it was ever complete: then there is nothing to go back to either.
    pub fn is_first(&self) -> bool {
        self.record.as_ref().is_none_or(|record| record.head.current.is_none())
    }

    /// The revision that is put back if it fails.
    pub fn back_to(&self) -> Option<HeadRef> {
        let head = &self.record.as_ref()?.head;
        head.back_to().filter(|_| self.course.is_taken_back())
    }

    /// The revision to be stored.
    pub fn pack(&self) -> Result<Vec<u8>> {
        Revision {
            template: self.prepared.template.clone(),
            options: self.rendered.options.clone(),
            rendered: self.rendered.artifacts.objects().to_vec(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            key: self.key.clone(),
            prune: self.course.prune,
            on_failure: self.course.on_failure,
            conflicts: self.course.conflicts,
            replicas: self.course.replicas,
            rollback_of: self.course.rollback_of,
        }
        .pack()
    }

    /// The caller's labels, which the record carries, too.
    fn labels(&self) -> BTreeMap<String, String> {
        let labels = self.prepared.rules.labels.iter();
        labels.map(|(key, value)| (key.to_string(), value.as_str().to_owned())).collect()
    }

    /// What a BASIC list shows of it.
    pub fn recorded(&self) -> Recorded {
        let components = crate::translate::components(&self.prepared.template).into_iter();
        Recorded {
            state: DeploymentState::Deploying,
            labels: self.labels(),
            components: components
                .map(|component| RecordedComponent {
                    name: component.name,
                    image_name: component.image_name,
                    image: component.source,
                })
                .collect(),
        }
    }

    /// Everything that was found: about the template as every call tells it, then about the plan.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut found = combine(&self.prepared.diagnostics, &self.rendered.diagnostics);
        found.extend(self.plan.told().cloned());
        found
    }
}

/// Says that a component's pods get new labels and annotations later.
fn tell_kept(artifacts: &Artifacts, component: &ComponentName) -> Option<Diagnostic> {
    let workload = artifacts
        .objects()
        .iter()
        .find(|artifact| artifact.component == *component && artifact.reference.kind.is_controller())?;
    let text = format!(
        "component {component}: its pods get the new labels and annotations when they change themselves"
    );
    Some(Diagnostic::new(Code::PodMetadataKept, workload.origin.clone(), text))
}

fn too_many(count: usize) -> Error {
    Error::new(
        ErrorKind::LimitExceeded,
        format!(
            "the deployment would have {count} objects; {MAX_OBJECTS} are allowed, {MAX_INVENTORY} with those of earlier revisions"
        ),
    )
}
