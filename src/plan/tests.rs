//! The plan, decided over small templates: each test changes one thing.

use serde_json::Value;

use super::*;
use crate::artifacts::{DeploymentName, LABEL_REVISION, Trace, Traces};
use crate::diagnostic::Code;
use crate::template::Template;
use crate::template::validate::{Limits, from_text};
use crate::translate::{Options, linked_services, translate};

const TEMPLATE: &str = "
name: Shop
images:
- name: web
  source: example/web:1
  links: [{service: db, alias: DB}]
  ports: [{container_port: 80}]
- name: db
  source: example/db:1
  environment: [{variable: PASSWORD, value: first-secret}]
  ports: [{container_port: 5432}]
";
const OWN: &str = "panamax:shop";
const SCALE: &str = "panamax-scale:shop";

fn template(text: &str) -> Template {
    from_text(text, None, &Limits::default()).0.template.expect("a valid template")
}

fn controllers(names: &[&str]) -> BTreeSet<ComponentName> {
    names.iter().map(|name| ComponentName::new(*name).expect("a name")).collect()
}

fn render(text: &str, controlled: &[&str]) -> Artifacts {
    let deployment = DeploymentName::new("shop").expect("a name");
    let options = Options { controllers: controllers(controlled), ..Options::new(deployment) };
    translate(&template(text), &options).artifacts.expect("objects")
}

fn owners(artifact: &Artifact) -> Vec<String> {
    if artifact.reference.kind.is_controller() { vec![OWN.to_owned()] } else { Vec::new() }
}

/// A deployment whose revision 1 was applied whole, as the records and the cluster have it.
fn deployed(artifacts: &Artifacts) -> (Head, Vec<ListedObject>) {
    let mut head = Head::new("Shop".to_owned(), jiff::Timestamp::UNIX_EPOCH);
    let mut seen = Vec::new();
    for artifact in artifacts.objects() {
        let reference = artifact.reference.clone();
        let uid = format!("uid-of-{}", reference.name);
        let count = artifact.manifest.pointer("/spec/replicas").and_then(Value::as_i64);
        let is_workload = reference.kind.stage() == crate::artifacts::Stage::Workload;
        head.inventory.push(Member {
            uid: Some(uid.clone()),
            pod_revision: is_workload.then_some(1),
            template_replicas: count.and_then(|count| i32::try_from(count).ok()),
            owned: "fields".to_owned(),
            trace: Some(Trace::default()),
            ..Member::new(reference.clone(), artifact.component.clone(), MemberState::Applied)
        });
        seen.push(ListedObject {
            reference,
            uid,
            version: "7".to_owned(),
            terminating: false,
            labelled: true,
            ours: true,
            controlled: false,
            ended: false,
            owned: "fields".to_owned(),
            traces: Traces::default(),
            replicas_owners: owners(artifact),
            replicas: None,
            others: Vec::new(),
            held: Value::Null,
            component: artifact.component.to_string(),
            operation: None,
            revision: is_workload.then_some(1),
            claim: None,
        });
    }
    (head, seen)
}

/// No component: none without a count, and none that is scaled; everything stands as the current revision.
static NONE: BTreeSet<ComponentName> = BTreeSet::new();
static UNSCALED: BTreeMap<ComponentName, i32> = BTreeMap::new();
static LATEST: BTreeMap<u32, Vec<Artifact>> = BTreeMap::new();
static UNLINKED: BTreeMap<ComponentName, BTreeSet<ObjectRef>> = BTreeMap::new();

/// A Deploy with the default options, revision 2 to come, of templates that have no links.
fn inputs<'a>(
    before: &'a Artifacts,
    after: &'a Artifacts,
    head: &'a Head,
    seen: &'a [ListedObject],
) -> Inputs<'a> {
    Inputs {
        head: Some(head),
        before: before.objects(),
        earlier: &LATEST,
        after,
        links: &UNLINKED,
        seen: Some(seen),
        restored: false,
        revision: 2,
        operation: "0123456789abcdef",
        prune: true,
        conflicts: ConflictPolicy::Fail,
        replicas: ReplicasPolicy::Auto,
        uncounted: &NONE,
        scale: &UNSCALED,
        managers: (OWN, SCALE),
        back: None,
    }
}

/// Plans from one rendering to another, revision 2 to come.
fn plan_between(
    before: &Artifacts,
    after: &Artifacts,
    text: &str,
    head: &Head,
    seen: &[ListedObject],
) -> Plan {
    plan(&Inputs {
        links: &linked_services(&template(text)),
        uncounted: &crate::translate::uncounted(&template(text)),
        ..inputs(before, after, head, seen)
    })
}

/// Plans a change of the template's text.
fn plan_change(text: &str) -> Plan {
    let (before, after) = (render(TEMPLATE, &[]), render(text, &[]));
    let (head, seen) = deployed(&before);
    plan_between(&before, &after, text, &head, &seen)
}

fn actions(plan: &Plan) -> Vec<(String, Action)> {
    plan.changes.iter().map(|change| (change.reference.name.to_string(), change.action)).collect()
}

fn expect(plan: &Plan, wanted: &[(&str, Action)]) {
    let wanted: Vec<_> = wanted.iter().map(|(name, action)| ((*name).to_owned(), *action)).collect();
    assert_eq!(actions(plan), wanted);
}

fn revision_of(plan: &Plan, name: &str) -> Option<String> {
    let step = plan.steps.iter().find(|step| step.artifact.reference.name.as_str() == name)?;
    let manifest = &step.artifact.manifest;
    let metadata = manifest.pointer("/spec/template/metadata").or_else(|| manifest.get("metadata"))?;
    metadata["labels"][LABEL_REVISION].as_str().map(str::to_owned)
}

#[test]
fn a_first_deploy_creates_everything_at_its_revision() {
    let after = render(TEMPLATE, &[]);
    let plan = plan(&Inputs {
        head: None,
        before: &[],
        earlier: &LATEST,
        after: &after,
        links: &linked_services(&template(TEMPLATE)),
        seen: Some(&[]),
        restored: false,
        revision: 1,
        operation: "0123456789abcdef",
        prune: true,
        conflicts: ConflictPolicy::Fail,
        replicas: ReplicasPolicy::Auto,
        uncounted: &crate::translate::uncounted(&template(TEMPLATE)),
        scale: &BTreeMap::new(),
        managers: (OWN, SCALE),
        back: None,
    });
    expect(&plan, &[("db", Action::Create), ("db-pod", Action::Create), ("web-pod", Action::Create)]);
    assert_eq!(revision_of(&plan, "web-pod").as_deref(), Some("1"));
    assert!(plan.union().iter().all(|member| member.state == MemberState::Planned));
}

#[test]
fn the_same_template_is_nothing_to_do() {
    let plan = plan_change(TEMPLATE);
    assert!(plan.is_noop());
    assert!(plan.union().iter().all(|member| member.state == MemberState::Applied));
}

#[test]
fn a_pods_image_changes_in_place_and_only_its_revision_moves() {
    let plan = plan_change(&TEMPLATE.replace("example/db:1", "example/db:2"));
    expect(&plan, &[("db", Action::Unchanged), ("db-pod", Action::Update), ("web-pod", Action::Unchanged)]);
    assert_eq!(revision_of(&plan, "db-pod").as_deref(), Some("2"));
    assert_eq!(revision_of(&plan, "web-pod").as_deref(), Some("1"));
    assert_eq!(plan.changes[1].fields.len(), 1);
}

#[test]
fn anything_else_of_a_pod_replaces_it_and_shows_no_value() {
    let plan = plan_change(&TEMPLATE.replace("first-secret", "second-secret"));
    expect(&plan, &[("db", Action::Unchanged), ("db-pod", Action::Replace), ("web-pod", Action::Unchanged)]);
    let text = format!("{:?}", plan.changes);
    assert!(text.contains("***") && !text.contains("secret"), "{text}");
}

#[test]
fn a_changed_link_renews_the_pod_that_is_linked() {
    let plan = plan_change(&TEMPLATE.replace("5432", "5433"));
    assert_eq!(revision_of(&plan, "web-pod").as_deref(), Some("2"));
    let web = actions(&plan).into_iter().find(|(name, _)| name == "web-pod").expect("a change").1;
    assert_eq!(web, Action::Replace, "a running pod never learns of the new port");
}

#[test]
fn a_removed_image_is_deleted_by_uid() {
    let without_web = TEMPLATE.replace(
        "- name: web\n  source: example/web:1\n  links: [{service: db, alias: DB}]\n  ports: [{container_port: 80}]\n",
        "",
    );
    let plan = plan_change(&without_web);
    // Nobody is linked to db any more, so its Service goes too.
    expect(&plan, &[("db-pod", Action::Unchanged), ("db", Action::Delete), ("web-pod", Action::Delete)]);
    assert_eq!(
        plan.removals.iter().map(|removals| removals.uid.as_str()).collect::<Vec<_>>(),
        ["uid-of-db", "uid-of-web-pod"]
    );
    assert_eq!(plan.union().iter().filter(|member| member.state == MemberState::Deleting).count(), 2);
}

#[test]
fn a_pod_is_handed_to_its_controller() {
    let after_text = TEMPLATE.replace(
        "  ports: [{container_port: 80}]",
        "  ports: [{container_port: 80}]\n  deployment: {count: 3}",
    );
    let plan = plan_change(&after_text);
    let of = |name: &str| actions(&plan).into_iter().find(|(known, _)| known == name).expect("a change").1;
    assert_eq!(of("web-replication-controller"), Action::Create);
    assert_eq!(of("web-pod"), Action::Keep);
    assert!(plan.removals.is_empty());
    assert_eq!(
        revision_of(&plan, "web-replication-controller").as_deref(),
        Some("1"),
        "its pod template is the pod's"
    );
}

#[test]
fn a_pod_that_is_handed_to_a_controller_without_pods_is_deleted() {
    let of = |count: &str| {
        let after_text = TEMPLATE.replace(
            "  ports: [{container_port: 80}]",
            &format!("  ports: [{{container_port: 80}}]\n  deployment: {{count: {count}}}"),
        );
        let plan = plan_change(&after_text);
        actions(&plan).into_iter().find(|(known, _)| known == "web-pod").expect("a change").1
    };
    assert_eq!([of("0"), of("2")], [Action::Delete, Action::Keep]);
}

#[test]
fn an_object_somebody_deleted_is_made_again() {
    let before = render(TEMPLATE, &[]);
    let (head, mut seen) = deployed(&before);
    seen.retain(|seen| seen.reference.kind != Kind::Service);
    let plan = plan_between(&before, &before, TEMPLATE, &head, &seen);
    expect(&plan, &[("db", Action::Create), ("db-pod", Action::Unchanged), ("web-pod", Action::Unchanged)]);
}

#[test]
fn a_field_somebody_took_is_applied_again() {
    let before = render(TEMPLATE, &[]);
    let (head, mut seen) = deployed(&before);
    seen[0].owned = "fewer fields".to_owned();
    let plan = plan_between(&before, &before, TEMPLATE, &head, &seen);
    expect(&plan, &[("db", Action::Update), ("db-pod", Action::Unchanged), ("web-pod", Action::Unchanged)]);
}

#[test]
fn an_object_that_was_only_planned_is_written_again() {
    let before = render(TEMPLATE, &[]);
    let (mut head, seen) = deployed(&before);
    head.inventory[1].state = MemberState::Planned;
    let plan = plan_between(&before, &before, TEMPLATE, &head, &seen);
    expect(&plan, &[("db", Action::Unchanged), ("db-pod", Action::Update), ("web-pod", Action::Unchanged)]);
    assert!(plan.steps[1].may_replace);
}

#[test]
fn a_replacement_or_a_deletion_that_was_begun_is_not_taken_for_done() {
    let before = render(TEMPLATE, &[]);
    let (mut head, seen) = deployed(&before);
    head.inventory[0].state = MemberState::Deleting;
    head.inventory[2].state = MemberState::Planned;
    head.inventory[2].replace = true;
    let plan = plan_between(&before, &before, TEMPLATE, &head, &seen);
    expect(&plan, &[("db", Action::Replace), ("db-pod", Action::Unchanged), ("web-pod", Action::Replace)]);
}

fn codes(plan: &Plan) -> Vec<Code> {
    plan.told().map(|diagnostic| diagnostic.code).collect()
}

#[test]
fn pods_of_earlier_revisions_go_with_a_changed_controller() {
    let before = render(TEMPLATE, &["web"]);
    let (head, seen) = deployed(&before);
    let text = TEMPLATE.replace("example/web:1", "example/web:2");
    let plan = plan_between(&before, &render(&text, &["web"]), &text, &head, &seen);
    assert_eq!(codes(&plan), [Code::PodsReplaced]);
    let plan = plan_between(&before, &before, TEMPLATE, &head, &seen);
    assert_eq!(codes(&plan), []);
}

#[test]
fn a_pod_that_has_ended_is_replaced_though_nothing_has_changed() {
    let objects = render(TEMPLATE, &[]);
    let (head, mut seen) = deployed(&objects);
    for one in &mut seen {
        one.ended = one.reference.name.as_str() == "db-pod";
    }
    let plan = plan_between(&objects, &objects, TEMPLATE, &head, &seen);
    let changed: Vec<_> =
        actions(&plan).into_iter().filter(|(_, action)| *action != Action::Unchanged).collect();
    assert_eq!(changed, [("db-pod".to_owned(), Action::Replace)]);
}

mod back;
mod layout;
mod metadata;
mod modern;
mod others;
mod replicas;
mod scaling;
