//! The marks that tie an object to its deployment: labels, annotations and field managers.

use super::DeploymentName;

/// The label the seed's page selects pods by: the component's name.
pub const LABEL_NAME: &str = "name";
/// The component's name in today's recommended spelling.
pub const LABEL_COMPONENT: &str = "app.kubernetes.io/name";
/// The deployment's name.
pub const LABEL_INSTANCE: &str = "app.kubernetes.io/instance";
/// Says that this adapter owns the object.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`LABEL_MANAGED_BY`].
pub const MANAGED_BY: &str = "panamax-kubernetes-adapter";
/// On pods: the revision in which the component last changed; stamped by the plan.
pub const LABEL_REVISION: &str = "panamax.io/revision";
/// On our records: `head` or `revision`.
pub const LABEL_RECORD: &str = "panamax.io/record";
/// On the head: its phase.
pub const LABEL_PHASE: &str = "panamax.io/phase";
/// The image's name as the template has it.
pub const ANNOTATION_IMAGE: &str = "panamax.io/image";
/// The link's alias as the template has it.
pub const ANNOTATION_ALIAS: &str = "panamax.io/alias";

/// The field manager of every object of a deployment.
pub fn field_manager(deployment: &DeploymentName) -> String {
    format!("panamax:{deployment}")
}

/// The field manager of replica counts set by Scale.
pub fn scale_manager(deployment: &DeploymentName) -> String {
    format!("panamax-scale:{deployment}")
}

/// Selects every object of a deployment, its records included.
pub fn selector_of(deployment: &DeploymentName) -> String {
    format!("{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_INSTANCE}={deployment}")
}
