//! What a list shows of a deployment by its record alone, without a look at its objects.

use super::*;
use crate::record::Cause;

#[test]
fn a_stopped_update_is_degraded_before_anybody_looks_again() {
    use DeploymentState::{Active, Degraded, Deleting, Deploying, Failed, Stopped};
    let told = |change: &dyn Fn(&mut Expected), looked_at| {
        let mut expected = expected(Kind::Pod, "web-pod");
        change(&mut expected);
        recorded(&expected, looked_at).state
    };
    for looked_at in [Active, Degraded, Deploying, Failed, Stopped] {
        let outcome = if looked_at == Failed { Failed } else { Degraded };
        assert_eq!(told(&|one| one.incomplete = true, looked_at), outcome);
        assert_eq!(told(&|one| (one.incomplete, one.applying) = (true, true), looked_at), Deploying);
        assert_eq!(told(&|one| one.deleting = true, looked_at), Deleting);
        assert_eq!(told(&|_| (), looked_at), looked_at);
    }
}

#[test]
fn nothing_is_told_of_a_component_that_nobody_has_looked_at() {
    let mut expected = expected(Kind::ReplicationController, "rc");
    expected.components[0].replicas = Some(3);
    let told = |looked_at| {
        let component = recorded(&expected, looked_at).components.remove(0);
        (component.state, component.is_counted.then_some((component.ready, component.desired)))
    };
    use DeploymentState::{Active, Degraded, Deleting, Deploying, Failed, Stopped};
    assert_eq!(told(Active), (ComponentState::Ready, Some((3, 3))));
    assert!(told(Stopped).1.is_some(), "none runs");
    assert_eq!(told(Deleting), (ComponentState::Deleting, None));
    // One of several components is why, and a record does not say which.
    assert_eq!([Degraded, Deploying, Failed].map(told), [(ComponentState::Unknown, None); 3]);
}

#[test]
fn what_is_scaled_to_zero_is_stopped_for_a_list_too() {
    let told = |replicas, looked_at| {
        let mut expected = expected(Kind::ReplicationController, "rc");
        expected.components[0].replicas = Some(replicas);
        recorded(&expected, looked_at).components[0].state
    };
    assert_eq!(told(0, DeploymentState::Active), ComponentState::Stopped);
    assert_eq!(told(1, DeploymentState::Active), ComponentState::Ready);
    assert_eq!(told(0, DeploymentState::Deploying), ComponentState::Unknown, "some may still run");
}

#[test]
fn a_list_tells_why_a_deployment_has_failed_and_which_component_it_was() {
    let mut expected = expected(Kind::ReplicationController, "rc");
    let other = ExpectedComponent {
        name: ComponentName::new("other").expect("a name"),
        ..expected.components[0].clone()
    };
    expected.components.push(other);
    let web = expected.components[0].name.clone();
    expected.cause = Some(Cause::new(Some(web), "component web: container web: ImagePullBackOff"));
    let told = |looked_at| {
        let status = recorded(&expected, looked_at);
        let states: Vec<_> = status.components.iter().map(|component| component.state).collect();
        (states, status.message)
    };
    let failed = (
        vec![ComponentState::Failed, ComponentState::Unknown],
        "component web: container web: ImagePullBackOff".to_owned(),
    );
    assert_eq!(told(DeploymentState::Failed), failed);
    assert_eq!(told(DeploymentState::Degraded), failed);
    // What was written down once is over.
    assert_eq!(told(DeploymentState::Active), (vec![ComponentState::Ready; 2], String::new()));
    assert_eq!(told(DeploymentState::Deploying), (vec![ComponentState::Unknown; 2], String::new()));
}
