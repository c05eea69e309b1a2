//! PlanDeploy: it says what a Deploy would do, writes nothing, and binds a Deploy to that.

use k8s_openapi::api::core::v1::Namespace as CoreNamespace;
use kube::Api;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::plan_deploy_request::TemplateSource;
use tonic::Code;

use crate::support::adapter::{Adapter, deploy, deploy_at_once};
use crate::support::calls::{Recorder, counted};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{action, everything, members, names, recorded, refused};
use crate::support::namespace::namespace;
use crate::support::templates::{WORDPRESS, chain};

/// The plan of the same request.
pub fn plan(request: proto::DeployRequest) -> proto::PlanDeployRequest {
    use proto::deploy_request::TemplateSource as Of;
    let template_source = request.template_source.map(|source| match source {
        Of::TemplateYaml(text) => TemplateSource::TemplateYaml(text),
        Of::Template(template) => TemplateSource::Template(template),
    });
    proto::PlanDeployRequest {
        namespace: request.namespace,
        name: request.name,
        template_source,
        r#override: request.r#override,
        options: request.options,
        wait: request.wait,
        wait_timeout: request.wait_timeout,
        validate_only: request.validate_only,
        etag: request.etag,
        request_id: request.request_id,
        plan_id: request.plan_id,
        image_configs: request.image_configs,
    }
}

fn has_code(diagnostics: &[proto::Diagnostic], code: &str, word: &str) -> bool {
    diagnostics.iter().any(|one| one.code == code && one.message.contains(word))
}

#[test]
fn a_plan_is_asked_for_with_the_request_of_the_deploy() {
    use prost::Message;
    let mut request = deploy("space", "web", WORDPRESS);
    request.wait_timeout = Some(prost_types::Duration { seconds: 3, nanos: 0 });
    request.etag = "7".to_owned();
    request.request_id = "once".to_owned();
    request.plan_id = "plan".to_owned();
    let parsed =
        proto::PlanDeployRequest::decode(request.encode_to_vec().as_slice()).expect("the same fields");
    assert_eq!(parsed, plan(request));
}

#[tokio::test]
async fn a_first_deploy_is_planned_and_then_carried_out_on_another_replica() {
    let namespace = namespace("plan-first").await;
    let (one, other) = tokio::join!(
        Adapter::real(control_plane(), User::Adapter),
        Adapter::real(control_plane(), User::Adapter)
    );
    let before = everything(&namespace).await;
    let request = deploy(&namespace, "wp", WORDPRESS);
    let planned = one.deployments().plan_deploy(plan(request.clone())).await.expect("planned").into_inner();
    assert_eq!(everything(&namespace).await, before);
    let actions: Vec<_> = planned.changes.iter().map(proto::ObjectChange::action).collect();
    assert_eq!(actions, vec![proto::ObjectAction::Create; 3]);
    let translated = one
        .templates()
        .translate_template(proto::TranslateTemplateRequest {
            template_source: Some(proto::translate_template_request::TemplateSource::TemplateYaml(
                WORDPRESS.to_owned(),
            )),
            name: "wp".to_owned(),
            ..Default::default()
        })
        .await
        .expect("translated")
        .into_inner();
    assert_eq!(planned.manifest_yaml, translated.manifest_yaml);
    // The same again has the same id; other values have another one, though no field shows them.
    let again = other.deployments().plan_deploy(plan(request.clone())).await.expect("planned").into_inner();
    assert_eq!(again.plan_id, planned.plan_id);
    let secret = deploy(&namespace, "wp", &WORDPRESS.replace("value: wordpress", "value: blog"));
    let bound = proto::DeployRequest { plan_id: planned.plan_id.clone(), ..secret };
    for validate_only in [true, false] {
        let bound = proto::DeployRequest { validate_only, ..bound.clone() };
        let refusal = refused(other.deployments().deploy(bound).await, Code::Aborted, "PLAN_STALE");
        assert!(!refusal.retry, "{refusal:#?}");
    }
    refused(other.deployments().plan_deploy(plan(bound)).await, Code::Aborted, "PLAN_STALE");
    assert_eq!(everything(&namespace).await, before);
    let bound = proto::DeployRequest { plan_id: planned.plan_id.clone(), ..request };
    let checked = proto::DeployRequest { validate_only: true, ..bound.clone() };
    let checked = other.deployments().deploy(checked).await.expect("a check that agrees").into_inner();
    assert_eq!(checked.outcome(), proto::DeployOutcome::Created);
    assert_eq!(checked.deployment, None, "there is none yet");
    let deployed = other.deployments().deploy(bound.clone()).await.expect("deployed").into_inner();
    assert_eq!(deployed.outcome(), proto::DeployOutcome::Created);
    // What has been done is not to be done again.
    refused(other.deployments().deploy(bound).await, Code::Aborted, "PLAN_STALE");
}

#[tokio::test]
async fn an_update_is_planned_field_by_field_and_holds_while_pods_move() {
    let namespace = namespace("plan-update").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy_at_once(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    let newer = WORDPRESS
        .replace("wordpress:3.9.1", "wordpress:4.0")
        .replace("value: pass@word01", "value: novel-value");
    let request = deploy(&namespace, "wp", &newer);
    let planned = client.plan_deploy(plan(request.clone())).await.expect("planned").into_inner();
    // Pods become ready and are written into the record; none of that is another thing to do.
    recorded(&namespace, "wp", "ACTIVE").await;
    let before = everything(&namespace).await;
    let again = client.plan_deploy(plan(request.clone())).await.expect("planned").into_inner();
    assert_eq!(everything(&namespace).await, before);
    assert_eq!((&again.plan_id, &again.changes), (&planned.plan_id, &planned.changes));
    let replaced = proto::ObjectAction::Replace;
    let changed: Vec<_> = planned.changes.iter().filter(|change| change.action() == replaced).collect();
    assert!(!changed.is_empty(), "{:#?}", planned.changes);
    for change in &changed {
        let name = &change.r#ref.as_ref().expect("a reference").name;
        for code in ["OBJECT_REPLACED", "NOT_TRIED"] {
            assert!(has_code(&planned.diagnostics, code, name), "{code}: {:#?}", planned.diagnostics);
        }
    }
    let shown = format!("{:?} {:?}", planned.changes, planned.diagnostics);
    assert!(!shown.contains("pass@word01") && !shown.contains("novel-value"), "{shown}");
    let fields = changed.iter().flat_map(|change| &change.fields);
    let mut values = fields.filter(|field| field.path.ends_with(".value"));
    assert!(values.all(|field| field.before() == "***" && field.after() == "***"));
    let bound = proto::DeployRequest { plan_id: planned.plan_id, ..request };
    let deployed = client.deploy(bound).await.expect("deployed").into_inner();
    let actions =
        |changes: &[proto::ObjectChange]| changes.iter().map(proto::ObjectChange::action).collect::<Vec<_>>();
    assert_eq!(actions(&deployed.changes), actions(&planned.changes));
}

#[tokio::test]
async fn a_plan_that_others_have_overtaken_is_stale() {
    let namespace = namespace("plan-stale").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "wp", WORDPRESS)).await.expect("deployed");
    let image = |tag: &str| WORDPRESS.replace("wordpress:3.9.1", &format!("wordpress:{tag}"));
    let request = deploy(&namespace, "wp", &image("4.0"));
    let planned = client.plan_deploy(plan(request.clone())).await.expect("planned").into_inner();
    assert_eq!(action(&planned.changes, "Pod/wp-pod"), proto::ObjectAction::Update);
    client.deploy(deploy(&namespace, "wp", &image("5.0"))).await.expect("deployed");
    let before = members(&namespace).await;
    let bound = proto::DeployRequest { plan_id: planned.plan_id, ..request };
    refused(client.deploy(bound).await, Code::Aborted, "PLAN_STALE");
    assert_eq!(members(&namespace).await, before);
}

#[tokio::test]
async fn a_plan_costs_what_a_look_costs_and_a_dry_run_for_each_change() {
    let namespace = namespace("plan-budget").await;
    let plane = control_plane();
    let adapter = Adapter::real(plane, User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "chain", &chain(8))).await.expect("deployed");
    recorded(&namespace, "chain", "ACTIVE").await;
    let mut calls = Recorder::start(plane).namespace(&namespace).user(User::Adapter);
    let newer = chain(8).replace("component:3\n", "component:x\n").replace("component:5\n", "component:y\n");
    client.plan_deploy(plan(deploy_at_once(&namespace, "chain", &newer))).await.expect("planned");
    let made = counted(&mut calls);
    // The head, the revision, a list for each of two kinds, and the two Pods whose image changes.
    assert_eq!(made.len(), 2 + 2 + 2, "{made:#?}");
    let is_reading =
        |call: &crate::support::calls::Call| call.dry_run || ["get", "list"].contains(&call.verb.as_str());
    assert!(made.iter().all(is_reading), "{made:#?}");
}

#[tokio::test]
async fn a_namespace_that_is_not_there_is_planned_for_and_not_made() {
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let missing = format!("plan-missing-{}", std::process::id());
    let request = deploy_at_once(&missing, "wp", WORDPRESS);
    refused(client.plan_deploy(plan(request.clone())).await, Code::FailedPrecondition, "NAMESPACE_NOT_FOUND");
    let options = Some(proto::DeployOptions { create_namespace: true, ..Default::default() });
    let request = proto::DeployRequest { options, ..request };
    let planned = client.plan_deploy(plan(request)).await.expect("planned").into_inner();
    assert_eq!(planned.changes.len(), 3);
    for name in ["db-1", "db-pod", "wp-pod"] {
        assert!(has_code(&planned.diagnostics, "NOT_TRIED", name), "{:#?}", planned.diagnostics);
    }
    let namespaces: Api<CoreNamespace> = Api::all(control_plane().client(User::Admin).await);
    assert_eq!(namespaces.get_opt(&missing).await.expect("an answer"), None);
}

#[tokio::test]
async fn a_plan_fails_as_the_deploy_would() {
    let namespace = namespace("plan-refused").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    client.deploy(deploy(&namespace, "first", WORDPRESS)).await.expect("deployed");
    recorded(&namespace, "first", "ACTIVE").await;
    let before = everything(&namespace).await;
    let request = plan(deploy_at_once(&namespace, "second", WORDPRESS));
    refused(client.plan_deploy(request).await, Code::AlreadyExists, "OBJECT_NOT_OWNED");
    let request = plan(deploy_at_once(&namespace, "first", "name: x\nimages: []\n"));
    refused(client.plan_deploy(request).await, Code::InvalidArgument, "TEMPLATE_INVALID");
    let request = plan(proto::DeployRequest {
        etag: "999".to_owned(),
        ..deploy_at_once(&namespace, "first", WORDPRESS)
    });
    refused(client.plan_deploy(request).await, Code::Aborted, "ETAG_MISMATCH");
    assert_eq!(everything(&namespace).await, before);
    assert!(!names(&before).is_empty());
}
