//! What a request asks for, read from its method and address.

use http::{Method, Uri};

use crate::metrics::Verb;

/// Whether it is a watch.
pub(super) fn is_watch(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query.split('&').any(|one| one == "watch=true" || one == "watch=1"))
}

/// Whether a GET of this path, which is no watch, is one of many objects.
pub(super) fn is_list(path: &str) -> bool {
    verb(&Method::GET, path, false) == Verb::List
}

/// What a request asks for, as Kubernetes names it.
pub(super) fn verb(method: &Method, path: &str, is_watch: bool) -> Verb {
    match *method {
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE => Verb::Delete,
        Method::GET if is_watch => Verb::Watch,
        Method::GET => {
            let mut parts = path.split('/').filter(|part| !part.is_empty());
            match parts.next() {
                Some("api") => {}
                Some("apis") => drop(parts.next()),
                _ => return Verb::Other,
            }
            // The version; then the namespace, if any; then the kind and the name.
            let mut parts = parts.skip(1).peekable();
            if parts.next_if_eq(&"namespaces").is_some() {
                parts.next();
                if parts.peek().is_none() {
                    return Verb::Get;
                }
            }
            match parts.count() {
                0 => Verb::Other,
                1 => Verb::List,
                _ => Verb::Get,
            }
        }
        _ => Verb::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_those_of_kubernetes() {
        let get = |path| verb(&Method::GET, path, false);
        assert_eq!(get("/version"), Verb::Other);
        assert_eq!(get("/api/v1/configmaps"), Verb::List);
        assert_eq!(get("/api/v1/namespaces/a"), Verb::Get);
        assert_eq!(get("/api/v1/namespaces/a/pods"), Verb::List);
        assert_eq!(get("/api/v1/namespaces/a/secrets/s"), Verb::Get);
        assert_eq!(get("/apis/apps/v1/namespaces/a/deployments"), Verb::List);
        assert_eq!(get("/apis/apps/v1/namespaces/a/deployments/d/scale"), Verb::Get);
        assert_eq!(verb(&Method::GET, "/api/v1/namespaces/a/pods", true), Verb::Watch);
        assert_eq!(verb(&Method::POST, "/api/v1/namespaces/a/pods", false), Verb::Create);
    }
}
