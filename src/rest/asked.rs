//! What a request asks for, by its method and path alone.

use axum::http::Method;
use axum::response::Response;
use tracing::{Span, info_span};

use super::answers::Refusal;
use crate::callers::Acting;
use crate::template::shown;

/// What is served under a path, and what may be asked of it.
const OF_SERVICES: &str = "GET, HEAD, POST";
const OF_SERVICE: &str = "GET, HEAD, PUT, DELETE";
const OF_PAGE: &str = "GET, HEAD";

/// A request, as far as its first line says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    what: What,
    namespace: String,
    /// Whether no answer has a body: the Go agent closes none of a DELETE, and loses a connection with each.
    is_silent: bool,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Deploy a list of services.
    Create,
    /// All services.
    List,
    /// One service.
    Get(String),
    /// An end of one service, and of all that were deployed with it.
    Delete(String),
    /// Another form of one service, which no adapter ever had.
    Update,
    /// What the adapter is.
    Metadata,
    /// How it is.
    Health,
    /// A method that the path does not have; it has these.
    Method(&'static str),
    /// A path that there is not.
    Unknown,
}

impl Asked {
    /// Reads method and path. Empty parts of the path are left out: a slash at the end of the agent's setting becomes
    /// two in front of the path.
    pub fn of(method: &Method, path: &str) -> Self {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (namespace, parts) = match parts.as_slice() {
            ["namespaces", namespace, rest @ ..] => (*namespace, rest),
            all => ("", all),
        };
        let reads = method == Method::GET || method == Method::HEAD;
        let what = match parts {
            ["v1", "services"] if method == Method::POST => What::Create,
            ["v1", "services"] if reads => What::List,
            ["v1", "services"] => What::Method(OF_SERVICES),
            ["v1", "services", id] if reads => What::Get((*id).to_owned()),
            ["v1", "services", id] if method == Method::DELETE => What::Delete((*id).to_owned()),
            ["v1", "services", _] if method == Method::PUT => What::Update,
            ["v1", "services", _] => What::Method(OF_SERVICE),
            ["v1", "metadata"] if reads => What::Metadata,
            ["healthcheck"] if reads => What::Health,
            ["v1", "metadata"] | ["healthcheck"] => What::Method(OF_PAGE),
            _ => What::Unknown,
        };
        Self { what, namespace: namespace.to_owned(), is_silent: method == Method::DELETE }
    }

    pub(super) fn what(&self) -> &What {
        &self.what
    }

    /// The namespace of the path; empty: it names none.
    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether it is for everybody: it tells how the adapter is and what it is.
    pub fn is_open(&self) -> bool {
        matches!(self.what, What::Metadata | What::Health)
    }

    /// Every word that [`Self::label`] has for what is served.
    pub const LABELS: [&str; 7] = [
        "Rest/Create",
        "Rest/List",
        "Rest/Get",
        "Rest/Delete",
        "Rest/Update",
        "Rest/Metadata",
        "Rest/Health",
    ];

    /// Its word in labels and log lines; there is one for all that is not served.
    pub fn label(&self) -> &'static str {
        match self.what {
            What::Create => "Rest/Create",
            What::List => "Rest/List",
            What::Get(_) => "Rest/Get",
            What::Delete(_) => "Rest/Delete",
            What::Update => "Rest/Update",
            What::Metadata => "Rest/Metadata",
            What::Health => "Rest/Health",
            What::Method(_) | What::Unknown => "Rest/unknown",
        }
    }

    /// Why a request is refused whose path there is not, or has not this method; `None`: it is served.
    pub fn missing(&self) -> Option<Refusal> {
        match self.what {
            What::Unknown => Some(Refusal::unknown_route()),
            What::Method(allowed) => Some(Refusal::method(allowed)),
            _ => None,
        }
    }

    /// The span of a request of somebody; what it names is whatever somebody has sent.
    pub fn span(&self, acting: &Acting) -> Span {
        let (method, namespace) = (self.label(), shown(&self.namespace));
        info_span!("call", method, namespace, caller = acting.name().unwrap_or_default())
    }

    /// The answer to a request that is refused; in the log, too, if it `is_told` or the failure is ours.
    pub fn refused(&self, refusal: &Refusal, is_told: bool) -> Response {
        if is_told || refusal.is_ours() {
            refusal.log(self.label());
        }
        refusal.answer(self.is_silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &Method, path: &str) -> (What, String) {
        let asked = Asked::of(method, path);
        (asked.what, asked.namespace)
    }

    #[test]
    fn paths_and_methods_are_the_contracts() {
        let id = || "wp.agent-db-d72d60dd.f97cf882".to_owned();
        let of = |id: &str| format!("/v1/services/{id}");
        for (method, path, what) in [
            (Method::POST, "/v1/services".to_owned(), What::Create),
            (Method::GET, "/v1/services".to_owned(), What::List),
            (Method::GET, of(&id()), What::Get(id())),
            (Method::HEAD, of(&id()), What::Get(id())),
            (Method::DELETE, of(&id()), What::Delete(id())),
            (Method::PUT, of(&id()), What::Update),
            (Method::PATCH, of(&id()), What::Method(OF_SERVICE)),
            (Method::PUT, "/v1/services".to_owned(), What::Method(OF_SERVICES)),
            (Method::GET, "/v1/metadata".to_owned(), What::Metadata),
            (Method::POST, "/v1/metadata".to_owned(), What::Method(OF_PAGE)),
            (Method::GET, "/healthcheck".to_owned(), What::Health),
            (Method::GET, "/v1/healthcheck".to_owned(), What::Unknown),
            (Method::GET, "/v2/services".to_owned(), What::Unknown),
            (Method::GET, "/v1/services/a/b".to_owned(), What::Unknown),
            (Method::GET, "*".to_owned(), What::Unknown),
            (Method::GET, "/".to_owned(), What::Unknown),
        ] {
            for (prefix, namespace) in
                [("", ""), ("/", ""), ("/namespaces/shop", "shop"), ("//namespaces//shop/", "shop")]
            {
                let path = format!("{prefix}{path}");
                if path.contains('*') {
                    continue;
                }
                assert_eq!(asked(&method, &path), (what.clone(), namespace.to_owned()), "{path}");
            }
        }
        assert_eq!(asked(&Method::GET, "/namespaces").0, What::Unknown);
        assert_eq!(asked(&Method::GET, "/namespaces/shop").0, What::Unknown);
        assert_eq!(asked(&Method::GET, "/v1/services/").0, What::List);
    }

    #[test]
    fn only_what_tells_about_the_adapter_is_for_everybody() {
        let is_open = |method, path| Asked::of(&method, path).is_open();
        assert!(is_open(Method::GET, "/v1/metadata") && is_open(Method::GET, "/healthcheck"));
        for (method, path) in [
            (Method::GET, "/v1/services"),
            (Method::POST, "/v1/services"),
            (Method::GET, "/v1/services/a.agent-a-00000000.00000000"),
            (Method::POST, "/v1/metadata"),
            (Method::GET, "/metadata"),
            (Method::GET, "/"),
        ] {
            assert!(!is_open(method, path), "{path}");
        }
    }
}
