//! Fields of others that exclude ours: which they are, and how a dry run tries an object without them.

use serde_json::{Map, Value};

use super::fields;
use crate::artifacts::{Artifact, HeldField, Others};
use crate::error::Hold;

/// A field of somebody else's that excludes one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Displaced {
    /// Who holds it, and where.
    pub held: HeldField,
    /// Its path, as conflicts show one.
    pub field: String,
}

impl Displaced {
    /// The field, and who holds it.
    pub fn hold(&self) -> Hold {
        Hold { field: self.field.clone(), manager: self.held.manager.clone() }
    }
}

/// Finds what others hold that cannot be beside what the manifest sets, where these fields are refused.
///
/// A refusal names the items of lists by their places in the object as it would be, where others may have put items
/// before ours: so all items are looked at that the manifest has, too.
pub(super) fn displaced(others: &[Others], manifest: &Value, refused: &[String]) -> Vec<Displaced> {
    let mut found: Vec<Displaced> = Vec::new();
    for path in refused {
        let mut parts = Vec::new();
        let mut rest = path.as_str();
        while !rest.is_empty() {
            let (part, after) = fields::first_part(rest);
            parts.push(part);
            rest = after;
        }
        let Some((last, above)) = parts.split_last() else { continue };
        if let ("name", Some((item, list))) = (*last, above.split_last())
            && item.starts_with('[')
        {
            others.iter().for_each(|other| items(other, manifest, list, &mut found));
        }
        let parent = path[..path.len() - last.len()].trim_end_matches('.');
        let is_broad = fields::is_broad(parent);
        for other in others {
            let mut steps = Vec::new();
            let mut at = |steps: &[String], theirs: &Value, ours: &Value| {
                for name in excluding(theirs, ours, last, is_broad) {
                    let steps: Vec<String> = steps.iter().cloned().chain([name]).collect();
                    let held = HeldField { manager: other.manager.clone(), steps };
                    let field = shown(&held.steps);
                    let one = Displaced { held, field };
                    if !found.contains(&one) {
                        found.push(one);
                    }
                }
            };
            descend(&other.fields, manifest, above, &mut steps, &mut at);
        }
    }
    found
}

/// Items of others in a list that takes no unnamed ones beside each other, as the ports of a Service: those that the
/// manifest does not have.
fn items(other: &Others, manifest: &Value, list: &[&str], found: &mut Vec<Displaced>) {
    let mut at = |steps: &[String], theirs: &Value, ours: &Value| {
        for step in theirs.as_object().into_iter().flatten().map(|(step, _)| step) {
            let Some(keys) = fields::keys(step) else { continue };
            if ours.as_array().is_some_and(|items| items.iter().any(|item| fields::has(item, &keys))) {
                continue;
            }
            let steps: Vec<String> = steps.iter().chain([step]).cloned().collect();
            let field = shown(&steps);
            let one = Displaced { held: HeldField { manager: other.manager.clone(), steps }, field };
            if !found.contains(&one) {
                found.push(one);
            }
        }
    };
    descend(&other.fields, manifest, list, &mut Vec::new(), &mut at);
}

/// Goes down in what others hold and in the manifest alike, and shows each place that both have.
fn descend(
    theirs: &Value,
    ours: &Value,
    path: &[&str],
    steps: &mut Vec<String>,
    at: &mut impl FnMut(&[String], &Value, &Value),
) {
    let Some((part, rest)) = path.split_first() else { return at(steps, theirs, ours) };
    for (step, below) in theirs.as_object().into_iter().flatten() {
        let own = if part.starts_with('[') {
            let keys = fields::keys(step);
            let items = ours.as_array();
            keys.and_then(|keys| items?.iter().find(|item| fields::has(item, &keys)))
        } else {
            let name = step.strip_prefix("f:").filter(|name| name.eq_ignore_ascii_case(part));
            name.and_then(|name| ours.get(name))
        };
        if let Some(own) = own {
            steps.push(step.clone());
            descend(below, own, rest, steps, at);
            steps.pop();
        }
    }
}

/// The fields of others, at one place, that exclude ours there: the refused one, or what lies beside it.
fn excluding(theirs: &Value, ours: &Value, refused: &str, is_broad: bool) -> Vec<String> {
    let sets = |name: &str| ours.get(name).is_some();
    let foreign = theirs
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(step, _)| step.strip_prefix("f:").is_some_and(|name| name != "name" && !sets(name)));
    let foreign: Vec<&String> = foreign.map(|(step, _)| step).collect();
    let is_refused = |step: &&&String| step[2..].eq_ignore_ascii_case(refused);
    if let Some(step) = foreign.iter().find(is_refused) {
        return vec![(*step).clone()];
    }
    let ours = ours.as_object().map_or(0, |ours| ours.keys().filter(|key| *key != "name").count());
    if is_broad || ours == 0 { Vec::new() } else { foreign.into_iter().cloned().collect() }
}

/// A field as conflicts show it: `spec.template.spec.containers[name="web"].env[name="A"].valueFrom`.
fn shown(steps: &[String]) -> String {
    let mut path = String::new();
    for step in steps {
        match (step.strip_prefix("f:"), fields::keys(step)) {
            (Some(name), _) if path.is_empty() => path.push_str(name),
            (Some(name), _) => path.push_str(&format!(".{name}")),
            (None, Some(keys)) => path.push_str(&format!("[{}]", fields::shown_keys(&keys))),
            (None, None) => {}
        }
    }
    path
}

/// The object with these fields as null: merged into the one that is there, it takes them away.
pub fn without_displaced(artifact: &Artifact, displaced: &[Displaced]) -> Artifact {
    let mut merged = artifact.clone();
    displaced.iter().for_each(|one| take_away(&mut merged.manifest, &one.held.steps));
    merged
}

fn take_away(manifest: &mut Value, steps: &[String]) {
    let Some((step, rest)) = steps.split_first() else { return };
    if let (Some(name), Some(map)) = (step.strip_prefix("f:"), manifest.as_object_mut()) {
        let child = map.entry(name.to_owned()).or_insert(Value::Null);
        if !rest.is_empty() {
            if child.is_null() {
                *child = Value::Object(Map::new());
            }
            take_away(child, rest);
        }
    } else if let (Some(keys), Some(items)) = (fields::keys(step), manifest.as_array_mut()) {
        match items.iter_mut().find(|item| fields::has(item, &keys)) {
            Some(item) => take_away(item, rest),
            // A whole item, which the manifest does not have.
            None if rest.is_empty() => {
                let goes = [("$patch".to_owned(), Value::from("delete"))];
                items.push(keys.into_iter().chain(goes).collect());
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn others(fields: Value) -> Vec<Others> {
        vec![Others { manager: "somebody".to_owned(), fields }]
    }

    fn found(fields: Value, manifest: &Value, refused: &str) -> Vec<String> {
        let found = displaced(&others(fields), manifest, &[refused.to_owned()]);
        found.into_iter().map(|one| one.field).collect()
    }

    fn of_env(entry: &Value) -> Value {
        json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "env": [entry]}]}}}})
    }

    fn held_env(name: &str, field: &str) -> Value {
        let item = format!("k:{{\"name\":\"{name}\"}}");
        json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {
            "f:env": {item: {".": {}, "f:name": {}, field: {}}}}}}}}})
    }

    const VALUE_FROM: &str = "spec.template.spec.containers[0].env[3].valueFrom";

    #[test]
    fn what_excludes_a_field_of_ours_is_found_wherever_others_have_put_the_item() {
        let value = of_env(&json!({"name": "A", "value": "x"}));
        let from = of_env(&json!({"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}));
        let env = "spec.template.spec.containers[name=\"web\"].env[name=\"A\"]";
        assert_eq!(found(held_env("A", "f:valueFrom"), &value, VALUE_FROM), [format!("{env}.valueFrom")]);
        assert_eq!(found(held_env("A", "f:value"), &from, VALUE_FROM), [format!("{env}.value")]);
        // What lies in an item that the template does not have, or sets nothing in, is in nobody's way.
        assert_eq!(found(held_env("B", "f:valueFrom"), &value, VALUE_FROM), [""; 0]);
        assert_eq!(found(held_env("A", "f:value"), &of_env(&json!({"name": "A"})), VALUE_FROM), [""; 0]);

        let recreate = json!({"spec": {"strategy": {"type": "Recreate"}}});
        let rolling =
            json!({"f:spec": {"f:strategy": {"f:type": {}, "f:rollingUpdate": {"f:maxSurge": {}}}}});
        let refused = "spec.strategy.rollingUpdate";
        assert_eq!(found(rolling, &recreate, refused), [refused]);

        let service = json!({"spec": {"type": "ClusterIP", "ports": []}});
        let ranges =
            json!({"f:spec": {"f:type": {}, "f:loadBalancerSourceRanges": {}, "f:sessionAffinity": {}}});
        let refused = "spec.LoadBalancerSourceRanges";
        assert_eq!(found(ranges, &service, refused), ["spec.loadBalancerSourceRanges"]);
    }

    #[test]
    fn an_item_of_a_list_that_takes_no_second_one_without_a_name_is_taken_away_whole() {
        let service = json!({"spec": {"ports": [{"port": 80, "protocol": "TCP"}]}});
        let item = "k:{\"port\":81,\"protocol\":\"TCP\"}";
        let held = json!({"f:spec": {"f:ports": {item: {".": {}, "f:port": {}}}}});
        let found = displaced(&others(held), &service, &["spec.ports[0].name".to_owned()]);
        assert_eq!(
            found.iter().map(|one| one.field.as_str()).collect::<Vec<_>>(),
            ["spec.ports[port=81,protocol=\"TCP\"]"]
        );
        let mut merged = service;
        take_away(&mut merged, &found[0].held.steps);
        let goes = json!({"port": 81, "protocol": "TCP", "$patch": "delete"});
        assert_eq!(merged["spec"]["ports"][1], goes);
        // Names are the keys of other lists: nothing of those is meant.
        assert_eq!(
            displaced(
                &others(held_env("B", "f:value")),
                &of_env(&json!({"name": "A"})),
                &["spec.template.spec.containers[0].env[0].value".to_owned()]
            ),
            []
        );
    }

    #[test]
    fn a_dry_run_takes_a_field_away_by_null() {
        let value = of_env(&json!({"name": "A", "value": "x"}));
        let found = displaced(&others(held_env("A", "f:valueFrom")), &value, &[VALUE_FROM.to_owned()]);
        let mut merged = value;
        take_away(&mut merged, &found[0].held.steps);
        assert_eq!(merged, of_env(&json!({"name": "A", "value": "x", "valueFrom": null})));
    }
}
