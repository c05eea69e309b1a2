//! What the contract names and a later version brings: said by name, never ignored, nothing written.

use panamax_kubernetes_adapter::proto;
use tonic::Code;

use super::refusals::{GOOD, broken};
use crate::support::adapter::{Adapter, deploy};
use crate::support::calls::Recorder;
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::Refusal;
use crate::support::namespace::namespace;

fn options() -> Vec<(proto::DeployOptions, &'static str)> {
    let good = proto::DeployOptions::default();
    broken(
        &good,
        vec![
            (|one| one.set_conflicts(proto::ConflictPolicy::Yield), "options.conflicts"),
            (|one| one.set_conflicts(proto::ConflictPolicy::Force), "options.conflicts"),
            (|one| one.set_replicas_policy(proto::ReplicasPolicy::Preserve), "options.replicas_policy"),
            (|one| one.set_replicas_policy(proto::ReplicasPolicy::Template), "options.replicas_policy"),
        ],
    )
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
    let request = proto::DeployRequest { plan_id: "once".to_owned(), ..deploy(&namespace, "web", GOOD) };
    tell(client.deploy(request).await.expect_err("not built"), "plan_id");
    tell(client.plan_deploy(proto::PlanDeployRequest::default()).await.expect_err("not built"), "PlanDeploy");
    for (refusal, word) in &told {
        assert_eq!(
            (refusal.code, refusal.reason.as_str()),
            (Code::Unimplemented, "NOT_IMPLEMENTED"),
            "{refusal:#?}"
        );
        assert!(refusal.message.contains(word), "{word}: {refusal:#?}");
    }
    assert_eq!(told.len(), 4 * 3 + 2);
    assert!(calls.calls().is_empty(), "{:#?}", calls.calls());
}
