//! Tells what the configuration of an image asks of Docker and gets from no Kubernetes: volumes, root, a health check.

use std::collections::BTreeSet;

use super::mountable::normalised;
use super::mounts::Mounts;
use super::{Context, VolumeMapping, groups};
use crate::diagnostic::{Code, Diagnostic, Findings};
use crate::facts::ImageFacts;
use crate::template::Image;

/// Tells of each image once what its configuration alone asks for; `mounts` has what every image mounts.
pub(super) fn tell(context: &Context<'_>, mounts: &[Mounts], findings: &mut Findings) {
    for (index, (image, mounts)) in context.template.images.iter().zip(mounts).enumerate() {
        let Some(facts) = context.rules().facts.of(&image.source) else { continue };
        let field = || format!("images[{index}].source");
        if let Some(found) = unlisted_volumes(context, (facts, image), mounts, field()) {
            findings.push(found);
        }
        if groups::is_root(facts) {
            let message = "the image runs as root, which Pod Security level `restricted` refuses";
            findings.report(Code::RunsAsRoot, field(), message);
        }
        if facts.has_health_check {
            let message = "the image has a health check, which Kubernetes does not run; the component is ready as soon as its container runs";
            findings.report(Code::HealthCheckUnused, field(), message);
        }
    }
}

/// The volumes that the image declares, and that neither its template lists nor anybody lends.
///
/// Docker kept them as long as the container, over its restarts. Here every start of a container has new ones.
fn unlisted_volumes(
    context: &Context<'_>,
    (facts, image): (&ImageFacts, &Image),
    mounts: &Mounts,
    field: String,
) -> Option<Diagnostic> {
    let listed = image.volumes.iter().map(|volume| normalised(&volume.container_path));
    let mounted = mounts.mounts.iter().map(|mount| mount.path.clone());
    let kept: BTreeSet<String> = listed.chain(mounted).collect();
    // Nothing of a configuration is shown.
    let volumes = match facts.volumes.difference(&kept).count() {
        0 => return None,
        1 => "a volume that the template does not list; a restart of the container loses what is in it"
            .to_owned(),
        several => format!(
            "{several} volumes that the template does not list; a restart of the container loses what is in them"
        ),
    };
    let found = Diagnostic::new(Code::VolumeUnlisted, field, format!("the image declares {volumes}"));
    Some(match context.rules().volumes {
        VolumeMapping::PersistentVolumeClaim => found,
        _ => found.advising(
            "list the path under `volumes` and set options.volumes to VOLUME_MAPPING_PERSISTENT_VOLUME_CLAIM to keep what is written there",
        ),
    })
}
