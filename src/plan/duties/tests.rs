//! What is left to do for a record, and that it is nothing exactly at rest.

mod search;

use jiff::Timestamp;

use super::*;
use crate::artifacts::{ComponentName, Kind, ObjectName};
use crate::record::{Member, Operation, OperationKind, Recorded, RevisionEntry};

fn reference(kind: Kind, name: &str) -> ObjectRef {
    ObjectRef::new(kind, ObjectName::new(name).expect("a name"))
}

fn doomed_member(kind: Kind, name: &str) -> Member {
    let component = ComponentName::new("web").expect("a name");
    Member {
        uid: Some(format!("uid-{name}")),
        ..Member::new(reference(kind, name), component, MemberState::Deleting)
    }
}

fn revision(number: u32) -> HeadRef {
    HeadRef { number, secret: format!("r{number}") }
}

/// A deployment without components, which is ACTIVE at once.
fn held(change: impl FnOnce(&mut Head)) -> Record {
    let mut head = Head::new("Shop".to_owned(), Timestamp::UNIX_EPOCH);
    head.phase = Phase::Idle;
    head.current = Some(revision(1));
    head.last_good = Some(1);
    head.recorded = Recorded { state: DeploymentState::Active, ..Recorded::default() };
    change(&mut head);
    Record::of(head)
}

fn operation(lease_millis: u64) -> Operation {
    Operation {
        id: "0123456789abcdef".to_owned(),
        kind: OperationKind::Deploy,
        epoch: 1,
        holder: "somebody".to_owned(),
        started: Timestamp::UNIX_EPOCH,
        lease_until: Timestamp::UNIX_EPOCH,
        lease_millis,
        revision: None,
        request: None,
        back_to: None,
        rollback_of: None,
        by: None,
    }
}

fn asked(record: &Record, unrenewed_for: Duration) -> Duties {
    duties(record, &Observed::default(), unrenewed_for)
}

#[test]
fn nothing_is_left_to_do_at_rest() {
    let record = held(|_| {});
    assert_eq!(asked(&record, Duration::ZERO), Duties::default());
    assert!(is_at_rest(&record));
    // What has failed since it was ready may be ready again, and somebody has to see that.
    assert!(!is_at_rest(&held(|head| head.recorded.state = DeploymentState::Failed)));
}

#[test]
fn an_operation_is_left_alone_until_it_was_not_renewed_for_its_lease() {
    let record = held(|head| head.operation = Some(operation(30_000)));
    let waiting = asked(&record, Duration::from_secs(10));
    assert_eq!((waiting.now.len(), waiting.again_in), (0, Some(Duration::from_secs(20))));
    assert!(waiting.waits[0].contains("somebody"));
    assert_eq!(asked(&record, Duration::from_secs(30)).now, [Duty::Adopt]);
    assert!(!is_at_rest(&record));
}

#[test]
fn no_lease_is_longer_than_ten_minutes() {
    let record = held(|head| head.operation = Some(operation(u64::MAX)));
    assert_eq!(asked(&record, Duration::from_secs(599)).again_in, Some(Duration::from_secs(1)));
    assert_eq!(asked(&record, Duration::from_secs(600)).now, [Duty::Adopt]);
}

#[test]
fn what_was_marked_for_deletion_is_torn_down() {
    let record = held(|head| {
        head.operation = Some(operation(1_000));
        head.phase = Phase::Deleting;
    });
    assert_eq!(asked(&record, Duration::from_secs(1)).now, [Duty::TearDown]);
}

#[test]
fn secrets_wait_for_the_rollout_and_nothing_else_does() {
    let both = held(|head| {
        head.phase = Phase::Progressing;
        head.recorded.state = DeploymentState::Deploying;
        head.inventory = vec![doomed_member(Kind::Service, "db"), doomed_member(Kind::Secret, "db-env")];
    });
    let deletes = |record: &Record| {
        let now = asked(record, Duration::ZERO).now.into_iter();
        let deletes = now.filter_map(|duty| match duty {
            Duty::Delete(removals) => Some(removals),
            _ => None,
        });
        deletes.flatten().map(|removals| removals.member.reference.kind).collect::<Vec<_>>()
    };
    assert_eq!(deletes(&both), [Kind::Service, Kind::Secret], "it is ready");
    let mut failing = both;
    failing.head.recorded.components = vec![crate::record::RecordedComponent {
        name: ComponentName::new("web").expect("a name"),
        image_name: "web".to_owned(),
        image: "example/web:1".to_owned(),
    }];
    assert_eq!(deletes(&failing), [Kind::Service]);
    assert!(asked(&failing, Duration::ZERO).waits[0].contains("db-env"));
}

#[test]
fn nothing_is_deleted_after_an_update_that_was_not_written_whole() {
    let record = held(|head| {
        head.phase = Phase::Incomplete;
        head.recorded.state = DeploymentState::Degraded;
        head.inventory = vec![doomed_member(Kind::Service, "db")];
    });
    assert_eq!(asked(&record, Duration::ZERO).now, []);
    assert!(is_at_rest(&record));
}

#[test]
fn revisions_stay_listed_until_they_are_deleted() {
    let entry = |number| RevisionEntry {
        revision: revision(number),
        time: Timestamp::UNIX_EPOCH,
        complete: true,
        discarded: number == 13,
        seen: None,
        rollback_of: None,
        created_by: None,
        cause: None,
    };
    let record = held(|head| {
        head.revisions = (1..=13).map(entry).collect();
        head.current = Some(revision(12));
        head.last_good = Some(1);
    });
    let dropped = vec![revision(13), revision(2)];
    let now = asked(&record, Duration::ZERO).now;
    assert_eq!(now[0], Duty::DropRevisions(dropped.clone()), "the last good one stays");
    let after = Transition::RevisionsDropped { revisions: dropped }.apply(&record.head);
    assert_eq!(after.revisions.len(), 11, "the last ten, and the last good one");
    assert!(after.superfluous_revisions().is_empty());
}

fn active() -> Seen {
    Seen { state: DeploymentState::Active, cause: None, ran: true }
}

#[test]
fn a_state_is_written_down_once() {
    let record = held(|head| {
        head.phase = Phase::Progressing;
        head.recorded.state = DeploymentState::Deploying;
    });
    assert_eq!(asked(&record, Duration::ZERO).now, [Duty::Settle(active())]);
    let settled = Transition::Settled { seen: Some(active()), gone: BTreeSet::new() };
    let after = Record { head: settled.apply(&record.head), ..record };
    assert_eq!(asked(&after, Duration::ZERO), Duties::default());
    assert!(is_at_rest(&after));
}

/// A Service as the watch shows it, marked as created by a dead operation; `change` takes a mark away.
fn late_service(change: impl FnOnce(&mut ObjectMeta)) -> Observed {
    let mut metadata: ObjectMeta = serde_json::from_value(serde_json::json!({
        "name": "db", "uid": "late", "resourceVersion": "7",
        "annotations": {"panamax.io/operation": "dead"},
        "managedFields": [{"manager": "panamax:shop", "operation": "Apply"}],
    }))
    .expect("metadata");
    change(&mut metadata);
    let service = k8s_openapi::api::core::v1::Service { metadata, ..Default::default() };
    Observed { services: vec![service.into()], ..Observed::default() }
}

#[test]
fn what_a_dead_operation_creates_late_is_deleted_in_that_form() {
    let record = held(|head| head.superseded = vec!["dead".to_owned()]);
    let form = Form::new("late".to_owned(), Some("7".to_owned()));
    let expected = vec![(reference(Kind::Service, "db"), form)];
    let observed = late_service(|_| {});
    assert_eq!(late(&record, &observed), expected);
    assert_eq!(duties(&record, &observed, Duration::ZERO).now, [Duty::DeleteLate(expected)]);
}

#[test]
fn a_pod_that_a_controller_let_go_came_before() {
    let ended = |head: &mut Head| {
        head.begun = vec!["ended".to_owned()];
        head.inventory = vec![Member {
            state: MemberState::Applied,
            ..doomed_member(Kind::ReplicationController, "web-replication-controller")
        }];
    };
    let goes = |head: &Head, kind, name: &str, component: &str| {
        super::is_of_nobody(head, &reference(kind, name), component, "ended", true)
    };
    let head = held(ended).head;
    // Its own, and under the label by which somebody has taken it out of service.
    assert!(!goes(&head, Kind::Pod, "web-pod", "web") && !goes(&head, Kind::Pod, "web-pod", "web-debug"));
    assert!(goes(&head, Kind::Pod, "db-pod", "db") && goes(&head, Kind::Service, "web", "web"));
    // Something of the operation may still arrive.
    let head = held(|head| {
        ended(head);
        head.doubted = vec!["ended".to_owned()];
    });
    assert!(goes(&head.head, Kind::Pod, "web-pod", "web"));
}

#[test]
fn what_is_known_or_others_own_is_no_late_creation() {
    let dead = |head: &mut Head| head.superseded = vec!["dead".to_owned()];
    let at_rest = held(dead);
    let copy = late_service(|metadata| metadata.managed_fields = None);
    assert_eq!(late(&at_rest, &copy), [], "a person has copied it with all our marks");
    let older = late_service(|metadata| metadata.annotations = None);
    assert_eq!(late(&at_rest, &older), [], "an earlier version has created it");
    let of_another = late_service(|metadata| {
        metadata.annotations = Some([("panamax.io/operation".to_owned(), "alive".to_owned())].into());
    });
    assert_eq!(late(&at_rest, &of_another), [], "of a record that was lost, perhaps");
    let owner = serde_json::json!([
        {"apiVersion": "v1", "kind": "ReplicationController", "name": "web", "uid": "rc", "controller": true}
    ]);
    let owned = late_service(|metadata| {
        metadata.owner_references = serde_json::from_value(owner).expect("owners");
    });
    assert_eq!(late(&at_rest, &owned), [], "a controller has taken it over");
    let known = held(|head| {
        dead(head);
        head.inventory = vec![doomed_member(Kind::Service, "db")];
    });
    assert_eq!(late(&known, &late_service(|_| {})), []);
    let busy = held(|head| {
        dead(head);
        head.operation = Some(operation(1_000));
    });
    assert_eq!(late(&busy, &late_service(|_| {})), [], "an operation may be creating it");
}

#[test]
fn operations_that_were_taken_over_are_remembered_for_a_minute() {
    let record = held(|head| head.superseded = vec!["dead".to_owned()]);
    assert!(!is_at_rest(&record));
    let waiting = asked(&record, Duration::from_secs(20));
    assert_eq!((waiting.now.len(), waiting.again_in), (0, Some(Duration::from_secs(40))));
    let cleared = Duty::ClearDoubts(vec!["dead".to_owned()]);
    assert_eq!(asked(&record, Duration::from_secs(60)).now, [cleared]);
    let cleared = Transition::DoubtsCleared { operations: vec!["dead".to_owned()] }.apply(&record.head);
    assert!(cleared.superseded.is_empty());
}

#[test]
fn what_an_operation_sent_without_an_answer_may_arrive_when_it_has_ended() {
    let secret = "panamax-deployment-shop-r2-01234567".to_owned();
    let revision = HeadRef { number: 2, secret };
    let underway = held(|head| {
        let own = Operation { id: "0123456789abcdef".to_owned(), ..operation(30_000) };
        head.operation = Some(Operation { revision: Some(revision.clone()), ..own });
    });
    let earlier = Box::new(held(|_| {}).head);
    let refused =
        Transition::Refused { earlier, revision: Some(revision.clone()), now: Timestamp::UNIX_EPOCH };
    let heard = held(|head| *head = refused.apply(&underway.head));
    assert_eq!(asked(&heard, Duration::ZERO).now, [Duty::DropRevisions(vec![revision.clone()])]);
    let doubted = Transition::Doubted(Box::new(refused)).apply(&underway.head);
    let record = held(|head| *head = doubted);
    assert!(!is_at_rest(&record));
    let waiting = asked(&record, Duration::from_secs(20));
    assert_eq!((waiting.now, waiting.again_in), (Vec::new(), Some(Duration::from_secs(40))));
    let operations = record.head.doubts().cloned().collect::<Vec<_>>();
    assert_eq!(operations, ["0123456789abcdef"]);
    let cleared = Transition::DoubtsCleared { operations };
    let cleared = held(|head| *head = cleared.apply(&record.head));
    assert_eq!(asked(&cleared, Duration::ZERO).now, [Duty::DropRevisions(vec![revision])]);
}

#[test]
fn what_scale_has_begun_is_followed_to_its_end() {
    let counts = Vec::new();
    let scaled =
        Transition::Scaled { id: "scale".to_owned(), counts, request: None, now: Timestamp::UNIX_EPOCH };
    let record = held(|head| *head = scaled.apply(head));
    assert!(!is_at_rest(&record));
    assert_eq!(asked(&record, Duration::ZERO).now, [Duty::Settle(active())]);
}

#[test]
fn nobody_misses_what_stays_although_no_template_has_it() {
    for kind in [Kind::PersistentVolumeClaim, Kind::Service] {
        for kept in [false, true] {
            let member = Member { state: MemberState::Applied, kept, ..doomed_member(kind, "web") };
            let record = held(|head| head.inventory.push(member));
            assert_eq!(asked(&record, Duration::ZERO).held_up.is_empty(), kept, "{kind:?}");
        }
    }
}
