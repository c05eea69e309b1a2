//! A running server shows no scalar of a template but names, neither in an answer that is no manifest nor in its log.

use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use panamax_kubernetes_adapter::proto::template_service_client::TemplateServiceClient;
use panamax_kubernetes_adapter::proto::{
    plan_deploy_request, translate_template_request, validate_template_request,
};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use tonic_types::StatusExt;

use crate::support::adapter::{Binary, connect, deploy_at_once, teardown};
use crate::translate::unseen::{CANARY, with_canaries, with_one_canary};

/// How many templates of chance are sent beside one for each scalar, each by four calls under every choice of options.
const TEMPLATES: usize = 24;

fn options(profile: proto::Profile, strictness: proto::Strictness) -> proto::DeployOptions {
    proto::DeployOptions {
        profile: profile.into(),
        strictness: strictness.into(),
        ..proto::DeployOptions::default()
    }
}

/// What a refusal says, in all its parts.
fn said(status: &tonic::Status) -> String {
    format!("{status:?} {:?}", status.get_error_details())
}

#[tokio::test]
async fn a_running_server_shows_no_scalar_but_names() {
    let binary = Binary::start_with(&["--sandbox", "--log", "trace"]);
    let channel = connect(binary.address).await;
    let mut templates = TemplateServiceClient::new(channel.clone());
    let mut deployments = DeploymentServiceClient::new(channel);
    let mut runner = TestRunner::default();
    let (mut accepted, mut refused) = (0, 0);
    let by_chance = (0..TEMPLATES).map(|_| with_canaries().new_tree(&mut runner).expect("a text").current());
    for text in by_chance.chain(with_one_canary()) {
        for profile in [proto::Profile::Classic, proto::Profile::Modern] {
            for strictness in [proto::Strictness::Lenient, proto::Strictness::Strict] {
                let options = Some(options(profile, strictness));
                let mut all = String::new();
                let request = proto::ValidateTemplateRequest {
                    template_source: Some(validate_template_request::TemplateSource::TemplateYaml(
                        text.clone(),
                    )),
                    options: options.clone(),
                    ..proto::ValidateTemplateRequest::default()
                };
                let answer = templates.validate_template(request).await.expect("judged").into_inner();
                all.push_str(&format!("{:?}", answer.diagnostics));
                let request = proto::TranslateTemplateRequest {
                    name: "unseen".to_owned(),
                    template_source: Some(translate_template_request::TemplateSource::TemplateYaml(
                        text.clone(),
                    )),
                    options: options.clone(),
                    ..proto::TranslateTemplateRequest::default()
                };
                // Manifests hold values, because they are for applying.
                all.push_str(&match templates.translate_template(request).await {
                    Ok(answer) => format!("{:?}", answer.into_inner().diagnostics),
                    Err(status) => said(&status),
                });
                let request = proto::PlanDeployRequest {
                    name: "unseen".to_owned(),
                    template_source: Some(plan_deploy_request::TemplateSource::TemplateYaml(text.clone())),
                    options: options.clone(),
                    ..proto::PlanDeployRequest::default()
                };
                all.push_str(&match deployments.plan_deploy(request).await {
                    Ok(answer) => {
                        let answer = answer.into_inner();
                        format!("{:?} {:?}", answer.diagnostics, answer.changes)
                    }
                    Err(status) => said(&status),
                });
                let request = proto::DeployRequest { options, ..deploy_at_once("default", "unseen", &text) };
                match deployments.deploy(request).await {
                    Ok(answer) => {
                        accepted += 1;
                        let answer = answer.into_inner();
                        all.push_str(&format!("{:?} {:?}", answer.diagnostics, answer.changes));
                        deployments.teardown(teardown("default", "unseen")).await.expect("torn down");
                    }
                    Err(status) => {
                        refused += 1;
                        all.push_str(&said(&status));
                    }
                }
                assert!(!all.contains(CANARY), "{text}\n{all}");
            }
        }
    }
    // Those with one canary alone make both sure.
    assert!(accepted > 0 && refused > 0, "{accepted} accepted, {refused} refused");
    let log = binary.whole_log();
    assert!(log.lines().count() > TEMPLATES && log.contains("TRACE"), "a log at trace");
    let shown = log.lines().find(|line| line.contains(CANARY));
    assert_eq!(shown, None);
}
