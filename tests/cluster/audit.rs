//! What the log says of callers: the end of work that its caller has left, and no piece of a token.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use panamax_kubernetes_adapter::proto;
use tonic::Code;

use super::callers::{account, token};
use crate::support::adapter::{Binary, connect, deploy_at_once, reason};
use crate::support::bearer::{showing, with_token};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::until;
use crate::support::namespace::{Namespace, namespace};
use crate::support::proxy::{Fault, Proxy};

const ALICE: &str = "canary-token-of-alice";
/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

fn template(edition: u32) -> String {
    format!(
        "name: Web\nimages:\n- {{name: web, source: 'example/web:{edition}', ports: [{{container_port: 80}}]}}\n"
    )
}

fn named(namespace: &Namespace, id: &str, edition: u32) -> proto::DeployRequest {
    let request = deploy_at_once(namespace, "web", &template(edition));
    proto::DeployRequest { request_id: id.to_owned(), ..request }
}

/// The outcomes in the audit's lines about the request of this name.
fn outcomes(log: &str, id: &str) -> Vec<(String, String)> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let of_it = lines.filter(|line| line["target"] == "audit" && line["fields"]["request_id"] == id);
    of_it
        .map(|line| {
            let field = |name: &str| line["fields"][name].as_str().unwrap_or_default().to_owned();
            (field("outcome"), field("message"))
        })
        .collect()
}

async fn until_told(binary: &Binary, id: &str, count: usize) -> Vec<(String, String)> {
    let told = async {
        while outcomes(&binary.log(), id).len() < count {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, told).await;
    let told = outcomes(&binary.log(), id);
    in_time.unwrap_or_else(|_| panic!("{count} lines about {id}: {told:#?}"));
    told
}

#[tokio::test]
async fn work_that_its_caller_has_left_is_told_when_it_ends() {
    let namespace = namespace("audit-left").await;
    let proxy = Proxy::start(control_plane().client(User::Adapter).await, Duration::ZERO).await;
    let tokens = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("audit-{}", &*namespace));
    std::fs::write(&tokens, format!("alice {ALICE}\n")).expect("a file");
    std::fs::set_permissions(&tokens, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    let (kubeconfig, path) = (proxy.kubeconfig(), tokens.to_str().expect("a path").to_owned());
    let start = move || {
        Binary::start(
            &kubeconfig,
            &["--auth", "tokens", "--tokens-file", &path, "--lease", "20s", "--log", "info"],
        )
    };
    let binary = tokio::task::spawn_blocking(start).await.expect("the binary starts");
    let channel = connect(binary.address).await;
    let left = ("CALLER_LEFT".to_owned(), "call left before its work has ended".to_owned());
    let ended = "work ended that its caller has left";
    let begun = ("BEGUN".to_owned(), "call begins".to_owned());

    // The caller goes away while a write is on its way, which arrives then.
    let slow = Duration::from_secs(2);
    proxy.befall("PATCH", "/pods/web-pod", 1, Fault::Late(slow));
    let mut client = with_token(channel.clone(), ALICE);
    let gone = tokio::time::timeout(slow / 2, client.deploy(named(&namespace, "left", 1))).await;
    assert!(gone.is_err(), "the call is dropped before its answer: {gone:?}");
    let told = until_told(&binary, "left", 3).await;
    assert_eq!(told, [begun.clone(), left.clone(), ("OK".to_owned(), ended.to_owned())]);
    until::<Pod>(&namespace, "web-pod", |found: Option<&Pod>| found.is_some()).await;

    // The caller's deadline ends, and the work does not.
    proxy.befall("PATCH", "/pods/web-pod", 1, Fault::Late(slow));
    let mut request = tonic::Request::new(named(&namespace, "late", 2));
    request.set_timeout(slow / 2);
    let answer = client.deploy(request).await.expect_err("too late");
    // The server's answer, or the client's own clock, which may be a little faster.
    assert!(matches!(answer.code(), Code::DeadlineExceeded | Code::Cancelled), "{answer:?}");
    let told = until_told(&binary, "late", 3).await;
    assert_eq!(told, [begun, left, ("OK".to_owned(), ended.to_owned())]);
    // The same request again has the outcome of the work that nobody waited for.
    let again = client.deploy(named(&namespace, "late", 2)).await.expect("answered").into_inner();
    assert_eq!(
        (again.outcome(), again.deployment.expect("a deployment").revision),
        (proto::DeployOutcome::Updated, 2)
    );
    let log = binary.whole_log();
    assert!(!log.contains("canary"), "a token is in the log");
    std::fs::remove_file(tokens).expect("its file goes");
}

#[tokio::test]
async fn no_piece_of_a_reviewed_token_is_in_any_log() {
    let namespace = namespace("audit-canary").await;
    account(&namespace, "alice").await;
    let audience = "panamax";
    let right = token(&namespace, "alice", &[audience]).await;
    let foreign = token(&namespace, "alice", &["other"]).await;
    let mut forged = token(&namespace, "alice", &[audience]).await;
    forged.truncate(forged.len() - 4);
    let kubeconfig = control_plane().kubeconfig(User::Adapter);
    let everything =
        "trace,kube_client=trace,kube_client::client=trace,h2=trace,hyper=trace,tower=trace,tonic=trace";
    let start = move || {
        let audience = ["--auth", "token-review", "--token-audience", audience];
        let rights = ["--authorize", "subject-access-review", "--log", everything];
        Binary::start(&kubeconfig, &[&audience[..], &rights].concat())
    };
    let binary = tokio::task::spawn_blocking(start).await.expect("the binary starts");
    let channel = connect(binary.address).await;
    let get =
        || proto::GetDeploymentRequest { namespace: namespace.to_string(), name: "web".to_owned(), view: 0 };
    let made_up = "canary-token.that-nobody.has-made";
    for (shown, told) in [
        (right.as_str(), "CALLER_FORBIDDEN"),
        (&foreign, "CREDENTIALS_INVALID"),
        (&forged, "CREDENTIALS_INVALID"),
        (made_up, "CREDENTIALS_INVALID"),
    ] {
        for _ in 0..2 {
            let refused =
                with_token(channel.clone(), shown).get_deployment(get()).await.expect_err("refused");
            assert_eq!(reason(&refused), told, "{refused:?}");
        }
    }
    for value in ["Basic Y2FuYXJ5LXRva2Vu", "canary-token", "bearer  canary-token"] {
        let refused = showing(channel.clone(), Some(value)).get_deployment(get()).await.expect_err("refused");
        assert_eq!(reason(&refused), "CREDENTIALS_INVALID", "{refused:?}");
    }
    let own = control_plane().token(User::Adapter).to_owned();
    let log = binary.whole_log();
    assert!(log.contains("CREDENTIALS_INVALID") && log.contains("rustls"), "a log worth reading");
    let mut pieces = vec!["canary-token".to_owned(), "Y2FuYXJ5LXRva2Vu".to_owned(), own];
    for token in [&right, &foreign, &forged] {
        // A token's claims and its signature; its head is the same in all.
        pieces.extend(token.split('.').skip(1).map(|piece| piece[..40].to_owned()));
    }
    for piece in pieces {
        let told: Vec<&str> = log.lines().filter(|line| line.contains(&piece)).collect();
        assert!(told.is_empty(), "{told:#?}");
    }
}
