//! Scale: replica counts of controllers, and Pods that become controllers without being lost.

use std::collections::BTreeMap;

use futures::future::{OptionFuture, join_all};
use tokio::time::Instant;
use tracing::info;

use super::awake::wake;
use super::lock::Lock;
use super::requests::{self, Known};
use super::{Engine, allowed, deploy, done, look, rehearsal, stages, telling};
use crate::artifacts::{Change, ComponentName, Form, ListedObject, Stage, Target};
use crate::callers::Deed;
use crate::diagnostic::Diagnostic;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{self, Outcome};
use crate::plan::{self, Conversion, Mixed, Named, ScalePlan};
use crate::record::{
    self, Applied, Member, Phase, Record, Request, RequestEntry, RequestOutcome, Transition, Work,
};

/// What a Scale did.
pub struct Scaling {
    /// The record afterwards.
    pub record: Record,
    /// What was done to each object that was named or made.
    pub changes: Vec<Change>,
    /// What the caller should know.
    pub diagnostics: Vec<Diagnostic>,
}

/// How a Scale is carried out.
#[derive(Clone, Debug)]
pub struct Choices {
    /// Replicas by image name or component name.
    pub replicas: BTreeMap<String, i32>,
    /// Check everything, write nothing.
    pub validate_only: bool,
    /// The etag the caller has seen; empty: any.
    pub etag: String,
    /// The request, if its caller has named it.
    pub request: Option<Named>,
    /// When the caller's own deadline ends.
    pub deadline: Instant,
}

/// Sets the replica counts of the named components and of nothing else, in a task of its own.
pub async fn scale(engine: &Engine, target: &Target, choices: Choices) -> Result<Scaling> {
    let (target, deadline) = (target.clone(), choices.deadline);
    let work = |own: Engine| async move { Box::pin(scale_now(&own, &target, &choices)).await };
    engine.detached(deadline, work).await
}

async fn scale_now(engine: &Engine, target: &Target, choices: &Choices) -> Result<Scaling> {
    let scaled = Box::pin(scale_once(engine, target, choices)).await;
    // Another operation came first; it may be this very request.
    let is_lost = |error: &Error| error.kind() == ErrorKind::OperationInProgress;
    let is_named = choices.request.is_some() && !choices.validate_only;
    match scaled {
        Err(lost) if is_lost(&lost) && is_named => match joined(engine, target, choices).await? {
            Some(record) => Ok(Scaling { record, changes: Vec::new(), diagnostics: Vec::new() }),
            None => Err(lost),
        },
        scaled => scaled,
    }
}

/// The record, once another call has carried this very request out; `None` if none has.
async fn joined(engine: &Engine, target: &Target, choices: &Choices) -> Result<Option<Record>> {
    let Some(named) = &choices.request else { return Ok(None) };
    let record = look::read(engine, target).await?;
    match requests::known(engine, target, record, named, false, choices.deadline).await? {
        Known::Answered(record, _) => repeated(engine, target, record).await.map(Some),
        Known::New(_) => Ok(None),
    }
}

/// The record of a request that was carried out, for whoever might have made it: it may have been another caller.
async fn repeated(engine: &Engine, target: &Target, record: Record) -> Result<Record> {
    engine.allows(Deed::Scale, &target.namespace, allowed::of_repeated_scale(&record.head)).await?;
    Ok(record)
}

async fn scale_once(engine: &Engine, target: &Target, choices: &Choices) -> Result<Scaling> {
    // 1. What is there; an operation that died is finished first, so that there is one thing to scale.
    let mut record = look::must_read(engine, target).await?;
    if let Some(named) = choices.request.as_ref().filter(|_| !choices.validate_only) {
        record = match requests::known(engine, target, Some(record), named, false, choices.deadline).await? {
            Known::Answered(record, _) => {
                let record = repeated(engine, target, record).await?;
                return Ok(Scaling { record, changes: Vec::new(), diagnostics: Vec::new() });
            }
            Known::New(record) => record.ok_or_else(|| record::not_found(target))?,
        };
    }
    record::check_etag(Some(&record), &choices.etag)?;
    record::gate(&record, engine.unrenewed_for(&record))?;
    if record.is_deleting() {
        return Err(record::being_deleted(&record));
    }
    if record.head.operation.is_some() && !choices.validate_only {
        record = deploy::adopt(engine, target, record, choices.deadline).await?;
    }
    // 2. Which components, and what each needs.
    let mut scale = ScalePlan::new(&record, &choices.replicas)?;
    engine.allows(Deed::Scale, &target.namespace, allowed::of_scale(&scale)).await?;
    let kinds = scale.set.iter().map(|(member, _)| member.reference.kind).collect();
    let seen = engine.cluster.list_controllers(&target.namespace, &target.name, &kinds).await?;
    plan::check_autoscalers(&scale, &seen, &target.name)?;
    scale.look(&seen, &target.name);
    if choices.validate_only {
        return validated(engine, target, record, &scale, &seen).await;
    }
    engine.begins_in_time(choices.deadline)?;
    let begun = engine.clock.elapsed();
    let mut changes: Vec<Change> = scale.unchanged().collect();
    let mut diagnostics = Vec::new();
    // 3. Pods that become controllers: under the lock, with the objects of the current revision.
    let request = choices.request.as_ref().map(|named| named.recorded(Mixed::Plain));
    if !scale.convert.is_empty() {
        // What comes last remembers the request.
        let last = request.clone().filter(|_| scale.set.is_empty());
        let (converted, conversion) = convert(engine, target, record, &scale.convert, last).await?;
        record = converted;
        changes.extend(conversion.changes());
        done::know(&record, &mut changes);
        diagnostics = conversion.plan.told().cloned().collect();
    }
    // 4. Controllers that are there: one guarded write each, which can never make an object.
    let sets =
        scale.set.iter().map(|(member, replicas)| set(engine, target, member, &seen, *replicas, false));
    let (set, failed) = split(join_all(sets).await);
    let failed = OptionFuture::from(failed.map(|error| judged(engine, target, &record, error))).await;
    changes.extend(scale.updates(&seen));
    let entry = |request| RequestEntry { request, outcome: RequestOutcome::Scaled, time: engine.clock.now() };
    let remembered = if !set.is_empty() {
        // What has failed in part is not done.
        let answered = request.filter(|_| failed.is_none()).map(entry);
        remember(engine, target, record, &set, answered, choices.deadline).await
    } else if let Some(request) = request.filter(|_| scale.convert.is_empty() && failed.is_none()) {
        engine.cluster.change(&record, &Transition::Answered(entry(request))).await
    } else {
        Ok(record)
    };
    if !scale.set.is_empty() {
        measure(engine, begun, failed.is_none() && remembered.is_ok());
    }
    let record = remembered?;
    info!(components = changes.len(), "scaled");
    tell(engine, &record, &scale, &set, failed.as_ref());
    wake(engine, &record);
    if let Some(error) = failed {
        let set = set.iter().map(|member| member.reference.to_string());
        let converted = scale.convert.keys().map(|component| format!("component {component}"));
        let done: Vec<String> = set.chain(converted).collect();
        return Err(if done.is_empty() { error } else { Error::scaled_in_part(error, done.join(", ")) });
    }
    Ok(Scaling { record, changes, diagnostics })
}

/// Why a count was not set: a controller that is gone, or another, is somebody else's doing only if no operation of ours came
/// between.
async fn judged(engine: &Engine, target: &Target, before: &Record, error: Error) -> Error {
    if !matches!(error.kind(), ErrorKind::ObjectNotOwned | ErrorKind::ComponentNotFound) {
        return error;
    }
    match look::read(engine, target).await {
        Ok(Some(now)) if now.uid != before.uid || now.head.generation != before.head.generation => {
            record::being_changed(&now)
        }
        Ok(None) => record::not_found(target),
        Ok(Some(_)) | Err(_) => error,
    }
}

/// Measures what has set counts; what takes the lock is measured at its end.
fn measure(engine: &Engine, begun: Instant, is_done: bool) {
    let outcome = if is_done { Outcome::Done } else { Outcome::Failed };
    let took = engine.clock.elapsed().saturating_duration_since(begun);
    engine.cluster.metrics().operation(metrics::Operation::Scale, outcome, took);
}

/// Tells which counts were set, if any was.
fn tell(engine: &Engine, record: &Record, scale: &ScalePlan, set: &[Member], failure: Option<&Error>) {
    let set = set.iter().filter_map(|one| Some((one.reference.to_string(), one.scaled_replicas?)));
    let converted = scale.convert.iter().map(|(component, count)| (format!("component {component}"), *count));
    let counts: Vec<_> = set.chain(converted).collect();
    if !counts.is_empty() || failure.is_some() {
        telling::scaled(engine, record, &counts, failure);
    }
}

/// Asks for all that a conversion writes: Secrets and Services of the component may change with its workload.
async fn allows(engine: &Engine, target: &Target, conversion: &Conversion) -> Result<()> {
    engine.allows(Deed::Scale, &target.namespace, allowed::of_plan(&conversion.plan)).await
}

/// Lets the API server check every change without making any.
async fn validated(
    engine: &Engine,
    target: &Target,
    record: Record,
    scale: &ScalePlan,
    seen: &[ListedObject],
) -> Result<Scaling> {
    let mut changes: Vec<Change> = scale.updates(seen).chain(scale.unchanged()).collect();
    let mut diagnostics = Vec::new();
    let tries = scale.set.iter().map(|(member, replicas)| set(engine, target, member, seen, *replicas, true));
    if let (_, Some(error)) = split(join_all(tries).await) {
        return Err(error);
    }
    if !scale.convert.is_empty() {
        let revision = look::current_revision(engine, target, &record).await?;
        let mut conversion = Conversion::new(&record, &revision, &scale.convert, &engine.operation_id())?;
        allows(engine, target, &conversion).await?;
        let failures = rehearsal::rehearse(engine, target, &mut conversion.plan, |_| true).await;
        if let Some(error) = plan::first_failure(&revision.template, failures) {
            return Err(error);
        }
        changes.extend(conversion.changes());
        diagnostics = conversion.plan.told().cloned().collect();
    }
    Ok(Scaling { record, changes, diagnostics })
}

/// Sets one controller's count; returns its entry as it is then.
async fn set(
    engine: &Engine,
    target: &Target,
    member: &Member,
    seen: &[ListedObject],
    replicas: i32,
    dry_run: bool,
) -> Result<Member> {
    let (namespace, reference) = (&target.namespace, &member.reference);
    let uid = member.uid.clone().unwrap_or_default();
    let seen = seen.iter().find(|seen| seen.reference == *reference && seen.uid == uid);
    let form = Form::new(uid, seen.map(|seen| seen.version.clone()));
    let scaled = engine.cluster.scale(namespace, &target.name, reference, &form, replicas, dry_run).await?;
    if !dry_run {
        engine.beginning.promise();
    }
    Ok(Member { scaled_replicas: Some(replicas), generation: scaled.generation, ..member.clone() })
}

/// Writes the counts into the inventory, once no other operation holds the record. Whoever fails here has set them all the
/// same, and its error says so.
async fn remember(
    engine: &Engine,
    target: &Target,
    mut record: Record,
    set: &[Member],
    request: Option<RequestEntry>,
    deadline: Instant,
) -> Result<Record> {
    let (id, now, mut counts) = (engine.operation_id(), engine.clock.now(), set.to_vec());
    let done = |error: Error| {
        error
            .prefixed("the counts are set, but whether the record has them is not known: ")
            .with("applied", "true")
    };
    loop {
        // Where none is in force any more, they were set all the same, and by now somebody has set others.
        let noted = match (counts.is_empty(), request.clone()) {
            (false, request) => Transition::Scaled { id: id.clone(), counts: counts.clone(), request, now },
            (true, Some(entry)) => Transition::Answered(entry),
            (true, None) => return Ok(record),
        };
        match engine.cluster.change(&record, &noted).await {
            Err(error) if error.kind() == ErrorKind::OperationInProgress => {
                record = free_again(engine, target, &record, deadline).await.map_err(done)?;
                counts = in_force(engine, target, &counts).await.map_err(done)?;
            }
            other => return other.map_err(done),
        }
    }
}

/// Those of the counts that nobody has set otherwise since.
async fn in_force(engine: &Engine, target: &Target, counts: &[Member]) -> Result<Vec<Member>> {
    let kinds = counts.iter().map(|member| member.reference.kind).collect();
    let seen = engine.cluster.list_controllers(&target.namespace, &target.name, &kinds).await?;
    Ok(plan::still_scaled(counts, &seen, &target.name))
}

/// The record, once no operation holds it: it is that operation's alone to write. Of a deployment that goes, or that was
/// made anew under the name, nothing is to be noted.
async fn free_again(engine: &Engine, target: &Target, before: &Record, deadline: Instant) -> Result<Record> {
    let mut subscription = look::subscribe(engine, target, None);
    loop {
        let now = look::must_read(engine, target).await?;
        // Its holder may have died.
        wake(engine, &now);
        if now.uid != before.uid {
            return Err(record::being_changed(&now));
        }
        if now.is_deleting() {
            return Err(record::being_deleted(&now));
        }
        if now.head.operation.is_none() && engine.clock.elapsed() < deadline {
            return Ok(now);
        }
        loop {
            let snapshot = tokio::select! {
                biased;
                snapshot = subscription.next(deadline) => snapshot?,
                () = engine.shutting_down() => {
                    return Err(Error::new(ErrorKind::ShuttingDown, "the adapter is shutting down"));
                }
            };
            let Some(snapshot) = snapshot else { return Err(record::being_changed(&now)) };
            // The watches may lag behind the record that was read.
            if snapshot.head.as_ref().is_none_or(|head| head.head.operation.is_none()) {
                break;
            }
        }
    }
}

/// Turns bare Pods into ReplicationControllers that adopt them.
async fn convert(
    engine: &Engine,
    target: &Target,
    record: Record,
    convert: &BTreeMap<ComponentName, i32>,
    request: Option<Request>,
) -> Result<(Record, Conversion)> {
    let revision = look::current_revision(engine, target, &record).await?;
    let id = engine.operation_id();
    let conversion = Conversion::new(&record, &revision, convert, &id)?;
    allows(engine, target, &conversion).await?;
    let plan = &conversion.plan;
    let work = Work::Scale { inventory: plan.union() };
    let was_in_order = record.head.operation.is_none();
    let mut lock = Lock::take(engine, target, Some(&record), id, work, request).await?;
    let apply = async {
        let mut report = stages::Report::default();
        stages::apply(engine, target, plan, Stage::Foundation, &mut report).await;
        if report.failures.is_empty() {
            stages::apply(engine, target, plan, Stage::Workload, &mut report).await;
        } else {
            stages::skip(plan, Stage::Workload, &mut report);
        }
        report
    };
    let report = lock.during(apply).await?;
    let complete = report.failures.is_empty();
    if !complete {
        lock.fails();
    }
    let now = engine.clock.now();
    if report.is_refused(plan)
        && was_in_order
        && let Some(earlier) = lock.before().cloned()
    {
        let refused = Transition::Refused { earlier: Box::new(earlier), revision: None, now };
        let record = lock.release(&refused).await?;
        let error = plan::first_failure(&revision.template, report.failures);
        let error = error.unwrap_or_else(|| Error::internal("a Scale was refused without a failure"));
        telling::scaled(engine, &record, &[], Some(&error));
        wake(engine, &record);
        return Err(error);
    }
    // An update that was refused before stays the next Deploy's to carry out.
    let phase = if complete && !conversion.is_open { Phase::Progressing } else { Phase::Incomplete };
    let applied = Applied {
        inventory: report.inventory(plan),
        revision: None,
        complete,
        phase,
        refused: report.refused(now),
        untouched: report.untouched(plan),
        pledge: None,
        not_put_back: None,
        now,
    };
    let record = lock.release(&Transition::Applied(Box::new(applied))).await?;
    let listing = plan::listing(&report.failures);
    if let Some(first) = plan::first_failure(&revision.template, report.failures) {
        let error = Error::incomplete(first, listing);
        telling::scaled(engine, &record, &[], Some(&error));
        return Err(error);
    }
    Ok((record, conversion))
}

/// The successes, and one error for all failures.
fn split(results: Vec<Result<Member>>) -> (Vec<Member>, Option<Error>) {
    let (mut members, mut failures) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(member) => members.push(member),
            Err(error) => failures.push(error),
        }
    }
    (members, plan::joined(failures))
}
