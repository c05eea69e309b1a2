//! The audit: every call that changes something has its lines, and the last says what its caller was answered.

use panamax_kubernetes_adapter::proto;
use serde_json::{Value, json};

use super::rest::{agent, start};
use crate::support::adapter::{Binary, connect, deploy_at_once, reason, scale, teardown};
use crate::support::bearer::with_token;
use crate::support::certificates::Folder;

const ALICE: &str = "canary-token-of-alice";
const BOB: &str = "canary-token-of-bob";
const TEMPLATE: &str = "name: Web\nimages: [{name: web, source: 'example/web:1'}]\n";

/// The binary with two callers: alice may do everything, bob nothing.
async fn with_callers(folder: &Folder) -> Binary {
    let tokens = folder.write("tokens", &format!("alice {ALICE}\nbob {BOB}\n"), 0o600);
    let rights = folder.write("rights", "user:alice * *\n", 0o644);
    let known =
        ["--auth", "tokens", "--tokens-file", &tokens, "--authorize", "file", "--rights-file", &rights];
    start(&[&known[..], &["--log", "info"]].concat()).await
}

/// Caller, method, namespace, deployment and outcome of each line.
fn audit(binary: Binary) -> Vec<String> {
    let log = binary.whole_log();
    assert!(!log.contains("canary"), "a token is in the log");
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines = lines.filter(|line| line["target"] == "audit");
    let field = |line: &Value, name: &str| line["fields"][name].as_str().expect("a text").to_owned();
    let names = ["caller", "method", "namespace", "deployment", "outcome"];
    lines.map(|line| names.map(|name| field(&line, name)).join(" ")).collect()
}

#[tokio::test]
async fn a_call_that_is_refused_before_it_begins_has_one_line() {
    let folder = Folder::new("audit-refused");
    let binary = with_callers(&folder).await;
    let mut alice = with_token(connect(binary.address).await, ALICE);
    let told = |status: tonic::Status| reason(&status);
    let bad = deploy_at_once("shop", "web", "images: [{name: a}]");
    assert_eq!(told(alice.deploy(bad.clone()).await.expect_err("bad")), "TEMPLATE_INVALID");
    // What only checks changes nothing, refused or not.
    let checks = proto::DeployRequest { validate_only: true, ..bad };
    assert_eq!(told(alice.deploy(checks).await.expect_err("bad")), "TEMPLATE_INVALID");
    let refused = alice.deploy(deploy_at_once("", "Bad Name", TEMPLATE)).await.expect_err("bad");
    assert_eq!(told(refused), "FIELD_INVALID");
    let refused = alice.teardown(teardown("kube-system", "web")).await.expect_err("reserved");
    assert_eq!(told(refused), "NAMESPACE_RESERVED");
    let refused = alice.scale(scale("shop", "", "web", 1)).await.expect_err("no name");
    assert_eq!(told(refused), "FIELD_INVALID");
    let rollback = proto::RollbackRequest { name: "absent".to_owned(), ..Default::default() };
    assert_eq!(told(alice.rollback(rollback).await.expect_err("absent")), "DEPLOYMENT_NOT_FOUND");
    assert_eq!(
        audit(binary),
        [
            "alice Deploy shop web TEMPLATE_INVALID",
            "alice Deploy default  FIELD_INVALID",
            "alice Teardown kube-system web NAMESPACE_RESERVED",
            "alice Scale shop  FIELD_INVALID",
            "alice Rollback default absent BEGUN",
            "alice Rollback default absent DEPLOYMENT_NOT_FOUND",
        ]
    );
}

#[tokio::test]
async fn an_agents_call_is_told_once_and_as_it_is_answered() {
    let folder = Folder::new("audit-agents");
    let binary = with_callers(&folder).await;
    let show = |token: &str| format!("Bearer {token}");
    let mut alice = agent(&binary).await.showing(&show(ALICE));
    let mut bob = agent(&binary).await.showing(&show(BOB));
    let body = |tag: u32| json!([{ "name": "a", "source": format!("shop/a:{tag}") }]).to_string();
    let ids = alice.post(&body(1)).await.ids();
    assert_eq!(alice.post(&body(1)).await.ids(), ids, "a repetition");
    assert_eq!(alice.post(&body(2)).await.status, 409);
    assert_eq!(alice.post("canary").await.status, 400);
    assert_eq!(bob.delete(&ids[0]).await, 403);
    assert_eq!(alice.get(&ids[0]).await.status, 200);
    assert_eq!(alice.delete(&ids[0]).await, 204);
    alice.until_gone(&ids[0]).await;
    assert_eq!(alice.delete(&ids[0]).await, 404);
    let name = ids[0].split('.').nth(1).expect("a name");
    let of = |caller: &str, method: &str, name: &str, outcomes: &[&str]| -> Vec<String> {
        outcomes.iter().map(|outcome| format!("{caller} {method} default {name} {outcome}")).collect()
    };
    let expected = [
        of("alice", "Deploy", name, &["BEGUN", "OK", "BEGUN", "OK", "BEGUN", "DEPLOYMENT_EXISTS"]),
        of("alice", "Deploy", "", &["FIELD_INVALID"]),
        of("bob", "Teardown", name, &["CALLER_FORBIDDEN"]),
        of("alice", "Teardown", name, &["BEGUN", "OK", "SERVICE_NOT_FOUND"]),
    ];
    assert_eq!(audit(binary), expected.concat());
}
