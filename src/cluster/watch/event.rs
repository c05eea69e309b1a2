//! What one event of a watch shows: an object, less what no status needs, with the keys it is filed under.

use std::any::TypeId;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, ReplicationController, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use kube::ResourceExt;
use kube::runtime::watcher;

use super::super::head;
use crate::artifacts::{FIELD_MANAGER, LABEL_INSTANCE, Target, digested};
use crate::record::{Record, Unreadable, Version, deployment_of, head_name};

/// The kinds that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WatchedKind {
    Pod,
    Controller,
    Deployment,
    Claim,
    Service,
    Head,
}

/// How many kinds are watched beside the records.
pub(super) const MEMBER_WATCHES: u32 = 5;
/// Every watched kind; a snapshot is whole when each has been listed.
pub(super) const ALL: [WatchedKind; MEMBER_WATCHES as usize + 1] = [
    WatchedKind::Pod,
    WatchedKind::Controller,
    WatchedKind::Deployment,
    WatchedKind::Claim,
    WatchedKind::Service,
    WatchedKind::Head,
];

/// One watched object.
#[derive(Clone, Debug)]
pub(super) enum Object {
    Pod(Arc<Pod>),
    Controller(Arc<ReplicationController>),
    Deployment(Arc<Deployment>),
    Claim(Arc<PersistentVolumeClaim>),
    Service(Arc<Service>),
    Head(Arc<Record>),
    /// A record that cannot be read.
    Unreadable(Arc<Unreadable>),
    /// What has the labels of a record, and is none.
    Foreign,
}

/// One event of one kind's watch.
pub(super) enum Event {
    Begin(WatchedKind),
    Listed(WatchedKind, Entry),
    Complete(WatchedKind),
    Changed(WatchedKind, Entry),
    Deleted(WatchedKind, Entry),
}

/// An object with the keys it is filed under.
pub(super) struct Entry {
    pub(super) instance: String,
    pub(super) name: String,
    pub(super) object: Object,
}

/// Which watch a type belongs to.
pub(super) fn kind_of<K: 'static>() -> WatchedKind {
    let id = TypeId::of::<K>();
    if id == TypeId::of::<Pod>() {
        WatchedKind::Pod
    } else if id == TypeId::of::<ReplicationController>() {
        WatchedKind::Controller
    } else if id == TypeId::of::<Deployment>() {
        WatchedKind::Deployment
    } else if id == TypeId::of::<PersistentVolumeClaim>() {
        WatchedKind::Claim
    } else if id == TypeId::of::<Service>() {
        WatchedKind::Service
    } else {
        WatchedKind::Head
    }
}

impl Event {
    /// Which watch it is of.
    pub(super) fn kind(&self) -> WatchedKind {
        match self {
            Event::Begin(kind)
            | Event::Listed(kind, _)
            | Event::Complete(kind)
            | Event::Changed(kind, _)
            | Event::Deleted(kind, _) => *kind,
        }
    }

    /// Takes a watcher's event, less what is not needed to conclude a status.
    pub(super) fn from_watcher<K: kube::Resource>(
        kind: WatchedKind,
        event: watcher::Event<K>,
        wrap: fn(K) -> Object,
    ) -> Self {
        let entry = |mut object: K| {
            let metadata = object.meta_mut();
            // Who wrote it and when; the names of the fields are long, and a digest says whether they are the same. What
            // others write to a record is nobody's concern.
            let mut entries = metadata.managed_fields.take().unwrap_or_default();
            entries.retain(|entry| kind != WatchedKind::Head || is_ours(entry));
            entries.iter_mut().for_each(|entry| entry.fields_v1 = kept(kind, entry));
            metadata.managed_fields = Some(entries);
            let name = object.name_any();
            let instance = match kind {
                // A record is the deployment's whose name it has.
                WatchedKind::Head => deployment_of(&name).map(|deployment| deployment.to_string()),
                _ => object.labels().get(LABEL_INSTANCE).cloned(),
            };
            Entry { instance: instance.unwrap_or_default(), name, object: wrap(object).trimmed() }
        };
        match event {
            watcher::Event::Init => Event::Begin(kind),
            watcher::Event::InitApply(object) => Event::Listed(kind, entry(object)),
            watcher::Event::InitDone => Event::Complete(kind),
            watcher::Event::Apply(object) => Event::Changed(kind, entry(object)),
            watcher::Event::Delete(object) => Event::Deleted(kind, entry(object)),
        }
    }
}

impl Entry {
    /// A record that was read already, or could not be.
    pub(super) fn of_head(target: &Target, object: Object) -> Self {
        Self { instance: target.name.to_string(), name: head_name(&target.name), object }
    }

    /// The version of a record.
    pub(super) fn version(&self) -> Option<&Version> {
        match &self.object {
            Object::Head(record) => Some(&record.version),
            _ => None,
        }
    }
}

/// What is kept of an entry's fields: a digest of ours, and that somebody asked for a pod's name as controllers do.
fn kept(kind: WatchedKind, entry: &mut ManagedFieldsEntry) -> Option<FieldsV1> {
    const CONTROLLERS: &str = "kube-controller-manager";
    const ASKED: &str = "/f:metadata/f:generateName";
    let fields = entry.fields_v1.take().filter(|_| kind != WatchedKind::Head)?;
    if is_ours(entry) {
        return Some(digested(fields));
    }
    let is_asking = entry.manager.as_deref() != Some(CONTROLLERS) && fields.0.pointer(ASKED).is_some();
    is_asking.then(|| FieldsV1(serde_json::json!({ "f:metadata": { "f:generateName": {} } })))
}

/// Whether a deployment of ours has applied these fields.
fn is_ours(entry: &ManagedFieldsEntry) -> bool {
    let manager = entry.manager.as_deref().unwrap_or_default();
    entry.operation.as_deref() == Some("Apply") && manager.starts_with(FIELD_MANAGER)
}

impl Object {
    /// Reads a record once, for everybody who will ever look at it.
    pub(super) fn head(object: &ConfigMap) -> Self {
        match head::parse(object) {
            Some(Ok(record)) => Object::Head(Arc::new(record)),
            Some(Err(unreadable)) => {
                tracing::warn!(context = ?unreadable.why.context(), "a record cannot be read");
                Object::Unreadable(Arc::new(unreadable))
            }
            None => Object::Foreign,
        }
    }

    /// Drops arguments and values of the environment: no status needs them.
    fn trimmed(self) -> Self {
        match self {
            Object::Pod(mut pod) => {
                if let Some(spec) = Arc::make_mut(&mut pod).spec.as_mut() {
                    for container in &mut spec.containers {
                        container.env = None;
                        container.args = None;
                    }
                }
                Object::Pod(pod)
            }
            Object::Controller(mut controller) => {
                if let Some(spec) = Arc::make_mut(&mut controller).spec.as_mut() {
                    // The labels of its pods say which revision it makes; their spec holds the values.
                    if let Some(template) = spec.template.as_mut() {
                        template.spec = None;
                    }
                }
                Object::Controller(controller)
            }
            Object::Deployment(mut deployment) => {
                if let Some(spec) = Arc::make_mut(&mut deployment).spec.as_mut() {
                    spec.template.spec = None;
                }
                Object::Deployment(deployment)
            }
            other @ (Object::Claim(_) | Object::Service(_)) => other,
            other @ (Object::Head(_) | Object::Unreadable(_) | Object::Foreign) => other,
        }
    }
}
