//! What a Deploy will do: the deployment as it is, the template as it shall be, and the plan between them.

use std::collections::{BTreeMap, BTreeSet};

use super::super::lock;
use super::super::plan::{self, Inputs, Plan};
use super::super::revision::{self, Revision};
use super::super::translate::{self, Prepared};
use super::super::{Operations, Target};
use super::{DeployChoices, PrunePolicy};
use crate::artifacts::{Artifacts, ComponentName, Kind, ObjectRef, field_manager, scale_manager};
use crate::cluster::{self, Head, HeadRef, Held, MemberState, Phase, Recorded, RecordedComponent};
use crate::error::{Error, ErrorKind, Result};
use crate::status::DeploymentState;
use crate::translate::MAX_OBJECTS;

/// The most objects of one deployment with the leftovers of an earlier revision; translating bounds the rest.
const MAX_INVENTORY: usize = 512;

/// Everything decided about one Deploy before its first write.
pub(super) struct Decided {
    pub(super) prepared: Prepared,
    pub(super) artifacts: Artifacts,
    pub(super) options: crate::translate::Options,
    pub(super) held: Option<Held>,
    pub(super) number: u32,
    pub(super) plan: Plan,
}

impl Decided {
    /// Whether the deployment is as the template says already, and was left in order.
    pub(super) fn is_unchanged(&self) -> bool {
        let in_order = |held: &Held| {
            let head = &held.head;
            head.operation.is_none() && head.phase != Phase::Incomplete && head.current.is_some()
        };
        self.plan.is_noop() && self.held.as_ref().is_some_and(in_order)
    }

    /// Whether nothing of it was ever complete: then there is nothing to go back to either.
    pub(super) fn is_first(&self) -> bool {
        self.held.as_ref().is_none_or(|held| held.head.current.is_none())
    }

    /// The revision to be stored.
    pub(super) fn pack(&self) -> Result<Vec<u8>> {
        Revision {
            template: self.prepared.template.clone(),
            options: self.options.clone(),
            rendered: self.artifacts.objects().to_vec(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
        .pack()
    }

    /// What a BASIC list shows of it.
    pub(super) fn record(&self) -> Recorded {
        let components = crate::translate::components(&self.prepared.template).into_iter();
        Recorded {
            state: DeploymentState::Deploying.as_str().to_owned(),
            components: components
                .map(|component| RecordedComponent {
                    name: component.name,
                    image_name: component.image_name,
                    image: component.source,
                })
                .collect(),
        }
    }
}

impl Operations {
    /// Reads the deployment and plans; writes nothing.
    pub(super) async fn decide(
        &self,
        target: &Target,
        prepared: Prepared,
        choices: &DeployChoices,
    ) -> Result<Decided> {
        let mut held = self.cluster.read_head(&target.namespace, &target.name).await?;
        lock::check_etag(held.as_ref(), &choices.etag)?;
        if let Some(found) = &held {
            lock::gate(found)?;
            if found.terminating {
                return Err(lock::being_deleted(found));
            }
            // A teardown that died half-way is finished first; then this is a first Deploy.
            if found.head.phase == Phase::Deleting {
                if choices.validate_only {
                    return Err(lock::being_deleted(found));
                }
                self.finish_teardown(target, found.clone(), choices.deadline).await?;
                held = None;
            }
        }
        let head = held.as_ref().map(|held| &held.head);
        let controllers = head.map(controllers).unwrap_or_default();
        let (artifacts, options, mut diagnostics) = translate::render(&prepared, controllers.clone())?;
        let current = head.and_then(|head| head.current.as_ref());
        let previous = self.read_revision(target, current).await?;
        let before = previous.map(|previous| previous.rendered_with(controllers)).unwrap_or_default();
        let seen = match head {
            Some(head) => {
                // A Secret that is new to the deployment needs no look: it is made only where there is none.
                let rendered = artifacts.objects().iter().map(|artifact| &artifact.reference);
                let rendered = rendered.filter(|reference| reference.kind != Kind::Secret);
                let members = head.inventory.iter().map(|member| &member.reference).chain(rendered);
                let members: BTreeSet<ObjectRef> = members.cloned().collect();
                self.cluster.list_members(&target.namespace, &target.name, &members).await?
            }
            None => Vec::new(),
        };
        let number = head.map_or(1, revision::next_number);
        let links = crate::translate::linked_services(&prepared.template);
        let (own, scale) = (field_manager(&target.name), scale_manager(&target.name));
        let inputs = Inputs {
            head,
            before: &before,
            after: &artifacts,
            links: &links,
            seen: Some(&seen),
            revision: number,
            prune: choices.prune == PrunePolicy::DeleteRemoved,
            scale: &BTreeMap::new(),
            managers: (&own, &scale),
        };
        plan::check_claims(&inputs)?;
        let mut plan = plan::plan(&inputs);
        prepared.positions.locate(&mut plan.diagnostics);
        if plan.union().len() > MAX_INVENTORY {
            return Err(too_many(plan.union().len()));
        }
        let mut prepared = prepared;
        prepared.diagnostics.append(&mut diagnostics);
        Ok(Decided { prepared, artifacts, options, held, number, plan })
    }
}

/// The components that run as ReplicationControllers, whatever the template's count says.
///
/// One whose apps Deployment was scaled would lose its count to a bare Pod.
pub(in super::super) fn controllers(head: &Head) -> BTreeSet<ComponentName> {
    let stays = head.inventory.iter().filter(|member| member.state != MemberState::Deleting);
    stays
        .filter(|member| match member.reference.kind {
            Kind::ReplicationController => true,
            Kind::Deployment => member.scaled_replicas.is_some_and(|count| count != 1),
            Kind::Pod | Kind::Secret | Kind::PersistentVolumeClaim | Kind::Service => false,
        })
        .map(|member| member.component.clone())
        .collect()
}

/// The revision to come, under a name that holds the operation's own random id.
pub(super) fn new_revision(target: &Target, number: u32) -> HeadRef {
    let id = lock::operation_id();
    HeadRef { number, secret: cluster::revision_name(&target.name, number, &id) }
}

/// The operation's id: the same random text as in its revision's name.
pub(super) fn operation_of(revision: &HeadRef) -> String {
    revision.secret.rsplit('-').next().unwrap_or_default().to_owned()
}

fn too_many(count: usize) -> Error {
    Error::new(
        ErrorKind::LimitExceeded,
        format!(
            "the deployment would have {count} objects; {MAX_OBJECTS} are allowed, {MAX_INVENTORY} with those of earlier revisions"
        ),
    )
}
