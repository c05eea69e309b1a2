//! What a caller must be allowed once it is known what will happen: asked before the first write.

use std::collections::BTreeSet;

use super::Engine;
use crate::artifacts::{Action, Kind, Namespace, ObjectRef, Stage, Target};
use crate::callers::{Ask, Deed, Right, right};
use crate::error::Result;
use crate::plan::{Plan, ScalePlan, Step};
use crate::record::{Head, Member};

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

    /// The same for a Teardown of these objects, with the grace for pods that its caller has named.
    pub(super) async fn allows_teardown(
        &self,
        target: &Target,
        inventory: &[Member],
        grace: Option<u32>,
    ) -> Result<()> {
        self.allows(Deed::Teardown, &target.namespace, of_teardown(inventory, grace.is_some())).await
    }

    /// Fails with CALLER_FORBIDDEN unless whoever this is done for may delete an object that no plan has known: only
    /// the write itself has found it, and nothing but a replacement makes it what it has to be.
    pub(super) async fn allows_replacing(&self, namespace: &Namespace, reference: &ObjectRef) -> Result<()> {
        let rights = ["create", "delete", "patch"].map(|verb| right(verb, reference.kind));
        self.acting.may_besides(namespace, rights.into()).await
    }
}

/// What carrying a plan out takes; what the keeper does in its wake is counted as well.
pub(super) fn of_plan(plan: &Plan) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for step in &plan.steps {
        let kind = step.artifact.reference.kind;
        let verbs: &[&'static str] = match step.action {
            Action::Unchanged | Action::Delete | Action::Keep => &[],
            Action::Replace => &["create", "delete", "patch"],
            Action::Create | Action::Update if step.may_replace && step.uid.is_some() => {
                &["create", "delete", "patch"]
            }
            Action::Update if step.uid.is_some() => &["patch"],
            // What nobody has seen is made, if it is not there.
            Action::Create | Action::Update => &["create", "patch"],
        };
        rights.extend(verbs.iter().map(|verb| right(verb, kind)));
        if renews_pods(plan, step) {
            rights.insert(right("delete", Kind::Pod));
        }
    }
    for removal in &plan.removals {
        rights.extend(removal.objects().map(|(object, _)| right("delete", object.kind)));
    }
    rights
}

/// Whether old pods of a ReplicationController go: that controller never replaces them itself.
fn renews_pods(plan: &Plan, step: &Step) -> bool {
    if step.artifact.reference.kind != Kind::ReplicationController {
        return false;
    }
    // Of pods of which nothing is known it is not known that they stay.
    let differs = |former: Option<&Member>| {
        former.is_none_or(|former| {
            former.pod_revision.is_none() || former.pod_revision != step.member.pod_revision
        })
    };
    let takes_over = step.member.adopts.as_ref().map(|pod| &pod.reference);
    let old = takes_over.map(|pod| plan.handed_over.iter().find(|member| member.reference == *pod));
    match step.action {
        Action::Create => old.is_some_and(differs),
        Action::Update => {
            differs(step.former.as_ref()) || old.flatten().is_some_and(|pod| differs(Some(pod)))
        }
        // The pods of a controller go with it.
        Action::Replace | Action::Unchanged | Action::Delete | Action::Keep => false,
    }
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

/// What a Scale takes that is answered as it was before, when its caller has asked for the same.
pub(super) fn of_repeated_scale(head: &Head) -> BTreeSet<Right> {
    let kinds = head.inventory.iter().map(|member| member.reference.kind);
    kinds.filter(|kind| kind.is_controller()).map(|kind| right("patch", kind)).collect()
}

/// The same for a Rollback: whatever else it has changed, it was to change workloads.
pub(super) fn of_repeated_rollback(head: &Head) -> BTreeSet<Right> {
    let workloads = head.inventory.iter().filter(|member| member.stage() == Stage::Workload);
    workloads.map(|member| right("patch", member.reference.kind)).collect()
}

/// What a Teardown of these objects takes; `has_grace`: pods of controllers are deleted one by one, with the grace that
/// the caller has named.
fn of_teardown(inventory: &[Member], has_grace: bool) -> BTreeSet<Right> {
    if inventory.is_empty() {
        // The record goes, and with it what a last look still finds.
        return [Kind::Pod, Kind::Deployment].map(|kind| right("delete", kind)).into();
    }
    let kinds = inventory.iter().map(|member| member.reference.kind);
    let adopted = inventory.iter().filter_map(|member| member.adopts.as_ref()).map(|pod| pod.reference.kind);
    let mut rights: BTreeSet<Right> = kinds.chain(adopted).map(|kind| right("delete", kind)).collect();
    if has_grace && inventory.iter().any(|member| member.reference.kind.is_controller()) {
        rights.insert(right("delete", Kind::Pod));
    }
    rights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::{Artifact, ComponentName, ObjectName};
    use crate::record::Adopted;

    fn reference(kind: Kind) -> ObjectRef {
        ObjectRef::new(kind, ObjectName::new("web".to_owned()).unwrap())
    }

    fn member(kind: Kind, pod_revision: Option<u32>) -> Member {
        let component = ComponentName::new("web").unwrap();
        let late = Member::late(reference(kind), component, "uid".to_owned(), "id".to_owned());
        Member { pod_revision, ..late }
    }

    fn step(action: Action, former: Option<Member>, uid: Option<&str>) -> Step {
        let kind = Kind::ReplicationController;
        let artifact = Artifact {
            reference: reference(kind),
            component: ComponentName::new("web").unwrap(),
            origin: String::new(),
            manifest: Default::default(),
        };
        Step {
            artifact,
            action,
            uid: uid.map(str::to_owned),
            version: None,
            member: member(kind, Some(2)),
            former,
            take_back: None,
            template_replicas: None,
            scaled_replicas: None,
            found_replicas: false,
            replicas_in_force: None,
            shapes: None,
            uncounted: false,
            others: Vec::new(),
            is_wiped: false,
            may_replace: false,
        }
    }

    fn deletes_pods(plan: &Plan) -> bool {
        of_plan(plan).contains(&right("delete", Kind::Pod))
    }

    #[test]
    fn a_teardown_takes_what_its_grace_and_its_last_look_delete() {
        let pods = right("delete", Kind::Pod);
        let controllers = [member(Kind::ReplicationController, None)];
        assert!(!of_teardown(&controllers, false).contains(&pods));
        assert!(of_teardown(&controllers, true).contains(&pods));
        assert!(!of_teardown(&[member(Kind::Service, None)], true).contains(&pods));
        assert_eq!(of_teardown(&[], false), BTreeSet::from([pods, right("delete", Kind::Deployment)]));
        let pod = Adopted { reference: reference(Kind::Pod), uid: "pod".to_owned() };
        let adopts = Member { adopts: Some(pod), ..member(Kind::ReplicationController, None) };
        assert!(of_teardown(&[adopts], false).contains(&pods));
    }

    #[test]
    fn old_pods_are_deleted_whether_a_controller_is_changed_or_takes_them_over() {
        let of = |step: Step, handed_over: Vec<Member>| {
            deletes_pods(&Plan { steps: vec![step], handed_over, ..Plan::default() })
        };
        let former = |revision| Some(member(Kind::ReplicationController, revision));
        assert!(!of(step(Action::Update, former(Some(2)), Some("uid")), Vec::new()));
        assert!(of(step(Action::Update, former(Some(1)), Some("uid")), Vec::new()));
        assert!(of(step(Action::Update, None, Some("uid")), Vec::new()));
        assert!(!of(step(Action::Create, None, None), Vec::new()));
        for (revision, is_old) in [(Some(1), true), (Some(2), false), (None, true)] {
            let mut adopting = step(Action::Create, None, None);
            let pod = Adopted { reference: reference(Kind::Pod), uid: "pod".to_owned() };
            adopting.member.adopts = Some(pod);
            assert_eq!(of(adopting, vec![member(Kind::Pod, revision)]), is_old, "{revision:?}");
        }
    }

    #[test]
    fn what_nobody_has_seen_may_have_to_be_made() {
        let of = |uid| {
            let steps = vec![step(Action::Update, Some(member(Kind::ReplicationController, Some(2))), uid)];
            of_plan(&Plan { steps, ..Plan::default() })
        };
        let create = right("create", Kind::ReplicationController);
        assert!(of(None).contains(&create) && !of(Some("uid")).contains(&create));
    }
}
