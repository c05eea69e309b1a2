//! Plans that decide whose replica count holds.

use super::*;

/// A deployment whose web runs as a controller, with these owners of its replicas and this count by Scale.
fn scaled(owners: &[&str], by_scale: Option<i32>, after_text: &str) -> Plan {
    let before = render(TEMPLATE, &["web"]);
    let (mut head, mut seen) = deployed(&before);
    for seen in seen.iter_mut().filter(|seen| seen.reference.kind.is_controller()) {
        seen.replicas_owners = owners.iter().map(|owner| (*owner).to_owned()).collect();
    }
    for member in head.inventory.iter_mut().filter(|member| member.reference.kind.is_controller()) {
        member.scaled_replicas = by_scale;
    }
    plan_between(&before, &render(after_text, &["web"]), after_text, &head, &seen)
}

fn web_replicas(plan: &Plan) -> Option<i64> {
    let step =
        plan.steps.iter().find(|step| step.artifact.reference.kind.is_controller()).expect("a controller");
    step.artifact.manifest.pointer("/spec/replicas").and_then(Value::as_i64)
}

#[test]
fn replicas_set_by_scale_are_left_alone() {
    let plan = scaled(&[SCALE], Some(3), TEMPLATE);
    assert!(plan.is_noop());
    assert_eq!(codes(&plan), [Code::ReplicasKept]);
    let updated = scaled(&[SCALE], Some(3), &TEMPLATE.replace("example/web:1", "example/web:2"));
    assert_eq!(web_replicas(&updated), None, "the field is its owner's");
}

#[test]
fn replicas_made_by_scale_stay_ours_and_are_sent_again() {
    let plan = scaled(&[OWN], Some(3), &TEMPLATE.replace("example/web:1", "example/web:2"));
    assert_eq!(web_replicas(&plan), Some(3), "a field of ours alone is never left out");
}

#[test]
fn a_changed_count_takes_the_replicas_back() {
    let text = TEMPLATE.replace(
        "  ports: [{container_port: 80}]",
        "  ports: [{container_port: 80}]\n  deployment: {count: 5}",
    );
    let plan = scaled(&[SCALE], Some(3), &text);
    assert_eq!(web_replicas(&plan), Some(5));
    let step =
        plan.steps.iter().find(|step| step.artifact.reference.kind.is_controller()).expect("a controller");
    assert_eq!((step.action, step.take_back, step.scaled_replicas), (Action::Update, Some(5), None));
    assert_eq!(step.member.scaled_replicas, Some(3), "until it is written, it is still to be taken back");
    assert_eq!(codes(&plan), [Code::ReplicasTakenBack]);
}

/// Plans the change of web's template from one count to another, both as its author wrote them.
fn recounted(before: Option<i32>, owners: &[&str], after: Option<i32>, replicas: ReplicasPolicy) -> Plan {
    let text = |count: Option<i32>, tag: u32| {
        let count = count.map_or_else(String::new, |count| format!("\n  deployment: {{count: {count}}}"));
        let ports = "  ports: [{container_port: 80}]";
        TEMPLATE
            .replace(ports, &format!("{ports}{count}"))
            .replace("example/web:1", &format!("example/web:{tag}"))
    };
    let (old, new) = (render(&text(before, 1), &["web"]), render(&text(after, 2), &["web"]));
    let (mut head, mut seen) = deployed(&old);
    for seen in seen.iter_mut().filter(|seen| seen.reference.kind.is_controller()) {
        seen.replicas_owners = owners.iter().map(|owner| (*owner).to_owned()).collect();
    }
    for member in head.inventory.iter_mut().filter(|member| member.reference.kind.is_controller()) {
        member.uncounted = before.is_none();
    }
    plan(&Inputs {
        links: &linked_services(&template(TEMPLATE)),
        replicas,
        uncounted: &crate::translate::uncounted(&template(&text(after, 2))),
        ..inputs(&old, &new, &head, &seen)
    })
}

#[test]
fn an_absent_count_is_no_opinion_and_only_a_written_changed_one_takes_back() {
    use ReplicasPolicy::{Auto, Preserve, Rollback, Template};
    // Before, owners, after, policy; the count that is sent, and the one that is taken back.
    let cases = [
        (Some(3), OWN, None, Auto, Some(3), None),
        (Some(3), "autoscaler", None, Auto, None, None),
        (Some(3), "autoscaler", Some(3), Auto, None, None),
        (Some(3), "autoscaler", Some(2), Auto, Some(2), Some(2)),
        (None, "autoscaler", Some(1), Auto, Some(1), Some(1)),
        (None, OWN, Some(2), Auto, Some(2), None),
        (Some(3), "autoscaler", Some(2), Preserve, None, None),
        (Some(3), OWN, Some(2), Preserve, Some(3), None),
        (Some(3), "autoscaler", Some(3), Template, Some(3), Some(3)),
        (Some(3), "autoscaler", None, Template, None, None),
        (Some(3), "autoscaler", Some(2), Rollback, None, None),
        (Some(3), OWN, Some(2), Rollback, Some(2), None),
        (Some(3), SCALE, Some(2), Rollback, Some(2), Some(2)),
    ];
    for (before, owner, after, policy, sent, taken) in cases {
        let plan = recounted(before, &[owner], after, policy);
        let step = plan.steps.iter().find(|step| step.artifact.reference.kind.is_controller());
        let step = step.expect("a controller");
        let found = (web_replicas(&plan).and_then(|count| i32::try_from(count).ok()), step.take_back);
        assert_eq!(found, (sent, taken), "{before:?} {owner} {after:?} {policy:?}");
        assert_eq!(step.uncounted, after.is_none());
    }
}

#[test]
fn a_count_of_scale_that_the_record_lacks_is_read_and_kept() {
    let before = render(TEMPLATE, &["web"]);
    let (head, mut seen) = deployed(&before);
    let name = DeploymentName::new("shop").expect("a name");
    let to_read =
        |seen: &[ListedObject]| counts_to_read(&head, &before, seen, (ReplicasPolicy::Auto, &NONE), &name);
    assert_eq!(to_read(&seen), []);
    for seen in seen.iter_mut().filter(|seen| seen.reference.kind.is_controller()) {
        seen.replicas_owners = vec![OWN.to_owned(), SCALE.to_owned()];
    }
    assert_eq!(to_read(&seen).len(), 1, "that Scale died before it wrote its count down");
    seen.iter_mut().for_each(|seen| seen.replicas = Some(4));
    let head = with_scaled_counts(&head, &seen, &name);
    let counts: Vec<_> = head.inventory.iter().filter_map(|member| member.scaled_replicas).collect();
    assert_eq!(counts, [4], "as that Scale would have written it");
    assert_eq!(counts_to_read(&head, &before, &seen, (ReplicasPolicy::Auto, &NONE), &name), []);
    let text = TEMPLATE.replace("example/web:1", "example/web:2");
    let plan = plan_between(&before, &render(&text, &["web"]), &text, &head, &seen);
    let step = plan.steps.iter().find(|step| step.artifact.reference.kind.is_controller());
    assert_eq!(step.and_then(|step| step.scaled_replicas), Some(4));
    assert!(codes(&plan).contains(&Code::ReplicasKept));
}

/// What is told of web's count where another kind of workload takes the place of the one that runs it, with this count.
fn told_of_kept(found_replicas: bool) -> (String, bool) {
    let (before, after) = (render(TEMPLATE, &["web"]), render(TEMPLATE, &["web"]));
    let (mut head, seen) = deployed(&before);
    let name = crate::artifacts::ObjectName::new("web").expect("a name");
    for member in head.inventory.iter_mut().filter(|member| member.reference.kind.is_controller()) {
        // An apps Deployment ran it, and nobody has looked at its count.
        member.reference = ObjectRef::new(Kind::Deployment, name.clone());
        (member.scaled_replicas, member.found_replicas) = (Some(4), found_replicas);
    }
    let seen: Vec<ListedObject> =
        seen.into_iter().filter(|one| !one.reference.kind.is_controller()).collect();
    let plan = plan(&Inputs { replicas: ReplicasPolicy::Rollback, ..inputs(&before, &after, &head, &seen) });
    let mut kept = plan.diagnostics.iter().filter(|one| one.code == Code::ReplicasKept);
    let step = plan.steps.iter().find(|step| step.artifact.reference.kind.is_controller());
    (kept.next().expect("it is told").message.to_string(), step.expect("a controller").found_replicas)
}

#[test]
fn a_count_that_was_found_is_not_said_to_be_of_scale() {
    let (told, found) = told_of_kept(false);
    assert!(told.ends_with("kept 4 (set by Scale)") && !found, "{told}");
    let (told, found) = told_of_kept(true);
    assert!(told.ends_with("kept 4 (as it was found)") && found, "{told}");
}

/// What the plan says happens to web's count, where the template had 2 when it was applied, Scale has set `scaled` and
/// `owner`, if it is somebody else, `found`.
fn told_of_count(
    scaled: Option<i32>,
    (owner, found): (&str, Option<i32>),
    count: i32,
    replicas: ReplicasPolicy,
) -> (Action, Option<(String, String)>) {
    let text = |count: i32| {
        let ports = "  ports: [{container_port: 80}]";
        TEMPLATE.replace(ports, &format!("{ports}\n  deployment: {{count: {count}}}"))
    };
    let (old, new) = (render(&text(2), &["web"]), render(&text(count), &["web"]));
    let (mut head, mut seen) = deployed(&old);
    for seen in seen.iter_mut().filter(|seen| seen.reference.kind.is_controller()) {
        (seen.replicas_owners, seen.replicas) = (vec![owner.to_owned()], found);
    }
    for member in head.inventory.iter_mut().filter(|member| member.reference.kind.is_controller()) {
        member.scaled_replicas = scaled;
    }
    let plan = plan(&Inputs {
        links: &linked_services(&template(TEMPLATE)),
        replicas,
        ..inputs(&old, &new, &head, &seen)
    });
    let change = plan.changes.iter().find(|change| change.reference.kind.is_controller());
    let change = change.expect("a controller");
    let field = change.fields.iter().find(|field| field.path == "spec.replicas").cloned();
    let shown = field.map(|field| (field.before.unwrap_or_default(), field.after.unwrap_or_default()));
    (change.action, shown)
}

#[test]
fn a_plan_tells_the_count_that_is_in_force_and_the_one_to_come() {
    use ReplicasPolicy::{Auto, Preserve, Template};
    let fields = |before: &str, after: &str| Some((before.to_owned(), after.to_owned()));
    let cases = [
        // Scale has set 3.
        (Some(3), (SCALE, None), 2, Template, (Action::Update, fields("3", "2"))),
        (Some(3), (SCALE, None), 4, Auto, (Action::Update, fields("3", "4"))),
        (Some(3), (SCALE, None), 3, Auto, (Action::Update, None)),
        (Some(3), (SCALE, None), 4, Preserve, (Action::Unchanged, None)),
        // An autoscaler has set 50.
        (None, ("autoscaler", Some(50)), 2, Template, (Action::Update, fields("50", "2"))),
        (None, ("autoscaler", Some(50)), 4, Auto, (Action::Update, fields("50", "4"))),
        (None, ("autoscaler", Some(4)), 4, Auto, (Action::Update, None)),
        // Nobody has.
        (None, (OWN, None), 4, Auto, (Action::Update, fields("2", "4"))),
    ];
    for (scaled, seen, count, policy, told) in cases {
        assert_eq!(
            told_of_count(scaled, seen, count, policy),
            told,
            "{scaled:?} {seen:?} {count} {policy:?}"
        );
    }
}

#[test]
fn a_count_that_somebody_else_has_set_is_read_where_it_is_to_be_set() {
    let count = |count: i32| {
        TEMPLATE.replace(
            "container_port: 80}]",
            &format!("container_port: 80}}]\n  deployment: {{count: {count}}}"),
        )
    };
    let (before, after) = (render(&count(2), &["web"]), render(&count(4), &["web"]));
    let (head, mut seen) = deployed(&before);
    for seen in seen.iter_mut().filter(|seen| seen.reference.kind.is_controller()) {
        seen.replicas_owners = vec!["autoscaler".to_owned()];
    }
    let name = DeploymentName::new("shop").expect("a name");
    let read = |after: &Artifacts, policy, uncounted: &BTreeSet<ComponentName>| {
        counts_to_read(&head, after, &seen, (policy, uncounted), &name).len()
    };
    use ReplicasPolicy::{Auto, Preserve, Rollback, Template};
    assert_eq!([Auto, Preserve, Rollback, Template].map(|policy| read(&after, policy, &NONE)), [1, 0, 0, 1]);
    assert_eq!(read(&before, Auto, &NONE), 0, "it stays");
    assert_eq!(read(&after, Auto, &controllers(&["web"])), 0, "the template has none");
}
