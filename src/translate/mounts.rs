//! What a pod mounts, and how it is written.

use serde_json::{Value, json};

use super::claim_names::digits;
use crate::artifacts::{LAYOUT_DATA, ObjectName};

/// What to do where several pods mount one path of their nodes.
pub(super) const ON_NODES: &str =
    "see that all of these pods run on one node: each node has directories of its own";

/// The volume behind a mounted path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
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
pub(super) struct Mount {
    pub(super) path: String,
    pub(super) source: Source,
    pub(super) read_only: bool,
    /// The image whose volume it is.
    pub(super) owner: usize,
    /// Whether a new claim is filled with what that image has at the path.
    pub(super) is_filled: bool,
    /// Where the template says so, or which of its images does.
    pub(super) origin: String,
}

/// What the container of one image mounts, in the order of the template.
#[derive(Default)]
pub(super) struct Mounts {
    pub(super) mounts: Vec<Mount>,
    /// The group that the claims among them are made writable for.
    pub(super) group: Option<u32>,
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
