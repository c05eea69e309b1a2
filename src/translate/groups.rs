//! The group that the kubelet gives claims to: a program that does not run as root could not write there otherwise.

use std::collections::BTreeSet;

use super::{Context, Profile};
use crate::diagnostic::{Code, Findings};
use crate::facts::ImageFacts;

/// As whom an image runs.
enum RunsAs {
    /// Nothing is known, or it starts as root, and may give its directories to whom it likes by itself.
    Root,
    /// A number that is not root's; its files belong to this group.
    Group(u32),
    /// Another user, whose number only the image knows.
    Name,
}

/// As whom the image of that index runs; this is the one place that asks.
fn runs_as(context: &Context<'_>, index: usize) -> RunsAs {
    match context.rules().facts.of(&context.template.images[index].source) {
        Some(facts) => of_facts(facts),
        None => RunsAs::Root,
    }
}

fn of_facts(facts: &ImageFacts) -> RunsAs {
    if let Some((user, group)) = facts.numeric_user() {
        return RunsAs::Group(group.unwrap_or(user));
    }
    let user = facts.user.split(':').next().unwrap_or_default();
    if matches!(user, "" | "0" | "root") { RunsAs::Root } else { RunsAs::Name }
}

/// A claim that an image mounts.
pub(super) struct MountedClaim {
    /// The image whose volume it is.
    pub(super) owner: usize,
    /// Whether it is older than layouts, and so than this rule.
    pub(super) is_older: bool,
    /// Where the template says that this image mounts it.
    pub(super) field: String,
}

/// The group of each image's pods, for which claims are made writable; `mounted` has the claims of every image.
///
/// A claim has one group, and every pod that mounts it would give it its own. So the group is that of the image whose
/// volume it is, and a pod gets it only if that is one and the same for all its claims: files of an image that starts
/// as root keep their owner and mode, since some databases refuse a directory that a group may write to.
pub(super) fn of_images(
    context: &Context<'_>,
    mounted: &[Vec<MountedClaim>],
    findings: &mut Findings,
) -> Vec<Option<u32>> {
    let groups = mounted.iter().enumerate().map(|(index, claims)| of_image(context, index, claims, findings));
    groups.collect()
}

fn of_image(
    context: &Context<'_>,
    index: usize,
    claims: &[MountedClaim],
    findings: &mut Findings,
) -> Option<u32> {
    let first = claims.first()?;
    let message = match runs_as(context, index) {
        RunsAs::Root => return None,
        RunsAs::Name => "the image runs as a user whose number is not known; the claim belongs to root",
        RunsAs::Group(_) if context.rules().profile != Profile::Modern => {
            "the image does not run as root; the claim belongs to root, and profile CLASSIC changes no owner"
        }
        // What the program has written there so far it could write, and some would not bear another mode of it.
        RunsAs::Group(_) if claims.iter().any(|claim| claim.is_older) => {
            "the image does not run as root; the claim was made by a version before, and keeps its owner"
        }
        RunsAs::Group(_) => {
            let owners: BTreeSet<Option<u32>> = claims.iter().map(|claim| owning(context, claim)).collect();
            match owners.first() {
                Some(Some(group)) if owners.len() == 1 => {
                    let message =
                        format!("the claims of its pods belong to group {group}, as the image runs");
                    findings.report(Code::VolumeGroup, first.field.clone(), message);
                    return Some(*group);
                }
                _ => "the image does not run as root; the claim is another image's, too, and keeps its owner",
            }
        }
    };
    findings.report(Code::VolumeOwner, first.field.clone(), message);
    None
}

/// The group that owns a claim: that of the image whose volume it is, if that is known.
fn owning(context: &Context<'_>, claim: &MountedClaim) -> Option<u32> {
    match runs_as(context, claim.owner) {
        RunsAs::Group(group) => Some(group),
        RunsAs::Root | RunsAs::Name => None,
    }
}
