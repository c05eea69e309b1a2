//! Keeps `managedFields`: who owns which field, what an apply may change, what an update takes over.
use super::failure::{Cause, Failure};
use super::fields::{self, FieldSet};
use serde_json::{Value, json};

/// Who writes, and how.
pub struct Writer<'a> {
    pub manager: &'a str,
    pub api_version: &'a str,
    pub now: &'a str,
}

/// One entry of `managedFields`.
#[derive(Clone)]
struct Entry {
    manager: String,
    operation: String,
    api_version: String,
    subresource: String,
    time: String,
    fields: FieldSet,
}

/// Lays a configuration over the live object: fields that the manager no longer names go, unless others hold them.
///
/// Fails with the conflicts unless forced.
pub fn apply(live: &Value, config: &Value, writer: &Writer, force: bool) -> Result<Value, Failure> {
    let before = without_entries(live);
    let mut entries = read(live);
    let last = take(&mut entries, writer, "Apply");
    let named = FieldSet::of(config);
    let mut after = fields::merge(&mut Vec::new(), &before, config);
    if let Some(last) = &last {
        let owned = entries.iter().fold(named.clone(), |all, entry| all.plus(&entry.fields)).with_parents();
        after = fields::prune(&mut Vec::new(), &after, &last.fields.with_parents(), &owned);
    }
    let difference = fields::compare(&before, &after);
    let changed = difference.added.plus(&difference.modified);
    if !force {
        let causes: Vec<_> = entries.iter().flat_map(|entry| conflicts(entry, &changed)).collect();
        if !causes.is_empty() {
            return Err(Failure::apply_conflict(&causes));
        }
    }
    let lost = changed.plus(&difference.removed);
    entries.iter_mut().for_each(|entry| entry.fields = entry.fields.minus(&lost));
    entries.push(entry(writer, "Apply", named.without_server_fields(), last.as_ref()));
    write(&mut after, entries);
    Ok(after)
}

/// Gives the writer every field in which the new object differs from the live one.
pub fn update(live: &Value, new: &mut Value, writer: &Writer) {
    let mut entries = read(live);
    // Who owned nothing from the beginning is not tracked until somebody applies.
    if entries.is_empty() && !live["metadata"]["uid"].is_null() {
        return;
    }
    let last = take(&mut entries, writer, "Update");
    let difference = fields::compare(&without_entries(live), &without_entries(new));
    let changed = difference.added.plus(&difference.modified);
    let lost = changed.plus(&difference.removed);
    entries.iter_mut().for_each(|entry| entry.fields = entry.fields.minus(&lost));
    let held = last.as_ref().map(|entry| entry.fields.clone()).unwrap_or_default();
    let held = held.minus(&difference.removed).plus(&changed).without_server_fields();
    entries.push(entry(writer, "Update", held, last.as_ref()));
    write(new, entries);
}

fn entry(writer: &Writer, operation: &str, fields: FieldSet, last: Option<&Entry>) -> Entry {
    // An entry that stays as it was keeps its time: a repeated apply must change nothing at all.
    let kept = last.filter(|last| last.fields == fields).map(|last| last.time.clone());
    Entry {
        manager: writer.manager.to_owned(),
        operation: operation.to_owned(),
        api_version: writer.api_version.to_owned(),
        subresource: String::new(),
        time: kept.unwrap_or_else(|| writer.now.to_owned()),
        fields,
    }
}

fn conflicts(entry: &Entry, changed: &FieldSet) -> Vec<Cause> {
    let mut owner = format!("conflict with \"{}\"", entry.manager);
    if !entry.subresource.is_empty() {
        owner += &format!(" with subresource \"{}\"", entry.subresource);
    }
    if entry.operation == "Update" {
        owner += &format!(" using {} at {}", entry.api_version, entry.time);
    }
    let fields = entry.fields.common(changed).0;
    fields.iter().map(|path| ("FieldManagerConflict", fields::shown(path), owner.clone())).collect()
}

fn take(entries: &mut Vec<Entry>, writer: &Writer, operation: &str) -> Option<Entry> {
    let is_own = |entry: &Entry| {
        entry.manager == writer.manager && entry.operation == operation && entry.subresource.is_empty()
    };
    entries.iter().position(is_own).map(|index| entries.remove(index))
}

fn without_entries(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}

fn read(object: &Value) -> Vec<Entry> {
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let entry = |entry: &Value| Entry {
        manager: text(entry, "manager"),
        operation: text(entry, "operation"),
        api_version: text(entry, "apiVersion"),
        subresource: text(entry, "subresource"),
        time: text(entry, "time"),
        fields: FieldSet::read(&entry["fieldsV1"]),
    };
    object["metadata"]["managedFields"].as_array().into_iter().flatten().map(entry).collect()
}

fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.0.is_empty());
    entries.sort_by(|a, b| (&a.operation, &a.time, &a.manager).cmp(&(&b.operation, &b.time, &b.manager)));
    let shown = entries.iter().map(|entry| {
        let mut shown = json!({
            "manager": entry.manager, "operation": entry.operation, "apiVersion": entry.api_version,
            "time": entry.time, "fieldsType": "FieldsV1", "fieldsV1": entry.fields.write(),
        });
        if !entry.subresource.is_empty() {
            shown["subresource"] = json!(entry.subresource);
        }
        shown
    });
    let shown: Value = shown.collect();
    if shown != json!([]) {
        object["metadata"]["managedFields"] = shown;
    } else if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
}
