//! A service as the agents know it: an id and a word for its state.

use serde_json::{Value, json};

use super::ids;
use crate::artifacts::ComponentName;
use crate::operations::DeploymentView;
use crate::status::{ComponentState, ComponentStatus};

/// The entries of the services of a deployment, as they were listed.
pub(super) fn entries_of(listed: &[ComponentName], view: &DeploymentView) -> Vec<Value> {
    let components = &view.status.components;
    let found = listed.iter().filter_map(|name| components.iter().find(|component| component.name == *name));
    found.map(|component| entry(component, view)).collect()
}

/// The entries of all services of a deployment, in the template's order.
pub(super) fn entries(view: &DeploymentView) -> Vec<Value> {
    view.status.components.iter().map(|component| entry(component, view)).collect()
}

/// What an agent is told of one service; both are texts, or the Go agent ends.
pub(super) fn entry(component: &ComponentStatus, view: &DeploymentView) -> Value {
    json!({ "id": ids::of(&component.name, view), "actualState": state(component) })
}

/// The state in the words of the adapters before.
fn state(component: &ComponentStatus) -> String {
    let counts = format!("{}/{}", component.ready, component.desired);
    match component.state {
        ComponentState::Ready => format!("running {counts}"),
        ComponentState::Progressing => format!("pending {counts}"),
        ComponentState::Pending | ComponentState::Unknown => "pending".to_owned(),
        ComponentState::Failed if component.message.is_empty() => "failed".to_owned(),
        ComponentState::Failed => format!("failed: {}", component.message),
        ComponentState::Stopped => "stopped".to_owned(),
        ComponentState::Deleting => "deleting".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(state: ComponentState, (ready, desired): (i32, i32), message: &str) -> String {
        super::state(&ComponentStatus {
            name: ComponentName::new("web").unwrap(),
            image_name: "Web".to_owned(),
            image: "example/web:1".to_owned(),
            workload: None,
            uid: None,
            desired,
            ready,
            updated: ready,
            state,
            reason: None,
            message: message.to_owned(),
            pods: Vec::new(),
            is_counted: true,
            is_hopeless: false,
            has_left: false,
            held_up: Vec::new(),
        })
    }

    #[test]
    fn every_state_has_its_words() {
        let why = "container web: ErrImagePull";
        for (state, counts, message, words) in [
            (ComponentState::Ready, (2, 2), "", "running 2/2"),
            (ComponentState::Progressing, (1, 2), "pods are starting", "pending 1/2"),
            (ComponentState::Progressing, (0, 1), "", "pending 0/1"),
            (ComponentState::Pending, (0, 2), "it is not there yet", "pending"),
            (ComponentState::Unknown, (0, 2), "nobody has looked", "pending"),
            (ComponentState::Failed, (1, 2), why, "failed: container web: ErrImagePull"),
            (ComponentState::Failed, (0, 1), "", "failed"),
            (ComponentState::Stopped, (0, 0), "it is scaled to zero", "stopped"),
            (ComponentState::Deleting, (1, 1), "it is being deleted", "deleting"),
        ] {
            assert_eq!(word(state, counts, message), words, "{state:?}");
        }
    }
}
