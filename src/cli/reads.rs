//! The command lines that only look, and the request that each becomes: a flag for every field.

use std::time::Duration;

use clap::Args;

use super::failure::Failure;
use super::requests::{ClientArgs, TargetArgs};
use super::words::{Time, positive, text, time, word};
use panamax_kubernetes_adapter_client as proto;

/// How often an adapter says that nothing has changed, unless it is asked otherwise.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Show one deployment
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
        let (name, namespace) = (self.target.name.clone(), self.target.namespace());
        proto::GetDeploymentRequest { namespace, name, view: self.view.unwrap_or_default() }
    }
}

/// List deployments, as they were last recorded
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Namespace, or `-` for all of them [default: the adapter's]
    #[arg(short, long, value_parser = text(), value_name = "NAME")]
    namespace: Option<String>,

    /// Deployments of a page; only one page is asked for then
    #[arg(long, value_parser = positive(), value_name = "NUMBER")]
    page_size: Option<i32>,

    /// Where the page begins, as the page before has told
    #[arg(long, value_parser = text(), value_name = "TOKEN")]
    page_token: Option<String>,

    /// Labels that the deployments have, as `team=blog,tier in (web, db)`
    #[arg(short = 'l', long, value_parser = text(), value_name = "SELECTOR")]
    label_selector: Option<String>,

    /// States that the deployments are in, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = word::<proto::DeploymentState>())]
    states: Vec<i32>,

    /// How much to tell; basic tells states as they were last recorded, full all of each as it is now
    #[arg(long, value_parser = word::<proto::DeploymentView>())]
    view: Option<i32>,

    #[command(flatten)]
    pub client: ClientArgs,
}

impl ListArgs {
    /// Whether all of each deployment is told.
    pub fn is_full(&self) -> bool {
        self.view == Some(proto::DeploymentView::Full.into())
    }

    /// The request.
    pub fn request(&self) -> proto::ListDeploymentsRequest {
        proto::ListDeploymentsRequest {
            namespace: self.namespace.clone().unwrap_or_default(),
            page_size: self.page_size.unwrap_or_default(),
            page_token: self.page_token.clone().unwrap_or_default(),
            label_selector: self.label_selector.clone().unwrap_or_default(),
            states: self.states.clone(),
            view: self.view.unwrap_or_default(),
        }
    }
}

/// Watch a deployment, or all
#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    /// Name of the deployment; without one, all of the namespace are listed every two seconds, as `list` tells them
    #[arg(value_parser = text())]
    pub name: Option<String>,

    /// Namespace [default: the adapter's]
    #[arg(short, long, value_parser = text(), value_name = "NAME")]
    namespace: Option<String>,

    /// What ends the watch [default: forever]
    #[arg(long, value_parser = word::<proto::WatchUntil>())]
    until: Option<i32>,

    /// How often the adapter says that nothing has changed, 1s to 10m [default: 30s]
    #[arg(long, value_parser = time, value_name = "TIME")]
    heartbeat_interval: Option<Time>,

    /// How much to tell
    #[arg(long, value_parser = word::<proto::DeploymentView>())]
    view: Option<i32>,

    /// How long to watch [default: until it ends, or Ctrl-C]
    #[arg(long, value_parser = time, value_name = "TIME")]
    pub timeout: Option<Time>,

    #[command(flatten)]
    pub client: ClientArgs,
}

impl WatchArgs {
    /// Refuses what only a watch of one deployment can do: all of them are looked at again and again, and come to
    /// nothing together.
    pub fn check(&self) -> Result<(), Failure> {
        if self.name.is_some() {
            return Ok(());
        }
        let until = self.until.map(|_| "--until waits for one deployment");
        let heartbeat = self.heartbeat_interval.map(|_| "--heartbeat-interval is for one deployment");
        match until.or(heartbeat) {
            Some(why) => Err(Failure::usage(format!("{why}; name it"))),
            None => Ok(()),
        }
    }

    /// Whether it waits for something.
    pub fn is_wait(&self) -> bool {
        self.until.is_some() && !self.is_for(proto::WatchUntil::Forever)
    }

    /// Whether this is what ends it.
    pub fn is_for(&self, until: proto::WatchUntil) -> bool {
        self.until == Some(until.into())
    }

    /// The request that lists what is watched without a name.
    pub fn list(&self) -> proto::ListDeploymentsRequest {
        proto::ListDeploymentsRequest {
            namespace: self.namespace.clone().unwrap_or_default(),
            view: self.view.unwrap_or_default(),
            ..Default::default()
        }
    }

    /// How often the adapter says that nothing has changed.
    pub fn heartbeat(&self) -> Duration {
        self.heartbeat_interval.map_or(HEARTBEAT, |time| time.0)
    }

    /// The request.
    pub fn request(&self) -> proto::WatchDeploymentRequest {
        proto::WatchDeploymentRequest {
            namespace: self.namespace.clone().unwrap_or_default(),
            name: self.name.clone().unwrap_or_default(),
            until: self.until.unwrap_or_default(),
            heartbeat_interval: self.heartbeat_interval.and_then(Time::encoded),
            view: self.view.unwrap_or_default(),
        }
    }
}

/// List the revisions of a deployment
#[derive(Args, Clone, Debug)]
pub struct RevisionsArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// Revisions of a page; only one page is asked for then
    #[arg(long, value_parser = positive(), value_name = "NUMBER")]
    page_size: Option<i32>,

    /// Where the page begins, as the page before has told
    #[arg(long, value_parser = text(), value_name = "TOKEN")]
    page_token: Option<String>,

    #[command(flatten)]
    pub client: ClientArgs,
}

impl RevisionsArgs {
    /// The request.
    pub fn request(&self) -> proto::ListRevisionsRequest {
        let (name, namespace) = (self.target.name.clone(), self.target.namespace());
        let page_size = self.page_size.unwrap_or_default();
        let page_token = self.page_token.clone().unwrap_or_default();
        proto::ListRevisionsRequest { namespace, name, page_size, page_token }
    }
}
