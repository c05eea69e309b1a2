//! Carries out the commands that only look.

use std::time::Duration;

use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::calling::{LOOKING, ctrl_c, limited, within};
use super::connection::Client;
use super::failure::{Failure, INTERRUPTED, REFUSED, TIMED_OUT, UNREACHABLE};
use super::findings::Texts;
use super::reads::{GetArgs, ListArgs, RevisionsArgs, WatchArgs};
use super::resting::{end, went};
use super::text;
use super::view::View;
use super::words::said;
use panamax_kubernetes_adapter_client as proto;
use panamax_kubernetes_adapter_client::watch_deployment_response::Event;

/// How often all deployments are looked at: a watch shows one.
const INTERVAL: Duration = Duration::from_secs(2);

/// What stands for all namespaces.
const ALL: &str = "-";

/// The answer of a call that only looks.
async fn looked<R>(
    client: &Client,
    call: impl Future<Output = Result<Response<R>, Status>>,
) -> Result<R, Failure> {
    match within(LOOKING, call).await {
        Ok(answer) => Ok(answer),
        Err(status) => Err(client.refused(&status, &Texts::default(), LOOKING).await.failure),
    }
}

impl GetArgs {
    /// Shows one deployment.
    pub async fn run(&self, view: &mut View<'_>) -> Result<(), Failure> {
        let client = self.client.connection.connect().await?;
        let mut deployments = client.deployments();
        let answer = looked(&client, deployments.get_deployment(limited(self.request(), LOOKING))).await?;
        view.tell(&answer, "GetDeploymentResponse", || {
            let deployment = answer.deployment.clone().unwrap_or_default();
            text::whole(&deployment)
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
    let mut deployments = client.deployments();
    loop {
        let page = looked(client, deployments.list_deployments(limited(request.clone(), LOOKING))).await?;
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
            let found = &answer.deployments;
            let mut lines = match (found.as_slice(), more(&answer.next_page_token)) {
                // This page has none in the states that were asked for.
                ([], Some(_)) => Vec::new(),
                (found, _) if self.is_full() => found.iter().flat_map(text::whole).collect(),
                (found, _) => text::deployments(found),
            };
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
        let mut deployments = client.deployments();
        let next_page_token = loop {
            let page = looked(&client, deployments.list_revisions(limited(request.clone(), LOOKING))).await?;
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
            () = up => self.out_of_time(),
            ended = watching => ended,
        }
    }

    /// What the end of the time is: whoever waits for nothing has seen what there was to see.
    fn out_of_time(&self) -> Result<(), Failure> {
        let text = "the watch has ended before what it waited for";
        if self.is_wait() { Err(Failure::new(TIMED_OUT, text)) } else { Ok(()) }
    }

    /// Why a watch has ended, as the end of the command.
    fn ended(&self, reason: proto::WatchCompleteReason, last: &proto::Deployment) -> Result<(), Failure> {
        use proto::WatchCompleteReason as Reason;
        let told = said::<Reason>(reason.into());
        match reason {
            // What is gone comes to nothing else any more.
            Reason::Gone if self.is_wait() && !self.is_for(proto::WatchUntil::Gone) => {
                let name = self.name.as_deref().unwrap_or_default();
                Err(went(name))
            }
            Reason::Ready | Reason::Gone => Ok(()),
            Reason::Settled => end(last, proto::WatchUntil::Settled),
            Reason::Deadline => Err(Failure::new(TIMED_OUT, "the watch has ended before what it waited for")),
            // One that has no name here yet means to watch again, too.
            Reason::ServerShutdown | Reason::Unspecified => Err(Failure::new(
                UNREACHABLE,
                format!("the adapter has ended the watch; watch again [{told}]"),
            )),
            Reason::AuthorizationLost | Reason::SlowClient => {
                Err(Failure::new(REFUSED, format!("the adapter has ended the watch [{told}]")))
            }
        }
    }

    async fn one(&self, client: &Client, view: &mut View<'_>) -> Result<(), Failure> {
        let silence = self.heartbeat() + LOOKING;
        let mut deployments = client.deployments();
        let opened = within(silence, deployments.watch_deployment(Request::new(self.request()))).await;
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(status) => return Err(client.refused(&status, &Texts::default(), silence).await.failure),
        };
        let mut last = proto::Deployment::default();
        loop {
            // Where nothing changes, the adapter says so.
            let next = within(silence, async { stream.message().await.map(Response::new) });
            let message = match next.await {
                Ok(Some(message)) => message,
                Ok(None) => {
                    return Err(Failure::new(UNREACHABLE, "the adapter has ended the watch; watch again"));
                }
                Err(status) => {
                    return Err(client.refused(&status, &Texts::default(), silence).await.failure);
                }
            };
            if !view.is_text() {
                view.tell(&message, "WatchDeploymentResponse", Vec::new)?;
            }
            match message.event {
                Some(Event::Snapshot(deployment)) => {
                    view.show(&deployment)?;
                    last = deployment;
                }
                Some(Event::Complete(complete)) => {
                    let reason = complete.reason();
                    if reason == proto::WatchCompleteReason::Gone && view.is_text() {
                        view.say(&["gone".to_owned()])?;
                    }
                    return self.ended(reason, &last);
                }
                Some(Event::Heartbeat(_)) | None => {}
            }
            if view.is_left() && !self.is_wait() {
                return Ok(());
            }
        }
    }

    /// Looks at all deployments again and again.
    async fn all(&self, client: &Client, view: &mut View<'_>) -> Result<(), Failure> {
        let request = self.list();
        let mut clock = tokio::time::interval(INTERVAL);
        loop {
            clock.tick().await;
            let answer = listed(client, request.clone()).await?;
            if view.is_text() {
                view.show_all(&answer.deployments, request.namespace == ALL)?;
            } else {
                view.tell(&answer, "ListDeploymentsResponse", Vec::new)?;
            }
            if view.is_left() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Command, Commands};

    fn watch(line: &str) -> WatchArgs {
        let told = Commands::try_parse_from(line.split(' ')).unwrap();
        let Command::Watch(asked) = told.command else { panic!("{line} is no watch") };
        asked
    }

    #[test]
    fn what_is_gone_is_what_was_waited_for_or_not() {
        let ends = |line: &str| {
            let ended = watch(line).ended(proto::WatchCompleteReason::Gone, &proto::Deployment::default());
            ended.map_err(|failure| failure.code)
        };
        for line in ["p watch wp", "p watch wp --until forever", "p watch wp --until gone"] {
            assert_eq!(ends(line), Ok(()), "{line}");
        }
        for line in ["p watch wp --until ready", "p watch wp --until settled"] {
            assert_eq!(ends(line), Err(REFUSED), "{line}");
        }
    }

    #[test]
    fn a_watch_that_waits_for_nothing_ends_well() {
        let ends = |line: &str| watch(line).out_of_time().map_err(|failure| failure.code);
        for line in ["p watch", "p watch wp", "p watch wp --until forever"] {
            assert_eq!(ends(line), Ok(()), "{line}");
        }
        for line in ["p watch wp --until ready", "p watch wp --until settled", "p watch wp --until gone"] {
            assert_eq!(ends(line), Err(TIMED_OUT), "{line}");
        }
    }
}
