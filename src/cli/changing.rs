//! Carries out the commands that change something: one call each, and a wait with a view.

use std::path::Path;

use prost::Message;
use tonic::Status;

use super::connection::Client;
use super::failure::{Failure, REFUSED, both, reason};
use super::findings::{self, Texts};
use super::offline::{self, validation};
use super::requests::{DeployArgs, RollbackArgs, ScaleArgs, TargetArgs, TeardownArgs, TermsArgs};
use super::source::Source;
use super::text;
use super::view::View;
use super::waiting::{Failed, LONGEST_CALL, LOOKING, Wait, Waited, limited, timed, within};
use super::words::said;
use crate::template::raw;
use crate::translate;
use panamax_kubernetes_adapter_client as proto;

/// The deployment's name: the one that is asked for, or the one that an adapter makes from the template's.
fn name(args: &DeployArgs, source: &Source) -> Option<String> {
    args.around.name.clone().or_else(|| {
        let template = raw::read(&source.text).template?;
        translate::slug(&template.name).map(|name| name.as_str().to_owned())
    })
}

/// A refusal of a template, with all that an adapter finds in it: a refusal holds the first errors alone.
async fn explained(client: &Client, args: &DeployArgs, source: &Source, failed: Failed) -> Failure {
    let is_template = |status: &Status| reason(status) == "TEMPLATE_INVALID";
    if !failed.status.as_ref().is_some_and(is_template) {
        return failed.failure;
    }
    let mut templates = client.templates();
    let call = templates.validate_template(limited(validation(source, &args.around), LOOKING));
    match within(LOOKING, call).await {
        Ok(answer) if !answer.valid => {
            let found = source.all(answer.diagnostics);
            let shown = source.texts().show_all(&found);
            let text = format!("{shown}{}: refused, {}\n", source.name(), findings::count(&found));
            Failure { code: REFUSED, text }
        }
        _ => failed.failure,
    }
}

/// Lines about what was done, then the deployment.
fn told(
    verb: &str,
    changes: &[proto::ObjectChange],
    warnings: &[String],
    deployment: Option<&proto::Deployment>,
) -> Vec<String> {
    let mut lines = vec![verb.to_owned()];
    lines.extend(text::changes(changes, false));
    lines.extend(text::warnings(warnings));
    if let Some(deployment) = deployment {
        lines.extend(text::deployment(deployment));
        lines.extend(text::details(deployment));
    }
    lines
}

/// What is said of an outcome.
fn verb(outcome: i32, validate_only: bool) -> String {
    checked(&said::<proto::DeployOutcome>(outcome).to_lowercase(), validate_only)
}

/// A verb; where nothing is changed, that it was only checked.
fn checked(verb: &str, validate_only: bool) -> String {
    if validate_only { format!("{verb} (checked only; nothing is written)") } else { verb.to_owned() }
}

impl DeployArgs {
    /// Deploys, and waits unless that is not wanted.
    pub async fn deploy(&self, view: &mut View<'_>, err: &mut dyn std::io::Write) -> Result<(), Failure> {
        let (source, ready) = both(self.source(), self.client.connection.ready())?;
        let client = ready.connect().await?;
        let request = self.request(&source);
        let wait = Wait {
            client: &client,
            namespace: request.namespace.clone(),
            name: name(self, &source),
            patience: self.patience(),
            changes: !self.terms.validate_only,
            until: proto::WatchUntil::Settled,
            // What was taken back is at rest, too, and not what was asked for.
            goes_on: !self.around.options.rolls_back(),
        };
        let mut deployments = client.deployments();
        let request = timed(request, self.patience());
        let call = Box::pin(async move { deployments.deploy(request).await });
        let answer = match wait.on(call, view, &source.texts()).await {
            Ok(Waited::Answered(answer)) => answer,
            Ok(Waited::Seen) => return view.say(&["it is at rest".to_owned()]),
            Err(failed) => return Err(explained(&client, self, &source, failed).await),
        };
        tell_findings(err, &source.texts(), &source.all(answer.diagnostics.clone()))?;
        view.tell(&answer, "DeployResponse", || {
            let verb = verb(answer.outcome, self.terms.validate_only);
            told(&verb, &answer.changes, &answer.warnings, answer.deployment.as_ref())
        })
    }

    /// Tells what a Deploy would do.
    pub async fn plan_it(&self, view: &mut View<'_>, err: &mut dyn std::io::Write) -> Result<(), Failure> {
        let (source, ready) = both(self.source(), self.client.connection.ready())?;
        let client = ready.connect().await?;
        let mut deployments = client.deployments();
        let call = deployments.plan_deploy(limited(self.plan(&source), LONGEST_CALL));
        let answer = match within(LONGEST_CALL, call).await {
            Ok(answer) => answer,
            Err(status) => {
                let failure = client.refused(&status, &source.texts(), LONGEST_CALL).await.failure;
                let failed = Failed { failure, status: Some(status) };
                return Err(explained(&client, self, &source, failed).await);
            }
        };
        tell_findings(err, &source.texts(), &source.all(answer.diagnostics.clone()))?;
        view.tell(&answer, "PlanDeployResponse", || {
            let mut lines = vec!["a Deploy would".to_owned()];
            lines.extend(text::changes(&answer.changes, true));
            lines.extend(text::warnings(&answer.warnings));
            lines.push(format!("plan {}: deploy with --plan-id to carry out this one alone", answer.plan_id));
            lines
        })
    }

    fn source(&self) -> Result<Source, Failure> {
        let source = Source::read(Path::new(&self.file), &self.around)?;
        match source.is_refused() {
            // The adapter would see the fields alone, and nothing of what they were read from.
            true => Err(offline::refused(&source, &self.around).unwrap_or_else(|| source.refusal())),
            false => Ok(source),
        }
    }
}

/// Writes what was found in a template to standard error.
fn tell_findings(
    err: &mut dyn std::io::Write,
    texts: &Texts<'_>,
    found: &[proto::Diagnostic],
) -> Result<(), Failure> {
    err.write_all(texts.show_all(found).as_bytes()).map_err(|error| Failure::output(&error))
}

/// A wait for one deployment to come to rest.
fn wait<'c>(
    client: &'c Client,
    target: &TargetArgs,
    terms: &TermsArgs,
    patience: Option<std::time::Duration>,
) -> Wait<'c> {
    Wait {
        client,
        namespace: target.namespace(),
        name: Some(target.name.clone()),
        patience,
        changes: !terms.validate_only,
        until: proto::WatchUntil::Settled,
        goes_on: true,
    }
}

/// Tells an answer, or that what was waited for was seen.
fn answered<R: Message>(
    waited: Result<Waited<R>, Failed>,
    name: &str,
    view: &mut View<'_>,
    lines: impl FnOnce(&R) -> Vec<String>,
) -> Result<(), Failure> {
    match waited.map_err(|failed| failed.failure)? {
        Waited::Answered(answer) => view.tell(&answer, name, || lines(&answer)),
        Waited::Seen if view.is_text() => view.say(&["done".to_owned()]),
        Waited::Seen => Ok(()),
    }
}

impl ScaleArgs {
    /// Scales, and waits unless that is not wanted.
    pub async fn run(&self, view: &mut View<'_>, err: &mut dyn std::io::Write) -> Result<(), Failure> {
        let client = self.client.connection.connect().await?;
        let mut deployments = client.deployments();
        let request = timed(self.request(), self.patience());
        let call = Box::pin(async move { deployments.scale(request).await });
        let wait = wait(&client, &self.target, &self.terms, self.patience());
        let waited = wait.on(call, view, &Texts::default()).await;
        if let Ok(Waited::Answered(answer)) = &waited {
            let answer: &proto::ScaleResponse = answer;
            tell_findings(err, &Texts::default(), &answer.diagnostics)?;
        }
        answered(waited, "ScaleResponse", view, |answer| {
            let verb = checked("scaled", self.terms.validate_only);
            told(&verb, &answer.changes, &[], answer.deployment.as_ref())
        })
    }
}

impl RollbackArgs {
    /// Puts an earlier revision back, and waits unless that is not wanted.
    pub async fn run(&self, view: &mut View<'_>, err: &mut dyn std::io::Write) -> Result<(), Failure> {
        let client = self.client.connection.connect().await?;
        let mut deployments = client.deployments();
        let request = timed(self.request(), self.patience());
        let call = Box::pin(async move { deployments.rollback(request).await });
        let wait = wait(&client, &self.target, &self.terms, self.patience());
        let waited = wait.on(call, view, &Texts::default()).await;
        if let Ok(Waited::Answered(answer)) = &waited {
            let answer: &proto::RollbackResponse = answer;
            tell_findings(err, &Texts::default(), &answer.diagnostics)?;
        }
        answered(waited, "RollbackResponse", view, |answer| {
            let verb = verb(answer.outcome, self.terms.validate_only);
            told(&verb, &answer.changes, &answer.warnings, answer.deployment.as_ref())
        })
    }
}

impl TeardownArgs {
    /// Deletes everything that belongs to a deployment, and waits unless that is not wanted.
    pub async fn run(&self, view: &mut View<'_>) -> Result<(), Failure> {
        let client = self.client.connection.connect().await?;
        let mut deployments = client.deployments();
        let request = timed(self.request(), self.patience());
        let call = Box::pin(async move { deployments.teardown(request).await });
        let wait = wait(&client, &self.target, &self.terms, self.patience());
        let wait = Wait { until: proto::WatchUntil::Gone, ..wait };
        let waited = wait.on(call, view, &Texts::default()).await;
        let validate_only = self.terms.validate_only;
        answered(waited, "TeardownResponse", view, |answer: &proto::TeardownResponse| {
            let verb = match (validate_only, answer.complete) {
                (true, _) => "a Teardown would",
                (false, true) => "gone",
                (false, false) => "going",
            };
            let mut lines = told(verb, &answer.changes, &[], None);
            let is_kept = |change: &&proto::ObjectChange| change.action() == proto::ObjectAction::Keep;
            for change in answer.changes.iter().filter(is_kept) {
                let object = change.r#ref.clone().unwrap_or_default();
                lines.push(format!(
                    "  kept: {} {}, which the deployment has not created",
                    object.kind, object.name
                ));
            }
            let kept =
                answer.retained.iter().map(|object| format!("  kept: {} {}", object.kind, object.name));
            lines.extend(kept);
            lines.extend(text::blocked(&answer.blocked));
            lines
        })
    }
}
