//! Selects objects by their labels and their name.
use super::failure::Failure;
use serde_json::Value;

/// What `labelSelector` and `fieldSelector` ask for.
#[derive(Default)]
pub struct Selection {
    /// Labels and the values that each may have.
    labels: Vec<(String, Vec<String>)>,
    name: Option<String>,
}

impl Selection {
    /// Reads both selectors.
    ///
    /// Fails on labels by anything but `=`, `==` and `in`, and on fields other than `metadata.name`.
    pub fn parse(labels: &str, fields: &str) -> Result<Self, Failure> {
        let labels = split(labels).into_iter().map(requirement).collect::<Option<Vec<_>>>();
        let labels = labels.ok_or_else(|| Failure::bad_request("unable to parse requirement"))?;
        let name = fields.strip_prefix("metadata.name=").map(|name| name.trim_start_matches('=').to_owned());
        if name.is_none() && !fields.is_empty() {
            return Err(Failure::bad_request("not a known field selector"));
        }
        Ok(Self { labels, name })
    }

    pub fn matches(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        self.name.as_ref().is_none_or(|name| metadata["name"] == *name)
            && self
                .labels
                .iter()
                .all(|(label, values)| values.iter().any(|value| metadata["labels"][label] == *value))
    }
}

/// Splits at commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    let parts = text.split(|letter| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        letter == ',' && depth == 0
    });
    if text.is_empty() { Vec::new() } else { parts.collect() }
}

fn requirement(text: &str) -> Option<(String, Vec<String>)> {
    if let Some((name, values)) = text.split_once(" in ") {
        let values = values.trim().strip_prefix('(')?.strip_suffix(')')?;
        return Some((
            name.trim().to_owned(),
            values.split(',').map(|value| value.trim().to_owned()).collect(),
        ));
    }
    let (name, value) = text.split_once('=')?;
    let is_plain = !name.is_empty() && !name.ends_with('!');
    is_plain.then(|| (name.to_owned(), vec![value.trim_start_matches('=').to_owned()]))
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
        for (labels, fields) in
            [("app in", ""), ("app=web,", ""), ("app!=web", ""), ("app", ""), ("", "data=x")]
        {
            assert!(Selection::parse(labels, fields).is_err(), "{labels} {fields}");
        }
    }
}
