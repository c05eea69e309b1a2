//! The plan of deployments with apps Deployments, Secrets and volume claims.

use super::*;
use crate::artifacts::ListedClaim;
use crate::error::ErrorKind;
use crate::translate::{Profile, Rules};

const SHOP: &str = "
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
  volumes: [{container_path: /data}]
";

fn rendered(text: &str, rules: Rules) -> Artifacts {
    let options = Options::with(DeploymentName::new("shop").expect("a name"), rules);
    translate(&template(text), &options).artifacts.expect("objects")
}

fn modern(text: &str) -> Artifacts {
    rendered(text, Rules::of(Profile::Modern))
}

/// A deployment of these objects, its claims with this size and class on the cluster.
fn running(
    artifacts: &Artifacts,
    size: &str,
    class: Option<&str>,
    class_is_ours: bool,
) -> (Head, Vec<ListedObject>) {
    let (head, mut seen) = deployed(artifacts);
    for seen in seen.iter_mut().filter(|seen| seen.reference.kind == Kind::PersistentVolumeClaim) {
        seen.claim = Some(ListedClaim {
            size: size.to_owned(),
            size_is_others: false,
            class: class.map(ToOwned::to_owned),
            class_is_ours,
            modes: vec!["ReadWriteOnce".to_owned()],
            layout: Some(crate::artifacts::LAYOUT_DATA.to_owned()),
        });
    }
    (head, seen)
}

/// What happens to an object, by kind and name.
fn of(plan: &Plan, kind: Kind, name: &str) -> Option<Action> {
    let mut changes = plan.changes.iter();
    let change =
        changes.find(|change| change.reference.kind == kind && change.reference.name.as_str() == name);
    change.map(|change| change.action)
}

/// The revisions that the pods of the apps Deployments are of.
fn pod_revisions(plan: &Plan) -> Vec<Option<u32>> {
    let deployments = plan.steps.iter().filter(|step| step.artifact.reference.kind == Kind::Deployment);
    deployments.map(|step| step.member.pod_revision).collect()
}

fn planned(before: &Artifacts, after: &Artifacts, text: &str) -> Plan {
    let (head, seen) = running(before, "1Gi", Some("standard"), false);
    plan_between(before, after, text, &head, &seen)
}

#[test]
fn the_same_is_nothing_to_do() {
    let shop = modern(SHOP);
    assert!(planned(&shop, &shop, SHOP).is_noop());
}

#[test]
fn a_secret_renews_the_pods_of_all_who_read_it_and_shows_no_value() {
    let text = SHOP.replace("first-secret", "second-secret");
    let plan = planned(&modern(SHOP), &modern(&text), &text);
    assert_eq!(of(&plan, Kind::Secret, "db-environment"), Some(Action::Update));
    for component in ["web", "db"] {
        assert_eq!(of(&plan, Kind::Deployment, component), Some(Action::Update), "{component}");
    }
    assert_eq!(pod_revisions(&plan), [Some(2), Some(2)]);
    let text = format!("{:?}", plan.changes);
    // "first-secret" and "second-secret", as base64 would show them.
    assert!(text.contains("***") && !text.contains("Zmlyc3Q") && !text.contains("c2Vjb25k"), "{text}");
}

#[test]
fn what_services_look_like_from_outside_renews_no_pod() {
    let exposed = rendered(
        SHOP,
        Rules { exposure: crate::translate::Exposure::NodePort, ..Rules::of(Profile::Modern) },
    );
    let plan = planned(&modern(SHOP), &exposed, SHOP);
    assert_eq!(of(&plan, Kind::Service, "web"), Some(Action::Update));
    assert_eq!(of(&plan, Kind::Deployment, "web"), Some(Action::Unchanged));
}

#[test]
fn workloads_of_another_kind_are_made_and_the_old_ones_go() {
    let classic = rendered(SHOP, Rules::default());
    for prune in [true, false] {
        let (head, seen) = deployed(&classic);
        let after = modern(SHOP);
        let plan = plan(&Inputs {
            head: Some(&head),
            before: classic.objects(),
            earlier: &LATEST,
            after: &after,
            links: &linked_services(&template(SHOP)),
            seen: Some(&seen),
            restored: false,
            revision: 2,
            operation: "0123456789abcdef",
            prune,
            conflicts: ConflictPolicy::Fail,
            replicas: ReplicasPolicy::Auto,
            uncounted: &BTreeSet::new(),
            scale: &BTreeMap::new(),
            managers: (OWN, SCALE),
            back: None,
        });
        assert_eq!(of(&plan, Kind::Deployment, "web"), Some(Action::Create));
        assert_eq!(of(&plan, Kind::Pod, "web-pod"), Some(Action::Delete), "with prune {prune}");
        assert!(plan.handed_over.is_empty(), "an apps Deployment adopts no pod");
        let interrupted = codes(&plan).into_iter().filter(|code| *code == Code::WorkloadReplaced);
        assert_eq!(interrupted.count(), 2, "both components");
    }
    let back = planned(&modern(SHOP), &classic, SHOP);
    assert_eq!(of(&back, Kind::Deployment, "web"), Some(Action::Delete));
    assert_eq!(of(&back, Kind::Pod, "web-pod"), Some(Action::Create));
}

/// A change of kinds of web, scaled to 5, from one rendering to the other, with this owner of its replicas.
fn switched(before: &Artifacts, after: &Artifacts, text: &str, owner: &str) -> (Option<i64>, Vec<Code>) {
    let (mut head, mut seen) = running(before, "1Gi", Some("standard"), false);
    let is_web =
        |reference: &ObjectRef| reference.kind.is_controller() && reference.name.as_str().starts_with("web");
    for member in head.inventory.iter_mut().filter(|member| is_web(&member.reference)) {
        member.scaled_replicas = Some(5);
    }
    for seen in seen.iter_mut().filter(|seen| is_web(&seen.reference)) {
        seen.replicas_owners = vec![owner.to_owned()];
        seen.replicas = (owner == "kubectl").then_some(5);
    }
    let plan = plan_between(before, after, text, &head, &seen);
    let web = plan.steps.iter().find(|step| is_web(&step.artifact.reference)).expect("a controller");
    let count = web.artifact.manifest.pointer("/spec/replicas").and_then(Value::as_i64);
    assert_eq!(web.scaled_replicas.map(i64::from), count.filter(|count| *count == 5));
    let told = codes(&plan).into_iter().filter(|code| *code != Code::WorkloadReplaced);
    (count, told.collect())
}

#[test]
fn the_count_of_scale_goes_over_to_a_workload_of_another_kind() {
    let two = SHOP.replace("name: web\n", "name: web\n  deployment: {count: 2}\n");
    let three = two.replace("count: 2", "count: 3");
    let classic = |text: &str| rendered(text, Rules::default());
    for (before, after) in [(modern(&two), classic(&two)), (classic(&two), modern(&two))] {
        assert_eq!(switched(&before, &after, &two, SCALE), (Some(5), vec![Code::ReplicasKept]));
        assert_eq!(switched(&before, &after, &two, "kubectl"), (Some(5), vec![Code::ReplicasKept]));
    }
    let other = switched(&modern(&two), &classic(&three), &three, SCALE);
    assert_eq!(other, (Some(3), vec![Code::ReplicasTakenBack]));
}

#[test]
fn pods_are_of_a_new_revision_whenever_their_workload_changes_its_kind() {
    let only = Rules { workload: crate::translate::Workload::Deployment, ..Rules::default() };
    let classic = rendered(SHOP, Rules::default());
    let plan = planned(&classic, &rendered(SHOP, only), SHOP);
    // The template of the pods is the same.
    assert_eq!(pod_revisions(&plan), [Some(2), Some(2)]);
}

#[test]
fn a_claim_is_kept_when_its_path_is_gone() {
    let text = SHOP.replace("  volumes: [{container_path: /data}]\n", "");
    let plan = planned(&modern(SHOP), &modern(&text), &text);
    let claims: Vec<_> = plan.kept.iter().map(|member| member.reference.kind).collect();
    assert_eq!(claims, [Kind::PersistentVolumeClaim]);
    assert!(plan.removals.is_empty());
}

#[test]
fn an_apps_deployment_rolls_or_not_as_its_volumes_come_and_go() {
    let text = SHOP.replace("  volumes: [{container_path: /data}]\n", "");
    let plan = planned(&modern(&text), &modern(SHOP), SHOP);
    assert_eq!(of(&plan, Kind::Deployment, "db"), Some(Action::Update));
    let back = planned(&modern(SHOP), &modern(&text), &text);
    assert_eq!(of(&back, Kind::Deployment, "db"), Some(Action::Update));
}

/// The size that is sent for a claim of this size that somebody has set, and what is told.
fn size_sent(has: &str, wants: &str) -> (Option<String>, Vec<Code>) {
    let sized = |size: &str| {
        let volume_size = crate::artifacts::StorageSize::new(size).expect("a size");
        rendered(SHOP, Rules { volume_size, ..Rules::of(Profile::Modern) })
    };
    let (before, after) = (sized("1Gi"), sized(wants));
    let (head, mut seen) = running(&before, has, Some("standard"), false);
    for claim in seen.iter_mut().filter_map(|seen| seen.claim.as_mut()) {
        claim.size_is_others = true;
    }
    let plan = plan_between(&before, &after, SHOP, &head, &seen);
    let mut steps = plan.steps.iter();
    let claim = steps.find(|step| step.artifact.reference.kind == Kind::PersistentVolumeClaim);
    let manifest = &claim.expect("a claim").artifact.manifest;
    let size = manifest.pointer("/spec/resources/requests/storage").and_then(Value::as_str);
    (size.map(ToOwned::to_owned), codes(&plan))
}

#[test]
fn a_size_that_somebody_has_set_is_left_alone_unless_more_is_asked_for() {
    assert_eq!(size_sent("2Gi", "1Gi"), (None, vec![Code::VolumeSizeKept]));
    assert_eq!(size_sent("2Gi", "2048Mi"), (None, vec![]), "it is as large as asked for");
    assert_eq!(size_sent("2Gi", "3Gi"), (Some("3Gi".to_owned()), vec![]));
}

/// Whether a claim that is there can become one of this size and class, and if not, what is said.
fn refusal(has: (&str, Option<&str>, bool), size: &str, class: Option<&str>) -> Option<String> {
    let before = modern(SHOP);
    let rules = Rules {
        volume_size: crate::artifacts::StorageSize::new(size).expect("a size"),
        storage_class: class.map(|class| crate::artifacts::ForeignName::new(class).expect("a name")),
        ..Rules::of(Profile::Modern)
    };
    let after = rendered(SHOP, rules);
    let (head, seen) = running(&before, has.0, has.1, has.2);
    let refused = check_claims(&inputs(&before, &after, &head, &seen));
    refused.err().map(|error| {
        assert_eq!(error.kind(), ErrorKind::VolumeImmutable);
        error.message().to_owned()
    })
}

#[test]
fn claims_only_grow_and_keep_their_class() {
    let standard = ("2Gi", Some("standard"), false);
    assert_eq!(refusal(standard, "2Gi", None), None);
    assert_eq!(refusal(standard, "2048Mi", Some("standard")), None);
    assert_eq!(refusal(standard, "3Gi", None), None);
    let smaller = refusal(standard, "1Gi", None).expect("a refusal");
    assert!(smaller.contains("db-") && smaller.contains("options.volume_size to 2Gi"), "{smaller}");
    let other = refusal(standard, "2Gi", Some("fast")).expect("a refusal");
    assert!(other.contains("options.storage_class to standard"), "{other}");
    assert_eq!(refusal(("2Gi", Some("fast"), true), "2Gi", None), None, "no class asks for nothing");
    assert_eq!(refusal(("2Gi", None, false), "2Gi", Some("fast")), None, "the API server decides");
}

#[test]
fn every_claim_that_cannot_become_what_is_asked_is_told_with_everything_that_keeps_it() {
    let text = SHOP.replace("[{container_path: /data}]", "[{container_path: /data}, {container_path: /log}]");
    let before = modern(&text);
    let rules = Rules {
        storage_class: Some(crate::artifacts::ForeignName::new("zzz").expect("a name")),
        ..Rules::of(Profile::Modern)
    };
    let after = rendered(&text, rules);
    let (head, mut seen) = running(&before, "3Gi", Some("standard"), false);
    let told = |seen: &[ListedObject], head: Option<&Head>| {
        let refused = check_claims(&Inputs { head, ..inputs(&before, &after, &head_of(&before), seen) });
        refused.expect_err("a refusal").message().to_owned()
    };
    let all = told(&seen, Some(&head));
    for words in ["cannot shrink to 1Gi", "set options.volume_size to 3Gi", "cannot change to zzz"] {
        assert_eq!(all.matches(words).count(), 2, "of both claims: {all}");
    }
    assert!(all.contains("VOLUME_POLICY_DELETE"), "{all}");
    // What an earlier deployment has left has nobody who could tear it down.
    let left = told(&seen, None);
    assert!(
        !left.contains("tear the deployment down") && left.contains("delete PersistentVolumeClaim"),
        "{left}"
    );
    for claim in seen.iter_mut().filter(|seen| seen.claim.is_some()) {
        claim.terminating = true;
    }
    assert_eq!(told(&seen, Some(&head)).matches("is being deleted").count(), 2);
}

fn head_of(artifacts: &Artifacts) -> Head {
    deployed(artifacts).0
}

#[test]
fn no_class_keeps_the_one_that_a_claim_has() {
    let classed = |class: Option<&str>| {
        let storage_class = class.map(|class| crate::artifacts::ForeignName::new(class).expect("a name"));
        rendered(SHOP, Rules { storage_class, ..Rules::of(Profile::Modern) })
    };
    let (before, after) = (classed(Some("fast")), classed(None));
    for (is_ours, sent) in [(true, Some("fast")), (false, None)] {
        let (head, seen) = running(&before, "1Gi", Some("fast"), is_ours);
        let plan = plan_between(&before, &after, SHOP, &head, &seen);
        let is_claim = |step: &&Step| step.artifact.reference.kind == Kind::PersistentVolumeClaim;
        let claim = plan.steps.iter().find(is_claim).expect("a claim");
        let class = claim.artifact.manifest.pointer("/spec/storageClassName").and_then(Value::as_str);
        assert_eq!(class, sent, "one that we hold is sent, or it would be taken away");
        let change = plan.changes.iter().find(|change| change.reference == claim.artifact.reference);
        let fields = &change.expect("a change").fields;
        assert_eq!(fields.iter().any(|field| field.path.contains("Class")), !is_ours, "{fields:?}");
    }
}

#[test]
fn a_secret_that_somebody_has_made_immutable_is_theirs_to_answer_for() {
    let text = SHOP.replace("first-secret", "second-secret");
    let (before, after) = (modern(SHOP), modern(&text));
    let (head, mut seen) = running(&before, "1Gi", Some("standard"), false);
    for secret in seen.iter_mut().filter(|seen| seen.reference.kind == Kind::Secret) {
        let fields = serde_json::json!({"f:immutable": {}});
        secret.others = vec![crate::artifacts::Others { manager: "kubectl-patch".to_owned(), fields }];
    }
    for (conflicts, action) in [
        (ConflictPolicy::Fail, Action::Update),
        (ConflictPolicy::Yield, Action::Update),
        (ConflictPolicy::Force, Action::Replace),
    ] {
        let plan = plan(&Inputs { conflicts, ..inputs(&before, &after, &head, &seen) });
        assert_eq!(of(&plan, Kind::Secret, "db-environment"), Some(action), "{conflicts:?}");
        let is_secret = |step: &&Step| step.artifact.reference.kind == Kind::Secret;
        let step = plan.steps.iter().find(is_secret).expect("a Secret");
        let refused = crate::error::Error::new(ErrorKind::ManifestRejected, "no")
            .refused(crate::error::Refusal::Invalid { fields: vec!["data".to_owned()] });
        let blamed = blamed(refused, step);
        assert_eq!(
            (blamed.kind(), blamed.metadata()["field"].as_str()),
            (ErrorKind::FieldConflict, "immutable")
        );
        assert!(blamed.message().contains("Secret db-environment"), "{}", blamed.message());
    }
}
