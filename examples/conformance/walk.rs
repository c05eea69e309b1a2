//! Takes one template through a whole life by one profile, as any caller of the adapter could.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::{Client, ResourceExt};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use panamax_kubernetes_adapter::proto::template_service_client::TemplateServiceClient;
use proto::deploy_request::TemplateSource as DeploySource;
use proto::translate_template_request::TemplateSource as TranslateSource;
use proto::validate_template_request::TemplateSource as ValidateSource;
use serde_json::Value;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::links::{self, Objects};
use super::looking;
use super::report::{Row, Step};

/// The name of every deployment; each has a namespace of its own.
const NAME: &str = "app";
/// How long a Deploy or a Teardown may take to come to its end.
const PATIENCE: Duration = Duration::from_secs(180);

type Result<T> = std::result::Result<T, String>;

/// Where templates are tried.
#[derive(Clone)]
pub struct Site {
    /// The adapter.
    pub channel: Channel,
    /// The cluster behind it, where it can be looked at.
    pub client: Option<Client>,
}

/// One template on its way.
pub struct Walk<'a> {
    /// Where.
    pub site: &'a Site,
    /// The template.
    pub text: &'a str,
    /// What to translate it by.
    pub profile: proto::Profile,
    /// A namespace that does not exist yet.
    pub namespace: &'a str,
}

/// What a template becomes.
struct Translated {
    template: proto::Template,
    /// Each object with its kind.
    manifests: Vec<(String, Value)>,
    /// `Kind name` of each.
    names: BTreeSet<String>,
}

impl Walk<'_> {
    /// Every step until one fails; what may have been deployed is torn down in any case.
    pub async fn run(&self, row: &mut Row) {
        let validated = match self.validate().await {
            Ok(validated) => validated,
            Err(fault) => return row.fail(Step::Translate, &fault),
        };
        if !validated.valid {
            match self.is_refused_rightly(&validated.diagnostics).await {
                Ok(links) => row.refuse(format!("{} leads nowhere", links.join(", "))),
                Err(fault) => row.fail(Step::Translate, &fault),
            }
            return;
        }
        let translated = self.translate(validated.template.unwrap_or_default()).await;
        let Some(translated) = row.done(Step::Translate, translated) else { return };
        if let Some(client) = &self.site.client
            && let Err(fault) = looking::make_namespace(client, self.namespace).await
        {
            return row.fail(Step::DryRun, &fault);
        }
        if row.done(Step::DryRun, self.dry_run(&translated).await).is_some() {
            self.live(&translated, row).await;
        }
        if let Some(client) = &self.site.client
            && let Err(fault) = looking::remove_namespace(client, self.namespace).await
        {
            row.fail(Step::Teardown, &fault);
        }
    }

    /// From Deploy to Teardown.
    async fn live(&self, translated: &Translated, row: &mut Row) {
        if self.deploy(row).await
            && let Some(components) = row.done(Step::Ready, self.is_ready(translated).await)
            && let Some(judged) = row.done(Step::Links, self.links(translated, &components).await)
        {
            row.note(Step::Links, judged);
        }
        row.done(Step::Teardown, self.tear_down().await);
    }

    async fn validate(&self) -> Result<proto::ValidateTemplateResponse> {
        let request = proto::ValidateTemplateRequest {
            name: NAME.to_owned(),
            template_source: Some(ValidateSource::TemplateYaml(self.text.to_owned())),
            options: Some(self.options()),
            ..proto::ValidateTemplateRequest::default()
        };
        Ok(self.templates().validate_template(request).await.map_err(told)?.into_inner())
    }

    /// A template is refused rightly for links that lead nowhere, each by its exact field, and for nothing else.
    async fn is_refused_rightly(&self, diagnostics: &[proto::Diagnostic]) -> Result<Vec<String>> {
        let errors = || diagnostics.iter().filter(|one| one.severity() == proto::Severity::Error);
        if let Some(other) = errors().find(|error| error.code != "LINK_TARGET_MISSING") {
            return Err(format!("{}: {} ({})", other.field, other.message, other.code));
        }
        let missing = links::missing(self.text)?;
        let named: BTreeSet<String> = errors().map(|error| error.field.clone()).collect();
        let refused = match self.translation().await {
            Ok(_) => return Err(format!("translated, although {missing:?} lead nowhere")),
            Err(status) => status,
        };
        let details = refused.get_error_details();
        let violations = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
        // A refusal names no more than twenty; ValidateTemplate names all.
        let has_all = violations.len() == missing.len().min(20)
            && violations.iter().all(|violation| missing.contains(&violation.field));
        if named == missing && has_all && refused.code() == Code::InvalidArgument {
            return Ok(missing.into_iter().collect());
        }
        Err(format!("{named:?} named where {missing:?} lead nowhere: {}", told(refused)))
    }

    async fn translation(&self) -> std::result::Result<proto::TranslateTemplateResponse, Status> {
        let request = proto::TranslateTemplateRequest {
            name: NAME.to_owned(),
            template_source: Some(TranslateSource::TemplateYaml(self.text.to_owned())),
            options: Some(self.options()),
            format: proto::ManifestFormat::Json.into(),
            ..proto::TranslateTemplateRequest::default()
        };
        Ok(self.templates().translate_template(request).await?.into_inner())
    }

    async fn translate(&self, template: proto::Template) -> Result<Translated> {
        let answer = self.translation().await.map_err(told)?;
        let mut translated = Translated { template, manifests: Vec::new(), names: BTreeSet::new() };
        for object in answer.objects {
            let reference = object.r#ref.unwrap_or_default();
            let manifest =
                serde_json::from_str(&object.manifest).map_err(|error| format!("no JSON: {error}"))?;
            translated.names.insert(format!("{} {}", reference.kind, reference.name));
            translated.manifests.push((reference.kind, manifest));
        }
        Ok(translated)
    }

    /// The adapter checks everything and writes nothing; where the cluster can be asked, it takes each object, too.
    async fn dry_run(&self, translated: &Translated) -> Result<()> {
        let request = proto::DeployRequest { validate_only: true, ..self.deployment() };
        self.deployments().deploy(patient(request)).await.map_err(told)?;
        if let Some(client) = &self.site.client {
            for (_, manifest) in &translated.manifests {
                looking::accepts(client, self.namespace, manifest).await?;
            }
        }
        Ok(())
    }

    /// Deploys and waits; whether all of it is ready is judged by what stands afterwards.
    async fn deploy(&self, row: &mut Row) -> bool {
        let request = proto::DeployRequest { wait: proto::WaitMode::Ready.into(), ..self.deployment() };
        match self.deployments().deploy(patient(request)).await {
            Ok(_) => row.done(Step::Deploy, Ok(())).is_some(),
            Err(status) if status.code() == Code::DeadlineExceeded => {
                row.done(Step::Deploy, Ok(()));
                row.fail(Step::Ready, &told(status));
                false
            }
            Err(status) => row.done(Step::Deploy, Err::<(), _>(told(status))).is_some(),
        }
    }

    /// Each image has a component with all its replicas ready, and the deployment owns what was translated; returns
    /// what each image's component is called.
    async fn is_ready(&self, translated: &Translated) -> Result<BTreeMap<String, String>> {
        let deployment = self.deployed().await.map_err(told)?;
        let state = deployment.state();
        let images = &translated.template.images;
        let count = |image: &proto::Image| image.deployment.and_then(|one| one.count).unwrap_or(1);
        let idle = images.iter().all(|image| count(image) == 0);
        let wanted = if idle { proto::DeploymentState::Stopped } else { proto::DeploymentState::Active };
        if state != wanted {
            return Err(format!("{} {}", state.as_str_name(), deployment.message));
        }
        let mut names = BTreeMap::new();
        for image in images {
            let mut components = deployment.components.iter();
            let component = components.find(|component| component.image_name == image.name);
            let component = component.ok_or_else(|| format!("no component for {}", image.name))?;
            if component.desired_replicas() != count(image) || component.ready_replicas() != count(image) {
                let (ready, wanted) = (component.ready_replicas(), component.desired_replicas());
                return Err(format!("{}: {ready} of {wanted} ready, for {}", image.name, count(image)));
            }
            names.insert(image.name.clone(), component.name.clone());
        }
        let objects = deployment.objects.iter().map(|object| format!("{} {}", object.kind, object.name));
        let objects: BTreeSet<String> = objects.collect();
        if objects == translated.names {
            return Ok(names);
        }
        Err(format!("it owns {objects:?} and not {:?}", translated.names))
    }

    /// Judges the links by the objects as translated, and, where they can be seen, by those that stand.
    async fn links(&self, translated: &Translated, components: &BTreeMap<String, String>) -> Result<String> {
        let mut planned = Objects::default();
        for (kind, manifest) in &translated.manifests {
            planned.add(kind, manifest);
        }
        let mut judged = links::judge(&translated.template, components, &planned);
        if judged.faults.is_empty()
            && let Some(client) = &self.site.client
        {
            let mut standing = Objects::default();
            for (kind, object) in self.look(client).await? {
                let object = serde_json::to_value(object).map_err(|error| error.to_string())?;
                standing.add(kind, &object);
            }
            judged = links::judge(&translated.template, components, &standing);
        }
        match (judged.faults.is_empty(), judged.links, judged.guessed) {
            (false, ..) => Err(judged.faults.join("; ")),
            (true, links, 0) => Ok(format!("ok {links}")),
            (true, links, guessed) => Ok(format!("ok {links}, {guessed} guessed")),
        }
    }

    /// Everything goes, volumes too, and nothing is left.
    async fn tear_down(&self) -> Result<()> {
        let request = proto::TeardownRequest {
            namespace: self.namespace.to_owned(),
            name: NAME.to_owned(),
            allow_missing: true,
            volumes: proto::VolumePolicy::Delete.into(),
            wait: proto::TeardownWait::Gone.into(),
            ..proto::TeardownRequest::default()
        };
        let gone = self.deployments().teardown(patient(request)).await.map_err(told)?.into_inner();
        if !gone.complete {
            return Err(format!("{} objects do not go", gone.blocked.len()));
        }
        match self.deployed().await {
            Err(status) if status.code() == Code::NotFound => {}
            Err(status) => return Err(told(status)),
            Ok(_) => return Err("the deployment is still there".to_owned()),
        }
        let Some(client) = &self.site.client else { return Ok(()) };
        let left = self.look(client).await?;
        if left.is_empty() {
            return Ok(());
        }
        let left: Vec<String> = left.iter().map(|(kind, one)| format!("{kind} {}", one.name_any())).collect();
        Err(format!("left over: {}", left.join(", ")))
    }

    async fn look(&self, client: &Client) -> Result<Vec<(&'static str, kube::api::DynamicObject)>> {
        let seen = looking::objects(client, self.namespace).await;
        seen.map_err(|error| format!("{} cannot be looked at: {error}", self.namespace))
    }

    async fn deployed(&self) -> std::result::Result<proto::Deployment, Status> {
        let request = proto::GetDeploymentRequest {
            namespace: self.namespace.to_owned(),
            name: NAME.to_owned(),
            view: proto::DeploymentView::Full.into(),
        };
        let answer = self.deployments().get_deployment(request).await?.into_inner();
        Ok(answer.deployment.unwrap_or_default())
    }

    fn deployment(&self) -> proto::DeployRequest {
        proto::DeployRequest {
            namespace: self.namespace.to_owned(),
            name: NAME.to_owned(),
            template_source: Some(DeploySource::TemplateYaml(self.text.to_owned())),
            options: Some(self.options()),
            ..proto::DeployRequest::default()
        }
    }

    fn options(&self) -> proto::DeployOptions {
        proto::DeployOptions {
            profile: self.profile.into(),
            create_namespace: true,
            ..proto::DeployOptions::default()
        }
    }

    fn templates(&self) -> TemplateServiceClient<Channel> {
        TemplateServiceClient::new(self.site.channel.clone())
    }

    fn deployments(&self) -> DeploymentServiceClient<Channel> {
        DeploymentServiceClient::new(self.site.channel.clone())
    }
}

fn patient<T>(request: T) -> Request<T> {
    let mut request = Request::new(request);
    request.set_timeout(PATIENCE);
    request
}

/// A failed call as one line: the server's sentence, and its reason for programs.
#[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
fn told(status: Status) -> String {
    let details = status.get_error_details();
    let reason =
        details.error_info().map_or_else(|| format!("{:?}", status.code()), |info| info.reason.clone());
    format!("{} ({reason})", status.message())
}
