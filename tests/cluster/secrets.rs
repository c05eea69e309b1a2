//! Values of the environment appear in no error and in no log line, whatever the cluster quotes.

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use panamax_kubernetes_adapter::proto::template_service_client::TemplateServiceClient;
use tonic::Code;
use tonic::transport::Channel;

use crate::support::adapter::{Adapter, Binary, connect, deploy, deploy_at_once, modern, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{action, members, refused, remove};
use crate::support::namespace::{Namespace, namespace};
use crate::support::templates::STILL;

/// No other text holds it.
const CANARY: &str = "c4n4ry-v4lue";

/// One component with canaries in its environment and its command.
fn template(edition: &str) -> String {
    format!(
        "name: Web\nimages:\n- name: web\n  source: example/web:1\n  command: run --password {CANARY}{edition}\n  \
         environment:\n  - {{variable: PASSWORD, value: '{CANARY}{edition}'}}\n"
    )
}

/// Faults of every kind, each near a canary.
fn bad_templates() -> Vec<String> {
    let good = template("");
    vec![
        good.replace("PASSWORD,", "'PASS WORD',"),
        good.replace("PASSWORD,", "'',"),
        good.replace("name: web\n", "name: web\n  links: [{service: none, alias: x}]\n"),
        good.replace("source: example/web:1", "source: 'UPPER CASE'"),
        good.replace("'}\n", "\\u0007'}\n  - {variable: [1], value: x}\n"),
        good.replace("'}\n", "}\n"),
        good.replace("value: '", "value: [").replace("'}\n", "]}\n"),
        good.replace("run --password", "run 'unclosed"),
        good.replace("images:", "images: {"),
        good.replace("name: web\n", "name: web\n  deployment: {count: many}\n"),
        good.replace("environment:\n", "environment:\n  - &a {variable: A, value: *a}\n"),
        good.replace(&format!("value: '{CANARY}'"), &format!("value: abc,{CANARY}")),
        good.replace(&format!("value: '{CANARY}'"), &format!("value:{CANARY}")),
        good.replace("PASSWORD,", &format!("'PASSWORD={CANARY}',")),
        good.replace(
            "name: web\n",
            &format!("name: web\n  {CANARY}: x\n  ports: [{{{CANARY}, host_port: 1}}]\n"),
        ),
        good.replace(
            "name: web\n",
            &format!("name: web\n  ports: [{{host_interface: {CANARY}, container_port: {CANARY}}}]\n"),
        ),
        good.replace(
            "name: web\n",
            &format!("name: web\n  volumes: [{{host_path: /{CANARY}, container_path: '/{CANARY}:x'}}]\n"),
        ),
        good.replace("'}\n", &format!("'}}\n# {CANARY}\n  - *{CANARY}\n")),
        good.replace(&format!("value: '{CANARY}'"), &format!("value: !{CANARY} x")),
        format!(
            "{good}  - {{variable: PASSWORD, value: '{CANARY}-again'}}\n  ports: [{{container_port: 0}}]\n"
        ),
        format!("{good}  - {{variable: LONG, value: '{}'}}\n", CANARY.repeat(40_000)),
    ]
}

/// The same with what the image says of itself, a canary in each scalar of it.
fn configured(request: proto::DeployRequest) -> proto::DeployRequest {
    let config = serde_json::json!({
        "author": CANARY,
        "config": {
            "User": CANARY, "Cmd": [CANARY], "Entrypoint": [CANARY], "Env": [format!("A_PASSWORD={CANARY}"), CANARY],
            "Labels": { CANARY: CANARY }, "ExposedPorts": { CANARY: {} }, "Volumes": { format!("/{CANARY}"): {} },
        },
    });
    let image_configs = [("example/web:1".to_owned(), config.to_string())].into();
    proto::DeployRequest { image_configs, ..request }
}

fn assert_clean(status: &tonic::Status) {
    let details = String::from_utf8_lossy(status.details()).into_owned();
    assert!(!status.message().contains(CANARY) && !details.contains(CANARY), "{status:?}");
    assert!(!format!("{status:?}").contains(CANARY), "{status:?}");
}

#[tokio::test]
async fn no_value_of_the_environment_is_told_or_logged() {
    let namespace = namespace("secrets").await;
    let plane = control_plane();
    let kubeconfig = plane.kubeconfig(User::Adapter);
    let kubeconfig = kubeconfig.to_str().expect("a path");
    for level in ["debug", "trace,kube_client::client=trace,h2::codec=trace"] {
        let flags = ["--kubeconfig", kubeconfig, "--lease", "1s", "--log", level];
        let binary = Binary::start_with(&flags);
        let channel = connect(binary.address).await;
        let mut client = DeploymentServiceClient::new(channel.clone());
        refused_templates(&namespace, channel).await;
        client.deploy(configured(deploy(&namespace, "web", &template("-1")))).await.expect("deployed");
        let changed = client.deploy(configured(deploy(&namespace, "web", &template("-2")))).await;
        let changed = changed.expect("deployed");
        let changed = changed.into_inner();
        assert!(!format!("{changed:?}").contains(CANARY), "{changed:?}");
        refused_pod(&namespace, &mut client).await;
        let view = proto::GetDeploymentRequest {
            namespace: namespace.to_string(),
            name: "web".to_owned(),
            view: proto::DeploymentView::Full.into(),
        };
        let full = client.get_deployment(view).await.expect("it is there").into_inner();
        assert!(!format!("{full:?}").contains(CANARY), "{full:?}");
        client.teardown(teardown(&namespace, "web")).await.expect("torn down");
        let log = binary.whole_log();
        assert!(log.contains("call refused") && log.contains("torn down"), "a log worth reading:\n{log}");
        assert!(log.contains("FieldValueForbidden"), "the API server has refused a Pod:\n{log}");
        let told: Vec<&str> = log.lines().filter(|line| line.contains(CANARY)).collect();
        assert!(told.is_empty(), "{told:#?}");
        assert!(!log.contains(plane.token(User::Adapter)), "the token is in the log");
    }
}

async fn refused_templates(namespace: &Namespace, channel: Channel) {
    let mut client = DeploymentServiceClient::new(channel.clone());
    let mut templates = TemplateServiceClient::new(channel);
    let no_config =
        [("example/web:1".to_owned(), format!("{{\"config\": {{\"Env\": \"{CANARY}\"}}}}"))].into();
    let request =
        proto::DeployRequest { image_configs: no_config, ..deploy_at_once(namespace, "bad", &template("")) };
    assert_clean(&client.deploy(request).await.expect_err("no configuration"));
    for bad in bad_templates() {
        let answer = client.deploy(deploy_at_once(namespace, "bad", &bad)).await;
        let status = answer.expect_err(&bad.chars().take(400).collect::<String>());
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
        assert_clean(&status);
        let request = proto::ValidateTemplateRequest {
            template_source: Some(proto::validate_template_request::TemplateSource::TemplateYaml(bad)),
            ..Default::default()
        };
        let answer = templates.validate_template(request).await.expect("diagnostics").into_inner();
        let told = format!("{:?}", answer.diagnostics);
        assert!(!answer.valid && !told.contains(CANARY), "{told}");
    }
}

/// The records are lost, so the adapter meets its own Pod unprepared: the API server refuses the change with a
/// text that quotes the whole environment, before the Pod is replaced.
async fn refused_pod(namespace: &Namespace, client: &mut DeploymentServiceClient<Channel>) {
    let before = members(namespace).await;
    remove::<ConfigMap>(namespace, "panamax-deployment-web").await;
    let checked = proto::DeployRequest { validate_only: true, ..deploy(namespace, "web", &template("-3")) };
    if let Err(status) = client.deploy(checked).await {
        assert_clean(&status);
    }
    let adopted = client.deploy(deploy(namespace, "web", &template("-2"))).await;
    adopted.inspect_err(assert_clean).expect("its own objects are adopted");
    assert_eq!(members(namespace).await["Pod/web-pod"].0, before["Pod/web-pod"].0, "the same pod");
    remove::<ConfigMap>(namespace, "panamax-deployment-web").await;
    let replaced = client.deploy(deploy(namespace, "web", &template("-3"))).await;
    replaced.inspect_err(assert_clean).expect("its own pod is replaced");
    let pod = namespace.api::<Pod>().get("web-pod").await.expect("web-pod");
    let value = pod.spec.expect("a spec").containers[0].env.clone().expect("an environment")[0].value.clone();
    assert_eq!(value, Some(format!("{CANARY}-3")));
}

#[tokio::test]
async fn a_secret_that_somebody_has_made_immutable_is_named_and_replaced_by_force() {
    let namespace = namespace("secrets-sealed").await;
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let mut client = adapter.deployments();
    let of = |value: &str| modern(deploy(&namespace, "web", &STILL.replace("first-secret", value)));
    client.deploy(of("first-secret")).await.expect("deployed");
    let mut kubectl = namespace.plane.kubectl(User::Admin);
    kubectl.args(["-n", &namespace, "patch", "secret", "web-environment", "--type", "merge"]);
    assert!(kubectl.args(["-p", "{\"immutable\":true}"]).output().expect("kubectl runs").status.success());
    let secrets = namespace.api::<Secret>();
    let uid = async || secrets.get("web-environment").await.expect("a Secret").metadata.uid;
    let before = uid().await;
    for conflicts in [proto::ConflictPolicy::Fail, proto::ConflictPolicy::Yield] {
        let mut request = of("second-secret");
        request.options.get_or_insert_default().set_conflicts(conflicts);
        let refusal = refused(client.deploy(request).await, Code::FailedPrecondition, "FIELD_CONFLICT");
        assert_eq!((refusal.fact("field"), refusal.fact("manager")), ("immutable", "kubectl-patch"));
        assert!(refusal.message.contains("Secret web-environment"), "{refusal:?}");
        assert_eq!(uid().await, before);
    }
    let mut request = of("second-secret");
    request.options.get_or_insert_default().set_conflicts(proto::ConflictPolicy::Force);
    let answer = client.deploy(request).await.expect("deployed").into_inner();
    assert_eq!(action(&answer.changes, "Secret/web-environment"), proto::ObjectAction::Replace);
    let made = secrets.get("web-environment").await.expect("a Secret");
    assert_eq!((made.metadata.uid == before, made.immutable), (false, None));
    assert_eq!(made.data.expect("data").into_values().next().expect("a value").0, b"second-secret");
}
