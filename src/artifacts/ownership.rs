//! The marks that tie an object to its deployment: labels, annotations and field managers.

use super::{AnnotationKey, DeploymentName, LabelKey};

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
/// The operation that created the object, or was the first to write it after others had left it in doubt.
pub const ANNOTATION_OPERATION: &str = "panamax.io/operation";
/// The operation that wrote the object last.
pub const ANNOTATION_APPLIED: &str = "panamax.io/applied";
/// On volume claims: how the claim is mounted; see [`LAYOUT_DATA`]. A claim without it is mounted at its root.
pub const ANNOTATION_LAYOUT: &str = "panamax.io/layout";
/// The layout of new claims, and the directory of the claim that is mounted: what the storage has put into the root
/// (`lost+found`) is not seen.
pub const LAYOUT_DATA: &str = "data";
/// The link's alias as the template has it.
pub const ANNOTATION_ALIAS: &str = "panamax.io/alias";

/// What the field managers of all deployments begin with.
pub const FIELD_MANAGER: &str = "panamax:";

/// The field manager of every object of a deployment.
pub fn field_manager(deployment: &DeploymentName) -> String {
    format!("{FIELD_MANAGER}{deployment}")
}

/// The field manager of replica counts set by Scale.
pub fn scale_manager(deployment: &DeploymentName) -> String {
    format!("panamax-scale:{deployment}")
}

/// Selects every object of a deployment, its records included.
pub fn selector_of(deployment: &DeploymentName) -> String {
    format!("{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_INSTANCE}={deployment}")
}

/// The domain of the labels and annotations that are this adapter's alone.
const DOMAIN: &str = "panamax.io";

/// The domains of the cluster's own labels and annotations, with all that lies below them.
const CLUSTER: [&str; 2] = ["kubernetes.io", "k8s.io"];
/// What of these is there for users: words about an application, and wishes about a load balancer or a node.
const FOR_USERS: [&str; 6] = [
    "app.kubernetes.io",
    "cluster-autoscaler.kubernetes.io",
    "external-dns.alpha.kubernetes.io",
    "service.alpha.kubernetes.io",
    "service.beta.kubernetes.io",
    "service.kubernetes.io",
];
/// Domains by which a container runtime or a network lets a pod out of what confines it.
const LOOSENING: [&str; 4] = ["cri-o.io", "crio.io", "cncf.io", "katacontainers.io"];

/// Whether a label of this key is set by this adapter, or means something to the cluster itself.
pub fn is_reserved_label(key: &LabelKey) -> bool {
    let own = [LABEL_NAME, LABEL_COMPONENT, LABEL_INSTANCE, LABEL_MANAGED_BY, "pod-template-hash"];
    let domain = domain(key.as_str());
    // By this one, kube-proxy leaves a Service alone.
    let hides = domain == "service.kubernetes.io";
    own.contains(&key.as_str()) || domain == DOMAIN || hides || is_clusters(domain)
}

/// Whether an annotation of this key is set by this adapter, means something to the cluster itself, or could take
/// away what confines a pod.
pub fn is_reserved_annotation(key: &AnnotationKey) -> bool {
    let domain = domain(key.as_str());
    let loosens = LOOSENING.iter().any(|parent| lies_in(domain, parent));
    // CRI-O's older spelling has the domain the other way round.
    domain == DOMAIN || is_clusters(domain) || loosens || key.as_str().starts_with("io.kubernetes.")
}

fn is_clusters(domain: &str) -> bool {
    CLUSTER.iter().any(|parent| lies_in(domain, parent)) && !FOR_USERS.contains(&domain)
}

/// Whether a domain is another or lies below it.
fn lies_in(domain: &str, parent: &str) -> bool {
    domain.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn domain(key: &str) -> &str {
    key.split_once('/').map_or("", |(domain, _)| domain)
}
