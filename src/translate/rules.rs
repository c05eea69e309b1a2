//! The rules of a translation: a profile, and the knobs that override it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::artifacts::{AnnotationKey, ForeignName, LabelKey, LabelValue, StorageSize};
use crate::facts::Facts;

/// A set of rules to translate by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// As the seed's page has it.
    #[default]
    Classic,
    /// As one would do it now.
    Modern,
}

/// The kind of object that runs an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Workload {
    /// A Pod for a count of 1, else a ReplicationController.
    #[default]
    PodOrReplicationController,
    /// An apps Deployment for any count.
    Deployment,
}

/// What becomes of host ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostPorts {
    /// The container takes the port on its node.
    #[default]
    Keep,
    /// A Service offers the port; no port of a node is taken.
    Drop,
}

/// Who provides the variables of links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkEnvironment {
    /// The kubelet, for all Services of the namespace.
    #[default]
    Kubelet,
    /// The translation, for declared links only, with Docker's complete set.
    Declared,
}

/// What becomes of volumes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeMapping {
    /// They are left out.
    #[default]
    Omit,
    /// A directory that lives as long as the pod.
    EmptyDir,
    /// The path of the node that the template names.
    HostPath,
    /// A volume claim of its own for each path.
    PersistentVolumeClaim,
}

/// What a new volume claim holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeFilling {
    /// Nothing.
    #[default]
    Empty,
    /// What the image has at the path, as in Docker: copied once, with owners and modes.
    FromImage,
}

impl VolumeFilling {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where variables are kept whose names look secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecretHandling {
    /// In the pod's definition, like all others.
    #[default]
    Plain,
    /// In a Secret of the component.
    Secret,
}

/// How published ports are reached from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exposure {
    /// Not at all: Services are reached within the cluster only.
    #[default]
    ClusterIp,
    /// On a port of every node, which the cluster chooses.
    NodePort,
    /// Through a load balancer that the cluster provides.
    LoadBalancer,
}

/// Everything that decides about a translation beside the template and the deployment's name.
///
/// The default is profile CLASSIC with no knob turned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// The profile; beyond the knobs it decides about the security settings of pods.
    pub profile: Profile,
    /// The kind of object that runs an image.
    pub workload: Workload,
    /// What becomes of host ports.
    pub host_ports: HostPorts,
    /// Who provides the variables of links.
    pub link_environment: LinkEnvironment,
    /// What becomes of volumes.
    pub volumes: VolumeMapping,
    /// Where secret variables are kept.
    pub secrets: SecretHandling,
    /// How published ports are reached from outside.
    pub exposure: Exposure,
    /// The size of each volume claim; applies to claims only.
    pub volume_size: StorageSize,
    /// The storage class of claims; `None`: the cluster's default.
    pub storage_class: Option<ForeignName>,
    /// What new claims hold; applies to claims only.
    #[serde(skip_serializing_if = "VolumeFilling::is_default")]
    pub filling: VolumeFilling,
    /// The Secrets with which images are pulled.
    pub image_pull_secrets: Vec<ForeignName>,
    /// The user's labels, on every object; never part of a selector.
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// The user's annotations, on every object.
    pub annotations: BTreeMap<AnnotationKey, String>,
    /// What is known of the images.
    #[serde(skip_serializing_if = "Facts::is_empty")]
    pub facts: Facts,
}

impl Rules {
    /// The rules of a profile with no knob turned.
    pub fn of(profile: Profile) -> Self {
        match profile {
            Profile::Classic => Self::default(),
            Profile::Modern => Self {
                profile,
                workload: Workload::Deployment,
                host_ports: HostPorts::Drop,
                link_environment: LinkEnvironment::Declared,
                volumes: VolumeMapping::PersistentVolumeClaim,
                secrets: SecretHandling::Secret,
                ..Self::default()
            },
        }
    }
}
