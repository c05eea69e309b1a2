//! Options as callers meet them: warnings that refuse, mixes that cannot work, and nothing written either way.

use crate::support::adapter::{Adapter, deploy};
use crate::support::looking::Refusal;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::{translate_template_request, validate_template_request};
use tonic::Code;

/// A template with one warning: the key means nothing.
const WARNED: &str = "name: Shop\nimages:\n- name: web\n  source: shop/web:1\n  enviroment: []\n";

fn strict() -> Option<proto::DeployOptions> {
    Some(proto::DeployOptions { strictness: proto::Strictness::Strict.into(), ..Default::default() })
}

fn translate(text: &str, options: Option<proto::DeployOptions>) -> proto::TranslateTemplateRequest {
    proto::TranslateTemplateRequest {
        template_source: Some(translate_template_request::TemplateSource::TemplateYaml(text.to_owned())),
        options,
        ..Default::default()
    }
}

fn validate(text: &str, options: Option<proto::DeployOptions>) -> proto::ValidateTemplateRequest {
    proto::ValidateTemplateRequest {
        template_source: Some(validate_template_request::TemplateSource::TemplateYaml(text.to_owned())),
        options,
        ..Default::default()
    }
}

#[tokio::test]
async fn under_strict_a_warning_refuses() {
    let adapter = Adapter::sandbox().await;
    let mut templates = adapter.templates();

    // Leniently it is told, and no more.
    let lenient = templates.validate_template(validate(WARNED, None)).await.unwrap().into_inner();
    assert!(lenient.valid && lenient.template.is_some());
    assert_eq!(lenient.diagnostics[0].severity(), proto::Severity::Warning);

    let told = templates.validate_template(validate(WARNED, strict())).await.unwrap().into_inner();
    assert!(!told.valid && told.template.is_some());
    let found = &told.diagnostics[0];
    assert_eq!((found.severity(), found.code.as_str()), (proto::Severity::Error, "UNKNOWN_FIELD"));
    assert_eq!((found.field.as_str(), found.line), ("images[0]", 5));

    let refused = templates.translate_template(translate(WARNED, strict())).await.unwrap_err();
    let deploying = proto::DeployRequest { options: strict(), ..deploy("default", "shop", WARNED) };
    let undeployed = adapter.deployments().deploy(deploying).await.unwrap_err();
    for status in [refused, undeployed] {
        let refusal = Refusal::of(&status);
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::InvalidArgument, "TEMPLATE_INVALID"));
        assert_eq!(refusal.violations, [("images[0]".to_owned(), "UNKNOWN_FIELD".to_owned())]);
    }
    let listed = adapter.deployments().list_deployments(proto::ListDeploymentsRequest::default()).await;
    assert!(listed.unwrap().into_inner().deployments.is_empty());

    // What translating warns of refuses as well, and what is only told does not.
    let warned = "name: S\nimages:\n- {name: a, source: 'a:1', volumes: [{container_path: /data}]}\n";
    let refused = templates.translate_template(translate(warned, strict())).await.unwrap_err();
    assert_eq!(Refusal::of(&refused).fields(), ["images[0].volumes[0]"]);
    let kept = proto::DeployOptions { profile: proto::Profile::Modern.into(), ..strict().unwrap() };
    let told = templates.translate_template(translate(warned, Some(kept))).await.unwrap().into_inner();
    assert_eq!(told.diagnostics[0].code, "VOLUME_CLAIMED");
}

#[tokio::test]
async fn a_mix_that_cannot_work_names_both_fields_in_every_call() {
    let adapter = Adapter::sandbox().await;
    let good = "name: Shop\nimages:\n- {name: web, source: 'shop/web:1'}\n";
    let options = Some(proto::DeployOptions { volume_size: "1Gi".into(), ..Default::default() });
    let deploying = proto::DeployRequest { options: options.clone(), ..deploy("default", "shop", good) };
    for status in [
        adapter.templates().validate_template(validate(good, options.clone())).await.unwrap_err(),
        adapter.templates().translate_template(translate(good, options)).await.unwrap_err(),
        adapter.deployments().deploy(deploying).await.unwrap_err(),
    ] {
        let refusal = Refusal::of(&status);
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::InvalidArgument, "FIELD_INVALID"));
        assert_eq!(refusal.fields(), ["options.volume_size", "options.volumes"]);
    }
}

/// What a Deploy refuses is not worth translating, whoever is asked.
#[tokio::test]
async fn the_clusters_own_namespaces_are_refused_before_anything_is_translated() {
    let adapter = Adapter::sandbox().await;
    for namespace in ["kube-system", "kube-public", "kube-node-lease"] {
        let namespace = namespace.to_owned();
        let validating =
            proto::ValidateTemplateRequest { namespace: namespace.clone(), ..validate(WARNED, None) };
        let translating =
            proto::TranslateTemplateRequest { namespace: namespace.clone(), ..translate(WARNED, None) };
        for status in [
            adapter.templates().validate_template(validating).await.unwrap_err(),
            adapter.templates().translate_template(translating).await.unwrap_err(),
            adapter.deployments().deploy(deploy(&namespace, "shop", WARNED)).await.unwrap_err(),
        ] {
            let refusal = Refusal::of(&status);
            assert_eq!(
                (refusal.code, refusal.reason.as_str()),
                (Code::FailedPrecondition, "NAMESPACE_RESERVED")
            );
        }
        for command in ["validate", "translate"] {
            let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter"));
            let arguments = [command, "-n", &namespace, "examples/wordpress.pmx"];
            let output = program.args(arguments).output().expect("the binary starts");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(
                (output.status.code(), told.contains("[NAMESPACE_RESERVED]")),
                (Some(1), true),
                "{told}"
            );
        }
    }
}
