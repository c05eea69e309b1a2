//! Records that earlier versions have written, and what is concluded of revisions.

use jiff::Timestamp;

use super::*;

mod again;

/// A record at rest as the version before leases by observation, marks and a typed state has written it.
const EARLIER: &str = r#"{
  "schema": 1, "generation": 4, "template_name": "Shop", "phase": "idle",
  "current": {"number": 2, "secret": "panamax-deployment-shop-r2-0123abcd"}, "last_good": 2,
  "revisions": [
    {"number": 1, "secret": "panamax-deployment-shop-r1-89abcdef", "time": "2026-01-01T00:00:00Z", "complete": true},
    {"number": 2, "secret": "panamax-deployment-shop-r2-0123abcd", "time": "2026-01-02T00:00:00Z", "complete": true}
  ],
  "operation": null,
  "inventory": [{
    "reference": {"kind": "ReplicationController", "name": "web-replication-controller"}, "component": "web",
    "state": "applied", "uid": "3f", "pod_revision": 2, "template_replicas": 2, "scaled_replicas": 3,
    "generation": 5, "owned": "c0ffee"
  }],
  "recorded": {"state": "ACTIVE", "components": [{"name": "web", "image_name": "WEB", "image": "example/web:1"}]},
  "created": "2026-01-01T00:00:00Z", "updated": "2026-01-02T00:00:00Z"
}"#;

fn earlier() -> Head {
    serde_json::from_str(EARLIER).expect("a record")
}

#[test]
fn a_record_of_an_earlier_version_is_read_and_written_as_it_was() {
    let head = earlier();
    assert!(Head::knows(head.schema));
    assert_eq!(head.recorded.state, DeploymentState::Active);
    assert_eq!(head.superfluous_revisions(), []);
    let [earlier, now] = [EARLIER, &serde_json::to_string(&head).expect("JSON")]
        .map(|text| serde_json::from_str::<serde_json::Value>(text).expect("JSON"));
    assert_eq!(now, earlier, "an earlier version beside this one reads it, too");
}

#[test]
fn a_deployment_that_was_never_looked_at_is_deploying() {
    let text = EARLIER.replace("\"ACTIVE\"", "\"\"");
    let head: Head = serde_json::from_str(&text).expect("a record");
    assert_eq!(head.recorded.state, DeploymentState::Deploying);
}

#[test]
fn what_an_earlier_version_did_not_write_down_is_concluded() {
    let mut head = earlier();
    let results = |head: &Head| -> Vec<_> {
        head.listed().into_iter().map(|entry| (entry.revision.number, head.result(entry))).collect()
    };
    assert_eq!(results(&head), [(2, RevisionResult::Succeeded), (1, RevisionResult::Superseded)]);
    // The next one is good, too: the one before stays so.
    let third = HeadRef { number: 3, secret: "panamax-deployment-shop-r3-01234567".to_owned() };
    let second = head.revisions[1].clone();
    head.revisions.push(RevisionEntry { revision: third.clone(), ..second });
    head.current = Some(third);
    head.recorded.state = DeploymentState::Deploying;
    assert_eq!(results(&head)[0], (3, RevisionResult::InProgress));
    assert_eq!(head.good_before().map(|entry| entry.revision.number).collect::<Vec<_>>(), [2]);
    for (state, result) in [
        (DeploymentState::Degraded, RevisionResult::Failed),
        (DeploymentState::Active, RevisionResult::Succeeded),
        (DeploymentState::Failed, RevisionResult::Succeeded),
        (DeploymentState::Stopped, RevisionResult::Succeeded),
    ] {
        head = settled(state, None, true).apply(&head);
        assert_eq!(results(&head)[..2], [(3, result), (2, RevisionResult::Succeeded)], "{state:?}");
    }
    assert_eq!(head.last_good, Some(3));
}

#[test]
fn why_a_revision_failed_is_written_down_once_until_it_was_ready() {
    let head = earlier();
    let head = ending(&head, 3, false, None).apply(&head);
    let seen = |head: &Head, state, why: &str| {
        let cause = Some(Cause::new(None, why)).filter(|_| !why.is_empty());
        settled(state, cause, true).apply(head)
    };
    let why = |head: &Head| {
        let current = head.current.as_ref().expect("a revision");
        head.cause_of(current).map(|cause| cause.why.clone())
    };
    let failed = seen(&head, DeploymentState::Failed, "its image cannot be pulled");
    assert_eq!(why(&failed).as_deref(), Some("its image cannot be pulled"));
    let again = seen(&failed, DeploymentState::Degraded, "it crashes");
    assert_eq!(why(&again), why(&failed), "as it was seen first");
    let ready = seen(&again, DeploymentState::Active, "");
    assert_eq!((why(&ready), ready.result(ready.listed()[0])), (None, RevisionResult::Succeeded));
    assert_eq!(
        why(&seen(&ready, DeploymentState::Failed, "it crashes")),
        None,
        "a revision that was good stays so"
    );
    let incomplete = ending(&head, 4, true, None).apply(&head);
    let told = "not reached: ReplicationController web-replication-controller";
    assert_eq!(why(&incomplete).as_deref(), Some(told));
}

#[test]
fn a_revision_in_whose_place_somebody_elses_image_runs_is_not_called_good() {
    let mut head = earlier();
    (head.last_good, head.inventory[0].other_image) = (None, true);
    let active = settled(DeploymentState::Active, None, true);
    let settled = active.apply(&head);
    assert_eq!((settled.last_good, settled.recorded.state), (None, DeploymentState::Active));
    assert_eq!(active.apply(&settled), settled, "nothing is left to write down");
    head.inventory[0].other_image = false;
    assert_eq!(active.apply(&head).last_good, Some(2));
}

#[test]
fn a_revision_that_scale_has_stopped_is_not_called_good() {
    let mut head = earlier();
    head.last_good = None;
    // One of its components, and the others are ready; or all of them.
    for state in [DeploymentState::Active, DeploymentState::Stopped] {
        let failed =
            settled(DeploymentState::Failed, Some(Cause::new(None, "it crashes")), true).apply(&head);
        let stopped = settled(state, None, false).apply(&failed);
        assert_eq!((stopped.last_good, stopped.recorded.state), (None, state));
        assert_eq!(stopped.result(stopped.listed()[0]), RevisionResult::Failed);
        assert!(
            stopped.revisions.iter().any(|entry| entry.cause.is_some()),
            "why it has failed is not forgotten"
        );
        assert_eq!(settled(state, None, true).apply(&head).last_good, Some(2), "its template asks for none");
    }
}

fn settled(state: DeploymentState, cause: Option<Cause>, ran: bool) -> Transition {
    Transition::Settled { seen: Some(Seen { state, cause, ran }), gone: Default::default() }
}

/// A Deploy of the same objects begins; whoever holds the record is taken over.
fn begin(head: &Head, id: &str, takes_back: bool, back_to: Option<HeadRef>) -> Head {
    beginning(head, id, takes_back, back_to).apply(head)
}

fn beginning(head: &Head, id: &str, takes_back: bool, back_to: Option<HeadRef>) -> Transition {
    let number = head.next_revision();
    let revision = HeadRef { number, secret: format!("panamax-deployment-shop-r{number}-{id}") };
    let operation = Operation {
        id: id.to_owned(),
        kind: OperationKind::Deploy,
        epoch: 1,
        holder: "somebody".to_owned(),
        started: head.created,
        lease_until: head.created,
        lease_millis: 1,
        revision: Some(revision.clone()),
        request: None,
        back_to: back_to.clone(),
        rollback_of: None,
        by: None,
    };
    let work = Work::Deploy {
        revision,
        template_name: String::new(),
        recorded: Recorded::default(),
        inventory: head.inventory.clone(),
        back_to,
        rollback_of: None,
        takes_back: takes_back.then(|| Cause::new(None, "it failed")),
        prunes: true,
    };
    Transition::Begin(Box::new(Begin { operation, work }))
}

#[test]
fn nobody_goes_forward_to_what_is_taken_back() {
    let head = earlier();
    let numbers = |head: &Head| head.candidates().iter().map(|one| one.number).collect::<Vec<_>>();
    let updated = begin(&head, "aaaaaaaa", false, head.back_to());
    assert_eq!(updated.operation.as_ref().and_then(|one| one.back_to.clone()), head.current);
    let back = begin(&updated, "bbbbbbbb", true, None);
    let failed = back.listed()[0];
    assert_eq!((failed.revision.number, back.result(failed)), (3, RevisionResult::RolledBack));
    assert_eq!(numbers(&back), [4, 2]);
    // Whoever takes it over with a template of its own, and dies, leaves the same choice.
    let other = begin(&updated, "cccccccc", false, None);
    assert_eq!((numbers(&other), other.listed().len()), (vec![4, 2], 2));
}

#[test]
fn what_is_put_back_was_applied_whole_and_not_seen_to_fail() {
    let mut head = earlier();
    let number = |head: &Head| head.back_to().map(|one| one.number);
    assert_eq!(number(&head), Some(2));
    head.last_good = Some(1);
    assert_eq!(number(&head), Some(2), "it may become ready yet");
    head.revisions[1].seen = Some(Outcome::Failed);
    assert_eq!(number(&head), Some(1));
    (head.revisions[1].seen, head.revisions[1].complete) = (None, false);
    assert_eq!(number(&head), Some(1));
    head.last_good = None;
    assert_eq!(number(&head), Some(2), "there is no better one");
    head.current = None;
    assert_eq!(number(&head), None);
}

/// A record whose only object is to be deleted.
fn pruning() -> Head {
    let mut head = earlier();
    head.inventory[0].state = MemberState::Deleting;
    head
}

fn refused_delete(head: &Head, uid: &str, why: &str, second: i64) -> RefusedObject {
    let since = Timestamp::from_second(second).expect("a time");
    RefusedObject::delete(head.inventory[0].reference.clone(), Some(uid.to_owned()), why, since)
}

fn answered(refused: Vec<RefusedObject>) -> Transition {
    Transition::DeletesAnswered { refused, accepted: Vec::new() }
}

#[test]
fn a_refused_delete_keeps_its_time_until_it_is_accepted_or_over() {
    let head = pruning();
    let first = answered(vec![refused_delete(&head, "3f", "a policy", 1)]).apply(&head);
    let again = answered(vec![refused_delete(&head, "3f", "a webhook", 2)]).apply(&first);
    let told = Refusing(&again.refused).to_string();
    assert!(
        told.contains("web-replication-controller cannot be deleted since 1970-01-01T00:00:01Z"),
        "{told}"
    );
    assert!(told.contains("a webhook"), "{told}");
    // Nothing new is nothing to write.
    assert_eq!(answered(vec![refused_delete(&head, "3f", "a webhook", 3)]).apply(&again), again);
    let key = (head.inventory[0].reference.clone(), Some("3f".to_owned()));
    let accepted = Transition::DeletesAnswered { refused: Vec::new(), accepted: vec![key] };
    assert_eq!(accepted.apply(&again).refused, []);
    let gone = Transition::Settled { seen: None, gone: ["3f".to_owned()].into() };
    assert_eq!(gone.apply(&again).refused, []);
    let mut wanted_again = again;
    wanted_again.inventory[0].state = MemberState::Applied;
    assert_eq!(Transition::Answered(request()).apply(&wanted_again).refused, []);
    // Another object of that name is not meant.
    assert_eq!(answered(vec![refused_delete(&head, "40", "a policy", 1)]).apply(&head).refused, []);
}

fn request() -> RequestEntry {
    let request = Request { id: "one".to_owned(), method: "Deploy".to_owned(), digest: None };
    RequestEntry { request, outcome: RequestOutcome::Updated, time: Timestamp::UNIX_EPOCH }
}

/// What ends an update; `untouched`: the controller was not reached.
fn ending(head: &Head, number: u32, untouched: bool, pledge: Option<HeadRef>) -> Transition {
    let reference = head.inventory[0].reference.clone();
    let missing = RefusedObject::write(reference.clone(), "", Timestamp::UNIX_EPOCH);
    Transition::Applied(Box::new(Applied {
        inventory: head.inventory.clone(),
        revision: Some(HeadRef { number, secret: format!("r{number}") }),
        complete: !untouched,
        phase: if untouched { Phase::Incomplete } else { Phase::Progressing },
        refused: if untouched { vec![missing] } else { Vec::new() },
        untouched: if untouched { vec![reference] } else { Vec::new() },
        pledge,
        not_put_back: None,
        now: Timestamp::UNIX_EPOCH,
    }))
}

#[test]
fn what_an_update_never_reached_stands_as_before_until_it_is_written() {
    let head = earlier();
    let third = ending(&head, 3, true, None).apply(&head);
    assert_eq!((third.inventory[0].stands_as, third.refused.len()), (Some(2), 1));
    let told = Refusing(&third.refused).to_string();
    assert_eq!(told, "not reached: ReplicationController web-replication-controller");
    let fourth = ending(&third, 4, true, None).apply(&third);
    assert_eq!(fourth.inventory[0].stands_as, Some(2), "twice in vain is once");
    let fifth = ending(&fourth, 5, false, None).apply(&fourth);
    assert_eq!((fifth.inventory[0].stands_as, fifth.refused.len()), (None, 0));
}

#[test]
fn who_does_not_hear_that_it_has_ended_finds_that_whatever_came_since() {
    let head = earlier();
    let underway = begin(&head, "own", false, None);
    let end = ending(&underway, 3, false, None);
    let ended = end.apply(&underway);
    let next = begin(&ended, "next", false, None);
    assert!(end.is_made(&underway, &ended) && end.is_made(&underway, &next));
    // Whose operation was taken over has not ended it.
    let taken_over = begin(&underway, "next", false, None);
    assert!(!end.is_made(&underway, &taken_over));
    let recovered = ending(&taken_over, 4, false, None).apply(&taken_over);
    assert!(!end.is_made(&underway, &recovered));
}

#[test]
fn who_does_not_hear_that_counts_or_a_request_are_noted_finds_that_too() {
    let head = earlier();
    let now = "2026-01-02T00:00:00Z".parse().expect("a time");
    let scaled = |id: &str| {
        let (id, counts) = (id.to_owned(), Vec::new());
        Transition::Scaled { id, counts, request: None, now }
    };
    let noted = scaled("own").apply(&head);
    let next = begin(&noted, "next", false, None);
    assert!(scaled("own").is_made(&head, &noted) && scaled("own").is_made(&head, &next));
    assert!(!scaled("other").is_made(&head, &next));
    let request = Request { id: "request".to_owned(), method: "Scale".to_owned(), digest: None };
    let answered = Transition::Answered(RequestEntry { request, outcome: RequestOutcome::Scaled, time: now });
    let next = begin(&answered.apply(&head), "next", false, None);
    assert!(answered.is_made(&head, &next) && !answered.is_made(&head, &head));
}

#[test]
fn a_request_whose_revision_is_taken_back_is_not_remembered() {
    let head = earlier();
    let now = head.revisions[1].time;
    let entry = |id: &str, time| RequestEntry {
        request: Request { id: id.to_owned(), method: "Deploy".to_owned(), digest: None },
        outcome: RequestOutcome::Updated,
        time,
    };
    let mut next = head.0;
    next.requests = vec![entry("earlier", head_time()), entry("own", now)];
    next.mark_taken_back(&Cause::new(None, "it fails"));
    let known: Vec<&str> = next.requests.iter().map(|entry| entry.request.id.as_str()).collect();
    assert_eq!((known, next.revisions[1].seen), (vec!["earlier"], Some(Outcome::RolledBack)));
}

/// When the first revision of that record was made.
fn head_time() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

#[test]
fn a_promise_to_go_back_is_void_once_everything_was_ready() {
    let head = earlier();
    let promised = ending(&head, 3, false, head.current.clone()).apply(&head);
    assert_eq!(promised.pledge, head.current);
    let seen = |state| settled(state, None, true).apply(&promised);
    assert_eq!(seen(DeploymentState::Failed).pledge, head.current);
    assert_eq!(seen(DeploymentState::Active).pledge, None);
}

#[test]
fn who_takes_back_a_first_deploy_says_whether_something_may_still_arrive() {
    let head = earlier();
    let underway = begin(&head, "own", false, None);
    for is_in_doubt in [true, false] {
        let back = Transition::TakeBack { inventory: Vec::new(), retained: Vec::new(), is_in_doubt };
        let taken = back.apply(&underway);
        assert_eq!(taken.phase, Phase::Deleting);
        assert_eq!(taken.doubts().any(|id| *id == "own"), is_in_doubt);
        assert!(back.is_made(&underway, &taken), "sent twice, it is done once");
    }
}
