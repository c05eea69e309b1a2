//! Paths of the host that several mounts have in common: Docker shared them, and what becomes of them is apart.

use std::collections::BTreeMap;

use super::mountable::{lexical, refusal};
use super::{Context, VolumeMapping};
use crate::diagnostic::{Code, Diagnostic, Findings};
use crate::template::shown;

/// Tells of each mount whose path of the host is that of an earlier one, lies in it, or holds it: of two images, or of
/// one.
pub(super) fn tell(context: &Context<'_>, findings: &mut Findings) {
    let mapping = context.rules().volumes;
    if mapping == VolumeMapping::HostPath {
        return;
    }
    let mut owners: BTreeMap<String, usize> = BTreeMap::new();
    for (index, image) in context.template.images.iter().enumerate() {
        for volume in image.volumes.iter().filter(|volume| refusal(mapping, volume).is_none()) {
            let Some(path) = lexical(&volume.host_path) else { continue };
            if let Some((first, how)) = relative(&owners, &path) {
                let (who, advice) = match first == index {
                    true => (
                        "another volume of the image".to_owned(),
                        Some("mount it once, and have the program use that one path"),
                    ),
                    false => (format!("`{}`", shown(context.template.images[first].name.as_str())), None),
                };
                let message = format!("{who} mounts {how}; they no longer share it");
                let found = Diagnostic::new(Code::VolumeNotShared, volume.field.clone(), message);
                findings.push(Diagnostic { advice: advice.map(Into::into), ..found });
            }
            owners.entry(path).or_insert(index);
        }
    }
}

/// The image that mounts the same path, one that this lies in, or one that lies in this.
fn relative(owners: &BTreeMap<String, usize>, path: &str) -> Option<(usize, &'static str)> {
    if let Some(same) = owners.get(path) {
        return Some((*same, "the same path of the host"));
    }
    let parents = path.rmatch_indices('/').map(|(end, _)| &path[..end]);
    if let Some(owner) = parents.filter_map(|parent| owners.get(parent)).next() {
        return Some((*owner, "a path of the host that this one lies in"));
    }
    let below = format!("{path}/");
    let (child, owner) = owners.range(below.clone()..).next()?;
    child.starts_with(&below).then_some((*owner, "a path of the host that lies in this one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_related_by_whole_parts() {
        let owners: BTreeMap<String, usize> = [("/srv/app", 0), ("./data", 1), ("/srv/app-2", 2)]
            .map(|(path, owner)| (path.to_owned(), owner))
            .into();
        let of = |path: &str| relative(&owners, &lexical(path).unwrap()).map(|(owner, _)| owner);
        for (path, owner) in [
            ("/srv/app/", Some(0)),
            ("/srv/app/static", Some(0)),
            ("/srv/app/../app/x/y", Some(0)),
            ("/srv", Some(0)),
            ("data/x", Some(1)),
            (".", Some(1)),
            ("/srv/ap", None),
            ("/srv/app-", None),
            ("/data", None),
            ("../data", None),
        ] {
            assert_eq!(of(path), owner, "{path}");
        }
    }
}
