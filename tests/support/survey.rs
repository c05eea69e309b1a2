//! Looks at a namespace with a client of its own: what stands in it, and whether that is one whole deployment.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DynamicObject, ListParams};
use kube::{Client, ResourceExt};
use panamax_kubernetes_adapter::artifacts::DeploymentState;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::translate_template_request::TemplateSource;
use panamax_kubernetes_adapter::record::{Head, MemberState, Phase};

use super::adapter::Adapter;
use crate::conformance::looking;

/// What stands in a namespace: one LIST of each kind, by `Kind name`.
pub struct Survey {
    /// Every object but those that each namespace has of itself.
    pub objects: BTreeMap<String, DynamicObject>,
}

impl Survey {
    /// Looks at everything, between two looks at the records that show the same: else what was deleted and left its
    /// record in between would look like something that no record knows.
    pub async fn of(client: &Client, namespace: &str) -> Self {
        let records = async || -> BTreeSet<Option<String>> {
            let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
            let list = api.list(&ListParams::default()).await.expect("a list of records");
            list.items.iter().map(ResourceExt::resource_version).collect()
        };
        let mut before = records().await;
        let objects = loop {
            let objects = looking::objects(client, namespace).await.expect("lists of everything");
            let after = records().await;
            if after == before {
                break objects;
            }
            before = after;
        };
        let named = |(kind, object): (&str, DynamicObject)| (format!("{kind} {}", object.name_any()), object);
        let objects = objects.into_iter().map(named).collect();
        Self { objects }
    }

    /// The names of all objects.
    pub fn names(&self) -> Vec<&str> {
        self.objects.keys().map(String::as_str).collect()
    }

    /// The names of all objects of a kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a DynamicObject)> {
        self.objects
            .iter()
            .filter_map(move |(name, object)| Some((name.strip_prefix(kind)?.strip_prefix(' ')?, object)))
    }

    /// The head record of a deployment.
    pub fn head(&self, name: &str) -> Option<Head> {
        let object = self.objects.get(&format!("ConfigMap panamax-deployment-{name}"))?;
        let text = object.data.pointer("/data/head.json")?.as_str()?;
        Some(serde_json::from_str(text).expect("a head that can be read"))
    }

    /// What keeps this from being exactly one deployment at rest: its head, its inventory, the pods of its
    /// controllers and its revisions, and nothing else.
    pub fn faults(&self, name: &str) -> Vec<String> {
        let Some(head) = self.head(name) else {
            return vec![format!("no head, but {:?}", self.names())];
        };
        let mut faults = Vec::new();
        if let Some(operation) = &head.operation {
            faults.push(format!("{:?} is still running", operation.kind));
        }
        if !matches!(head.phase, Phase::Progressing | Phase::Idle) {
            faults.push(format!("the phase is {}", head.phase.as_str()));
        }
        if head.current.is_none() {
            faults.push("no current revision".to_owned());
        }
        let mut known: BTreeSet<String> = [format!("ConfigMap panamax-deployment-{name}")].into();
        let mut uids = BTreeSet::new();
        for member in &head.inventory {
            let reference = member.reference.to_string();
            match self.objects.get(&reference) {
                // What a dead operation has sent may arrive still: it is remembered for a minute.
                None if member.may_still_arrive() && head.doubts().next().is_some() => {}
                None => faults.push(format!("{reference} is {:?} and not there", member.state)),
                Some(object) if object.uid() != member.uid => {
                    faults.push(format!("{reference} has another uid"));
                }
                Some(object) if object.metadata.deletion_timestamp.is_some() => {
                    faults.push(format!("{reference} is being deleted"));
                }
                Some(_) if member.state != MemberState::Applied => {
                    faults.push(format!("{reference} is {:?}", member.state));
                }
                Some(_) => uids.extend(member.uid.clone()),
            }
            if !known.insert(reference.clone()) {
                faults.push(format!("{reference} stands in the inventory twice"));
            }
        }
        known.extend(head.revisions.iter().map(|entry| format!("Secret {}", entry.revision.secret)));
        // An apps Deployment owns its pods through ReplicaSets.
        let sets: Vec<_> = self.of_kind("ReplicaSet").collect();
        for (name, set) in sets {
            if set.owner_references().iter().any(|owner| uids.contains(&owner.uid)) {
                known.insert(format!("ReplicaSet {name}"));
                uids.extend(set.uid());
            }
        }
        for (reference, object) in &self.objects {
            let owned = object.owner_references().iter().any(|owner| uids.contains(&owner.uid));
            let pod = reference.starts_with("Pod ") && (owned || self.is_to_be_adopted(object, &uids));
            if !known.contains(reference) && !pod {
                faults.push(format!("{reference} is an orphan"));
            }
        }
        faults
    }

    /// What keeps this from being exactly one deployment of which nothing is left to do: at rest, and recorded so.
    pub fn unrest(&self, name: &str) -> Vec<String> {
        let mut unrest = self.faults(name);
        let Some(head) = self.head(name) else { return unrest };
        if head.phase != Phase::Idle {
            unrest.push(format!("the phase is {}", head.phase.as_str()));
        }
        if head.recorded.state != DeploymentState::Active {
            let causes: Vec<_> =
                head.revisions.iter().filter_map(|entry| head.cause_of(&entry.revision)).collect();
            unrest.push(format!("the state is recorded as {:?}, for {causes:?}", head.recorded.state));
        }
        for revision in head.superfluous_revisions() {
            unrest.push(format!("the revision {} is still to be deleted", revision.secret));
        }
        if let Some(current) = head.current.as_ref().filter(|current| !self.has("Secret", &current.secret)) {
            unrest.push(format!("the current revision {} is not there", current.secret));
        }
        unrest
    }

    fn has(&self, kind: &str, name: &str) -> bool {
        self.objects.contains_key(&format!("{kind} {name}"))
    }

    /// Whether a pod that nobody owns matches one of these controllers, which will then adopt it in a moment.
    fn is_to_be_adopted(&self, pod: &DynamicObject, uids: &BTreeSet<String>) -> bool {
        let mut controllers = self.of_kind("ReplicationController").map(|(_, controller)| controller);
        pod.owner_references().is_empty()
            && controllers.any(|controller| {
                let selector =
                    controller.data.pointer("/spec/selector").and_then(|selector| selector.as_object());
                let mut labels = selector.into_iter().flatten();
                controller.uid().is_some_and(|uid| uids.contains(&uid))
                    && labels.all(|(key, value)| pod.labels().get(key).map(String::as_str) == value.as_str())
            })
    }

    /// The members that the head knows, by `Kind name`.
    pub fn members(&self, name: &str) -> BTreeSet<String> {
        let head = self.head(name);
        head.into_iter()
            .flat_map(|head| head.inventory.clone())
            .map(|member| member.reference.to_string())
            .collect()
    }

    /// The uid of an object.
    pub fn uid(&self, reference: &str) -> Option<String> {
        self.objects.get(reference)?.uid()
    }
}

/// The objects that a template becomes, by `Kind name`.
pub async fn translated(adapter: &Adapter, name: &str, template: &str) -> BTreeSet<String> {
    let request = proto::TranslateTemplateRequest {
        name: name.to_owned(),
        template_source: Some(TemplateSource::TemplateYaml(template.to_owned())),
        ..proto::TranslateTemplateRequest::default()
    };
    let answer = adapter.templates().translate_template(request).await.expect("translated").into_inner();
    let references = answer.objects.into_iter().filter_map(|object| object.r#ref);
    references.map(|reference| format!("{} {}", reference.kind, reference.name)).collect()
}
