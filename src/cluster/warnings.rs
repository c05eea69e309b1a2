//! Collects the API server's Warning headers, which the client would drop.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderMap, Method, Request, Response};
use tower::{Layer, Service};

/// Warnings kept for one operation; more would only repeat themselves.
const LIMIT: usize = 50;

tokio::task_local! {
    static WARNINGS: RefCell<Vec<String>>;
}

/// Runs an operation and returns what the API server warned of meanwhile, each text once.
pub async fn collecting<F: Future>(operation: F) -> (F::Output, Vec<String>) {
    WARNINGS
        .scope(RefCell::new(Vec::new()), async {
            let output = operation.await;
            let warnings = WARNINGS.with(|warnings| std::mem::take(&mut *warnings.borrow_mut()));
            (output, warnings)
        })
        .await
}

/// The text of a header of the form `299 - "text"`.
fn text_of(header: &str) -> Option<String> {
    let (_, quoted) = header.split_once('"')?;
    let text = quoted.strip_suffix('"').unwrap_or(quoted);
    Some(text.replace("\\\"", "\""))
}

/// Whether a call is about a head or a revision: a warning may quote what it is about, and what these hold is nobody's.
///
/// Heads are the only ConfigMaps, and revisions the only Secrets that are created by POST: those of components are
/// applied.
fn is_about_records(method: &Method, path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let ["", "api", "v1", "namespaces", _, resource @ ..] = parts.as_slice() else { return false };
    match resource {
        ["configmaps"] | ["configmaps", _] => true,
        ["secrets"] => method == Method::POST,
        ["secrets", name] => method == Method::DELETE && name.starts_with("panamax-deployment-"),
        _ => false,
    }
}

/// Remembers the warnings of one answer, if an operation is collecting them.
fn remember(headers: &HeaderMap) {
    for header in headers.get_all(http::header::WARNING) {
        let Some(text) = header.to_str().ok().and_then(text_of) else { continue };
        // Outside of an operation nobody asked for warnings: a watch, a probe.
        let _ = WARNINGS.try_with(|warnings| {
            let mut warnings = warnings.borrow_mut();
            if warnings.len() < LIMIT && !warnings.contains(&text) {
                warnings.push(text);
            }
        });
    }
}

/// The layer that sees every answer.
pub(super) struct CollectWarnings;

impl<S> Layer<S> for CollectWarnings {
    type Service = Collecting<S>;

    fn layer(&self, inner: S) -> Collecting<S> {
        Collecting { inner }
    }
}

/// The service made by [`CollectWarnings`].
#[derive(Clone)]
pub(super) struct Collecting<S> {
    inner: S,
}

impl<S, B, C> Service<Request<B>> for Collecting<S>
where
    S: Service<Request<B>, Response = Response<C>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<C>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_about_records = is_about_records(request.method(), request.uri().path());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            if !is_about_records {
                remember(answer.headers());
            }
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_about_records_are_nobodys() {
        let base = "/api/v1/namespaces/default";
        for (method, path, is_about_records) in [
            (Method::PUT, "configmaps/panamax-deployment-wp", true),
            (Method::POST, "configmaps", true),
            (Method::POST, "secrets", true),
            (Method::DELETE, "secrets/panamax-deployment-wp-r1-01234567", true),
            (Method::PATCH, "secrets/db-environment", false),
            (Method::PATCH, "services/configmaps", false),
            (Method::PATCH, "pods/wp-pod", false),
        ] {
            assert_eq!(
                super::is_about_records(&method, &format!("{base}/{path}")),
                is_about_records,
                "{path}"
            );
        }
    }

    #[test]
    fn takes_the_quoted_text() {
        assert_eq!(
            text_of(r#"299 - "v1 Endpoints is deprecated""#).as_deref(),
            Some("v1 Endpoints is deprecated")
        );
        assert_eq!(text_of("299 -"), None);
    }
}
