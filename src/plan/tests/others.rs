//! Plans over objects of which somebody else holds fields.

use super::*;
use crate::artifacts::Others;
use crate::error::Hold;

/// A deployment of which field managers hold these fields of the component web's workload.
fn held(fields: Value, managers: &[&str]) -> (Artifacts, Head, Vec<ListedObject>, ObjectRef) {
    let artifacts = render(TEMPLATE, &["web"]);
    let (head, mut seen) = deployed(&artifacts);
    let web = seen.iter_mut().find(|one| one.reference.kind == Kind::ReplicationController);
    let web = web.expect("a controller");
    web.others = managers
        .iter()
        .map(|manager| Others { manager: (*manager).to_owned(), fields: fields.clone() })
        .collect();
    let reference = web.reference.clone();
    (artifacts, head, seen, reference)
}

#[test]
fn a_field_that_is_taken_is_not_told_to_stay() {
    let labels = serde_json::json!({ "f:metadata": { "f:labels": { "f:team": {} } } });
    let (artifacts, head, seen, web) = held(labels, &["one", "other"]);
    let mut plan = plan_between(&artifacts, &artifacts, TEMPLATE, &head, &seen);
    assert_eq!(codes(&plan), [Code::FieldBeside, Code::FieldBeside]);
    let hold = Hold { field: "metadata.labels.team".to_owned(), manager: "one".to_owned() };
    plan.decide(&web, &Decision { taken: vec![hold], ..Decision::default() });
    assert_eq!(codes(&plan), [Code::FieldTaken, Code::FieldBeside], "the other's stays");
}
