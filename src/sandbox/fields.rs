//! Knows which fields an object has and how two objects differ, as server-side apply sees it.
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// One step is `f:name`, `k:{"name":"x"}` or `v:"x"`, as `managedFields` writes them.
pub type Path = Vec<String>;

/// A set of fields; a path is a member on its own, whatever lies below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(pub BTreeSet<Path>);

/// What changed between two objects.
#[derive(Default)]
pub struct Difference {
    pub added: FieldSet,
    pub modified: FieldSet,
    pub removed: FieldSet,
}

impl FieldSet {
    /// The fields that a configuration names.
    pub fn of(value: &Value) -> Self {
        let mut set = Self::default();
        collect(&mut Vec::new(), value, &mut set);
        set
    }

    /// Reads `fieldsV1`.
    pub fn read(fields: &Value) -> Self {
        fn walk(path: &mut Path, node: &Value, set: &mut BTreeSet<Path>) {
            let children = node.as_object().into_iter().flatten().filter(|(step, _)| *step != ".");
            let mut leaf = true;
            for (step, child) in children {
                leaf = false;
                path.push(step.clone());
                walk(path, child, set);
                path.pop();
            }
            if (leaf || node.get(".").is_some()) && !path.is_empty() {
                set.insert(path.clone());
            }
        }
        let mut set = BTreeSet::new();
        walk(&mut Vec::new(), fields, &mut set);
        Self(set)
    }

    /// Writes `fieldsV1`.
    pub fn write(&self) -> Value {
        let mut root = json!({});
        for path in &self.0 {
            let mut node = &mut root;
            for (depth, step) in path.iter().enumerate() {
                // Sorted, a parent comes before its children: an empty node that gets a child is a member itself.
                if depth > 0 && node.as_object().is_some_and(Map::is_empty) {
                    node["."] = json!({});
                }
                node = &mut node[step.as_str()];
            }
            if node.is_null() {
                *node = json!({});
            }
        }
        root
    }

    pub fn contains(&self, path: &Path) -> bool {
        self.0.contains(path)
    }

    pub fn minus(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).cloned().collect())
    }

    pub fn plus(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).cloned().collect())
    }

    pub fn common(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// The set with every field that holds a member.
    pub fn with_parents(&self) -> Self {
        Self(self.0.iter().flat_map(|path| (1..=path.len()).map(|end| path[..end].to_vec())).collect())
    }

    /// The set without what the server itself keeps, so nobody owns it.
    pub fn without_server_fields(mut self) -> Self {
        const OWN: [&str; 8] = [
            "f:name",
            "f:namespace",
            "f:uid",
            "f:resourceVersion",
            "f:creationTimestamp",
            "f:generation",
            "f:managedFields",
            "f:deletionTimestamp",
        ];
        self.0.retain(|path| match path.as_slice() {
            [top] => !matches!(top.as_str(), "f:apiVersion" | "f:kind" | "f:metadata"),
            [top, second, ..] => top != "f:metadata" || !OWN.contains(&second.as_str()),
            [] => false,
        });
        self
    }
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
        Some((_, value)) => format!("[={value}]"),
        None => String::new(),
    };
    path.iter().map(step).collect()
}

/// The schema, as far as the served kinds need it: keys of a list whose items are merged one by one, by the names
/// of the list and of the field that holds it. No keys: a set. None: the list is one value.
fn list_keys(path: &Path) -> Option<&'static [&'static str]> {
    let mut names = path.iter().rev().filter_map(|step| step.strip_prefix("f:"));
    let (name, parent) = (names.next()?, names.next().unwrap_or_default());
    match (parent, name) {
        ("metadata", "finalizers") => Some(&[]),
        ("metadata", "ownerReferences") => Some(&["uid"]),
        ("status", "conditions") => Some(&["type"]),
        ("status", "podIPs" | "hostIPs") => Some(&["ip"]),
        ("spec", "ports") => Some(&["port", "protocol"]),
        ("containers" | "initContainers", "ports") => Some(&["containerPort", "protocol"]),
        ("containers" | "initContainers", "env") => Some(&["name"]),
        ("containers" | "initContainers", "volumeMounts") => Some(&["mountPath"]),
        ("containers" | "initContainers", "volumeDevices") => Some(&["devicePath"]),
        ("spec", "containers" | "initContainers" | "volumes" | "imagePullSecrets" | "resourceClaims") => {
            Some(&["name"])
        }
        ("spec", "hostAliases") => Some(&["ip"]),
        ("spec", "schedulingGates") => Some(&["name"]),
        ("spec", "topologySpreadConstraints") => Some(&["topologyKey", "whenUnsatisfiable"]),
        _ => None,
    }
}

/// Whether a map is one value: selectors and references.
fn is_atomic_map(path: &Path) -> bool {
    const ATOMIC: [&str; 12] = [
        "f:selector",
        "f:labelSelector",
        "f:nodeSelector",
        "f:secretKeyRef",
        "f:configMapKeyRef",
        "f:fieldRef",
        "f:resourceFieldRef",
        "f:secretRef",
        "f:configMapRef",
        "f:dataSource",
        "f:involvedObject",
        "f:related",
    ];
    let mut steps = path.iter().rev().map(String::as_str);
    let (last, list) = (steps.next().unwrap_or_default(), steps.next().unwrap_or_default());
    ATOMIC.contains(&last)
        || (last.starts_with("k:") && matches!(list, "f:imagePullSecrets" | "f:ownerReferences"))
}

/// The items of a map or of a list that is merged item by item; None for one value. A key twice keeps its first.
fn children<'a>(path: &Path, value: &'a Value) -> Option<Vec<(String, &'a Value)>> {
    match value {
        Value::Object(map) if !is_atomic_map(path) => {
            Some(map.iter().map(|(name, value)| (format!("f:{name}"), value)).collect())
        }
        Value::Array(items) => {
            let keys = list_keys(path)?;
            let mut seen = BTreeSet::new();
            let steps = items.iter().map(|item| (item_step(keys, item), item));
            Some(steps.filter(|(step, _)| seen.insert(step.clone())).collect())
        }
        _ => None,
    }
}

fn field_name(step: &str) -> String {
    step.strip_prefix("f:").unwrap_or(step).to_owned()
}

fn item_step(keys: &[&str], item: &Value) -> String {
    if keys.is_empty() {
        return format!("v:{item}");
    }
    let mut shown = Map::new();
    for key in keys {
        let value = item.get(*key).cloned();
        let default = if *key == "protocol" { Some(json!("TCP")) } else { None };
        if let Some(value) = value.or(default) {
            shown.insert((*key).to_owned(), value);
        }
    }
    format!("k:{}", Value::Object(shown))
}

/// The first list item key that occurs twice; server-side apply refuses such a body.
pub fn duplicate_key(path: &mut Path, value: &Value) -> Option<String> {
    if let (Value::Array(items), Some(children)) = (value, children(path, value))
        && children.len() < items.len()
    {
        return Some(shown(path));
    }
    children(path, value)?.into_iter().find_map(|(step, child)| {
        path.push(step);
        let found = duplicate_key(path, child);
        path.pop();
        found
    })
}

fn collect(path: &mut Path, value: &Value, set: &mut FieldSet) {
    let Some(children) = children(path, value) else {
        set.0.insert(path.clone());
        return;
    };
    for (step, child) in children {
        let member =
            !step.starts_with("f:") || child.is_null() || child.as_object().is_some_and(Map::is_empty);
        path.push(step);
        collect(path, child, set);
        if member {
            set.0.insert(path.clone());
        }
        path.pop();
    }
}

/// What differs between two objects; every level of what came or went is named.
pub fn compare(before: &Value, after: &Value) -> Difference {
    let mut difference = Difference::default();
    compare_at(&mut Vec::new(), Some(before), Some(after), &mut difference);
    difference
}

fn compare_at(path: &mut Path, before: Option<&Value>, after: Option<&Value>, found: &mut Difference) {
    match (before, after) {
        (None, Some(_)) => found.added.0.insert(path.clone()),
        (Some(_), None) => found.removed.0.insert(path.clone()),
        _ => false,
    };
    let items = |path: &Path, side: Option<&Value>| {
        side.map_or(Some(BTreeSet::new()), |value| {
            children(path, value).map(|list| list.into_iter().map(|(step, _)| step).collect())
        })
    };
    let (Some(left), Some(right)) = (items(path, before), items(path, after)) else {
        if before.is_some() && after.is_some() && before != after {
            found.modified.0.insert(path.clone());
        }
        return;
    };
    for step in left.union(&right) {
        let (old, new) = (child(path, before, step), child(path, after, step));
        path.push(step.clone());
        compare_at(path, old, new, found);
        path.pop();
    }
}

fn child<'a>(path: &Path, value: Option<&'a Value>, wanted: &str) -> Option<&'a Value> {
    children(path, value?)?.into_iter().find(|(step, _)| step == wanted).map(|(_, child)| child)
}

/// A configuration laid over the live object: scalars replace, maps and keyed lists merge.
pub fn merge(path: &mut Path, live: &Value, config: &Value) -> Value {
    let (Some(ours), Some(theirs)) = (children(path, config), children(path, live)) else {
        return config.clone();
    };
    let mut merged = |step: &String, value: &Value| match child(path, Some(live), step) {
        Some(live) => {
            path.push(step.clone());
            let merged = merge(path, live, value);
            path.pop();
            merged
        }
        None => value.clone(),
    };
    if let Value::Object(live) = live {
        let mut out = live.clone();
        for (step, value) in &ours {
            out.insert(field_name(step), merged(step, value));
        }
        return Value::Object(out);
    }
    // The order is the configuration's; items that only the live list has stand as early as they can.
    let is_ours = |step: &String| ours.iter().any(|(own, _)| own == step);
    let mut waiting = theirs.iter().peekable();
    let mut out = Vec::new();
    for (index, (step, value)) in ours.iter().enumerate() {
        let next = ours[index..]
            .iter()
            .map(|(step, _)| step)
            .find(|step| theirs.iter().any(|(live, _)| live == *step));
        while let Some((live, item)) = waiting.next_if(|(live, _)| Some(live) != next) {
            if !is_ours(live) {
                out.push((*item).clone());
            }
        }
        out.push(merged(step, value));
    }
    out.extend(waiting.filter(|(live, _)| !is_ours(live)).map(|(_, item)| (*item).clone()));
    Value::Array(out)
}

/// Takes out what the manager applied `last` and nobody owns any more; `owned` and `last` carry their parents.
pub fn prune(path: &mut Path, value: &Value, last: &FieldSet, owned: &FieldSet) -> Value {
    let Some(children) = children(path, value) else {
        return value.clone();
    };
    let mut kept = Vec::new();
    for (step, child) in children {
        path.push(step);
        if !last.contains(path) {
            kept.push((path.last().cloned().unwrap_or_default(), child.clone()));
        } else if owned.contains(path) {
            kept.push((path.last().cloned().unwrap_or_default(), prune(path, child, last, owned)));
        }
        path.pop();
    }
    if value.is_array() {
        return Value::Array(kept.into_iter().map(|(_, child)| child).collect());
    }
    Value::Object(kept.into_iter().map(|(step, child)| (field_name(&step), child)).collect())
}
