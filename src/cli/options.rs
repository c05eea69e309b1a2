//! The flags that say how a template is translated and deployed: a flag for each field of DeployOptions.

use clap::Args;

use super::failure::{Failure, once};
use super::words::{pair, text, word};
use panamax_kubernetes_adapter_client as proto;

/// How a template is translated and deployed.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Options of the deployment")]
pub struct OptionArgs {
    /// Set of translation rules that the other flags change [default: classic]
    #[arg(long, value_parser = word::<proto::Profile>())]
    profile: Option<i32>,

    /// What runs an image
    #[arg(long, value_parser = word::<proto::WorkloadKind>())]
    workload: Option<i32>,

    /// What becomes of host ports
    #[arg(long, value_parser = word::<proto::HostPorts>())]
    host_ports: Option<i32>,

    /// Who sets the variables of links
    #[arg(long, value_parser = word::<proto::LinkEnvironment>())]
    link_environment: Option<i32>,

    /// What volumes become
    #[arg(long = "volumes", value_parser = word::<proto::VolumeMapping>())]
    mapping: Option<i32>,

    /// Where variables are kept that look secret
    #[arg(long, value_parser = word::<proto::SecretHandling>())]
    secrets: Option<i32>,

    /// Type of the Services of images with ports
    #[arg(long, value_parser = word::<proto::Exposure>())]
    exposure: Option<i32>,

    /// What new volume claims hold
    #[arg(long, value_parser = word::<proto::VolumeFilling>())]
    volume_filling: Option<i32>,

    /// Size of volume claims, as 5Gi
    #[arg(long, value_parser = text(), value_name = "SIZE")]
    volume_size: Option<String>,

    /// Storage class of volume claims
    #[arg(long, value_parser = text(), value_name = "NAME")]
    storage_class: Option<String>,

    /// Secrets with the credentials of registries, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = text(), value_name = "NAMES")]
    image_pull_secrets: Vec<String>,

    /// Labels of every object, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = pair, value_name = "KEY=VALUE")]
    labels: Vec<(String, String)>,

    /// Annotation of every object; may be given several times
    #[arg(long, value_parser = pair, value_name = "KEY=VALUE")]
    annotations: Vec<(String, String)>,

    /// Create the namespace if it is not there
    #[arg(long)]
    create_namespace: bool,

    /// What becomes of objects that the template no longer has
    #[arg(long, value_parser = word::<proto::PrunePolicy>())]
    prune: Option<i32>,

    /// What is done where somebody else has set a field
    #[arg(long, value_parser = word::<proto::ConflictPolicy>())]
    conflicts: Option<i32>,

    /// Whose replica counts hold
    #[arg(long, value_parser = word::<proto::ReplicasPolicy>())]
    replicas_policy: Option<i32>,

    /// What becomes of an update that fails
    #[arg(long, value_parser = word::<proto::FailurePolicy>())]
    on_failure: Option<i32>,

    /// Whether warnings refuse the template
    #[arg(long, value_parser = word::<proto::Strictness>())]
    strictness: Option<i32>,
}

impl OptionArgs {
    /// Whether warnings refuse the template.
    pub fn is_strict(&self) -> bool {
        self.strictness == Some(proto::Strictness::Strict.into())
    }

    /// Refuses keys that are named twice.
    pub fn check(&self) -> Result<(), Failure> {
        once("--labels", &self.labels)?;
        once("--annotations", &self.annotations)
    }

    /// The options of a request.
    pub fn encoded(&self) -> proto::DeployOptions {
        proto::DeployOptions {
            profile: self.profile.unwrap_or_default(),
            workload: self.workload.unwrap_or_default(),
            host_ports: self.host_ports.unwrap_or_default(),
            link_environment: self.link_environment.unwrap_or_default(),
            volumes: self.mapping.unwrap_or_default(),
            secrets: self.secrets.unwrap_or_default(),
            exposure: self.exposure.unwrap_or_default(),
            volume_filling: self.volume_filling.unwrap_or_default(),
            volume_size: self.volume_size.clone().unwrap_or_default(),
            storage_class: self.storage_class.clone().unwrap_or_default(),
            image_pull_secrets: self.image_pull_secrets.clone(),
            labels: self.labels.iter().cloned().collect(),
            annotations: self.annotations.iter().cloned().collect(),
            create_namespace: self.create_namespace,
            prune: self.prune.unwrap_or_default(),
            conflicts: self.conflicts.unwrap_or_default(),
            replicas_policy: self.replicas_policy.unwrap_or_default(),
            on_failure: self.on_failure.unwrap_or_default(),
            strictness: self.strictness.unwrap_or_default(),
        }
    }
}
