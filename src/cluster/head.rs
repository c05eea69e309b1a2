//! The head record of a deployment: lock, write-ahead inventory and last recorded state, in one ConfigMap.

mod reading;
mod removal;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams};

use super::Cluster;
use super::answers::{Conflict, Subject};
use super::errors::Failure;
use crate::artifacts::{DeploymentName, LABEL_MANAGED_BY, LABEL_PHASE, LABEL_RECORD, MANAGED_BY, Namespace};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::record::{self, Head, Record, Transition, Unreadable, Writer, head_name, lost};

pub(super) use reading::parse;

/// The key of the record inside the ConfigMap.
const KEY: &str = "head.json";
/// How often a change is made again on a record that others keep writing.
const CHANGES: usize = 5;
/// Heads read per page.
const PAGE: u32 = 500;

/// The ConfigMap that holds a record: the one that was read with what is ours in it anew, or a new one.
fn config_map(name: &DeploymentName, head: &Head, record: Option<&Record>) -> Result<ConfigMap> {
    let text = serde_json::to_string(head)
        .map_err(|error| Error::internal(format!("the head cannot be written as JSON: {error}")))?;
    let mut object = record.map(|record| ConfigMap::clone(&record.stored)).unwrap_or_default();
    let metadata = &mut object.metadata;
    metadata.name = Some(head_name(name));
    metadata.uid = record.map(|record| record.uid.clone());
    metadata.resource_version = record.map(|record| record.version.as_str().to_owned());
    let labels = metadata.labels.get_or_insert_default();
    for key in record.into_iter().flat_map(|record| record.head.recorded.labels.keys()) {
        labels.remove(key);
    }
    labels.extend(head.recorded.labels.clone());
    for (key, value) in record::marks(name).into_iter().chain([(LABEL_PHASE, head.phase.as_str())]) {
        labels.insert(key.to_owned(), value.to_owned());
    }
    object.data.get_or_insert_default().insert(KEY.to_owned(), text);
    Ok(object)
}

/// The record in an object that must be one.
fn record_in(written: &ConfigMap) -> Result<Record> {
    match parse(written) {
        Some(Ok(record)) => Ok(record),
        Some(Err(unreadable)) => Err(unreadable.why),
        None => Err(reading::foreign(written)),
    }
}

/// A page of heads.
#[derive(Debug, Default)]
pub struct Heads {
    /// The records.
    pub records: Vec<Record>,
    /// The deployments whose records cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// The next page's token; `None`: this is the last.
    pub next: Option<String>,
}

/// The field manager of a writer.
fn manager(writer: Writer) -> &'static str {
    match writer {
        Writer::Operation => "panamax",
        Writer::Lease => "panamax-lease",
        Writer::Keeper => "panamax-keeper",
    }
}

/// Selects the heads of all deployments.
pub(super) fn selector() -> String {
    format!("{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_RECORD}=head")
}

/// A head as answers name it.
fn subject(object_name: &str) -> Subject<'_> {
    Subject { resource: "configmaps", kind: "ConfigMap", name: object_name }
}

fn about_head(failure: Failure, record: &Record) -> Error {
    failure.into_error("ConfigMap", &head_name(&record.name))
}

impl Cluster {
    fn heads(&self, namespace: &Namespace) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), namespace.as_str())
    }

    /// Reads the head; `None` if there is no such deployment. A missing namespace reads as no deployment.
    pub async fn read_head(&self, namespace: &Namespace, name: &DeploymentName) -> Result<Option<Record>> {
        let api = self.heads(namespace);
        let object_name = head_name(name);
        let object = self
            .call("read the deployment's record", || api.get_opt(&object_name))
            .await
            .map_err(|failure| failure.into_error("ConfigMap", &object_name))?;
        let Some(object) = object else { return Ok(None) };
        record_in(&object).map(Some)
    }

    /// Creates the head: the lock, the plan and the inventory of a first Deploy in one write.
    ///
    /// Fails with OPERATION_IN_PROGRESS when there is one already.
    pub async fn create_head(
        &self,
        namespace: &Namespace,
        name: &DeploymentName,
        head: Head,
    ) -> Result<Record> {
        let api = self.heads(namespace);
        let object = config_map(name, &head, None)?;
        let parameters = PostParams::default();
        let object_name = head_name(name);
        let subject = subject(&object_name);
        let create = || api.create(&parameters, &object);
        match self.write("create the deployment's record", subject, create).await {
            Ok(written) => record_in(&written),
            Err(failure) if failure.conflict() == Some(Conflict::Exists) => {
                self.ours_after_all(namespace, name, &head).await
            }
            Err(failure) => Err(failure.into_error("ConfigMap", &object_name)),
        }
    }

    /// Changes the record. If others have written it meanwhile, the change is made again on their form, where it still
    /// holds.
    ///
    /// A change that changes nothing is not written, but for a renewal, which shows that the lock is held. Fails with
    /// OPERATION_IN_PROGRESS when another operation came or went.
    pub async fn change(&self, record: &Record, transition: &Transition) -> Result<Record> {
        self.change_from(record, transition).await.map(|(_, changed)| changed)
    }

    /// The same; returns also the record on which the change was made.
    pub async fn change_from(&self, record: &Record, transition: &Transition) -> Result<(Record, Record)> {
        let (mut record, is_restored) = (record.clone(), record.is_restored());
        for _ in 0..CHANGES {
            let mut next = transition.apply(&record.head);
            // Whoever reads by its labels does not see it without them.
            let is_asked_for = record.lacks_marks() || matches!(transition, Transition::Renew { .. });
            if next == record.head && !is_asked_for {
                return Ok((record.clone(), record));
            }
            // A record that was restored stays recognizable until its objects are adopted.
            if next.uid.is_none() || transition.adopts() {
                let restored = next.restored || is_restored;
                next = next.lying_in(Some(record.uid.clone()), restored);
            }
            match self.try_write(&record, &next, manager(transition.writer())).await {
                Ok(written) => return Ok((record, written)),
                Err(failure) if failure.conflict().is_some() => {
                    let now = self.read_head(&record.namespace, &record.name).await?;
                    let now = now.filter(|now| now.uid == record.uid).ok_or_else(|| lost(&record.name))?;
                    // The answer to this very write was lost.
                    if transition.is_made(&record.head, &now.head) {
                        return Ok((record, now));
                    }
                    if !transition.holds_on(&record.head, &now.head) {
                        return Err(lost(&record.name));
                    }
                    record = now;
                }
                Err(failure) if failure.is_not_found() => return Err(lost(&record.name)),
                Err(failure) => return Err(about_head(failure, &record)),
            }
        }
        Err(lost(&record.name))
    }

    async fn try_write(
        &self,
        record: &Record,
        head: &Head,
        manager: &str,
    ) -> std::result::Result<Record, Failure> {
        let api = self.heads(&record.namespace);
        let object_name = head_name(&record.name);
        let purpose = "write the deployment's record";
        let object = config_map(&record.name, head, Some(record))
            .map_err(|_| Failure::broken(purpose, "the head is not JSON"))?;
        let parameters = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
        let replace = || api.replace(&object_name, &parameters, &object);
        let written = self.write(purpose, subject(&object_name), replace).await?;
        record_in(&written).map_err(|_| Failure::broken(purpose, "the answer is not the head"))
    }

    /// Tells a lost answer to our own POST from somebody else's head.
    async fn ours_after_all(
        &self,
        namespace: &Namespace,
        name: &DeploymentName,
        head: &Head,
    ) -> Result<Record> {
        let now = self.read_head(namespace, name).await?.ok_or_else(|| lost(name))?;
        if now.head == *head { Ok(now) } else { Err(lost(name)) }
    }

    /// Lists heads, a page at a time: of one namespace, or of all (`None`).
    ///
    /// Also returns those that cannot be read, and the next page's token.
    pub async fn list_heads(
        &self,
        namespace: Option<&Namespace>,
        labels: &str,
        limit: u32,
        token: &str,
    ) -> Result<Heads> {
        let api: Api<ConfigMap> = match namespace {
            Some(namespace) => self.heads(namespace),
            None => Api::all(self.client.clone()),
        };
        let mut selector = selector();
        if !labels.is_empty() {
            selector.push(',');
            selector.push_str(labels);
        }
        let mut parameters = ListParams::default().labels(&selector).limit(limit.clamp(1, PAGE));
        if !token.is_empty() {
            parameters = parameters.continue_token(token);
        }
        let list = match self.call("list deployments", || api.list(&parameters)).await {
            Ok(list) => list,
            Err(failure) if failure.is_gone() || (failure.code() == 400 && !token.is_empty()) => {
                return Err(Error::new(
                    ErrorKind::PageTokenExpired,
                    "the page token is too old or was not issued here; start again without it",
                ));
            }
            Err(failure) if failure.code() == 400 && !labels.is_empty() => {
                let fault =
                    Fault::field("label_selector", "is not a label selector, as `team=web,tier in (a, b)`");
                return Err(Error::fields(vec![fault]).because(failure.summary()));
            }
            Err(failure) => return Err(failure.into_error("ConfigMap", "")),
        };
        let mut heads = Heads::default();
        for object in &list.items {
            match parse(object) {
                Some(Ok(record)) => heads.records.push(record),
                Some(Err(unreadable)) => heads.unreadable.push(unreadable),
                None => {}
            }
        }
        heads.next = list.metadata.continue_.filter(|token| !token.is_empty());
        Ok(heads)
    }
}
