//! Rollouts of ReplicationControllers: which old pods go, and when.

use super::*;

/// A rollout from revision 1 to 2 of a controller that has seen generation `seen` and makes pods of `made`.
pub(super) fn rolling(seen: i64, made: u32, pods: Vec<Value>) -> Rollout {
    rolling_of(&expected(Kind::ReplicationController, "rc"), seen, made, pods)
}

fn rolling_of(expected: &Expected, seen: i64, made: u32, pods: Vec<Value>) -> Rollout {
    let observed = Observed {
        pods: pods.into_iter().map(from_json).collect(),
        controllers: vec![from_json(json!({
            "metadata": {"name": "rc", "uid": "rc-uid", "generation": 3},
            "spec": {"replicas": 2, "template": {"metadata": {"labels": {"panamax.io/revision": made.to_string()}}}},
            "status": {"replicas": 2, "observedGeneration": seen},
        }))],
        ..Observed::default()
    };
    rollouts(expected, &observed).remove(0)
}

fn replaced(rollout: &Rollout) -> Vec<String> {
    rollout.replace.iter().map(|(pod, _)| pod.name.to_string()).collect()
}

#[test]
fn outdated_pods_go_only_after_their_controller_has_seen_its_newest_form() {
    assert_eq!(replaced(&rolling(2, 2, two_pods(1))), Vec::<String>::new());
    assert_eq!(replaced(&rolling(3, 1, two_pods(1))), Vec::<String>::new(), "it would make them again");
    assert!(rolling(2, 2, two_pods(1)).waits.is_some(), "somebody may ask why");
    assert_eq!(replaced(&rolling(3, 2, two_pods(1))), ["a"]);
    assert_eq!(rolling(3, 2, two_pods(2)), Rollout::default());
}

#[test]
fn pods_of_another_controller_of_the_same_name_stay() {
    let mut expected = expected(Kind::ReplicationController, "rc");
    let of = |expected: &Expected| replaced(&rolling_of(expected, 3, 2, two_pods(1)));
    expected.components[0].workload_uid = Some("rc-uid".to_owned());
    assert_eq!(of(&expected), ["a"]);
    expected.components[0].workload_uid = Some("another".to_owned());
    assert_eq!(of(&expected), Vec::<String>::new());
}

#[test]
fn ready_pods_go_one_at_a_time_and_unready_ones_at_once() {
    let old = |name: &str, ready| pod(name, 1, ready, Value::Null, true);
    let new = |name: &str, ready| pod(name, 2, ready, Value::Null, true);
    assert_eq!(replaced(&rolling(3, 2, vec![old("a", true), new("b", true)])), ["a"]);
    let waiting = rolling(3, 2, vec![old("a", true), new("b", false)]);
    assert_eq!(replaced(&waiting), Vec::<String>::new(), "two would be missing");
    assert!(waiting.waits.is_some_and(|why| why.contains("component web")));
    assert_eq!(
        replaced(&rolling(3, 2, vec![old("a", true)])),
        Vec::<String>::new(),
        "its successor is missing"
    );
    assert_eq!(replaced(&rolling(3, 2, vec![old("b", false), old("a", false), old("c", true)])), ["b", "a"]);
}
