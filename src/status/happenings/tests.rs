//! Whose Events are a deployment's, and in which words they are told.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;
use crate::artifacts::{ObjectName, ObjectRef};
use crate::record::{Head, Member, MemberState};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("a time")
}

fn member(kind: Kind, name: &str, uid: &str) -> Member {
    let reference = ObjectRef::new(kind, ObjectName::new(name).expect("a name"));
    let component = ComponentName::new("web").expect("a name");
    let late = Member::late(reference, component, uid.to_owned(), String::new());
    Member { state: MemberState::Applied, ..late }
}

fn held(inventory: Vec<Member>) -> Record {
    Record::of(Head::new("Shop".to_owned(), at(100)).with_inventory(inventory))
}

fn happening(kind: &str, name: &str, uid: &str, reason: &str, last: i64) -> Happening {
    let subject = Subject {
        version: "v1".to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        ..Subject::default()
    };
    let (first, last) = (Some(Time(at(last - 10))), Some(Time(at(last))));
    Happening { subject, is_warning: true, reason: reason.to_owned(), told: None, count: 2, first, last }
}

fn names(record: &Record, observed: &Observed, all: &[Happening]) -> Vec<String> {
    happenings(record, observed, all).into_iter().map(|one| one.object.name).collect()
}

#[test]
fn an_object_is_known_by_its_uid_and_what_its_controller_made_by_its_name() {
    let record = held(vec![
        member(Kind::ReplicationController, "web-rc", "rc"),
        member(Kind::Deployment, "web", "deployment"),
        member(Kind::Pod, "db-pod", "pod"),
    ]);
    let all = [
        happening("ConfigMap", "panamax-deployment-shop", "head", "Deployed", 209),
        happening("Pod", "web-rc-x2x4b", "gone", "Killing", 208),
        happening("ReplicaSet", "web-6d4b75cb6d", "set", "FailedCreate", 207),
        happening("Pod", "web-6d4b75cb6d-hz7zx", "gone too", "Evicted", 206),
        happening("Pod", "db-pod", "pod", "Failed", 205),
        // Another object of the name, one that a person named, and one of an earlier deployment of this name.
        happening("Pod", "db-pod", "another", "Failed", 204),
        happening("Pod", "web-rc-copy", "copy", "Failed", 203),
        happening("Pod", "web-rc-aaaaa", "no letters of the server's", "Failed", 202),
        happening("ReplicaSet", "web-frontend", "set of another", "FailedCreate", 201),
        happening("Pod", "web-rc-x2x4c", "earlier", "Killing", 99),
        happening("Pod", "blog", "", "Failed", 300),
    ];
    let observed = Observed::default();
    let expected =
        ["panamax-deployment-shop", "web-rc-x2x4b", "web-6d4b75cb6d", "web-6d4b75cb6d-hz7zx", "db-pod"];
    assert_eq!(names(&record, &observed, &all), expected, "the newest first");
    let told = happenings(&record, &observed, &all);
    let components: Vec<&str> = told.iter().map(|one| one.component.as_str()).collect();
    assert_eq!(components, ["", "web", "web", "web", "web"]);
}

#[test]
fn the_pods_that_are_there_and_their_replica_sets_are_known() {
    let pod = json!({"metadata": {"name": "p", "uid": "pod", "labels": {"name": "web"},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "s", "uid": "set"}]}});
    let pods = vec![Arc::new(serde_json::from_value(pod).expect("a pod"))];
    let observed = Observed { pods, ..Observed::default() };
    let all =
        [happening("Pod", "p", "pod", "Killing", 2), happening("ReplicaSet", "s", "set", "FailedCreate", 1)];
    let told = happenings(&held(Vec::new()), &observed, &all);
    assert_eq!(told.iter().map(|one| one.component.as_str()).collect::<Vec<_>>(), ["web", "web"]);
}

#[test]
fn what_differs_in_the_clusters_words_alone_is_one() {
    let record = held(vec![member(Kind::Pod, "web-pod", "pod")]);
    let one = |reason: &str, last| happening("Pod", "web-pod", "pod", reason, last);
    let all = [one("Failed", 200), one("Failed", 230), one("BackOff", 220)];
    let told = happenings(&record, &Observed::default(), &all);
    assert_eq!(told.len(), 2);
    let failed = &told[0];
    assert_eq!((failed.reason.as_str(), failed.count), ("Failed", 4));
    assert_eq!((failed.first, failed.last), (Some(at(190)), Some(at(230))));
    let own = Happening { told: Some("created as revision 1".to_owned()), ..one("Deployed", 1) };
    assert_eq!(happenings(&record, &Observed::default(), &[own])[0].message, "created as revision 1");
}

#[test]
fn the_newest_are_told_and_no_more_than_so_many() {
    let record = held(vec![member(Kind::Pod, "web-pod", "pod")]);
    let all: Vec<Happening> =
        (0..300).map(|number| happening("Pod", "web-pod", "pod", &format!("R{number}"), number)).collect();
    let told = happenings(&record, &Observed::default(), &all);
    assert_eq!((told.len(), told[0].reason.as_str(), told[99].reason.as_str()), (MOST, "R299", "R200"));
}

#[test]
fn a_long_controllers_pods_have_its_name_cut() {
    let long = "a".repeat(60);
    assert!(is_generated(&format!("{}x2x4b", "a".repeat(58)), &long));
    assert!(!is_generated(&format!("{long}-x2x4b"), &long));
    assert!(is_generated("web-x2x4b", "web"));
}
