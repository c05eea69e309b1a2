//! What was decided on a record that others have written meanwhile.

use super::*;
use crate::artifacts::{Kind, ObjectName, ObjectRef};

/// A record whose current revision goes back to this one if it fails.
fn pledged() -> Head {
    let head = earlier();
    ending(&head, 3, false, head.current.clone()).apply(&head)
}

#[test]
fn a_dead_operation_is_taken_over_beside_others_writes_only_if_it_was_not_renewed() {
    let seen = begin(&earlier(), "dead", false, None);
    let next = beginning(&seen, "next", false, None);
    let mut recorded = seen.clone();
    recorded.recorded.state = DeploymentState::Degraded;
    assert!(next.holds_on(&seen, &seen) && next.holds_on(&seen, &recorded));
    let renewed = Transition::Renew { until: "2026-01-02T00:01:00Z".parse().expect("a time") }.apply(&seen);
    assert!(!next.holds_on(&seen, &renewed), "its holder lives");
    let mut followed = seen.clone();
    followed.generation += 1;
    assert!(!next.holds_on(&seen, &followed), "another operation came");
}

#[test]
fn what_a_keeper_has_seen_gives_way_to_what_another_has_written_down_since() {
    let before = pledged();
    let failed = settled(DeploymentState::Failed, None, true);
    let since = settled(DeploymentState::Active, None, true).apply(&before);
    assert!(!failed.holds_on(&before, &since), "that may be later");
    // What says nothing of the state is no reason to look again.
    let revisions = vec![before.revisions[0].revision.clone()];
    let since = Transition::RevisionsDropped { revisions }.apply(&before);
    assert!(failed.holds_on(&before, &since));
}

#[test]
fn nobody_takes_back_what_was_seen_ready_meanwhile() {
    let before = pledged();
    let back = beginning(&before, "back", true, None);
    let not_put_back = Transition::NotPutBack(NotPutBack::new(2, "refused"));
    let failed = settled(DeploymentState::Failed, None, true).apply(&before);
    let ready = settled(DeploymentState::Active, None, true).apply(&before);
    for (since, holds) in [(&failed, true), (&ready, false)] {
        assert_eq!((back.holds_on(&before, since), not_put_back.holds_on(&before, since)), (holds, holds));
    }
    // Whoever writes another template does so all the same.
    assert!(beginning(&before, "next", false, None).holds_on(&before, &ready));
}

#[test]
fn a_count_is_noted_of_the_object_that_it_was_set_on() {
    let head = earlier();
    let web = head.inventory[0].clone();
    let noted = |set: &Member| {
        let counts = vec![Member { scaled_replicas: Some(7), ..set.clone() }];
        let scaled = Transition::Scaled { id: "own".to_owned(), counts, request: None, now: head_time() };
        scaled.apply(&head).inventory[0].clone()
    };
    let later = Member { generation: Some(6), ..web.clone() };
    assert_eq!((noted(&later).scaled_replicas, noted(&later).generation), (Some(7), Some(6)));
    let another = Member { uid: Some("another".to_owned()), ..later };
    assert_eq!(noted(&another), web, "somebody has made another controller");
}

#[test]
fn a_pod_that_a_controller_has_taken_over_stays_known() {
    let mut head = earlier();
    let pod = ObjectRef::new(Kind::Pod, ObjectName::new("web-pod").expect("a name"));
    head.inventory[0].adopts = Some(Adopted { reference: pod.clone(), uid: "pod".to_owned() });
    let ready = settled(DeploymentState::Active, None, true).apply(&head);
    assert_eq!((&ready.inventory[0].adopts, ready.inventory[0].adopted.as_deref()), (&None, Some("pod")));
    assert!(ready.knows(&pod, "pod") && !ready.knows(&pod, "another"));
}
