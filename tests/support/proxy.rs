//! A road to the API server with faults of one's own: requests are delayed, noted, or answered from a record.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

use super::patience::Seeded;

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
    /// It is passed on after a pause.
    Late(Duration),
    /// It is never answered, nor passed on.
    Silence,
    /// Its answer begins and never goes on; it is not passed on.
    Stall,
    /// It is kept, to be delivered when nobody waits for its answer any more; the gate closes behind it.
    Keep(Kept),
}

/// A request that is on its way for longer than its sender lives or waits.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    request: Arc<Mutex<Option<http::Request<Vec<u8>>>>>,
    taken: Arc<Notify>,
}

impl Kept {
    /// Waits until there is one.
    pub async fn taken(&self) {
        self.taken.notified().await;
    }

    /// Delivers it; returns the code of its answer and what that says.
    pub async fn deliver(&self, client: &kube::Client) -> (u16, String) {
        let request = self.request.lock().expect("no panic while passing").take();
        let request = request.expect("a request was kept").map(kube::client::Body::from);
        let answer = client.send(request).await.expect("the API server answers");
        let code = answer.status().as_u16();
        let body = to_bytes(Body::new(answer.into_body()), LIMIT).await.expect("an answer's body");
        (code, String::from_utf8_lossy(&body).into_owned())
    }
}

/// Where on its way a call is when something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The API server has not got it.
    Unsent,
    /// The API server has carried it out, and its sender does not know.
    Unanswered,
    /// Its sender has the answer.
    Answered,
}

/// Closes the gate at one call.
#[derive(Default)]
struct Trap {
    /// Which calls count: those whose path and query hold this part.
    part: String,
    /// How many have come.
    calls: usize,
    at: Option<(usize, Point)>,
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
    trap: Arc<Mutex<Trap>>,
    sprung: Arc<Notify>,
    /// Whether calls pass; those that do not wait until they may.
    open: watch::Sender<bool>,
    /// Chance, and how probable it is that a call meets a fault.
    weather: Arc<Mutex<Option<(Seeded, f64)>>>,
}

impl Proxy {
    /// Passes requests on through this client, each after a delay.
    pub async fn start(client: kube::Client, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let road = Road {
            client,
            delay,
            passed: Arc::default(),
            rules: Arc::default(),
            trap: Arc::default(),
            sprung: Arc::default(),
            open: watch::Sender::new(true),
            weather: Arc::default(),
        };
        let router = Router::new().fallback(pass).with_state(road.clone());
        #[expect(clippy::disallowed_methods, reason = "the test's runtime ends it")]
        tokio::spawn(async move { axum::serve(listener, router).await.expect("the proxy ends well") });
        Self { url, road }
    }

    /// How a client reaches it.
    pub fn config(&self) -> kube::Config {
        kube::Config::new(self.url.parse().expect("an address"))
    }

    /// A kubeconfig with which a process reaches it.
    pub fn kubeconfig(&self) -> PathBuf {
        let port = self.url.rsplit(':').next().expect("a port");
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("proxy-{port}.kubeconfig"));
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{ "name": "proxy", "cluster": { "server": self.url } }],
            "contexts": [{ "name": "proxy", "context": { "cluster": "proxy", "user": "" } }],
        });
        std::fs::write(&path, text.to_string()).expect("a file");
        path
    }

    /// Counts the calls from now on whose path and query hold this part, watches left out; closes the gate at one.
    pub fn trap(&self, part: &str, at: Option<(usize, Point)>) {
        *self.road.trap.lock().expect("no panic while passing") =
            Trap { part: part.to_owned(), calls: 0, at };
    }

    /// How many calls have come since.
    pub fn calls(&self) -> usize {
        self.road.trap.lock().expect("no panic while passing").calls
    }

    /// Waits until the trap has closed the gate.
    pub async fn sprung(&self) {
        self.road.sprung.notified().await;
    }

    /// Closes the gate: from now on calls wait, and so do answers that have not come yet.
    pub fn close(&self) {
        self.road.open.send_replace(false);
    }

    /// Opens the gate to all that wait.
    pub fn open(&self) {
        self.road.open.send_replace(true);
    }

    /// Lets a fault befall each call with this probability; zero: none any more.
    pub fn weather(&self, seed: u64, probability: f64) {
        *self.road.weather.lock().expect("no panic while passing") = Some((Seeded::new(seed), probability));
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

    /// What chance does to a call: how long it is held up, and the fault that befalls it.
    fn chance(&self) -> (Duration, Option<Fault>) {
        let mut weather = self.weather.lock().expect("no panic while passing");
        let Some((seeded, probability)) = weather.as_mut() else { return (Duration::ZERO, None) };
        if seeded.next() >= *probability {
            return (Duration::ZERO, None);
        }
        let kind = seeded.next();
        if kind < 0.3 {
            return (Duration::from_secs_f64(seeded.next()), None);
        }
        let fault = match kind {
            kind if kind < 0.5 => Fault::LoseAnswer,
            kind if kind < 0.7 => Fault::quota_conflict(),
            kind if kind < 0.85 => Fault::status(503, "ServiceUnavailable", "no", &json!({})),
            _ => Fault::status(500, "InternalError", "etcdserver: leader changed", &json!({})),
        };
        (Duration::ZERO, Some(fault))
    }

    /// Whether the trap closes the gate at this call, and where on its way.
    fn springs(&self, uri: &str) -> Option<Point> {
        let mut trap = self.trap.lock().expect("no panic while passing");
        if !uri.contains(&trap.part) {
            return None;
        }
        trap.calls += 1;
        trap.at.filter(|(call, _)| *call == trap.calls).map(|(_, point)| point)
    }

    fn spring(&self) {
        self.open.send_replace(false);
        self.sprung.notify_one();
    }

    async fn opened(&self) {
        let mut open = self.open.subscribe();
        open.wait_for(|open| *open).await.expect("the proxy lives");
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
    let is_watch = uri.contains("watch=true");
    road.opened().await;
    let point = if is_watch { None } else { road.springs(&uri) };
    if point == Some(Point::Unsent) {
        road.spring();
        road.opened().await;
    }
    tokio::time::sleep(road.delay).await;
    let (pause, chance) = if is_watch { (Duration::ZERO, None) } else { road.chance() };
    tokio::time::sleep(pause).await;
    let fault = road.fault(&method, &uri).or(chance);
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
        Some(Fault::Keep(kept)) => {
            *kept.request.lock().expect("no panic while passing") =
                Some(http::Request::from_parts(head, body.to_vec()));
            road.open.send_replace(false);
            kept.taken.notify_one();
            return std::future::pending().await;
        }
        Some(Fault::Late(pause)) => tokio::time::sleep(*pause).await,
        Some(Fault::LoseAnswer) | None => {}
    }
    let (headers, sent) = (head.headers.clone(), body.clone());
    let request = http::Request::from_parts(head, kube::client::Body::from(body));
    // The API server gives up on what takes longer than its sender asked for.
    let Ok(answer) = road.client.send(request).await else { return lost() };
    let (mut head, answer) = answer.into_parts();
    // The client has unpacked the answer: its length is another.
    head.headers.remove(http::header::CONTENT_LENGTH);
    head.headers.remove(http::header::TRANSFER_ENCODING);
    let answer = Body::new(answer);
    if is_watch {
        return Response::from_parts(head, answer);
    }
    let Ok(answer) = to_bytes(answer, usize::MAX).await else { return lost() };
    let (code, ended) = (head.status.as_u16(), Instant::now());
    let passed = Passed { method, uri, headers, sent, code, answer: answer.clone(), began, ended };
    road.passed.lock().expect("no panic while passing").push(passed);
    match point {
        Some(Point::Unanswered) => road.spring(),
        // The answer is on its way when the gate closes.
        Some(Point::Answered) => {
            road.spring();
            return Response::from_parts(head, Body::from(answer));
        }
        Some(Point::Unsent) | None => {}
    }
    road.opened().await;
    if matches!(fault, Some(Fault::LoseAnswer)) {
        return lost();
    }
    Response::from_parts(head, Body::from(answer))
}
