//! The calls of one operation as the product made them, and a bare client that makes the same again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, join_all};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt;
use serde_json::Value;

use crate::support::proxy::Passed;

/// Marks of calls that are not the operation's own: first lists of watches, renewed leases, what the keeper writes.
const BESIDE: [&str; 3] = ["limit=500", "fieldManager=panamax-keeper", "fieldManager=panamax-lease"];

/// The calls of one operation, in the order of their beginnings.
pub struct Tape {
    calls: Vec<Passed>,
    /// For each call, those that had ended before it began.
    after: Vec<Vec<usize>>,
    namespace: String,
}

impl Tape {
    /// Keeps what belongs to an operation, among everything that a proxy has passed on.
    pub fn of(passed: Vec<Passed>, namespace: &str, began: Instant, answered: Instant) -> Self {
        let mut calls = passed;
        calls.retain(|call| {
            call.uri.contains(&format!("/namespaces/{namespace}/"))
                && call.began >= began
                && call.began < answered
                && !BESIDE.iter().any(|mark| call.uri.contains(mark))
        });
        calls.sort_by_key(|call| call.began);
        let before = |call: &Passed| {
            let ended = calls.iter().enumerate().filter(|(_, other)| other.ended <= call.began);
            ended.map(|(index, _)| index).collect()
        };
        let after = calls.iter().map(before).collect();
        Self { calls, after, namespace: namespace.to_owned() }
    }

    /// Whether no call was refused, as one is that meets a version which somebody has written since.
    pub fn is_smooth(&self) -> bool {
        self.calls.iter().all(|call| call.code != 409)
    }

    /// How many calls there are, and how many of them the longest chain has.
    pub fn shape(&self) -> (usize, usize) {
        let mut depths: Vec<usize> = Vec::new();
        for after in &self.after {
            depths.push(1 + after.iter().map(|index| depths[*index]).max().unwrap_or_default());
        }
        (self.calls.len(), depths.into_iter().max().unwrap_or_default())
    }
}

/// A client that makes the calls of tapes and nothing else.
pub struct Bare {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    server: String,
    token: HeaderValue,
    namespace: String,
    /// Uids and versions on the tapes, and what they are here.
    known: Mutex<HashMap<String, String>>,
}

impl Bare {
    /// A client of the API server at an address, which works in a namespace of its own.
    pub fn new(config: &kube::Config, server: &str, token: &str, namespace: &str) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config.rustls_client_config().expect("a configuration of TLS"))
            .https_only()
            .enable_all_versions()
            .wrap_connector(tcp);
        Self {
            client: Client::builder(TokioExecutor::new()).http2_adaptive_window(true).build(connector),
            server: server.to_owned(),
            token: HeaderValue::from_str(&format!("Bearer {token}")).expect("a token"),
            namespace: namespace.to_owned(),
            known: Mutex::default(),
        }
    }

    /// Opens the connection.
    pub async fn warm(&self) {
        self.send("GET", "/version", HeaderMap::new(), Bytes::new()).await;
    }

    /// Makes the calls of a tape, each as soon as those are answered that it waited for there; returns how long that
    /// took, and `None` if the cluster answered one in another way.
    pub async fn play(&self, tape: &Tape) -> Option<Duration> {
        let began = Instant::now();
        let mut running: Vec<Shared<BoxFuture<'_, bool>>> = Vec::new();
        for (call, after) in tape.calls.iter().zip(&tape.after) {
            let after: Vec<_> = after.iter().map(|index| running[*index].clone()).collect();
            let answered = async move {
                join_all(after).await;
                self.repeat(tape, call).await
            };
            running.push(answered.boxed().shared());
        }
        let alike = join_all(running).await;
        let took = began.elapsed();
        alike.into_iter().all(|alike| alike).then_some(took)
    }

    /// Makes one call again, for this namespace; returns whether it is answered in the same way.
    async fn repeat(&self, tape: &Tape, call: &Passed) -> bool {
        let uri = call.uri.replace(&tape.namespace, &self.namespace);
        let sent = self.translated(&call.sent, &tape.namespace);
        let mut headers = HeaderMap::new();
        for name in [header::ACCEPT, header::CONTENT_TYPE] {
            headers.extend(call.headers.get(&name).cloned().map(|value| (name, value)));
        }
        let (code, answer) = self.send(&call.method, &uri, headers, sent).await;
        let now: HashMap<_, _> = identities(&answer).into_iter().collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, recorded) in identities(&call.answer) {
            let Some(here) = now.get(&name) else { continue };
            known.extend(recorded.into_iter().zip(here.clone()));
        }
        code == call.code
    }

    async fn send(&self, method: &str, uri: &str, mut headers: HeaderMap, sent: Bytes) -> (u16, Bytes) {
        headers.insert(header::AUTHORIZATION, self.token.clone());
        let mut request = http::Request::new(Full::new(sent));
        *request.method_mut() = method.parse().expect("a method");
        *request.uri_mut() = format!("{}{uri}", self.server).parse().expect("an address");
        *request.headers_mut() = headers;
        let answer = self.client.request(request).await.expect("an answer");
        let code = answer.status().as_u16();
        (code, answer.into_body().collect().await.expect("its content").to_bytes())
    }

    /// What was sent, with this namespace and the identities that objects have here.
    fn translated(&self, sent: &Bytes, namespace: &str) -> Bytes {
        if sent.is_empty() {
            return sent.clone();
        }
        let mut text = String::from_utf8_lossy(sent).replace(namespace, &self.namespace);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (recorded, here) in known.iter().filter(|(recorded, _)| text_has(sent, recorded)) {
            text = text.replace(recorded.as_str(), here);
        }
        text.into()
    }
}

fn text_has(sent: &Bytes, part: &str) -> bool {
    std::str::from_utf8(sent).is_ok_and(|text| text.contains(part))
}

/// Uid and version of every object in an answer, by name; versions as they are written into a request.
fn identities(answer: &Bytes) -> Vec<(String, [String; 2])> {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let listed = answer["items"].as_array();
    let objects = listed.map_or_else(|| vec![&answer], |items| items.iter().collect());
    let identity = |object: &Value| {
        let metadata = &object["metadata"];
        let (name, uid) = (metadata["name"].as_str()?, metadata["uid"].as_str()?);
        let version = metadata["resourceVersion"].as_str()?;
        Some((name.to_owned(), [uid.to_owned(), format!("\"resourceVersion\":\"{version}\"")]))
    };
    objects.into_iter().filter_map(identity).collect()
}
