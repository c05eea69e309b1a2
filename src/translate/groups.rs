//! The group that the kubelet gives claims to: a program that does not run as root could not write there otherwise.

use std::collections::BTreeSet;

use super::{Context, Profile, known_images};
use crate::diagnostic::{Code, Diagnostic, Findings};
use crate::facts::ImageFacts;

/// The permission of a group to write.
const GROUP_WRITES: u32 = 0o020;

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
///
/// What the image says of itself counts before what the table of known images says of it.
fn runs_as(context: &Context<'_>, index: usize) -> RunsAs {
    let source = &context.template.images[index].source;
    match context.rules().facts.of(source) {
        Some(facts) => of_facts(facts),
        None => known_images::of(source).map_or(RunsAs::Root, of_table),
    }
}

/// The table names numbers alone, and no root.
fn of_table(known: known_images::Known) -> RunsAs {
    match known.user {
        Some(user) if user.uid != 0 => RunsAs::Group(user.gid.unwrap_or(user.uid)),
        Some(_) | None => RunsAs::Root,
    }
}

fn of_facts(facts: &ImageFacts) -> RunsAs {
    if let Some((user, group)) = facts.numeric_user() {
        return RunsAs::Group(group.unwrap_or(user));
    }
    if is_root(facts) { RunsAs::Root } else { RunsAs::Name }
}

/// Whether the image says that it runs as root; it does so by saying nothing.
pub(super) fn is_root(facts: &ImageFacts) -> bool {
    matches!(facts.user.split(':').next(), None | Some("" | "0" | "root"))
}

/// A claim that an image mounts.
pub(super) struct MountedClaim {
    /// The image whose volume it is.
    pub(super) owner: usize,
    /// Whether it is older than layouts, and so than this rule.
    pub(super) is_older: bool,
    /// Whether it is filled from the image, with the owner that the image has there.
    pub(super) is_filled: bool,
    /// Whether the image may only read there.
    pub(super) read_only: bool,
    /// Its path in the container.
    pub(super) path: String,
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
    let (message, advice) = match runs_as(context, index) {
        RunsAs::Root => return None,
        RunsAs::Name => (
            "the image runs as a user whose number is not known; the claim belongs to root",
            Some(
                "bring a configuration whose USER is a number in image_configs, or leave out host_path and fill the claim with options.volume_filling",
            ),
        ),
        RunsAs::Group(_) if context.rules().profile != Profile::Modern => (
            "the image does not run as root; the claim belongs to root, and profile CLASSIC changes no owner",
            Some(
                "set options.profile to PROFILE_MODERN, or leave out host_path and fill the claim with options.volume_filling",
            ),
        ),
        // What the program has written there so far it could write, and some would not bear another mode of it.
        RunsAs::Group(_) if claims.iter().any(|claim| claim.is_older) => (
            "the image does not run as root; a claim of its pods was made by an earlier version, so all keep their owner",
            None,
        ),
        RunsAs::Group(_) if claims.iter().any(|claim| refuses_groups(context, claim)) => (
            "the image does not run as root; its program refuses a directory that a group may write to",
            None,
        ),
        RunsAs::Group(_) => {
            let owners: BTreeSet<Option<u32>> = claims.iter().map(|claim| owning(context, claim)).collect();
            match owners.first() {
                Some(Some(group)) if owners.len() == 1 => {
                    let message = format!(
                        "the claims of its pods belong to group {group}, as {} runs",
                        who(context, index)
                    );
                    findings.report(Code::VolumeGroup, first.field.clone(), message);
                    return Some(*group);
                }
                _ => (
                    "the image does not run as root; its pods mount claims of an image with another group, so all keep their owner",
                    Some(
                        "mount the claims of other images elsewhere, or leave out host_path and fill its own with options.volume_filling",
                    ),
                ),
            }
        }
    };
    // A claim of its own that is new and empty is root's. Others have the owner that they had in Docker, too.
    let is_lost = |claim: &&MountedClaim| {
        claim.owner == index && !(claim.is_older || claim.is_filled || claim.read_only)
    };
    let found = match claims.iter().find(is_lost) {
        Some(lost) => {
            let found = Diagnostic::new(Code::VolumeOwner, lost.field.clone(), message);
            Diagnostic { advice: advice.map(Into::into), ..found }
        }
        None => Diagnostic::new(Code::VolumeOwnerKept, first.field.clone(), message),
    };
    findings.push(found);
    None
}

/// Who says as whom an image runs, in words.
fn who(context: &Context<'_>, index: usize) -> String {
    let source = &context.template.images[index].source;
    match context.rules().facts.of(source) {
        Some(_) => "the image".to_owned(),
        None => known_images::of(source).map_or_else(String::new, |known| format!("`{}`", known.repository)),
    }
}

/// Whether the program is known to refuse a directory there that a group may write to.
fn refuses_groups(context: &Context<'_>, claim: &MountedClaim) -> bool {
    let known = known_images::of(&context.template.images[claim.owner].source);
    let directory = known.and_then(|known| known.data_directory(&claim.path));
    directory.and_then(|directory| directory.mode).is_some_and(|mode| mode.0 & GROUP_WRITES == 0)
}

/// The group that owns a claim: that of the image whose volume it is, if that is known.
fn owning(context: &Context<'_>, claim: &MountedClaim) -> Option<u32> {
    match runs_as(context, claim.owner) {
        RunsAs::Group(group) => Some(group),
        RunsAs::Root | RunsAs::Name => None,
    }
}
