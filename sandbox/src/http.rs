//! Speaks HTTP: routes a request to a verb and shows the answer in the form that was asked for.
use super::Shared;
use super::call::Call;
use super::failure::Failure;
use super::kinds::Kind;
use super::removal;
use super::selection::Selection;
use super::store::{Key, Store};
use super::stored::Stored;
use super::watch::Watch;
use super::writes;
use axum::body::{Body, to_bytes};
use axum::extract::{Query, Request, State};
use axum::http::{Method, StatusCode, header, request::Parts};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

type Answer = Result<Response, Failure>;

/// As large as the real server reads.
const LARGEST_BODY: usize = 3 * 1024 * 1024;

/// What a query may say.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    field_manager: String,
    dry_run: String,
    force: String,
    watch: String,
    label_selector: String,
    field_selector: String,
    resource_version: String,
    timeout_seconds: Option<u64>,
    limit: Option<usize>,
    r#continue: String,
}

/// Answers one request.
pub async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    match answer(shared, request).await {
        Ok(response) => response,
        Err(failure) => show(failure.code, failure.status().to_string()),
    }
}

async fn answer(shared: Arc<Shared>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let key = match parts.uri.path() {
        "/version" => {
            let version = json!({ "major": "1", "minor": "37", "gitVersion": "v1.37.0+sandbox" });
            return Ok(show(200, version.to_string()));
        }
        "/readyz" => return Ok("ok".into_response()),
        path => route(path)
            .ok_or_else(|| Failure::new(404, "NotFound", "the server could not find the resource"))?,
    };
    let query = Query::try_from_uri(&parts.uri).map_err(|error| Failure::bad_request(error.to_string()))?.0;
    if parts.method == Method::GET {
        return read(&shared, key, &query, text(&parts, &header::ACCEPT));
    }
    let body = to_bytes(body, LARGEST_BODY).await.map_err(|error| Failure::bad_request(error.to_string()))?;
    let body = std::str::from_utf8(&body).map_err(|error| Failure::bad_request(error.to_string()))?;
    let body = if body.is_empty() { "null" } else { body };
    let body = body.parse().map_err(|error: serde_json::Error| Failure::bad_request(error.to_string()))?;
    write(&mut shared.store(), key, &query, &parts, &body)
}

fn text<'a>(parts: &'a Parts, name: &header::HeaderName) -> &'a str {
    parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The object that a path names; without a name it is the collection.
fn route(path: &str) -> Option<Key> {
    let (version, path) = match path.strip_prefix("/api/v1/") {
        Some(path) => ("v1", path),
        None => ("apps/v1", path.strip_prefix("/apis/apps/v1/")?),
    };
    let segments: Vec<&str> = path.split('/').collect();
    let (namespace, plural, name) = match *segments {
        [plural] => ("", plural, ""),
        ["namespaces", name] => ("", "namespaces", name),
        ["namespaces", namespace, plural] => (namespace, plural, ""),
        ["namespaces", namespace, plural, name] => (namespace, plural, name),
        _ => return None,
    };
    let kind = Kind::of_plural(version, plural)?;
    (kind != Kind::Namespace || namespace.is_empty()).then(|| Key::new(kind, namespace, name))
}

fn write(store: &mut Store, key: Key, query: &Parameters, parts: &Parts, body: &Value) -> Answer {
    let agent = text(parts, &header::USER_AGENT).split('/').next().unwrap_or_default();
    let manager = if query.field_manager.is_empty() { agent } else { &query.field_manager };
    let dry_run = query.dry_run == "All" || body["dryRun"] == json!(["All"]);
    let call = Call { key, manager: manager.to_owned(), dry_run, force: query.force == "true" };
    let (code, object) = match (parts.method.as_str(), call.key.name.is_empty()) {
        ("POST", true) => (201, writes::create(store, call, body)?),
        ("PUT", false) => (200, writes::replace(store, &call, body)?),
        ("DELETE", false) => (200, Arc::new(Stored::new(removal::delete(store, &call.key, body, dry_run)?))),
        ("PATCH", false) if !text(parts, &header::CONTENT_TYPE).starts_with("application/apply-patch") => {
            return Err(Failure::new(415, "UnsupportedMediaType", "only apply patches are served"));
        }
        ("PATCH", false) if query.field_manager.is_empty() => return Err(Failure::no_manager()),
        ("PATCH", false) => {
            let (created, object) = writes::apply(store, &call, body)?;
            (if created { 201 } else { 200 }, object)
        }
        _ => return Err(Failure::new(405, "MethodNotAllowed", "the resource does not allow this method")),
    };
    let form = if object["kind"] == "Status" { Stored::whole } else { form(text(parts, &header::ACCEPT)) };
    Ok(show(code, form(&object)))
}

fn read(shared: &Arc<Shared>, key: Key, query: &Parameters, accept: &str) -> Answer {
    let watching = matches!(query.watch.as_str(), "true" | "1");
    if !key.name.is_empty() {
        let found = shared.store().get(&key).cloned().ok_or_else(|| Failure::not_found(&key))?;
        return Ok(show(200, form(accept)(&found)));
    }
    let selection = Selection::parse(&query.label_selector, &query.field_selector)?;
    if !watching {
        return list(&shared.store(), &key, query, &selection, accept);
    }
    let from = match query.resource_version.as_str() {
        "" | "0" => None,
        text => Some(text.parse().map_err(|_| Failure::schema("resourceVersion: Invalid value"))?),
    };
    let (kind, namespace, timeout) = (key.kind, key.namespace, query.timeout_seconds);
    let watch = Watch { kind, namespace, selection, from, timeout, show: form(accept) };
    let body = Body::from_stream(watch.lines(shared.clone()));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn list(store: &Store, key: &Key, query: &Parameters, selection: &Selection, accept: &str) -> Answer {
    let partial = accept.contains("as=PartialObjectMetadataList");
    let after = match query.r#continue.split_once('/') {
        Some((namespace, name)) => Some(Key::new(key.kind, namespace, name)),
        None if query.r#continue.is_empty() => None,
        None => return Err(Failure::bad_request("continue key is not valid")),
    };
    let rest = store
        .list(key.kind, &key.namespace)
        .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
    let mut rest = rest.filter(|(_, object)| selection.matches(object));
    let page: Vec<_> =
        rest.by_ref().take(query.limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX)).collect();
    let mut metadata = json!({ "resourceVersion": store.revision().to_string() });
    if let (Some((last, _)), Some(_)) = (page.last(), rest.next()) {
        metadata["continue"] = json!(format!("{}/{}", last.namespace, last.name));
    }
    let item = |object: &Stored| match partial {
        true => object.metadata_only(),
        false => object.without_kind().to_owned(),
    };
    let items: Vec<String> = page.into_iter().map(|(_, object)| item(object)).collect();
    let (kind, version) = match partial {
        true => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1"),
        false => (format!("{}List", key.kind.name()), key.kind.version()),
    };
    let items = items.join(",");
    let list =
        format!(r#"{{"kind":"{kind}","apiVersion":"{version}","metadata":{metadata},"items":[{items}]}}"#);
    Ok(show(200, list))
}

/// How one object is shown: whole or as its metadata.
fn form(accept: &str) -> fn(&Stored) -> String {
    if accept.contains("as=PartialObjectMetadata;") { Stored::metadata_only } else { Stored::whole }
}

fn show(code: u16, body: String) -> Response {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
