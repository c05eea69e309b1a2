//! An old agent's DELETE that the cluster lets nobody carry out in all its time: what is answered, told and left.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use panamax_kubernetes_adapter::callers::Acting;
use panamax_kubernetes_adapter::rest::{Asked, Rest};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::road::{Fault, Faults, lock};
use super::world;

/// How long a DELETE may take, and the longest pause before a try that it has no time for any more.
const PATIENCE: Duration = Duration::from_secs(50);
const PAUSE: Duration = Duration::from_secs(5);
/// How soon everything answers again once the cluster does.
const BACK: Duration = Duration::from_secs(60);
const BODY: &str = r#"[{"name":"WEB","source":"nginx:1","environment":[{"variable":"A","value":"canary"}]}]"#;

/// What is written into the log.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An answer: its status, when to ask again, and its body.
async fn asked(rest: &Rest, method: &Method, path: &str) -> (StatusCode, Option<String>, String) {
    let body = if *method == Method::POST { BODY } else { "" };
    let asked = Asked::of(method, path);
    let answer = rest.answer(&asked, Some(Acting::default()), &Bytes::from_static(body.as_bytes())).await;
    let after = answer.headers().get("retry-after").map(|after| after.to_str().expect("text").to_owned());
    let (status, body) = (answer.status(), answer.into_body().collect().await.expect("a body").to_bytes());
    (status, after, String::from_utf8(body.to_vec()).expect("text"))
}

async fn posted(rest: &Rest) -> String {
    let (status, _, body) = asked(rest, &Method::POST, "/v1/services").await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    let ids: Value = serde_json::from_str(&body).expect("JSON");
    ids[0]["id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_delete_that_nothing_lets_through_ends_in_time_and_is_told() {
    for fault in [Fault::Unavailable, Fault::LoseBefore, Fault::Throttle] {
        let log = Written::default();
        let written = log.clone();
        let subscriber = tracing_subscriber::fmt().json().with_writer(move || written.clone()).finish();
        world::run(7, async move |world| {
            let _log = tracing::subscriber::set_default(subscriber);
            let replica = world.replica('a');
            let rest = Rest::new(replica.operations.clone());
            let id = posted(&rest).await;
            let path = format!("/v1/services/{id}");
            replica.road.arm(Faults::sometimes(7, 1_000, vec![fault]));
            let begun = Instant::now();
            let (status, after, body) = asked(&rest, &Method::DELETE, &path).await;
            let took = begun.elapsed();
            assert_eq!((status, body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, ""), "{fault:?}");
            assert!(after.is_some_and(|after| after != "0"), "{fault:?}");
            assert!(took <= PATIENCE && took >= PATIENCE - PAUSE, "{fault:?}: {took:?}");
            // Nothing was begun: what the agent has forgotten stands, and whoever posts it again has it.
            replica.road.arm(Faults::none());
            sleep(BACK).await;
            assert_eq!(asked(&rest, &Method::GET, &path).await.0, StatusCode::OK, "{fault:?}");
            assert_eq!(posted(&rest).await, id, "{fault:?}");
            assert_eq!(asked(&rest, &Method::DELETE, &path).await.0, StatusCode::NO_CONTENT, "{fault:?}");
            world.settle().await.expect("it comes to rest");
            assert_eq!(asked(&rest, &Method::GET, &path).await.0, StatusCode::NOT_FOUND, "{fault:?}");
        });
        let log = String::from_utf8(lock(&log.0).clone()).expect("text");
        let told: Vec<Value> = log
            .lines()
            .filter(|line| line.contains("was not deleted"))
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .collect();
        let [told] = told.as_slice() else { panic!("{fault:?}: {log}") };
        assert_eq!((&told["level"], &told["fields"]["namespace"]), (&"ERROR".into(), &"sim".into()));
        let deployment = told["fields"]["deployment"].as_str().expect("a name");
        assert!(deployment.starts_with("agent-web-"), "{told}");
        assert!(!log.contains("canary"), "a value is in the log");
    }
}
