//! How claims are mounted over versions: what one has written is never hidden by the next.

use super::*;
use crate::artifacts::{LAYOUT_DATA, ListedClaim, ObjectName};
use crate::plan::{Revision, at_root};
use crate::translate::{Profile, Rules, VolumeMapping};

const STORE: &str = "
name: Store
images:
- name: db
  source: example/db:1
  volumes: [{container_path: /data}]
- {name: backup, source: 'example/backup:1', volumes_from: [db]}
";

fn claim() -> ObjectName {
    let rendered = revision(&[]).rendered;
    let claim = rendered.iter().find(|one| one.reference.kind == Kind::PersistentVolumeClaim);
    claim.expect("a claim").reference.name.clone()
}

/// A revision in profile CLASSIC with volume claims, some of them at their roots.
fn revision(claims_at_root: &[ObjectName]) -> Revision {
    let rules = Rules { volumes: VolumeMapping::PersistentVolumeClaim, ..Rules::of(Profile::Classic) };
    let deployment = DeploymentName::new("store").expect("a name");
    let claims_at_root = claims_at_root.iter().cloned().collect();
    let options = Options { claims_at_root, ..Options::with(deployment, rules) };
    let template = template(STORE);
    let rendered = translate(&template, &options).artifacts.expect("objects").objects().to_vec();
    Revision {
        template,
        options,
        rendered,
        version: "0.0.1".to_owned(),
        key: None,
        prune: Default::default(),
        on_failure: Default::default(),
        conflicts: Default::default(),
        replicas: Default::default(),
        rollback_of: None,
    }
}

/// A revision as the version before layouts stored it: its objects say nothing of one, and neither do its options.
fn old_revision() -> Revision {
    let mut old = revision(&[claim()]);
    old.options.claims_at_root.clear();
    let text = serde_json::to_string(&old).expect("a text");
    for newer in ["panamax.io/layout", "subPath", "claims_at_root"] {
        assert!(!text.contains(newer), "{text}");
    }
    serde_json::from_str(&text).expect("it is read")
}

fn sub_paths(artifacts: &[Artifact]) -> Vec<(String, Option<String>)> {
    let specs = artifacts.iter().filter_map(|artifact| {
        let manifest = &artifact.manifest;
        let pod = manifest.pointer("/spec/template/spec").or_else(|| manifest.get("spec"))?;
        let mount = pod.pointer("/containers/0/volumeMounts/0")?;
        let sub_path = mount.get("subPath").and_then(Value::as_str).map(str::to_owned);
        Some((artifact.reference.to_string(), sub_path))
    });
    specs.collect()
}

fn seen_claim(layout: Option<&str>, terminating: bool) -> Vec<ListedObject> {
    let artifacts = Artifacts::new(revision(&[]).rendered);
    let (_, mut seen) = deployed(&artifacts);
    for seen in &mut seen {
        seen.terminating = terminating;
        let layout = layout.map(str::to_owned);
        seen.claim = Some(ListedClaim { layout, ..ListedClaim::default() });
    }
    seen
}

#[test]
fn a_claim_says_itself_how_it_is_mounted() {
    let (new, old) = (revision(&[]), old_revision());
    let roots = |previous: &[Artifact], seen: &[ListedObject]| at_root(previous, seen);
    let all: BTreeSet<ObjectName> = [claim()].into();
    assert_eq!(roots(&[], &[]), BTreeSet::new(), "a new one has the new layout");
    assert_eq!(roots(&[], &seen_claim(None, false)), all, "one that says nothing is as all were");
    assert_eq!(roots(&old.rendered, &seen_claim(None, false)), all);
    assert_eq!(
        roots(&old.rendered, &seen_claim(Some(LAYOUT_DATA), false)),
        BTreeSet::new(),
        "it was made anew"
    );
    assert_eq!(roots(&old.rendered, &seen_claim(None, true)), BTreeSet::new(), "it goes");
    assert_eq!(roots(&new.rendered, &seen_claim(None, false)), BTreeSet::new(), "somebody removed the word");
}

#[test]
fn what_scale_makes_of_an_old_revision_mounts_what_its_pods_mount() {
    for (revision, wanted) in [(old_revision(), None), (revision(&[]), Some(LAYOUT_DATA))] {
        let rendered = revision.rendered_with(controllers(&["db"]));
        let wanted = wanted.map(str::to_owned);
        let expected = ["ReplicationController db-replication-controller", "Pod backup-pod"];
        let mut expected = expected.map(|name| (name.to_owned(), wanted.clone()));
        let mut found = sub_paths(&rendered);
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
    }
}

#[test]
fn a_layout_of_a_later_version_refuses() {
    let artifacts = Artifacts::new(revision(&[]).rendered);
    let (head, _) = deployed(&artifacts);
    let seen = seen_claim(Some("another"), false);
    let refused = check_claims(&inputs(&artifacts, &artifacts, &head, &seen)).expect_err("refused");
    assert!(refused.message().contains("layout another"), "{}", refused.message());
}
