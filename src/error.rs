//! Error: what went wrong, in one text for the caller and another for the log.

mod outcomes;
mod words;

use std::collections::BTreeMap;
use std::time::Duration;

pub use words::contract_word;

/// The kind of a failure; each corresponds to one published reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The template or the override is wrong; every fault is listed.
    TemplateInvalid,
    /// A field of the request is wrong; every fault is listed.
    FieldInvalid,
    /// The API server refused an object for a reason that is ours, not the user's.
    ManifestRejected,
    /// No deployment of that name.
    DeploymentNotFound,
    /// The deployment has no such component.
    ComponentNotFound,
    /// The deployment has no such revision any more, or none that was ever ready.
    RevisionNotFound,
    /// What was written down of the deployment cannot be read: somebody has changed or deleted it, or a later version of
    /// the adapter has written it.
    RecordUnreadable,
    /// The name of the request was another request's before.
    RequestIdReused,
    /// The replicas belong to an autoscaler.
    ReplicasOwned,
    /// A namespace that is never written to.
    NamespaceReserved,
    /// The server is shutting down.
    ShuttingDown,
    /// A name is taken by an object that is not this deployment's.
    ObjectNotOwned,
    /// A field belongs to another field manager.
    FieldConflict,
    /// The deployment has changed since the caller read its etag.
    EtagMismatch,
    /// Another operation holds the deployment, or it is being deleted.
    OperationInProgress,
    /// What would be done is no longer what the plan said.
    PlanStale,
    /// The page token is too old, or was not issued here.
    PageTokenExpired,
    /// The call has no credentials.
    CredentialsMissing,
    /// The credentials are not accepted.
    CredentialsInvalid,
    /// The caller has not the right, whether or not there is what it asks for.
    CallerForbidden,
    /// The namespace does not exist.
    NamespaceNotFound,
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// The cluster forbids the adapter what it needs.
    ClusterForbidden,
    /// Pod Security or an admission webhook refuses an object.
    AdmissionDenied,
    /// A volume claim cannot become what is asked: it only grows, and only where its storage class lets it.
    VolumeImmutable,
    /// A quota of the namespace refuses an object.
    QuotaExceeded,
    /// A limit of the adapter on size or number.
    LimitExceeded,
    /// More calls or watches are open than are served at once.
    Overloaded,
    /// There is no such method, or the method does not take such a request.
    NotImplemented,
    /// The request breaks the framing of gRPC.
    FramingInvalid,
    /// The API server cannot be reached, or fails in a way that may pass.
    ClusterUnreachable,
    /// The API server asks to slow down.
    ClusterThrottled,
    /// The API server does not accept the adapter's credentials.
    ClusterCredentialsRejected,
    /// The wait ended before the deployment was ready or gone; the work goes on.
    WaitTimeout,
    /// The caller's deadline passed before the work was done; the work goes on.
    ClusterTimeout,
    /// Some objects were written, others were not; the next Deploy repairs it.
    ApplyIncomplete,
    /// A defect of the adapter.
    Internal,
}

impl ErrorKind {
    /// Whether the same call can succeed later with nothing changed in it.
    pub fn retryable(self) -> bool {
        match self {
            ErrorKind::ShuttingDown
            | ErrorKind::OperationInProgress
            | ErrorKind::Overloaded
            | ErrorKind::ClusterUnreachable
            | ErrorKind::ClusterThrottled
            | ErrorKind::ClusterCredentialsRejected => true,
            // What these name is past for good: the request has to be made anew.
            ErrorKind::EtagMismatch
            | ErrorKind::PlanStale
            | ErrorKind::PageTokenExpired
            | ErrorKind::TemplateInvalid
            | ErrorKind::FieldInvalid
            | ErrorKind::ManifestRejected
            | ErrorKind::DeploymentNotFound
            | ErrorKind::ComponentNotFound
            | ErrorKind::RevisionNotFound
            | ErrorKind::RecordUnreadable
            | ErrorKind::RequestIdReused
            | ErrorKind::ReplicasOwned
            | ErrorKind::NamespaceReserved
            | ErrorKind::ObjectNotOwned
            | ErrorKind::FieldConflict
            | ErrorKind::CredentialsMissing
            | ErrorKind::CredentialsInvalid
            | ErrorKind::CallerForbidden
            | ErrorKind::NamespaceNotFound
            | ErrorKind::NamespaceTerminating
            | ErrorKind::ClusterForbidden
            | ErrorKind::AdmissionDenied
            | ErrorKind::VolumeImmutable
            | ErrorKind::QuotaExceeded
            | ErrorKind::LimitExceeded
            | ErrorKind::NotImplemented
            | ErrorKind::FramingInvalid
            | ErrorKind::WaitTimeout
            | ErrorKind::ClusterTimeout
            | ErrorKind::ApplyIncomplete
            | ErrorKind::Internal => false,
        }
    }
}

/// One wrong field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field's path, as `images[2].ports[0].host_port`.
    pub field: String,
    /// The stable code of the fault.
    pub reason: &'static str,
    /// What is wrong, in one sentence; never a value of the environment.
    pub description: String,
    /// What to do about it; empty where the description says it.
    pub hint: String,
}

/// The reason of a fault in what there is too much of.
pub const LIMIT: &str = "LIMIT";

/// A limit that a refused call was beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// The replicas of a component.
    Replicas,
    /// Anything else of a template.
    Template,
    /// The time in which a call is answered; a wait that has ended is no such call.
    Deadline,
}

impl Beyond {
    /// The limit that faults in these fields are about, by path and reason; `None` if none is about a limit.
    pub fn of_faults<'f>(mut faults: impl Iterator<Item = (&'f str, &'f str)>) -> Option<Self> {
        let (field, _) = faults.find(|(_, reason)| *reason == LIMIT)?;
        let is_count = field.starts_with("replicas[") || field.ends_with(".deployment.count");
        Some(if is_count { Self::Replicas } else { Self::Template })
    }
}

impl Fault {
    /// What is wrong and, if there is room for it, what to do about it.
    pub fn explained(&self) -> String {
        match self.hint.as_str() {
            "" => self.description.clone(),
            hint => format!("{}; hint: {hint}", self.description),
        }
    }

    /// A fault in a field of a request.
    pub fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: "FIELD_INVALID",
            description: description.into(),
            hint: String::new(),
        }
    }
}

/// What of an object the API server has refused: what the next step is decided by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// These fields are invalid; `spec` alone: the object cannot be changed in place.
    Invalid {
        /// The fields' paths in the object.
        fields: Vec<String>,
    },
    /// Other field managers hold these fields.
    Held {
        /// The fields, each with who holds it.
        holds: Vec<Hold>,
    },
    /// The object is there, ours, and asks for another form than the one that was decided without having seen it.
    Unseen,
}

/// A field that somebody else holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The field's path in the object.
    pub field: String,
    /// The field manager.
    pub manager: String,
}

/// A failure with what the caller and what the log should know.
///
/// It has no `Display` on purpose: [`Error::message`] goes to the caller, [`Error::context`] to the log,
/// and neither ever holds a value of the environment or a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Parts>);

/// Boxed, because errors are rare and results are everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    kind: ErrorKind,
    message: String,
    context: Vec<String>,
    faults: Vec<Fault>,
    metadata: BTreeMap<&'static str, String>,
    object: Option<(String, String)>,
    retry_after: Option<Duration>,
    cause: Option<ErrorKind>,
    refusal: Option<Refusal>,
}

impl Error {
    /// A failure with the sentence its caller reads.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            message: message.into(),
            context: Vec::new(),
            faults: Vec::new(),
            metadata: BTreeMap::new(),
            object: None,
            retry_after: None,
            cause: None,
            refusal: None,
        }))
    }

    /// A request whose fields are wrong.
    pub fn fields(faults: Vec<Fault>) -> Self {
        let summary = match faults.as_slice() {
            [fault] => format!("{}: {}", fault.field, fault.description),
            [fault, ..] => format!("{}: {} (and {} more)", fault.field, fault.description, faults.len() - 1),
            [] => "the request is invalid".to_owned(),
        };
        let mut error = Self::new(ErrorKind::FieldInvalid, summary);
        error.0.faults = faults;
        error
    }

    /// Something that must not happen; `context` says what, for the log.
    pub fn internal(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, "internal error; the adapter's log says more").because(context)
    }

    /// Adds a line for the log.
    #[must_use]
    pub fn because(mut self, context: impl Into<String>) -> Self {
        self.0.context.push(context.into());
        self
    }

    /// Adds the faults of a request.
    #[must_use]
    pub fn with_faults(mut self, faults: Vec<Fault>) -> Self {
        self.0.faults = faults;
        self
    }

    /// Adds a machine-readable fact.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.0.metadata.insert(key, value.into());
        self
    }

    /// Says what of the object was refused.
    #[must_use]
    pub fn refused(mut self, refusal: Refusal) -> Self {
        self.0.refusal = Some(refusal);
        self
    }

    /// Names the object it happened to.
    #[must_use]
    pub fn about(mut self, kind: impl Into<String>, name: impl Into<String>) -> Self {
        self.0.object = Some((kind.into(), name.into()));
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// Puts a text before the caller's sentence.
    #[must_use]
    pub fn prefixed(mut self, prefix: &str) -> Self {
        self.0.message.insert_str(0, prefix);
        self
    }

    /// Puts a text behind the caller's sentence.
    #[must_use]
    pub fn followed(mut self, text: &str) -> Self {
        self.0.message.push_str(text);
        self
    }

    /// Takes this text off the end of the caller's sentence, if it ends so.
    #[must_use]
    pub fn without(mut self, end: &str) -> Self {
        if let Some(rest) = self.0.message.strip_suffix(end) {
            self.0.message.truncate(rest.len());
        }
        self
    }

    /// The kind that decides the code: of an incomplete update that of its first failure.
    pub fn deciding_kind(&self) -> ErrorKind {
        self.0.cause.unwrap_or(self.0.kind)
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The sentence for the caller.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The lines for the log.
    pub fn context(&self) -> &[String] {
        &self.0.context
    }

    /// The wrong fields, all of them.
    pub fn faults(&self) -> &[Fault] {
        &self.0.faults
    }

    /// Machine-readable facts.
    pub fn metadata(&self) -> &BTreeMap<&'static str, String> {
        &self.0.metadata
    }

    /// What of the object was refused, if that is known.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.0.refusal.as_ref()
    }

    /// Kind and name of the object it happened to.
    pub fn object(&self) -> Option<(&str, &str)> {
        self.0.object.as_ref().map(|(kind, name)| (kind.as_str(), name.as_str()))
    }

    /// When to try again, if that is known.
    pub fn retry_delay(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;
