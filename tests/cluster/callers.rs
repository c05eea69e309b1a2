//! Callers with tokens of ServiceAccounts and rights by RBAC, on the real control plane.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, Role, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use panamax_kubernetes_adapter::callers::{Authentication, Authorization};
use panamax_kubernetes_adapter::clock::Clock;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::WatchCompleteReason;
use panamax_kubernetes_adapter::proto::watch_deployment_response::Event;
use serde_json::json;
use tonic::{Code, Streaming};

use super::events::told_of;
use super::refusals::GOOD;
use super::rights::{Right, apply_manifest, apply_optional, config, rights};
use crate::support::adapter::{Adapter, deploy, deploy_at_once, modern, reason, scale, teardown};
use crate::support::bearer::{Deployments, showing, with_token};
use crate::support::calls::Recorder;
use crate::support::control_plane::{User, control_plane};
use crate::support::namespace::{Namespace, namespace};
use crate::support::templates::chain;

const AUDIENCE: &str = "panamax";
/// All that deployments become.
const CORE: [&str; 5] = ["pods", "services", "replicationcontrollers", "persistentvolumeclaims", "secrets"];

async fn adapter(clock: Clock) -> Adapter {
    let known = (Authentication::TokenReview(vec![AUDIENCE.to_owned()]), Authorization::AccessReview);
    Adapter::to_callers(control_plane(), clock, known).await
}

/// Makes a ServiceAccount.
pub async fn account(namespace: &Namespace, name: &str) {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let account = ServiceAccount { metadata, ..ServiceAccount::default() };
    namespace.api().create(&PostParams::default(), &account).await.expect("an account");
}

/// A token of an account, for these audiences; none: for the API server.
pub async fn token(namespace: &Namespace, name: &str, audiences: &[&str]) -> String {
    let spec = TokenRequestSpec {
        audiences: audiences.iter().map(|one| (*one).to_owned()).collect(),
        expiration_seconds: Some(600),
        ..TokenRequestSpec::default()
    };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let accounts: Api<ServiceAccount> = namespace.api();
    let answer = accounts.create_token_request(name, &PostParams::default(), &request).await;
    answer.expect("a token").status.expect("a token").token
}

/// Gives an account verbs on everything that deployments become.
async fn grant(namespace: &Namespace, name: &str, verbs: &[&str]) {
    let role: Role = serde_json::from_value(json!({
        "metadata": {"name": name},
        "rules": [
            {"apiGroups": [""], "resources": CORE, "verbs": verbs},
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": verbs},
        ],
    }))
    .expect("a role");
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": &**namespace}],
    }))
    .expect("a binding");
    let admin = namespace.plane.client(User::Admin).await;
    let roles = Api::namespaced(admin.clone(), namespace);
    roles.create(&PostParams::default(), &role).await.expect("a role");
    let bindings = Api::namespaced(admin, namespace);
    bindings.create(&PostParams::default(), &binding).await.expect("a binding");
}

fn get(namespace: &Namespace, name: &str) -> proto::GetDeploymentRequest {
    proto::GetDeploymentRequest { namespace: namespace.to_string(), name: name.to_owned(), view: 0 }
}

/// Waits until the API server has learnt of an account's rights.
async fn until_allowed(client: &mut Deployments, namespace: &Namespace) {
    let allowed = async {
        while client
            .get_deployment(get(namespace, "absent"))
            .await
            .is_err_and(|error| reason(&error) == "CALLER_FORBIDDEN")
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), allowed).await.expect("allowed in time");
}

#[tokio::test]
async fn only_a_token_that_is_meant_for_the_adapter_is_one() {
    let namespace = namespace("callers-token").await;
    account(&namespace, "alice").await;
    let adapter = adapter(Clock::system()).await;
    let mut texts = BTreeSet::new();
    let foreign = token(&namespace, "alice", &["other"]).await;
    let of_the_server = token(&namespace, "alice", &[]).await;
    let mut forged = token(&namespace, "alice", &[AUDIENCE]).await;
    forged.truncate(forged.len() - 4);
    for wrong in [&foreign, &of_the_server, &forged, "a.b.c", control_plane().token(User::Admin)] {
        let refused = with_token(adapter.channel(), wrong).get_deployment(get(&namespace, "web")).await;
        let refused = refused.expect_err("not meant for the adapter");
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::Unauthenticated, "CREDENTIALS_INVALID")
        );
        texts.insert(refused.message().to_owned());
    }
    assert_eq!(texts.len(), 1, "{texts:?}");
    let missing = showing(adapter.channel(), None).get_deployment(get(&namespace, "web")).await;
    assert_eq!(reason(&missing.expect_err("no token")), "CREDENTIALS_MISSING");
    // Somebody is known, and may nothing.
    let right = token(&namespace, "alice", &["other", AUDIENCE]).await;
    let refused = with_token(adapter.channel(), &right).get_deployment(get(&namespace, "web")).await;
    assert_eq!(reason(&refused.expect_err("no right")), "CALLER_FORBIDDEN");
    // An account that is gone has no tokens any more, once that is not believed any longer.
    let accounts: Api<ServiceAccount> = namespace.api();
    accounts.delete("alice", &DeleteParams::default()).await.expect("deleted");
    let gone = async {
        loop {
            let answer = with_token(adapter.channel(), &right).get_deployment(get(&namespace, "web")).await;
            if reason(&answer.expect_err("no right")) == "CREDENTIALS_INVALID" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("forgotten in time");
}

#[tokio::test]
async fn a_caller_does_what_its_role_allows_and_is_written_down() {
    let namespace = namespace("callers-life").await;
    account(&namespace, "alice").await;
    grant(&namespace, "alice", &["get", "list", "watch", "create", "patch", "delete"]).await;
    let adapter = adapter(Clock::system()).await;
    let mut alice = with_token(adapter.channel(), &token(&namespace, "alice", &[AUDIENCE]).await);
    until_allowed(&mut alice, &namespace).await;
    alice.deploy(deploy(&namespace, "web", GOOD)).await.expect("deployed");
    alice.scale(scale(&namespace, "web", "web", 2)).await.expect("scaled");
    alice.deploy(deploy(&namespace, "web", &GOOD.replace("web:1", "web:2"))).await.expect("updated");
    let request = proto::ListRevisionsRequest {
        namespace: namespace.to_string(),
        name: "web".to_owned(),
        ..Default::default()
    };
    let revisions = alice.list_revisions(request).await.expect("revisions").into_inner().revisions;
    let name = format!("system:serviceaccount:{}:alice", &*namespace);
    assert_eq!(revisions.iter().map(|one| one.created_by.as_str()).collect::<Vec<_>>(), [&name, &name]);
    alice.deploy(modern(deploy(&namespace, "other", &chain(2)))).await.expect("deployed");
    let rollback = proto::RollbackRequest {
        namespace: namespace.to_string(),
        name: "web".to_owned(),
        ..Default::default()
    };
    alice.rollback(rollback).await.expect("rolled back");
    alice.teardown(teardown(&namespace, "web")).await.expect("torn down");
    let told = told_of(&namespace, "TearingDown").await;
    let by = format!(" (for {name})");
    let (of_web, rest): (Vec<_>, Vec<_>) = told.iter().partition(|(_, _, message)| message.ends_with(&by));
    assert!(rest.is_empty() && of_web.len() >= 5, "{told:#?}");
    // All namespaces are more than one.
    let all = proto::ListDeploymentsRequest { namespace: "-".to_owned(), ..Default::default() };
    assert_eq!(reason(&alice.list_deployments(all).await.expect_err("not all")), "CALLER_FORBIDDEN");
    // FULL shows Events.
    let full =
        proto::GetDeploymentRequest { view: proto::DeploymentView::Full.into(), ..get(&namespace, "other") };
    let refused = alice.get_deployment(full).await.expect_err("no right to Events");
    assert!(refused.message().contains("list events"), "{refused:?}");
}

/// What the adapter has asked the API server meanwhile, without what its watches do by themselves.
fn asked(calls: &mut Recorder) -> Vec<String> {
    let calls = calls.calls().iter().filter(|call| call.verb != "watch");
    let mut asked: Vec<_> = calls.map(|call| format!("{} {}", call.verb, call.resource)).collect();
    asked.sort();
    asked
}

#[tokio::test]
async fn without_the_right_what_is_there_and_what_is_not_look_alike() {
    let namespace = namespace("callers-alike").await;
    account(&namespace, "bob").await;
    grant(&namespace, "bob", &["watch"]).await;
    let all = Adapter::real(control_plane(), User::Admin).await;
    let is_there = deploy_at_once(&namespace, "there", GOOD);
    all.deployments().deploy(is_there).await.expect("deployed");
    let adapter = adapter(Clock::system()).await;
    let mut bob = with_token(adapter.channel(), &token(&namespace, "bob", &[AUDIENCE]).await);
    // The token is known from here on.
    let _ = bob.get_deployment(get(&namespace, "there")).await;
    let mut heard = Vec::new();
    for name in ["there", "absent"] {
        let mut calls = Recorder::start(control_plane()).namespace(&namespace).user(User::Adapter);
        let (space, name) = (namespace.to_string(), name.to_owned());
        let watch = proto::WatchDeploymentRequest {
            namespace: space.clone(),
            name: name.clone(),
            ..Default::default()
        };
        let revisions = proto::ListRevisionsRequest {
            namespace: space.clone(),
            name: name.clone(),
            ..Default::default()
        };
        let rollback =
            proto::RollbackRequest { namespace: space.clone(), name: name.clone(), ..Default::default() };
        let plan = proto::PlanDeployRequest {
            namespace: space.clone(),
            name: name.clone(),
            template_source: Some(proto::plan_deploy_request::TemplateSource::TemplateYaml(GOOD.to_owned())),
            ..Default::default()
        };
        let refusals = [
            bob.get_deployment(get(&namespace, &name)).await.expect_err("no right"),
            bob.watch_deployment(watch).await.expect_err("no right"),
            bob.list_revisions(revisions).await.expect_err("no right"),
            bob.plan_deploy(plan).await.expect_err("no right"),
            bob.deploy(deploy_at_once(&namespace, &name, GOOD)).await.expect_err("no right"),
            bob.scale(scale(&namespace, &name, "web", 2)).await.expect_err("no right"),
            bob.rollback(rollback).await.expect_err("no right"),
            bob.teardown(teardown(&namespace, &name)).await.expect_err("no right"),
        ];
        for refusal in &refusals {
            assert_eq!(
                (refusal.code(), reason(refusal).as_str()),
                (Code::PermissionDenied, "CALLER_FORBIDDEN")
            );
        }
        let texts: Vec<String> = refusals.iter().map(|refusal| refusal.message().to_owned()).collect();
        let asked = asked(&mut calls);
        // Reviews are in no namespace: whatever is seen here is a look at something.
        assert_eq!(asked, [""; 0], "{name}");
        heard.push(texts);
    }
    assert_eq!(heard[0], heard[1]);
    let heads = namespace
        .api::<ConfigMap>()
        .list(&ListParams::default().labels("app.kubernetes.io/managed-by"))
        .await;
    assert_eq!(heads.expect("records").items.len(), 1);
}

#[tokio::test]
async fn reviews_use_exactly_the_rights_of_their_manifest() {
    let namespace = namespace("callers-reviews").await;
    apply_manifest(&namespace);
    let role = format!("reviews-of-{}", &*namespace);
    account(&namespace, "alice").await;
    grant(&namespace, "alice", &["get", "list", "watch", "create", "patch"]).await;
    let known = (Authentication::TokenReview(vec![AUDIENCE.to_owned()]), Authorization::AccessReview);
    let adapter = Adapter::to_callers_by(config(&namespace).await, Clock::system(), known).await;
    let mut alice = with_token(adapter.channel(), &token(&namespace, "alice", &[AUDIENCE]).await);
    // Nobody is let in on a guess.
    let refused = alice.get_deployment(get(&namespace, "absent")).await.expect_err("no right to reviews");
    assert_eq!(reason(&refused), "CLUSTER_FORBIDDEN");
    assert!(refused.message().ends_with("to create tokenreviews.authentication.k8s.io"), "{refused:?}");
    let mut calls = Recorder::start(control_plane());
    apply_optional(&namespace, "reviews", &role);
    let is_let_in =
        async {
            while alice.get_deployment(get(&namespace, "absent")).await.is_err_and(|error| {
                ["CLUSTER_FORBIDDEN", "CALLER_FORBIDDEN"].contains(&reason(&error).as_str())
            }) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
    tokio::time::timeout(Duration::from_secs(30), is_let_in).await.expect("let in in time");
    alice.deploy(deploy_at_once(&namespace, "web", GOOD)).await.expect("deployed");
    let account = format!("system:serviceaccount:{}:panamax-kubernetes-adapter", &*namespace);
    let own = calls.calls().iter().filter(|call| call.user == account && call.namespace.is_none());
    let used: BTreeSet<Right> = own
        .filter(|call| call.code < 400 && !call.resource.is_empty())
        .map(|call| (call.verb.clone(), call.resource.clone()))
        .collect();
    let admin = namespace.plane.client(User::Admin).await;
    let role = Api::<ClusterRole>::all(admin).get(&role).await.expect("the role");
    assert_eq!(used, rights(role.rules));
}

/// Reads a watch to its end; returns why it ended.
async fn ended(mut watch: Streaming<proto::WatchDeploymentResponse>) -> WatchCompleteReason {
    let mut reason = None;
    while let Some(message) = watch.message().await.expect("it ends well") {
        if let Some(Event::Complete(complete)) = message.event {
            reason = Some(complete.reason());
        }
    }
    reason.expect("it says why it ends")
}

#[tokio::test]
async fn a_watch_ends_with_the_right_to_it() {
    let namespace = namespace("callers-revoked").await;
    for name in ["alice", "carol"] {
        account(&namespace, name).await;
        grant(&namespace, name, &["get", "list", "watch", "create", "patch"]).await;
    }
    let adapter = adapter(Clock::system()).await;
    let mut watches = Vec::new();
    for name in ["alice", "carol"] {
        let mut client = with_token(adapter.channel(), &token(&namespace, name, &[AUDIENCE]).await);
        until_allowed(&mut client, &namespace).await;
        client.deploy(deploy_at_once(&namespace, "web", GOOD)).await.expect("deployed");
        let request = proto::WatchDeploymentRequest {
            namespace: namespace.to_string(),
            name: "web".to_owned(),
            heartbeat_interval: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            ..Default::default()
        };
        watches.push(client.watch_deployment(request).await.expect("a watch").into_inner());
    }
    let bindings: Api<RoleBinding> = Api::namespaced(namespace.plane.client(User::Admin).await, &namespace);
    bindings.delete("alice", &DeleteParams::default()).await.expect("revoked");
    let revoked = Instant::now();
    let [alice, carol] = <[_; 2]>::try_from(watches).expect("two watches");
    let carol = ended(carol);
    tokio::pin!(carol);
    let reason = tokio::select! {
        reason = tokio::time::timeout(Duration::from_secs(35), ended(alice)) => reason.expect("it ends in time"),
        other = &mut carol => panic!("carol's watch has ended: {other:?}"),
    };
    assert_eq!(reason, WatchCompleteReason::AuthorizationLost, "after {:?}", revoked.elapsed());
    let goes_on = tokio::time::timeout(Duration::from_secs(2), carol).await;
    assert!(goes_on.is_err(), "who has the right still watches: {goes_on:?}");
}

#[tokio::test]
async fn a_watch_ends_with_the_token() {
    let namespace = namespace("callers-expired").await;
    account(&namespace, "alice").await;
    grant(&namespace, "alice", &["get", "list", "watch", "create", "patch"]).await;
    // A token lives for ten minutes at the least, so this adapter lives nearly as far in the future.
    let ahead = Clock::new(|| Timestamp::now() + Duration::from_secs(585));
    let adapter = adapter(ahead).await;
    let token = token(&namespace, "alice", &[AUDIENCE]).await;
    let mut alice = with_token(adapter.channel(), &token);
    until_allowed(&mut alice, &namespace).await;
    alice.deploy(deploy_at_once(&namespace, "web", GOOD)).await.expect("deployed");
    let request = proto::WatchDeploymentRequest {
        namespace: namespace.to_string(),
        name: "web".to_owned(),
        ..Default::default()
    };
    let watch = alice.watch_deployment(request).await.expect("a watch").into_inner();
    let reason = tokio::time::timeout(Duration::from_secs(25), ended(watch)).await.expect("it ends in time");
    assert_eq!(reason, WatchCompleteReason::AuthorizationLost);
    let refused = alice.get_deployment(get(&namespace, "web")).await.expect_err("it has ended");
    assert_eq!(crate::support::adapter::reason(&refused), "CREDENTIALS_INVALID");
}

#[tokio::test]
async fn what_turns_out_later_is_asked_before_the_first_write() {
    let namespace = namespace("callers-later").await;
    account(&namespace, "alice").await;
    grant(&namespace, "alice", &["get", "list", "watch", "create", "patch"]).await;
    let adapter = adapter(Clock::system()).await;
    let mut alice = with_token(adapter.channel(), &token(&namespace, "alice", &[AUDIENCE]).await);
    until_allowed(&mut alice, &namespace).await;
    alice.deploy(deploy(&namespace, "app", &chain(2))).await.expect("deployed");
    alice.scale(scale(&namespace, "app", "C0", 2)).await.expect("a controller takes the Pod over");
    let seen = async |client: &mut Deployments| {
        let answer = client.get_deployment(get(&namespace, "app")).await.expect("an answer").into_inner();
        let deployment = answer.deployment.expect("a deployment");
        (deployment.etag, deployment.revision)
    };
    let before = seen(&mut alice).await;
    let plan = proto::PlanDeployRequest {
        namespace: namespace.to_string(),
        name: "app".to_owned(),
        template_source: Some(proto::plan_deploy_request::TemplateSource::TemplateYaml(chain(1))),
        ..Default::default()
    };
    let newer = chain(2).replace("example/component:0", "example/component:9");
    let longer = chain(2).replace("  expose: [7001]\n", "  expose: [7001]\n  command: x\n");
    let refusals = [
        // One component goes.
        (alice.plan_deploy(plan).await.expect_err("no right"), "delete pods"),
        (alice.deploy(deploy(&namespace, "app", &chain(1))).await.expect_err("no right"), "delete pods"),
        // A Pod is replaced, and pods of a ReplicationController are.
        (alice.deploy(deploy(&namespace, "app", &longer)).await.expect_err("no right"), "delete pods"),
        (alice.deploy(deploy(&namespace, "app", &newer)).await.expect_err("no right"), "delete pods"),
        (
            alice.teardown(teardown(&namespace, "app")).await.expect_err("no right"),
            "delete pods, replicationcontrollers and services",
        ),
    ];
    for (refusal, right) in refusals {
        assert_eq!(reason(&refusal), "CALLER_FORBIDDEN", "{refusal:?}");
        assert!(refusal.message().contains(&format!("the right to {right}")), "{right}: {refusal:?}");
    }
    assert_eq!(seen(&mut alice).await, before, "nothing was written");
    // A namespace is nothing that these rights give.
    let mut options = proto::DeployOptions { create_namespace: true, ..Default::default() };
    options.set_profile(proto::Profile::Classic);
    let elsewhere = format!("{}-new", &*namespace);
    let request = proto::DeployRequest { options: Some(options), ..deploy_at_once(&elsewhere, "app", GOOD) };
    assert_eq!(reason(&alice.deploy(request).await.expect_err("no right there")), "CALLER_FORBIDDEN");
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(namespace.client.clone());
    assert!(namespaces.get_opt(&elsewhere).await.expect("a look").is_none());
}

/// A Deploy that waits for long: no volume of that class ever comes.
fn waiting(namespace: &Namespace, number: usize) -> proto::DeployRequest {
    let mut options = proto::DeployOptions { storage_class: "absent".to_owned(), ..Default::default() };
    options.set_profile(proto::Profile::Modern);
    let template = format!(
        "name: Held\nimages: [{{name: held{number}, source: 'example/web:1', volumes: [{{container_path: /data}}]}}]\n"
    );
    proto::DeployRequest { options: Some(options), ..deploy(namespace, &format!("held-{number}"), &template) }
}

#[tokio::test]
async fn a_caller_changes_so_much_at_once_and_no_more() {
    let namespace = namespace("callers-bound").await;
    let adapter = adapter(Clock::system()).await;
    let mut clients = Vec::new();
    for name in ["alice", "bob"] {
        account(&namespace, name).await;
        grant(&namespace, name, &["get", "list", "watch", "create", "patch", "delete"]).await;
        let mut client = with_token(adapter.channel(), &token(&namespace, name, &[AUDIENCE]).await);
        until_allowed(&mut client, &namespace).await;
        clients.push(client);
    }
    let [alice, mut bob] = <[_; 2]>::try_from(clients).expect("two callers");
    let absent = || proto::TeardownRequest { allow_missing: true, ..teardown(&namespace, "absent") };
    let held: Vec<_> = (0..8)
        .map(|number| {
            let (mut client, request) = (alice.clone(), waiting(&namespace, number));
            async move { client.deploy(request).await }
        })
        .collect();
    let mut ninth = alice.clone();
    let mut looking = bob.clone();
    let refused = async {
        let list =
            || proto::ListDeploymentsRequest { namespace: namespace.to_string(), ..Default::default() };
        while looking.list_deployments(list()).await.expect("a list").into_inner().deployments.len() < 8 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        loop {
            match ninth.teardown(absent()).await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(refused) => return refused,
            }
        }
    };
    let refused = tokio::select! {
        refused = tokio::time::timeout(Duration::from_secs(25), refused) => refused.expect("refused in time"),
        ended = futures::future::join_all(held) => panic!("they do not wait: {ended:?}"),
    };
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "OVERLOADED"));
    bob.teardown(absent()).await.expect("another caller has places of its own");
    // Those that waited have left, and the place of each is free again.
    let free = async { while ninth.teardown(absent()).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(10), free).await.expect("free in time");
}
