//! A road to the API server with faults of one's own: requests are delayed, noted, or answered from a record.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The largest request that is passed on, in bytes.
const LIMIT: usize = 4 * 1024 * 1024;

/// One request as the proxy passed it on.
#[derive(Clone, Debug)]
pub struct Passed {
    pub method: String,
    /// Path and query.
    pub uri: String,
    pub headers: http::HeaderMap,
    /// What was sent, and what was answered.
    pub sent: Bytes,
    pub code: u16,
    pub answer: Bytes,
    pub began: Instant,
    pub ended: Instant,
}

/// What happens to a request instead of what should.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is answered from a record and never passed on.
    Answer { code: u16, headers: Vec<(&'static str, &'static str)>, body: String },
    /// It is passed on, and its answer is lost with the connection.
    LoseAnswer,
    /// It is never answered, nor passed on.
    Silence,
    /// Its answer begins and never goes on; it is not passed on.
    Stall,
}

impl Fault {
    /// A Status as the API server writes it.
    pub fn status(code: u16, reason: &str, message: &str, details: &Value) -> Self {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "details": details, "code": code,
        });
        let headers = vec![("content-type", "application/json")];
        Fault::Answer { code, headers, body: status.to_string() }
    }

    /// What a quota answers when others have written its counts meanwhile.
    pub fn quota_conflict() -> Self {
        let message = "Operation cannot be fulfilled on resourcequotas \"counts\": the object has been modified; \
                       please apply your changes to the latest version and try again";
        Self::status(409, "Conflict", message, &json!({ "name": "counts", "kind": "resourcequotas" }))
    }
}

/// A fault, and which requests it befalls.
struct Rule {
    method: &'static str,
    part: String,
    left: usize,
    fault: Fault,
}

/// A proxy on loopback; ends with the test's runtime.
pub struct Proxy {
    /// Where it listens.
    pub url: String,
    road: Road,
}

#[derive(Clone)]
struct Road {
    client: kube::Client,
    delay: Duration,
    passed: Arc<Mutex<Vec<Passed>>>,
    rules: Arc<Mutex<Vec<Rule>>>,
}

impl Proxy {
    /// Passes requests on through this client, each after a delay.
    pub async fn start(client: kube::Client, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let road = Road { client, delay, passed: Arc::default(), rules: Arc::default() };
        let router = Router::new().fallback(pass).with_state(road.clone());
        #[expect(clippy::disallowed_methods, reason = "the test's runtime ends it")]
        tokio::spawn(async move { axum::serve(listener, router).await.expect("the proxy ends well") });
        Self { url, road }
    }

    /// How a client reaches it.
    pub fn config(&self) -> kube::Config {
        kube::Config::new(self.url.parse().expect("an address"))
    }

    /// The requests that have been answered so far, watches left out.
    pub fn passed(&self) -> Vec<Passed> {
        self.road.passed.lock().expect("no panic while passing").clone()
    }

    /// Lets a fault befall the next so many requests of this method whose path and query hold this part.
    pub fn befall(&self, method: &'static str, part: &str, times: usize, fault: Fault) {
        let rule = Rule { method, part: part.to_owned(), left: times, fault };
        self.road.rules.lock().expect("no panic while passing").push(rule);
    }

    /// How many faults are still to come: those of rules that have met fewer requests than they were made for.
    pub fn to_come(&self) -> usize {
        self.road.rules.lock().expect("no panic while passing").iter().map(|rule| rule.left).sum()
    }

    /// Forgets every fault that is still to come.
    pub fn heal(&self) {
        self.road.rules.lock().expect("no panic while passing").clear();
    }
}

impl Road {
    /// The fault that befalls a request, if one does.
    fn fault(&self, method: &str, uri: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().expect("no panic while passing");
        let rule = rules
            .iter_mut()
            .find(|rule| rule.left > 0 && rule.method == method && uri.contains(&rule.part))?;
        rule.left -= 1;
        Some(rule.fault.clone())
    }
}

/// An answer whose connection breaks before it is whole.
fn lost() -> Response {
    let broken = futures::stream::iter([Err::<Vec<u8>, _>(std::io::Error::other("lost"))]);
    Response::new(Body::from_stream(broken))
}

async fn pass(State(road): State<Road>, request: Request) -> Response {
    let began = Instant::now();
    let (mut head, body) = request.into_parts();
    head.headers.remove(http::header::HOST);
    let body = to_bytes(body, LIMIT).await.expect("a request's body");
    let (method, uri) = (head.method.to_string(), head.uri.to_string());
    tokio::time::sleep(road.delay).await;
    let fault = road.fault(&method, &uri);
    match &fault {
        Some(Fault::Answer { code, headers, body }) => {
            let mut answer = http::Response::builder().status(*code);
            for (name, value) in headers {
                answer = answer.header(*name, *value);
            }
            return answer.body(Body::from(body.clone())).expect("an answer");
        }
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::Stall) => {
            let stalled = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
            return Response::new(Body::from_stream(stalled));
        }
        Some(Fault::LoseAnswer) | None => {}
    }
    let (headers, sent) = (head.headers.clone(), body.clone());
    let request = http::Request::from_parts(head, kube::client::Body::from(body));
    let answer = road.client.send(request).await.expect("the API server answers");
    let (mut head, answer) = answer.into_parts();
    // The client has unpacked the answer: its length is another.
    head.headers.remove(http::header::CONTENT_LENGTH);
    head.headers.remove(http::header::TRANSFER_ENCODING);
    let answer = Body::new(answer);
    if uri.contains("watch=true") {
        return Response::from_parts(head, answer);
    }
    let answer = to_bytes(answer, usize::MAX).await.expect("an answer's body");
    let (code, ended) = (head.status.as_u16(), Instant::now());
    let passed = Passed { method, uri, headers, sent, code, answer: answer.clone(), began, ended };
    road.passed.lock().expect("no panic while passing").push(passed);
    if fault.is_some() {
        return lost();
    }
    Response::from_parts(head, Body::from(answer))
}
