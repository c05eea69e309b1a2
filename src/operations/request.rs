//! Rules of every request, whichever edge it comes through: faults, defaults, options, and when it must be answered.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    ConflictPolicy, DeployCall, DeployChoices, FailurePolicy, PrunePolicy, ReplicasPolicy, RequestLimits,
    Settings, Source, Target, TemplateCall,
};
use crate::artifacts::{DeploymentName, NameError, Namespace};
use crate::callers::{Audited, Deed};
use crate::error::{Error, ErrorKind, Fault, LIMIT, Result};
use crate::facts::Configs;
use crate::template::validate::Limits;
use crate::translate::Rules;

/// What is kept of the caller's deadline for the answer itself.
const ANSWERING: Duration = Duration::from_millis(200);
/// What is kept of the caller's deadline when the caller waits, at the most: a tenth of a shorter one.
const WAITING: Duration = Duration::from_secs(1);

/// The wrong fields of a request, as they are found.
#[derive(Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Adds a wrong field.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.0.push(Fault::field(field, description));
    }

    /// Adds a field that asks for more than there may be.
    pub fn beyond(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.0.push(Fault { reason: LIMIT, ..Fault::field(field, description) });
    }

    /// The value, or the fault of its field.
    pub fn take<T>(&mut self, field: &str, value: std::result::Result<T, NameError>) -> Option<T> {
        value.map_err(|error| self.add(field, error.to_string())).ok()
    }

    /// The namespace of a request; where it names none, that of the settings.
    pub fn namespace(&mut self, text: &str, default: &Namespace) -> Option<Namespace> {
        if text.is_empty() { Some(default.clone()) } else { self.take("namespace", Namespace::new(text)) }
    }

    /// The name of a deployment that may be left out.
    pub fn optional_name(&mut self, text: &str) -> Option<DeploymentName> {
        if text.is_empty() { None } else { self.take("name", DeploymentName::new(text)) }
    }

    /// The deployment that a request names.
    pub fn target(&mut self, namespace: &str, name: &str, settings: &Settings) -> Option<Target> {
        let namespace = self.namespace(namespace, &settings.namespace);
        if name.is_empty() {
            self.add("name", "is required");
            return None;
        }
        let name = self.optional_name(name);
        Some(Target { namespace: namespace?, name: name? })
    }

    /// The request, if nothing is wrong with it; `decoded` is whole exactly then.
    pub fn finish<T>(self, decoded: Option<T>) -> Result<T> {
        match decoded {
            Some(decoded) if self.0.is_empty() => Ok(decoded),
            _ => Err(Error::fields(self.0)),
        }
    }
}

/// The most characters of a request's name.
const MAX_REQUEST_ID: usize = 128;

/// What is wrong with the name of a request.
pub fn wrong_request_id(id: &str) -> impl Iterator<Item = String> {
    let is_long = id.chars().count() > MAX_REQUEST_ID;
    let is_control = id.chars().any(char::is_control);
    let long = is_long.then(|| format!("must have at most {MAX_REQUEST_ID} characters"));
    long.into_iter().chain(is_control.then(|| "must not have control characters".to_owned()))
}

/// What a call that changes something names, as its caller has written it, whatever else is wrong with it.
#[derive(Clone, Debug)]
pub struct Names {
    /// What it is about to do.
    pub deed: Deed,
    /// The namespace; empty: that of the settings.
    pub namespace: String,
    /// The deployment; empty: none.
    pub name: String,
    /// The request; empty: it has no name.
    pub request_id: String,
    /// Whether it changes nothing: then the audit is told nothing.
    pub validate_only: bool,
}

impl Names {
    /// What the audit tells of it: names that can be, and nothing else that somebody has sent.
    pub(super) fn audited(self, settings: &Settings) -> Audited {
        let namespace = match self.namespace.as_str() {
            "" => Some(settings.namespace.clone()),
            name => Namespace::new(name).ok(),
        };
        let deployment = DeploymentName::new(self.name.as_str()).ok();
        let is_name = wrong_request_id(&self.request_id).next().is_none();
        Audited {
            method: self.deed.method(),
            namespace: namespace.map(|name| name.to_string()).unwrap_or_default(),
            deployment: deployment.map(|name| name.to_string()).unwrap_or_default(),
            request_id: Some(self.request_id).filter(|_| is_name).unwrap_or_default(),
        }
    }
}

/// The options of a Deploy; the default ones are in force for a request that sets none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Whether a missing namespace is made.
    pub create_namespace: bool,
    /// What becomes of removed objects.
    pub prune: PrunePolicy,
    /// What becomes of an update that fails.
    pub on_failure: FailurePolicy,
    /// What is done where others hold fields.
    pub conflicts: ConflictPolicy,
    /// Whose replica counts hold.
    pub replicas: ReplicasPolicy,
    /// What becomes of the template's parts.
    pub rules: Rules,
    /// Whether warnings refuse it.
    pub strict: bool,
}

impl DeployCall {
    /// A Deploy of a template with these options and nothing else: it is carried out, and waits for nothing.
    pub fn new(
        namespace: Namespace,
        name: Option<DeploymentName>,
        source: Source,
        options: Options,
        deadline: Instant,
    ) -> Self {
        Self {
            namespace,
            template: TemplateCall {
                source,
                overrides: None,
                name,
                rules: options.rules,
                image_configs: Configs::default(),
                strict: options.strict,
                limits: Limits::default(),
            },
            choices: DeployChoices {
                create_namespace: options.create_namespace,
                prune: options.prune,
                on_failure: options.on_failure,
                conflicts: options.conflicts,
                replicas: options.replicas,
                waits_ready: false,
                validate_only: false,
                must_be_new: false,
                etag: String::new(),
                request: None,
                plan_id: String::new(),
                deadline,
            },
            wait_ready: None,
        }
    }
}

/// When a call must be answered: the deadline that its caller asks for, a little early.
///
/// A caller that sets none gets ours, or as long as it asks to wait; in any case not longer than our longest.
pub fn answered_by(asked: Option<Duration>, waiting: Option<Duration>, limits: &RequestLimits) -> Instant {
    let ours = limits.default_deadline;
    let ours = waiting.map_or(ours, |time| ours.max(time.saturating_add(2 * WAITING)));
    let asked = asked.unwrap_or(ours).min(limits.max_deadline);
    Instant::now() + early(asked)
}

/// What is left of a caller's time once some is kept for the answer.
pub fn early(asked: Duration) -> Duration {
    asked.saturating_sub(ANSWERING.min(asked / 10))
}

/// How long a call may wait that must be answered in so long: until a tenth of its deadline before that, at most a
/// second; [`answered_by`] has taken off a part of that already.
pub fn longest_wait(answered_in: Duration) -> Duration {
    let short = answered_in.mul_f64(10.0 / 9.0);
    let asked = if short / 10 <= ANSWERING { short } else { answered_in + ANSWERING };
    asked.saturating_sub(WAITING.min(asked / 10)).min(answered_in)
}

/// Ends a read at the caller's deadline with an answer of our own.
pub async fn in_time<T>(deadline: Instant, read: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout_at(deadline, read).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::ClusterTimeout, "the cluster did not answer before the deadline"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_a_tenth_of_the_deadline_before_it_and_at_most_a_second() {
        for (asked, waits) in
            [(500, 450), (1_000, 900), (2_000, 1_800), (5_000, 4_500), (10_000, 9_000), (60_000, 59_000)]
        {
            let wait = longest_wait(early(Duration::from_millis(asked))).as_secs_f64() * 1_000.0;
            assert!((wait - f64::from(waits)).abs() < 1.0, "{asked:?}: {wait}");
        }
    }
}
