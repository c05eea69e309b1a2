//! Filling a new claim with what the image has at its path, as Docker filled new volumes.
//!
//! Every pod that mounts such a claim first runs the image whose volume it is, which copies. The claim's directory `data`
//! says whether that is done: who finds it leaves the claim alone, so neither a restart nor another pod overwrites what
//! was changed since. What is copied is written beside it and renamed, so that no crash leaves a part of it there.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::claim_names::digits;
use super::environment::literal;
use super::mounts::{Mount, Mounts};
use super::{Context, Profile};
use crate::artifacts::LAYOUT_DATA;

/// Where the roots of claims are mounted while they are filled.
const ROOTS: &str = "/panamax-fill";

/// Copies for each pair of a directory of the image and the root of a claim.
///
/// It is run by whatever shell the image has. Nothing in it is what the kubelet would expand.
const SCRIPT: &str = r#"set -eu
while [ "$#" -gt 0 ]; do
  from=$1 root=$2
  shift 2
  to=$root/data part=.panamax-fill-$PANAMAX_POD
  rm -rf "$root/$part" "$to/$part"
  if [ -e "$to" ]; then rm -rf "$root"/.panamax-fill-*; continue; fi
  if ! [ -d "$from" ]; then continue; fi
  mkdir "$root/$part"
  cp -a "$from/." "$root/$part/"
  sync || :
  mv "$root/$part" "$to"
  rm -rf "$to/$part"
done
"#;

/// Adds what fills the claims of a pod before its container starts.
pub(super) fn write(context: &Context<'_>, index: usize, mounts: &Mounts, pod: &mut Value) {
    // The order of images counts for nothing.
    let mut fillers: BTreeMap<&str, (usize, Vec<&Mount>)> = BTreeMap::new();
    for mount in mounts.mounts.iter().filter(|mount| mount.is_filled) {
        let owner = context.names[mount.owner].as_str();
        fillers.entry(owner).or_insert_with(|| (mount.owner, Vec::new())).1.push(mount);
    }
    if fillers.is_empty() {
        return;
    }
    let digits = digits(mounts.mounts.iter().map(|mount| mount.path.as_str()));
    let containers =
        fillers.values().map(|(owner, mounts)| filler(context, (index, *owner), mounts, &digits));
    pod["initContainers"] = containers.collect();
}

/// The container that fills all claims of one image.
fn filler(
    context: &Context<'_>,
    (index, owner): (usize, usize),
    mounts: &[&Mount],
    digits: &BTreeMap<&str, String>,
) -> Value {
    let root = |mount: &Mount| format!("{ROOTS}/{}", digits[mount.path.as_str()]);
    let pairs = mounts.iter().flat_map(|mount| [literal(&mount.path), root(mount)]);
    let command = ["/bin/sh", "-c", SCRIPT, "fill"].map(str::to_owned);
    let roots = mounts.iter().map(|mount| {
        json!({ "mountPath": root(mount), "name": format!("volume-{}", digits[mount.path.as_str()]) })
    });
    let pod = json!({ "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.uid" } });
    let mut filler = json!({
        "command": command.into_iter().chain(pairs).collect::<Vec<_>>(),
        "env": [{ "name": "PANAMAX_POD", "valueFrom": pod }],
        "image": context.template.images[owner].source.as_str(),
        "name": name(context.names[index].as_str(), context.names[owner].as_str()),
        // As Docker's daemon did: whoever copies owners has to be root, whoever the image runs as.
        "securityContext": { "runAsUser": 0 },
        "volumeMounts": roots.collect::<Vec<_>>(),
    });
    if context.rules().profile == Profile::Modern {
        filler["securityContext"]["allowPrivilegeEscalation"] = json!(false);
    }
    filler
}

/// The name of what fills the claims of a component; no container of a pod may share the name of its own.
fn name(component: &str, owner: &str) -> String {
    let digits = digits(std::iter::once(owner)).remove(owner).unwrap_or_default();
    let name = format!("panamax-fill-{digits}");
    if name == component { format!("panamax-filler-{digits}") } else { name }
}

/// The directory in the script is that of the layout.
const _: () = assert!(matches!(LAYOUT_DATA.as_bytes(), b"data"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubelet_expands_nothing_of_the_script() {
        assert_eq!(literal(SCRIPT), SCRIPT);
        assert!(!SCRIPT.contains("$("));
    }

    #[test]
    fn no_filler_has_the_name_of_the_component() {
        let usual = name("web", "db");
        assert!(usual.starts_with("panamax-fill-"), "{usual}");
        assert_eq!(name(&usual, "db"), usual.replace("fill", "filler"));
    }
}
