//! The command lines that only look, and the request that each becomes: a flag for every field.

use std::time::Duration;

use clap::Args;

use super::requests::{ClientArgs, TargetArgs};
use super::words::{Time, time, word};
use panamax_kubernetes_adapter_client as proto;

/// How often an adapter says that nothing has changed, unless it is asked otherwise.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// What `get` takes.
#[derive(Args, Clone, Debug)]
pub struct GetArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// How much to tell; full adds objects, pods, Events and the template
    #[arg(long, value_parser = word::<proto::DeploymentView>())]
    view: Option<i32>,

    #[command(flatten)]
    pub client: ClientArgs,
}

impl GetArgs {
    /// The request.
    pub fn request(&self) -> proto::GetDeploymentRequest {
        let TargetArgs { name, namespace } = self.target.clone();
        proto::GetDeploymentRequest { namespace, name, view: self.view.unwrap_or_default() }
    }
}

/// What `list` takes.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Namespace, or `-` for all of them [default: the adapter's]
    #[arg(short, long, default_value = "", hide_default_value = true, value_name = "NAME")]
    pub namespace: String,

    /// Deployments of a page; only one page is asked for then
    #[arg(long, default_value_t, hide_default_value = true, value_name = "NUMBER")]
    pub page_size: i32,

    /// Where the page begins, as the page before has told
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TOKEN")]
    page_token: String,

    /// Labels that the deployments have, as `team=blog,tier in (web, db)`
    #[arg(short = 'l', long, default_value = "", hide_default_value = true, value_name = "SELECTOR")]
    label_selector: String,

    /// States that the deployments are in, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = word::<proto::DeploymentState>())]
    states: Vec<i32>,

    /// How much to tell
    #[arg(long, value_parser = word::<proto::DeploymentView>())]
    view: Option<i32>,

    #[command(flatten)]
    pub client: ClientArgs,
}

impl ListArgs {
    /// The request.
    pub fn request(&self) -> proto::ListDeploymentsRequest {
        proto::ListDeploymentsRequest {
            namespace: self.namespace.clone(),
            page_size: self.page_size,
            page_token: self.page_token.clone(),
            label_selector: self.label_selector.clone(),
            states: self.states.clone(),
            view: self.view.unwrap_or_default(),
        }
    }
}

/// What `watch` takes.
#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    /// Name of the deployment; without one, all of the namespace are looked at every two seconds
    pub name: Option<String>,

    /// Namespace [default: the adapter's]
    #[arg(short, long, default_value = "", hide_default_value = true, value_name = "NAME")]
    pub namespace: String,

    /// What ends the watch [default: forever]
    #[arg(long, value_parser = word::<proto::WatchUntil>())]
    until: Option<i32>,

    /// How often the adapter says that nothing has changed, 1s to 10m [default: 30s]
    #[arg(long, value_parser = time, value_name = "TIME")]
    heartbeat_interval: Option<Time>,

    /// How much to tell
    #[arg(long, value_parser = word::<proto::DeploymentView>())]
    pub view: Option<i32>,

    /// How long to watch [default: until it ends, or Ctrl-C]
    #[arg(long, value_parser = time, value_name = "TIME")]
    pub timeout: Option<Time>,

    #[command(flatten)]
    pub client: ClientArgs,
}

impl WatchArgs {
    /// Whether it waits for something; all deployments together come to nothing.
    pub fn is_wait(&self) -> bool {
        let is_endless = self.until.is_none_or(|until| until == i32::from(proto::WatchUntil::Forever));
        self.name.is_some() && !is_endless
    }

    /// How often the adapter says that nothing has changed.
    pub fn heartbeat(&self) -> Duration {
        self.heartbeat_interval.map_or(HEARTBEAT, |time| time.0)
    }

    /// The request.
    pub fn request(&self) -> proto::WatchDeploymentRequest {
        proto::WatchDeploymentRequest {
            namespace: self.namespace.clone(),
            name: self.name.clone().unwrap_or_default(),
            until: self.until.unwrap_or_default(),
            heartbeat_interval: self.heartbeat_interval.and_then(Time::encoded),
            view: self.view.unwrap_or_default(),
        }
    }
}

/// What `revisions` takes.
#[derive(Args, Clone, Debug)]
pub struct RevisionsArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// Revisions of a page; only one page is asked for then
    #[arg(long, default_value_t, hide_default_value = true, value_name = "NUMBER")]
    pub page_size: i32,

    /// Where the page begins, as the page before has told
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TOKEN")]
    page_token: String,

    #[command(flatten)]
    pub client: ClientArgs,
}

impl RevisionsArgs {
    /// The request.
    pub fn request(&self) -> proto::ListRevisionsRequest {
        let TargetArgs { name, namespace } = self.target.clone();
        let (page_size, page_token) = (self.page_size, self.page_token.clone());
        proto::ListRevisionsRequest { namespace, name, page_size, page_token }
    }
}
