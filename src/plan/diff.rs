//! Which fields of an object change, with every value of the environment masked.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::artifacts::FieldChange;
use crate::template::open_part;

/// Replaces a value that nobody may see.
const MASK: &str = "***";
/// Fields listed for one object.
const LIMIT: usize = 100;

/// Fields of a container that never hold a value of the environment; all others are masked.
const OPEN: [&str; 7] =
    ["image", "imagePullPolicy", "name", "ports", "resources", "securityContext", "volumeMounts"];

/// One part of the path to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'a> {
    Key(&'a str),
    Index(usize),
}

/// Lists the fields in which two manifests differ, in the order of their paths.
pub(super) fn fields(before: &Value, after: &Value) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    compare(before, after, &mut Vec::new(), &mut changes);
    changes
}

/// The changes that are listed, and how many are not: where there are too many, those that show no value give way first.
pub(super) fn listed(mut changes: Vec<FieldChange>) -> (Vec<FieldChange>, usize) {
    let is_masked = |change: &FieldChange| {
        [&change.before, &change.after].into_iter().flatten().all(|value| value == MASK)
    };
    let more = changes.len().saturating_sub(LIMIT);
    for only_masked in [true, false] {
        let mut surplus = changes.len().saturating_sub(LIMIT);
        let mut index = changes.len();
        while surplus > 0 && index > 0 {
            index -= 1;
            if !only_masked || changes.get(index).is_some_and(is_masked) {
                changes.remove(index);
                surplus -= 1;
            }
        }
    }
    (changes, more)
}

fn compare<'a>(
    before: &'a Value,
    after: &'a Value,
    path: &mut Vec<Part<'a>>,
    changes: &mut Vec<FieldChange>,
) {
    let mut within = |part, left: Option<&'a Value>, right: Option<&'a Value>| {
        path.push(part);
        compare(left.unwrap_or(&Value::Null), right.unwrap_or(&Value::Null), path, changes);
        path.pop();
    };
    match (before, after) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for key in keys {
                within(Part::Key(key), left.get(key), right.get(key));
            }
        }
        (Value::Array(left), Value::Array(right)) => {
            for index in 0..left.len().max(right.len()) {
                within(Part::Index(index), left.get(index), right.get(index));
            }
        }
        _ if before != after => changes.push(FieldChange {
            path: written(path),
            before: shown(before, path),
            after: shown(after, path),
        }),
        _ => {}
    }
}

/// The path as readers write it: `spec.containers[0].image`.
fn written(path: &[Part<'_>]) -> String {
    let mut text = String::new();
    for part in path {
        match part {
            Part::Key(key) if text.is_empty() => text.push_str(key),
            Part::Key(key) => text.push_str(&format!(".{key}")),
            Part::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// A value as JSON, masked where it may hold a secret; `None` for an absent one.
fn shown(value: &Value, path: &[Part<'_>]) -> Option<String> {
    if value.is_null() {
        return None;
    }
    Some(match value {
        Value::String(name) if is_variable_name(path) => Value::from(open_part(name)).to_string(),
        _ if is_masked(path) => MASK.to_owned(),
        _ => value.to_string(),
    })
}

/// The path from a pod's list of containers on, if it leads there.
fn in_containers<'a, 'p>(path: &'a [Part<'p>]) -> Option<&'a [Part<'p>]> {
    let above = above_containers(path);
    match path.get(above..) {
        Some([Part::Key("containers"), rest @ ..]) => Some(rest),
        _ => None,
    }
}

/// How many parts of the path lead to a pod's specification: that of a Pod, or of a controller's template.
fn above_containers(path: &[Part<'_>]) -> usize {
    let template = [Part::Key("spec"), Part::Key("template"), Part::Key("spec")];
    if path.starts_with(&template) { template.len() } else { usize::from(path.first() == Some(&template[0])) }
}

fn is_variable_name(path: &[Part<'_>]) -> bool {
    let name = in_containers(path);
    matches!(name, Some([Part::Index(_), Part::Key("env"), Part::Index(_), Part::Key("name")]))
}

/// Whether what is there is, holds or may hold a value of the environment, an argument, or data of a Secret.
fn is_masked(path: &[Part<'_>]) -> bool {
    match path {
        [Part::Key("data" | "stringData"), ..] => true,
        // Whole objects around the containers hold them.
        [] | [Part::Key("spec")] | [Part::Key("spec"), Part::Key("template")] => true,
        [Part::Key("spec"), Part::Key("template"), Part::Key("spec")] => true,
        _ => match in_containers(path) {
            None => false,
            Some([Part::Index(_), Part::Key(field), ..]) => !OPEN.contains(field),
            Some(_) => true,
        },
    }
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
    fn what_is_masked_is_decided_by_where_it_is_and_not_by_what_it_is_called() {
        let masked = |before: &Value, after: &Value| -> Vec<(String, bool)> {
            let is_masked = |change: &FieldChange| change.after.as_deref() == Some(MASK);
            fields(before, after)
                .into_iter()
                .map(|change| (change.path.clone(), is_masked(&change)))
                .collect()
        };
        let only = |path: &str, is_masked: bool| vec![(path.to_owned(), is_masked)];
        let pod = |container: Value| json!({"spec": {"containers": [container]}});
        let controller = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
        let none = json!({"spec": {"template": {}}});
        let container = json!({"name": "a", "env": [{"name": "P", "value": "secret"}]});

        // Whole objects around a container hold what is in it.
        let spec = json!({"containers": [container]});
        assert_eq!(masked(&none, &controller(spec.clone())), only("spec.template.spec", true));
        assert_eq!(masked(&json!({}), &json!({"spec": spec})), only("spec", true));
        assert_eq!(masked(&json!({"spec": {}}), &pod(container)), only("spec.containers", true));
        // Arguments, the command, and whatever is not known to be harmless.
        for (field, path) in [("args", "args"), ("command", "command"), ("livenessProbe", "livenessProbe")] {
            let path = format!("spec.containers[0].{path}");
            assert_eq!(masked(&pod(json!({})), &pod(json!({field: ["secret"]}))), only(&path, true));
        }
        let by_reference = json!({"env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "x"}}}]});
        let value = pod(json!({"env": [{"name": "P"}]}));
        assert_eq!(masked(&value, &pod(by_reference)), only("spec.containers[0].env[0].valueFrom", true));
        assert_eq!(masked(&json!({"data": {"a": "x"}}), &json!({"data": {"a": "y"}})), only("data.a", true));

        // Names alone mask nothing: neither `template` nor `data` nor `args` elsewhere.
        let mount = pod(json!({"volumeMounts": [{"name": "data", "mountPath": "/args"}]}));
        let mounts = "spec.containers[0].volumeMounts";
        assert_eq!(masked(&pod(json!({})), &mount), only(mounts, false));
        let volumes = controller(json!({"volumes": [{"name": "data", "emptyDir": {}}]}));
        assert_eq!(masked(&controller(json!({})), &volumes), only("spec.template.spec.volumes", false));
        let labelled = json!({"metadata": {"labels": {"template": {}}}});
        assert_eq!(
            masked(&json!({"metadata": {"labels": {}}}), &labelled),
            only("metadata.labels.template", false)
        );
    }

    #[test]
    fn what_shows_no_value_gives_way_first_and_what_is_not_listed_is_counted() {
        let container = |tag: u32, value: &str, count: usize| {
            let env: Vec<Value> = (0..count).map(|index| json!({"name": index, "value": value})).collect();
            json!({"spec": {"containers": [{"env": env, "image": format!("n:{tag}")}]}})
        };
        for (count, listed_of) in [(60, 61), (LIMIT - 1, LIMIT), (LIMIT, LIMIT), (LIMIT + 60, LIMIT)] {
            let all = fields(&container(1, "a", count), &container(2, "b", count));
            assert_eq!(all.len(), count + 1);
            let (some, more) = listed(all);
            assert_eq!((some.len(), more), (listed_of, count + 1 - listed_of));
            assert_eq!(some.last().unwrap().path, "spec.containers[0].image");
            assert_eq!(some[0].path, "spec.containers[0].env[0].value");
        }
        let labels = |value: u32| {
            let labels: serde_json::Map<_, _> =
                (0..300).map(|key| (format!("k{key}"), value.into())).collect();
            json!({ "metadata": { "labels": labels } })
        };
        let (some, more) = listed(fields(&labels(1), &labels(2)));
        assert_eq!((some.len(), more), (LIMIT, 300 - LIMIT));
    }

    #[test]
    fn equal_manifests_have_no_changes() {
        assert_eq!(fields(&json!({"a": [1, {"b": 2}]}), &json!({"a": [1, {"b": 2}]})), []);
    }
}
