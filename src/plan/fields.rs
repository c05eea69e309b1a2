//! Fields by their paths, as conflicts, refusals and managed fields name them.

use serde_json::{Map, Value};

use crate::artifacts::{AnnotationKey, LabelKey, Others, is_reserved_annotation, is_reserved_label};
use crate::template::open_part;

/// Takes the field with this path, as a conflict names it, out of a manifest; `false` if there is none.
///
/// Keys may contain dots, so the manifest itself says where one ends.
pub(super) fn remove(manifest: &mut Value, path: &str) -> bool {
    let path = path.trim_start_matches('.');
    match manifest {
        Value::Object(map) => {
            let Some(key) = key_at(map, path) else { return false };
            match &path[key.len()..] {
                "" => map.remove(&key).is_some(),
                rest => map.get_mut(&key).is_some_and(|child| remove(child, rest)),
            }
        }
        Value::Array(items) => {
            let Some((inner, rest)) = selector(path) else { return false };
            let Some(index) = items.iter().position(|item| is_selected(inner, item)) else { return false };
            if rest.is_empty() {
                items.remove(index);
                return true;
            }
            items.get_mut(index).is_some_and(|item| remove(item, rest))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The longest key with which the path begins.
fn key_at(map: &Map<String, Value>, path: &str) -> Option<String> {
    let ends = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
    let fits = |key: &&String| path.strip_prefix(key.as_str()).is_some_and(ends);
    map.keys().filter(fits).max_by_key(|key| key.len()).cloned()
}

/// The inside of the brackets that the path begins with, and what follows them.
fn selector(path: &str) -> Option<(&str, &str)> {
    let inner = path.strip_prefix('[')?;
    let end = outside_quotes(inner).find(|(_, letter)| *letter == ']')?.0;
    Some((&inner[..end], &inner[end + 1..]))
}

/// The characters of a text that lie in no quotes, with their places.
fn outside_quotes(text: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.char_indices().filter(move |(_, letter)| {
        let was_quoted = is_quoted;
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        !was_quoted && *letter != '"'
    })
}

/// Whether brackets mean this item: `name="web"`, `port=80,protocol="TCP"`, `="value"`.
fn is_selected(inner: &str, item: &Value) -> bool {
    let mut rest = inner;
    let mut is_named = false;
    loop {
        let end = outside_quotes(rest).find(|(_, letter)| *letter == ',').map_or(rest.len(), |(end, _)| end);
        let Some((key, value)) = rest[..end].split_once('=') else { return false };
        let Ok(value) = serde_json::from_str::<Value>(value) else { return false };
        match if key.is_empty() { Some(item) } else { item.get(key) } {
            Some(found) if *found == value => is_named = true,
            Some(_) => return false,
            // The cluster's default, which a manifest may leave out.
            None => {}
        }
        if end == rest.len() {
            return is_named;
        }
        rest = &rest[end + 1..];
    }
}

/// Whether a field is a mark of ours, or one by which pods are selected: these are never left to anybody.
pub(super) fn is_protected(path: &str) -> bool {
    let path = path.trim_start_matches('.');
    let path = path.strip_prefix("spec.template.").unwrap_or(path);
    if let Some(key) = path.strip_prefix("metadata.labels.") {
        return LabelKey::new(key).map_or(true, |key| is_reserved_label(&key));
    }
    if let Some(key) = path.strip_prefix("metadata.annotations.") {
        return AnnotationKey::new(key).map_or(true, |key| is_reserved_annotation(&key));
    }
    path.starts_with("spec.selector") || path.starts_with("metadata")
}

/// Parts of an object in which fields lie side by side that have nothing to do with each other.
const BROAD: [&str; 6] =
    ["", "metadata", "spec", "spec.template", "spec.template.metadata", "spec.template.spec"];

/// Whether fields lie side by side, below a path with indices, that have nothing to do with each other.
pub(super) fn is_broad(path: &str) -> bool {
    let is_container = path.ends_with(']') && path.rsplit(['.', '[']).nth(1) == Some("containers");
    BROAD.contains(&path) || is_container
}

/// Finds who holds a field that the API server refuses as invalid, or one beside it that excludes it.
///
/// `path` is the field as the refusal names it: `spec.template.spec.containers[0].env[1].valueFrom`.
pub(super) fn holder(others: &[Others], manifest: &Value, path: &str) -> Option<(String, String)> {
    // Other managers' items move ours to other places of a list: then every item is looked at.
    [Some(manifest), None].into_iter().find_map(|manifest| {
        others.iter().find_map(|other| {
            let field = held_at(&other.fields, manifest, path)?;
            Some((field, other.manager.clone()))
        })
    })
}

fn held_at(fields: &Value, manifest: Option<&Value>, path: &str) -> Option<String> {
    if !below(fields, manifest, path).is_empty() {
        let begin = path.rfind('.').map_or(0, |dot| dot + 1);
        let (above, last) = path.split_at(begin);
        let first = last.chars().next().map(|letter| letter.to_ascii_lowercase());
        return Some(format!(
            "{above}{}{}",
            first.map(String::from).unwrap_or_default(),
            last.get(1..).unwrap_or_default()
        ));
    }
    let (parent, _) = path.rsplit_once('.')?;
    if is_broad(parent) {
        return None;
    }
    let ours = manifest.and_then(|manifest| at(manifest, parent));
    let sides = below(fields, manifest, parent).into_iter().filter_map(Value::as_object).flatten();
    let mut names = sides.filter_map(|(step, _)| step.strip_prefix("f:"));
    let side = names.find(|name| *name != "name" && ours.is_none_or(|ours| ours.get(name).is_none()))?;
    Some(format!("{parent}.{side}"))
}

/// The fields of a manifest that cannot be beside `field`, which somebody else holds: the refused one, or what the
/// manifest has beside it; `None` if that cannot be told. Paths come with indices and go as conflicts name them.
pub(super) fn excluded(manifest: &Value, refused: &str, field: &str) -> Option<Vec<String>> {
    if at(manifest, refused).is_some() {
        return Some(vec![named(manifest, refused)?]);
    }
    let (parent, _) = field.rsplit_once('.')?;
    if BROAD.contains(&parent) {
        return None;
    }
    let ours = at(manifest, parent)?.as_object()?;
    let beside = ours.keys().filter(|key| *key != "name");
    beside.map(|key| named(manifest, &format!("{parent}.{key}"))).collect()
}

/// A path with indices as a path with the names of items.
fn named(manifest: &Value, path: &str) -> Option<String> {
    let (mut manifest, mut rest, mut named) = (manifest, path, String::new());
    while !rest.is_empty() {
        let (part, after) = first_part(rest);
        manifest = match index(part) {
            Some(index) => {
                let item = manifest.get(index)?;
                named.push_str(&format!("[name={}]", item.get("name")?));
                item
            }
            None => {
                named.push_str(&format!(".{}", part.trim_start_matches('.')));
                manifest.get(part)?
            }
        };
        rest = after;
    }
    Some(named.trim_start_matches('.').to_owned())
}

/// The first part of a path with indices, and the rest: `containers`, `[0]`.
pub(super) fn first_part(path: &str) -> (&str, &str) {
    let path = path.trim_start_matches('.');
    let end = match path.strip_prefix('[') {
        Some(inner) => inner.find(']').map_or(path.len(), |end| end + 2),
        None => path.find(['.', '[']).unwrap_or(path.len()),
    };
    path.split_at(end)
}

fn index(part: &str) -> Option<usize> {
    part.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// What a manifest has at a path with indices.
fn at<'m>(manifest: &'m Value, path: &str) -> Option<&'m Value> {
    if path.is_empty() {
        return Some(manifest);
    }
    let (part, rest) = first_part(path);
    let child = match index(part) {
        Some(index) => manifest.get(index),
        None => manifest.get(part),
    };
    at(child?, rest)
}

/// The parts of a set of managed fields at a path with indices; an item that `manifest` does not show may be any.
fn below<'f>(fields: &'f Value, manifest: Option<&Value>, path: &str) -> Vec<&'f Value> {
    if path.is_empty() {
        return vec![fields];
    }
    let (part, rest) = first_part(path);
    let Some(index) = index(part) else {
        // The API server's own validation spells some fields with a capital letter.
        let spelled = |(step, _): &(&String, &Value)| {
            step.strip_prefix("f:").is_some_and(|field| field.eq_ignore_ascii_case(part))
        };
        let child = fields.as_object().and_then(|fields| fields.iter().find(spelled));
        let Some((_, child)) = child else { return Vec::new() };
        return below(child, manifest.and_then(|manifest| manifest.get(part)), rest);
    };
    let item = manifest.and_then(|manifest| manifest.get(index));
    let steps = fields.as_object().into_iter().flatten();
    let items =
        steps.filter(|(step, _)| keys(step).is_some_and(|keys| item.is_none_or(|item| has(item, &keys))));
    items.flat_map(|(_, child)| below(child, item, rest)).collect()
}

/// The keys of an item in managed fields: `k:{"name":"web"}`.
pub(super) fn keys(step: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(step.strip_prefix("k:")?).ok()
}

pub(super) fn has(item: &Value, keys: &Map<String, Value>) -> bool {
    let agrees = |(key, value): (&String, &Value)| item.get(key).is_none_or(|found| found == value);
    keys.iter().all(agrees) && keys.keys().any(|key| item.get(key).is_some())
}

/// The fields that `before` has and `after` has not, and that a set of managed fields holds: they stay as they are.
///
/// The replica count is left out: who decides about it is told by itself.
pub(super) fn given_up(before: &Value, after: &Value, fields: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(before, after, fields, "", &mut found);
    found
}

fn compare(before: &Value, after: &Value, fields: &Value, path: &str, found: &mut Vec<String>) {
    for (step, record) in fields.as_object().into_iter().flatten() {
        let (was, is, path) = if let Some(key) = step.strip_prefix("f:") {
            let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            (before.get(key), after.get(key), path)
        } else if let Some(keys) = keys(step) {
            let item = |list: &'_ Value| {
                list.as_array().and_then(|items| items.iter().position(|item| has(item, &keys)))
            };
            let (was, is) = (item(before), item(after));
            let path = format!("{path}[{}]", shown_keys(&keys));
            (was.and_then(|index| before.get(index)), is.and_then(|index| after.get(index)), path)
        } else {
            continue;
        };
        match (was, is) {
            (Some(_), _) if path == "spec.replicas" => {}
            (Some(was), Some(is)) => compare(was, is, record, &path, found),
            (Some(_), None) => found.push(path),
            (None, _) => {}
        }
    }
}

/// A field as people may see it: the name of a variable up to where a value may begin.
pub(super) fn shown(path: &str) -> String {
    let parts = path.split('"').enumerate();
    let shown = parts.map(|(index, part)| if index % 2 == 1 { open_part(part) } else { part.to_owned() });
    shown.collect::<Vec<_>>().join("\"")
}

/// The fields that a manifest sets, another manager holds, and our own manager does not: somebody has taken them.
///
/// The replica count is left out here, too.
pub(super) fn taken(manifest: &Value, theirs: &Value, ours: &Value) -> Vec<String> {
    let mut found = Vec::new();
    find_taken(manifest, theirs, ours, "", &mut found);
    found
}

fn find_taken(manifest: &Value, theirs: &Value, ours: &Value, path: &str, found: &mut Vec<String>) {
    for (step, below) in theirs.as_object().into_iter().flatten() {
        let (set, path) = if let Some(key) = step.strip_prefix("f:") {
            (manifest.get(key), if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") })
        } else if let Some(keys) = keys(step) {
            let item = manifest.as_array().and_then(|items| items.iter().find(|item| has(item, &keys)));
            (item, format!("{path}[{}]", shown_keys(&keys)))
        } else {
            continue;
        };
        let Some(set) = set.filter(|_| path != "spec.replicas") else { continue };
        let is_leaf = below.as_object().is_none_or(Map::is_empty);
        match ours.get(step) {
            None if is_leaf => found.push(path),
            own => find_taken(set, below, own.unwrap_or(&Value::Null), &path, found),
        }
    }
}

/// The keys of an item, as conflicts show them; a variable's name up to where a value may begin.
pub(super) fn shown_keys(keys: &Map<String, Value>) -> String {
    let shown = keys.iter().map(|(key, value)| match value {
        Value::String(text) => format!("{key}={}", Value::from(open_part(text))),
        other => format!("{key}={other}"),
    });
    shown.collect::<Vec<_>>().join(",")
}

/// Whether another manager's fields may get into the way of this manifest: not those of metadata that it does not set,
/// nor what controllers write into a specification.
pub(super) fn touches(fields: &Value, manifest: &Value) -> bool {
    const CONTROLLERS: [&str; 3] = ["f:replicas", "f:volumeName", "f:nodeName"];
    let tops = fields.as_object().into_iter().flatten();
    tops.into_iter().any(|(top, below)| match top.as_str() {
        "f:metadata" => ["labels", "annotations"].iter().any(|map| {
            let ours = manifest.pointer(&format!("/metadata/{map}")).and_then(Value::as_object);
            let theirs = below.get(format!("f:{map}")).and_then(Value::as_object);
            theirs
                .into_iter()
                .flatten()
                .filter_map(|(step, _)| step.strip_prefix("f:"))
                .any(|key| ours.is_some_and(|ours| ours.contains_key(key)))
        }),
        "f:spec" => below
            .as_object()
            .into_iter()
            .flatten()
            .any(|(step, _)| step != "." && !CONTROLLERS.contains(&step.as_str())),
        "f:status" => false,
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn controller() -> Value {
        json!({
            "metadata": {"labels": {"app.kubernetes.io/instance": "shop", "team": "blog"}},
            "spec": {"replicas": 2, "selector": {"name": "web"}, "strategy": {"type": "Recreate"},
                "template": {"spec": {"containers": [
                    {"name": "web", "image": "web:1", "ports": [{"containerPort": 80}],
                     "env": [{"name": "A", "value": "x"}, {"name": "B, ]", "valueFrom": {}}]},
                ]}}},
        })
    }

    #[test]
    fn the_field_of_a_conflict_is_taken_out_and_nothing_else() {
        let container = ".spec.template.spec.containers[name=\"web\"]";
        for (path, pointer) in [
            (".metadata.labels.team", "/metadata/labels/team"),
            (".metadata.labels.app.kubernetes.io/instance", "/metadata/labels/app.kubernetes.io~1instance"),
            (&format!("{container}.image"), "/spec/template/spec/containers/0/image"),
            (&format!("{container}.env[name=\"A\"].value"), "/spec/template/spec/containers/0/env/0/value"),
            (
                &format!("{container}.env[name=\"B, ]\"].valueFrom"),
                "/spec/template/spec/containers/0/env/1/valueFrom",
            ),
            (
                &format!("{container}.ports[containerPort=80,protocol=\"TCP\"].containerPort"),
                "/spec/template/spec/containers/0/ports/0/containerPort",
            ),
        ] {
            let (mut left, mut wanted) = (controller(), controller());
            assert!(wanted.pointer(pointer).is_some(), "{pointer}");
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            wanted.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(&key.replace("~1", "/"));
            assert!(remove(&mut left, path), "{path}");
            assert_eq!(left, wanted, "{path}");
        }
        for path in
            [".spec.paused", ".spec.template.spec.containers[name=\"db\"].image", ".spec.replicas.x", "[0"]
        {
            let mut left = controller();
            assert!(!remove(&mut left, path), "{path}");
            assert_eq!(left, controller());
        }
    }

    #[test]
    fn marks_and_selectors_are_never_left_to_anybody() {
        for path in [
            ".metadata.labels.app.kubernetes.io/instance",
            ".metadata.labels.name",
            ".spec.template.metadata.labels.panamax.io/revision",
            ".metadata.annotations.panamax.io/operation",
            ".spec.selector",
            ".spec.selector.matchLabels.name",
        ] {
            assert!(is_protected(path), "{path}");
        }
        for path in [".metadata.labels.team", ".spec.type", ".spec.template.metadata.annotations.owner"] {
            assert!(!is_protected(path), "{path}");
        }
    }

    #[test]
    fn who_holds_what_excludes_a_field_is_found_by_the_field_or_beside_it() {
        let others = |fields: Value| vec![Others { manager: "kubectl-edit".to_owned(), fields }];
        let of_env = |name: &str, field: &str| {
            let item = format!("k:{{\"name\":\"{name}\"}}");
            others(json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {
                "f:env": {item: {".": {}, "f:name": {}, field: {}}}}}}}}}))
        };
        let env = |index: usize| format!("spec.template.spec.containers[0].env[{index}]");
        let found =
            |others: &[Others], path: &str| holder(others, &controller(), path).map(|(field, _)| field);
        let value = of_env("B, ]", "f:value");
        assert_eq!(found(&value, &format!("{}.valueFrom", env(1))), Some(format!("{}.value", env(1))));
        let from = of_env("A", "f:valueFrom");
        assert_eq!(found(&from, &format!("{}.valueFrom", env(0))), Some(format!("{}.valueFrom", env(0))));
        let rolling = others(json!({"f:spec": {"f:strategy": {"f:rollingUpdate": {"f:maxSurge": {}}}}}));
        let refused = "spec.strategy.rollingUpdate";
        assert_eq!(found(&rolling, refused), Some(refused.to_owned()));
        let ranges = others(json!({"f:spec": {"f:loadBalancerSourceRanges": {}}}));
        assert_eq!(
            found(&ranges, "spec.loadBalancerSourceRanges").as_deref(),
            Some("spec.loadBalancerSourceRanges")
        );
        // What lies side by side by chance excludes nothing.
        assert_eq!(found(&ranges, "spec.ports"), None);
        assert_eq!(found(&of_env("A", "f:value"), "spec.template.spec.containers[0].image"), None);
    }

    #[test]
    fn a_field_that_is_given_up_while_somebody_holds_it_is_found() {
        let fields = json!({
            "f:metadata": {"f:labels": {"f:team": {}, "f:other": {}}},
            "f:spec": {"f:replicas": {}, "f:strategy": {"f:type": {}}, "f:template": {"f:spec": {"f:containers": {
                "k:{\"name\":\"web\"}": {"f:env": {"k:{\"name\":\"A\"}": {".": {}, "f:value": {}}}}}}}},
        });
        let mut after = controller();
        for path in [
            ".metadata.labels.team",
            ".spec.replicas",
            ".spec.template.spec.containers[name=\"web\"].env[name=\"A\"]",
        ] {
            assert!(remove(&mut after, path));
        }
        let expected =
            ["metadata.labels.team", "spec.template.spec.containers[name=\"web\"].env[name=\"A\"]"];
        assert_eq!(given_up(&controller(), &after, &fields), expected);
        assert_eq!(given_up(&controller(), &controller(), &fields), [""; 0]);
        // What both hold is nobody's alone, and what only the other holds was taken.
        let ours =
            json!({"f:metadata": {"f:labels": {"f:team": {}}}, "f:spec": {"f:strategy": {"f:type": {}}}});
        let value = "spec.template.spec.containers[name=\"web\"].env[name=\"A\"].value";
        assert_eq!(taken(&controller(), &fields, &ours), [value]);
    }
}
