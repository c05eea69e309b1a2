//! What the cluster refuses to delete, beside components that run.

use super::*;
use crate::record::RefusedObject;

/// Two ready pods of a controller, with something that the cluster refuses to delete beside them.
fn refusing(kind: Kind, name: &str, change: impl Fn(&mut Expected)) -> Status {
    let mut expected = expected(Kind::ReplicationController, "rc");
    let reference = ObjectRef::new(kind, ObjectName::new(name).expect("a name"));
    let since = jiff::Timestamp::UNIX_EPOCH;
    expected.refused = vec![RefusedObject::delete(reference, Some("u".to_owned()), "a policy", since)];
    change(&mut expected);
    let observed = Observed {
        pods: two_pods(2).into_iter().map(from_json).collect(),
        controllers: vec![from_json(controller())],
        ..Observed::default()
    };
    conclude(&expected, &observed)
}

#[test]
fn what_cannot_be_deleted_is_told_and_keeps_nobody_waiting() {
    let status = refusing(Kind::Service, "db", |_| {});
    assert_eq!((status.state, status.of_components), (DeploymentState::Degraded, DeploymentState::Active));
    assert_eq!(status.reason, Some(Reason::ApplyIncomplete));
    assert!(status.is_ready() && !status.is_hopeless());
    assert!(
        status.message.contains("Service db") && status.message.contains("a policy"),
        "{}",
        status.message
    );
    let late = |expected: &mut Expected| expected.components[0].pod_revision = Some(3);
    // As long as the components are on their way that is what is told, unless it is their own pods that stay.
    assert_eq!(refusing(Kind::Service, "db", late).state, DeploymentState::Deploying);
    let stuck = refusing(Kind::Pod, "a", late);
    assert_eq!((stuck.state, stuck.is_ready()), (DeploymentState::Degraded, false));
    let going = refusing(Kind::Service, "db", |expected| expected.deleting = true);
    assert_eq!(going.state, DeploymentState::Deleting);
    assert!(going.message.contains("Service db"), "{}", going.message);
}
