//! Knows which fields an object has and how two objects differ, as server-side apply sees it.
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// One step is `f:name`, `k:{"name":"x"}` or `v:"x"`, as `managedFields` writes them.
pub type Path = Vec<String>;

/// A set of fields; a path is a member on its own, whatever lies below it.
pub type Fields = BTreeSet<Path>;

/// The schema, as far as the served kinds need it: the lists whose items merge one by one, by the field that holds
/// the list, its name and the keys of an item; without keys it is a set. Every other list is one value.
const KEYED_LISTS: [(&str, &str, &[&str]); 9] = [
    ("metadata", "finalizers", &[]),
    ("metadata", "ownerReferences", &["uid"]),
    ("spec", "ports", &["port", "protocol"]),
    ("spec", "containers", &["name"]),
    ("spec", "volumes", &["name"]),
    ("spec", "imagePullSecrets", &["name"]),
    ("containers", "ports", &["containerPort", "protocol"]),
    ("containers", "env", &["name"]),
    ("containers", "volumeMounts", &["mountPath"]),
];

/// Maps that are one value, and lists whose items are.
const WHOLE_MAPS: [&str; 5] =
    ["f:selector", "f:nodeSelector", "f:secretKeyRef", "f:configMapKeyRef", "f:fieldRef"];
const WHOLE_ITEMS: [&str; 2] = ["f:imagePullSecrets", "f:ownerReferences"];

/// Every level of an object with its value, parents first; what merges stands there empty.
pub fn levels(object: &Value) -> Vec<(Path, Value)> {
    fn walk(path: &mut Path, value: &Value, levels: &mut Vec<(Path, Value)>) {
        let Some(children) = children(path, value) else {
            return levels.push((path.clone(), value.clone()));
        };
        levels.push((path.clone(), if value.is_array() { json!([]) } else { json!({}) }));
        for (step, child) in children {
            path.push(step);
            walk(path, child, levels);
            path.pop();
        }
    }
    let mut levels = Vec::new();
    walk(&mut Vec::new(), object, &mut levels);
    levels
}

/// The fields that a configuration names: its values, its empty maps, the items of its lists.
pub fn named(config: &Value) -> Fields {
    let levels = levels(config);
    let parents: Fields = levels.iter().filter_map(|(path, _)| Some(path.split_last()?.1.to_vec())).collect();
    let is_named = |path: &Path, value: &Value| {
        let is_item = path.last().is_some_and(|step| !step.starts_with("f:"));
        is_item || (!parents.contains(path) && *value != json!([]))
    };
    levels.into_iter().filter(|(path, value)| is_named(path, value)).map(|(path, _)| path).collect()
}

/// What came or changed from one object to the other, and what went; every level is named.
pub fn compare(before: &Value, after: &Value) -> (Fields, Fields) {
    let [before, after] = [before, after].map(|side| levels(side).into_iter().collect::<BTreeMap<_, _>>());
    let changed = after.iter().filter(|(path, value)| before.get(*path) != Some(value)).map(|(path, _)| path);
    let removed = before.keys().filter(|path| !after.contains_key(*path));
    (changed.cloned().collect(), removed.cloned().collect())
}

/// Reads `fieldsV1`.
pub fn read(fields: &Value) -> Fields {
    fn walk(path: &mut Path, node: &Value, fields: &mut Fields) {
        let mut children = node.as_object().into_iter().flatten().filter(|(step, _)| *step != ".").peekable();
        if !path.is_empty() && (children.peek().is_none() || node.get(".").is_some()) {
            fields.insert(path.clone());
        }
        for (step, child) in children {
            path.push(step.clone());
            walk(path, child, fields);
            path.pop();
        }
    }
    let mut read = Fields::new();
    walk(&mut Vec::new(), fields, &mut read);
    read
}

/// Writes `fieldsV1`.
pub fn write(fields: &Fields) -> Value {
    let mut root = json!({});
    for path in fields {
        let mut node = &mut root;
        for (depth, step) in path.iter().enumerate() {
            // Sorted, a parent comes before its children: an empty node that gets a child is a member itself.
            if depth > 0 && node.as_object().is_some_and(Map::is_empty) {
                node["."] = json!({});
            }
            node = &mut node[step.as_str()];
        }
        *node = json!({});
    }
    root
}

/// The set with every field that holds a member.
pub fn with_parents(fields: &Fields) -> Fields {
    fields.iter().flat_map(|path| (1..=path.len()).map(|end| path[..end].to_vec())).collect()
}

/// Takes out what the server itself keeps: nobody owns that.
pub fn without_server_fields(mut fields: Fields) -> Fields {
    const SERVERS: &str = "name namespace uid resourceVersion creationTimestamp generation deletionTimestamp";
    let is_servers = |step: &str| SERVERS.split(' ').any(|name| step.strip_prefix("f:") == Some(name));
    fields.retain(|path| match path.as_slice() {
        [] => false,
        [top] => !matches!(top.as_str(), "f:apiVersion" | "f:kind" | "f:metadata"),
        [top, second, ..] => top != "f:metadata" || !is_servers(second),
    });
    fields
}

/// A path as conflicts show it: `.spec.containers[name="x"].image`.
pub fn shown(path: &Path) -> String {
    let step = |step: &String| match step.split_at_checked(2) {
        Some(("f:", name)) => format!(".{name}"),
        Some(("k:", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<_> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        _ => format!("[={}]", step.trim_start_matches("v:")),
    };
    path.iter().map(step).collect()
}

/// A configuration laid over the live object: values replace, maps and keyed lists merge.
pub fn merge(path: &mut Path, live: &Value, config: &Value) -> Value {
    let (Some(ours), Some(theirs)) = (children(path, config), children(path, live)) else {
        return config.clone();
    };
    let own: BTreeSet<_> = ours.iter().map(|(step, _)| step.clone()).collect();
    let found: BTreeMap<_, _> = theirs.iter().map(|(step, child)| (step.clone(), *child)).collect();
    let mut waiting = theirs.into_iter().peekable();
    let mut merged = Vec::new();
    // The order is the configuration's; items that only the live list has stand as early as they can.
    for (index, (step, value)) in ours.iter().enumerate() {
        let next = ours[index..].iter().map(|(step, _)| step).find(|step| found.contains_key(*step));
        while let Some((step, child)) = waiting.next_if(|(step, _)| Some(step) != next) {
            if !own.contains(&step) {
                merged.push((step, child.clone()));
            }
        }
        path.push(step.clone());
        let value = found.get(step).map_or_else(|| (*value).clone(), |live| merge(path, live, value));
        path.pop();
        merged.push((step.clone(), value));
    }
    merged.extend(waiting.filter(|(step, _)| !own.contains(step)).map(|(step, child)| (step, child.clone())));
    build(live, merged)
}

/// The object without these fields and what lies below them.
pub fn without(path: &mut Path, value: &Value, removals: &Fields) -> Value {
    let Some(children) = children(path, value) else {
        return value.clone();
    };
    let mut kept = Vec::new();
    for (step, child) in children {
        path.push(step.clone());
        if !removals.contains(path) {
            kept.push((step, without(path, child, removals)));
        }
        path.pop();
    }
    build(value, kept)
}

/// The members of a map or of a list that merges; None for one value.
fn children<'a>(path: &Path, value: &'a Value) -> Option<Vec<(String, &'a Value)>> {
    let mut steps = path.iter().rev().map(String::as_str);
    let (last, parent) = (steps.next().unwrap_or_default(), steps.next().unwrap_or_default());
    match value {
        Value::Object(_) if WHOLE_MAPS.contains(&last) => None,
        Value::Object(_) if last.starts_with("k:") && WHOLE_ITEMS.contains(&parent) => None,
        Value::Object(map) => Some(map.iter().map(|(name, value)| (format!("f:{name}"), value)).collect()),
        Value::Array(items) => {
            // Between a list and the field that holds it may stand the step of an item.
            let holder =
                path.iter().rev().skip(1).find_map(|step| step.strip_prefix("f:")).unwrap_or_default();
            let is_it = |(held_by, list, _): &&(&str, &str, _)| {
                *held_by == holder && last.strip_prefix("f:") == Some(*list)
            };
            let (_, _, keys) = KEYED_LISTS.iter().find(is_it)?;
            Some(items.iter().map(|item| (item_step(keys, item), item)).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn item_step(keys: &[&str], item: &Value) -> String {
    if keys.is_empty() {
        return format!("v:{item}");
    }
    let mut step = Map::new();
    for key in keys {
        let default = if *key == "protocol" { json!("TCP") } else { Value::Null };
        let value = item.get(*key).cloned().unwrap_or(default);
        if !value.is_null() {
            step.insert((*key).to_owned(), value);
        }
    }
    format!("k:{}", Value::Object(step))
}

/// A map or list like the given one, of these members.
fn build(like: &Value, members: Vec<(String, Value)>) -> Value {
    if like.is_array() {
        return members.into_iter().map(|(_, value)| value).collect();
    }
    members.into_iter().map(|(step, value)| (step.replacen("f:", "", 1), value)).collect()
}
