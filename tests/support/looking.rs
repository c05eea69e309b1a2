//! Looking at the cluster and at refusals, as tests need it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolumeClaim, Pod, ReplicationController, Secret, Service,
};
use kube::ResourceExt;
use kube::api::ListParams;
use kube::runtime::wait::{Condition, await_condition};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::watch_deployment_response::Event;
use tonic_types::StatusExt;

use super::adapter::Adapter;
use super::namespace::Namespace;
use super::survey::Survey;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a watch may go on that ends with what it watches.
const END: Duration = Duration::from_secs(60);

/// How often the cluster is looked at where no watch tells.
const LOOK: Duration = Duration::from_millis(50);

/// What a namespace holds, of a kind that is known beforehand.
pub trait Object:
    kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
    + Clone
    + std::fmt::Debug
    + Send
    + serde::Serialize
    + serde::de::DeserializeOwned
    + 'static
{
}

impl<K> Object for K where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + Send
        + serde::Serialize
        + serde::de::DeserializeOwned
        + 'static
{
}

/// Uid of objects and what stands for their content, by kind and name.
pub type Versions = BTreeMap<String, (String, u64)>;

async fn versions_of<K: Object>(namespace: &Namespace) -> Versions {
    let list = namespace.api::<K>().list(&ListParams::default()).await.expect("a list");
    let version = |object: K| {
        let name = format!("{}/{}", K::kind(&()), object.name_any());
        (name, (object.uid().expect("a uid"), content(&object)))
    };
    list.items.into_iter().map(version).collect()
}

/// Stands for all that a write to an object changes, who wrote it and when included, but for a write to its status: that
/// is the cluster's own, which writes it whenever it gets round to it.
fn content<K: Object>(object: &K) -> u64 {
    let mut all = serde_json::to_value(object).expect("an object as JSON");
    if let Some(all) = all.as_object_mut() {
        all.remove("status");
    }
    if let Some(metadata) = all["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    if let Some(entries) = all["metadata"]["managedFields"].as_array_mut() {
        entries.retain(|entry| entry["subresource"] != "status");
    }
    let mut hasher = DefaultHasher::new();
    all.to_string().hash(&mut hasher);
    hasher.finish()
}

/// Every Service, claim, controller and Pod of a namespace.
pub async fn members(namespace: &Namespace) -> Versions {
    let mut all = versions_of::<Service>(namespace).await;
    all.extend(versions_of::<PersistentVolumeClaim>(namespace).await);
    all.extend(versions_of::<ReplicationController>(namespace).await);
    all.extend(versions_of::<Deployment>(namespace).await);
    all.extend(versions_of::<Pod>(namespace).await);
    all
}

/// Everything of a namespace that the adapter could have made, but for what the cluster itself makes.
pub async fn everything(namespace: &Namespace) -> Versions {
    let mut all = members(namespace).await;
    all.extend(versions_of::<ConfigMap>(namespace).await);
    all.extend(versions_of::<Secret>(namespace).await);
    all.remove("ConfigMap/kube-root-ca.crt");
    all
}

/// The names among these.
pub fn names(versions: &Versions) -> Vec<&str> {
    versions.keys().map(String::as_str).collect()
}

/// Looks until there is something to return; panics with the last reason why not.
pub async fn eventually<T>(look: impl AsyncFn() -> Result<T, String>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(reason) => assert!(Instant::now() < until, "after {PATIENCE:?}: {reason}"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether what is there now is what is wanted; if not, both.
pub fn same<T: PartialEq + std::fmt::Debug>(now: &T, wanted: &T) -> Result<(), String> {
    if now == wanted { Ok(()) } else { Err(format!("{now:?}, not {wanted:?}")) }
}

/// An object as anybody can read it and apply it again: without what only the API server writes.
pub fn as_read(mut object: serde_json::Value) -> serde_json::Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation"] {
            metadata.remove(field);
        }
    }
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    object
}

/// A deployment that is there, as GetDeployment shows it.
pub async fn shown(
    adapter: &Adapter,
    namespace: &str,
    name: &str,
    view: proto::DeploymentView,
) -> proto::Deployment {
    let request = proto::GetDeploymentRequest {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        view: view.into(),
    };
    let answer = adapter.deployments().get_deployment(request).await.expect("an answer").into_inner();
    answer.deployment.expect("a deployment")
}

/// Names and uids of the pods among these.
pub fn pod_uids(all: &Versions) -> Vec<String> {
    let pods = all.iter().filter(|(name, _)| name.starts_with("Pod/"));
    pods.map(|(name, (uid, _))| format!("{name} {uid}")).collect()
}

/// Waits for an object to be as wanted.
pub async fn until<K: Object>(namespace: &Namespace, name: &str, condition: impl Condition<K>) -> Option<K> {
    let wait = await_condition(namespace.api::<K>(), name, condition);
    let seen = tokio::time::timeout(PATIENCE, wait).await;
    seen.unwrap_or_else(|_| panic!("{} {name} in time", K::kind(&()))).expect("a watch")
}

/// Deletes an object at once and waits until it is gone.
pub async fn remove<K: Object>(namespace: &Namespace, name: &str) {
    let uid = namespace.api::<K>().get(name).await.expect("it is there").uid().expect("a uid");
    let parameters = kube::api::DeleteParams::default().grace_period(0);
    namespace.api::<K>().delete(name, &parameters).await.expect("it can be deleted");
    until::<K>(namespace, name, kube::runtime::conditions::is_deleted(&uid)).await;
}

/// Waits until the head records a state; returns its resourceVersion.
pub async fn recorded(namespace: &Namespace, name: &str, state: &str) -> String {
    let wanted = format!("\"state\":\"{state}\"");
    let has_state = move |head: Option<&ConfigMap>| {
        head.and_then(|head| head.data.as_ref()?.get("head.json")).is_some_and(|text| text.contains(&wanted))
    };
    let head = until::<ConfigMap>(namespace, &format!("panamax-deployment-{name}"), has_state).await;
    head.expect("a head").resource_version().expect("a version")
}

/// Waits until nothing of a deployment is left to do, what goes included.
pub async fn at_rest(namespace: &Namespace, name: &str) {
    let rest = async {
        while !Survey::of(&namespace.client, namespace).await.unrest(name).is_empty() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, rest).await.unwrap_or_else(|_| panic!("{name} comes to rest in time"));
}

/// Reads a watch to its end; returns the last that it shows.
pub async fn last_of(mut stream: tonic::Streaming<proto::WatchDeploymentResponse>) -> proto::Deployment {
    let all = async {
        let mut last = None;
        while let Some(message) = stream.message().await.expect("a message") {
            if let Some(Event::Snapshot(deployment)) = message.event {
                last = Some(deployment);
            }
        }
        last.expect("a snapshot")
    };
    tokio::time::timeout(END, all).await.expect("the watch ends in time")
}

/// What happened to an object, by `Kind/name`.
pub fn action(changes: &[proto::ObjectChange], object: &str) -> proto::ObjectAction {
    let is_meant = |change: &&proto::ObjectChange| {
        change.r#ref.as_ref().is_some_and(|one| format!("{}/{}", one.kind, one.name) == object)
    };
    changes.iter().find(is_meant).unwrap_or_else(|| panic!("{object} among {changes:#?}")).action()
}

/// A refusal taken apart.
#[derive(Debug)]
pub struct Refusal {
    pub code: tonic::Code,
    pub reason: String,
    pub message: String,
    pub metadata: BTreeMap<String, String>,
    /// Path and reason of each violation.
    pub violations: Vec<(String, String)>,
    /// Whether it says when to try again.
    pub retry: bool,
}

impl Refusal {
    /// Takes a status apart; every refusal of ours has an ErrorInfo of our domain.
    pub fn of(status: &tonic::Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().unwrap_or_else(|| panic!("an ErrorInfo in {status:?}"));
        assert_eq!(info.domain, "panamax.kubernetes.v1");
        assert!(!status.message().is_empty(), "a message that stands alone");
        assert!(status.message().len() <= 1024 && status.details().len() <= 3 * 1024, "trailers that fit");
        let violations = details.bad_request().map(|request| request.field_violations.clone());
        Self {
            code: status.code(),
            reason: info.reason.clone(),
            message: status.message().to_owned(),
            metadata: info.metadata.clone().into_iter().collect(),
            violations: violations
                .unwrap_or_default()
                .into_iter()
                .map(|one| (one.field, one.reason))
                .collect(),
            retry: details.retry_info().is_some(),
        }
    }

    /// The fields that are wrong, in the order of the answer.
    pub fn fields(&self) -> Vec<&str> {
        self.violations.iter().map(|(field, _)| field.as_str()).collect()
    }

    /// A fact of its metadata; empty if it has none of that name.
    pub fn fact(&self, key: &str) -> &str {
        self.metadata.get(key).map(String::as_str).unwrap_or_default()
    }
}

/// Checks code and reason of a refused call; returns the refusal.
pub fn refused<T: std::fmt::Debug>(
    answer: Result<tonic::Response<T>, tonic::Status>,
    code: tonic::Code,
    reason: &str,
) -> Refusal {
    let refusal = Refusal::of(&answer.expect_err("a refusal"));
    assert_eq!((refusal.code, refusal.reason.as_str()), (code, reason), "{refusal:#?}");
    refusal
}
