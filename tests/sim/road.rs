//! The road from one replica to the API server in memory, and everything that can go wrong on it.

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body as Answer;
use futures::{StreamExt, stream};
use http::{Request, Response, header};
use kube::client::Body;
use panamax_kubernetes_adapter::sandbox::Sandbox;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt};

use super::judge;
use super::outside::{Deed, Outsider};

/// How late a call arrives that is later than any lease.
const LATE: Duration = Duration::from_secs(50);
/// How long after the API server has said that it took too long a write is carried out all the same.
const OVERTIME: Duration = Duration::from_secs(2);
/// How long a watch that is cut lives.
const CUT: Duration = Duration::from_millis(30);

/// What the API server never takes has this in its name.
const CURSED: &str = "cursed";
/// What the API server refuses to delete once, unless everything goes.
const KEPT: &str = "services/kept";

/// What can happen to one call, or at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The connection breaks before the request arrives.
    LoseBefore,
    /// The request is carried out, and the connection breaks before the answer arrives.
    LoseAnswer,
    /// A quota of the namespace was written by somebody else at the same time.
    Quota,
    /// The object was written by somebody else at the same time.
    Stale,
    /// The version that is asked for is too old.
    Expired,
    /// The API server asks to wait a second.
    Throttle,
    /// The API server fails.
    Internal,
    /// The API server cannot answer now.
    Unavailable,
    /// The API server says that it took too long, and carries the request out a moment later.
    Overtime,
    /// The request arrives when every lease is over, and its answer never.
    Late,
    /// The watch begins and breaks.
    Cut,
    /// The replica dies before the request arrives.
    DieBefore,
    /// The request is carried out, and the replica dies.
    DieAfter,
    /// Somebody else does this before the request arrives.
    Outside(Deed),
}

impl Fault {
    pub const ALL: [Self; 13] = [
        Self::LoseBefore,
        Self::LoseAnswer,
        Self::Quota,
        Self::Stale,
        Self::Expired,
        Self::Throttle,
        Self::Internal,
        Self::Unavailable,
        Self::Overtime,
        Self::Late,
        Self::Cut,
        Self::DieBefore,
        Self::DieAfter,
    ];

    /// The fault as a schedule's name has it.
    pub fn name(self) -> String {
        match self {
            Self::Outside(deed) => format!("{deed:?}"),
            fault => format!("{fault:?}"),
        }
    }

    /// The fault of this name.
    pub fn named(name: &str) -> Option<Self> {
        let deeds = Deed::ALL.map(Self::Outside);
        Self::ALL.into_iter().chain(deeds).find(|fault| fault.name() == name)
    }

    /// Whether a real API server, or a real network, can do this to such a call.
    pub fn fits(self, call: &Call) -> bool {
        let writes = call.method != "GET";
        match self {
            Self::Quota => writes,
            Self::Stale => call.method == "PUT" || call.method == "PATCH",
            Self::Expired | Self::Cut => call.watches,
            Self::Outside(_) => !call.watches,
            // To lose the answer to what changes nothing is to lose the request.
            Self::LoseAnswer | Self::Overtime | Self::Late | Self::DieAfter => writes,
            Self::LoseBefore | Self::Throttle | Self::Internal | Self::Unavailable | Self::DieBefore => true,
        }
    }

    pub fn kills(self) -> bool {
        matches!(self, Self::DieBefore | Self::DieAfter)
    }
}

/// One call as a trace tells of it: nothing of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub method: String,
    /// Behind the namespace, without what is random in it.
    pub path: String,
    pub watches: bool,
    /// Whether a watch begins with it.
    pub begins: bool,
    /// Whether it renews a lease.
    pub renews: bool,
}

impl Call {
    fn of(request: &Request<Body>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let path = request.uri().path();
        let path = path.split_once("/namespaces/").map_or(path, |(_, path)| path);
        Self {
            method: request.method().to_string(),
            path: plain(path.split_once('/').map_or(path, |(_, path)| path)),
            watches: query.contains("watch="),
            begins: query.contains("limit=500"),
            renews: query.contains("fieldManager=panamax-lease"),
        }
    }

    /// Whether it is one of those that an operation is allowed so many of.
    pub fn counts(&self) -> bool {
        !self.watches && !self.begins && !self.renews
    }
}

/// A path without the random end of a revision's name.
fn plain(path: &str) -> String {
    match path.rsplit_once('-') {
        Some((name, id)) if path.starts_with("secrets/panamax-") && id.len() == 8 => name.to_owned(),
        _ => path.to_owned(),
    }
}

/// What goes wrong on one road.
#[derive(Debug)]
pub enum Faults {
    /// At these calls, counted from 0.
    At(BTreeMap<usize, Fault>),
    /// One of these at so many of a thousand calls, which also take their time.
    Sometimes(Box<StdRng>, u32, Vec<Fault>),
}

impl Faults {
    pub fn none() -> Self {
        Self::At(BTreeMap::new())
    }

    pub fn sometimes(seed: u64, of_thousand: u32, usual: Vec<Fault>) -> Self {
        Self::Sometimes(Box::new(StdRng::seed_from_u64(seed)), of_thousand, usual)
    }

    /// What happens to the next call, and how long it is under way.
    fn next(&mut self, number: usize, call: &Call) -> (Option<Fault>, Duration) {
        match self {
            Self::At(faults) => (faults.remove(&number).filter(|fault| fault.fits(call)), Duration::ZERO),
            Self::Sometimes(chance, of_thousand, usual) => {
                let delay = Duration::from_millis(chance.random_range(0..20));
                let strikes = chance.random_range(0..1000) < *of_thousand;
                let fault = usual[chance.random_range(0..usual.len())];
                (Some(fault).filter(|fault| strikes && fault.fits(call)), delay)
            }
        }
    }
}

/// What all roads of a world write down.
#[derive(Default)]
pub struct Log {
    /// Every call, with its road's name.
    pub calls: Vec<(char, Call)>,
    /// The same as text, with what happened.
    pub trace: Vec<String>,
    /// Requests that are under way and late.
    pub late: usize,
    /// What must never be asked for, if it was.
    pub misdeeds: Vec<String>,
    /// When anything was last asked for that counts.
    pub active: Option<Instant>,
    /// Whether a fault has struck.
    pub has_struck: bool,
    /// Whether somebody has done what was to be done beside the adapter.
    pub is_done: bool,
    /// Whether a delete was refused that is refused once.
    has_kept: bool,
}

/// The road of one replica; its copies are the same road.
#[derive(Clone)]
pub struct Road(Arc<Shared>);

struct Shared {
    name: char,
    api: Router,
    /// What the API server holds, for who judges what is asked of it.
    sandbox: Arc<Sandbox>,
    log: Arc<Mutex<Log>>,
    faults: Mutex<(usize, Faults)>,
    dead: CancellationToken,
    tasks: TaskTracker,
}

impl Road {
    pub fn new(
        name: char,
        (api, sandbox): (Router, Arc<Sandbox>),
        log: Arc<Mutex<Log>>,
        tasks: TaskTracker,
    ) -> Self {
        let faults = Mutex::new((0, Faults::none()));
        Self(Arc::new(Shared { name, api, sandbox, log, faults, dead: CancellationToken::new(), tasks }))
    }

    /// Sets what goes wrong from now on.
    pub fn arm(&self, faults: Faults) {
        *lock(&self.0.faults) = (0, faults);
    }

    /// Resolves when the replica has died.
    pub async fn died(&self) {
        self.0.dead.cancelled().await;
    }

    pub fn is_dead(&self) -> bool {
        self.0.dead.is_cancelled()
    }

    /// Carries one call there and back.
    async fn carry(self, request: Request<Body>) -> io::Result<Response<Answer>> {
        if self.is_dead() {
            return pending().await;
        }
        let call = Call::of(&request);
        // Events are told beside everything: they are no moment of an operation, and nothing follows from them.
        if call.path == "events" {
            let answer = self.0.api.clone().oneshot(request).await;
            return Ok(answer.unwrap_or_else(|never| match never {}));
        }
        let (fault, delay) = {
            let mut faults = lock(&self.0.faults);
            faults.0 += 1;
            let number = faults.0 - 1;
            faults.1.next(number, &call)
        };
        let place = self.note(&call, fault);
        if !delay.is_zero() {
            sleep(delay).await;
        }
        let broken = || Err(io::Error::new(io::ErrorKind::ConnectionReset, "the connection broke"));
        match fault {
            None => self.pass(request, place).await,
            Some(Fault::LoseBefore) => broken(),
            Some(Fault::LoseAnswer) => {
                self.pass(request, place).await?;
                broken()
            }
            Some(Fault::Overtime) => {
                self.pass_later(OVERTIME, request, place);
                Ok(refuse(Fault::Overtime, &call))
            }
            Some(Fault::Late) => {
                self.pass_later(LATE, request, place);
                pending().await
            }
            Some(Fault::Cut) => {
                let body = self.pass(request, place).await?.into_body().into_data_stream();
                let body = body.take_until(sleep(CUT)).map(|chunk| chunk.map_err(io::Error::other));
                let end = stream::once(async { Err(io::ErrorKind::ConnectionReset.into()) });
                Ok(Response::new(Answer::from_stream(body.chain(end))))
            }
            Some(Fault::Outside(deed)) => {
                let outsider = Outsider::new(self.0.api.clone(), Arc::clone(&self.0.sandbox));
                lock(&self.0.log).is_done |= outsider.does(deed).await;
                self.pass(request, place).await
            }
            Some(Fault::DieBefore) => self.die().await,
            Some(Fault::DieAfter) => {
                self.pass(request, place).await?;
                self.die().await
            }
            Some(refusal) => Ok(refuse(refusal, &call)),
        }
    }

    async fn pass(&self, request: Request<Body>, place: usize) -> io::Result<Response<Answer>> {
        if request.method() == http::Method::PATCH && request.uri().path().contains(CURSED) {
            lock(&self.0.log).trace[place].push_str(" 403");
            return Ok(forbid(&Call::of(&request)));
        }
        if request.method() == http::Method::DELETE && self.is_kept(&Call::of(&request)) {
            lock(&self.0.log).trace[place].push_str(" 403");
            return Ok(forbid(&Call::of(&request)));
        }
        let is_dry = request.uri().query().is_some_and(|query| query.contains("dryRun="));
        let misdeed = self.misdeed(&Call::of(&request), is_dry);
        let answer = self.0.api.clone().oneshot(request).await;
        let answer = answer.unwrap_or_else(|never| match never {});
        // A delete that was refused has deleted nothing.
        lock(&self.0.log).misdeeds.extend(misdeed.filter(|_| answer.status().is_success()));
        let code = answer.status().as_u16();
        lock(&self.0.log).trace[place].push_str(&format!(" {code}"));
        Ok(answer)
    }

    /// Carries a call there alone, after this time.
    fn pass_later(&self, delay: Duration, request: Request<Body>, place: usize) {
        lock(&self.0.log).late += 1;
        let road = self.clone();
        self.0.tasks.spawn(async move {
            sleep(delay).await;
            let _ = road.pass(request, place).await;
            lock(&road.0.log).late -= 1;
        });
    }

    async fn die<T>(&self) -> T {
        self.0.dead.cancel();
        pending().await
    }

    fn note(&self, call: &Call, fault: Option<Fault>) -> usize {
        let mut log = lock(&self.0.log);
        let what = if call.watches { "WATCH" } else { &call.method };
        let fault_text = fault.map(|fault| format!(" !{}", fault.name())).unwrap_or_default();
        log.trace.push(format!("{} {what} {}{fault_text}", self.0.name, call.path));
        log.calls.push((self.0.name, call.clone()));
        log.has_struck |= fault.is_some();
        if !call.watches {
            log.active = Some(Instant::now());
        }
        log.trace.len() - 1
    }

    /// Whether the API server refuses this delete.
    fn is_kept(&self, call: &Call) -> bool {
        if !call.path.contains(KEPT) {
            return false;
        }
        let goes = judge::is_being_deleted(&self.0.sandbox.image());
        !goes && !std::mem::replace(&mut lock(&self.0.log).has_kept, true)
    }

    /// Why a call writes what is somebody else's, or deletes a pod that must not be deleted.
    fn misdeed(&self, call: &Call, is_dry: bool) -> Option<String> {
        if call.method == "GET" || is_dry {
            return None;
        }
        let image = self.0.sandbox.image();
        if judge::theirs(&image).is_some_and(|theirs| call.path == judge::path(theirs)) {
            return Some(format!("a {} of what somebody else has created", call.method));
        }
        let name = call.path.strip_prefix("pods/").filter(|_| call.method == "DELETE")?;
        // A teardown deletes every pod.
        if judge::is_being_deleted(&image) { None } else { judge::interrupts(&image, name) }
    }
}

impl Service<Request<Body>> for Road {
    type Response = Response<Answer>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Response<Answer>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().carry(request))
    }
}

/// What the API server, or a part of it, answers instead.
fn refuse(fault: Fault, call: &Call) -> Response<Answer> {
    let (resource, name) = call.path.split_once('/').unwrap_or((&call.path, ""));
    let (code, reason, details) = match fault {
        Fault::Quota => (409, "Conflict", json!({ "name": "quota", "kind": "resourcequotas" })),
        Fault::Stale => (409, "Conflict", json!({ "name": name, "kind": resource })),
        Fault::Expired => (410, "Expired", json!({})),
        Fault::Throttle => (429, "TooManyRequests", json!({ "retryAfterSeconds": 1 })),
        Fault::Unavailable => (503, "ServiceUnavailable", json!({})),
        Fault::Overtime => (504, "Timeout", json!({})),
        _ => (500, "InternalError", json!({})),
    };
    let mut answer = status(code, reason, &details);
    if fault == Fault::Throttle {
        answer.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    answer
}

/// What the API server answers about an object that it never takes.
fn forbid(call: &Call) -> Response<Answer> {
    let (resource, name) = call.path.split_once('/').unwrap_or((&call.path, ""));
    status(403, "Forbidden", &json!({ "name": name, "kind": resource }))
}

fn status(code: u16, reason: &str, details: &serde_json::Value) -> Response<Answer> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": "the simulation says so", "details": details,
    });
    let mut answer = Response::new(Answer::from(status.to_string()));
    *answer.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    answer
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
