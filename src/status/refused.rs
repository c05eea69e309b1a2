//! What of a deployment's state follows from objects that the cluster refuses to delete or to write.

use super::{DeploymentState, Expected, Reason, Status};
use crate::artifacts::Kind;
use crate::record::{RefusedObject, Refusing};

/// What is said of an update that was not written whole.
pub(super) const INCOMPLETE: &str =
    "the last update could not write every object; the next Deploy repairs it";

/// The state that is told: a deployment is not as it was asked for while something of it cannot be deleted.
///
/// As long as its components are on their way that is told of them, unless it is one of their own pods.
pub(super) fn state(expected: &Expected, of_components: DeploymentState) -> DeploymentState {
    let mut deletes = expected.refused.iter().filter(|one| one.is_delete()).peekable();
    let is_kept = deletes.peek().is_some();
    let is_stuck = deletes.any(|one| one.reference.kind == Kind::Pod);
    match of_components {
        DeploymentState::Active | DeploymentState::Stopped if is_kept => DeploymentState::Degraded,
        DeploymentState::Deploying if is_stuck && !expected.applying => DeploymentState::Degraded,
        other => other,
    }
}

/// Adds what is refused to the message, and to the reason if there is none; also a promise that could not be kept.
pub(super) fn tell(expected: &Expected, status: &mut Status) {
    let unkept =
        expected.not_put_back.iter().filter(|why| (why.again || !expected.applying) && !expected.deleting);
    unkept.for_each(|why| add(status, &why.to_string()));
    let is_told = |one: &&RefusedObject| one.is_delete() || expected.incomplete && !expected.applying;
    let refused: Vec<RefusedObject> = expected.refused.iter().filter(is_told).cloned().collect();
    if refused.is_empty() {
        return;
    }
    status.reason = status.reason.or(Some(Reason::ApplyIncomplete));
    add(status, &Refusing(&refused).to_string());
}

/// Adds to what is said of the whole.
fn add(status: &mut Status, text: &str) {
    if !status.message.is_empty() {
        status.message.push_str("; ");
    }
    status.message.push_str(text);
}
