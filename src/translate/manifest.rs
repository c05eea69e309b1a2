//! Objects as YAML text that kubectl reads back unchanged.

use serde_json::Value;

use crate::artifacts::{Artifact, Artifacts};

/// A JSON object of values that are moved into it; `json!` would copy each of them with all that it holds.
pub(super) fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// All objects in the order of applying, each behind a `---` line of its own except the first.
///
/// Every text that YAML 1.1 or 1.2 could take for something else is quoted, so `kubectl apply -f -` sees the
/// values of the template.
pub fn manifest_yaml(artifacts: &Artifacts) -> String {
    let documents: Vec<String> = artifacts.one_by_one().map(|artifact| document(&artifact)).collect();
    documents.join("---\n")
}

/// One object as YAML text.
pub fn document(artifact: &Artifact) -> String {
    // Folded and literal blocks are left to readers that people use; kubectl's differs on trailing blanks.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    match serde_saphyr::to_string_with_options(&artifact.manifest, options) {
        Ok(yaml) => yaml,
        // JSON is YAML; a value that serialises to neither cannot be built.
        Err(_) => format!("{}\n", artifact.manifest),
    }
}
