//! What the contract names and a later version brings: said by name, never ignored, nothing written.

use panamax_kubernetes_adapter::proto;
use tonic::Code;

use super::refusals::{GOOD, broken};
use crate::support::adapter::{Adapter, deploy, scale, teardown};
use crate::support::calls::Recorder;
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::Refusal;
use crate::support::namespace::namespace;

fn options() -> Vec<(proto::DeployOptions, &'static str)> {
    let good = proto::DeployOptions::default();
    broken(&good, vec![(|one| one.set_on_failure(proto::FailurePolicy::Rollback), "options.on_failure")])
}

#[tokio::test]
async fn what_is_not_built_yet_is_said_and_never_ignored() {
    let namespace = namespace("refuse-unbuilt").await;
    let plane = control_plane();
    let adapter = Adapter::real(plane, User::Adapter).await;
    let (mut client, mut templates) = (adapter.deployments(), adapter.templates());
    let mut calls = Recorder::start(plane).namespace(&namespace);
    let mut told: Vec<(Refusal, &str)> = Vec::new();
    let mut tell = |status: tonic::Status, word: &'static str| told.push((Refusal::of(&status), word));
    let text =
        |yaml: &str| Some(proto::translate_template_request::TemplateSource::TemplateYaml(yaml.to_owned()));
    let validated =
        |yaml: &str| Some(proto::validate_template_request::TemplateSource::TemplateYaml(yaml.to_owned()));
    for (options, word) in options() {
        let options = Some(options);
        let request = proto::DeployRequest { options: options.clone(), ..deploy(&namespace, "web", GOOD) };
        tell(client.deploy(request).await.expect_err(word), word);
        let request = proto::TranslateTemplateRequest {
            template_source: text(GOOD),
            options: options.clone(),
            ..Default::default()
        };
        tell(templates.translate_template(request).await.expect_err(word), word);
        let request = proto::ValidateTemplateRequest {
            template_source: validated(GOOD),
            options,
            ..Default::default()
        };
        tell(templates.validate_template(request).await.expect_err(word), word);
    }
    let id = "once".to_owned();
    let request = proto::DeployRequest { request_id: id.clone(), ..deploy(&namespace, "web", GOOD) };
    tell(client.deploy(request).await.expect_err("not built"), "request_id");
    let request = proto::ScaleRequest { request_id: id.clone(), ..scale(&namespace, "web", "web", 1) };
    tell(client.scale(request).await.expect_err("not built"), "request_id");
    let request = proto::TeardownRequest { request_id: id, ..teardown(&namespace, "web") };
    tell(client.teardown(request).await.expect_err("not built"), "request_id");
    tell(
        client.list_revisions(proto::ListRevisionsRequest::default()).await.expect_err("not built"),
        "ListRevisions",
    );
    tell(client.rollback(proto::RollbackRequest::default()).await.expect_err("not built"), "Rollback");
    for (refusal, word) in &told {
        assert_eq!(
            (refusal.code, refusal.reason.as_str()),
            (Code::Unimplemented, "NOT_IMPLEMENTED"),
            "{refusal:#?}"
        );
        assert!(refusal.message.contains(word), "{word}: {refusal:#?}");
    }
    assert_eq!(told.len(), 3 + 5);
    assert!(calls.calls().is_empty(), "{:#?}", calls.calls());
}
