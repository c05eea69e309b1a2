//! Volumes of a pod: what is mounted where, and the claims that keep it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::claim_names;
use super::groups::{self, MountedClaim};
use super::lending::{borrowed, lenders_first, lent_by};
use super::mountable::{Refusal, absolute, may_be_file, normalised, refusal};
use super::mounts::{Mount, Mounts, ON_NODES, Source};
use super::share::Share;
use super::{Context, VolumeFilling, VolumeMapping, count, known_images, labels, sharing};
use crate::artifacts::{ANNOTATION_LAYOUT, Artifact, Kind, LAYOUT_DATA, ObjectName, ObjectRef};
use crate::diagnostic::{Code, Diagnostic, Findings};
use crate::template::{Image, Volume, shown};

/// Decides what every image mounts, lent volumes included. Reports what is left out or changed.
pub(super) fn of_images(context: &Context<'_>, share: &Share, findings: &mut Findings) -> Vec<Mounts> {
    let images = &context.template.images;
    if context.rules().volumes == VolumeMapping::Omit {
        tell_omitted(images, findings);
        return images.iter().map(|_| Mounts::default()).collect();
    }
    sharing::tell(context, findings);
    let mut own: Vec<Vec<Mount>> =
        (0..images.len()).map(|index| own_mounts(context, index, findings)).collect();
    add_declared(context, &mut own, findings);
    let mut left = share.mounts;
    let lent: Vec<Vec<Mount>> = (0..images.len())
        .map(|index| borrowed(context, index, &own, (&mut left, share.mounts_of_image), findings))
        .collect();
    // The image's own paths come first.
    for (own, lent) in own.iter_mut().zip(lent) {
        own.extend(lent);
    }
    let all = own;
    let groups = groups(context, &all, findings);
    let all: Vec<Mounts> =
        all.into_iter().zip(groups).map(|(mounts, group)| Mounts { mounts, group }).collect();
    for (index, mounts) in all.iter().enumerate().filter(|(index, _)| count(&images[*index]) > 1) {
        if mounts.has_claim() || mounts.has_host_path() {
            let message = "all replicas mount the same volumes";
            let field = images[index].count_path(index);
            let found = Diagnostic::new(Code::VolumesShared, field, message);
            findings.push(if mounts.has_host_path() { found.advising(ON_NODES) } else { found });
        }
    }
    all
}

/// The group of each image's claims.
fn groups(context: &Context<'_>, all: &[Vec<Mount>], findings: &mut Findings) -> Vec<Option<u32>> {
    let of_image = |(index, mounts): (usize, &Vec<Mount>)| {
        let claims = mounts.iter().filter(|mount| matches!(mount.source, Source::Claim { .. }));
        let field = |mount: &Mount| match mount.owner == index {
            true => mount.origin.clone(),
            false => format!("images[{index}].volumes_from"),
        };
        let mounted = |mount: &Mount| MountedClaim {
            owner: mount.owner,
            is_older: matches!(mount.source, Source::Claim { at_root: true, .. }),
            is_filled: mount.is_filled,
            read_only: mount.read_only,
            path: mount.path.clone(),
            field: field(mount),
        };
        claims.map(mounted).collect()
    };
    let mounted: Vec<Vec<MountedClaim>> = all.iter().enumerate().map(of_image).collect();
    groups::of_images(context, &mounted, findings)
}

fn tell_omitted(images: &[Image], findings: &mut Findings) {
    for (index, image) in images.iter().enumerate() {
        for volume in &image.volumes {
            let message = format!("the volume is left out of `{}`", shown(image.name.as_str()));
            findings.report(Code::VolumeOmitted, volume.field.clone(), message);
        }
        for from in &image.volumes_from {
            let message = format!("images[{index}] gets no volumes of other images");
            findings.report(Code::VolumeOmitted, from.field.clone(), message);
        }
    }
}

/// What an image's own `volumes` become.
fn own_mounts(context: &Context<'_>, index: usize, findings: &mut Findings) -> Vec<Mount> {
    let image = &context.template.images[index];
    let mut mounts = Vec::with_capacity(image.volumes.len());
    let declared = context.rules().facts.of(&image.source).map(|facts| &facts.volumes);
    let names = claim_names::of(context, index, &[]);
    for volume in &image.volumes {
        // A claim that is there holds data, whatever its path looks like to this version.
        let name = names.get(&normalised(&volume.container_path));
        let stands = name.is_some_and(|name| context.options.claims_at_root.contains(name));
        let refused = refusal(context.rules().volumes, volume).filter(|_| !stands);
        if let Some(refused) = refused {
            tell_refused(&refused, format!("{}.{}", volume.field, refused.key), findings);
            continue;
        }
        let Some(mount) = own_mount(context, (index, volume), &names, findings) else { continue };
        // What a path of the host holds hid what the image has in Docker, too.
        if volume.host_path.is_empty() && declared.is_some_and(|declared| declared.contains(&mount.path)) {
            tell_not_filled(context, &mount, findings);
        }
        if may_be_file(context.rules().volumes, volume) && !stands {
            let message = "the path may be that of a file; what is mounted is a directory";
            findings.report(Code::VolumePerhapsFile, format!("{}.host_path", volume.field), message);
        }
        tell_filled(context, volume, &mount, findings);
        mounts.push(mount);
    }
    mounts
}

fn tell_refused(refused: &Refusal, field: String, findings: &mut Findings) {
    let found = Diagnostic::new(Code::VolumeForbidden, field, refused.message);
    findings.push(Diagnostic { advice: refused.advice.map(Into::into), ..found });
}

/// What one volume of an image becomes.
fn own_mount(
    context: &Context<'_>,
    (index, volume): (usize, &Volume),
    names: &BTreeMap<String, ObjectName>,
    findings: &mut Findings,
) -> Option<Mount> {
    let path = normalised(&volume.container_path);
    let source = match context.rules().volumes {
        VolumeMapping::HostPath => match absolute(&volume.host_path) {
            Some(host) => Source::HostPath(host),
            None => {
                let message =
                    "the template names no path of the host; the directory lives as long as the pod";
                findings.report(Code::VolumeHostPathMissing, volume.field.clone(), message);
                Source::EmptyDir
            }
        },
        VolumeMapping::PersistentVolumeClaim => {
            let name = names.get(&path)?.clone();
            let at_root = context.options.claims_at_root.contains(&name);
            let message = match at_root {
                true => format!("the path is kept by claim `{name}`, which is mounted at its root"),
                false => format!("the path is kept by claim `{name}`, in its directory `{LAYOUT_DATA}`"),
            };
            let found = Diagnostic::new(Code::VolumeClaimed, volume.field.clone(), message);
            findings.push(match volume.host_path.is_empty() {
                true => found.advising("copy nothing: the template names no path of the host"),
                false => found,
            });
            Source::Claim { name, at_root }
        }
        VolumeMapping::EmptyDir | VolumeMapping::Omit => {
            let message = "the directory lives as long as the pod";
            findings.report(Code::VolumeEphemeral, volume.field.clone(), message);
            Source::EmptyDir
        }
    };
    let read_only = volume.read_only;
    // With a path of the host Docker mounted what the host has, and filled nothing.
    let is_filled = context.rules().filling == VolumeFilling::FromImage
        && volume.host_path.is_empty()
        && matches!(source, Source::Claim { at_root: false, .. });
    Some(Mount { path, source, read_only, owner: index, is_filled, origin: volume.field.to_string() })
}

/// Tells what fills a claim, or why nothing does although somebody asks for it.
fn tell_filled(context: &Context<'_>, volume: &Volume, mount: &Mount, findings: &mut Findings) {
    if mount.is_filled {
        let message = "a new claim is filled once with what the image has at that path; the image needs `/bin/sh`, `cp` and `mv` for that, or its pods do not start";
        findings.report(Code::VolumeFilled, mount.origin.clone(), message);
    } else if context.rules().filling == VolumeFilling::FromImage
        && volume.host_path.is_empty()
        && matches!(mount.source, Source::Claim { at_root: true, .. })
    {
        let message = "the claim was made by an earlier version, and is not filled";
        findings.report(Code::VolumeLeftAsIs, mount.origin.clone(), message);
    }
}

/// Tells what is hidden where the image declares a volume: Docker would have copied it.
fn tell_not_filled(context: &Context<'_>, mount: &Mount, findings: &mut Findings) {
    let advice = match mount.source {
        _ if mount.is_filled => return,
        // That it is older is told with filling, and it holds what the program has had so far.
        Source::Claim { at_root: true, .. } => return,
        Source::Claim { .. } => None,
        Source::EmptyDir | Source::HostPath(_) => Some(
            "leave the volume out of the template, and the container has the image's files there; or set options.volumes to \
             VOLUME_MAPPING_PERSISTENT_VOLUME_CLAIM and options.volume_filling to VOLUME_FILLING_FROM_IMAGE",
        ),
    };
    let known = known_images::of(&context.template.images[mount.owner].source);
    let found = match known.and_then(|known| Some((known, known.data_directory(&mount.path)?))) {
        Some((known, _)) => {
            let message = format!(
                "`{}` keeps data of its own there, so it starts with an empty directory",
                known.repository
            );
            let found = Diagnostic::new(Code::VolumeLeftAsIs, mount.origin.clone(), message);
            found.advising("nothing has to be done, unless the program misses files of its image there: copy those into the volume once")
        }
        None => {
            let message = "the image declares a volume there; what it has at that path is hidden";
            let found = Diagnostic::new(Code::VolumeNotFilled, mount.origin.clone(), message);
            Diagnostic { advice: advice.map(Into::into), ..found }
        }
    };
    findings.push(found);
}

/// Adds what lenders declare as volumes in their images alone: Docker made these, and lent them with the others.
fn add_declared(context: &Context<'_>, own: &mut [Vec<Mount>], findings: &mut Findings) {
    let images = &context.template.images;
    if context.rules().facts.is_empty() {
        return;
    }
    let lenders: BTreeSet<usize> =
        images.iter().flat_map(|image| &image.volumes_from).map(|from| from.target).collect();
    for index in lenders_first(images) {
        let Some(facts) = context.rules().facts.of(&images[index].source) else { continue };
        if !lenders.contains(&index) {
            continue;
        }
        // A path that it borrows itself is its lender's.
        let lent = lent_by(context, index, own, usize::MAX).unwrap_or_default();
        let known: BTreeSet<String> = lent.mounts.into_iter().map(|(mount, _)| mount.path.clone()).collect();
        let declared: Vec<&str> = facts.volumes.iter().map(String::as_str).collect();
        let names = claim_names::of(context, index, &declared);
        for path in facts.volumes.iter().filter(|path| !known.contains(*path)) {
            let field = format!("images[{index}].source");
            let volume = Volume {
                host_path: String::new(),
                container_path: path.clone(),
                read_only: false,
                field: field.into(),
            };
            if let Some(refused) = refusal(context.rules().volumes, &volume) {
                tell_refused(&refused, volume.field.into(), findings);
                continue;
            }
            // Nothing of a configuration is shown.
            let message = "the image declares a volume that the template does not list, and lends it";
            findings.report(Code::VolumeFromImage, volume.field.clone(), message);
            let Some(mount) = own_mount(context, (index, &volume), &names, findings) else { continue };
            tell_not_filled(context, &mount, findings);
            tell_filled(context, &volume, &mount, findings);
            own[index].push(mount);
        }
    }
}

/// Builds the claims of an image's own volumes.
pub(super) fn claims<'c>(
    context: &'c Context<'_>,
    index: usize,
    mounts: &'c Mounts,
) -> impl Iterator<Item = Artifact> + 'c {
    mounts.mounts.iter().filter(move |mount| mount.owner == index).filter_map(move |mount| {
        match &mount.source {
            Source::Claim { name, at_root } => Some(claim(context, index, name, *at_root, &mount.origin)),
            Source::EmptyDir | Source::HostPath(_) => None,
        }
    })
}

fn claim(context: &Context<'_>, index: usize, name: &ObjectName, at_root: bool, origin: &str) -> Artifact {
    let rules = context.rules();
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": rules.volume_size.as_str() } },
    });
    if let Some(class) = &rules.storage_class {
        spec["storageClassName"] = json!(class.as_str());
    }
    let layout = (!at_root).then_some((ANNOTATION_LAYOUT, LAYOUT_DATA));
    let manifest = json!({
        "apiVersion": Kind::PersistentVolumeClaim.api_version(),
        "kind": Kind::PersistentVolumeClaim.as_str(),
        "metadata": labels::metadata_with(context, index, name.as_str(), layout),
        "spec": spec,
    });
    Artifact {
        reference: ObjectRef::new(Kind::PersistentVolumeClaim, name.clone()),
        component: context.names[index].clone(),
        origin: origin.to_owned(),
        manifest,
    }
}
