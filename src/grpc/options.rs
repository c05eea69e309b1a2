//! Wire to domain: the options of a Deploy; what a later version brings is refused by name.

use super::decode::{Faults, enumeration};
use crate::error::{Error, ErrorKind, Result};
use crate::operations::PrunePolicy;
use crate::proto;

/// The options that this version knows.
pub(super) struct Options {
    pub(super) create_namespace: bool,
    pub(super) prune: PrunePolicy,
}

/// The answer to a field that the contract names and a later version brings.
pub(super) fn not_implemented(what: &str) -> Error {
    Error::new(ErrorKind::NotImplemented, format!("not implemented yet, leave it out: {what}"))
}

/// The options in force for a request that sets none.
pub(super) fn defaults() -> proto::DeployOptions {
    proto::DeployOptions {
        profile: proto::Profile::Classic.into(),
        workload: proto::WorkloadKind::PodOrReplicationController.into(),
        host_ports: proto::HostPorts::Keep.into(),
        link_environment: proto::LinkEnvironment::Kubelet.into(),
        volumes: proto::VolumeMapping::Omit.into(),
        secrets: proto::SecretHandling::Plain.into(),
        exposure: proto::Exposure::ClusterIp.into(),
        prune: proto::PrunePolicy::DeleteRemoved.into(),
        conflicts: proto::ConflictPolicy::Fail.into(),
        replicas_policy: proto::ReplicasPolicy::Auto.into(),
        on_failure: proto::FailurePolicy::Keep.into(),
        strictness: proto::Strictness::Lenient.into(),
        ..proto::DeployOptions::default()
    }
}

/// Decodes the options; every one that is not built yet is named in one refusal.
pub(super) fn deploy(options: Option<&proto::DeployOptions>, faults: &mut Faults) -> Result<Options> {
    let default = proto::DeployOptions::default();
    let options = options.unwrap_or(&default);
    let missing = missing(options, faults);
    if !missing.is_empty() {
        return Err(not_implemented(&missing.join(", ")));
    }
    let prune: proto::PrunePolicy = enumeration(options.prune, "options.prune", faults);
    Ok(Options {
        create_namespace: options.create_namespace,
        prune: match prune {
            proto::PrunePolicy::Unspecified | proto::PrunePolicy::DeleteRemoved => PrunePolicy::DeleteRemoved,
            proto::PrunePolicy::Keep => PrunePolicy::Keep,
        },
    })
}

/// Names every option that is set to something this version does not do.
fn missing(options: &proto::DeployOptions, faults: &mut Faults) -> Vec<String> {
    let mut missing = Vec::new();
    let mut knob = |name: &str, is_built: bool| {
        if !is_built {
            missing.push(format!("options.{name}"));
        }
    };
    // Each knob's built value is what profile CLASSIC means by UNSPECIFIED.
    macro_rules! only {
        ($field:ident, $type:ident, $built:ident) => {
            let value: proto::$type =
                enumeration(options.$field, concat!("options.", stringify!($field)), faults);
            knob(stringify!($field), matches!(value, proto::$type::Unspecified | proto::$type::$built));
        };
    }
    only!(profile, Profile, Classic);
    only!(workload, WorkloadKind, PodOrReplicationController);
    only!(host_ports, HostPorts, Keep);
    only!(link_environment, LinkEnvironment, Kubelet);
    only!(volumes, VolumeMapping, Omit);
    only!(secrets, SecretHandling, Plain);
    only!(exposure, Exposure, ClusterIp);
    only!(conflicts, ConflictPolicy, Fail);
    only!(replicas_policy, ReplicasPolicy, Auto);
    only!(on_failure, FailurePolicy, Keep);
    only!(strictness, Strictness, Lenient);
    knob("volume_size", options.volume_size.is_empty());
    knob("storage_class", options.storage_class.is_empty());
    knob("image_pull_secrets", options.image_pull_secrets.is_empty());
    knob("labels", options.labels.is_empty());
    knob("annotations", options.annotations.is_empty());
    missing
}
