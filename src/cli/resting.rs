//! What is left of a wait when one call has taken as long as it may: the deployment is watched until it comes to rest.

use std::pin::pin;

use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::calling::{LOOKING, ctrl_c, limited, within};
use super::connection::Client;
use super::failure::{Failure, INTERRUPTED, REFUSED, TIMED_OUT, fact, reason};
use super::findings::Texts;
use super::flags::spoken;
use super::sight::{Seen, Sight};
use super::view::View;
use super::words::said;
use panamax_kubernetes_adapter_client as proto;

/// What was seen of a deployment that came to what was waited for after the call's own end.
pub struct Ended {
    /// The deployment as it is now; `None`: it is gone.
    pub deployment: Option<proto::Deployment>,
    /// How the Deploy or Rollback ended, as far as its call has told it.
    pub outcome: proto::DeployOutcome,
}

/// What is left of a wait.
pub struct Later<'c> {
    /// The adapter.
    pub client: &'c Client,
    /// The deployment.
    pub name: String,
    /// The watch of it.
    pub sight: Sight<'c>,
    /// What it has to come to.
    pub aim: proto::WatchUntil,
    /// When the patience ends.
    pub until: Instant,
    /// What the call has said of the change.
    pub begun: Begun,
    /// How to see what becomes of it.
    pub advice: String,
}

/// What the answer of a call whose wait has ended says of the change.
pub struct Begun {
    /// The revision that it made.
    revision: Option<i32>,
    /// Whether the revision before is put back if it fails.
    rolls_back: bool,
    outcome: proto::DeployOutcome,
}

impl Begun {
    /// What is told where what was waited for may still come about.
    pub fn of(status: &Status) -> Option<Self> {
        if reason(status) != "WAIT_TIMEOUT"
            || fact(status, "goes_on").is_some_and(|goes_on| goes_on != "true")
        {
            return None;
        }
        let outcome = fact(status, "outcome").map(|word| format!("DEPLOY_OUTCOME_{word}"));
        let outcome = outcome.and_then(|word| proto::DeployOutcome::from_str_name(&word));
        Some(Self {
            revision: fact(status, "revision").and_then(|number| number.parse().ok()),
            rolls_back: fact(status, "rolls_back_to").is_some(),
            outcome: outcome.unwrap_or_default(),
        })
    }

    /// Whether another revision than the one that was made is in force.
    fn is_other(&self, deployment: &proto::Deployment) -> bool {
        self.revision.is_some_and(|revision| revision != deployment.revision)
    }
}

impl Later<'_> {
    /// Watches for what is left of the patience.
    pub async fn rest(mut self, view: &mut View<'_>) -> Result<Ended, Failure> {
        let mut last = proto::Deployment::default();
        // Whether ours has failed, and the revision before is to be put back.
        let mut comes_back = false;
        self.sight.watch_until(self.aim);
        let mut stopped = pin!(ctrl_c());
        loop {
            let seen = tokio::select! {
                biased;
                () = &mut stopped => return Err(interrupted("goes on", &self.advice)),
                () = sleep_until(self.until) => {
                    view.clear()?;
                    return Err(if comes_back { came_to(&last) } else { self.out_of_time(&last) });
                }
                seen = self.sight.next() => seen,
            };
            match seen {
                Seen::Snapshot(deployment) => {
                    view.show(&deployment)?;
                    last = *deployment;
                    if !(comes_back && self.begun.is_other(&last) && is_at_rest(&last)) {
                        continue;
                    }
                }
                // Who puts it back begins in a moment.
                Seen::Complete
                    if self.begun.rolls_back && !self.begun.is_other(&last) && !is_ready(&last) =>
                {
                    comes_back = true;
                    self.sight.watch_until(proto::WatchUntil::Forever);
                    continue;
                }
                Seen::Complete => {}
                Seen::Gone => {
                    view.clear()?;
                    return self.gone();
                }
                Seen::Refused(status) => {
                    view.clear()?;
                    let text = Failure::call(&status, &Texts::default()).text;
                    let hint =
                        format!("hint: the wait has ended, and the operation goes on; {}\n", self.advice);
                    return Err(Failure { code: TIMED_OUT, text: text + &hint });
                }
            }
            view.clear()?;
            return self.at_rest(last).await;
        }
    }

    /// The end of a wait for a deployment that has gone.
    fn gone(&self) -> Result<Ended, Failure> {
        match self.aim {
            proto::WatchUntil::Gone => Ok(Ended { deployment: None, outcome: self.begun.outcome }),
            _ => Err(went(&self.name)),
        }
    }

    /// The end of a wait for a deployment that has come to rest. One that another operation has changed meanwhile counts as it
    /// is, as in a call; what was put back is not what was asked for.
    async fn at_rest(&self, last: proto::Deployment) -> Result<Ended, Failure> {
        let mut deployments = self.client.deployments();
        if self.begun.is_other(&last) {
            let request = proto::ListRevisionsRequest {
                namespace: last.namespace.clone(),
                name: last.name.clone(),
                ..Default::default()
            };
            let listed = within(LOOKING, deployments.list_revisions(limited(request, LOOKING))).await;
            let revisions = listed.map(|listed| listed.revisions).unwrap_or_default();
            let ours = revisions.iter().find(|one| Some(one.number) == self.begun.revision);
            if let Some(ours) = ours.filter(|ours| ours.result() == proto::RevisionResult::RolledBack) {
                let back =
                    revisions.iter().find_map(|one| one.rollback_of.filter(|_| one.number > ours.number));
                let back = back.map(|number| format!(" to revision {number}")).unwrap_or_default();
                let text = format!(
                    "the update failed and was rolled back{back}: {} [APPLY_INCOMPLETE]",
                    spoken(&ours.message)
                );
                return Err(Failure::new(REFUSED, text));
            }
        }
        if !is_ready(&last) {
            return Err(came_to(&last));
        }
        let request = proto::GetDeploymentRequest {
            namespace: last.namespace.clone(),
            name: last.name.clone(),
            ..Default::default()
        };
        let now = within(LOOKING, deployments.get_deployment(limited(request, LOOKING))).await;
        let deployment = now.ok().and_then(|now| now.deployment).unwrap_or(last);
        Ok(Ended { deployment: Some(deployment), outcome: self.begun.outcome })
    }

    /// What is told at the end of the patience: the same as by a call that has ended with it.
    fn out_of_time(&self, last: &proto::Deployment) -> Failure {
        let (state, rest) = match self.aim {
            proto::WatchUntil::Gone => ("gone", "the teardown goes on"),
            _ => ("ready", "everything is written and the start goes on"),
        };
        let why =
            if last.message.is_empty() { String::new() } else { format!(" ({})", spoken(&last.message)) };
        let text = format!(
            "deployment {} is not {state} yet{why}; {rest} [WAIT_TIMEOUT]\nhint: {}",
            self.name, self.advice
        );
        Failure::new(TIMED_OUT, text)
    }
}

/// What goes on after Ctrl-C, as far as that is known, and how to see what becomes of it.
pub fn interrupted(goes: &str, advice: &str) -> Failure {
    let text = format!("interrupted: the wait has ended, and the operation {goes}; {advice}\n");
    Failure { code: INTERRUPTED, text }
}

/// A deployment that went while something else was waited for.
pub fn went(name: &str) -> Failure {
    Failure::new(REFUSED, format!("{name} is gone, and came to nothing that was waited for"))
}

fn is_well(deployment: &proto::Deployment) -> bool {
    matches!(deployment.state(), proto::DeploymentState::Active | proto::DeploymentState::Stopped)
}

/// Whether every component is ready: what the cluster refuses to delete beside them ends no wait in failure.
fn is_ready(deployment: &proto::Deployment) -> bool {
    let is_left = deployment.state() == proto::DeploymentState::Degraded
        && deployment.reason() == proto::ComponentReason::ApplyIncomplete;
    let are_ready = |one: &proto::Component| {
        matches!(one.state(), proto::ComponentState::Ready | proto::ComponentState::Stopped)
    };
    is_well(deployment) || is_left && deployment.components.iter().all(are_ready)
}

fn is_at_rest(deployment: &proto::Deployment) -> bool {
    let fails =
        matches!(deployment.state(), proto::DeploymentState::Failed | proto::DeploymentState::Degraded);
    fails || is_well(deployment)
}

/// Whether a deployment that came to rest came to what was waited for.
pub fn end(last: &proto::Deployment, until: proto::WatchUntil) -> Result<(), Failure> {
    if until == proto::WatchUntil::Gone || is_well(last) { Ok(()) } else { Err(came_to(last)) }
}

/// A deployment that came to rest as something else than was waited for.
fn came_to(last: &proto::Deployment) -> Failure {
    let state = said::<proto::DeploymentState>(last.state);
    Failure::new(REFUSED, format!("{} came to rest as {state}: {}", last.name, spoken(&last.message)))
}
