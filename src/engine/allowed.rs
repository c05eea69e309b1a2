//! What a caller must be allowed once it is known what will happen: asked before the first write.

use std::collections::BTreeSet;

use super::Engine;
use crate::artifacts::{Action, Kind, Namespace};
use crate::callers::{Ask, Deed, Right, right};
use crate::error::Result;
use crate::plan::{Plan, ScalePlan, Step};
use crate::record::Member;

impl Engine {
    /// Fails with CALLER_FORBIDDEN unless whoever this is done for has these rights beside those that were asked for
    /// before anything was read.
    pub(super) async fn allows(
        &self,
        deed: Deed,
        namespace: &Namespace,
        rights: BTreeSet<Right>,
    ) -> Result<()> {
        if rights.is_empty() {
            return Ok(());
        }
        self.acting.may(&Ask::more(deed, namespace, rights)).await
    }
}

/// What carrying a plan out takes; what the keeper does in its wake is counted as well.
pub(super) fn of_plan(plan: &Plan) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for step in &plan.steps {
        let kind = step.artifact.reference.kind;
        let verbs: &[&'static str] = match step.action {
            Action::Create => &["create", "patch"],
            Action::Update => &["patch"],
            Action::Replace => &["create", "delete", "patch"],
            Action::Unchanged | Action::Delete | Action::Keep => &[],
        };
        rights.extend(verbs.iter().map(|verb| right(verb, kind)));
        if step.may_replace && step.uid.is_some() {
            rights.insert(right("delete", kind));
        }
        if renews_pods(step) {
            rights.insert(right("delete", Kind::Pod));
        }
    }
    for removal in &plan.removals {
        rights.extend(removal.objects().map(|(object, _)| right("delete", object.kind)));
    }
    rights
}

/// Whether old pods of a ReplicationController go: that controller never replaces them itself.
fn renews_pods(step: &Step) -> bool {
    let is_controller = step.artifact.reference.kind == Kind::ReplicationController;
    let former = step.former.as_ref().map(|former| former.pod_revision);
    is_controller
        && step.action == Action::Update
        && former.is_some_and(|former| former != step.member.pod_revision)
}

/// What a Scale takes: the counts of controllers, and controllers for Pods.
pub(super) fn of_scale(scale: &ScalePlan) -> BTreeSet<Right> {
    let mut rights: BTreeSet<Right> =
        scale.set.iter().map(|(member, _)| right("patch", member.reference.kind)).collect();
    if !scale.convert.is_empty() {
        rights.extend(["create", "patch"].map(|verb| right(verb, Kind::ReplicationController)));
    }
    rights
}

/// What a Teardown of these objects takes.
pub(super) fn of_teardown(inventory: &[Member]) -> BTreeSet<Right> {
    inventory.iter().map(|member| right("delete", member.reference.kind)).collect()
}
