//! Speaks HTTP: routes a request to a verb and shows the answer in the form that was asked for.
use super::Shared;
use super::failure::Failure;
use super::kinds::{KINDS, Kind};
use super::selection::Selection;
use super::store::{Key, Store};
use super::watch::Watch;
use super::writes::{self, Options, Target};
use super::{discovery, removal};
use axum::body::{Body, to_bytes};
use axum::extract::{Query, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc};

/// As large as the real server reads.
const LARGEST_BODY: usize = 3 * 1024 * 1024;

/// Answers one request.
pub async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    match answer(shared, request).await {
        Ok(response) => response,
        Err(failure) => show(failure.code, &failure.status()),
    }
}

type Parameters = HashMap<String, String>;

/// The resource that a path names; without a name it is the collection.
struct Route<'a> {
    kind: &'static Kind,
    namespace: &'a str,
    name: &'a str,
}

async fn answer(shared: Arc<Shared>, request: Request) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().trim_matches('/').to_owned();
    let segments: Vec<&str> = path.split('/').collect();
    if parts.method == Method::GET
        && let Some(document) = discovery::document(&segments)
    {
        return Ok(show(200, &document));
    }
    let route = route(&segments).ok_or_else(Failure::no_route)?;
    let query = Query::<Parameters>::try_from_uri(&parts.uri)
        .map_err(|error| Failure::bad_request(error.to_string()))?
        .0;
    let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let accept = header(header::ACCEPT);
    if parts.method == Method::GET {
        return read(&shared, &route, &query, accept);
    }
    if header(header::CONTENT_TYPE).starts_with("application/vnd.kubernetes.protobuf") {
        return Err(Failure::unsupported_media());
    }
    let body = to_bytes(body, LARGEST_BODY).await.map_err(|error| Failure::bad_request(error.to_string()))?;
    let body = match body.as_ref() {
        [] => Value::Null,
        bytes => serde_json::from_slice(bytes).map_err(|error| Failure::bad_request(error.to_string()))?,
    };
    let agent = header(header::USER_AGENT).split('/').next().unwrap_or_default();
    let options = options(&query, agent);
    let target = Target { kind: route.kind, namespace: route.namespace, name: route.name };
    let mut store = shared.store();
    let (code, object) = match (&parts.method, route.name) {
        (&Method::POST, "") => (201, writes::create(&mut store, &target, &body, &options)?),
        (_, "") => return Err(Failure::method_not_allowed()),
        (&Method::PUT, _) => (200, writes::replace(&mut store, &target, &body, &options)?),
        (&Method::PATCH, _) => {
            patch(&mut store, &target, header(header::CONTENT_TYPE), &body, &options, &query)?
        }
        (&Method::DELETE, name) => {
            let key = Key::new(route.kind, route.namespace, name);
            let dry_run = options.dry_run || body["dryRun"] == json!(["All"]);
            let answer =
                removal::delete(&mut store, route.kind, &key, &delete_options(body, &query), dry_run)?;
            (200, Arc::new(answer))
        }
        _ => return Err(Failure::method_not_allowed()),
    };
    Ok(show(
        code,
        &if object["kind"] == "Status" { (*object).clone() } else { form(accept)(route.kind, &object) },
    ))
}

fn patch(
    store: &mut Store,
    target: &Target,
    content_type: &str,
    body: &Value,
    options: &Options,
    query: &Parameters,
) -> Result<(u16, Arc<Value>), Failure> {
    match content_type.split(';').next().unwrap_or_default() {
        "application/apply-patch+yaml" | "application/apply-patch+json" => {
            if query.get("fieldManager").is_none_or(String::is_empty) {
                return Err(Failure::no_manager());
            }
            let (created, object) = writes::apply(store, target, body, options)?;
            Ok((if created { 201 } else { 200 }, object))
        }
        "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
            Ok((200, writes::merge(store, target, body, options)?))
        }
        _ => Err(Failure::unsupported_media()),
    }
}

fn route<'a>(segments: &[&'a str]) -> Option<Route<'a>> {
    let (group, rest) = match segments {
        ["api", "v1", rest @ ..] => ("", rest),
        ["apis", "apps", "v1", rest @ ..] => ("apps", rest),
        _ => return None,
    };
    let (namespace, plural, name) = match *rest {
        [plural] => ("", plural, ""),
        ["namespaces", name] => ("", "namespaces", name),
        ["namespaces", namespace, plural] => (namespace, plural, ""),
        ["namespaces", namespace, plural, name] => (namespace, plural, name),
        _ => return None,
    };
    let kind = Kind::find(group, plural)?;
    (kind.namespaced || namespace.is_empty()).then_some(Route { kind, namespace, name })
}

fn options(query: &Parameters, agent: &str) -> Options {
    let is = |name: &str, wanted: &str| query.get(name).is_some_and(|value| value == wanted);
    Options {
        manager: query
            .get("fieldManager")
            .filter(|name| !name.is_empty())
            .cloned()
            .unwrap_or_else(|| agent.to_owned()),
        dry_run: is("dryRun", "All"),
        strict: is("fieldValidation", "Strict"),
        force: is("force", "true"),
    }
}

fn delete_options(mut body: Value, query: &Parameters) -> Value {
    if let Some(policy) = query.get("propagationPolicy") {
        body["propagationPolicy"] = json!(policy);
    }
    if let Some(grace) = query.get("gracePeriodSeconds").and_then(|seconds| seconds.parse::<i64>().ok()) {
        body["gracePeriodSeconds"] = json!(grace);
    }
    body
}

fn read(shared: &Arc<Shared>, route: &Route, query: &Parameters, accept: &str) -> Result<Response, Failure> {
    let given = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    let watching = matches!(given("watch"), "true" | "1");
    if !route.name.is_empty() && !watching {
        let store = shared.store();
        let found = store.get(&Key::new(route.kind, route.namespace, route.name));
        let object = found.ok_or_else(|| Failure::not_found(route.kind, route.name))?;
        return Ok(show(200, &form(accept)(route.kind, object)));
    }
    let selection = Selection::parse(given("labelSelector"), given("fieldSelector"))?;
    if !watching {
        return list(&shared.store(), route, query, &selection, accept);
    }
    let revision = match given("resourceVersion") {
        "" | "0" => None,
        text => Some(
            text.parse().map_err(|_| Failure::schema(format!("resourceVersion: Invalid value: {text:?}")))?,
        ),
    };
    let initial = given("sendInitialEvents") == "true";
    let watch = Watch {
        kind: route.kind,
        namespace: route.namespace.to_owned(),
        selection,
        from: revision.filter(|_| !initial),
        bookmarks: given("allowWatchBookmarks") == "true",
        initial_end: initial,
        timeout: given("timeoutSeconds").parse().ok(),
        show: form(accept),
    };
    let body = Body::from_stream(watch.lines(shared.clone()));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn list(
    store: &Store,
    route: &Route,
    query: &Parameters,
    selection: &Selection,
    accept: &str,
) -> Result<Response, Failure> {
    let partial = accept.contains("as=PartialObjectMetadataList");
    if !partial && accept.contains("as=PartialObjectMetadata;") {
        return Err(Failure::not_acceptable(
            "you requested PartialObjectMetadata, but the requested object is a list",
        ));
    }
    let limit = query.get("limit").and_then(|limit| limit.parse::<usize>().ok()).filter(|limit| *limit > 0);
    let after = match query.get("continue").filter(|token| !token.is_empty()) {
        Some(token) => {
            token.split_once('/').ok_or_else(|| Failure::bad_request("continue key is not valid"))?
        }
        None => ("", ""),
    };
    let rest = store.list(route.kind, route.namespace).filter(|(_, object)| selection.matches(object));
    let mut rest = rest
        .skip_while(|(key, _)| (key.namespace.as_str(), key.name.as_str()) <= after && !after.1.is_empty());
    let page: Vec<_> = rest.by_ref().take(limit.unwrap_or(usize::MAX)).collect();
    let mut metadata = json!({ "resourceVersion": store.revision().to_string() });
    let left = rest.count();
    if let (Some((last, _)), true) = (page.last(), left > 0) {
        metadata["continue"] = json!(format!("{}/{}", last.namespace, last.name));
        // As on the real server, only a list of everything says how much is left.
        if selection.is_empty() {
            metadata["remainingItemCount"] = json!(left);
        }
    }
    let items: Vec<Value> = page.iter().map(|(_, object)| item(object, partial)).collect();
    let (kind, api_version) = match partial {
        true => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
        false => (format!("{}List", route.kind.name), route.kind.api_version()),
    };
    Ok(show(200, &json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items })))
}

/// How one object is shown: whole or as its metadata.
fn form(accept: &str) -> fn(&Kind, &Value) -> Value {
    if accept.contains("as=PartialObjectMetadata;") || accept.ends_with("as=PartialObjectMetadata") {
        |_, object| metadata_only(object)
    } else {
        |kind, object| {
            let mut object = object.clone();
            object["kind"] = json!(kind.name);
            object["apiVersion"] = json!(kind.api_version());
            object
        }
    }
}

fn item(object: &Value, partial: bool) -> Value {
    if partial {
        return metadata_only(object);
    }
    // The list names its kind once.
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("kind");
        map.remove("apiVersion");
    }
    object
}

fn metadata_only(object: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
}

fn show(code: u16, body: &Value) -> Response {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// All namespaces begin with one: `default`.
pub fn first_namespace(store: &mut Store) -> Result<(), Failure> {
    let target = Target { kind: &KINDS[0], namespace: "", name: "default" };
    let body = json!({ "metadata": { "name": "default" } });
    writes::create(store, &target, &body, &Options { manager: "sandbox".to_owned(), ..Options::default() })
        .map(drop)
}
