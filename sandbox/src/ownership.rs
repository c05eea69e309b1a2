//! Keeps `managedFields`: who owns which field, what an apply may change, what an update takes over.
use super::call::Call;
use super::failure::{Cause, Failure};
use super::fields::{self, Fields};
use serde_json::{Value, json};

/// One entry of `managedFields` and the fields that it lists.
type Entry = (Value, Fields);

/// Lays a configuration over the live object: fields that the manager no longer names go, unless others hold them.
///
/// Fails with the conflicts unless forced.
pub fn apply(live: &Value, config: &Value, call: &Call, now: &str) -> Result<Value, Failure> {
    let (before, mut entries) = split(live);
    let last = take(&mut entries, call, "Apply");
    let named = fields::named(config);
    let mut after = fields::merge(&mut Vec::new(), &before, config);
    if let Some((_, last)) = &last {
        let owned = entries.iter().fold(named.clone(), |all, (_, fields)| &all | fields);
        let removals = &fields::with_parents(last) - &fields::with_parents(&owned);
        after = fields::without(&mut Vec::new(), &after, &removals);
    }
    let (changed, removed) = fields::compare(&before, &after);
    let causes: Vec<_> = entries.iter().flat_map(|entry| conflicts(entry, &changed)).collect();
    if !call.force && !causes.is_empty() {
        return Err(Failure::apply_conflict(&causes));
    }
    let own = entry(call, "Apply", named, last, now);
    write(&mut after, entries, &(&changed | &removed), own);
    Ok(after)
}

/// Gives the writer every field in which the new object differs from the live one.
pub fn update(live: &Value, new: &Value, call: &Call, now: &str) -> Value {
    let (before, mut entries) = split(live);
    let (mut after, _) = split(new);
    let last = take(&mut entries, call, "Update");
    let (changed, removed) = fields::compare(&before, &after);
    let held = last.as_ref().map(|(_, fields)| fields - &removed).unwrap_or_default();
    let own = entry(call, "Update", &held | &changed, last, now);
    write(&mut after, entries, &(&changed | &removed), own);
    after
}

fn entry(call: &Call, operation: &str, fields: Fields, last: Option<Entry>, now: &str) -> Entry {
    let fields = fields::without_server_fields(fields);
    // An entry that stays as it was keeps its time: a repeated apply must change nothing at all.
    if let Some(last) = last.filter(|(_, held)| *held == fields) {
        return last;
    }
    let entry = json!({
        "manager": call.manager, "operation": operation, "apiVersion": call.key.kind.version(),
        "time": now, "fieldsType": "FieldsV1",
    });
    (entry, fields)
}

fn conflicts((entry, fields): &Entry, changed: &Fields) -> Vec<Cause> {
    let text = |name: &str| entry[name].as_str().unwrap_or_default();
    let mut owner = format!("conflict with \"{}\"", text("manager"));
    if text("operation") == "Update" {
        owner += &format!(" using {} at {}", text("apiVersion"), text("time"));
    }
    let both = fields & changed;
    both.iter().map(|path| ("FieldManagerConflict", fields::shown(path), owner.clone())).collect()
}

fn take(entries: &mut Vec<Entry>, call: &Call, operation: &str) -> Option<Entry> {
    let is_own = |(entry, _): &Entry| entry["manager"] == call.manager && entry["operation"] == operation;
    entries.iter().position(is_own).map(|index| entries.remove(index))
}

/// The object without its entries, and they.
fn split(object: &Value) -> (Value, Vec<Entry>) {
    let mut object = object.clone();
    let entries = object["metadata"].as_object_mut().and_then(|metadata| metadata.remove("managedFields"));
    let entries = entries.as_ref().and_then(Value::as_array).into_iter().flatten();
    let entries = entries.map(|entry| (entry.clone(), fields::read(&entry["fieldsV1"]))).collect();
    (object, entries)
}

/// Writes the entries: all but the writer's own have lost what it changed.
fn write(object: &mut Value, mut entries: Vec<Entry>, lost: &Fields, own: Entry) {
    for (_, fields) in &mut entries {
        *fields = &*fields - lost;
    }
    entries.push(own);
    entries.retain(|(_, fields)| !fields.is_empty());
    entries.sort_by_key(|(entry, _)| ["operation", "time", "manager"].map(|name| entry[name].to_string()));
    for (entry, fields) in &mut entries {
        entry["fieldsV1"] = fields::write(fields);
    }
    object["metadata"]["managedFields"] = entries.into_iter().map(|(entry, _)| entry).collect();
}
