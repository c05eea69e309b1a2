//! A slow road to the API server: every request waits a moment, and its interval is written down.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use tokio::net::TcpListener;

/// The largest request that is passed on, in bytes.
const LIMIT: usize = 4 * 1024 * 1024;

/// One request as the proxy passed it on.
#[derive(Clone, Debug)]
pub struct Passed {
    pub method: String,
    /// Path and query.
    pub uri: String,
    pub began: Instant,
    pub ended: Instant,
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
}

impl Proxy {
    /// Passes requests on through this client, each after a delay.
    pub async fn start(client: kube::Client, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let road = Road { client, delay, passed: Arc::default() };
        let router = Router::new().fallback(pass).with_state(road.clone());
        #[expect(clippy::disallowed_methods, reason = "the test's runtime ends it")]
        tokio::spawn(async move { axum::serve(listener, router).await.expect("the proxy ends well") });
        Self { url, road }
    }

    /// The requests that have been answered so far, watches left out.
    pub fn passed(&self) -> Vec<Passed> {
        self.road.passed.lock().expect("no panic while passing").clone()
    }
}

async fn pass(State(road): State<Road>, request: Request) -> Response {
    let began = Instant::now();
    let (mut head, body) = request.into_parts();
    head.headers.remove(http::header::HOST);
    let body = to_bytes(body, LIMIT).await.expect("a request's body");
    let (method, uri) = (head.method.to_string(), head.uri.to_string());
    tokio::time::sleep(road.delay).await;
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
    let passed = Passed { method, uri, began, ended: Instant::now() };
    road.passed.lock().expect("no panic while passing").push(passed);
    Response::from_parts(head, Body::from(answer))
}
