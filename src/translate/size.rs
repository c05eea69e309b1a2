//! The sizes of objects, so that what etcd would refuse is refused before anything is written.

use super::MAX_OBJECTS;
use crate::artifacts::{Artifact, Packed};
use crate::diagnostic::{Code, Findings};

/// The largest object, in bytes of JSON; etcd refuses at 1.5 MiB, and the API server adds fields.
pub const MAX_OBJECT: usize = 900 * 1024;
/// The largest sum of a deployment's objects: what can be deployed can be shown in one answer, too.
pub const MAX_TOTAL: usize = 3_584 * 1024;

/// The objects that were made so far, and what they take.
#[derive(Default)]
pub(super) struct Made {
    objects: Vec<Packed>,
    /// How many there are, those that were refused included.
    count: usize,
    bytes: usize,
}

impl Made {
    /// Adds an object; refuses one that is too large, and holds none any more once all together are too many or too large.
    pub(super) fn push(&mut self, packed: Packed, findings: &mut Findings) {
        let size = packed.size();
        self.count += 1;
        self.bytes = self.bytes.saturating_add(size);
        if size > MAX_OBJECT {
            let message = format!("{} would have {size} bytes; {MAX_OBJECT} are allowed", packed.reference);
            findings.report(Code::ObjectTooLarge, packed.origin.clone(), message);
        }
        if self.bytes > MAX_TOTAL || self.count > MAX_OBJECTS {
            self.objects = Vec::new();
        } else {
            self.objects.push(packed);
        }
    }

    /// Adds several.
    pub(super) fn extend(&mut self, artifacts: impl IntoIterator<Item = Artifact>, findings: &mut Findings) {
        for artifact in artifacts {
            self.push(Packed::new(artifact), findings);
        }
    }

    /// All of them; refuses them if they are too many, or too large together.
    pub(super) fn all(self, findings: &mut Findings) -> Vec<Packed> {
        if self.count > MAX_OBJECTS {
            let message = format!("the template becomes {} objects; {MAX_OBJECTS} are allowed", self.count);
            findings.report(Code::TooManyObjects, "images", message);
        }
        if self.bytes > MAX_TOTAL {
            let message =
                format!("the objects would have {} bytes together; {MAX_TOTAL} are allowed", self.bytes);
            findings.report(Code::ObjectTooLarge, "images", message);
        }
        self.objects
    }
}
