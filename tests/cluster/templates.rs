//! A folder of real templates, when one is there: each translated, accepted, deployed, linked and torn down.

use std::collections::BTreeSet;
use std::path::PathBuf;

use futures::{StreamExt, stream};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::{translate_template_request, validate_template_request};
use serde::Deserialize;
use serde_json::Value;
use tonic_types::StatusExt;

use crate::support::adapter::{Adapter, deploy, reason, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::namespace::{Namespace, namespace};
use crate::support::survey::Survey;

/// Templates under way at once.
const AT_ONCE: usize = 8;

/// A line of the table.
#[derive(Default)]
struct Row {
    template: String,
    images: usize,
    objects: usize,
    state: String,
    aliases: String,
    teardown: String,
    faults: Vec<String>,
}

/// The folder with templates; `None` when there is none.
fn folder() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/templates");
    let folder = std::env::var_os("PANAMAX_TEMPLATES").map_or_else(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

#[tokio::test]
async fn every_template_of_the_folder_runs() {
    let Some(folder) = folder() else {
        eprintln!("templates: no folder is named by PANAMAX_TEMPLATES, so none were tried");
        return;
    };
    let files = std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("a file").path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.is_file()).collect();
    files.sort();
    let adapter = Adapter::real(control_plane(), User::Adapter).await;
    let rows = stream::iter(files).map(|path| tried(&adapter, path)).buffered(AT_ONCE);
    let rows: Vec<Row> = rows.collect().await;
    eprintln!("{:<72}{:>7}{:>9}  {:<22}{:<22}teardown", "template", "images", "objects", "state", "aliases");
    for row in &rows {
        eprintln!(
            "{:<72}{:>7}{:>9}  {:<22}{:<22}{}",
            row.template, row.images, row.objects, row.state, row.aliases, row.teardown
        );
        for fault in &row.faults {
            eprintln!("    {fault}");
        }
    }
    let good = rows.iter().filter(|row| row.faults.is_empty()).count();
    let refused = rows.iter().filter(|row| row.state == "refused").count();
    let sum = |count: fn(&Row) -> usize| rows.iter().map(count).sum::<usize>();
    eprintln!(
        "templates: {good} of {} right, {refused} of them refused for a link that leads nowhere; {} images, {} objects",
        rows.len(),
        sum(|row| row.images),
        sum(|row| row.objects)
    );
    assert_eq!(good, rows.len(), "faults stand below their templates");
}

async fn tried(adapter: &Adapter, path: PathBuf) -> Row {
    let template = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut row = Row { template, ..Row::default() };
    let text = match std::fs::read(&path).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(_)) | Err(_) => {
            row.faults.push("it is no text".to_owned());
            return row;
        }
    };
    if let Err(fault) = walk(adapter, &text, &mut row).await {
        row.faults.push(fault);
    }
    row
}

/// The whole way of one template; ends early with what went wrong.
async fn walk(adapter: &Adapter, text: &str, row: &mut Row) -> Result<(), String> {
    let (read, missing) = read(adapter, text).await?;
    row.images = read.images.len();
    let translated = match translate(adapter, text).await {
        Ok(_) if !missing.is_empty() => return Err(format!("translated, but {missing:?} lead nowhere")),
        Ok(translated) => translated,
        Err(status) if missing.is_empty() => return Err(format!("not translated: {status}")),
        Err(status) => {
            row.state = "refused".to_owned();
            row.aliases = format!("{} lead nowhere", missing.len());
            return names_exactly(&status, &missing);
        }
    };
    row.objects = translated.objects.len();
    let namespace = namespace("template").await;
    accepted(&namespace, &translated).await?;
    let before = Survey::of(&namespace.client, &namespace).await;
    let mut client = adapter.deployments();
    let answer = client.deploy(deploy(&namespace, "app", text)).await;
    let answer = answer.map_err(|status| format!("not deployed: {status}"))?.into_inner();
    row.state = answer.deployment.map_or("unknown", |deployment| deployment.state().as_str_name()).to_owned();
    row.state = row.state.trim_start_matches("DEPLOYMENT_STATE_").to_lowercase();
    let survey = Survey::of(&namespace.client, &namespace).await;
    row.faults.extend(survey.faults("app"));
    row.faults.extend(unready(&survey));
    links(&read, &survey, row);
    let gone = client.teardown(teardown(&namespace, "app")).await;
    let gone = gone.map_err(|status| format!("not torn down: {status}"))?.into_inner();
    let after = Survey::of(&namespace.client, &namespace).await;
    row.teardown =
        if gone.complete && after.names() == before.names() { "clean" } else { "leftovers" }.to_owned();
    if row.teardown != "clean" {
        row.faults.push(format!("left over: {:?}", after.names()));
    }
    if row.state != "active" {
        row.faults.push(format!("the state is {}", row.state));
    }
    Ok(())
}

/// The template as the adapter understands it, or, where links lead nowhere, as it is written, with their paths.
async fn read(adapter: &Adapter, text: &str) -> Result<(proto::Template, BTreeSet<String>), String> {
    let request = proto::ValidateTemplateRequest {
        name: "app".to_owned(),
        template_source: Some(validate_template_request::TemplateSource::TemplateYaml(text.to_owned())),
        ..proto::ValidateTemplateRequest::default()
    };
    let answer = adapter.templates().validate_template(request).await;
    let answer = answer.map_err(|status| format!("not validated: {status}"))?.into_inner();
    if let Some(template) = answer.template {
        return Ok((template, BTreeSet::new()));
    }
    let written: Written = serde_saphyr::from_str(text).map_err(|error| format!("not read: {error}"))?;
    let images = written.images.into_iter().map(WrittenImage::image).collect();
    let template = proto::Template { images, ..proto::Template::default() };
    let missing = missing_links(&template);
    if missing.is_empty() {
        Err(format!("not read: {:?}", answer.diagnostics))
    } else {
        Ok((template, missing))
    }
}

/// As much of a template's text as links are about.
#[derive(Deserialize)]
struct Written {
    images: Vec<WrittenImage>,
}

#[derive(Deserialize)]
struct WrittenImage {
    name: String,
    links: Option<Vec<WrittenLink>>,
}

#[derive(Deserialize)]
struct WrittenLink {
    #[serde(alias = "name")]
    service: String,
}

impl WrittenImage {
    fn image(self) -> proto::Image {
        let link = |link: WrittenLink| proto::Link { service: link.service, ..proto::Link::default() };
        let links = self.links.unwrap_or_default().into_iter().map(link).collect();
        proto::Image { name: self.name, links, ..proto::Image::default() }
    }
}

async fn translate(adapter: &Adapter, text: &str) -> Result<proto::TranslateTemplateResponse, tonic::Status> {
    let request = proto::TranslateTemplateRequest {
        name: "app".to_owned(),
        template_source: Some(translate_template_request::TemplateSource::TemplateYaml(text.to_owned())),
        format: proto::ManifestFormat::Json.into(),
        ..proto::TranslateTemplateRequest::default()
    };
    Ok(adapter.templates().translate_template(request).await?.into_inner())
}

/// The seed's rule for names.
fn sanitised(name: &str) -> String {
    let allowed =
        |letter: char| if letter.is_ascii_lowercase() || letter.is_ascii_digit() { letter } else { '-' };
    name.to_lowercase().chars().map(allowed).collect::<String>().trim_matches('-').to_owned()
}

/// The image that a link leads to: of that very name, else of one that differs in spelling only.
fn target<'a>(template: &'a proto::Template, link: &proto::Link) -> Option<&'a proto::Image> {
    let exact = template.images.iter().find(|image| image.name == link.service);
    exact.or_else(|| template.images.iter().find(|image| sanitised(&image.name) == sanitised(&link.service)))
}

/// The paths of links that lead to no image.
fn missing_links(template: &proto::Template) -> BTreeSet<String> {
    let mut missing = BTreeSet::new();
    for (place, image) in template.images.iter().enumerate() {
        for (number, link) in image.links.iter().enumerate() {
            if target(template, link).is_none() {
                missing.insert(format!("images[{place}].links[{number}].service"));
            }
        }
    }
    missing
}

/// The refusal names exactly these fields.
fn names_exactly(status: &tonic::Status, missing: &BTreeSet<String>) -> Result<(), String> {
    let details = status.get_error_details();
    let violations = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
    let named: BTreeSet<String> = violations.iter().map(|violation| violation.field.clone()).collect();
    if status.code() == tonic::Code::InvalidArgument
        && reason(status) == "TEMPLATE_INVALID"
        && named == *missing
    {
        Ok(())
    } else {
        Err(format!("refused with {named:?} for {missing:?}: {status}"))
    }
}

/// The API server takes every object, without keeping any.
async fn accepted(
    namespace: &Namespace,
    translated: &proto::TranslateTemplateResponse,
) -> Result<(), String> {
    for object in &translated.objects {
        let reference = object.r#ref.clone().unwrap_or_default();
        let kind = GroupVersionKind::gvk(&reference.group, &reference.version, &reference.kind);
        let client: Client = namespace.client.clone();
        let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &ApiResource::from_gvk(&kind));
        let manifest: Value = serde_json::from_str(&object.manifest).map_err(|error| error.to_string())?;
        let mut parameters = PatchParams::apply("dry-run").validation_strict();
        parameters.dry_run = true;
        let taken = api.patch(&reference.name, &parameters, &Patch::Apply(manifest)).await;
        taken.map_err(|error| format!("{} {} is not accepted: {error}", reference.kind, reference.name))?;
    }
    Ok(())
}

/// Pods that are not ready.
fn unready(survey: &Survey) -> Vec<String> {
    let is_ready = |pod: &DynamicObject| {
        let conditions = pod.data.pointer("/status/conditions").and_then(Value::as_array);
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
    };
    let unready = survey.of_kind("Pod").filter(|(_, pod)| !is_ready(pod));
    unready.map(|(name, _)| format!("pod {name} is not ready")).collect()
}

/// Every alias is a Service that selects exactly its target's pods, and leads to its lowest container port.
fn links(template: &proto::Template, survey: &Survey, row: &mut Row) {
    let (mut right, mut all, mut guessed) = (0, 0, 0);
    for image in &template.images {
        for link in &image.links {
            let Some(target) = target(template, link) else { continue };
            if std::ptr::eq(target, image) {
                continue;
            }
            all += 1;
            let lowest = lowest_port(target);
            guessed += usize::from(lowest.is_none());
            match leads(survey, image, link, target, lowest) {
                Ok(()) => right += 1,
                Err(fault) => row.faults.push(format!("{}, link to {}: {fault}", image.name, link.service)),
            }
        }
    }
    row.aliases = match (all, guessed) {
        (0, _) => "none".to_owned(),
        (_, 0) => format!("{right} of {all}"),
        _ => format!("{right} of {all}, {guessed} inferred"),
    };
}

fn lowest_port(image: &proto::Image) -> Option<i32> {
    let published = image.ports.iter().filter_map(|port| port.container_port);
    published.chain(image.expose.iter().copied()).min()
}

fn leads(
    survey: &Survey,
    image: &proto::Image,
    link: &proto::Link,
    target: &proto::Image,
    lowest: Option<i32>,
) -> Result<(), String> {
    let alias = sanitised(if link.alias.is_empty() { &link.service } else { &link.alias });
    let own = format!("{}-{alias}", sanitised(&image.name));
    // An alias that two images mean differently has a Service for each of them.
    let service =
        [own, alias.clone()].into_iter().find_map(|name| survey.objects.get(&format!("Service {name}")));
    let service = service.ok_or_else(|| format!("no Service {alias}"))?;
    let selector = service.data.pointer("/spec/selector").and_then(Value::as_object);
    let selector = selector.filter(|selector| !selector.is_empty()).ok_or("it selects nothing")?;
    let is_selected = |pod: &DynamicObject| {
        selector.iter().all(|(key, value)| pod.labels().get(key).map(String::as_str) == value.as_str())
    };
    let component = sanitised(&target.name);
    let selected: BTreeSet<&str> =
        survey.of_kind("Pod").filter(|(_, pod)| is_selected(pod)).map(|(name, _)| name).collect();
    let (bare, made) = (format!("{component}-pod"), format!("{component}-replication-controller-"));
    let pods = survey.of_kind("Pod").map(|(name, _)| name);
    let meant: BTreeSet<&str> = pods.filter(|name| *name == bare || name.starts_with(&made)).collect();
    if selected != meant || meant.is_empty() {
        return Err(format!("Service {} selects {selected:?} and not {meant:?}", service.name_any()));
    }
    let ports = service.data.pointer("/spec/ports").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let headless = service.data.pointer("/spec/clusterIP").and_then(Value::as_str) == Some("None");
    match lowest {
        Some(port) if ports.iter().any(|one| one["port"] == port && one["targetPort"] == port) => Ok(()),
        Some(port) => Err(format!("Service {} does not lead to port {port}: {ports:?}", service.name_any())),
        // No port is known: one that the image is known for, or a name without any.
        None if !ports.is_empty() || headless => Ok(()),
        None => Err(format!("Service {} has neither ports nor is it headless", service.name_any())),
    }
}
