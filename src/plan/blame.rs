//! Whose fault a refused object is: the API server's causes, mapped back to the template.

use crate::artifacts::Artifact;
use crate::error::{Error, ErrorKind, Fault, Refusal};
use crate::template::Template;
use crate::translate::template_path;

/// The most failures that a message tells; it says of the others how many they are.
const MAX_TOLD: usize = 5;

/// The faults of the template behind the refusal of an object, where the refused fields came from it.
///
/// Everything else stays what it was: an object of ours that is refused is a defect of ours.
fn faults(template: &Template, artifact: &Artifact, error: &Error) -> Vec<Fault> {
    let Some(Refusal::Invalid { fields }) = error.refusal() else { return Vec::new() };
    if error.kind() != ErrorKind::ManifestRejected {
        return Vec::new();
    }
    fields
        .iter()
        // `spec` alone means that the object cannot be changed in place; a uid is never the template's.
        .filter(|field| !matches!(field.as_str(), "" | "spec" | "metadata.uid" | "metadata.resourceVersion"))
        .map(|field| Fault {
            field: template_path(template, artifact, field),
            reason: "CLUSTER_REFUSED",
            description: format!("the cluster does not accept this value ({})", artifact.reference),
            hint: String::new(),
        })
        .collect()
}

/// One error for everything that failed in an operation. All faults of the template come first and decide the code,
/// because their author can mend them; otherwise the first failure decides it.
pub fn first(template: &Template, failures: Vec<(Artifact, Error)>) -> Option<Error> {
    let (mut refused, mut others): (Option<Error>, Vec<Error>) = (None, Vec::new());
    let mut all: Vec<Fault> = Vec::new();
    for (artifact, error) in failures {
        let found = faults(template, &artifact, &error);
        if found.is_empty() {
            others.push(error);
            continue;
        }
        all.extend(found);
        let (kind, name) = (artifact.reference.kind.as_str(), artifact.reference.name.as_str());
        let told = refused
            .unwrap_or_else(|| Error::new(ErrorKind::TemplateInvalid, "").about(kind, name))
            .because(error.context().join("; "));
        refused = Some(told);
    }
    let refused = refused.map(|error| {
        let fields: Vec<&str> = all.iter().map(|fault| fault.field.as_str()).collect();
        error.prefixed(&format!("the cluster does not accept {}", fields.join(", "))).with_faults(all)
    });
    joined(refused.into_iter().chain(others).collect())
}

/// One error for several: the first one, whose message goes on with those of the others.
pub fn joined(errors: Vec<Error>) -> Option<Error> {
    let count = errors.len();
    let mut errors = errors.into_iter();
    let mut error = errors.next()?;
    if count == 1 {
        return Some(error);
    }
    let mut message = String::new();
    let mut told = vec![error.message().to_owned()];
    for other in errors {
        error = error.because(other.context().join("; "));
        // What happened to all alike, as where nothing answers, is said once.
        if told.iter().any(|one| one == other.message()) {
            continue;
        }
        if told.len() < MAX_TOLD {
            message.push_str(&format!("; {}", other.message()));
        }
        told.push(other.message().to_owned());
    }
    let more = told.len().saturating_sub(MAX_TOLD);
    if more > 0 {
        message.push_str(&format!("; and {more} more"));
    }
    Some(error.followed(&message))
}

/// A line per failed object, for the answer of an incomplete update.
pub fn listing(failures: &[(Artifact, Error)]) -> String {
    let lines: Vec<String> = failures
        .iter()
        .take(10)
        .map(|(artifact, error)| format!("{}: {}", artifact.reference, error.word()))
        .collect();
    lines.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(texts: &[&str]) -> Option<Error> {
        joined(texts.iter().map(|text| Error::new(ErrorKind::QuotaExceeded, *text)).collect())
    }

    #[test]
    fn each_failure_is_told_once_and_many_are_counted() {
        let message = |texts: &[&str]| failed(texts).unwrap().message().to_owned();
        assert!(failed(&[]).is_none());
        assert_eq!(message(&["a"]), "a");
        assert_eq!(message(&["a", "b", "a"]), "a; b");
        assert_eq!(message(&["a", "b", "c", "d", "e", "f", "g"]), "a; b; c; d; e; and 2 more");
    }

    #[test]
    fn the_first_failure_decides_the_code() {
        let errors = vec![
            Error::new(ErrorKind::ClusterForbidden, "a"),
            Error::new(ErrorKind::QuotaExceeded, "b").because("x"),
        ];
        let error = joined(errors).unwrap();
        assert_eq!((error.kind(), error.context()), (ErrorKind::ClusterForbidden, &["x".to_owned()][..]));
    }
}
