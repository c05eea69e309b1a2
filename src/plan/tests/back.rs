//! Plans that put an earlier revision back.

use super::*;

const MANY: &str = "
name: Shop
images:
- {name: web, source: 'example/web:1', ports: [{container_port: 80}], deployment: {count: 2}}
";

fn plan_back(before: &Artifacts, text: &str, (head, seen): (&Head, &[ListedObject]), back: &Back) -> Plan {
    let after = render(text, &["web"]);
    plan(&Inputs {
        links: &linked_services(&template(text)),
        revision: 3,
        prune: false,
        replicas: ReplicasPolicy::Rollback,
        back: Some(back),
        ..inputs(before, &after, head, seen)
    })
}

#[test]
fn what_an_operation_has_made_goes_with_it_and_nothing_else() {
    let before = render(TEMPLATE, &[]);
    let (mut head, seen) = deployed(&before);
    let made = |head: &mut Head, name: &str, id: &str| {
        let member = head.inventory.iter_mut().find(|one| one.reference.name.as_str() == name);
        member.expect("a member").operation = Some(id.to_owned());
    };
    made(&mut head, "db-pod", "failed");
    made(&mut head, "db", "earlier");
    let alone =
        "name: Shop\nimages:\n- {name: web, source: 'example/web:1', ports: [{container_port: 80}]}\n";
    let back = Back { undone: vec!["failed".to_owned()], ..Back::default() };
    let plan = plan_back(&before, alone, (&head, &seen), &back);
    let action =
        |name: &str| actions(&plan).into_iter().find(|(one, _)| one == name).map(|(_, action)| action);
    assert_eq!((action("db-pod"), action("db")), (Some(Action::Delete), Some(Action::Keep)));
}

#[test]
fn pods_that_were_never_replaced_keep_their_revision() {
    let before = render(MANY, &[]);
    let (mut head, seen) = deployed(&before);
    for member in &mut head.inventory {
        member.state = MemberState::Planned;
        (member.pod_revision, member.pods_before) = (Some(2), member.pod_revision);
    }
    let controller = "web-replication-controller";
    let mut unknown = head.clone();
    unknown.inventory.iter_mut().for_each(|member| member.pods_before = None);
    let anew = plan_back(&before, MANY, (&unknown, &seen), &Back::default());
    assert_eq!(revision_of(&anew, controller).as_deref(), Some("3"), "nobody knows what its pods are of");
    let kept = plan_back(&before, MANY, (&head, &seen), &Back::default());
    assert_eq!(revision_of(&kept, controller).as_deref(), Some("1"));
    let step = kept.steps.iter().find(|step| step.artifact.reference.name.as_str() == controller);
    let step = step.expect("a step");
    assert_eq!((step.action, step.member.pods_before), (Action::Update, Some(1)));
}

#[test]
fn a_count_that_somebody_else_has_set_is_not_lowered() {
    let before = render(&MANY.replace("count: 2", "count: 3"), &[]);
    let (head, mut seen) = deployed(&before);
    for (owner, code, take_back) in
        [("autoscaler", Code::ReplicasKept, None), (SCALE, Code::ReplicasTakenBack, Some(2))]
    {
        for object in seen.iter_mut().filter(|one| one.reference.kind.is_controller()) {
            object.replicas_owners = vec![OWN.to_owned(), owner.to_owned()];
        }
        let plan = plan_back(&before, MANY, (&head, &seen), &Back::default());
        let told = plan.diagnostics.iter().any(|one| one.code == code);
        assert!(told, "{owner}: {:?}", plan.diagnostics);
        let taken = plan.steps.iter().find_map(|step| step.take_back);
        assert_eq!(taken, take_back, "{owner}");
    }
}

#[test]
fn what_an_operation_meant_to_delete_and_never_did_is_as_it_was() {
    let before = render(TEMPLATE, &[]);
    let (mut head, _) = deployed(&before);
    let as_it_was = head.clone();
    head.inventory.iter_mut().for_each(|member| member.state = MemberState::Deleting);
    assert_eq!(restored(&head, before.objects()), as_it_was);
    assert_eq!(restored(&head, &[]), head, "what the revision does not have stays marked");
}

#[test]
fn a_service_that_may_be_of_another_form_is_replaced() {
    let headless = "
name: Shop
images:
- {name: web, source: 'example/web:1', links: [{service: odd, alias: odd}]}
- {name: odd, source: 'example/odd:1'}
";
    let with_port = headless.replace("example/odd:1'", "example/odd:1', expose: [4000]");
    let (before, between) = (render(headless, &[]), render(&with_port, &[]));
    let (mut head, seen) = deployed(&before);
    head.inventory.iter_mut().for_each(|member| member.state = MemberState::Planned);
    let back = Back { doubted: between.objects().to_vec(), ..Back::default() };
    for (back, action) in [(Back::default(), Action::Update), (back, Action::Replace)] {
        let plan = plan_back(&before, headless, (&head, &seen), &back);
        let odd = actions(&plan).into_iter().find(|(name, _)| name == "odd");
        assert_eq!(odd.map(|(_, action)| action), Some(action));
    }
}
