//! Values: the Kubernetes objects a template becomes, and what is done to them.

mod change;
mod denial;
mod happening;
mod names;
mod observed;
mod ownership;
mod packed;
mod seen;
mod size;
mod state;
mod trace;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use change::{Action, Change, FieldChange};
pub use denial::Denial;
pub use happening::{Happening, Subject};
pub use names::{
    AnnotationKey, ComponentName, DeploymentName, ForeignName, LabelKey, LabelValue, NameError, Namespace,
    ObjectName, Target,
};
pub use observed::{ByName, HoldUp, Observed};
pub use ownership::{
    ANNOTATION_ALIAS, ANNOTATION_APPLIED, ANNOTATION_IMAGE, ANNOTATION_LAYOUT, ANNOTATION_OPERATION,
    FIELD_MANAGER, LABEL_COMPONENT, LABEL_INSTANCE, LABEL_MANAGED_BY, LABEL_NAME, LABEL_PHASE, LABEL_RECORD,
    LABEL_REVISION, LAYOUT_DATA, MANAGED_BY, field_manager, is_reserved_annotation, is_reserved_label,
    scale_manager, selector_of,
};
pub use packed::{Artifacts, Packed};
pub use seen::{Form, HeldField, ListedClaim, ListedObject, Others};
pub use size::StorageSize;
pub use state::DeploymentState;
pub use trace::{Trace, Traces, applied, digested, owned_fields, written_since};

/// The kinds of member objects; closed, and in the order of applying (deleting is its reverse).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// core/v1 Secret with lifted environment values.
    Secret,
    /// core/v1 PersistentVolumeClaim.
    PersistentVolumeClaim,
    /// core/v1 Service.
    Service,
    /// core/v1 ReplicationController.
    ReplicationController,
    /// apps/v1 Deployment, always called "apps Deployment" in prose.
    Deployment,
    /// core/v1 Pod.
    Pod,
}

/// What must be complete before what: the next stage starts when the one before it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// What workloads need from their first moment: Secrets, claims, Services.
    Foundation,
    /// What runs: ReplicationControllers, apps Deployments, Pods.
    Workload,
}

impl Kind {
    /// Every kind, in the order of applying.
    pub const ALL: [Kind; 6] = [
        Kind::Secret,
        Kind::PersistentVolumeClaim,
        Kind::Service,
        Kind::ReplicationController,
        Kind::Deployment,
        Kind::Pod,
    ];

    /// What a component's workload of this kind is called.
    pub fn workload_name(self, component: &str) -> String {
        match self {
            Kind::Pod => format!("{component}-pod"),
            Kind::ReplicationController => format!("{component}-replication-controller"),
            Kind::Deployment | Kind::Secret | Kind::PersistentVolumeClaim | Kind::Service => {
                component.to_owned()
            }
        }
    }

    /// The kind as Kubernetes spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Secret => "Secret",
            Kind::PersistentVolumeClaim => "PersistentVolumeClaim",
            Kind::Service => "Service",
            Kind::ReplicationController => "ReplicationController",
            Kind::Deployment => "Deployment",
            Kind::Pod => "Pod",
        }
    }

    /// The API group; empty for the core group.
    pub fn group(self) -> &'static str {
        match self {
            Kind::Deployment => "apps",
            Kind::Secret
            | Kind::PersistentVolumeClaim
            | Kind::Service
            | Kind::ReplicationController
            | Kind::Pod => "",
        }
    }

    /// The `apiVersion` of a manifest.
    pub fn api_version(self) -> &'static str {
        if self.group().is_empty() { "v1" } else { "apps/v1" }
    }

    /// The resource's name in a URL.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Secret => "secrets",
            Kind::PersistentVolumeClaim => "persistentvolumeclaims",
            Kind::Service => "services",
            Kind::ReplicationController => "replicationcontrollers",
            Kind::Deployment => "deployments",
            Kind::Pod => "pods",
        }
    }

    /// The stage in which it is applied.
    pub fn stage(self) -> Stage {
        match self {
            Kind::Secret | Kind::PersistentVolumeClaim | Kind::Service => Stage::Foundation,
            Kind::ReplicationController | Kind::Deployment | Kind::Pod => Stage::Workload,
        }
    }

    /// Whether it runs pods of its own template.
    pub fn is_controller(self) -> bool {
        matches!(self, Kind::ReplicationController | Kind::Deployment)
    }
}

/// Names one member object of a deployment, within its namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: ObjectName,
}

impl ObjectRef {
    /// Puts kind and name together.
    pub fn new(kind: Kind, name: ObjectName) -> Self {
        Self { kind, name }
    }
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.kind.as_str(), self.name)
    }
}

/// One object a template becomes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Kind and name.
    pub reference: ObjectRef,
    /// The component it belongs to: the image itself, or for a Service the image it leads to.
    pub component: ComponentName,
    /// The template's part it was made from, as `images[1]` or `images[0].links[2]`.
    pub origin: String,
    /// The whole object with `apiVersion`, `kind` and `metadata`, without a namespace but for [`Artifacts::within`].
    pub manifest: Value,
}

impl std::fmt::Debug for Artifact {
    /// Leaves the manifest out: it holds the values of the environment.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Artifact")
            .field("reference", &self.reference)
            .field("component", &self.component)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
