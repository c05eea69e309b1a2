//! Plans over objects of which somebody else holds fields.

use super::*;
use crate::artifacts::Others;
use crate::error::Hold;

/// A deployment of which field managers hold these fields of the component web's workload.
fn held(fields: &Value, managers: &[&str]) -> (Artifacts, Head, Vec<ListedObject>, ObjectRef) {
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
    let (artifacts, head, seen, web) = held(&labels, &["one", "other"]);
    let mut plan = plan_between(&artifacts, &artifacts, TEMPLATE, &head, &seen);
    assert_eq!(codes(&plan), [Code::FieldBeside, Code::FieldBeside]);
    let hold = Hold { field: "metadata.labels.team".to_owned(), manager: "one".to_owned() };
    plan.decide(&web, &Decision { taken: vec![hold], ..Decision::default() });
    assert_eq!(codes(&plan), [Code::FieldTaken, Code::FieldBeside], "the other's stays");
}

#[test]
fn pods_whose_form_is_taken_back_are_made_anew() {
    let image = serde_json::json!({ "f:spec": { "f:template": { "f:spec": { "f:containers": {
        "k:{\"name\":\"web\"}": { "f:image": {} } } } } } });
    let (artifacts, head, seen, web) = held(&image, &["kubectl-set"]);
    let links = linked_services(&template(TEMPLATE));
    let planned = |conflicts| {
        plan(&Inputs { conflicts, links: &links, ..inputs(&artifacts, &artifacts, &head, &seen) })
    };
    let name = web.name.as_str();
    for (conflicts, revision) in
        [(ConflictPolicy::Yield, "1"), (ConflictPolicy::Fail, "1"), (ConflictPolicy::Force, "2")]
    {
        let plan = planned(conflicts);
        assert_eq!(revision_of(&plan, name).as_deref(), Some(revision), "{conflicts:?}");
        let is_told = codes(&plan).contains(&Code::PodsReplaced);
        assert_eq!(is_told, conflicts == ConflictPolicy::Force, "{:?}", codes(&plan));
    }
}

#[test]
fn pods_whose_form_a_dead_operation_has_taken_back_are_made_anew() {
    let image = serde_json::json!({ "f:spec": { "f:template": { "f:spec": { "f:containers": {
        "k:{\"name\":\"web\"}": { "f:image": {} } } } } } });
    let (artifacts, mut head, seen, web) = held(&image, &["kubectl-set"]);
    let links = linked_services(&template(TEMPLATE));
    let forced = plan(&Inputs {
        conflicts: ConflictPolicy::Force,
        links: &links,
        ..inputs(&artifacts, &artifacts, &head, &seen)
    });
    head.inventory = forced.union();
    // It died before it wrote, or behind that.
    for (is_theirs, revision) in [(true, "1"), (false, "2")] {
        let mut seen = seen.clone();
        let others = seen.iter_mut().filter(|one| one.reference == web && !is_theirs);
        others.for_each(|one| one.others.clear());
        let plan = plan(&Inputs { links: &links, ..inputs(&artifacts, &artifacts, &head, &seen) });
        assert_eq!(revision_of(&plan, web.name.as_str()).as_deref(), Some(revision), "{is_theirs}");
        let member = plan.union().into_iter().find(|member| member.reference == web).expect("a member");
        assert_eq!(member.retaken, !is_theirs, "who dies next says so, too");
    }
}

#[test]
fn an_object_without_its_labels_is_ours_by_its_uid_and_what_we_have_applied() {
    let artifacts = render(TEMPLATE, &["web"]);
    let (head, mut seen) = deployed(&artifacts);
    let web = seen.iter_mut().find(|one| one.reference.kind == Kind::ReplicationController);
    let web = web.expect("a controller");
    (web.labelled, web.ours, web.owned) = (false, false, "fewer fields".to_owned());
    let name = web.reference.clone();
    let action = |seen: &[ListedObject]| {
        let plan = plan_between(&artifacts, &artifacts, TEMPLATE, &head, seen);
        plan.changes.iter().find(|change| change.reference == name).map(|change| change.action)
    };
    assert_eq!(action(&seen), Some(Action::Update), "its labels are put back");
    let change = |change: fn(&mut ListedObject)| {
        let mut seen = seen.clone();
        seen.iter_mut().filter(|one| one.reference == name).for_each(change);
        seen
    };
    assert_eq!(action(&change(|one| one.uid = "another".to_owned())), Some(Action::Create));
    assert_eq!(action(&change(|one| one.owned.clear())), Some(Action::Create), "nothing on it is ours");
}

#[test]
fn a_field_that_goes_with_the_type_of_a_service_is_not_told_to_stay() {
    let artifacts = render(TEMPLATE, &["web"]);
    let ports = serde_json::json!({"k:{\"port\":5432,\"protocol\":\"TCP\"}": {"f:nodePort": {}}});
    let held = |with_type: bool| {
        let (head, mut seen) = deployed(&artifacts);
        let mut fields = serde_json::json!({"f:spec": {"f:ports": ports}});
        if with_type {
            fields["f:spec"]["f:type"] = serde_json::json!({});
        }
        let is_meant = |one: &&mut ListedObject| {
            one.reference.kind == Kind::Service && one.reference.name.as_str().starts_with("db")
        };
        for service in seen.iter_mut().filter(is_meant) {
            service.others = vec![Others { manager: "kubectl-patch".to_owned(), fields: fields.clone() }];
        }
        let plan = plan(&Inputs {
            conflicts: ConflictPolicy::Yield,
            ..inputs(&artifacts, &artifacts, &head, &seen)
        });
        codes(&plan).contains(&Code::FieldBeside)
    };
    assert!(!held(false), "a ClusterIP has no port of the nodes");
    assert!(held(true), "whoever holds the type decides about it");
}

#[test]
fn a_workload_whose_image_is_left_to_somebody_else_is_marked() {
    let (artifacts, head, seen, web) = held(&Value::Null, &[]);
    let changed = TEMPLATE.replace("example/web:1", "example/web:2");
    let after = render(&changed, &["web"]);
    for (field, is_marked) in [
        ("spec.template.spec.containers[name=\"web\"].image", true),
        ("spec.template.spec.containers[name=\"web\"].ports", false),
    ] {
        let mut plan = plan_between(&artifacts, &after, &changed, &head, &seen);
        let hold = Hold { field: field.to_owned(), manager: "kubectl-set".to_owned() };
        plan.decide(&web, &Decision { yielded: vec![hold], ..Decision::default() });
        let step = plan.steps.iter().find(|step| step.artifact.reference == web).expect("a step");
        assert_eq!(step.member.other_image, is_marked, "{field}");
    }
}
