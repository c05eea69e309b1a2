//! Domain to wire: answers; nothing here decides anything.

use jiff::Timestamp;

use super::encode_time::timestamp;
use crate::artifacts::{Action, Artifact, Change, Namespace, ObjectRef};
use crate::diagnostic::{Diagnostic, Severity};
use crate::error::{Error, Result};
use crate::operations::{
    Deployed, DeploymentView, Outcome, PlannedDeploy, Scaled, TornDown, Translated, Validated, WatchEnd,
    WatchUpdate,
};
use crate::proto;
use crate::status::{ComponentState, ComponentStatus, DeploymentState, Endpoint, PodStatus, Reason};
use crate::template::Template;

pub(super) fn deploy_response(deployed: &Deployed) -> proto::DeployResponse {
    let namespace = &deployed.namespace;
    let outcome = match deployed.outcome {
        Outcome::Created => proto::DeployOutcome::Created,
        Outcome::Updated => proto::DeployOutcome::Updated,
        Outcome::Unchanged => proto::DeployOutcome::Unchanged,
    };
    proto::DeployResponse {
        deployment: deployed.deployment.as_ref().map(deployment),
        changes: deployed.changes.iter().map(|one| change(namespace, one)).collect(),
        diagnostics: deployed.diagnostics.iter().map(diagnostic).collect(),
        warnings: deployed.warnings.clone(),
        outcome: outcome.into(),
    }
}

pub(super) fn plan_response(planned: PlannedDeploy) -> proto::PlanDeployResponse {
    let namespace = &planned.namespace;
    proto::PlanDeployResponse {
        changes: planned.changes.iter().map(|one| change(namespace, one)).collect(),
        diagnostics: planned.diagnostics.iter().map(diagnostic).collect(),
        warnings: planned.warnings,
        manifest_yaml: planned.manifest_yaml,
        plan_id: planned.id,
    }
}

pub(super) fn scale_response(scaled: &Scaled) -> proto::ScaleResponse {
    let namespace = &scaled.deployment.namespace;
    proto::ScaleResponse {
        deployment: Some(deployment(&scaled.deployment)),
        changes: scaled.changes.iter().map(|one| change(namespace, one)).collect(),
        diagnostics: scaled.diagnostics.iter().map(diagnostic).collect(),
    }
}

pub(super) fn teardown_response(namespace: &Namespace, torn_down: &TornDown) -> proto::TeardownResponse {
    proto::TeardownResponse {
        changes: torn_down.changes.iter().map(|one| change(namespace, one)).collect(),
        retained: torn_down
            .retained
            .iter()
            .map(|(reference, uid)| object_ref(namespace, reference, uid.as_deref()))
            .collect(),
        complete: torn_down.complete,
        blocked: torn_down
            .blocked
            .iter()
            .map(|blocked| proto::BlockedObject {
                object: Some(proto::ObjectRef {
                    group: blocked.group.to_owned(),
                    version: "v1".to_owned(),
                    kind: blocked.kind.to_owned(),
                    namespace: namespace.to_string(),
                    name: blocked.name.clone(),
                    uid: blocked.uid.clone(),
                }),
                finalizers: blocked.finalizers.clone(),
                since: blocked.since.map(timestamp),
                message: blocked.refused.clone(),
            })
            .collect(),
    }
}

pub(super) fn watch_response(update: WatchUpdate, now: Timestamp) -> proto::WatchDeploymentResponse {
    use proto::watch_deployment_response::Event;
    let mut changed_components = Vec::new();
    let event = match update {
        WatchUpdate::Snapshot(view, changed) => {
            changed_components = changed.into_iter().map(String::from).collect();
            Event::Snapshot(deployment(&view))
        }
        WatchUpdate::Heartbeat { is_reachable } => {
            Event::Heartbeat(proto::WatchHeartbeat { cluster_unreachable: !is_reachable })
        }
        WatchUpdate::Complete(end) => {
            let reason = match end {
                WatchEnd::Ready => proto::WatchCompleteReason::Ready,
                WatchEnd::Settled => proto::WatchCompleteReason::Settled,
                WatchEnd::Gone => proto::WatchCompleteReason::Gone,
                WatchEnd::ServerShutdown => proto::WatchCompleteReason::ServerShutdown,
                WatchEnd::Deadline => proto::WatchCompleteReason::Deadline,
                WatchEnd::AuthorizationLost => proto::WatchCompleteReason::AuthorizationLost,
            };
            Event::Complete(proto::WatchComplete { reason: reason.into() })
        }
    };
    proto::WatchDeploymentResponse {
        event: Some(event),
        changed_components,
        event_time: Some(timestamp(now)),
    }
}

pub(super) fn validate_response(validated: &Validated) -> proto::ValidateTemplateResponse {
    proto::ValidateTemplateResponse {
        valid: validated.valid,
        diagnostics: validated.diagnostics.iter().map(diagnostic).collect(),
        template: validated.template.as_ref().map(template),
    }
}

/// The objects with their manifests, if somebody asks for `each` in a format.
///
/// Fails only if a manifest is not JSON, which cannot happen for our own.
pub(super) fn translate_response(
    namespace: &Namespace,
    translated: Translated,
    each: Option<proto::ManifestFormat>,
) -> Result<proto::TranslateTemplateResponse> {
    let objects = translated.artifacts.one_by_one();
    let objects = objects.map(|artifact| translated_object(namespace, &artifact, each));
    Ok(proto::TranslateTemplateResponse {
        objects: objects.collect::<Result<_>>()?,
        manifest_yaml: translated.manifest_yaml,
        diagnostics: translated.diagnostics.iter().map(diagnostic).collect(),
    })
}

fn translated_object(
    namespace: &Namespace,
    artifact: &Artifact,
    each: Option<proto::ManifestFormat>,
) -> Result<proto::TranslatedObject> {
    let manifest = match each {
        Some(proto::ManifestFormat::Json) => serde_json::to_string_pretty(&artifact.manifest)
            .map_err(|error| Error::internal(format!("a manifest is no JSON: {error}")))?,
        Some(proto::ManifestFormat::Unspecified | proto::ManifestFormat::Yaml) => {
            crate::translate::object_yaml(artifact)
        }
        None => String::new(),
    };
    Ok(proto::TranslatedObject {
        r#ref: Some(object_ref(namespace, &artifact.reference, None)),
        component: artifact.component.to_string(),
        manifest,
    })
}

pub(super) fn deployment(view: &DeploymentView) -> proto::Deployment {
    let status = &view.status;
    proto::Deployment {
        namespace: view.namespace.to_string(),
        name: view.name.to_string(),
        state: deployment_state(status.state).into(),
        reason: status.reason.map_or(proto::ComponentReason::Unspecified, component_reason).into(),
        message: status.message.clone(),
        revision: i32::try_from(view.revision).unwrap_or(i32::MAX),
        components: status.components.iter().map(|one| component(view, one)).collect(),
        endpoints: status.endpoints.iter().map(endpoint).collect(),
        etag: view.etag.clone(),
        template_name: view.template_name.clone(),
        create_time: made(view.created),
        update_time: made(view.updated),
        uid: view.uid.clone(),
        labels: view.labels.clone().into_iter().collect(),
        objects: view
            .objects
            .iter()
            .map(|(reference, uid)| object_ref(&view.namespace, reference, uid.as_deref()))
            .collect(),
        template: view.template.as_deref().map(template),
        events: view.events.iter().map(|one| super::encode_events::event(&view.namespace, one)).collect(),
    }
}

/// A time, unless there is none yet.
fn made(time: Timestamp) -> Option<prost_types::Timestamp> {
    (time != Timestamp::UNIX_EPOCH).then(|| timestamp(time))
}

fn component(view: &DeploymentView, status: &ComponentStatus) -> proto::Component {
    proto::Component {
        name: status.name.to_string(),
        image_name: status.image_name.clone(),
        image: status.image.clone(),
        state: component_state(status.state).into(),
        reason: status.reason.map_or(proto::ComponentReason::Unspecified, component_reason).into(),
        message: status.message.clone(),
        workload: status
            .workload
            .as_ref()
            .map(|reference| object_ref(&view.namespace, reference, status.uid.as_deref())),
        desired_replicas: status.is_counted.then_some(status.desired),
        ready_replicas: status.is_counted.then_some(status.ready),
        updated_replicas: status.is_counted.then_some(status.updated),
        pods: if view.full { status.pods.iter().map(pod).collect() } else { Vec::new() },
    }
}

fn pod(pod: &PodStatus) -> proto::PodStatus {
    proto::PodStatus {
        name: pod.name.clone(),
        phase: pod.phase.clone(),
        ready: pod.ready,
        reason: pod.reason.map_or(proto::ComponentReason::Unspecified, component_reason).into(),
        message: pod.message.clone(),
        restart_count: Some(pod.restarts),
        exit_code: pod.exit_code,
        revision: pod.revision.and_then(|revision| i32::try_from(revision).ok()).unwrap_or(0),
        node: pod.node.clone(),
        pod_ip: pod.ip.clone(),
        create_time: pod.created.map(timestamp),
        delete_time: pod.deleted.map(timestamp),
        uid: pod.uid.clone(),
    }
}

fn endpoint(endpoint: &Endpoint) -> proto::Endpoint {
    proto::Endpoint {
        component: endpoint.component.clone(),
        service: endpoint.service.clone(),
        host: endpoint.host.clone(),
        port: endpoint.port,
        protocol: endpoint.protocol.clone(),
        container_port: endpoint.container_port,
        alias: endpoint.alias.clone(),
        cluster_ip: endpoint.cluster_ip.clone(),
        node_port: endpoint.node_port,
        host_port: endpoint.host_port,
        load_balancer: endpoint.load_balancer.clone(),
    }
}

fn object_ref(namespace: &Namespace, reference: &ObjectRef, uid: Option<&str>) -> proto::ObjectRef {
    proto::ObjectRef {
        group: reference.kind.group().to_owned(),
        version: "v1".to_owned(),
        kind: reference.kind.as_str().to_owned(),
        namespace: namespace.to_string(),
        name: reference.name.to_string(),
        uid: uid.unwrap_or_default().to_owned(),
    }
}

fn change(namespace: &Namespace, change: &Change) -> proto::ObjectChange {
    let action = match change.action {
        Action::Create => proto::ObjectAction::Create,
        Action::Update => proto::ObjectAction::Update,
        Action::Replace => proto::ObjectAction::Replace,
        Action::Unchanged => proto::ObjectAction::Unchanged,
        Action::Delete => proto::ObjectAction::Delete,
        Action::Keep => proto::ObjectAction::Keep,
    };
    let fields = change.fields.iter().map(|field| proto::FieldChange {
        path: field.path.clone(),
        before: field.before.clone(),
        after: field.after.clone(),
    });
    proto::ObjectChange {
        r#ref: Some(object_ref(namespace, &change.reference, change.uid.as_deref())),
        action: action.into(),
        component: change.component.as_ref().map(ToString::to_string).unwrap_or_default(),
        fields: fields.collect(),
    }
}

/// A finding, as the contract has it.
pub fn diagnostic(diagnostic: &Diagnostic) -> proto::Diagnostic {
    let severity = match diagnostic.severity() {
        Severity::Info => proto::Severity::Info,
        Severity::Warning => proto::Severity::Warning,
        Severity::Error => proto::Severity::Error,
    };
    let number = |number: Option<u32>| number.and_then(|number| i32::try_from(number).ok()).unwrap_or(0);
    proto::Diagnostic {
        severity: severity.into(),
        code: diagnostic.code.as_str().to_owned(),
        message: diagnostic.message.clone().into_owned(),
        field: diagnostic.field.clone(),
        line: number(diagnostic.position.map(|at| at.line)),
        column: number(diagnostic.position.map(|at| at.column)),
        hint: diagnostic.hint().to_owned(),
    }
}

fn template(template: &Template) -> proto::Template {
    proto::Template {
        name: template.name.clone(),
        images: template.images.iter().map(|image| super::encode_template::image(template, image)).collect(),
        description: template.description.clone(),
        keywords: template.keywords.clone(),
        r#type: template.kind.clone(),
        documentation: template.documentation.clone(),
        recommended: template.recommended,
        authors: template.authors.clone(),
    }
}

fn deployment_state(state: DeploymentState) -> proto::DeploymentState {
    match state {
        DeploymentState::Deploying => proto::DeploymentState::Deploying,
        DeploymentState::Active => proto::DeploymentState::Active,
        DeploymentState::Degraded => proto::DeploymentState::Degraded,
        DeploymentState::Failed => proto::DeploymentState::Failed,
        DeploymentState::Stopped => proto::DeploymentState::Stopped,
        DeploymentState::Deleting => proto::DeploymentState::Deleting,
    }
}

fn component_state(state: ComponentState) -> proto::ComponentState {
    match state {
        ComponentState::Unknown => proto::ComponentState::Unspecified,
        ComponentState::Pending => proto::ComponentState::Pending,
        ComponentState::Progressing => proto::ComponentState::Progressing,
        ComponentState::Ready => proto::ComponentState::Ready,
        ComponentState::Failed => proto::ComponentState::Failed,
        ComponentState::Stopped => proto::ComponentState::Stopped,
        ComponentState::Deleting => proto::ComponentState::Deleting,
    }
}

fn component_reason(reason: Reason) -> proto::ComponentReason {
    match reason {
        Reason::ImagePullFailed => proto::ComponentReason::ImagePullFailed,
        Reason::CrashLooping => proto::ComponentReason::CrashLooping,
        Reason::Unschedulable => proto::ComponentReason::Unschedulable,
        Reason::QuotaExceeded => proto::ComponentReason::QuotaExceeded,
        Reason::ConfigError => proto::ComponentReason::ConfigError,
        Reason::VolumePending => proto::ComponentReason::VolumePending,
        Reason::PodFailed => proto::ComponentReason::PodFailed,
        Reason::PodSucceeded => proto::ComponentReason::PodSucceeded,
        Reason::ReplicaFailure => proto::ComponentReason::ReplicaFailure,
        Reason::ProgressDeadlineExceeded => proto::ComponentReason::ProgressDeadlineExceeded,
        Reason::AdmissionDenied => proto::ComponentReason::AdmissionDenied,
        Reason::StartFailed => proto::ComponentReason::StartFailed,
        Reason::NodeLost => proto::ComponentReason::NodeLost,
        Reason::NotReady => proto::ComponentReason::NotReady,
        Reason::WorkloadNotOwned => proto::ComponentReason::WorkloadNotOwned,
        Reason::Progressing => proto::ComponentReason::Progressing,
        Reason::WorkloadMissing => proto::ComponentReason::WorkloadMissing,
        Reason::ApplyIncomplete => proto::ComponentReason::ApplyIncomplete,
        Reason::ScaledToZero => proto::ComponentReason::ScaledToZero,
        Reason::Terminating => proto::ComponentReason::Terminating,
    }
}
