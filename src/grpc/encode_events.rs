//! What happened to a deployment's objects, as the contract has it.

use super::encode_time::timestamp;
use crate::artifacts::Namespace;
use crate::proto;
use crate::status::DeploymentEvent;

pub(super) fn event(namespace: &Namespace, event: &DeploymentEvent) -> proto::DeploymentEvent {
    let object = &event.object;
    let severity = if event.is_warning { proto::Severity::Warning } else { proto::Severity::Info };
    proto::DeploymentEvent {
        r#ref: Some(proto::ObjectRef {
            group: object.group.clone(),
            version: object.version.clone(),
            kind: object.kind.clone(),
            namespace: namespace.to_string(),
            name: object.name.clone(),
            uid: object.uid.clone(),
        }),
        component: event.component.clone(),
        severity: severity.into(),
        reason: event.reason.clone(),
        message: event.message.clone(),
        count: event.count,
        first_time: event.first.map(timestamp),
        last_time: event.last.map(timestamp),
    }
}
