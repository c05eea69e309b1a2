//! What happened to the objects of a deployment: the cluster's Events about them, in words of our own.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::artifacts::{ComponentName, Happening, Kind, LABEL_NAME, Observed, Subject};
use crate::record::Record;

/// How many are told, the newest.
const MOST: usize = 100;
/// What the API server makes the ends of names from, how many of these letters, and after how many others.
const LETTERS: &str = "bcdfghjklmnpqrstvwxz2456789";
const SUFFIX: usize = 5;
const LONGEST_BEGIN: usize = 58;
/// The longest digest by which ReplicaSets of an apps Deployment differ.
const LONGEST_HASH: usize = 10;

/// Something that happened to an object of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentEvent {
    /// The object.
    pub object: Subject,
    /// Its component; empty for the deployment as a whole.
    pub component: String,
    /// Whether it is a warning.
    pub is_warning: bool,
    /// The reason that Kubernetes gives; empty if that is no word.
    pub reason: String,
    /// One sentence; never the words of others, which may quote values.
    pub message: String,
    /// How often it happened.
    pub count: i32,
    /// When it first happened.
    pub first: Option<Timestamp>,
    /// When it last happened.
    pub last: Option<Timestamp>,
}

/// What happened to the deployment's objects, the newest first.
///
/// An object is known by its uid. Pods and ReplicaSets that are gone are known by the names that their controllers give
/// them, if it happened since the deployment was made.
pub fn happenings(record: &Record, observed: &Observed, all: &[Happening]) -> Vec<DeploymentEvent> {
    let objects = Objects::of(record, observed);
    let mut told: BTreeMap<(Subject, String, bool, String), DeploymentEvent> = BTreeMap::new();
    for one in all {
        let Some(component) = objects.component(record, one) else { continue };
        let event = DeploymentEvent {
            object: one.subject.clone(),
            component: component.to_owned(),
            is_warning: one.is_warning,
            reason: one.reason.clone(),
            message: one.told.clone().unwrap_or_else(|| words(&one.reason).to_owned()),
            count: one.count,
            first: one.first.as_ref().map(|time| time.0),
            last: one.last.as_ref().map(|time| time.0),
        };
        let key = (event.object.clone(), event.reason.clone(), event.is_warning, event.message.clone());
        // Events that differ in the cluster's own words alone are one.
        told.entry(key).and_modify(|known| known.add(&event)).or_insert(event);
    }
    let mut told: Vec<DeploymentEvent> = told.into_values().collect();
    told.sort_by_key(|one| std::cmp::Reverse(one.last));
    told.truncate(MOST);
    told
}

impl DeploymentEvent {
    fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.first = self.first.into_iter().chain(other.first).min();
        self.last = self.last.into_iter().chain(other.last).max();
    }
}

/// The objects of a deployment, with the component of each.
struct Objects<'a> {
    by_uid: BTreeMap<&'a str, &'a str>,
    /// Its controllers by kind, with what the names of their pods or ReplicaSets begin with.
    controllers: Vec<(Kind, &'a str, &'a ComponentName)>,
}

impl<'a> Objects<'a> {
    fn of(record: &'a Record, observed: &'a Observed) -> Self {
        let mut by_uid = BTreeMap::from([(record.uid.as_str(), "")]);
        let members = record.head.inventory.iter().chain(&record.head.retained);
        for member in members.clone() {
            by_uid.extend(member.uid.as_deref().map(|uid| (uid, member.component.as_str())));
            by_uid.extend(member.adopts.iter().map(|pod| (pod.uid.as_str(), member.component.as_str())));
        }
        for (_, metadata) in observed.metadata() {
            let labels = metadata.labels.as_ref();
            let component = labels.and_then(|labels| labels.get(LABEL_NAME)).map_or("", String::as_str);
            if let Some(uid) = &metadata.uid {
                by_uid.entry(uid).or_insert(component);
            }
            let sets = metadata.owner_references.iter().flatten().filter(|owner| owner.kind == "ReplicaSet");
            for set in sets {
                by_uid.entry(&set.uid).or_insert(component);
            }
        }
        let controllers = members.filter(|member| member.reference.kind.is_controller());
        let controllers = controllers
            .map(|member| (member.reference.kind, member.reference.name.as_str(), &member.component));
        Self { by_uid, controllers: controllers.collect() }
    }

    /// The component of the object that something happened to; `None`: it is not of this deployment.
    fn component(&self, record: &Record, one: &Happening) -> Option<&str> {
        let subject = &one.subject;
        if let Some(component) = self.by_uid.get(subject.uid.as_str()) {
            return Some(component);
        }
        let is_since = one.last.as_ref().is_some_and(|last| last.0 >= record.head.created);
        let made = |(kind, name, _): &&(Kind, &str, &ComponentName)| match (subject.kind.as_str(), *kind) {
            ("Pod", Kind::ReplicationController) => is_generated(&subject.name, name),
            ("Pod", Kind::Deployment) => subject
                .name
                .rsplit_once('-')
                .is_some_and(|(set, _)| is_set_of(set, name) && is_generated(&subject.name, set)),
            ("ReplicaSet", Kind::Deployment) => is_set_of(&subject.name, name),
            _ => false,
        };
        self.controllers.iter().find(made).filter(|_| is_since).map(|(_, _, component)| component.as_str())
    }
}

/// Whether the API server has made a pod's name from its controller's.
fn is_generated(name: &str, controller: &str) -> bool {
    let begin = format!("{controller}-");
    let begin = begin.get(..LONGEST_BEGIN).unwrap_or(&begin);
    let is_suffix = |end: &str| end.len() == SUFFIX && end.chars().all(|letter| LETTERS.contains(letter));
    name.strip_prefix(begin).is_some_and(is_suffix)
}

/// Whether an apps Deployment has made a ReplicaSet's name from its own.
fn is_set_of(name: &str, deployment: &str) -> bool {
    let hash = name.strip_prefix(deployment).and_then(|rest| rest.strip_prefix('-'));
    hash.is_some_and(|hash| {
        (1..=LONGEST_HASH).contains(&hash.len()) && hash.chars().all(|letter| LETTERS.contains(letter))
    })
}

/// What a reason of Kubernetes means.
fn words(reason: &str) -> &'static str {
    match reason {
        "Scheduled" => "a node was chosen for the pod",
        "FailedScheduling" => "no node can run the pod at the moment",
        "Pulling" => "the node pulls an image",
        "Pulled" => "the image is on the node",
        "Created" => "a container was created",
        "Started" => "a container was started",
        "Killing" => "a container is being ended",
        "Failed" => "the node could not pull an image, or could not create or start a container",
        "BackOff" => "the node waits before it tries again to pull an image or to start a container",
        "ErrImageNeverPull" => "the image is not on the node and may not be pulled",
        "InspectFailed" => "the node cannot read the image, or its name is none",
        "Unhealthy" => "a container does not answer its probe",
        "FailedMount" | "FailedMapVolume" => "the node could not mount a volume",
        "FailedAttachVolume" => "a volume could not be attached to the node",
        "SuccessfulAttachVolume" => "a volume was attached to the node",
        "FailedCreatePodSandBox" | "FailedPodSandBoxStatus" => "the node could not prepare the pod",
        "SandboxChanged" => "the node prepares the pod again",
        "FailedKillPod" => "the node could not end the pod",
        "NetworkNotReady" => "the network of the node is not ready",
        "Evicted" => "the node was short of something and ended the pod",
        "Preempted" => "the pod made place for one of a higher priority",
        "NodeNotReady" => "the node does not answer",
        "TaintManagerEviction" => "the pod is to leave its node, or may stay after all",
        "NodeAffinity" | "OutOfcpu" | "OutOfmemory" | "OutOfpods" => "the node refused the pod",
        "SuccessfulCreate" => "a pod was created",
        "FailedCreate" => "a pod could not be created",
        "SuccessfulDelete" => "a pod was deleted",
        "FailedDelete" => "a pod could not be deleted",
        "ScalingReplicaSet" => "the number of pods of a revision was changed",
        "ReplicaSetCreateError" => "the pods of a new revision could not be prepared",
        "DeploymentRollback" | "DeploymentRollbackRevisionNotFound" => {
            "somebody asked for an earlier revision"
        }
        "WaitForFirstConsumer" => "the volume claim is bound once a pod needs it",
        "ExternalProvisioning" | "Provisioning" => "a volume is being made",
        "ProvisioningSucceeded" => "a volume was made",
        "ProvisioningFailed" => "a volume could not be made",
        "FailedBinding" => "no volume fits the volume claim",
        "Resizing" | "FileSystemResizeRequired" | "VolumeResizeSuccessful" | "FileSystemResizeSuccessful" => {
            "the volume is being made larger, or was"
        }
        "VolumeResizeFailed" | "FileSystemResizeFailed" => "the volume could not be made larger",
        "EnsuringLoadBalancer" => "a load balancer is being prepared",
        "EnsuredLoadBalancer" | "UpdatedLoadBalancer" => "the load balancer is prepared",
        "SyncLoadBalancerFailed" | "UpdateLoadBalancerFailed" => "the load balancer could not be prepared",
        "FailedToUpdateEndpoint" | "FailedToUpdateEndpointSlices" => {
            "the addresses behind the Service could not be updated"
        }
        _ => "the cluster gives no more than the reason; `kubectl describe` shows its own words",
    }
}

#[cfg(test)]
mod tests;
