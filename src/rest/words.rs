//! A service as the agents know it: an id and a word for its state.

use serde_json::{Value, json};

use super::ids;
use crate::operations::DeploymentView;
use crate::status::{ComponentState, ComponentStatus};

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
        ComponentState::Pending => "pending".to_owned(),
        ComponentState::Failed if component.message.is_empty() => "failed".to_owned(),
        ComponentState::Failed => format!("failed: {}", component.message),
        ComponentState::Stopped => "stopped".to_owned(),
        ComponentState::Deleting => "deleting".to_owned(),
    }
}
