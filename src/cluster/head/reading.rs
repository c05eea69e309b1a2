//! Reads records out of ConfigMaps: whose they are, and what cannot be read.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use serde::Deserialize;

use super::KEY;
use crate::artifacts::{DeploymentName, Namespace, Target};
use crate::error::{Error, ErrorKind};
use crate::record::{self, Head, Record, Unreadable, Version};

/// Reads the record out of a ConfigMap; `None` if it is not one of our heads.
///
/// It is the head of the deployment whose name it has. As with every other object two of three must say so: the name,
/// the labels, and the uid in the record. So a copy under another name is nobody's, and neither a label that was taken
/// away nor one that was changed makes a deployment another's.
pub(in crate::cluster) fn parse(object: &ConfigMap) -> Option<Result<Record, Unreadable>> {
    let namespace = Namespace::new(object.namespace()?).ok()?;
    let target = Target { namespace, name: record::deployment_of(&object.name_any())? };
    let head = head(object, &target.name);
    let lies_here = head.as_ref().is_ok_and(|head| head.uid.is_some() && head.uid == object.metadata.uid);
    if !lies_here && record::lacks_marks(object, &target.name) {
        return None;
    }
    Some(match head {
        Ok(head) => Ok(Record {
            head,
            namespace: target.namespace,
            name: target.name,
            uid: object.uid().unwrap_or_default(),
            terminating: object.metadata.deletion_timestamp.is_some(),
            version: Version::new(object.resource_version().unwrap_or_default()),
            stored: Arc::new(without_ours(object)),
        }),
        Err(why) => Err(Unreadable {
            target,
            uid: object.uid().unwrap_or_default(),
            created: object.creation_timestamp().map(|time| time.0),
            why,
        }),
    })
}

/// The version of a record's form, which every form has.
#[derive(Deserialize)]
struct Form {
    schema: u32,
}

/// Reads what is in the ConfigMap. What the log is told has no piece of it: nobody knows what somebody else has put
/// there.
fn head(object: &ConfigMap, name: &DeploymentName) -> Result<Head, Error> {
    let damaged = |what: &str| record::damaged_record(name, what);
    let text =
        object.data.as_ref().and_then(|data| data.get(KEY)).ok_or_else(|| damaged("has no head.json"))?;
    serde_json::from_str(text).map_err(|error| match serde_json::from_str::<Form>(text) {
        Ok(Form { schema }) if !Head::knows(schema) => record::later_record(name, schema),
        _ => damaged(&format!("is no record at line {}, column {}", error.line(), error.column())),
    })
}

/// The answer where a ConfigMap of a head's name is no head.
pub(super) fn foreign(object: &ConfigMap) -> Error {
    let name = object.name_any();
    let text = format!(
        "ConfigMap {name} is not the record of a deployment of that name; choose another name for the deployment, or \
         delete that ConfigMap"
    );
    Error::new(ErrorKind::ObjectNotOwned, text)
        .with("object", format!("ConfigMap {name}"))
        .with("namespace", object.namespace().unwrap_or_default())
        .with("owner", "somebody else")
        .about("ConfigMap", name)
}

/// The object without the record, and without what only the API server writes.
fn without_ours(object: &ConfigMap) -> ConfigMap {
    let metadata = &object.metadata;
    ConfigMap {
        metadata: ObjectMeta {
            labels: metadata.labels.clone(),
            annotations: metadata.annotations.clone(),
            finalizers: metadata.finalizers.clone(),
            owner_references: metadata.owner_references.clone(),
            ..ObjectMeta::default()
        },
        data: object.data.as_ref().map(|data| {
            data.iter()
                .filter(|(key, _)| *key != KEY)
                .map(|(key, text)| (key.clone(), text.clone()))
                .collect()
        }),
        binary_data: object.binary_data.clone(),
        immutable: object.immutable,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    /// A ConfigMap of this name, with the labels of a deployment's record and a record that has a uid noted.
    fn config_map(name: &str, labels: Option<&str>, noted: &str) -> ConfigMap {
        let head =
            Head::new("Shop".to_owned(), Timestamp::UNIX_EPOCH).lying_in(Some(noted.to_owned()), false);
        let mut object = ConfigMap::default();
        object.metadata.name = Some(format!("panamax-deployment-{name}"));
        object.metadata.namespace = Some("default".to_owned());
        object.metadata.uid = Some("3f".to_owned());
        object.data = Some([(KEY.to_owned(), serde_json::to_string(&head).unwrap())].into());
        if let Some(labelled) = labels.and_then(|name| DeploymentName::new(name).ok()) {
            let marks = record::marks(&labelled).map(|(key, value)| (key.to_owned(), value.to_owned()));
            object.metadata.labels = Some(marks.into());
        }
        object
    }

    #[test]
    fn a_record_is_the_deployments_whose_name_it_has_if_its_labels_or_its_uid_say_so() {
        for (name, labels, noted, is_ours) in [
            ("shop", Some("shop"), "3f", true),
            // Somebody has taken the labels away, or changed them.
            ("shop", None, "3f", true),
            ("shop", Some("other"), "3f", true),
            // It was restored from a backup.
            ("shop", Some("shop"), "70", true),
            // It is a copy.
            ("copy", Some("shop"), "70", false),
            ("shop", None, "70", false),
        ] {
            let found = parse(&config_map(name, labels, noted)).map(|read| read.unwrap().name.to_string());
            assert_eq!(found.as_deref(), Some(name).filter(|_| is_ours), "{name} {labels:?} {noted}");
        }
        let mut foreign = config_map("shop", Some("shop"), "3f");
        foreign.metadata.name = Some("shop".to_owned());
        assert!(parse(&foreign).is_none());
    }

    #[test]
    fn what_cannot_be_read_names_its_config_map_and_quotes_nothing() {
        for (text, told) in [
            (Some(r#"{"schema": 1, "phase": "canary"}"#), "was changed from outside"),
            (Some(r#"{"schema": 2, "phase": "canary"}"#), "was written by a later version"),
            (Some("canary"), "was changed from outside"),
            (None, "was changed from outside"),
        ] {
            let mut object = config_map("shop", Some("shop"), "3f");
            object.data = Some(text.map(|text| (KEY.to_owned(), text.to_owned())).into_iter().collect());
            let why = parse(&object).unwrap().unwrap_err().why;
            assert_eq!(why.kind(), ErrorKind::RecordUnreadable);
            assert!(
                why.message().contains("panamax-deployment-shop") && why.message().contains(told),
                "{why:?}"
            );
            assert!(!format!("{why:?}").contains("canary"), "{why:?}");
            // Nobody knows whose it is.
            object.metadata.labels = None;
            assert!(parse(&object).is_none());
        }
    }
}
