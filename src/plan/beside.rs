//! Fields that others set beside the template's: they stay, and whoever deploys is told of them.

use serde_json::{Map, Value};

use super::{Plan, fields};
use crate::artifacts::{
    AnnotationKey, Artifact, Kind, LabelKey, ObjectRef, Others, is_reserved_annotation, is_reserved_label,
};
use crate::diagnostic::{Code, Diagnostic};
use crate::error::Hold;

/// How many fields of one field manager are named for one object.
const NAMED: usize = 5;
/// What the cluster's own controllers set.
const CONTROLLERS: [&str; 3] = ["spec.replicas", "spec.volumeName", "spec.nodeName"];

/// What somebody else sets beside the template's, and how that is told.
#[derive(Clone, Debug)]
pub struct Beside {
    reference: ObjectRef,
    /// The field; `None`: the others of a field manager of whose fields some are named.
    hold: Option<Hold>,
    /// What whoever deploys is told.
    pub(super) told: Diagnostic,
}

impl Beside {
    /// Whether it is about one of these fields of an object.
    pub(super) fn is_among(&self, reference: &ObjectRef, holds: &[Hold]) -> bool {
        self.reference == *reference && self.hold.as_ref().is_some_and(|hold| holds.contains(hold))
    }
}

impl Plan {
    /// What the caller should know.
    pub fn told(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().chain(self.beside.iter().map(|one| &one.told))
    }
}

/// Tells what others set of an object and the template does not; fields that are told otherwise are left out.
pub(super) fn tell(others: &[Others], artifact: &Artifact, but: &[String], all: &mut Vec<Beside>) {
    let mut tell = |hold, text: String| {
        let told = Diagnostic::new(Code::FieldBeside, artifact.origin.clone(), text);
        all.push(Beside { reference: artifact.reference.clone(), hold, told });
    };
    for other in others {
        let mut fields = Vec::new();
        find(&other.fields, &artifact.manifest, "", &mut fields);
        fields.retain(|field| !but.contains(field) && !is_cleared(others, artifact, field));
        let more = fields.len().saturating_sub(NAMED);
        fields.truncate(NAMED);
        for field in fields {
            let hold = Hold { field, manager: other.manager.clone() };
            let text = text(artifact, &hold);
            tell(Some(hold), text);
        }
        if more > 0 {
            let text =
                format!("{}: field manager {} sets {more} more fields", artifact.reference, other.manager);
            tell(None, text);
        }
    }
}

/// Fields of a Service that there are with some types alone: the API server takes them away with the type, and leaves the
/// entry of whoever set them.
const OF_NODES: [&str; 5] = [
    "spec.allocateLoadBalancerNodePorts",
    "spec.externalTrafficPolicy",
    "spec.healthCheckNodePort",
    "spec.loadBalancerClass",
    "spec.loadBalancerIP",
];

/// Whether an object as it is applied does not have a field, whoever's entry still names it.
fn is_cleared(others: &[Others], artifact: &Artifact, field: &str) -> bool {
    let kind = artifact.manifest.pointer("/spec/type").and_then(Value::as_str);
    let is_inside = artifact.reference.kind == Kind::Service && kind.is_none_or(|kind| kind == "ClusterIP");
    // Whoever holds the type may have another, and keep it.
    let is_theirs = |other: &Others| other.fields.pointer("/f:spec/f:type").is_some();
    let is_of_nodes =
        OF_NODES.contains(&field) || field.starts_with("spec.ports[") && field.ends_with("].nodePort");
    is_inside && is_of_nodes && !others.iter().any(is_theirs)
}

fn text(artifact: &Artifact, Hold { field, manager }: &Hold) -> String {
    format!(
        "{}: field manager {manager} sets {}, which the template does not set; it stays as it is",
        artifact.reference,
        fields::shown(field)
    )
}

/// The uppermost fields that others set and the manifest does not; of metadata, the labels and annotations of users alone.
fn find(theirs: &Value, ours: &Value, path: &str, found: &mut Vec<String>) {
    for (step, below) in theirs.as_object().into_iter().flatten() {
        let (own, path) = if let Some(name) = step.strip_prefix("f:") {
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            (ours.get(name), path)
        } else if let Some(keys) = fields::keys(step) {
            let items = ours.as_array();
            let item = items.and_then(|items| items.iter().find(|item| fields::has(item, &keys)));
            (item, format!("{path}[{}]", fields::shown_keys(&keys)))
        } else {
            continue;
        };
        if !is_told(&path) {
            continue;
        }
        let is_leaf = below.as_object().is_none_or(Map::is_empty);
        match own {
            None if is_map_of_users(&path) || leads_there(&path) => find(below, &Value::Null, &path, found),
            None => found.push(path),
            Some(_) if is_leaf => {}
            Some(own) => find(below, own, &path, found),
        }
    }
}

/// Whether users set what lies at a path, and not the cluster for itself.
fn is_told(path: &str) -> bool {
    let inner = path.strip_prefix("spec.template.").unwrap_or(path);
    if let Some(key) = inner.strip_prefix("metadata.labels.") {
        return LabelKey::new(key).is_ok_and(|key| !is_reserved_label(&key));
    }
    if let Some(key) = inner.strip_prefix("metadata.annotations.") {
        return AnnotationKey::new(key).is_ok_and(|key| !is_reserved_annotation(&key));
    }
    if inner == "metadata" || inner.starts_with("metadata.") {
        return inner == "metadata" || is_map_of_users(inner);
    }
    path != "status" && !CONTROLLERS.contains(&path)
}

/// Whether labels and annotations of users lie below a path, beside much else.
fn leads_there(path: &str) -> bool {
    matches!(path, "metadata" | "spec.template" | "spec.template.metadata")
}

/// Whether a path leads to labels or annotations, of the object or of its pods.
fn is_map_of_users(path: &str) -> bool {
    let path = path.strip_prefix("spec.template.").unwrap_or(path);
    matches!(path, "metadata.labels" | "metadata.annotations")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_set_beside_is_found_by_its_uppermost_field() {
        let manifest = json!({
            "metadata": {"labels": {"app.kubernetes.io/name": "web"}},
            "spec": {"template": {"spec": {"containers": [
                {"name": "web", "image": "web:1", "env": [{"name": "A", "value": "x"}]}]}}},
        });
        let theirs = json!({
            "f:metadata": {
                "f:labels": {"f:team": {}, "f:app.kubernetes.io/name": {}},
                "f:annotations": {".": {}, "f:owner": {}, "f:deployment.kubernetes.io/revision": {}},
                "f:finalizers": {"v:\"example.com/hold\"": {}},
            },
            "f:spec": {"f:replicas": {}, "f:strategy": {"f:type": {}}, "f:template": {
                "f:metadata": {"f:annotations": {"f:kubectl.kubernetes.io/restartedAt": {}}},
                "f:spec": {"f:containers": {
                    "k:{\"name\":\"side\"}": {".": {}, "f:name": {}, "f:image": {}},
                    "k:{\"name\":\"web\"}": {"f:image": {}, "f:env": {
                        "k:{\"name\":\"A\"}": {".": {}, "f:name": {}, "f:value": {}},
                        "k:{\"name\":\"B\"}": {".": {}, "f:name": {}, "f:value": {}}}}}}}},
            "f:status": {"f:phase": {}},
        });
        let mut found = Vec::new();
        find(&theirs, &manifest, "", &mut found);
        found.sort();
        let containers = "spec.template.spec.containers";
        let expected = [
            "metadata.annotations.owner".to_owned(),
            "metadata.labels.team".to_owned(),
            "spec.strategy".to_owned(),
            format!("{containers}[name=\"side\"]"),
            format!("{containers}[name=\"web\"].env[name=\"B\"]"),
        ];
        assert_eq!(found, expected);
    }
}
