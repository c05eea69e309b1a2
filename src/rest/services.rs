//! Services: what the agents create, look at and delete, by the operations of every edge.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};
use tracing::error;

use super::answers::Refusal;
use super::asked::What;
use super::ids::{self, Id};
use super::{body, words};
use crate::artifacts::{ComponentName, DeploymentName, Namespace};
use crate::callers::Deed;
use crate::error::{Error, ErrorKind, Result};
use crate::operations::{
    DeployCall, DeploymentView, Faults, ListCall, Names, Operations, Options, Outcome, Source, Target,
    TeardownCall, VolumePolicy, answered_by, in_time,
};

/// How long a POST and a DELETE may take: the Ruby agent gives up after a minute.
const PATIENCE: Duration = Duration::from_secs(50);
/// How long is waited before the next try, where nobody says how long.
const AGAIN: Duration = Duration::from_secs(1);
/// Deployments of a page.
const PAGE: u32 = 500;

/// What an agent is told, or why it is refused.
type Answered<T> = std::result::Result<T, Refusal>;

/// The services of one namespace, on behalf of one caller.
pub(super) struct Services {
    operations: Operations,
    namespace: String,
}

impl Services {
    pub(super) fn new(operations: Operations, namespace: &str) -> Self {
        Self { operations, namespace: namespace.to_owned() }
    }

    /// Answers what may change something, and has that told in the audit: once for each request, however often something
    /// is tried.
    pub(super) async fn audited<T>(
        &self,
        what: &What,
        answer: impl Future<Output = Answered<T>>,
    ) -> Answered<T> {
        let (deed, id) = match what {
            What::Create => (Deed::Deploy, None),
            What::Delete(id) => (Deed::Teardown, Id::read(id)),
            What::List
            | What::Get(_)
            | What::Update
            | What::Metadata
            | What::Health
            | What::Method(_)
            | What::Unknown => return answer.await,
        };
        let names = Names {
            deed,
            namespace: self.namespace.clone(),
            name: id.map(|id| id.deployment.to_string()).unwrap_or_default(),
            request_id: String::new(),
            validate_only: false,
        };
        self.operations.audited(names, Refusal::word, answer).await
    }

    /// When a call must be answered: the old agents set no deadline.
    fn usual_deadline(&self) -> Instant {
        answered_by(None, None, &self.operations.settings().requests)
    }

    /// Deploys a list of services that are not there; of those that are there exactly so, it tells what it would have
    /// told then. What is there otherwise is not touched.
    pub(super) async fn create(&self, body: &[u8]) -> Answered<Vec<Value>> {
        let deadline = Instant::now() + PATIENCE;
        // 1. What is to be there, and under which name.
        let text = body::text(body)?;
        let namespace = self.namespace()?;
        let source = Source::Text(text.clone());
        let mut call = DeployCall::new(namespace, None, source, Options::default(), deadline);
        call.template.limits = self.operations.settings().requests.of_templates();
        let components = Operations::components(&call)?;
        let name = ids::deployment(&components)
            .ok_or_else(|| Error::internal("a template that can be deployed has no component"))?;
        let entries = |view: &DeploymentView| words::entries_of(&components, view);
        let call = named(call, &name);
        loop {
            // 2. A first Deploy and nothing else: of two that come at once, one is the first.
            let first = self.operations.deploy(first(&call)).await;
            let error = match first {
                Ok(deployed) => return Ok(deployed.deployment.iter().flat_map(entries).collect()),
                Err(error) => error,
            };
            // 3. What is there already is either this very thing, or another.
            let error = match error.kind() {
                ErrorKind::EtagMismatch => match self.there(&call, (&text, &components)).await {
                    Ok(Some(view)) => return Ok(entries(&view)),
                    Ok(None) => {
                        return Err(Refusal::deployed_otherwise(name.as_str(), call.namespace.as_str()));
                    }
                    Err(error) => error,
                },
                _ => error,
            };
            // 4. What goes is waited for.
            if !matches!(error.kind(), ErrorKind::OperationInProgress | ErrorKind::DeploymentNotFound) {
                return Err(error.into());
            }
            self.pause(error, deadline).await?;
        }
    }

    /// The deployment that is there, if a Deploy of this would change nothing of it.
    async fn there(
        &self,
        call: &DeployCall,
        (text, listed): (&str, &[ComponentName]),
    ) -> Result<Option<DeploymentView>> {
        let mut checks = call.clone();
        checks.choices.validate_only = true;
        let mut checked = self.operations.deploy(checks.clone()).await?;
        let there: Vec<ComponentName> = checked.deployment.iter().flat_map(components_of).collect();
        if checked.outcome == Outcome::Updated && there != listed {
            // The same services in another order are the same.
            checks.template.source = Source::Text(body::in_order(text, listed, &there));
            checked = self.operations.deploy(checks).await?;
        }
        match checked.outcome {
            Outcome::Unchanged => Ok(checked.deployment),
            Outcome::Updated => Ok(None),
            Outcome::Created => {
                let text = "the deployment has gone since it was looked at";
                Err(Error::new(ErrorKind::DeploymentNotFound, text).retry_after(AGAIN / 10))
            }
        }
    }

    /// All services that were deployed for agents, with their states as last recorded.
    pub(super) async fn list(&self) -> Answered<Vec<Value>> {
        let deadline = self.usual_deadline();
        let namespace = Some(self.namespace()?);
        let (page_token, label_selector, states) = (String::new(), String::new(), Vec::new());
        let mut call =
            ListCall { namespace, page_size: PAGE, page_token, label_selector, states, full: false };
        let mut entries = Vec::new();
        loop {
            let listed = in_time(deadline, self.operations.list(&call)).await?;
            let agents = listed.deployments.iter().filter(|view| ids::is_agents(view));
            entries.extend(agents.flat_map(words::entries));
            if listed.next_page_token.is_empty() {
                return Ok(entries);
            }
            call.page_token = listed.next_page_token;
        }
    }

    /// Looks at one service.
    pub(super) async fn get(&self, id: &str) -> Answered<Value> {
        let (id, target) = self.target(id)?;
        let view =
            self.look(&id, &target, self.usual_deadline()).await?.ok_or_else(Refusal::unknown_service)?;
        let component = view.status.components.iter().find(|component| component.name == id.component);
        component.map(|component| words::entry(component, &view)).ok_or_else(Refusal::unknown_service)
    }

    /// Tears down the deployment of a service: an agent deletes all services of a deployment, one after the other, and
    /// takes every answer for a yes. So what may pass is tried again for as long as there is time.
    pub(super) async fn delete(&self, id: &str) -> Answered<()> {
        let deadline = Instant::now() + PATIENCE;
        let (id, target) = self.target(id)?;
        let deleted = self.delete_until(&id, &target, deadline).await;
        if let Err(refusal) = &deleted
            && refusal.is_passing()
        {
            error!(
                namespace = %target.namespace,
                deployment = %target.name,
                "a service was not deleted, and its agent takes it for deleted: call Teardown, or let the agent deploy the \
                 same template again and delete that"
            );
        }
        deleted
    }

    async fn delete_until(&self, id: &Id, target: &Target, deadline: Instant) -> Answered<()> {
        loop {
            let error = match self.delete_now(id, target, deadline).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Refusal::unknown_service()),
                Err(error) => error,
            };
            if !may_pass(error.kind()) {
                return Err(error.into());
            }
            self.pause(error, deadline).await?;
        }
    }

    /// Says whether there was such a service; one that goes already is gone soon.
    async fn delete_now(&self, id: &Id, target: &Target, deadline: Instant) -> Result<bool> {
        let Some(view) = self.look(id, target, deadline).await? else { return Ok(false) };
        let call = TeardownCall {
            namespace: target.namespace.clone(),
            name: target.name.clone(),
            volumes: VolumePolicy::Retain,
            allow_missing: true,
            grace_seconds: None,
            wait_gone: None,
            validate_only: false,
            // What has come in its place meanwhile is not meant.
            etag: view.etag,
            request: None,
            deadline,
        };
        self.operations.teardown(call).await.map(|_| true)
    }

    /// The deployment of a service, if it is the one that the id was given out for.
    async fn look(&self, id: &Id, target: &Target, deadline: Instant) -> Result<Option<DeploymentView>> {
        match in_time(deadline, self.operations.get(target, false)).await {
            Ok(view) => Ok(Some(view).filter(|view| id.is_of(view))),
            Err(error) if error.kind() == ErrorKind::DeploymentNotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The deployment that an id names; one that was never given out leads nowhere.
    fn target(&self, id: &str) -> Answered<(Id, Target)> {
        let namespace = self.namespace()?;
        let id = Id::read(id).ok_or_else(Refusal::unknown_service)?;
        let target = Target { namespace, name: id.deployment.clone() };
        Ok((id, target))
    }

    fn namespace(&self) -> Result<Namespace> {
        let mut faults = Faults::default();
        let namespace = faults.namespace(&self.namespace, &self.operations.settings().namespace);
        faults.finish(namespace)
    }

    /// Waits as long as a failure says; fails with it if there is no time left, and at once when the server ends.
    async fn pause(&self, error: Error, deadline: Instant) -> Answered<()> {
        let until = Instant::now() + error.retry_delay().unwrap_or(AGAIN);
        if until >= deadline {
            return Err(error.into());
        }
        tokio::select! {
            biased;
            () = self.operations.shutting_down() => Err(error.into()),
            () = sleep(until.saturating_duration_since(Instant::now())) => Ok(()),
        }
    }
}

/// The components of a deployment, in the template's order.
fn components_of(view: &DeploymentView) -> Vec<ComponentName> {
    view.status.components.iter().map(|component| component.name.clone()).collect()
}

fn named(mut call: DeployCall, name: &DeploymentName) -> DeployCall {
    call.template.name = Some(name.clone());
    call
}

fn first(call: &DeployCall) -> DeployCall {
    let mut first = call.clone();
    first.choices.must_be_new = true;
    first
}

/// Whether a DELETE may succeed if it is tried again.
fn may_pass(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::OperationInProgress
            | ErrorKind::EtagMismatch
            | ErrorKind::Overloaded
            | ErrorKind::ClusterUnreachable
            | ErrorKind::ClusterThrottled
            | ErrorKind::ClusterCredentialsRejected
            | ErrorKind::ClusterTimeout
    )
}
