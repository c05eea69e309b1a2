//! Whether an operation may start on a deployment, and the answers when it may not.

use std::time::Duration;

use super::{Head, Operation, OperationKind, Record, later_record};
use crate::artifacts::{DeploymentName, Target};
use crate::error::{Error, ErrorKind, Result, contract_word};

/// Says whether an operation may start on a deployment as it was read.
///
/// Fails with OPERATION_IN_PROGRESS while another operation holds it. An operation that was not seen renewed for the
/// length of its lease can be taken over: its inventory says what may be there.
pub fn gate(record: &Record, unrenewed_for: Duration) -> Result<()> {
    check_readable(record)?;
    if let Some(operation) = &record.head.operation {
        let remaining = operation.remaining(unrenewed_for);
        if remaining > Duration::ZERO {
            return Err(in_progress(record, operation, remaining));
        }
    }
    Ok(())
}

/// Refuses a record of a later version of the adapter.
pub fn check_readable(record: &Record) -> Result<()> {
    if Head::knows(record.head.schema) {
        return Ok(());
    }
    Err(later_record(&record.name, record.head.schema))
}

/// Compares the caller's etag; an empty one matches everything.
pub fn check_etag(record: Option<&Record>, etag: &str) -> Result<()> {
    let now = record.map(Record::etag).unwrap_or_default();
    if etag.is_empty() || etag == now {
        return Ok(());
    }
    if record.is_none() {
        let text =
            "there is no such deployment any more, or there never was; leave the etag out to make a new one";
        return Err(Error::new(ErrorKind::EtagMismatch, text));
    }
    Err(Error::new(
        ErrorKind::EtagMismatch,
        "the deployment has changed since its etag was read; read it again with GetDeployment",
    )
    .with("etag", now))
}

fn in_progress(record: &Record, operation: &Operation, remaining: Duration) -> Error {
    let verb = match operation.kind {
        OperationKind::Deploy => "being deployed",
        OperationKind::Scale => "being scaled",
        OperationKind::Teardown => "being torn down",
    };
    let error = Error::new(
        ErrorKind::OperationInProgress,
        format!(
            "deployment {} is {verb} by {}, which began at {}",
            record.name, operation.holder, operation.started
        ),
    );
    // Most operations end long before their lease does.
    about(error, operation).retry_after(remaining.min(Duration::from_secs(1)))
}

/// The answer to a write on a deployment that is being torn down.
pub fn being_deleted(record: &Record) -> Error {
    Error::new(
        ErrorKind::OperationInProgress,
        format!(
            "deployment {} is being torn down; wait until it is gone, or call Teardown again",
            record.name
        ),
    )
    .with("operation", contract_word(&OperationKind::Teardown))
    .retry_after(Duration::from_secs(1))
}

/// Whether a Teardown may join the one that is under way: not if it is to delete volume claims that that one keeps.
///
/// Fails with OPERATION_IN_PROGRESS.
pub fn check_joins(record: &Record, deletes_claims: bool) -> Result<()> {
    let claims: Vec<&str> = record.head.retained.iter().map(|claim| claim.reference.name.as_str()).collect();
    if !deletes_claims || claims.is_empty() {
        return Ok(());
    }
    let text = format!(
        "deployment {} is being torn down, and that Teardown keeps its volume claims ({}): once the deployment is gone, \
         nothing uses them, and whoever may delete them can",
        record.name,
        claims.join(", ")
    );
    let error = Error::new(ErrorKind::OperationInProgress, text).retry_after(Duration::from_secs(1));
    Err(error.with("operation", contract_word(&OperationKind::Teardown)))
}

/// The answer to a Deploy that must be the first, where there is a deployment.
///
/// An operation that died on it may be taken back or completed by the keeper: until then it is in progress.
pub fn there_already(record: &Record) -> Error {
    if record.head.operation.is_some() {
        return being_changed(record);
    }
    Error::new(
        ErrorKind::EtagMismatch,
        format!("there is a deployment {} already, and it was to be a new one", record.name),
    )
    .with("etag", record.etag())
}

/// The answer when others keep writing the record.
pub fn being_changed(record: &Record) -> Error {
    let error = Error::new(
        ErrorKind::OperationInProgress,
        format!("deployment {} keeps changing; read it again and retry", record.name),
    )
    .retry_after(Duration::from_secs(1));
    match &record.head.operation {
        Some(operation) => about(error, operation),
        None => error,
    }
}

/// Says which operation it is, and since when.
fn about(error: Error, operation: &Operation) -> Error {
    error
        .with("operation", contract_word(&operation.kind))
        .with("holder", operation.holder.clone())
        .with("since", operation.started.to_string())
}

/// The answer to a lost race for the record.
pub fn lost(name: &DeploymentName) -> Error {
    Error::new(
        ErrorKind::OperationInProgress,
        format!("another operation on deployment {name} came first; read the deployment again and retry"),
    )
    .retry_after(Duration::from_secs(1))
}

/// The answer when there is no such deployment.
pub fn not_found(target: &Target) -> Error {
    Error::new(
        ErrorKind::DeploymentNotFound,
        format!("there is no deployment {} in namespace {}", target.name, target.namespace),
    )
    .about("Deployment", target.name.as_str())
}
