//! Observed: the members of one deployment as the cluster last showed them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ReplicationController, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::Value;

use super::{Kind, ObjectRef};

/// What may be so for a moment, and is told as a failure once it was seen so for too long.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldUp {
    /// The workload of this uid does not exist: it was deleted, or the watches have yet to show it.
    Missing {
        /// Kind and name.
        workload: ObjectRef,
        /// Its uid, as the records have it.
        uid: String,
    },
    /// The object is not as it was deployed, or the watches have yet to show it as it is.
    Drifted {
        /// Kind and name.
        object: ObjectRef,
    },
    /// The pod of this uid cannot pull an image, and its node tries again.
    Pulling {
        /// Its uid.
        pod: String,
    },
    /// The pod of this uid is shown with a container of another image than it is to run: one of its former form that
    /// still runs, or the same image under another name.
    Former {
        /// Its uid.
        pod: String,
    },
    /// The pod of this uid has no node, or waits for a volume.
    Waiting {
        /// Its uid.
        pod: String,
    },
}

/// What stands under the name of an object that no list by our labels has shown, although the record has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByName {
    /// The object itself: somebody has taken its labels away, and the next Deploy puts them back.
    Unlabelled,
    /// The object itself: somebody has changed its labels, and holds them.
    Relabelled,
    /// What is not this deployment's: no Deploy writes it.
    Foreign,
}

/// What the cluster showed of one deployment at one moment.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Its pods, those of controllers included.
    pub pods: Vec<Arc<Pod>>,
    /// Its ReplicationControllers.
    pub controllers: Vec<Arc<ReplicationController>>,
    /// Its apps Deployments.
    pub deployments: Vec<Arc<Deployment>>,
    /// Its volume claims.
    pub claims: Vec<Arc<PersistentVolumeClaim>>,
    /// Its Services.
    pub services: Vec<Arc<Service>>,
    /// Its Secrets, of which nobody may watch any; `None`: nobody has looked. Most have no content: that is read where
    /// somebody else has written one.
    pub secrets: Option<Vec<Arc<Secret>>>,
    /// What was seen to hold something up for longer than it may, by the clock of who watched.
    pub overdue: BTreeSet<HoldUp>,
    /// What stands under the names of objects that were not shown; of the others nothing does, or nobody has looked.
    pub by_name: BTreeMap<ObjectRef, ByName>,
}

impl Observed {
    /// The metadata of every object, with its kind.
    pub fn metadata(&self) -> impl Iterator<Item = (Kind, &ObjectMeta)> {
        let services = self.services.iter().map(|service| (Kind::Service, &service.metadata));
        let claims = self.claims.iter().map(|claim| (Kind::PersistentVolumeClaim, &claim.metadata));
        let controllers = self.controllers.iter().map(|one| (Kind::ReplicationController, &one.metadata));
        let deployments = self.deployments.iter().map(|one| (Kind::Deployment, &one.metadata));
        let pods = self.pods.iter().map(|pod| (Kind::Pod, &pod.metadata));
        let secrets = self.secrets.iter().flatten().map(|secret| (Kind::Secret, &secret.metadata));
        services.chain(claims).chain(controllers).chain(deployments).chain(pods).chain(secrets)
    }

    /// An object as the cluster has it, as JSON.
    pub fn whole(&self, reference: &ObjectRef) -> Option<Value> {
        let name = Some(reference.name.as_str());
        let json = match reference.kind {
            Kind::Service => as_json(&self.services, name, |one| &one.metadata),
            Kind::PersistentVolumeClaim => as_json(&self.claims, name, |one| &one.metadata),
            Kind::ReplicationController => as_json(&self.controllers, name, |one| &one.metadata),
            Kind::Deployment => as_json(&self.deployments, name, |one| &one.metadata),
            Kind::Pod => as_json(&self.pods, name, |one| &one.metadata),
            // Whole, it has a type.
            Kind::Secret => {
                let whole = self.secrets.iter().flatten().filter(|secret| secret.type_.is_some());
                as_json(&whole.cloned().collect::<Vec<_>>(), name, |one| &one.metadata)
            }
        };
        json.filter(Value::is_object)
    }

    /// Whether an object of this kind and name was shown.
    pub fn shows(&self, reference: &ObjectRef) -> bool {
        let name = Some(reference.name.as_str());
        self.metadata().any(|(kind, metadata)| kind == reference.kind && metadata.name.as_deref() == name)
    }

    /// Whether an object with this uid is there; `None` for kinds that are not watched.
    pub fn has(&self, kind: Kind, uid: &str) -> Option<bool> {
        let is_it =
            |(has, metadata): (Kind, &ObjectMeta)| has == kind && metadata.uid.as_deref() == Some(uid);
        (kind != Kind::Secret).then(|| self.metadata().any(is_it))
    }

    /// The same, with what has held something up for too long.
    pub fn with_overdue(&self, overdue: BTreeSet<HoldUp>) -> Self {
        Self { overdue, ..self.clone() }
    }
}

fn as_json<K: Serialize>(
    objects: &[Arc<K>],
    name: Option<&str>,
    metadata: impl Fn(&K) -> &ObjectMeta,
) -> Option<Value> {
    let found = objects.iter().find(|object| metadata(object).name.as_deref() == name)?;
    serde_json::to_value(found.as_ref()).ok()
}
