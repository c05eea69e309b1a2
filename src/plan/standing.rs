//! Objects that stand as an earlier revision than the current one: an update was refused before it was written to them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::{Inputs, Revision};
use crate::artifacts::{Artifact, ComponentName, ObjectRef};
use crate::record::{Head, HeadRef, MemberState, Record};

/// The revisions beside the current one that objects stand as.
pub fn stood_as(head: &Head) -> Vec<HeadRef> {
    let numbers: BTreeSet<u32> = head.inventory.iter().filter_map(|member| member.stands_as).collect();
    let entries = head.revisions.iter().filter(|entry| numbers.contains(&entry.revision.number));
    entries.map(|entry| entry.revision.clone()).collect()
}

/// The record without what stands as a revision that nobody has any more: of that nothing is known for certain.
pub fn without_lost(mut record: Record, earlier: &BTreeMap<u32, Revision>) -> Record {
    record.head = record.head.understood(|member| {
        if member.stands_as.is_some_and(|number| !earlier.contains_key(&number)) {
            (member.state, member.stands_as) = (MemberState::Planned, None);
        }
    });
    record
}

/// The objects as they stand: as the current revision has them, or as the earlier one that was written to them last.
pub(super) fn standing<'a>(
    head: Option<&Head>,
    current: Cow<'a, [Artifact]>,
    earlier: &BTreeMap<u32, Vec<Artifact>>,
) -> Cow<'a, [Artifact]> {
    let mut objects = current;
    let members = head.into_iter().flat_map(|head| &head.inventory);
    for member in members {
        let Some(former) = member.stands_as.and_then(|number| earlier.get(&number)) else { continue };
        let is_it = |artifact: &&Artifact| artifact.reference == member.reference;
        let Some(former) = former.iter().find(is_it) else { continue };
        let objects = objects.to_mut();
        match objects.iter_mut().find(|artifact| artifact.reference == member.reference) {
            Some(artifact) => *artifact = former.clone(),
            None => objects.push(former.clone()),
        }
    }
    objects
}

/// All objects of the revision as which one of them stands: what its pods were made from.
pub(super) fn around<'a>(inputs: &'a Inputs<'_>, reference: &ObjectRef) -> &'a [Artifact] {
    let member = inputs.head.and_then(|head| head.member(reference));
    let earlier = member.and_then(|member| inputs.earlier.get(&member.stands_as?));
    earlier.map_or(inputs.before, Vec::as_slice)
}

/// The earlier revisions as they were rendered.
pub(super) fn rendered(
    earlier: &BTreeMap<u32, Revision>,
    controllers: &BTreeSet<ComponentName>,
) -> BTreeMap<u32, Vec<Artifact>> {
    let rendered = earlier
        .iter()
        .map(|(number, stored)| (*number, stored.rendered_with(controllers.clone()).into_owned()));
    rendered.collect()
}
