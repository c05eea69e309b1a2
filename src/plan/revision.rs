//! What was deployed, packed for the Secret that keeps it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Read;

use serde::{Deserialize, Serialize};

use super::{ConflictPolicy, FailurePolicy, PrunePolicy, ReplicasPolicy, layout};
use crate::artifacts::{Artifact, ComponentName, ObjectName};
use crate::error::{Error, ErrorKind, Result};
use crate::template::Template;
use crate::translate::{Options, is_same_with, translate};

/// The largest revision that is stored, in bytes; a Secret holds 1 MiB.
const LIMIT: usize = 900 * 1024;
/// The largest revision before it is packed, in bytes: what somebody else has put into a Secret may become far larger.
const UNPACKED: u64 = 64 * 1024 * 1024;
/// zstd's own default: templates are small.
const LEVEL: i32 = 3;

/// Everything needed to make or compare the objects of a revision again.
#[derive(Clone, Serialize, Deserialize)]
pub struct Revision {
    /// The template, override merged in.
    pub template: Template,
    /// How it was translated.
    pub options: Options,
    /// The objects it became, before the plan's stamps.
    pub rendered: Vec<Artifact>,
    /// The version of the adapter that made it.
    pub version: String,
    /// What digests of requests and plans are mixed with; random, handed from revision to revision, and known to those
    /// alone who may read the values themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What became of objects that the template did not have.
    #[serde(default)]
    pub prune: PrunePolicy,
    /// What was to become of it if it failed.
    #[serde(default)]
    pub on_failure: FailurePolicy,
    /// What was done where others held fields: whoever finishes this revision does the same.
    #[serde(default)]
    pub conflicts: ConflictPolicy,
    /// Whose replica counts held.
    #[serde(default)]
    pub replicas: ReplicasPolicy,
    /// The revision that it repeats.
    #[serde(default)]
    pub rollback_of: Option<u32>,
}

impl Revision {
    /// The objects of this revision, where some components have become controllers since.
    ///
    /// What was stored is what counts, since a later adapter may translate otherwise; only objects that
    /// Scale made are rendered anew.
    pub fn rendered_with(&self, controllers: BTreeSet<ComponentName>) -> Cow<'_, [Artifact]> {
        if is_same_with(&self.template, &self.options, &controllers) {
            return Cow::Borrowed(&self.rendered);
        }
        let mut rendered = self.rendered.clone();
        let then = Options { claims_at_root: self.claims_at_root(), ..self.options.clone() };
        let options = Options { controllers, ..then.clone() };
        let then = translate(&self.template, &then).artifacts;
        let (Some(then), Some(artifacts)) = (then, translate(&self.template, &options).artifacts) else {
            return Cow::Owned(rendered);
        };
        for artifact in artifacts.objects() {
            match rendered.iter_mut().find(|known| known.reference == artifact.reference) {
                // A Service may have gained its published ports together with the controller.
                Some(known) if then.get(&artifact.reference) != Some(artifact) => *known = artifact.clone(),
                Some(_) => {}
                None => rendered.push(artifact.clone()),
            }
        }
        // The Pods that were taken over are no longer objects of ours.
        rendered.retain(|known| artifacts.get(&known.reference).is_some());
        Cow::Owned(rendered)
    }

    /// The claims of this revision that are mounted at their roots: one that was made before claims had a layout says
    /// nothing of any.
    pub fn claims_at_root(&self) -> BTreeSet<ObjectName> {
        layout::of_revision(&self.rendered)
    }

    /// Packs the revision; fails with LIMIT_EXCEEDED when it is too large to store.
    pub fn pack(&self) -> Result<Vec<u8>> {
        let text = serde_json::to_vec(self)
            .map_err(|error| Error::internal(format!("revision not JSON: {error}")))?;
        let packed = zstd::encode_all(text.as_slice(), LEVEL)
            .map_err(|error| Error::internal(format!("revision not compressed: {error}")))?;
        if packed.len() > LIMIT || text.len() as u64 > UNPACKED {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "the template is too large to store: {} bytes, {} compressed; {UNPACKED} and {LIMIT} are allowed",
                    text.len(),
                    packed.len()
                ),
            ));
        }
        Ok(packed)
    }

    /// Unpacks a stored revision; `None` if it is none, since somebody else has written its Secret.
    pub fn unpack(packed: &[u8]) -> Option<Self> {
        let mut text = Vec::new();
        let unpacked = zstd::Decoder::new(packed).ok()?.take(UNPACKED + 1).read_to_end(&mut text).ok()?;
        if unpacked as u64 > UNPACKED {
            return None;
        }
        serde_json::from_slice(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_else_has_stored_is_no_revision_however_large_it_becomes() {
        let bomb = zstd::encode_all(std::io::repeat(b' ').take(UNPACKED + 1), LEVEL).unwrap();
        assert!(bomb.len() < LIMIT, "it fits into a Secret");
        for packed in [&b""[..], b"AAAA", &zstd::encode_all(&b"{}"[..], LEVEL).unwrap(), &bomb] {
            assert!(Revision::unpack(packed).is_none());
        }
    }
}
