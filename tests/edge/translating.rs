//! TranslateTemplate and ValidateTemplate over the wire: order, bytes, override and options.

use std::collections::BTreeMap;

use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::{
    plan_deploy_request, translate_template_request, validate_template_request,
};
use serde_json::Value;
use tonic_types::StatusExt;

use crate::support::adapter::{Adapter, deploy_at_once, teardown};

/// Faults and losses of both rooms, not in the order in which they are come upon.
const WRONG: &str = "\
name: Wrong
images:
- name: web
  source: shop/web
  volumes: [{host_path: /srv/web, container_path: /data}]
  environment: [{variable: 'A B', value: x}, {variable: HOST, value: cache_1}]
  ports: [{container_port: 0}, {port: 80}]
  links: [{service: cache, alias: cache_1}, {service: nobody}]
- name: cache
  image: redis
  restart: always
- name: cache
  source: redis:2
  deployment: {count: many}
";

/// Three images with everything that becomes an object.
const SHOP: &str = "\
name: Shop
images:
- name: web
  source: shop/web:1
  ports: [{host_port: 8080, container_port: 80}]
  environment: [{variable: API_TOKEN, value: a1}, {variable: MODE, value: fast}]
  links: [{service: db, alias: DB_1}, {service: cache}]
- name: db
  source: mysql:5
  expose: [3306]
  environment: [{variable: MYSQL_ROOT_PASSWORD, value: b2}]
  volumes: [{host_path: /srv/db, container_path: /var/lib/mysql}]
- name: cache
  source: redis:2
  expose: [6379]
  volumes: [{host_path: '', container_path: /data}]
";

fn modern() -> proto::DeployOptions {
    proto::DeployOptions { profile: proto::Profile::Modern.into(), ..proto::DeployOptions::default() }
}

/// The text with its images in another order.
fn turned(text: &str) -> String {
    let mut images: Vec<&str> = text.split("- name: ").collect();
    images[1..].rotate_left(1);
    images.join("- name: ")
}

fn of_text(text: &str, options: proto::DeployOptions) -> proto::TranslateTemplateRequest {
    proto::TranslateTemplateRequest {
        template_source: Some(translate_template_request::TemplateSource::TemplateYaml(text.to_owned())),
        options: Some(options),
        object_manifests: true,
        ..proto::TranslateTemplateRequest::default()
    }
}

#[tokio::test]
async fn a_namespace_that_is_named_stands_in_every_manifest_and_no_other_does() {
    let adapter = Adapter::sandbox().await;
    for format in [proto::ManifestFormat::Yaml, proto::ManifestFormat::Json] {
        let request = proto::TranslateTemplateRequest { format: format.into(), ..of_text(SHOP, modern()) };
        let plain = translated(&adapter, request.clone()).await;
        let named = proto::TranslateTemplateRequest { namespace: "shop".to_owned(), ..request };
        let named = translated(&adapter, named).await;
        assert!(plain.objects.len() > 4 && plain.objects.len() == named.objects.len());
        // Where they stand must not decide in which namespace they are made.
        for (plain, named) in plain.objects.iter().zip(&named.objects) {
            let read = |text: &str| serde_saphyr::from_str::<serde_json::Value>(text).expect("YAML or JSON");
            let (mut plain, named) = (read(&plain.manifest), read(&named.manifest));
            assert!(plain["metadata"].get("namespace").is_none(), "{plain}");
            plain["metadata"]["namespace"] = "shop".into();
            assert_eq!(plain, named);
        }
        let lines = named.manifest_yaml.matches("\n  namespace: shop\n").count();
        assert_eq!(lines, named.objects.len());
        assert!(!plain.manifest_yaml.contains("namespace"));
    }
}

#[tokio::test]
async fn each_object_comes_alone_only_where_somebody_asks() {
    let adapter = Adapter::sandbox().await;
    let asked = translated(&adapter, of_text(SHOP, modern())).await;
    let request = proto::TranslateTemplateRequest { object_manifests: false, ..of_text(SHOP, modern()) };
    let plain = translated(&adapter, request.clone()).await;
    assert_eq!(plain.manifest_yaml, asked.manifest_yaml, "all of them together are always there");
    assert_eq!(plain.objects.len(), asked.objects.len());
    assert!(plain.objects.iter().all(|object| object.manifest.is_empty() && object.r#ref.is_some()));
    // Who names a format wants each: so asked the clients of before.
    let request = proto::TranslateTemplateRequest { format: proto::ManifestFormat::Yaml.into(), ..request };
    assert_eq!(translated(&adapter, request).await, asked);
}

async fn translated(
    adapter: &Adapter,
    request: proto::TranslateTemplateRequest,
) -> proto::TranslateTemplateResponse {
    adapter.templates().translate_template(request).await.expect("translated").into_inner()
}

/// What is applied when: kinds in the order of the answer, a kind once.
fn kinds(answer: &proto::TranslateTemplateResponse) -> Vec<&str> {
    let mut kinds: Vec<&str> =
        answer.objects.iter().filter_map(|object| Some(object.r#ref.as_ref()?.kind.as_str())).collect();
    kinds.dedup();
    kinds
}

#[tokio::test]
async fn what_others_need_is_applied_before_them() {
    let adapter = Adapter::sandbox().await;
    let modern = translated(&adapter, of_text(SHOP, modern())).await;
    assert_eq!(kinds(&modern), ["Secret", "PersistentVolumeClaim", "Service", "Deployment"]);
    let scaled = SHOP.replace("shop/web:1\n", "shop/web:1\n  deployment: {count: 2}\n");
    let classic = translated(&adapter, of_text(&scaled, proto::DeployOptions::default())).await;
    assert_eq!(kinds(&classic), ["Service", "ReplicationController", "Pod"]);
    for answer in [modern, classic] {
        let each: Vec<&str> = answer.objects.iter().map(|object| object.manifest.as_str()).collect();
        assert_eq!(answer.manifest_yaml, each.join("---\n"), "one text holds the same in the same order");
    }
}

#[tokio::test]
async fn the_same_request_gives_the_same_bytes_and_the_order_of_images_counts_for_nothing() {
    let adapter = Adapter::sandbox().await;
    for options in [proto::DeployOptions::default(), modern()] {
        let first = translated(&adapter, of_text(SHOP, options.clone())).await;
        let again = translated(&adapter, of_text(SHOP, options.clone())).await;
        assert_eq!(first, again);
        let turned = turned(SHOP);
        assert!(turned.contains("images:\n- name: db") && turned.len() == SHOP.len());
        let other = translated(&adapter, of_text(&turned, options)).await;
        assert_eq!(by_name(&first), by_name(&other));
    }
}

/// The manifests of an answer by what they are about.
fn by_name(answer: &proto::TranslateTemplateResponse) -> BTreeMap<String, &str> {
    let named = |object: &'_ proto::TranslatedObject| format!("{:?}", object.r#ref);
    answer.objects.iter().map(|object| (named(object), object.manifest.as_str())).collect()
}

/// An override that changes a variable, adds one, and asks for three.
fn more_of_web() -> proto::Template {
    let variable = |name: &str, value: &str| proto::Environment {
        variable: name.to_owned(),
        value: Some(value.to_owned()),
        ..proto::Environment::default()
    };
    let web = proto::Image {
        name: "web".to_owned(),
        environment: vec![variable("MODE", "slow"), variable("EXTRA", "1")],
        deployment: Some(proto::DeploymentSettings { count: Some(3) }),
        ..proto::Image::default()
    };
    proto::Template { images: vec![web], ..proto::Template::default() }
}

#[tokio::test]
async fn override_and_options_bear_on_what_is_translated() {
    let adapter = Adapter::sandbox().await;
    let options = proto::DeployOptions {
        secrets: proto::SecretHandling::Plain.into(),
        volumes: proto::VolumeMapping::EmptyDir.into(),
        exposure: proto::Exposure::NodePort.into(),
        labels: [("team".to_owned(), "shop".to_owned())].into(),
        ..modern()
    };
    let request = proto::TranslateTemplateRequest {
        name: "mine".to_owned(),
        r#override: Some(more_of_web()),
        format: proto::ManifestFormat::Json.into(),
        ..of_text(SHOP, options)
    };
    let answer = translated(&adapter, request).await;
    assert_eq!(kinds(&answer), ["Service", "Deployment"], "no Secret, no claim");
    let objects: Vec<Value> =
        answer.objects.iter().map(|object| serde_json::from_str(&object.manifest).expect("JSON")).collect();
    for object in &objects {
        let labels = &object["metadata"]["labels"];
        assert_eq!(
            (&labels["team"], &labels["app.kubernetes.io/instance"]),
            (&"shop".into(), &"mine".into())
        );
    }
    let find = |kind: &str| {
        let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == "web";
        objects.iter().find(is_it).expect("an object for web")
    };
    let web = &find("Deployment")["spec"];
    assert_eq!(web["replicas"], 3);
    let environment = web["template"]["spec"]["containers"][0]["env"].as_array().expect("variables");
    let own: Vec<(&str, &str)> = environment
        .iter()
        .filter_map(|one| Some((one["name"].as_str()?, one["value"].as_str()?)))
        .take(3)
        .collect();
    assert_eq!(own, [("API_TOKEN", "a1"), ("MODE", "slow"), ("EXTRA", "1")]);
    assert_eq!(find("Service")["spec"]["type"], "NodePort");
}

#[tokio::test]
async fn override_and_options_bear_on_what_is_validated() {
    let adapter = Adapter::sandbox().await;
    let validate = async |changes: proto::Template, options: proto::DeployOptions| {
        let source = validate_template_request::TemplateSource::TemplateYaml(SHOP.to_owned());
        let request = proto::ValidateTemplateRequest {
            template_source: Some(source),
            r#override: Some(changes),
            options: Some(options),
            ..proto::ValidateTemplateRequest::default()
        };
        adapter.templates().validate_template(request).await.expect("validated").into_inner()
    };
    let codes = |answer: &proto::ValidateTemplateResponse| -> Vec<String> {
        answer.diagnostics.iter().map(|one| one.code.clone()).collect()
    };
    let good = validate(more_of_web(), modern()).await;
    assert!(good.valid, "{:?}", good.diagnostics);
    let template = good.template.as_ref().expect("the template as it was understood");
    assert_eq!(template.images[0].deployment.and_then(|deployment| deployment.count), Some(3));
    let variables = |image: &proto::Image| -> Vec<(String, String)> {
        image.environment.iter().map(|one| (one.variable.clone(), one.value().to_owned())).collect()
    };
    let masked = ["API_TOKEN", "MODE", "EXTRA"].map(|name| (name.to_owned(), "***".to_owned()));
    assert_eq!(variables(&template.images[0]), masked);
    // CLASSIC leaves volumes out, which MODERN does not; under STRICT that refuses.
    let classic = validate(proto::Template::default(), proto::DeployOptions::default()).await;
    assert!(classic.valid && codes(&classic).contains(&"VOLUME_OMITTED".to_owned()));
    assert!(!codes(&good).contains(&"VOLUME_OMITTED".to_owned()));
    let strict = proto::DeployOptions {
        strictness: proto::Strictness::Strict.into(),
        ..proto::DeployOptions::default()
    };
    assert!(!validate(proto::Template::default(), strict).await.valid);
    let mut unknown = more_of_web();
    unknown.images[0].name = "wbe".to_owned();
    let refused = validate(unknown, modern()).await;
    assert!(!refused.valid && refused.diagnostics[0].field == "override.images[0].name", "{refused:?}");
}

fn validate_of(text: &str, options: proto::DeployOptions) -> proto::ValidateTemplateRequest {
    proto::ValidateTemplateRequest {
        template_source: Some(validate_template_request::TemplateSource::TemplateYaml(text.to_owned())),
        options: Some(options),
        name: "told".to_owned(),
        ..proto::ValidateTemplateRequest::default()
    }
}

/// The same template to be deployed.
fn deploy_of(text: &str, options: proto::DeployOptions) -> proto::DeployRequest {
    proto::DeployRequest { options: Some(options), ..deploy_at_once("default", "told", text) }
}

/// The same template to be planned.
fn plan_of(text: &str, options: proto::DeployOptions) -> proto::PlanDeployRequest {
    proto::PlanDeployRequest {
        namespace: "default".to_owned(),
        name: "told".to_owned(),
        template_source: Some(plan_deploy_request::TemplateSource::TemplateYaml(text.to_owned())),
        options: Some(options),
        ..proto::PlanDeployRequest::default()
    }
}

/// Field, reason and description of what refuses a template, in the order of the answer.
fn violations(status: &tonic::Status) -> Vec<(String, String, String)> {
    let details = status.get_error_details();
    let all = details.bad_request().expect("violations").field_violations.iter();
    all.map(|one| (one.field.clone(), one.reason.clone(), one.description.clone())).collect()
}

#[tokio::test]
async fn all_calls_tell_the_same_findings_in_the_same_order() {
    let adapter = Adapter::sandbox().await;
    let (mut templates, mut deployments) = (adapter.templates(), adapter.deployments());
    for options in [proto::DeployOptions::default(), modern()] {
        let validated = templates
            .validate_template(validate_of(SHOP, options.clone()))
            .await
            .expect("valid")
            .into_inner();
        assert!(validated.valid && validated.diagnostics.len() > 3, "{:?}", validated.diagnostics);
        let named = |request| proto::TranslateTemplateRequest { name: "told".to_owned(), ..request };
        let translated = translated(&adapter, named(of_text(SHOP, options.clone()))).await;
        assert_eq!(translated.diagnostics, validated.diagnostics);
        let planned =
            deployments.plan_deploy(plan_of(SHOP, options.clone())).await.expect("a plan").into_inner();
        assert_eq!(planned.diagnostics, validated.diagnostics);
        let deployed = deployments.deploy(deploy_of(SHOP, options)).await.expect("deployed").into_inner();
        assert_eq!(deployed.diagnostics, validated.diagnostics);
        deployments.teardown(teardown("default", "told")).await.expect("torn down");
    }
    for strictness in [proto::Strictness::Lenient, proto::Strictness::Strict] {
        let options = proto::DeployOptions { strictness: strictness.into(), ..modern() };
        let validated = templates.validate_template(validate_of(WRONG, options.clone())).await;
        let validated = validated.expect("judged").into_inner();
        let errors = validated.diagnostics.iter().filter(|one| one.severity() == proto::Severity::Error);
        let errors: Vec<_> = errors.map(|one| (one.field.clone(), one.code.clone())).collect();
        assert!(errors.len() >= 6 && !validated.valid, "{:#?}", validated.diagnostics);
        let named =
            proto::TranslateTemplateRequest { name: "told".to_owned(), ..of_text(WRONG, options.clone()) };
        let translated = templates.translate_template(named).await.expect_err("refused");
        let translated = violations(&translated);
        let told: Vec<_> =
            translated.iter().map(|(field, reason, _)| (field.clone(), reason.clone())).collect();
        assert_eq!(told, errors);
        let planned = deployments.plan_deploy(plan_of(WRONG, options.clone())).await.expect_err("refused");
        assert_eq!(violations(&planned), translated);
        let deployed = deployments.deploy(deploy_of(WRONG, options)).await.expect_err("refused");
        assert_eq!(violations(&deployed), translated);
    }
}

/// A structured template with faults in every list of two images.
fn structured_and_wrong() -> proto::Template {
    let image = |name: &str| proto::Image {
        name: name.to_owned(),
        source: "shop/web:1".to_owned(),
        ports: vec![proto::PortMapping::default(); 2],
        links: vec![proto::Link { service: "nobody".to_owned(), ..Default::default() }; 2],
        environment: vec![proto::Environment { variable: "A=B".to_owned(), ..Default::default() }; 2],
        expose: vec![0, 0],
        volumes_from: vec![proto::VolumesFrom { service: "nobody".to_owned(), ..Default::default() }; 2],
        ..proto::Image::default()
    };
    proto::Template { images: vec![image("web"), image("db")], ..proto::Template::default() }
}

#[tokio::test]
async fn findings_of_a_structured_template_come_in_the_order_of_the_contract() {
    let adapter = Adapter::sandbox().await;
    let request = proto::ValidateTemplateRequest {
        template_source: Some(validate_template_request::TemplateSource::Template(structured_and_wrong())),
        name: "told".to_owned(),
        ..proto::ValidateTemplateRequest::default()
    };
    let validated = adapter.templates().validate_template(request).await.expect("judged").into_inner();
    let errors = validated.diagnostics.iter().filter(|one| one.severity() == proto::Severity::Error);
    let told: Vec<&str> = errors.map(|one| one.field.as_str()).collect();
    let entries = ["ports", "links", "environment", "expose", "volumes_from"];
    let expected: Vec<String> = (0..2)
        .flat_map(|image| entries.map(|list| format!("images[{image}].{list}")))
        .flat_map(|list| (0..2).map(move |entry| format!("{list}[{entry}]")))
        .collect();
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(&expected) {
        assert!(told.starts_with(expected), "{told} instead of {expected}");
    }
}

#[tokio::test]
async fn a_plan_refuses_the_name_of_a_request_that_its_deploy_refuses() {
    let adapter = Adapter::sandbox().await;
    let mut client = adapter.deployments();
    let options = proto::DeployOptions::default;
    // Characters are counted, not bytes.
    for (request_id, is_taken) in
        [("ü".repeat(128), true), ("ü".repeat(129), false), ("a\nb".to_owned(), false), (String::new(), true)]
    {
        let plan = proto::PlanDeployRequest { request_id: request_id.clone(), ..plan_of(SHOP, options()) };
        let planned = client.plan_deploy(plan).await;
        let deploy = proto::DeployRequest { request_id, validate_only: true, ..deploy_of(SHOP, options()) };
        let deployed = client.deploy(deploy).await;
        assert_eq!((planned.is_ok(), deployed.is_ok()), (is_taken, is_taken));
        if let (Err(planned), Err(deployed)) = (planned, deployed) {
            assert_eq!(violations(&planned), violations(&deployed));
            assert_eq!(violations(&planned)[0].0, "request_id");
        }
    }
}
