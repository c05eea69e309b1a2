//! Which fields of an object change, with every value of the environment masked.

use serde_json::Value;

use crate::artifacts::FieldChange;
use crate::template::open_part;

/// What stands in the place of a value that nobody may see.
const MASK: &str = "***";
/// Fields listed for one object; more would not help a reader.
const LIMIT: usize = 50;

/// Lists the fields in which two manifests differ, in the order of their paths.
pub(super) fn fields(before: &Value, after: &Value) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    compare(before, after, String::new(), &mut changes);
    changes.truncate(LIMIT);
    changes
}

fn compare(before: &Value, after: &Value, path: String, changes: &mut Vec<FieldChange>) {
    match (before, after) {
        (Value::Object(left), Value::Object(right)) => {
            let mut keys: Vec<&String> = left.keys().chain(right.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let (left, right) =
                    (left.get(key).unwrap_or(&Value::Null), right.get(key).unwrap_or(&Value::Null));
                compare(left, right, path, changes);
            }
        }
        (Value::Array(left), Value::Array(right)) => {
            for index in 0..left.len().max(right.len()) {
                let (left, right) =
                    (left.get(index).unwrap_or(&Value::Null), right.get(index).unwrap_or(&Value::Null));
                compare(left, right, format!("{path}[{index}]"), changes);
            }
        }
        _ if before != after => {
            changes.push(FieldChange { before: shown(before, &path), after: shown(after, &path), path });
        }
        _ => {}
    }
}

/// A value as JSON, masked where it may hold a secret; `None` for an absent one.
fn shown(value: &Value, path: &str) -> Option<String> {
    if value.is_null() {
        return None;
    }
    // Whole entries that come or go hold a value too; arguments often hold passwords.
    let secret = path.contains(".env[") && !path.ends_with("].name")
        || path.contains(".args")
        || path.starts_with("data")
        || path.starts_with("stringData")
        || path.ends_with(".env")
        || path.ends_with("containers")
        || path.ends_with("]") && path.contains("containers[");
    let container_field = secret || (value.is_object() && path.contains("template"));
    Some(match value {
        _ if container_field => MASK.to_owned(),
        Value::String(name) if path.contains(".env[") => Value::from(open_part(name)).to_string(),
        _ => value.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_paths_and_masks_values() {
        let before = json!({"spec": {"replicas": 1, "containers": [{"image": "a:1", "env": [{"name": "P", "value": "old-secret"}]}]}});
        let after = json!({"spec": {"replicas": 2, "containers": [{"image": "a:2", "env": [{"name": "P", "value": "new-secret"}, {"name": "Q", "value": "third-secret"}]}]}});
        let changes = fields(&before, &after);
        let text = format!("{changes:?}");
        assert!(!text.contains("secret"), "{text}");
        let paths: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "spec.containers[0].env[0].value",
                "spec.containers[0].env[1]",
                "spec.containers[0].image",
                "spec.replicas"
            ]
        );
        assert_eq!(changes[3].before.as_deref(), Some("1"));
        assert_eq!(changes[2].after.as_deref(), Some("\"a:2\""));
    }

    #[test]
    fn a_variables_name_is_shown_up_to_where_a_value_may_begin() {
        let named = |name: &str| json!({"spec": {"containers": [{"env": [{"name": name}]}]}});
        let changes = fields(&named("A"), &named("P:secret"));
        assert_eq!(changes[0].after.as_deref(), Some("\"P…\""));
        assert_eq!(changes[0].before.as_deref(), Some("\"A\""));
    }

    #[test]
    fn equal_manifests_have_no_changes() {
        assert_eq!(fields(&json!({"a": [1, {"b": 2}]}), &json!({"a": [1, {"b": 2}]})), []);
    }
}
