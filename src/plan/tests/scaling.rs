//! What a Scale has to do, beside what it finds.

use super::*;
use crate::artifacts::Change;
use crate::error::ErrorKind;
use crate::record::{Record, RecordedComponent};

/// A deployment of two controllers of which one was scaled to 3, as its records and the cluster have it.
fn deployment(found: i32, owner: &str) -> (Record, Vec<ListedObject>) {
    let (mut head, mut seen) = deployed(&render(TEMPLATE, &["web", "db"]));
    let component = |image: &str, name: &str| RecordedComponent {
        image_name: image.to_owned(),
        name: ComponentName::new(name).expect("a name"),
        image: "example/x:1".to_owned(),
    };
    head.recorded.components = vec![component("WEB", "web"), component("DB", "db")];
    for member in head.inventory.iter_mut().filter(|member| member.component.as_str() == "web") {
        member.scaled_replicas = member.reference.kind.is_controller().then_some(3);
    }
    for seen in seen.iter_mut().filter(|seen| seen.reference.kind.is_controller()) {
        seen.replicas = Some(found);
        seen.replicas_owners = vec![owner.to_owned()];
    }
    let record = Record::of(head);
    (record, seen)
}

fn wanted(counts: &[(&str, i32)]) -> BTreeMap<String, i32> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

/// The change to the one controller that is scaled, and whether anything is written.
fn scaled(found: i32, owner: &str, name: &str, count: i32) -> (Change, bool) {
    let (record, seen) = deployment(found, owner);
    let mut scale = ScalePlan::new(&record, &wanted(&[(name, count)])).expect("a plan");
    scale.look(&seen, &record.name);
    let mut changes: Vec<Change> = scale.updates(&seen).chain(scale.unchanged()).collect();
    (changes.remove(0), !scale.set.is_empty())
}

#[test]
fn a_count_that_is_there_already_is_no_change() {
    let (change, is_written) = scaled(3, SCALE, "WEB", 3);
    assert_eq!((change.action, change.fields.len(), is_written), (Action::Unchanged, 0, false));
    // Somebody else has set the same one: from now on it is this Scale's.
    for (owner, name) in [("kubectl", "WEB"), (OWN, "DB"), (SCALE, "DB")] {
        let (change, is_written) = scaled(3, owner, name, 3);
        assert_eq!((change.action, change.fields.len(), is_written), (Action::Unchanged, 0, true));
    }
}

#[test]
fn a_change_tells_the_count_that_was_found() {
    for owner in [SCALE, "kubectl"] {
        let (change, is_written) = scaled(5, owner, "WEB", 3);
        let field = &change.fields[0];
        assert_eq!((change.action, is_written), (Action::Update, true));
        assert_eq!((field.before.as_deref(), field.after.as_deref()), (Some("5"), Some("3")));
    }
}

#[test]
fn all_names_that_there_are_not_are_told_at_once() {
    let (mut record, _) = deployment(1, OWN);
    let refused = |record: &Record, counts: &[(&str, i32)]| {
        let error = ScalePlan::new(record, &wanted(counts)).err().expect("an error");
        assert_eq!(error.kind(), ErrorKind::ComponentNotFound);
        error.message().to_owned()
    };
    let one = refused(&record, &[("WEBB", 1), ("db", 1)]);
    assert_eq!(one, "deployment shop has no component \"WEBB\", but WEB, DB; did you mean `WEB`?");
    let two = refused(&record, &[("ALSO", 1), ("NOPE", 1), ("web", 1)]);
    assert_eq!(two, "deployment shop has no components \"ALSO\", \"NOPE\", but WEB, DB");
    record.head.inventory.retain(|member| !member.reference.kind.is_controller());
    let both = refused(&record, &[("WEB", 2), ("DB", 2)]);
    assert_eq!(both, "components db, web have no workloads that can be scaled; deploy again to create them");
}
