//! A process of the adapter in a world, and what callers ask of it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use panamax_kubernetes_adapter::artifacts::DeploymentName;
use panamax_kubernetes_adapter::error::{Error, ErrorKind};
use panamax_kubernetes_adapter::operations::{
    ConflictPolicy, DeployCall, FailurePolicy, NamedRequest, Operations, Options, Outcome, RollbackCall,
    ScaleCall, Source, Target, TeardownCall, Until, VolumePolicy, WatchUpdate,
};
use tokio::time::{Instant, sleep, timeout_at};

use super::road::Road;
use super::world::namespace;

/// How long a caller waits for one answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a caller asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    /// Deploy this template.
    Deploy(&'static str),
    /// Deploy this template, under a name of the caller's.
    Named(&'static str),
    /// Deploy this template, and take what others have written into its fields back.
    Forced(&'static str),
    /// Deploy this template, and leave what others have written into its fields.
    Yielded(&'static str),
    /// Say what a Deploy of this template would do.
    Plan(&'static str),
    /// The same, of one that takes what others have written back.
    PlanForced(&'static str),
    /// Plan this template, and deploy what was planned.
    Planned(&'static str),
    /// Deploy this template, and put the revision before back if that fails: to do so is to have done it.
    OrBack(&'static str),
    /// The same, of a template that is written whole: what waits until it is ready finds out that it fails.
    ReadyOrBack(&'static str),
    /// Deploy an earlier revision again; 0: the newest good one.
    Rollback(u32),
    /// Set the count of a component.
    Scale(&'static str, i32),
    /// Tear everything down; nothing to tear down is fine.
    Teardown,
    /// Look at the deployment.
    Get,
    /// Watch the deployment until it is ready.
    Watch,
}

impl Ask {
    /// The request in two words.
    pub fn name(&self) -> String {
        match self {
            Self::Deploy(text) | Self::Named(text) => format!("Deploy of {} bytes", text.len()),
            Self::Forced(text) => format!("forced Deploy of {} bytes", text.len()),
            Self::Yielded(text) => format!("yielding Deploy of {} bytes", text.len()),
            Self::Plan(text) | Self::PlanForced(text) => format!("plan of {} bytes", text.len()),
            Self::Planned(text) => format!("planned Deploy of {} bytes", text.len()),
            Self::ReadyOrBack(text) => format!("Deploy, ready or back, of {} bytes", text.len()),
            Self::OrBack(text) => format!("Deploy or back of {} bytes", text.len()),
            Self::Scale(component, count) => format!("Scale {component} to {count}"),
            Self::Rollback(_) | Self::Teardown | Self::Get | Self::Watch => format!("{self:?}"),
        }
    }

    /// The template that is asked for; empty where none is.
    pub fn template(&self) -> &'static str {
        match self {
            Self::Deploy(text) | Self::Named(text) | Self::Forced(text) | Self::Yielded(text) => text,
            Self::Plan(text) | Self::PlanForced(text) | Self::Planned(text) => text,
            Self::OrBack(text) | Self::ReadyOrBack(text) => text,
            Self::Rollback(_) | Self::Scale(..) | Self::Teardown | Self::Get | Self::Watch => "",
        }
    }
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Done,
    Failed(ErrorKind, Option<Duration>),
    /// The replica died before it answered.
    Died,
    /// No answer came in all the time that there was.
    Stuck,
}

/// What a good answer says of the deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// There was none.
    Created,
    /// It was changed.
    Updated,
    /// It was so already.
    Unchanged,
    /// The template of this name stands.
    Stands(String),
}

/// A process of the adapter.
pub struct Replica {
    pub operations: Operations,
    pub road: Road,
}

fn name() -> DeploymentName {
    DeploymentName::new("shop".to_owned()).expect("a name")
}

impl Replica {
    /// Asks once.
    pub async fn ask(&self, ask: &Ask) -> Answer {
        self.ask_told(ask).await.0
    }

    /// Asks once; also returns what a good answer says of the deployment.
    pub async fn ask_told(&self, ask: &Ask) -> (Answer, Option<Told>) {
        let work = tokio::time::timeout(PATIENCE * 2, self.carry_out(ask));
        let answer = tokio::select! {
            biased;
            answered = work => match answered {
                Ok(Ok(told)) => return (Answer::Done, told),
                Ok(Err(error)) => Answer::Failed(error.kind(), error.retry_delay().filter(|_| error.kind().retryable())),
                Err(_) => Answer::Stuck,
            },
            () = self.road.died() => Answer::Died,
        };
        (answer, None)
    }

    /// Asks until there is an answer that is not meant to be asked again, as a patient client does; what was planned too
    /// early is planned anew.
    pub async fn insist(&self, ask: &Ask) -> Answer {
        let until = Instant::now() + PATIENCE * 2;
        loop {
            match self.ask(ask).await {
                Answer::Failed(ErrorKind::PlanStale, _) if Instant::now() < until => {
                    sleep(Duration::from_secs(1)).await;
                }
                Answer::Failed(_, Some(pause)) if Instant::now() + pause < until => sleep(pause).await,
                answer => return answer,
            }
        }
    }

    async fn carry_out(&self, ask: &Ask) -> Result<Option<Told>, Error> {
        let deadline = Instant::now() + PATIENCE;
        let target = Target { namespace: namespace(), name: name() };
        match ask {
            Ask::Plan(_) | Ask::PlanForced(_) => {
                self.operations.plan_deploy(deploy_call(ask, deadline)).await.map(|_| None)
            }
            Ask::Planned(_) => {
                let mut call = deploy_call(ask, deadline);
                call.choices.plan_id = self.operations.plan_deploy(call.clone()).await?.id;
                self.operations.deploy(call).await.map(|done| Some(told(done.outcome)))
            }
            Ask::Deploy(_)
            | Ask::Named(_)
            | Ask::Forced(_)
            | Ask::Yielded(_)
            | Ask::OrBack(_)
            | Ask::ReadyOrBack(_) => {
                match self.operations.deploy(deploy_call(ask, deadline)).await {
                    Err(error) if error.metadata().contains_key("rolled_back_to") => Ok(None),
                    // Everything is written; what could not be deleted is the keeper's.
                    Err(error) if error.message().contains("could not be deleted") => Ok(Some(Told::Updated)),
                    Err(error) => Err(error),
                    Ok(deployed) => Ok(Some(told(deployed.outcome))),
                }
            }
            Ask::Rollback(revision) => {
                let call = RollbackCall {
                    target,
                    revision: *revision,
                    validate_only: false,
                    etag: String::new(),
                    request: None,
                    wait_ready: None,
                    deadline,
                };
                self.operations.rollback(call).await.map(|done| Some(told(done.outcome)))
            }
            Ask::Scale(component, count) => {
                let call = ScaleCall {
                    namespace: namespace(),
                    name: name(),
                    replicas: BTreeMap::from([((*component).to_owned(), *count)]),
                    validate_only: false,
                    etag: String::new(),
                    request: None,
                    wait_ready: None,
                    deadline,
                };
                self.operations.scale(call).await.map(|_| Some(Told::Updated))
            }
            Ask::Teardown => {
                let call = TeardownCall {
                    namespace: namespace(),
                    name: name(),
                    volumes: VolumePolicy::Delete,
                    allow_missing: true,
                    grace_seconds: None,
                    wait_gone: Some(deadline),
                    validate_only: false,
                    etag: String::new(),
                    request: None,
                    deadline,
                };
                self.operations.teardown(call).await.map(|_| Some(Told::Updated))
            }
            Ask::Get => {
                let view = self.operations.get(&target, true).await?;
                // What is under way may stand or not.
                Ok(view.status.is_ready().then_some(Told::Stands(view.template_name)))
            }
            Ask::Watch => self.watch(target, deadline).await.map(|()| None),
        }
    }

    async fn watch(&self, target: Target, deadline: Instant) -> Result<(), Error> {
        let beat = Duration::from_secs(30);
        let updates = self.operations.watch(target, Until::Ready, beat, None, false).await?;
        let mut updates = Box::pin(updates);
        let ended = async {
            while let Some(update) = updates.next().await {
                if let WatchUpdate::Complete(_) = update? {
                    return Ok(());
                }
            }
            Err(Error::internal("the watch ended without a reason"))
        };
        // A watch that does not end is a fault of its own kind, not one that asks to be repeated.
        timeout_at(deadline, ended).await.unwrap_or_else(|_| Err(Error::internal("the watch does not end")))
    }

    /// Whether a look at the deployment tells that all is as it was deployed, or a Deploy of this template that nothing is
    /// to be done for it.
    pub async fn finds_nothing(&self, template: &'static str) -> bool {
        let target = Target { namespace: namespace(), name: name() };
        let view = self.operations.get(&target, false).await;
        view.is_ok_and(|view| view.status.state.is_ready())
            || self.ask_told(&Ask::Deploy(template)).await.1 == Some(Told::Unchanged)
    }

    /// Whether the deployment says that it is ready.
    pub async fn is_active(&self) -> bool {
        let target = Target { namespace: namespace(), name: name() };
        self.operations.get(&target, false).await.is_ok_and(|view| view.status.is_ready())
    }
}

fn told(outcome: Outcome) -> Told {
    match outcome {
        Outcome::Created => Told::Created,
        Outcome::Updated => Told::Updated,
        Outcome::Unchanged => Told::Unchanged,
    }
}

/// The Deploy, or the plan of one, that is asked for.
fn deploy_call(ask: &Ask, deadline: Instant) -> DeployCall {
    let (text, mut options) = (ask.template(), Options::default());
    options.conflicts = match ask {
        Ask::Forced(_) | Ask::PlanForced(_) => ConflictPolicy::Force,
        Ask::Yielded(_) => ConflictPolicy::Yield,
        _ => ConflictPolicy::Fail,
    };
    let mut call =
        DeployCall::new(namespace(), Some(name()), Source::Text(text.to_owned()), options, deadline);
    match ask {
        Ask::Named(_) => {
            let body = text.as_bytes().to_vec();
            call.choices.request = Some(NamedRequest::new("once".to_owned(), "Deploy", body));
        }
        Ask::OrBack(_) => call.choices.on_failure = FailurePolicy::Rollback,
        Ask::ReadyOrBack(_) => {
            call.choices.on_failure = FailurePolicy::Rollback;
            call.choices.waits_ready = true;
            call.wait_ready = Some(deadline - Duration::from_secs(1));
        }
        _ => {}
    }
    call
}
