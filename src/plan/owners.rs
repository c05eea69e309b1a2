//! What is decided where others hold fields of our objects, and how it is told.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{ConflictPolicy, Inputs, Plan, ScalePlan, fields, joined, remedy, stamp};
use crate::artifacts::{
    Artifact, DeploymentName, ListedObject, ObjectRef, Others, field_manager, scale_manager,
};
use crate::diagnostic::{Code, Diagnostic};
use crate::error::{Error, ErrorKind, Hold};

/// What was decided about one object that others hold fields of.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// Fields that stay as others have set them.
    pub yielded: Vec<Hold>,
    /// Fields that are taken over.
    pub taken: Vec<Hold>,
}

impl Decision {
    /// Whether an image stays as others have set it: it runs, and not that of the template.
    pub fn leaves_image(&self) -> bool {
        self.yielded.iter().any(|hold| is_image(&hold.field))
    }
}

impl Plan {
    /// Puts a decision into the plan, and tells it, field by field.
    pub fn decide(&mut self, reference: &ObjectRef, decision: &Decision) {
        let Some(step) = self.steps.iter_mut().find(|step| step.artifact.reference == *reference) else {
            return;
        };
        let counts = |hold: &&Hold| hold.field != "spec.replicas" || step.take_back.is_none();
        let yielded: Vec<Hold> = decision.yielded.iter().filter(counts).cloned().collect();
        let taken: Vec<Hold> = decision.taken.iter().filter(|hold| !remedy::is_ours(hold)).cloned().collect();
        if self.yields_unasked && yielded.iter().any(|hold| hold.field != "spec.replicas") {
            self.left.insert(reference.clone());
        }
        step.member.other_image |= decision.leaves_image();
        if let Some(left) = remedy::without(&step.artifact, &yielded) {
            step.artifact = left;
        }
        // What is taken does not stay beside the template's.
        self.beside.retain(|one| !one.is_among(reference, &taken));
        let origin = step.artifact.origin.clone();
        let told = |code, holds: &[Hold], what: &str| -> Vec<Diagnostic> {
            let told = holds.iter().map(|Hold { field, manager }| {
                let message = format!("{reference}: {} {what} field manager {manager}", fields::shown(field));
                Diagnostic::new(code, origin.clone(), message)
            });
            told.collect()
        };
        let yielded = told(Code::FieldYielded, &yielded, "keeps the value of");
        self.diagnostics.extend(yielded);
        self.diagnostics.extend(told(Code::FieldTaken, &taken, "is taken from"));
    }
}

impl Plan {
    /// Whether fields of this object stay as others have set them although nobody has asked for that; `now`: what was
    /// decided when it was written.
    pub fn leaves_unasked(&self, reference: &ObjectRef, now: &Decision) -> bool {
        let is_field = |hold: &Hold| hold.field != "spec.replicas";
        self.left.contains(reference) || self.yields_unasked && now.yielded.iter().any(is_field)
    }
}

/// Whether a field is the image of a container: `spec.template.spec.containers[name="web"].image`.
fn is_image(field: &str) -> bool {
    field.rsplit_once("].").is_some_and(|(above, name)| {
        name == "image" && above.starts_with("spec.") && above.contains("containers[")
    })
}

/// What others hold that may get into the way of this object.
pub(super) fn concerned(others: &[Others], artifact: &Artifact) -> Vec<Others> {
    others.iter().filter(|other| fields::touches(&other.fields, &artifact.manifest)).cloned().collect()
}

/// Whether what others have taken of our fields is left to them: nothing is to be written for it then.
///
/// An earlier Deploy may have yielded them; this one may be to take them, or to be refused.
pub(super) fn leave_all(inputs: &Inputs<'_>, others: &[Others], held: &Value, artifact: &Artifact) -> bool {
    let manifest = stamp::applied(artifact);
    let is_taken = |other: &Others| !fields::taken(&manifest, &other.fields, held).is_empty();
    inputs.conflicts == ConflictPolicy::Yield || !others.iter().any(is_taken)
}

/// Tells what an earlier Deploy has yielded and this one leaves as it is.
pub(super) fn tell_left(others: &[Others], held: &Value, artifact: &Artifact, told: &mut Vec<Diagnostic>) {
    let manifest = stamp::applied(artifact);
    for other in others {
        for field in fields::taken(&manifest, &other.fields, held) {
            let text =
                format!("{}: {field} keeps the value of field manager {}", artifact.reference, other.manager);
            told.push(Diagnostic::new(Code::FieldYielded, artifact.origin.clone(), text));
        }
    }
}

/// Tells which fields the template no longer has although somebody else holds them, too: they stay as they are. Returns
/// them.
pub(super) fn tell_given_up(
    before: &Artifact,
    after: &Artifact,
    others: &[Others],
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<String> {
    let mut told = BTreeSet::new();
    for other in others {
        for field in fields::given_up(&before.manifest, &after.manifest, &other.fields) {
            let message = format!(
                "{}: the template no longer sets {field}, but field manager {} holds it, too: it stays as it is",
                after.reference, other.manager
            );
            if told.insert(field) {
                diagnostics.push(Diagnostic::new(Code::FieldStays, after.origin.clone(), message));
            }
        }
    }
    told.into_iter().collect()
}

/// Refuses to scale what an autoscaler scales.
///
/// Whoever owns the count, and is neither this adapter nor a person with kubectl, is taken for one: that is how an
/// autoscaler shows, by the name of the program that writes for it.
pub fn check_autoscalers(
    scale: &ScalePlan,
    seen: &[ListedObject],
    deployment: &DeploymentName,
) -> Result<(), Error> {
    let ours = [field_manager(deployment), scale_manager(deployment)];
    let is_persons = |owner: &str| owner.starts_with("kubectl") || owner == "before-first-apply";
    let owned = scale.set.iter().filter_map(|(member, _)| {
        let seen = seen.iter().find(|seen| seen.reference == member.reference);
        let mut owners = seen.into_iter().flat_map(|seen| &seen.replicas_owners);
        let owner = owners.find(|owner| !ours.contains(owner) && !is_persons(owner))?;
        let (component, reference) = (&member.component, &member.reference);
        let error = Error::new(
            ErrorKind::ReplicasOwned,
            format!(
                "{owner} has set the replicas of component {component} ({reference}); change that autoscaler, or remove \
                 it and deploy with a count in the template and options.replicas_policy REPLICAS_POLICY_TEMPLATE"
            ),
        );
        let error = error.with("manager", owner.clone()).with("component", component.as_str());
        Some(error.about(reference.kind.as_str(), reference.name.as_str()))
    });
    joined(owned.collect()).map_or(Ok(()), Err)
}
