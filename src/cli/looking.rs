//! Carries out the commands that only look.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Request;

use super::connection::Client;
use super::failure::{Failure, INTERRUPTED, REFUSED, TIMED_OUT, UNREACHABLE};
use super::findings::Texts;
use super::reads::{GetArgs, ListArgs, RevisionsArgs, WatchArgs};
use super::text;
use super::view::View;
use super::waiting::{ctrl_c, end, timed};
use super::words::said;
use panamax_kubernetes_adapter_client as proto;
use panamax_kubernetes_adapter_client::watch_deployment_response::Event;

/// How often all deployments are looked at: a watch shows one.
const INTERVAL: Duration = Duration::from_secs(2);

fn refused(status: &tonic::Status) -> Failure {
    Failure::call(status, &Texts::default())
}

impl GetArgs {
    /// Shows one deployment.
    pub async fn run(&self, view: &mut View<'_>) -> Result<(), Failure> {
        let client = self.client.connection.connect().await?;
        let answer = client.deployments().get_deployment(timed(self.request(), None)).await;
        let answer = answer.map_err(|status| refused(&status))?.into_inner();
        view.tell(&answer, "GetDeploymentResponse", || {
            let deployment = answer.deployment.clone().unwrap_or_default();
            [text::deployment(&deployment), text::details(&deployment)].concat()
        })
    }
}

/// All pages of a list, or the one that was asked for.
async fn listed(
    client: &Client,
    mut request: proto::ListDeploymentsRequest,
) -> Result<proto::ListDeploymentsResponse, Failure> {
    let is_one = request.page_size != 0;
    let mut all = Vec::new();
    loop {
        let page = client.deployments().list_deployments(timed(request.clone(), None)).await;
        let page = page.map_err(|status| refused(&status))?.into_inner();
        all.extend(page.deployments);
        if is_one || page.next_page_token.is_empty() {
            let next_page_token = page.next_page_token;
            return Ok(proto::ListDeploymentsResponse { deployments: all, next_page_token });
        }
        request.page_token = page.next_page_token;
    }
}

/// How to get the next page, if there is one.
fn more(token: &str) -> Option<String> {
    (!token.is_empty()).then(|| format!("more: --page-token {token}"))
}

impl ListArgs {
    /// Lists deployments.
    pub async fn run(&self, view: &mut View<'_>) -> Result<(), Failure> {
        let client = self.client.connection.connect().await?;
        let answer = listed(&client, self.request()).await?;
        view.tell(&answer, "ListDeploymentsResponse", || {
            let mut lines = text::deployments(&answer.deployments);
            lines.extend(more(&answer.next_page_token));
            lines
        })
    }
}

impl RevisionsArgs {
    /// Lists the revisions of a deployment.
    pub async fn run(&self, view: &mut View<'_>) -> Result<(), Failure> {
        let client = self.client.connection.connect().await?;
        let mut request = self.request();
        let is_one = request.page_size != 0;
        let mut all = Vec::new();
        let next_page_token = loop {
            let page = client.deployments().list_revisions(timed(request.clone(), None)).await;
            let page = page.map_err(|status| refused(&status))?.into_inner();
            all.extend(page.revisions);
            if is_one || page.next_page_token.is_empty() {
                break page.next_page_token;
            }
            request.page_token = page.next_page_token;
        };
        let answer = proto::ListRevisionsResponse { revisions: all, next_page_token };
        view.tell(&answer, "ListRevisionsResponse", || {
            let mut lines = text::revisions(&answer.revisions);
            lines.extend(more(&answer.next_page_token));
            lines
        })
    }
}

impl WatchArgs {
    /// Watches one deployment, or all.
    pub async fn run(&self, view: &mut View<'_>) -> Result<(), Failure> {
        let client = self.client.connection.connect().await?;
        let until = self.timeout.map(|timeout| Instant::now() + timeout.0);
        let watching = async {
            if self.name.is_some() { self.one(&client, view).await } else { self.all(&client, view).await }
        };
        let up = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = ctrl_c() => Err(Failure { code: INTERRUPTED, text: "interrupted: the watch has ended\n".to_owned() }),
            () = up => Err(Failure::new(TIMED_OUT, "the watch has ended before what it waited for")),
            ended = watching => ended,
        }
    }

    async fn one(&self, client: &Client, view: &mut View<'_>) -> Result<(), Failure> {
        let opened = client.deployments().watch_deployment(Request::new(self.request())).await;
        let mut stream = opened.map_err(|status| refused(&status))?.into_inner();
        let mut last = proto::Deployment::default();
        loop {
            let next = stream.message().await.map_err(|status| refused(&status))?;
            let Some(message) = next else {
                return Err(Failure::new(UNREACHABLE, "the adapter has ended the watch; watch again"));
            };
            if !view.is_text() {
                view.tell(&message, "WatchDeploymentResponse", Vec::new)?;
            }
            match message.event {
                Some(Event::Snapshot(deployment)) => {
                    view.show(&deployment)?;
                    last = deployment;
                }
                Some(Event::Complete(complete)) => return ended(complete.reason(), &last),
                Some(Event::Heartbeat(_)) | None => {}
            }
        }
    }

    /// Looks at all deployments again and again.
    async fn all(&self, client: &Client, view: &mut View<'_>) -> Result<(), Failure> {
        let request = proto::ListDeploymentsRequest {
            namespace: self.namespace.clone(),
            view: self.view.unwrap_or_default(),
            ..Default::default()
        };
        let mut clock = tokio::time::interval(INTERVAL);
        loop {
            clock.tick().await;
            let answer = listed(client, request.clone()).await?;
            if view.is_text() {
                view.show_all(&answer.deployments)?;
            } else {
                view.tell(&answer, "ListDeploymentsResponse", Vec::new)?;
            }
        }
    }
}

/// Why a watch has ended, as the end of the command.
fn ended(reason: proto::WatchCompleteReason, last: &proto::Deployment) -> Result<(), Failure> {
    use proto::WatchCompleteReason as Reason;
    let told = said::<Reason>(reason.into());
    match reason {
        Reason::Ready | Reason::Gone => Ok(()),
        Reason::Settled => end(last, proto::WatchUntil::Settled),
        Reason::Deadline => Err(Failure::new(TIMED_OUT, "the watch has ended before what it waited for")),
        Reason::ServerShutdown => {
            Err(Failure::new(UNREACHABLE, format!("the adapter has ended the watch; watch again [{told}]")))
        }
        Reason::AuthorizationLost | Reason::SlowClient | Reason::Unspecified => {
            Err(Failure::new(REFUSED, format!("the adapter has ended the watch [{told}]")))
        }
    }
}
