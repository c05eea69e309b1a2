//! Waits with a view of what is waited for; Ctrl-C ends a wait and never the operation.

use std::io::Write;
use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;
use tonic::Status;

use super::calling::{Call, ctrl_c, limit, within};
use super::connection::Client;
use super::failure::{Failure, INTERRUPTED, TIMED_OUT};
use super::findings::Texts;
use super::resting::{Begun, Later, interrupted};
use super::sight::{Seen, Sight};
use super::unanswered;
use super::view::View;
use crate::cli::PROGRAM;
use panamax_kubernetes_adapter_client as proto;

/// What is true of every call that only checks, whatever became of it.
const CHECKED: &str = "it was only to be checked, so nothing is changed";

/// What a wait is for.
pub struct Wait<'c> {
    /// The adapter.
    pub client: &'c Client,
    /// The namespace as the request has it.
    pub namespace: String,
    /// The deployment, if its name is known.
    pub name: Option<String>,
    /// How long to wait; `None`: for the answer alone.
    pub patience: Option<Duration>,
    /// Whether the call changes anything: one that only checks leaves nothing that could go on.
    pub changes: bool,
    /// What the deployment has to come to.
    pub until: proto::WatchUntil,
}

/// What a call has come to.
pub enum Waited<'c, R> {
    /// Its answer.
    Answered(R),
    /// It has taken as long as one call may, and what it waits for may still come about.
    GoesOn(Box<Later<'c>>),
}

impl<'c> Wait<'c> {
    /// Waits for the answer of a call, and shows the deployment meanwhile.
    pub async fn on<R>(
        &self,
        call: Call<R>,
        view: &mut View<'_>,
        err: &mut dyn Write,
        texts: &Texts<'_>,
    ) -> Result<Waited<'c, R>, Failed> {
        let began = Instant::now();
        let mut call = pin!(within(limit(self.patience), call));
        let name = self.name.as_deref().unwrap_or_default();
        let mut sight = Sight::new(self.client, &self.namespace, name);
        let mut progress = Progress::default();
        let mut stopped = pin!(ctrl_c());
        loop {
            tokio::select! {
                biased;
                () = &mut stopped => return Err(self.interrupted(progress.is_taken).into()),
                answered = &mut call => match answered {
                    Ok(response) => return Ok(Waited::Answered(response)),
                    Err(status) => {
                        view.clear()?;
                        let until = self.patience.map(|patience| began + patience);
                        let until = until.filter(|until| *until > Instant::now() && !name.is_empty());
                        return match until.zip(Begun::of(&status)) {
                            Some((until, begun)) => Ok(Waited::GoesOn(self.later(sight, until, begun))),
                            None => Err(self.refused(status, texts).await),
                        };
                    }
                },
                seen = sight.next(), if self.patience.is_some() && !name.is_empty() => match seen {
                    Seen::Snapshot(deployment) => {
                        progress.see(&deployment);
                        view.show(&deployment)?;
                    }
                    // The call waits all the same.
                    Seen::Refused(status) if view.is_text() => {
                        let why = Failure::call(&status, texts).text.replacen("error: ", "warning: ", 1);
                        let text = format!("{why}hint: the wait goes on, and shows nothing meanwhile\n");
                        err.write_all(text.as_bytes()).map_err(|error| Failure::output(&error))?;
                    }
                    Seen::Refused(_) | Seen::Complete | Seen::Gone => {}
                }
            }
        }
    }

    fn later(&self, sight: Sight<'c>, until: Instant, begun: Begun) -> Box<Later<'c>> {
        Box::new(Later {
            client: self.client,
            name: self.name.clone().unwrap_or_default(),
            sight,
            aim: self.until,
            until,
            begun,
            advice: self.advice(),
        })
    }

    async fn refused(&self, status: Status, texts: &Texts<'_>) -> Failed {
        let told = self.client.refused(&status, texts, limit(self.patience)).await;
        let unanswered::Told { mut failure, is_open } = told;
        if !self.changes && (is_open || failure.code == TIMED_OUT) {
            failure.text.push_str(&format!("hint: {CHECKED}; ask again\n"));
        } else if is_open {
            failure.text.push_str(&format!("hint: the operation may go on; {}\n", self.advice()));
        } else if failure.code == TIMED_OUT {
            failure.text.push_str(&format!("hint: {}\n", self.advice()));
        }
        Failed { failure, status: Some(status) }
    }

    /// Says whether the operation goes on, as far as that is known, and how to see what becomes of it.
    fn interrupted(&self, is_taken: bool) -> Failure {
        if !self.changes {
            let text = format!("interrupted: {CHECKED}\n");
            return Failure { code: INTERRUPTED, text };
        }
        let goes = if is_taken { "goes on" } else { "may go on" };
        interrupted(goes, &self.advice())
    }

    fn advice(&self) -> String {
        let namespace =
            if self.namespace.is_empty() { String::new() } else { format!(" -n {}", self.namespace) };
        let flags = &self.client.flags;
        match &self.name {
            Some(name) => format!("see what becomes of it with `{PROGRAM} watch {name}{namespace}{flags}`"),
            None => format!("see what becomes of it with `{PROGRAM} list{namespace}{flags}`"),
        }
    }
}

/// What is known of an operation before its answer.
#[derive(Default)]
struct Progress {
    /// Revision and time of the last change, as they were when the deployment was first seen.
    before: Option<(i32, Option<prost_types::Timestamp>)>,
    /// Whether the adapter has taken the request: something has begun since then.
    is_taken: bool,
}

impl Progress {
    fn see(&mut self, deployment: &proto::Deployment) {
        let now = (deployment.revision, deployment.update_time);
        // What is under way already belongs to this operation: another one would have refused it.
        let is_under_way = matches!(
            deployment.state(),
            proto::DeploymentState::Deploying | proto::DeploymentState::Deleting
        );
        self.is_taken |= is_under_way || self.before.is_some_and(|before| before != now);
        self.before.get_or_insert(now);
    }
}

/// A failed call, with its status if somebody has answered.
pub struct Failed {
    /// What is told.
    pub failure: Failure,
    /// The answer.
    pub status: Option<Status>,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self { failure, status: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_goes_on_once_something_of_it_was_seen() {
        let seen = |states: &[(proto::DeploymentState, i32)]| {
            let mut progress = Progress::default();
            for (state, revision) in states {
                let state = (*state).into();
                progress.see(&proto::Deployment { state, revision: *revision, ..Default::default() });
            }
            progress.is_taken
        };
        use proto::DeploymentState::{Active, Deleting, Deploying};
        assert!(!seen(&[]) && !seen(&[(Active, 1)]) && !seen(&[(Active, 1), (Active, 1)]));
        assert!(seen(&[(Deploying, 1)]) && seen(&[(Active, 1), (Deleting, 1)]));
        assert!(seen(&[(Active, 1), (Active, 2)]));
    }
}
