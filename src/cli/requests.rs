//! The command lines that change something, and the request that each becomes: a flag for every field.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::connection::ConnectionArgs;
use super::failure::{Failure, once};
use super::output::Format;
use super::source::{AroundArgs, Source};
use super::words::{Time, count, positive, text, time, word};
use panamax_kubernetes_adapter_client as proto;
use panamax_kubernetes_adapter_client::deploy_request::TemplateSource;

/// How long is waited when nobody says how long.
const PATIENCE: Duration = Duration::from_secs(300);

/// What every command of the client takes.
#[derive(Args, Clone, Debug)]
pub struct ClientArgs {
    /// Form of the answer on standard output
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    pub output: Format,

    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Which deployment.
#[derive(Args, Clone, Debug)]
pub struct TargetArgs {
    /// Name of the deployment
    #[arg(value_parser = text())]
    pub name: String,

    /// Namespace [default: the adapter's]
    #[arg(short, long, value_parser = text(), value_name = "NAME")]
    namespace: Option<String>,
}

impl TargetArgs {
    /// The namespace as requests have it.
    pub fn namespace(&self) -> String {
        self.namespace.clone().unwrap_or_default()
    }
}

/// On what terms something is changed.
#[derive(Args, Clone, Debug)]
pub struct TermsArgs {
    /// Check everything and change nothing
    #[arg(long)]
    pub validate_only: bool,

    /// Refuse if the deployment is no longer the one with this etag
    #[arg(long, value_parser = text(), value_name = "ETAG")]
    etag: Option<String>,

    /// Name of this request: when it comes again, its first outcome is told
    #[arg(long, value_parser = text(), value_name = "ID")]
    request_id: Option<String>,
}

impl TermsArgs {
    fn etag(&self) -> String {
        self.etag.clone().unwrap_or_default()
    }

    fn request_id(&self) -> String {
        self.request_id.clone().unwrap_or_default()
    }
}

/// What is waited for, and how long.
#[derive(Args, Clone, Debug)]
struct WaitArgs {
    /// What to wait for [default: ready]
    #[arg(long, value_parser = word::<proto::WaitMode>())]
    wait: Option<i32>,

    /// How long to wait [default: 5m]
    #[arg(long, value_parser = time, value_name = "TIME")]
    wait_timeout: Option<Time>,
}

impl WaitArgs {
    /// How long to wait for readiness, if at all.
    fn patience(&self, terms: &TermsArgs) -> Option<Duration> {
        let waits = self.mode() == i32::from(proto::WaitMode::Ready);
        (waits && !terms.validate_only).then(|| self.wait_timeout.map_or(PATIENCE, |time| time.0))
    }

    /// Refuses a time for what is not waited for.
    fn check(&self, terms: &TermsArgs) -> Result<(), Failure> {
        timed(self.wait_timeout, self.mode() == i32::from(proto::WaitMode::None), terms)
    }

    fn mode(&self) -> i32 {
        self.wait.unwrap_or(proto::WaitMode::Ready.into())
    }

    fn timeout(&self) -> Option<prost_types::Duration> {
        self.wait_timeout.and_then(Time::encoded)
    }
}

/// Refuses a time where nothing is waited for.
fn timed(time: Option<Time>, is_none: bool, terms: &TermsArgs) -> Result<(), Failure> {
    let otherwise = match (is_none, terms.validate_only) {
        (true, _) => "--wait none",
        (false, true) => "--validate-only",
        (false, false) => return Ok(()),
    };
    match time {
        Some(_) => {
            Err(Failure::usage(format!("--wait-timeout says how long to wait, and {otherwise} not to wait")))
        }
        None => Ok(()),
    }
}

/// Deploy a template, or update what was deployed from it, and wait until it is ready
#[derive(Args, Clone, Debug)]
pub struct DeployArgs {
    /// Template, in YAML or JSON; `-` is standard input
    pub file: PathBuf,

    #[command(flatten)]
    pub around: AroundArgs,

    #[command(flatten)]
    wait: WaitArgs,

    /// Carry out this plan, and refuse if it would be another one by now
    #[arg(long, value_parser = text(), value_name = "ID")]
    plan_id: Option<String>,

    #[command(flatten)]
    pub terms: TermsArgs,

    #[command(flatten)]
    pub client: ClientArgs,
}

/// Tell what a deploy would do, field by field, and do nothing
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    #[command(flatten)]
    pub deploy: DeployArgs,
}

impl DeployArgs {
    /// Refuses what cannot be meant together.
    pub fn check(&self) -> Result<(), Failure> {
        self.around.check(std::slice::from_ref(&self.file)).and_then(|()| self.wait.check(&self.terms))
    }

    /// How long to wait, if at all.
    pub fn patience(&self) -> Option<Duration> {
        self.wait.patience(&self.terms)
    }

    /// The request.
    pub fn request(&self, source: &Source) -> proto::DeployRequest {
        proto::DeployRequest {
            namespace: self.around.namespace.clone().unwrap_or_default(),
            name: self.around.name.clone().unwrap_or_default(),
            template_source: Some(TemplateSource::TemplateYaml(source.text.clone())),
            r#override: source.r#override.clone(),
            options: Some(self.around.options.encoded()),
            wait: self.wait.mode(),
            wait_timeout: self.wait.timeout(),
            validate_only: self.terms.validate_only,
            etag: self.terms.etag(),
            request_id: self.terms.request_id(),
            plan_id: self.plan_id.clone().unwrap_or_default(),
            image_configs: source.image_configs.clone(),
        }
    }

    /// The request that plans what the other one would do: its fields are the same.
    pub fn plan(&self, source: &Source) -> proto::PlanDeployRequest {
        use proto::plan_deploy_request::TemplateSource;
        let request = self.request(source);
        proto::PlanDeployRequest {
            namespace: request.namespace,
            name: request.name,
            template_source: Some(TemplateSource::TemplateYaml(source.text.clone())),
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
}

/// Change the replicas of components, and wait until they are ready
#[derive(Args, Clone, Debug)]
pub struct ScaleArgs {
    #[command(flatten)]
    pub target: TargetArgs,

    /// Components and their replicas, by the image's name in the template or the component's own
    #[arg(required = true, value_parser = count, value_name = "COMPONENT=NUMBER")]
    replicas: Vec<(String, i32)>,

    #[command(flatten)]
    wait: WaitArgs,

    #[command(flatten)]
    pub terms: TermsArgs,

    #[command(flatten)]
    pub client: ClientArgs,
}

impl ScaleArgs {
    /// Refuses components that are named twice, and what cannot be meant together.
    pub fn check(&self) -> Result<(), Failure> {
        once("COMPONENT=NUMBER", &self.replicas).and_then(|()| self.wait.check(&self.terms))
    }

    /// How long to wait, if at all.
    pub fn patience(&self) -> Option<Duration> {
        self.wait.patience(&self.terms)
    }

    /// The request.
    pub fn request(&self) -> proto::ScaleRequest {
        let (name, namespace) = (self.target.name.clone(), self.target.namespace());
        proto::ScaleRequest {
            namespace,
            name,
            replicas: self.replicas.iter().cloned().collect(),
            wait: self.wait.mode(),
            wait_timeout: self.wait.timeout(),
            validate_only: self.terms.validate_only,
            etag: self.terms.etag(),
            request_id: self.terms.request_id(),
        }
    }
}

/// Put an earlier revision back, and wait until it is ready
#[derive(Args, Clone, Debug)]
pub struct RollbackArgs {
    #[command(flatten)]
    pub target: TargetArgs,

    /// Revision to put back [default: the last good one before the current]
    #[arg(long, value_parser = positive(), value_name = "NUMBER")]
    revision: Option<i32>,

    #[command(flatten)]
    wait: WaitArgs,

    #[command(flatten)]
    pub terms: TermsArgs,

    #[command(flatten)]
    pub client: ClientArgs,
}

impl RollbackArgs {
    /// Refuses what cannot be meant together.
    pub fn check(&self) -> Result<(), Failure> {
        self.wait.check(&self.terms)
    }

    /// How long to wait, if at all.
    pub fn patience(&self) -> Option<Duration> {
        self.wait.patience(&self.terms)
    }

    /// The request.
    pub fn request(&self) -> proto::RollbackRequest {
        let (name, namespace) = (self.target.name.clone(), self.target.namespace());
        proto::RollbackRequest {
            namespace,
            name,
            revision: self.revision.unwrap_or_default(),
            wait: self.wait.mode(),
            wait_timeout: self.wait.timeout(),
            validate_only: self.terms.validate_only,
            etag: self.terms.etag(),
            request_id: self.terms.request_id(),
        }
    }
}

/// Delete everything that belongs to a deployment, and wait until it is gone
#[derive(Args, Clone, Debug)]
pub struct TeardownArgs {
    #[command(flatten)]
    pub target: TargetArgs,

    /// What becomes of volume claims, and of the data in them [default: retain]
    #[arg(long, value_parser = word::<proto::VolumePolicy>())]
    volumes: Option<i32>,

    /// Succeed if there is no such deployment
    #[arg(long)]
    allow_missing: bool,

    /// How long pods may take to end [default: as long as each asks for]
    #[arg(long, value_parser = time, value_name = "TIME")]
    grace_period: Option<Time>,

    /// What to wait for [default: gone]
    #[arg(long, value_parser = word::<proto::TeardownWait>())]
    wait: Option<i32>,

    /// How long to wait [default: 5m]
    #[arg(long, value_parser = time, value_name = "TIME")]
    wait_timeout: Option<Time>,

    #[command(flatten)]
    pub terms: TermsArgs,

    #[command(flatten)]
    pub client: ClientArgs,
}

impl TeardownArgs {
    /// Refuses what cannot be meant together.
    pub fn check(&self) -> Result<(), Failure> {
        timed(self.wait_timeout, self.wait == Some(proto::TeardownWait::None.into()), &self.terms)
    }

    /// How long to wait, if at all.
    pub fn patience(&self) -> Option<Duration> {
        let waits = self.wait.is_none_or(|mode| mode == i32::from(proto::TeardownWait::Gone));
        (waits && !self.terms.validate_only).then(|| self.wait_timeout.map_or(PATIENCE, |time| time.0))
    }

    /// The request.
    pub fn request(&self) -> proto::TeardownRequest {
        let (name, namespace) = (self.target.name.clone(), self.target.namespace());
        proto::TeardownRequest {
            namespace,
            name,
            volumes: self.volumes.unwrap_or_default(),
            allow_missing: self.allow_missing,
            grace_period: self.grace_period.and_then(Time::encoded),
            wait: self.wait.unwrap_or(proto::TeardownWait::Gone.into()),
            wait_timeout: self.wait_timeout.and_then(Time::encoded),
            validate_only: self.terms.validate_only,
            etag: self.terms.etag(),
            request_id: self.terms.request_id(),
        }
    }
}
