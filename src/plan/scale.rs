//! What a Scale has to do: which components, and what each needs.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ConflictPolicy, Inputs, Plan, Prepared, ReplicasPolicy, Revision, Standing, plan, render, stamp,
};
use crate::artifacts::{
    Action, Change, ComponentName, DeploymentName, FieldChange, Kind, ListedObject, ObjectRef, field_manager,
    scale_manager,
};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::record::{self, Head, Member, MemberState, Record};
use crate::template::{did_you_mean, shown};
use crate::translate::uncounted;

/// What a Scale has to do.
pub struct ScalePlan {
    /// Controllers whose count is set, with their entries.
    pub set: Vec<(Member, i32)>,
    /// Bare Pods that become controllers.
    pub convert: BTreeMap<ComponentName, i32>,
    /// Workloads that have their count already, as they are.
    pub unchanged: Vec<Member>,
}

/// Those of the controllers that Scale has set whose count is in force still, and Scale's.
pub fn still_scaled(set: &[Member], seen: &[ListedObject], deployment: &DeploymentName) -> Vec<Member> {
    let manager = scale_manager(deployment);
    let is_so = |member: &&Member| {
        seen.iter().any(|seen| {
            let is_it = seen.reference == member.reference && Some(&seen.uid) == member.uid.as_ref();
            is_it && seen.replicas == member.scaled_replicas && seen.replicas_owners.contains(&manager)
        })
    };
    set.iter().filter(is_so).cloned().collect()
}

impl ScalePlan {
    /// Sorts the named components by what each needs; an update that was refused is nothing that Scale carries out.
    ///
    /// Fails with COMPONENT_NOT_FOUND at a name that is unknown, or that no workload runs.
    pub fn new(record: &Record, replicas: &BTreeMap<String, i32>) -> Result<Self> {
        let mut scale = Self { set: Vec::new(), convert: BTreeMap::new(), unchanged: Vec::new() };
        let mut absent = Vec::new();
        for (component, count) in counts(record, replicas)? {
            match record::to_be_scaled(&record.head.inventory, &component) {
                Some(member) if member.reference.kind.is_controller() => {
                    scale.set.push((member.clone(), count));
                }
                Some(member) if count == 1 => scale.unchanged.push(member.clone()),
                // The form that a refused update asked for is none to go on from.
                Some(member) if member.state == MemberState::Applied => {
                    scale.convert.insert(component, count);
                }
                _ => absent.push(component),
            }
        }
        if absent.is_empty() { Ok(scale) } else { Err(not_scalable(&absent)) }
    }

    /// Leaves alone the controllers that were scaled to their count before and still have it.
    pub fn look(&mut self, seen: &[ListedObject], deployment: &DeploymentName) {
        let own = scale_manager(deployment);
        let stands = |(member, count): &mut (Member, i32)| {
            let found = found(member, seen).filter(|found| found.replicas == Some(*count));
            let is_held = found.is_some_and(|found| found.replicas_owners.contains(&own));
            is_held && member.scaled_replicas.or(member.template_replicas) == Some(*count)
        };
        self.unchanged.extend(self.set.extract_if(.., stands).map(|(member, _)| member));
    }

    /// The changes to workloads that have their count already.
    pub fn unchanged(&self) -> impl Iterator<Item = Change> {
        self.unchanged.iter().map(|member| change(member, Action::Unchanged, Vec::new()))
    }

    /// The changes to controllers whose count is set; one that had it, if by somebody else's will, is not changed.
    pub fn updates(&self, seen: &[ListedObject]) -> impl Iterator<Item = Change> {
        self.set.iter().map(|(member, count)| {
            let before = found(member, seen).and_then(|found| found.replicas);
            if before == Some(*count) {
                return change(member, Action::Unchanged, Vec::new());
            }
            let field = FieldChange {
                path: "spec.replicas".to_owned(),
                before: before.map(|before| before.to_string()),
                after: Some(count.to_string()),
            };
            change(member, Action::Update, vec![field])
        })
    }
}

/// The member as it was seen on the cluster.
fn found<'a>(member: &Member, seen: &'a [ListedObject]) -> Option<&'a ListedObject> {
    let uid = member.uid.as_deref();
    seen.iter().find(|seen| seen.reference == member.reference && Some(seen.uid.as_str()) == uid)
}

/// The plan that makes controllers of bare Pods.
pub struct Conversion {
    /// What happens to every object.
    pub plan: Plan,
    /// Whether an update stays refused beside it.
    pub is_open: bool,
}

impl Conversion {
    /// Plans what makes controllers of these components and changes nothing else; `operation` is the id of the
    /// operation to come.
    pub fn new(
        record: &Record,
        revision: &Revision,
        convert: &BTreeMap<ComponentName, i32>,
        operation: &str,
    ) -> Result<Self> {
        let now = record.head.controllers();
        let then: BTreeSet<ComponentName> = now.iter().chain(convert.keys()).cloned().collect();
        let before = revision.rendered_with(now);
        let mut prepared = Prepared::stored(revision);
        let standing = Standing { controllers: then, claims_at_root: revision.claims_at_root() };
        let after = render(&mut prepared, standing)?.artifacts;
        let (own, scale) = (field_manager(&record.name), scale_manager(&record.name));
        // A refused update may have asked for another kind of workload.
        let is_made = |component: &ComponentName| {
            after.objects().iter().any(|artifact| {
                artifact.component == *component && artifact.reference.kind == Kind::ReplicationController
            })
        };
        let absent: Vec<ComponentName> =
            convert.keys().filter(|component| !is_made(component)).cloned().collect();
        if !absent.is_empty() {
            return Err(not_scalable(&absent));
        }
        // What stands as an earlier revision is the next Deploy's to write.
        let head = record.head.understood(|member| {
            if member.stands_as.is_some() {
                member.state = MemberState::Planned;
            }
        });
        let inputs = Inputs {
            head: Some(&head),
            before: &before,
            earlier: &BTreeMap::new(),
            after: &after,
            // Scaling a component never renews the pods that are linked to it.
            links: &BTreeMap::new(),
            seen: None,
            restored: false,
            revision: record.head.current.as_ref().map_or(1, |current| current.number),
            operation,
            prune: false,
            conflicts: ConflictPolicy::Fail,
            replicas: ReplicasPolicy::Auto,
            uncounted: &uncounted(&revision.template),
            scale: convert,
            managers: (&own, &scale),
            back: None,
        };
        let (artifacts, _) = stamp::keep_metadata(&inputs);
        let mut plan = plan(&Inputs { after: &artifacts, ..inputs });
        let is_open = restrict(&mut plan, &record.head, convert);
        Ok(Self { plan, is_open })
    }

    /// The changes that it makes; what an earlier Deploy could not delete is not its work.
    pub fn changes(&self) -> impl Iterator<Item = Change> {
        let is_removed =
            |change: &Change| self.plan.removals.iter().any(|one| one.member.reference == change.reference);
        let changes = self.plan.changes.iter();
        changes.filter(move |change| change.action != Action::Unchanged && !is_removed(change)).cloned()
    }
}

/// Finds the component behind each name; all unknown names are one error.
fn counts(record: &Record, replicas: &BTreeMap<String, i32>) -> Result<BTreeMap<ComponentName, i32>> {
    let components = &record.head.recorded.components;
    let (mut counts, mut missing, mut faults) = (BTreeMap::new(), Vec::new(), Vec::new());
    for (name, count) in replicas {
        let exact = components.iter().find(|component| component.image_name == *name);
        let found = exact.or_else(|| components.iter().find(|component| component.name.as_str() == name));
        let Some(component) = found else {
            missing.push(name.as_str());
            continue;
        };
        if counts.insert(component.name.clone(), *count).is_some_and(|other| other != *count) {
            let text = format!("component {} is named twice with different counts", component.name);
            faults.push(Fault::field(format!("replicas[{name}]"), text));
        }
    }
    if !faults.is_empty() {
        return Err(Error::fields(faults));
    }
    if missing.is_empty() { Ok(counts) } else { Err(unknown(record, &missing)) }
}

fn unknown(record: &Record, missing: &[&str]) -> Error {
    let components = &record.head.recorded.components;
    let names: Vec<&str> = components.iter().map(|component| component.image_name.as_str()).collect();
    let hint = |name: &str| did_you_mean(name, names.iter().copied());
    let listed = some(&names);
    let listed = if listed.is_empty() { listed } else { format!(", but {listed}") };
    let told = match missing {
        [name] => format!("component {name:?}{listed}{}", hint(name)),
        _ => {
            let quoted: Vec<String> = missing.iter().map(|name| format!("{name:?}")).collect();
            let quoted: Vec<&str> = quoted.iter().map(String::as_str).collect();
            let hints = missing.iter().map(|name| (name, hint(name))).filter(|(_, hint)| !hint.is_empty());
            let hints = hints
                .take(MAX_NAMES)
                .map(|(name, hint)| format!("; for {name:?}{}", hint.replacen(';', ",", 1)));
            format!("components {}{listed}{}", some(&quoted), hints.collect::<String>())
        }
    };
    let message = format!("deployment {} has no {told}", record.name);
    Error::new(ErrorKind::ComponentNotFound, message).with("components", names.join(","))
}

/// The most names that a message lists.
const MAX_NAMES: usize = 5;

/// Says which names there are: five at the most, and how many more.
fn some(names: &[&str]) -> String {
    let listed: Vec<String> = names.iter().take(MAX_NAMES).map(|name| shown(name)).collect();
    match names.len().saturating_sub(MAX_NAMES) {
        _ if names.is_empty() => String::new(),
        0 => listed.join(", "),
        more => format!("{} and {more} more", listed.join(", ")),
    }
}

/// The answer where no workloads are there as the records have them.
fn not_scalable(components: &[ComponentName]) -> Error {
    let names: Vec<&str> = components.iter().map(ComponentName::as_str).collect();
    let (component, has, one) = match components {
        [_] => ("component", "has no workload", "one"),
        _ => ("components", "have no workloads", "them"),
    };
    Error::new(
        ErrorKind::ComponentNotFound,
        format!("{component} {} {has} that can be scaled; deploy again to create {one}", some(&names)),
    )
}

/// Leaves everything as it is but for these components: a Scale carries out no update that was refused.
///
/// Returns whether there is such an update.
fn restrict(plan: &mut Plan, head: &Head, components: &BTreeMap<ComponentName, i32>) -> bool {
    let is_other = |component: &ComponentName| !components.contains_key(component);
    let open: Vec<ObjectRef> = plan
        .steps
        .extract_if(.., |step| step.action != Action::Unchanged && is_other(&step.artifact.component))
        .map(|step| step.artifact.reference)
        .collect();
    plan.changes.retain(|change| !open.contains(&change.reference));
    plan.kept.extend(open.iter().filter_map(|reference| head.member(reference)).cloned());
    let waiting = plan.handed_over.extract_if(.., |member| is_other(&member.component));
    plan.kept.extend(waiting);
    // Nor does it delete what such an update has superseded.
    let superseded = plan.removals.extract_if(.., |removals| removals.member.state != MemberState::Deleting);
    plan.kept.extend(superseded.map(|removals| removals.member));
    !open.is_empty()
}

fn change(member: &Member, action: Action, fields: Vec<FieldChange>) -> Change {
    Change {
        reference: member.reference.clone(),
        uid: member.uid.clone(),
        action,
        component: Some(member.component.clone()),
        fields,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_names_are_listed_and_the_others_counted() {
        assert_eq!(some(&[]), "");
        assert_eq!(some(&["WP", "DB"]), "WP, DB");
        assert_eq!(some(&["A", "B", "C", "D", "E"]), "A, B, C, D, E");
        assert_eq!(some(&["A", "B", "C", "D", "E", "F", "G"]), "A, B, C, D, E and 2 more");
    }
}
