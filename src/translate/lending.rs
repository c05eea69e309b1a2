//! What images borrow from each other with `volumes_from`.

use std::collections::{BTreeMap, BTreeSet};

use super::mounts::{Mount, ON_NODES, Source};
use super::{Context, VolumeMapping};
use crate::diagnostic::{Code, Diagnostic, Findings};
use crate::template::{Image, shown};

/// The images in such an order that each comes after those that it borrows from. Reading refused circles.
pub(super) fn lenders_first(images: &[Image]) -> Vec<usize> {
    let mut order = Vec::with_capacity(images.len());
    let mut placed = vec![false; images.len()];
    let mut before = usize::MAX;
    while order.len() != before {
        before = order.len();
        for (index, image) in images.iter().enumerate() {
            if !placed[index] && image.volumes_from.iter().all(|from| placed[from.target]) {
                placed[index] = true;
                order.push(index);
            }
        }
    }
    order
}

/// What `volumes_from` lends to an image, that of lenders' lenders included, but for its own paths.
///
/// All images may borrow so many volumes together, and each of them so many.
pub(super) fn borrowed(
    context: &Context<'_>,
    index: usize,
    own: &[Vec<Mount>],
    (left, of_image): (&mut usize, usize),
    findings: &mut Findings,
) -> Vec<Mount> {
    let images = &context.template.images;
    let mut mounts: Vec<Mount> = Vec::new();
    // What is mounted at a path, and which of the borrowed mounts that is.
    let mut known: BTreeMap<&str, (&Mount, Option<usize>)> =
        own[index].iter().map(|mount| (mount.path.as_str(), (mount, None))).collect();
    let mut left_of_image = of_image;
    for from in &images[index].volumes_from {
        let lender = shown(images[from.target].name.as_str());
        let lent = lent_by(context, from.target, own, left_of_image.min(*left));
        let Some(lent) = lent else {
            let message = format!(
                "the image would borrow more than {of_image} volumes, or all images more than the template may; none is left out"
            );
            findings.report(Code::LimitExceeded, from.field.clone(), message);
            continue;
        };
        (*left, left_of_image) = (*left - lent.weight, left_of_image - lent.weight);
        let lent = lent.mounts;
        if lent.is_empty() {
            let message = format!("`{lender}` mounts no volume that could be shared");
            findings.report(Code::VolumesFromNothing, from.field.clone(), message);
        }
        let (mut shared, mut apart, mut shadowed, mut later) = (false, false, false, false);
        for (mount, read_only) in &lent {
            // A borrower may do what the lender may, or less.
            let read_only = *read_only || from.read_only;
            match known.get(mount.path.as_str()) {
                Some((known, before)) if is_one(known, mount) => {
                    // Of two borrowings of one volume the last counts, as in Docker.
                    if let Some(before) = before.and_then(|before| mounts.get_mut(before)) {
                        before.read_only = read_only;
                    }
                }
                // Neither of the two is shared, and both lenders are told.
                Some((known, Some(_)))
                    if known.source == Source::EmptyDir && known.source == mount.source =>
                {
                    apart = true;
                }
                // Docker mounted the last one. Who has run with the first has data there, so it stays, and is told.
                Some((_, Some(_))) => later = true,
                Some((_, None)) => shadowed = true,
                None => {
                    match mount.source {
                        Source::EmptyDir => apart = true,
                        Source::HostPath(_) | Source::Claim { .. } => shared = true,
                    }
                    known.insert(&mount.path, (mount, Some(mounts.len())));
                    mounts.push(Mount { read_only, ..(*mount).clone() });
                }
            }
        }
        if shadowed {
            let message = format!("the image mounts another volume where `{lender}` has its own");
            findings.report(Code::VolumeShadowed, from.field.clone(), message);
        }
        if later {
            findings.push(other_lender(&lender, from.field.clone().into()));
        }
        if shared {
            let message = format!("its pods mount the volumes of `{lender}`");
            let advice = match context.rules().volumes {
                VolumeMapping::HostPath => ON_NODES,
                _ => {
                    "choose a storage class that several nodes can mount; with another, one node has to run all of these pods"
                }
            };
            findings.push(Diagnostic::new(Code::VolumesShared, from.field.clone(), message).advising(advice));
        }
        if apart {
            let message =
                format!("a directory that lives as long as its pod cannot be shared with `{lender}`");
            let advice = match context.rules().volumes {
                VolumeMapping::HostPath => "add host_path to the volume of the image that lends it",
                _ => "set options.volumes to VOLUME_MAPPING_PERSISTENT_VOLUME_CLAIM: claims are shared",
            };
            findings
                .push(Diagnostic::new(Code::VolumeNotShared, from.field.clone(), message).advising(advice));
        }
    }
    mounts
}

/// Whether two mounts are of one volume. Directories that live as long as a pod are all made anew, and those of two images
/// are two.
fn is_one(one: &Mount, other: &Mount) -> bool {
    one.source == other.source && (one.source != Source::EmptyDir || std::ptr::eq(one, other))
}

fn other_lender(lender: &str, field: String) -> Diagnostic {
    let message = format!(
        "an image that is listed before `{lender}` has another volume at the same path, which is mounted; Docker mounted that of `{lender}`"
    );
    let advice = "list the image first whose volume is meant, or give one of the two another path";
    Diagnostic::new(Code::VolumeNotShared, field, message).advising(advice)
}

/// A mount that an image lends, and whether somebody on the way may only read there.
pub(super) type Lent<'m> = (&'m Mount, bool);

/// All that an image lends.
#[derive(Default)]
pub(super) struct Lending<'m> {
    pub(super) mounts: Vec<Lent<'m>>,
    /// How much they are of what may be borrowed.
    weight: usize,
}

/// How much the volumes of one image are of what may be borrowed: a volume is one, and what fills claims is a container
/// of the borrower's pod, which takes as much as two volumes and one for each claim.
fn weight(mounts: &[Lent<'_>]) -> usize {
    let filled = mounts.iter().filter(|(mount, _)| mount.is_filled).count();
    mounts.len() + filled + if filled > 0 { 2 } else { 0 }
}

/// All that an image can lend: its own volumes, then those it borrows; `None` if they weigh more than `most`. Reading
/// refused circles.
pub(super) fn lent_by<'m>(
    context: &Context<'_>,
    lender: usize,
    own: &'m [Vec<Mount>],
    most: usize,
) -> Option<Lending<'m>> {
    let last = last_ways(context, lender, own.len());
    let mut lent = Lending::default();
    let mut paths = BTreeSet::new();
    let mut waiting = vec![lender];
    let mut seen = vec![false; own.len()];
    while let Some(next) = waiting.pop() {
        if std::mem::replace(&mut seen[next], true) {
            continue;
        }
        let mounts = own[next].iter().filter(|mount| paths.insert(mount.path.as_str()));
        let before = lent.mounts.len();
        let is_narrow = last[next] == Some(true);
        lent.mounts.extend(mounts.map(|mount| (mount, is_narrow || mount.read_only)));
        lent.weight += weight(&lent.mounts[before..]);
        if lent.weight > most {
            return None;
        }
        waiting.extend(context.template.images[next].volumes_from.iter().rev().map(|from| from.target));
    }
    Some(lent)
}

/// For each image that lends something to a lender, whether somebody may only read on the way that counts: where there
/// are several, each image on it takes the last of its own.
fn last_ways(context: &Context<'_>, lender: usize, images: usize) -> Vec<Option<bool>> {
    let mut ways = vec![None; images];
    let mut waiting = vec![(lender, false)];
    while let Some((next, read_only)) = waiting.pop() {
        if ways[next].is_none() {
            ways[next] = Some(read_only);
            let lenders = context.template.images[next].volumes_from.iter();
            waiting.extend(lenders.map(|from| (from.target, read_only || from.read_only)));
        }
    }
    ways
}
