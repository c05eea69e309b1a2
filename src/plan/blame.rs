//! Whose fault a refused object is: the API server's causes, mapped back to the template.

use crate::artifacts::Artifact;
use crate::error::{Error, ErrorKind, Fault, Refusal};
use crate::template::Template;
use crate::translate::template_path;

/// Turns the refusal of an object into faults of the template, where the refused fields came from it.
///
/// Everything else stays what it was: an object of ours that is refused is a defect of ours.
fn on_template(template: &Template, artifact: &Artifact, error: Error) -> Error {
    if error.kind() != ErrorKind::ManifestRejected {
        return error;
    }
    let Some(Refusal::Invalid { fields }) = error.refusal() else { return error };
    let faults: Vec<Fault> = fields
        .iter()
        // `spec` alone means that the object cannot be changed in place; a uid is never the template's.
        .filter(|field| !matches!(field.as_str(), "" | "spec" | "metadata.uid" | "metadata.resourceVersion"))
        .map(|field| Fault {
            field: template_path(template, artifact, field),
            reason: "CLUSTER_REFUSED",
            description: format!("the cluster does not accept this value ({})", artifact.reference),
            hint: String::new(),
        })
        .collect();
    if faults.is_empty() {
        return error;
    }
    let summary: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
    let message = format!("the cluster does not accept {}", summary.join(", "));
    Error::new(ErrorKind::TemplateInvalid, message)
        .with_faults(faults)
        .about(artifact.reference.kind.as_str(), artifact.reference.name.as_str())
        .because(error.context().join("; "))
}

/// One error for everything that failed in an operation: the first one's, and how many more there are.
pub fn first(template: &Template, failures: Vec<(Artifact, Error)>) -> Option<Error> {
    let more = failures.len().saturating_sub(1);
    let mut errors = failures.into_iter().map(|(artifact, error)| on_template(template, &artifact, error));
    let first = errors.next()?;
    let rest: Vec<String> = errors.map(|error| error.message().to_owned()).collect();
    if more == 0 {
        return Some(first);
    }
    Some(first.prefixed(&format!("{} objects failed; the first: ", more + 1)).because(rest.join("; ")))
}

/// A line per failed object, for the answer of an incomplete update.
pub fn listing(failures: &[(Artifact, Error)]) -> String {
    let lines: Vec<String> = failures
        .iter()
        .take(10)
        .map(|(artifact, error)| format!("{}: {:?}", artifact.reference, error.kind()))
        .collect();
    lines.join(", ")
}
