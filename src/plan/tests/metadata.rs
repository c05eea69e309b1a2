//! Plans that change nothing but labels.

use super::*;

/// The objects as the caller's label, or none, makes them.
fn labelled(label: Option<&str>, profile: crate::translate::Profile, text: &str) -> Artifacts {
    let deployment = DeploymentName::new("shop").expect("a name");
    let mut rules = crate::translate::Rules::of(profile);
    if let Some(value) = label {
        let key = crate::artifacts::LabelKey::new("team").expect("a key");
        rules.labels.insert(key, crate::artifacts::LabelValue::new(value).expect("a value"));
    }
    let options = Options { controllers: controllers(&["web"]), ..Options::with(deployment, rules) };
    translate(&template(text), &options).artifacts.expect("objects")
}

#[test]
fn a_label_alone_makes_no_new_pods_and_comes_with_the_next_real_change() {
    use crate::translate::Profile;
    for profile in [Profile::Classic, Profile::Modern] {
        let before = labelled(Some("a"), profile, TEMPLATE);
        let (head, seen) = deployed(&before);
        let keep = |before: &Artifacts, after: &Artifacts, text: &str| {
            let links = linked_services(&template(text));
            let inputs = Inputs { links: &links, ..inputs(before, after, &head, &seen) };
            stamp::keep_metadata(&inputs).0
        };
        let label_of = |artifacts: &Artifacts, path: &str| {
            let controllers = artifacts.objects().iter().filter(|one| one.reference.kind.is_controller());
            let labels =
                controllers.map(|one| one.manifest.pointer(path).and_then(Value::as_str).map(str::to_owned));
            labels.collect::<BTreeSet<_>>()
        };
        for label in [Some("b"), None] {
            let wanted = labelled(label, profile, TEMPLATE);
            let applied = keep(&before, &wanted, TEMPLATE);
            let plan = plan_between(&before, &applied, TEMPLATE, &head, &seen);
            let workloads = plan.steps.iter().filter(|step| step.member.pod_revision.is_some());
            for step in workloads {
                assert_eq!((step.action, step.member.pod_revision), (Action::Update, Some(1)), "{step:?}");
            }
            assert_eq!(codes(&plan), []);
            assert_eq!(label_of(&applied, "/metadata/labels/team"), [label.map(str::to_owned)].into());
            let of_pods = "/spec/template/metadata/labels/team";
            assert_eq!(label_of(&applied, of_pods), [Some("a".to_owned())].into());
            // What was applied is what the next Deploy begins at: going back changes no pod either.
            let back = keep(&applied, &before, TEMPLATE);
            assert_eq!(label_of(&back, of_pods), [Some("a".to_owned())].into());
            let text =
                TEMPLATE.replace("example/web:1", "example/web:2").replace("example/db:1", "example/db:2");
            let changed = keep(&applied, &labelled(label, profile, &text), &text);
            assert_eq!(label_of(&changed, of_pods), [label.map(str::to_owned)].into());
        }
    }
}
