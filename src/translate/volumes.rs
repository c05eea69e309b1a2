//! Volumes of a pod: what is mounted where, and the claims that keep it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::mountable::{absolute, normalised, refusal};
use super::naming::object_name;
use super::{Context, VolumeMapping, count, labels};
use crate::artifacts::{Artifact, Kind, ObjectRef};
use crate::diagnostic::{Code, Findings};
use crate::template::{Image, Volume, shown};

/// The volume behind a mounted path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    EmptyDir,
    HostPath(String),
    Claim(String),
}

/// One path of a container and the volume behind it.
#[derive(Clone, Debug)]
struct Mount {
    path: String,
    source: Source,
    read_only: bool,
}

/// What the container of one image mounts, in the order of the template.
#[derive(Default)]
pub(super) struct Mounts(Vec<Mount>);

impl Mounts {
    /// Whether a claim is among them, which only one generation of pods should have at a time.
    pub(super) fn has_claim(&self) -> bool {
        self.0.iter().any(|mount| matches!(mount.source, Source::Claim(_)))
    }

    /// Whether a path of the node is among them.
    pub(super) fn has_host_path(&self) -> bool {
        self.0.iter().any(|mount| matches!(mount.source, Source::HostPath(_)))
    }

    /// Writes them into a pod's specification.
    pub(super) fn write(&self, pod: &mut Value, container: &mut Value) {
        if self.0.is_empty() {
            return;
        }
        let digits = digits(self.0.iter().map(|mount| mount.path.as_str()));
        let name = |mount: &Mount| format!("volume-{}", digits[mount.path.as_str()]);
        let mounts = self.0.iter().map(|mount| {
            let mut entry = json!({ "mountPath": mount.path, "name": name(mount) });
            if mount.read_only {
                entry["readOnly"] = json!(true);
            }
            entry
        });
        container["volumeMounts"] = mounts.collect();
        let volumes = self.0.iter().map(|mount| {
            let name = name(mount);
            match &mount.source {
                Source::EmptyDir => json!({ "emptyDir": {}, "name": name }),
                Source::HostPath(path) => json!({ "hostPath": { "path": path }, "name": name }),
                Source::Claim(claim) => {
                    json!({ "name": name, "persistentVolumeClaim": { "claimName": claim } })
                }
            }
        });
        pod["volumes"] = volumes.collect();
    }
}

/// Decides what every image mounts, lent volumes included. Reports what is left out or changed.
pub(super) fn of_images(context: &Context<'_>, findings: &mut Findings) -> Vec<Mounts> {
    let images = &context.template.images;
    if context.rules().volumes == VolumeMapping::Omit {
        tell_omitted(images, findings);
        return images.iter().map(|_| Mounts::default()).collect();
    }
    tell_apart(context, findings);
    let own: Vec<Vec<Mount>> = (0..images.len()).map(|index| own_mounts(context, index, findings)).collect();
    let lent: Vec<Vec<Lent<'_>>> = (0..images.len()).map(|index| lent_by(context, index, &own)).collect();
    let all: Vec<Mounts> = (0..images.len())
        .map(|index| Mounts(with_lent(context, index, (&own[index], &lent), findings)))
        .collect();
    for (index, mounts) in all.iter().enumerate().filter(|(index, _)| count(&images[*index]) > 1) {
        if mounts.has_claim() || mounts.has_host_path() {
            let message = "all replicas mount the same volumes";
            findings.report(Code::VolumesShared, format!("images[{index}].deployment.count"), message);
        }
    }
    all
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

/// Tells of a path of the host that several images mount: what becomes of it is not one thing any more.
fn tell_apart(context: &Context<'_>, findings: &mut Findings) {
    if context.rules().volumes == VolumeMapping::HostPath {
        return;
    }
    let mut owners: BTreeMap<String, usize> = BTreeMap::new();
    for (index, image) in context.template.images.iter().enumerate() {
        for volume in image.volumes.iter().filter(|volume| refusal(context.rules().volumes, volume).is_none())
        {
            let Some(path) = absolute(&volume.host_path) else { continue };
            let first = *owners.entry(path).or_insert(index);
            if first != index {
                let name = shown(context.template.images[first].name.as_str());
                let message = format!("`{name}` mounts the same path of the host; they no longer share it");
                findings.report(Code::VolumeNotShared, volume.field.clone(), message);
            }
        }
    }
}

/// What an image's own `volumes` become.
fn own_mounts(context: &Context<'_>, index: usize, findings: &mut Findings) -> Vec<Mount> {
    let image = &context.template.images[index];
    let mut mounts = Vec::with_capacity(image.volumes.len());
    let names = claim_names(context, index);
    for volume in &image.volumes {
        if let Some((key, message)) = refusal(context.rules().volumes, volume) {
            findings.report(Code::VolumeForbidden, format!("{}.{key}", volume.field), message);
            continue;
        }
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
                let claim = names[&path].clone();
                let message = format!("the path is kept by claim `{claim}`");
                findings.report(Code::VolumeClaimed, volume.field.clone(), message);
                Source::Claim(claim)
            }
            VolumeMapping::EmptyDir | VolumeMapping::Omit => {
                let message = "the directory lives as long as the pod";
                findings.report(Code::VolumeEphemeral, volume.field.clone(), message);
                Source::EmptyDir
            }
        };
        mounts.push(Mount { path, source, read_only: volume.read_only });
    }
    mounts
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
                        Source::HostPath(_) | Source::Claim(_) => shared = true,
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

/// How many bytes of a path's hash represent it in names.
const SHORT: usize = 4;
/// How many do where the short ones of two paths are alike.
const LONG: usize = 16;

/// The digits that represent a path in names.
fn hash(path: &str, bytes: usize) -> String {
    Sha256::digest(path.as_bytes()).iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

/// The digits of each path: few, but where those of two paths are alike many.
fn digits<'p>(paths: impl Iterator<Item = &'p str>) -> BTreeMap<&'p str, String> {
    let mut digits: BTreeMap<&str, String> = paths.map(|path| (path, hash(path, SHORT))).collect();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for short in digits.values() {
        *counts.entry(short.clone()).or_default() += 1;
    }
    for (path, short) in &mut digits {
        if counts[short.as_str()] > 1 {
            *short = hash(path, LONG);
        }
    }
    digits
}

/// The name of an image's claim for each path that one of its volumes has.
fn claim_names(context: &Context<'_>, index: usize) -> BTreeMap<String, String> {
    let volumes = &context.template.images[index].volumes;
    let paths: Vec<String> = volumes.iter().map(|volume| normalised(&volume.container_path)).collect();
    let named = digits(paths.iter().map(String::as_str)).into_iter();
    named.map(|(path, digits)| (path.to_owned(), format!("{}-{digits}", context.names[index]))).collect()
}

/// Builds the claims of an image's own volumes.
pub(super) fn claims<'c>(
    context: &'c Context<'_>,
    index: usize,
    mounts: &'c Mounts,
) -> impl Iterator<Item = Artifact> + 'c {
    let names = claim_names(context, index);
    mounts.0.iter().filter_map(move |mount| {
        let own = names.get(&mount.path)?;
        matches!(&mount.source, Source::Claim(claim) if claim == own).then_some(())?;
        let volumes = &context.template.images[index].volumes;
        let volume = volumes.iter().find(|volume| normalised(&volume.container_path) == mount.path)?;
        claim(context, index, own.clone(), volume)
    })
}

fn claim(context: &Context<'_>, index: usize, name: String, volume: &Volume) -> Option<Artifact> {
    let rules = context.rules();
    let name = object_name(name)?;
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": rules.volume_size.as_str() } },
    });
    if let Some(class) = &rules.storage_class {
        spec["storageClassName"] = json!(class.as_str());
    }
    let manifest = json!({
        "apiVersion": Kind::PersistentVolumeClaim.api_version(),
        "kind": Kind::PersistentVolumeClaim.as_str(),
        "metadata": labels::metadata(context, index, name.as_str()),
        "spec": spec,
    });
    Some(Artifact {
        reference: ObjectRef::new(Kind::PersistentVolumeClaim, name),
        component: context.names[index].clone(),
        origin: volume.field.clone(),
        manifest,
    })
}
