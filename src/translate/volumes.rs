//! Volumes of a pod: what is mounted where, and the claims that keep it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::claim_names::{self, digits};
use super::groups::{self, MountedClaim};
use super::mountable::{absolute, normalised, refusal};
use super::{Context, VolumeMapping, count, labels, sharing};
use crate::artifacts::{ANNOTATION_LAYOUT, Artifact, Kind, LAYOUT_DATA, ObjectName, ObjectRef};
use crate::diagnostic::{Code, Findings};
use crate::template::{Image, Volume, shown};

/// The volume behind a mounted path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    EmptyDir,
    HostPath(String),
    Claim {
        name: ObjectName,
        /// Whether the claim is older than layouts.
        at_root: bool,
    },
}

/// One path of a container and the volume behind it.
#[derive(Clone, Debug)]
struct Mount {
    path: String,
    source: Source,
    read_only: bool,
    /// The image whose volume it is.
    owner: usize,
    /// Where the template says so, or which of its images does.
    origin: String,
}

/// What the container of one image mounts, in the order of the template.
#[derive(Default)]
pub(super) struct Mounts {
    mounts: Vec<Mount>,
    /// The group that the claims among them are made writable for.
    group: Option<u32>,
}

impl Mounts {
    /// Whether a claim is among them, which only one generation of pods should have at a time.
    pub(super) fn has_claim(&self) -> bool {
        self.mounts.iter().any(|mount| matches!(mount.source, Source::Claim { .. }))
    }

    /// Whether a path of the node is among them.
    pub(super) fn has_host_path(&self) -> bool {
        self.mounts.iter().any(|mount| matches!(mount.source, Source::HostPath(_)))
    }

    /// Writes them into a pod's specification.
    pub(super) fn write(&self, pod: &mut Value, container: &mut Value) {
        if self.mounts.is_empty() {
            return;
        }
        let digits = digits(self.mounts.iter().map(|mount| mount.path.as_str()));
        let name = |mount: &Mount| format!("volume-{}", digits[mount.path.as_str()]);
        let mounts = self.mounts.iter().map(|mount| {
            let mut written = json!({ "mountPath": mount.path, "name": name(mount) });
            if let Source::Claim { at_root: false, .. } = mount.source {
                written["subPath"] = json!(LAYOUT_DATA);
            }
            if mount.read_only {
                written["readOnly"] = json!(true);
            }
            written
        });
        container["volumeMounts"] = mounts.collect();
        let volumes = self.mounts.iter().map(|mount| {
            let name = name(mount);
            match &mount.source {
                Source::EmptyDir => json!({ "emptyDir": {}, "name": name }),
                Source::HostPath(path) => json!({ "hostPath": { "path": path }, "name": name }),
                Source::Claim { name: claim, .. } => {
                    json!({ "name": name, "persistentVolumeClaim": { "claimName": claim.as_str() } })
                }
            }
        });
        pod["volumes"] = volumes.collect();
    }

    /// Writes the group of the claims into a pod's security context.
    pub(super) fn write_group(&self, pod: &mut Value) {
        if let Some(group) = self.group {
            pod["securityContext"]["fsGroup"] = json!(group);
            // Else every start would give all files to the group again, and the mode for that.
            pod["securityContext"]["fsGroupChangePolicy"] = json!("OnRootMismatch");
        }
    }
}

/// Decides what every image mounts, lent volumes included. Reports what is left out or changed.
pub(super) fn of_images(context: &Context<'_>, findings: &mut Findings) -> Vec<Mounts> {
    let images = &context.template.images;
    if context.rules().volumes == VolumeMapping::Omit {
        tell_omitted(images, findings);
        return images.iter().map(|_| Mounts::default()).collect();
    }
    sharing::tell(context, findings);
    let mut own: Vec<Vec<Mount>> =
        (0..images.len()).map(|index| own_mounts(context, index, findings)).collect();
    add_declared(context, &mut own, findings);
    let lent: Vec<Vec<Lent<'_>>> = (0..images.len()).map(|index| lent_by(context, index, &own)).collect();
    let all: Vec<Vec<Mount>> =
        (0..images.len()).map(|index| with_lent(context, index, (&own[index], &lent), findings)).collect();
    let groups = groups(context, &all, findings);
    let all: Vec<Mounts> =
        all.into_iter().zip(groups).map(|(mounts, group)| Mounts { mounts, group }).collect();
    for (index, mounts) in all.iter().enumerate().filter(|(index, _)| count(&images[*index]) > 1) {
        if mounts.has_claim() || mounts.has_host_path() {
            let message = "all replicas mount the same volumes";
            findings.report(Code::VolumesShared, format!("images[{index}].deployment.count"), message);
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
        if let Some((key, message)) = refused {
            findings.report(Code::VolumeForbidden, format!("{}.{key}", volume.field), message);
            continue;
        }
        let Some(mount) = own_mount(context, (index, volume), &names, findings) else { continue };
        // What a path of the host holds hid what the image has in Docker, too.
        if volume.host_path.is_empty() && declared.is_some_and(|declared| declared.contains(&mount.path)) {
            tell_not_filled(&mount, findings);
        }
        mounts.push(mount);
    }
    mounts
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
            findings.report(Code::VolumeClaimed, volume.field.clone(), message);
            Source::Claim { name, at_root }
        }
        VolumeMapping::EmptyDir | VolumeMapping::Omit => {
            let message = "the directory lives as long as the pod";
            findings.report(Code::VolumeEphemeral, volume.field.clone(), message);
            Source::EmptyDir
        }
    };
    let read_only = volume.read_only;
    Some(Mount { path, source, read_only, owner: index, origin: volume.field.clone() })
}

fn tell_not_filled(mount: &Mount, findings: &mut Findings) {
    let message = "the image declares a volume there; what it has at that path is hidden";
    findings.report(Code::VolumeNotFilled, mount.origin.clone(), message);
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
        let known: BTreeSet<String> =
            lent_by(context, index, own).into_iter().map(|(mount, _)| mount.path.clone()).collect();
        let declared: Vec<&str> = facts.volumes.iter().map(String::as_str).collect();
        let names = claim_names::of(context, index, &declared);
        for path in facts.volumes.iter().filter(|path| !known.contains(*path)) {
            let field = format!("images[{index}].source");
            let volume =
                Volume { host_path: String::new(), container_path: path.clone(), read_only: false, field };
            if let Some((_, message)) = refusal(context.rules().volumes, &volume) {
                findings.report(Code::VolumeForbidden, volume.field, message);
                continue;
            }
            let message = format!("the image declares volume `{}`, which is lent", shown(path));
            findings.report(Code::VolumeFromImage, volume.field.clone(), message);
            let Some(mount) = own_mount(context, (index, &volume), &names, findings) else { continue };
            tell_not_filled(&mount, findings);
            own[index].push(mount);
        }
    }
}

/// The images in such an order that each comes after those that it borrows from. Reading refused circles.
fn lenders_first(images: &[Image]) -> Vec<usize> {
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

/// Adds what `volumes_from` lends, that of lenders' lenders included; the image's own paths come first.
fn with_lent(
    context: &Context<'_>,
    index: usize,
    (own, lent): (&[Mount], &[Vec<Lent<'_>>]),
    findings: &mut Findings,
) -> Vec<Mount> {
    let images = &context.template.images;
    let mut mounts: Vec<Mount> = own.to_vec();
    let mut known: BTreeMap<&str, &Source> =
        own.iter().map(|mount| (mount.path.as_str(), &mount.source)).collect();
    for from in &images[index].volumes_from {
        let lender = shown(images[from.target].name.as_str());
        if lent[from.target].is_empty() {
            let message = format!("`{lender}` mounts no volume that could be shared");
            findings.report(Code::VolumesFromNothing, from.field.clone(), message);
        }
        let (mut shared, mut apart) = (false, false);
        for (mount, read_only) in &lent[from.target] {
            match known.get(mount.path.as_str()) {
                Some(source) if **source == mount.source => {}
                Some(_) => {
                    let message = format!("the image mounts another volume where `{lender}` has its own");
                    findings.report(Code::VolumeShadowed, from.field.clone(), message);
                }
                None => {
                    match mount.source {
                        Source::EmptyDir => apart = true,
                        Source::HostPath(_) | Source::Claim { .. } => shared = true,
                    }
                    known.insert(&mount.path, &mount.source);
                    // A borrower may do what the lender may, or less.
                    mounts.push(Mount { read_only: *read_only || from.read_only, ..(*mount).clone() });
                }
            }
        }
        if shared {
            let message = format!("its pods mount the volumes of `{lender}`");
            findings.report(Code::VolumesShared, from.field.clone(), message);
        }
        if apart {
            let message =
                format!("a directory that lives as long as its pod cannot be shared with `{lender}`");
            findings.report(Code::VolumeNotShared, from.field.clone(), message);
        }
    }
    mounts
}

/// A mount that an image lends, and whether somebody on the way may only read there.
type Lent<'m> = (&'m Mount, bool);

/// All that an image can lend: its own volumes, then those it borrows. Reading refused circles.
fn lent_by<'m>(context: &Context<'_>, lender: usize, own: &'m [Vec<Mount>]) -> Vec<Lent<'m>> {
    let mut lent: Vec<Lent<'_>> = Vec::new();
    let mut paths = BTreeSet::new();
    let mut waiting = vec![(lender, false)];
    let mut seen = vec![false; own.len()];
    while let Some((next, read_only)) = waiting.pop() {
        if std::mem::replace(&mut seen[next], true) {
            continue;
        }
        let mounts = own[next].iter().filter(|mount| paths.insert(mount.path.as_str()));
        lent.extend(mounts.map(|mount| (mount, read_only || mount.read_only)));
        let lenders = context.template.images[next].volumes_from.iter().rev();
        waiting.extend(lenders.map(|from| (from.target, read_only || from.read_only)));
    }
    lent
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
