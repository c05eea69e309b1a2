//! Carries out the commands that change something: one call each, and a wait with a view.

use std::path::Path;

use tonic::Status;

use super::calling::{LONGEST_CALL, LOOKING, limited, timed, within};
use super::connection::Client;
use super::failure::{Failure, REFUSED, both, reason};
use super::findings::{self, Texts};
use super::offline::{self, validation};
use super::requests::{DeployArgs, RollbackArgs, ScaleArgs, TargetArgs, TeardownArgs, TermsArgs};
use super::resting::Ended;
use super::source::Source;
use super::text;
use super::view::View;
use super::waiting::{Failed, Wait, Waited};
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
    match found(client, args, source).await {
        Some(answer) if !answer.valid => {
            let found = source.all(answer.diagnostics);
            let shown = source.texts().show_all(&found);
            let text = format!("{shown}{}: refused, {}\n", source.name(), findings::count(&found));
            Failure { code: REFUSED, text }
        }
        _ => failed.failure,
    }
}

/// What an adapter finds in a template, if it says so.
async fn found(
    client: &Client,
    args: &DeployArgs,
    source: &Source,
) -> Option<proto::ValidateTemplateResponse> {
    let mut templates = client.templates();
    let call = templates.validate_template(limited(validation(source, &args.around), LOOKING));
    within(LOOKING, call).await.ok()
}

/// An answer, and whether it is the call's own: what the command has put together itself knows nothing of each object.
struct Told<R> {
    answer: R,
    is_whole: bool,
}

impl<R> Told<R> {
    /// The call's answer, or what can be said of what is seen in its place.
    async fn of(
        waited: Waited<'_, R>,
        view: &mut View<'_>,
        seen: impl FnOnce(Ended) -> R,
    ) -> Result<Self, Failure> {
        Ok(match waited {
            Waited::Answered(answer) => Self { answer, is_whole: true },
            Waited::GoesOn(later) => {
                Self { answer: seen(Box::pin(later.rest(view)).await?), is_whole: false }
            }
        })
    }

    /// Lines about what was done, as far as that is known.
    fn changes(&self, verb: &str, changes: &[proto::ObjectChange]) -> Vec<String> {
        let changes = if self.is_whole { text::changes(changes, false) } else { Vec::new() };
        [vec![verb.to_owned()], changes].concat()
    }
}

/// Lines about what was done, then the deployment.
fn told(mut lines: Vec<String>, warnings: &[String], deployment: Option<&proto::Deployment>) -> Vec<String> {
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
        };
        let mut deployments = client.deployments();
        let request = timed(request, self.patience());
        let call = Box::pin(async move { deployments.deploy(request).await });
        let waited = match wait.on(call, view, err, &source.texts()).await {
            Ok(waited) => waited,
            Err(failed) => return Err(explained(&client, self, &source, failed).await),
        };
        let mut told = Told::of(waited, view, |ended| proto::DeployResponse {
            deployment: ended.deployment,
            outcome: ended.outcome.into(),
            ..Default::default()
        })
        .await?;
        if !told.is_whole {
            told.answer.diagnostics = found(&client, self, &source).await.unwrap_or_default().diagnostics;
        }
        tell_findings(err, &source.texts(), &source.all(told.answer.diagnostics.clone()))?;
        view.tell(&told.answer, "DeployResponse", || {
            let answer = &told.answer;
            let verb = verb(answer.outcome, self.terms.validate_only);
            self::told(told.changes(&verb, &answer.changes), &answer.warnings, answer.deployment.as_ref())
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
        let waited = wait.on(call, view, err, &Texts::default()).await.map_err(|failed| failed.failure)?;
        let told = Told::of(waited, view, |ended| proto::ScaleResponse {
            deployment: ended.deployment,
            ..Default::default()
        })
        .await?;
        tell_findings(err, &Texts::default(), &told.answer.diagnostics)?;
        view.tell(&told.answer, "ScaleResponse", || {
            let answer = &told.answer;
            let verb = checked("scaled", self.terms.validate_only);
            self::told(told.changes(&verb, &answer.changes), &[], answer.deployment.as_ref())
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
        let waited = wait.on(call, view, err, &Texts::default()).await.map_err(|failed| failed.failure)?;
        let told = Told::of(waited, view, |ended| proto::RollbackResponse {
            deployment: ended.deployment,
            outcome: ended.outcome.into(),
            ..Default::default()
        })
        .await?;
        tell_findings(err, &Texts::default(), &told.answer.diagnostics)?;
        view.tell(&told.answer, "RollbackResponse", || {
            let answer = &told.answer;
            let verb = verb(answer.outcome, self.terms.validate_only);
            self::told(told.changes(&verb, &answer.changes), &answer.warnings, answer.deployment.as_ref())
        })
    }
}

impl TeardownArgs {
    /// Deletes everything that belongs to a deployment, and waits unless that is not wanted.
    pub async fn run(&self, view: &mut View<'_>, err: &mut dyn std::io::Write) -> Result<(), Failure> {
        let client = self.client.connection.connect().await?;
        let mut deployments = client.deployments();
        let request = timed(self.request(), self.patience());
        let call = Box::pin(async move { deployments.teardown(request).await });
        let wait = wait(&client, &self.target, &self.terms, self.patience());
        let wait = Wait { until: proto::WatchUntil::Gone, ..wait };
        let waited = wait.on(call, view, err, &Texts::default()).await.map_err(|failed| failed.failure)?;
        let told = match waited {
            Waited::Answered(answer) => Told { answer, is_whole: true },
            Waited::GoesOn(later) => {
                // What goes, and what stays: a look that joins what is under way, and changes nothing.
                let look = proto::TeardownRequest {
                    namespace: self.target.namespace(),
                    name: self.target.name.clone(),
                    volumes: self.request().volumes,
                    validate_only: true,
                    ..Default::default()
                };
                let mut deployments = client.deployments();
                let looked = within(LOOKING, deployments.teardown(limited(look, LOOKING))).await.ok();
                Box::pin(later.rest(view)).await?;
                let is_whole = looked.is_some();
                let answer = proto::TeardownResponse {
                    complete: true,
                    blocked: Vec::new(),
                    ..looked.unwrap_or_default()
                };
                Told { answer, is_whole }
            }
        };
        view.tell(&told.answer, "TeardownResponse", || {
            let answer = &told.answer;
            let verb = match (self.terms.validate_only, answer.complete) {
                (true, _) => "a Teardown would",
                (false, true) => "gone",
                (false, false) => "going",
            };
            let mut lines = told.changes(verb, &answer.changes);
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
