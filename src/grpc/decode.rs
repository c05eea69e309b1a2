//! Wire to domain: requests that change something, and what all requests share; every wrong field is collected.

mod reads;
mod templates;

use std::time::Duration;

use prost::Message;
use tokio::time::Instant;
use tonic::codegen::http::HeaderMap;
use tonic::metadata::MetadataMap;

use super::decode_template as template;
use super::errors;
use super::faults::{Faults, enumeration};
use super::options;
use crate::callers::Deed;
use crate::error::{Error, Fault, Result};
use crate::facts::Configs;
use crate::operations::{
    DeployCall, NamedRequest, Names, RollbackCall, ScaleCall, Settings, Source, TeardownCall, VolumePolicy,
    answered_by, early, longest_wait, wrong_request_id,
};
use crate::proto;

pub(super) use reads::{MAX_PAGE_SIZE, PAGE_SIZE, WatchCall, get, list, revisions, watch};
pub(super) use templates::{TranslateCall, translate, validate};

/// When a unary call must be answered: the caller's deadline, a little early.
///
/// A caller that sets none gets ours, or as long as it asks to wait; in any case not longer than our longest.
pub(super) fn deadline(
    metadata: &MetadataMap,
    wait_timeout: Option<&prost_types::Duration>,
    settings: &Settings,
) -> std::result::Result<Instant, tonic::Status> {
    let waiting = wait_timeout.and_then(|time| u64::try_from(time.seconds).ok()).map(Duration::from_secs);
    Ok(answered_by(asked(metadata)?, waiting, &settings.requests))
}

/// When a stream must end; `None` if its caller sets no deadline.
pub(super) fn stream_deadline(metadata: &MetadataMap) -> std::result::Result<Option<Instant>, tonic::Status> {
    let asked = asked(metadata)?;
    Ok(asked.map(|asked| Instant::now() + early(asked).min(Duration::from_secs(86_400 * 365))))
}

/// The deadline that the caller asks for, or less: clients on gRPC's C core round a long one up to three digits, and end
/// the call when their own clock says so.
fn asked(metadata: &MetadataMap) -> std::result::Result<Option<Duration>, tonic::Status> {
    let asked = timeout(metadata.as_ref()).map_err(|error| errors::status(&error))?;
    Ok(asked.map(|asked| if asked < ROUNDED { asked } else { asked - asked / 100 }))
}

/// From here on, what is rounded up to three digits is more than is kept of a deadline for the answer.
const ROUNDED: Duration = Duration::from_secs(20);

/// Reads `grpc-timeout` (gRPC over HTTP/2): at most eight digits and a unit. Of two, neither is believed.
pub fn timeout(headers: &HeaderMap) -> Result<Option<Duration>> {
    let mut values = headers.get_all("grpc-timeout").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let read = |text: &str| {
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let digits_only =
            !digits.is_empty() && digits.len() <= 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number: u64 = digits.parse().ok().filter(|_| digits_only)?;
        Some(match unit {
            "H" => Duration::from_secs(number * 3600),
            "M" => Duration::from_secs(number * 60),
            "S" => Duration::from_secs(number),
            "m" => Duration::from_millis(number),
            "u" => Duration::from_micros(number),
            "n" => Duration::from_nanos(number),
            _ => return None,
        })
    };
    let is_only = values.next().is_none();
    let parsed = value.to_str().ok().filter(|_| is_only).and_then(read);
    parsed.map(Some).ok_or_else(|| {
        let text = "must be one value, of at most eight digits and one of the units H, M, S, m, u, n";
        Error::fields(vec![Fault::field("grpc-timeout", text)])
    })
}

/// A duration that is not negative; none if it is a fault.
fn duration(value: Option<&prost_types::Duration>, field: &str, faults: &mut Faults) -> Option<Duration> {
    let value = value?;
    let decoded = decoded(value);
    if decoded.is_none() {
        faults.add(field, "must be a duration that is not negative, of at most 315576000000 s");
    }
    decoded
}

/// A duration as the contract of protobuf allows it, if it is not negative.
fn decoded(value: &prost_types::Duration) -> Option<Duration> {
    let (seconds, nanos) = (u64::try_from(value.seconds).ok()?, u32::try_from(value.nanos).ok()?);
    (nanos < 1_000_000_000 && seconds <= 315_576_000_000).then(|| Duration::new(seconds, nanos))
}

/// Until when the caller waits; `None` if it does not.
fn wait(
    waits: bool,
    timeout: Option<&prost_types::Duration>,
    deadline: Instant,
    faults: &mut Faults,
) -> Option<Instant> {
    let asked = timeout.and_then(decoded).filter(|asked| !asked.is_zero());
    if timeout.is_some() && asked.is_none() {
        faults.add("wait_timeout", "must be a duration longer than 0 s, of at most 315576000000 s");
    }
    let now = Instant::now();
    let longest = now + longest_wait(deadline.saturating_duration_since(now));
    let until = asked.and_then(|asked| now.checked_add(asked)).map_or(longest, |until| until.min(longest));
    waits.then_some(until)
}

/// A request that changes something, which its caller may name.
pub(super) trait Nameable: Message + Clone {
    /// What it asks for.
    const DEED: Deed;

    /// Its name, and what its caller waits for, which change nothing of what is done.
    fn aside(&mut self) -> (&mut String, &mut i32, &mut Option<prost_types::Duration>);

    /// What it names, right or wrong.
    fn names(&self) -> Names;
}

macro_rules! nameable {
    ($($request:ident asks for $deed:ident),+) => {$(
        impl Nameable for proto::$request {
            const DEED: Deed = Deed::$deed;

            fn aside(&mut self) -> (&mut String, &mut i32, &mut Option<prost_types::Duration>) {
                (&mut self.request_id, &mut self.wait, &mut self.wait_timeout)
            }

            fn names(&self) -> Names {
                Names {
                    deed: Self::DEED,
                    namespace: self.namespace.clone(),
                    name: self.name.clone(),
                    request_id: self.request_id.clone(),
                    validate_only: self.validate_only,
                }
            }
        }
    )+};
}

nameable!(
    DeployRequest asks for Deploy, ScaleRequest asks for Scale, RollbackRequest asks for Rollback,
    TeardownRequest asks for Teardown
);

/// The request under the name that its caller gave it, if any.
fn named<R: Nameable>(request: &R, faults: &mut Faults) -> Option<NamedRequest> {
    let mut rest = request.clone();
    let (id, wait, wait_timeout) = rest.aside();
    let id = std::mem::take(id);
    (*wait, *wait_timeout) = (0, None);
    wrong_request_id(&id).for_each(|wrong| faults.add("request_id", wrong));
    if id.is_empty() {
        return None;
    }
    Some(NamedRequest::new(id, R::DEED.method(), rest.encode_to_vec()))
}

pub(super) fn deploy(
    request: proto::DeployRequest,
    settings: &Settings,
    deadline: Instant,
) -> Result<DeployCall> {
    use proto::deploy_request::TemplateSource;
    let mut faults = Faults::default();
    let named = named(&request, &mut faults);
    let namespace = faults.namespace(&request.namespace, &settings.namespace);
    let name = faults.optional_name(&request.name);
    let source = match request.template_source {
        Some(TemplateSource::TemplateYaml(text)) => Some(Source::Text(text)),
        Some(TemplateSource::Template(message)) => Some(Source::Structured(template::raw(message))),
        None => no_source(&mut faults),
    };
    let options = options::deploy(request.options.as_ref(), &mut faults);
    let mode: proto::WaitMode = enumeration(request.wait, "wait", &mut faults);
    let ready = mode == proto::WaitMode::Ready;
    let wait_ready = wait(ready, request.wait_timeout.as_ref(), deadline, &mut faults);
    let overrides = request.r#override.map(template::raw);
    let call = || {
        let mut call = DeployCall::new(namespace?, name, source?, options, deadline);
        call.template.limits = settings.requests.of_templates();
        call.template.overrides = overrides;
        call.template.image_configs = Configs(request.image_configs);
        call.choices.waits_ready = ready;
        call.choices.validate_only = request.validate_only;
        call.choices.etag = request.etag;
        call.choices.request = named;
        call.choices.plan_id = request.plan_id;
        call.wait_ready = wait_ready;
        Some(call)
    };
    let call = call();
    faults.finish(call)
}

/// A plan is asked for with the request of the Deploy; what that would wait for does not matter, and nothing is
/// remembered under its `request_id`.
pub(super) fn plan(
    request: proto::PlanDeployRequest,
    settings: &Settings,
    deadline: Instant,
) -> Result<DeployCall> {
    use proto::deploy_request::TemplateSource as Of;
    use proto::plan_deploy_request::TemplateSource;
    let template_source = request.template_source.map(|source| match source {
        TemplateSource::TemplateYaml(text) => Of::TemplateYaml(text),
        TemplateSource::Template(message) => Of::Template(message),
    });
    let request = proto::DeployRequest {
        namespace: request.namespace,
        name: request.name,
        template_source,
        r#override: request.r#override,
        options: request.options,
        wait: request.wait,
        wait_timeout: request.wait_timeout,
        validate_only: true,
        etag: request.etag,
        request_id: request.request_id,
        plan_id: request.plan_id,
        image_configs: request.image_configs,
    };
    let mut call = deploy(request, settings, deadline)?;
    call.choices.request = None;
    Ok(call)
}

fn no_source(faults: &mut Faults) -> Option<Source> {
    faults.add("template_source", "is required: set template_yaml or template");
    None
}

pub(super) fn scale(
    request: proto::ScaleRequest,
    settings: &Settings,
    deadline: Instant,
) -> Result<ScaleCall> {
    let mut faults = Faults::default();
    let named = named(&request, &mut faults);
    let target = faults.target(&request.namespace, &request.name, settings);
    if request.replicas.is_empty() {
        faults.add("replicas", "is required: name at least one component");
    }
    let mut replicas: Vec<(String, i32)> = request.replicas.into_iter().collect();
    replicas.sort();
    for (name, count) in &replicas {
        let most = settings.requests.max_replicas;
        let (field, text) = (format!("replicas[{name}]"), format!("must be from 0 to {most}"));
        match u32::try_from(*count) {
            Ok(count) if count > most => faults.beyond(field, text),
            Ok(_) => {}
            Err(_) => faults.add(field, text),
        }
    }
    let mode: proto::WaitMode = enumeration(request.wait, "wait", &mut faults);
    let ready = mode == proto::WaitMode::Ready && !request.validate_only;
    let wait_ready = wait(ready, request.wait_timeout.as_ref(), deadline, &mut faults);
    let call = target.map(|target| ScaleCall {
        namespace: target.namespace,
        name: target.name,
        replicas: replicas.into_iter().collect(),
        validate_only: request.validate_only,
        etag: request.etag,
        request: named,
        wait_ready,
        deadline,
    });
    faults.finish(call)
}

pub(super) fn rollback(
    request: proto::RollbackRequest,
    settings: &Settings,
    deadline: Instant,
) -> Result<RollbackCall> {
    let mut faults = Faults::default();
    let named = named(&request, &mut faults);
    let target = faults.target(&request.namespace, &request.name, settings);
    let revision = u32::try_from(request.revision);
    if revision.is_err() {
        faults.add("revision", "must not be negative; 0 is the last good one before the current");
    }
    let mode: proto::WaitMode = enumeration(request.wait, "wait", &mut faults);
    let ready = mode == proto::WaitMode::Ready;
    let wait_ready = wait(ready, request.wait_timeout.as_ref(), deadline, &mut faults);
    let call = target.map(|target| RollbackCall {
        target,
        revision: revision.unwrap_or_default(),
        validate_only: request.validate_only,
        etag: request.etag,
        request: named,
        wait_ready,
        deadline,
    });
    faults.finish(call)
}

pub(super) fn teardown(
    request: proto::TeardownRequest,
    settings: &Settings,
    deadline: Instant,
) -> Result<TeardownCall> {
    let mut faults = Faults::default();
    let named = named(&request, &mut faults);
    let target = faults.target(&request.namespace, &request.name, settings);
    let volumes: proto::VolumePolicy = enumeration(request.volumes, "volumes", &mut faults);
    let grace = duration(request.grace_period.as_ref(), "grace_period", &mut faults);
    let mode: proto::TeardownWait = enumeration(request.wait, "wait", &mut faults);
    let gone = mode == proto::TeardownWait::Gone;
    let wait_gone = wait(gone, request.wait_timeout.as_ref(), deadline, &mut faults);
    let whole_seconds =
        |grace: Duration| u32::try_from(grace.as_secs() + u64::from(grace.subsec_nanos() > 0));
    let call = target.map(|target| TeardownCall {
        namespace: target.namespace,
        name: target.name,
        volumes: match volumes {
            proto::VolumePolicy::Unspecified | proto::VolumePolicy::Retain => VolumePolicy::Retain,
            proto::VolumePolicy::Delete => VolumePolicy::Delete,
        },
        allow_missing: request.allow_missing,
        grace_seconds: grace.map(|grace| whole_seconds(grace).unwrap_or(u32::MAX)),
        wait_gone,
        validate_only: request.validate_only,
        etag: request.etag,
        request: named,
        deadline,
    });
    faults.finish(call)
}
