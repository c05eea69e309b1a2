//! Selects objects by their labels and their name.
use super::failure::Failure;
use super::labels::{self, Requirement};
use serde_json::Value;

/// What `labelSelector` and `fieldSelector` ask for.
#[derive(Default)]
pub struct Selection {
    labels: Vec<Requirement>,
    name: Option<String>,
}

impl Selection {
    /// Reads both selectors.
    ///
    /// Fails on fields other than `metadata.name`.
    pub fn parse(labels: &str, fields: &str) -> Result<Self, Failure> {
        let labels =
            labels::parse(labels).ok_or_else(|| Failure::bad_request("unable to parse requirement"))?;
        let name = fields.strip_prefix("metadata.name=").map(|name| name.trim_start_matches('=').to_owned());
        if name.is_none() && !fields.is_empty() {
            return Err(Failure::bad_request("not a known field selector"));
        }
        Ok(Self { labels, name })
    }

    pub fn matches(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        self.name.as_ref().is_none_or(|name| metadata["name"] == *name)
            && self.labels.iter().all(|label| label.matches(&metadata["labels"]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_and_the_name_select() {
        let object = json!({ "metadata": { "name": "a", "labels": { "app": "web", "tier": "front" } } });
        for (labels, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app=db", false),
            ("app in (web, db),tier=front", true),
            ("app in (db)", false),
            ("gone=", false),
        ] {
            let selection = Selection::parse(labels, "metadata.name=a").expect(labels);
            assert_eq!(selection.matches(&object), expected, "{labels}");
        }
        for (labels, fields) in [("app in", ""), ("app=web,", ""), ("", "data=x")] {
            assert!(Selection::parse(labels, fields).is_err(), "{labels} {fields}");
        }
    }
}
