//! What a Deploy will do: the deployment as it is, the template as it shall be, and the plan between them.

use std::collections::BTreeMap;

use super::prepared::{Prepared, Rendered};
use super::{ConflictPolicy, Inputs, Plan, ReplicasPolicy, Revision, check_claims, plan};
use crate::artifacts::{DeploymentState, Seen, field_manager, scale_manager};
use crate::diagnostic::Diagnostic;
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Head, HeadRef, Held, Phase, Recorded, RecordedComponent};
use crate::translate::MAX_OBJECTS;

/// The most objects of one deployment with the leftovers of an earlier revision; translating bounds the rest.
const MAX_INVENTORY: usize = 512;

/// What becomes of objects that the template no longer has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrunePolicy {
    /// They are deleted.
    #[default]
    DeleteRemoved,
    /// They stay, and go with the deployment.
    Keep,
}

/// What the caller decides where a template alone does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// What becomes of removed objects.
    pub prune: PrunePolicy,
    /// What is done where others hold fields.
    pub conflicts: ConflictPolicy,
    /// Whose replica counts hold.
    pub replicas: ReplicasPolicy,
}

/// Everything decided about one Deploy before its first write.
pub struct Decided {
    /// The template.
    pub prepared: Prepared,
    /// What it becomes.
    pub rendered: Rendered,
    /// The record as it was read; `None` if there is no such deployment.
    pub held: Option<Held>,
    /// The id of the operation to come.
    pub operation: String,
    /// The revision to come.
    pub revision: HeadRef,
    /// What happens to every object.
    pub plan: Plan,
    /// What the caller has decided.
    pub policies: Policies,
    /// The uid of the Secret that keeps the current revision; empty before the first is stored.
    pub key: String,
}

/// Decides a Deploy from what was read; `previous` is the stored revision that comparisons are made with, `operation`
/// the id of the operation to come.
///
/// Fails when a volume claim cannot become what is asked, or when the deployment would have too many objects.
pub fn decide(
    prepared: Prepared,
    rendered: Rendered,
    held: Option<Held>,
    previous: Option<&Revision>,
    seen: &[Seen],
    policies: Policies,
    operation: &str,
) -> Result<Decided> {
    let head = held.as_ref().map(|held| &held.head);
    let controllers = head.map(Head::controllers).unwrap_or_default();
    let before = previous.map(|previous| previous.rendered_with(controllers)).unwrap_or_default();
    let number = head.map_or(1, Head::next_revision);
    let links = crate::translate::linked_services(&prepared.template);
    let (own, scale) = (field_manager(&prepared.name), scale_manager(&prepared.name));
    let inputs = Inputs {
        head,
        before: &before,
        after: &rendered.artifacts,
        links: &links,
        seen: Some(seen),
        revision: number,
        operation,
        prune: policies.prune == PrunePolicy::DeleteRemoved,
        conflicts: policies.conflicts,
        replicas: policies.replicas,
        uncounted: &crate::translate::uncounted(&prepared.template),
        scale: &BTreeMap::new(),
        managers: (&own, &scale),
    };
    check_claims(&inputs)?;
    let mut plan = plan(&inputs);
    prepared.check(&mut plan.diagnostics)?;
    let count = plan.union().len();
    if count > MAX_INVENTORY {
        return Err(too_many(count));
    }
    let revision = HeadRef::new(&prepared.name, number, operation);
    let key = previous.map(|previous| previous.key.clone()).unwrap_or_default();
    let operation = operation.to_owned();
    Ok(Decided { prepared, rendered, held, operation, revision, plan, policies, key })
}

impl Decided {
    /// Whether the deployment is as the template says already, and was left in order.
    pub fn is_unchanged(&self) -> bool {
        let in_order = |held: &Held| {
            let head = &held.head;
            head.operation.is_none() && head.phase != Phase::Incomplete && head.current.is_some()
        };
        self.plan.is_noop() && self.held.as_ref().is_some_and(in_order)
    }

    /// Whether nothing of it was ever complete: then there is nothing to go back to either.
    pub fn is_first(&self) -> bool {
        self.held.as_ref().is_none_or(|held| held.head.current.is_none())
    }

    /// The revision to be stored.
    pub fn pack(&self) -> Result<Vec<u8>> {
        Revision {
            template: self.prepared.template.clone(),
            options: self.rendered.options.clone(),
            rendered: self.rendered.artifacts.objects().to_vec(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            conflicts: self.policies.conflicts,
            replicas: self.policies.replicas,
            key: String::new(),
        }
        .pack()
    }

    /// What a BASIC list shows of it.
    pub fn recorded(&self) -> Recorded {
        let components = crate::translate::components(&self.prepared.template).into_iter();
        Recorded {
            state: DeploymentState::Deploying,
            components: components
                .map(|component| RecordedComponent {
                    name: component.name,
                    image_name: component.image_name,
                    image: component.source,
                })
                .collect(),
        }
    }

    /// Everything that was found, in the order of the steps.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let steps = [&self.prepared.diagnostics, &self.rendered.diagnostics, &self.plan.diagnostics];
        steps.into_iter().flatten().cloned().collect()
    }
}

fn too_many(count: usize) -> Error {
    Error::new(
        ErrorKind::LimitExceeded,
        format!(
            "the deployment would have {count} objects; {MAX_OBJECTS} are allowed, {MAX_INVENTORY} with those of earlier revisions"
        ),
    )
}
