//! The sizes of objects, so that what etcd would refuse is refused before anything is written.

use std::io;

use crate::artifacts::Artifact;
use crate::diagnostic::{Code, Findings};

/// The largest object, in bytes of JSON; etcd refuses at 1.5 MiB, and the API server adds fields.
pub const MAX_OBJECT: usize = 900 * 1024;
/// The largest sum of a deployment's objects: what can be deployed can be shown in one answer, too.
pub const MAX_TOTAL: usize = 3_584 * 1024;

/// Refuses objects that are too large, alone or together.
pub(super) fn check(objects: &[Artifact], findings: &mut Findings) {
    let mut total = 0;
    for object in objects {
        let size = size_of(object);
        total += size;
        if size > MAX_OBJECT {
            let message = format!("{} would have {size} bytes; {MAX_OBJECT} are allowed", object.reference);
            findings.report(Code::ObjectTooLarge, object.origin.clone(), message);
        }
    }
    if total > MAX_TOTAL {
        let message = format!("the objects would have {total} bytes together; {MAX_TOTAL} are allowed");
        findings.report(Code::ObjectTooLarge, "images", message);
    }
}

fn size_of(object: &Artifact) -> usize {
    let mut counter = Counter(0);
    match serde_json::to_writer(&mut counter, &object.manifest) {
        Ok(()) => counter.0,
        Err(_) => usize::MAX / 1024,
    }
}

/// Counts what is written.
struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
