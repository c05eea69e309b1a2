//! Wire to domain: the options of a Deploy.

use std::collections::BTreeMap;

use super::faults::{Faults, enumeration};
use crate::artifacts::{
    AnnotationKey, ForeignName, LabelKey, LabelValue, NameError, StorageSize, is_reserved_annotation,
    is_reserved_label,
};
use crate::operations::{ConflictPolicy, FailurePolicy, Options, PrunePolicy, ReplicasPolicy};
use crate::proto;
use crate::translate::{
    Exposure, HostPorts, LinkEnvironment, Profile, Rules, SecretHandling, VolumeFilling, VolumeMapping,
    Workload,
};

/// The most bytes of the user's annotations, keys included: Kubernetes takes 256 KiB of an object, of which 4 are
/// kept for the adapter's own.
const MAX_ANNOTATIONS: usize = 252 * 1024;
/// The most labels, annotations and pull secrets, each.
const MAX_ENTRIES: usize = 64;

/// The options in force for a request that sets none.
pub(super) fn defaults() -> proto::DeployOptions {
    proto::DeployOptions {
        profile: proto::Profile::Classic.into(),
        workload: proto::WorkloadKind::PodOrReplicationController.into(),
        host_ports: proto::HostPorts::Keep.into(),
        link_environment: proto::LinkEnvironment::Kubelet.into(),
        volumes: proto::VolumeMapping::Omit.into(),
        volume_filling: proto::VolumeFilling::Empty.into(),
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

/// Decodes the options.
pub(super) fn deploy(options: Option<&proto::DeployOptions>, faults: &mut Faults) -> Options {
    let default = proto::DeployOptions::default();
    let options = options.unwrap_or(&default);
    let prune: proto::PrunePolicy = enumeration(options.prune, "options.prune", faults);
    let strictness: proto::Strictness = enumeration(options.strictness, "options.strictness", faults);
    Options {
        create_namespace: options.create_namespace,
        prune: match prune {
            proto::PrunePolicy::Unspecified | proto::PrunePolicy::DeleteRemoved => PrunePolicy::DeleteRemoved,
            proto::PrunePolicy::Keep => PrunePolicy::Keep,
        },
        on_failure: match enumeration(options.on_failure, "options.on_failure", faults) {
            proto::FailurePolicy::Unspecified | proto::FailurePolicy::Keep => FailurePolicy::Keep,
            proto::FailurePolicy::Rollback => FailurePolicy::Rollback,
        },
        conflicts: match enumeration(options.conflicts, "options.conflicts", faults) {
            proto::ConflictPolicy::Unspecified | proto::ConflictPolicy::Fail => ConflictPolicy::Fail,
            proto::ConflictPolicy::Yield => ConflictPolicy::Yield,
            proto::ConflictPolicy::Force => ConflictPolicy::Force,
        },
        replicas: match enumeration(options.replicas_policy, "options.replicas_policy", faults) {
            proto::ReplicasPolicy::Unspecified | proto::ReplicasPolicy::Auto => ReplicasPolicy::Auto,
            proto::ReplicasPolicy::Preserve => ReplicasPolicy::Preserve,
            proto::ReplicasPolicy::Template => ReplicasPolicy::Template,
        },
        rules: rules(options, faults),
        strict: strictness == proto::Strictness::Strict,
    }
}

/// The profile with every knob that is turned; a mix that cannot work names both its fields.
fn rules(options: &proto::DeployOptions, faults: &mut Faults) -> Rules {
    let profile = match enumeration(options.profile, "options.profile", faults) {
        proto::Profile::Unspecified | proto::Profile::Classic => Profile::Classic,
        proto::Profile::Modern => Profile::Modern,
    };
    let mut rules = Rules::of(profile);
    match enumeration(options.workload, "options.workload", faults) {
        proto::WorkloadKind::Unspecified => {}
        proto::WorkloadKind::PodOrReplicationController => {
            rules.workload = Workload::PodOrReplicationController;
        }
        proto::WorkloadKind::Deployment => rules.workload = Workload::Deployment,
    }
    match enumeration(options.host_ports, "options.host_ports", faults) {
        proto::HostPorts::Unspecified => {}
        proto::HostPorts::Keep => rules.host_ports = HostPorts::Keep,
        proto::HostPorts::Drop => rules.host_ports = HostPorts::Drop,
    }
    match enumeration(options.link_environment, "options.link_environment", faults) {
        proto::LinkEnvironment::Unspecified => {}
        proto::LinkEnvironment::Kubelet => rules.link_environment = LinkEnvironment::Kubelet,
        proto::LinkEnvironment::Declared => rules.link_environment = LinkEnvironment::Declared,
    }
    match enumeration(options.volumes, "options.volumes", faults) {
        proto::VolumeMapping::Unspecified => {}
        proto::VolumeMapping::Omit => rules.volumes = VolumeMapping::Omit,
        proto::VolumeMapping::EmptyDir => rules.volumes = VolumeMapping::EmptyDir,
        proto::VolumeMapping::HostPath => rules.volumes = VolumeMapping::HostPath,
        proto::VolumeMapping::PersistentVolumeClaim => rules.volumes = VolumeMapping::PersistentVolumeClaim,
    }
    match enumeration(options.secrets, "options.secrets", faults) {
        proto::SecretHandling::Unspecified => {}
        proto::SecretHandling::Plain => rules.secrets = SecretHandling::Plain,
        proto::SecretHandling::Secret => rules.secrets = SecretHandling::Secret,
    }
    match enumeration(options.exposure, "options.exposure", faults) {
        proto::Exposure::Unspecified => {}
        proto::Exposure::ClusterIp => rules.exposure = Exposure::ClusterIp,
        proto::Exposure::NodePort => rules.exposure = Exposure::NodePort,
        proto::Exposure::LoadBalancer => rules.exposure = Exposure::LoadBalancer,
    }
    claims(options, &mut rules, faults);
    rules.image_pull_secrets = pull_secrets(&options.image_pull_secrets, faults);
    rules.labels = labels(&options.labels, faults);
    rules.annotations = annotations(&options.annotations, faults);
    rules
}

/// Reads size, class and content of volume claims, which apply to claims only.
fn claims(options: &proto::DeployOptions, rules: &mut Rules, faults: &mut Faults) {
    let claims = rules.volumes == VolumeMapping::PersistentVolumeClaim;
    // What a value that cannot be read would make of volumes nobody knows.
    let is_read = proto::Profile::try_from(options.profile).is_ok()
        && proto::VolumeMapping::try_from(options.volumes).is_ok();
    rules.filling = match enumeration(options.volume_filling, "options.volume_filling", faults) {
        proto::VolumeFilling::Unspecified | proto::VolumeFilling::Empty => VolumeFilling::Empty,
        proto::VolumeFilling::FromImage => VolumeFilling::FromImage,
    };
    for (name, is_set) in [
        ("volume_size", !options.volume_size.is_empty()),
        ("storage_class", !options.storage_class.is_empty()),
        ("volume_filling", rules.filling == VolumeFilling::FromImage),
    ] {
        if is_set && !claims && is_read {
            let problem = "applies to volume claims only, but options.volumes creates none: set it to \
                           VOLUME_MAPPING_PERSISTENT_VOLUME_CLAIM, or leave this out";
            faults.add(format!("options.{name}"), problem);
            faults.add("options.volumes", format!("creates no volume claims, but options.{name} is set"));
        }
    }
    if !options.volume_size.is_empty() {
        let size = faults.take("options.volume_size", StorageSize::new(&options.volume_size));
        rules.volume_size = size.unwrap_or_default();
    }
    if !options.storage_class.is_empty() {
        rules.storage_class = faults.take("options.storage_class", ForeignName::new(&options.storage_class));
    }
}

fn pull_secrets(names: &[String], faults: &mut Faults) -> Vec<ForeignName> {
    at_most(names.len(), "options.image_pull_secrets", faults);
    let mut secrets: Vec<ForeignName> = Vec::new();
    for (index, name) in names.iter().enumerate().take(MAX_ENTRIES) {
        let field = format!("options.image_pull_secrets[{index}]");
        let Some(name) = faults.take(&field, ForeignName::new(name)) else { continue };
        if secrets.contains(&name) {
            faults.add(field, "is listed twice");
        } else {
            secrets.push(name);
        }
    }
    secrets
}

fn labels(labels: &BTreeMap<String, String>, faults: &mut Faults) -> BTreeMap<LabelKey, LabelValue> {
    at_most(labels.len(), "options.labels", faults);
    // Sorted, so that the same request always gives the same faults.
    let sorted: BTreeMap<&String, &String> = labels.iter().collect();
    let mut known = BTreeMap::new();
    for (key, value) in sorted.into_iter().take(MAX_ENTRIES) {
        let field = entry("labels", key);
        let value = faults.take(&field, LabelValue::new(value));
        if let Some(key) = key_of(&field, LabelKey::new(key), is_reserved_label, faults) {
            known.extend(value.map(|value| (key, value)));
        }
    }
    known
}

fn annotations(
    annotations: &BTreeMap<String, String>,
    faults: &mut Faults,
) -> BTreeMap<AnnotationKey, String> {
    at_most(annotations.len(), "options.annotations", faults);
    let bytes: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > MAX_ANNOTATIONS {
        faults.add("options.annotations", format!("must have at most {MAX_ANNOTATIONS} bytes in total"));
    }
    let sorted: BTreeMap<&String, &String> = annotations.iter().collect();
    let mut known = BTreeMap::new();
    for (key, value) in sorted.into_iter().take(MAX_ENTRIES) {
        let field = entry("annotations", key);
        if value.contains('\0') {
            faults.add(&field, "must not hold a NUL character");
        }
        if let Some(key) = key_of(&field, AnnotationKey::new(key), is_reserved_annotation, faults) {
            known.insert(key, value.clone());
        }
    }
    known
}

/// The key, unless it is none or reserved.
fn key_of<K>(
    field: &str,
    key: std::result::Result<K, NameError>,
    is_reserved: impl Fn(&K) -> bool,
    faults: &mut Faults,
) -> Option<K> {
    let key = faults.take(field, key)?;
    if is_reserved(&key) {
        faults.add(
            field,
            "is reserved: the adapter or the cluster sets it, or it would loosen a pod's confinement",
        );
        return None;
    }
    Some(key)
}

/// The path of a map's entry, its key fit to be shown.
fn entry(map: &str, key: &str) -> String {
    format!("options.{map}[{}]", crate::template::shown(key))
}

fn at_most(count: usize, field: &str, faults: &mut Faults) {
    if count > MAX_ENTRIES {
        faults.add(field, format!("must have at most {MAX_ENTRIES} entries"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    /// The rules of some options, or the fields that are wrong with them.
    fn decode(options: &proto::DeployOptions) -> std::result::Result<Options, Vec<String>> {
        let mut faults = Faults::default();
        let decoded = deploy(Some(options), &mut faults);
        let fields = |error: Error| error.faults().iter().map(|fault| fault.field.clone()).collect();
        faults.finish(Some(decoded)).map_err(fields)
    }

    fn wrong(options: &proto::DeployOptions) -> Vec<String> {
        decode(options).err().unwrap_or_default()
    }

    fn modern() -> proto::DeployOptions {
        proto::DeployOptions { profile: proto::Profile::Modern.into(), ..Default::default() }
    }

    #[test]
    fn a_profile_is_the_start_and_each_knob_turns_one_thing() {
        // Every edge has the same defaults.
        assert_eq!(decode(&proto::DeployOptions::default()).unwrap(), Options::default());
        assert_eq!(decode(&defaults()).unwrap(), Options::default());
        assert_eq!(decode(&modern()).unwrap().rules, Rules::of(Profile::Modern));
        let classic_knobs = proto::DeployOptions { profile: proto::Profile::Modern.into(), ..defaults() };
        let rules = Rules { profile: Profile::Modern, ..Rules::default() };
        assert_eq!(decode(&classic_knobs).unwrap().rules, rules);
        let kept = proto::DeployOptions { host_ports: proto::HostPorts::Keep.into(), ..modern() };
        let rules = Rules { host_ports: HostPorts::Keep, ..Rules::of(Profile::Modern) };
        assert_eq!(decode(&kept).unwrap().rules, rules);
        let exposed =
            proto::DeployOptions { exposure: proto::Exposure::NodePort.into(), ..Default::default() };
        let rules = Rules { exposure: Exposure::NodePort, ..Rules::default() };
        assert_eq!(decode(&exposed).unwrap().rules, rules);
    }

    #[test]
    fn an_impossible_mix_names_both_fields() {
        let size = proto::DeployOptions { volume_size: "5Gi".into(), ..Default::default() };
        assert_eq!(wrong(&size), ["options.volume_size", "options.volumes"]);
        let class = proto::DeployOptions {
            storage_class: "fast".into(),
            volumes: proto::VolumeMapping::EmptyDir.into(),
            ..modern()
        };
        assert_eq!(wrong(&class), ["options.storage_class", "options.volumes"]);
        let filling = proto::DeployOptions {
            volume_filling: proto::VolumeFilling::FromImage.into(),
            ..proto::DeployOptions::default()
        };
        assert_eq!(wrong(&filling), ["options.volume_filling", "options.volumes"]);
        for unread in [
            proto::DeployOptions { volumes: 77, ..size.clone() },
            proto::DeployOptions { profile: 77, ..size },
        ] {
            assert_eq!(wrong(&unread).len(), 1, "nobody knows what it would create");
        }
        let claims =
            proto::DeployOptions { volume_size: "5Gi".into(), storage_class: "fast".into(), ..modern() };
        let rules = decode(&claims).unwrap().rules;
        assert_eq!((rules.volume_size.as_str(), rules.storage_class.unwrap().as_str()), ("5Gi", "fast"));
    }

    #[test]
    fn names_sizes_and_enums_are_checked() {
        let mut options = modern();
        options.volume_size = "much".into();
        options.storage_class = "../x".into();
        options.image_pull_secrets = vec!["a.key".into(), "A".into(), "a.key".into()];
        options.exposure = 99;
        assert_eq!(
            wrong(&options),
            [
                "options.exposure",
                "options.volume_size",
                "options.storage_class",
                "options.image_pull_secrets[1]",
                "options.image_pull_secrets[2]"
            ]
        );
    }

    #[test]
    fn labels_and_annotations_keep_to_the_users_own() {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let long = "x".repeat(64);
        let labels = [
            ("app.kubernetes.io/managed-by", "me"),
            ("app.kubernetes.io/part-of", "shop"),
            ("name", "x"),
            ("panamax.io/anything", "x"),
            ("pod-template-hash", "x"),
            ("service.kubernetes.io/service-proxy-name", "none"),
            ("team", "two words"),
            ("tier", long.as_str()),
            ("two words", "x"),
        ];
        let options = proto::DeployOptions { labels: map(&labels), ..Default::default() };
        assert_eq!(
            wrong(&options),
            [
                "options.labels[app.kubernetes.io/managed-by]",
                "options.labels[name]",
                "options.labels[panamax.io/anything]",
                "options.labels[pod-template-hash]",
                "options.labels[service.kubernetes.io/service-proxy-name]",
                "options.labels[team]",
                "options.labels[tier]",
                "options.labels[two words]"
            ]
        );
        let annotations = [
            ("container.apparmor.security.beta.kubernetes.io/web", "unconfined"),
            ("example.com/owner", "the shop, all of it"),
            ("io.kubernetes.cri-o.Devices", "/dev/x"),
            ("k8s.v1.cni.cncf.io/networks", "host"),
            ("kubernetes.io/config.mirror", "x"),
            ("panamax.io/image", "x"),
            ("pv.kubernetes.io/bind-completed", "yes"),
            ("seccomp-profile.kubernetes.cri-o.io/POD", "unconfined"),
            ("seccomp.security.alpha.kubernetes.io/pod", "unconfined"),
            ("service.beta.kubernetes.io/aws-load-balancer-type", "nlb"),
        ];
        let options = proto::DeployOptions { annotations: map(&annotations), ..Default::default() };
        assert_eq!(
            wrong(&options),
            [
                "options.annotations[container.apparmor.security.beta.kubernetes.io/web]",
                "options.annotations[io.kubernetes.cri-o.Devices]",
                "options.annotations[k8s.v1.cni.cncf.io/networks]",
                "options.annotations[kubernetes.io/config.mirror]",
                "options.annotations[panamax.io/image]",
                "options.annotations[pv.kubernetes.io/bind-completed]",
                "options.annotations[seccomp-profile.kubernetes.cri-o.io/POD]",
                "options.annotations[seccomp.security.alpha.kubernetes.io/pod]"
            ]
        );
        let large = map(&[("a", "x".repeat(MAX_ANNOTATIONS).as_str())]);
        let options = proto::DeployOptions { annotations: large, ..Default::default() };
        assert_eq!(wrong(&options), ["options.annotations"]);
    }
}
