//! Selects objects by their labels and names.
use super::failure::Failure;
use serde_json::Value;

/// What `labelSelector` and `fieldSelector` ask for.
#[derive(Clone, Default)]
pub struct Selection {
    labels: Vec<Requirement>,
    fields: Vec<(String, String, bool)>,
}

#[derive(Clone)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

impl Selection {
    /// Reads both selectors.
    ///
    /// Fails on a selector that it cannot read, and on fields other than a name, a namespace or an involved object.
    pub fn parse(labels: &str, fields: &str) -> Result<Self, Failure> {
        let labels = split(labels).into_iter().map(requirement).collect::<Option<Vec<_>>>();
        let labels = labels.ok_or_else(|| Failure::bad_request("unable to parse requirement"))?;
        let fields = split(fields).into_iter().map(field).collect::<Option<Vec<_>>>();
        let fields = fields.ok_or_else(|| Failure::bad_request("not a known field selector"))?;
        Ok(Self { labels, fields })
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub fn matches(&self, object: &Value) -> bool {
        let label = |name: &String| object["metadata"]["labels"][name.as_str()].as_str();
        let labels = self.labels.iter().all(|requirement| match requirement {
            Requirement::In(name, values) => {
                label(name).is_some_and(|value| values.iter().any(|one| one == value))
            }
            Requirement::NotIn(name, values) => {
                !label(name).is_some_and(|value| values.iter().any(|one| one == value))
            }
            Requirement::Exists(name) => label(name).is_some(),
            Requirement::Absent(name) => label(name).is_none(),
        });
        let text = |pointer: &String| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        labels && self.fields.iter().all(|(pointer, value, equal)| (text(pointer) == value) == *equal)
    }
}

/// Whether an object carries all of these labels; no labels select nothing.
pub fn carries(object: &Value, labels: &Value) -> bool {
    let own = &object["metadata"]["labels"];
    labels
        .as_object()
        .is_some_and(|map| !map.is_empty() && map.iter().all(|(name, value)| own[name.as_str()] == *value))
}

/// Splits at commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    let parts = text.split(|letter| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        letter == ',' && depth == 0
    });
    if text.is_empty() { Vec::new() } else { parts.map(str::trim).collect() }
}

fn requirement(text: &str) -> Option<Requirement> {
    let owned = |text: &str| text.trim().to_owned();
    if let Some((name, value)) = text.split_once("!=") {
        return Some(Requirement::NotIn(owned(name), vec![owned(value)]));
    }
    if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Some(Requirement::In(owned(name), vec![owned(value)]));
    }
    if let Some(name) = text.strip_prefix('!') {
        return Some(Requirement::Absent(owned(name)));
    }
    if text.is_empty() {
        return None;
    }
    let Some((name, rest)) = text.split_once(char::is_whitespace) else {
        return Some(Requirement::Exists(owned(text)));
    };
    let (operator, values) = rest.trim().split_once('(')?;
    let values = values.strip_suffix(')')?.split(',').map(owned).collect();
    match operator.trim() {
        "in" => Some(Requirement::In(owned(name), values)),
        "notin" => Some(Requirement::NotIn(owned(name), values)),
        _ => None,
    }
}

fn field(text: &str) -> Option<(String, String, bool)> {
    let (name, value, equal) = match text.split_once("!=") {
        Some((name, value)) => (name, value, false),
        None => {
            text.split_once("==").or_else(|| text.split_once('=')).map(|(name, value)| (name, value, true))?
        }
    };
    let known = matches!(
        name,
        "metadata.name" | "metadata.namespace" | "status.phase" | "spec.nodeName" | "type" | "reason"
    );
    if !known && !name.starts_with("involvedObject.") {
        return None;
    }
    Some((format!("/{}", name.replace('.', "/")), value.to_owned(), equal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_read_as_kubectl_writes_them() {
        let object = json!({ "metadata": { "name": "a", "labels": { "app": "web", "tier": "front" } } });
        for (labels, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app!=web", false),
            ("app in (web, db),tier", true),
            ("app notin (web)", false),
            ("!gone", true),
            ("gone", false),
        ] {
            let selection = Selection::parse(labels, "metadata.name=a").expect(labels);
            assert_eq!(selection.matches(&object), expected, "{labels}");
        }
        assert!(Selection::parse("app in", "").is_err());
        assert!(Selection::parse("app,", "").is_err());
        assert!(Selection::parse("", "data=x").is_err());
    }
}
