//! Callers who are known by a file of tokens or by certificates, and their rights by a file; against the built binary.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::server_service_client::ServerServiceClient;
use panamax_kubernetes_adapter::proto::watch_deployment_response::Event;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::adapter::{Binary, connect, deploy_at_once, reason, refused, scale, teardown};
use crate::support::bearer::{showing, templates_with_token, with_token};
use crate::support::metrics::{becomes, measured};

const ALICE: &str = "canary-token-of-alice";
const BOB: &str = "canary-token-of-bob";
const TEMPLATE: &str = "name: Web\nimages: [{name: web, source: 'example/web:1'}]\n";

/// A folder of files for one test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("identity-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    /// Writes a file as tools do that replace it whole; returns its path.
    fn write(&self, name: &str, text: &str, mode: u32) -> String {
        let (path, new) = (self.0.join(name), self.0.join(format!("{name}.new")));
        fs::write(&new, text).expect("a file");
        fs::set_permissions(&new, fs::Permissions::from_mode(mode)).expect("its mode");
        fs::rename(&new, &path).expect("a file in its place");
        path.to_str().expect("a path").to_owned()
    }

    fn tokens(&self) -> String {
        self.write("tokens", &format!("alice {ALICE} team\nbob {BOB}\n"), 0o600)
    }
}

/// A Deploy that makes its namespace if there is none.
fn deploy_into_new(namespace: &str, template: &str) -> proto::DeployRequest {
    let options = proto::DeployOptions { create_namespace: true, ..Default::default() };
    proto::DeployRequest { options: Some(options), ..deploy_at_once(namespace, "web", template) }
}

async fn start(flags: &[&str]) -> Binary {
    let flags: Vec<String> = ["--sandbox"].iter().chain(flags).map(|flag| (*flag).to_owned()).collect();
    let start = move || Binary::start_with(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(start).await.expect("the binary starts")
}

/// Waits until something is in a log.
async fn told(binary: &Binary, text: &str) {
    let told = async {
        while !binary.log().contains(text) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told)
        .await
        .unwrap_or_else(|_| panic!("{text}: {}", binary.log()));
}

fn get(name: &str) -> proto::GetDeploymentRequest {
    proto::GetDeploymentRequest { namespace: "shop".to_owned(), name: name.to_owned(), view: 0 }
}

#[tokio::test]
async fn who_shows_no_token_or_a_wrong_one_is_told_one_thing_and_runs_nothing() {
    let folder = Folder::new("tokens");
    let binary = start(&["--auth", "tokens", "--tokens-file", &folder.tokens(), "--log", "trace"]).await;
    let channel = connect(binary.address).await;
    let health = HealthCheckRequest { service: String::new() };
    HealthClient::new(channel.clone()).check(health).await.expect("health needs no token");
    ServerServiceClient::new(channel.clone())
        .get_server_info(proto::GetServerInfoRequest {})
        .await
        .expect("the server tells about itself");
    let missing = showing(channel.clone(), None).get_deployment(get("web")).await.expect_err("no token");
    assert_eq!((missing.code(), reason(&missing).as_str()), (Code::Unauthenticated, "CREDENTIALS_MISSING"));
    assert!(missing.message().contains("authorization: Bearer TOKEN"), "{missing:?}");
    assert_eq!(
        missing.metadata().get("www-authenticate").map(|value| value.as_bytes()),
        Some(&b"Bearer"[..])
    );
    let mut texts = std::collections::BTreeSet::new();
    let long = "x".repeat(12 * 1024);
    for value in [
        "Bearer canary-token-of-nobody",
        "Basic YWxpY2U6Y2FuYXJ5",
        "canary",
        "Bearer ",
        &format!("Bearer {long}"),
    ] {
        let refused =
            showing(channel.clone(), Some(value)).get_deployment(get("web")).await.expect_err("wrong");
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::Unauthenticated, "CREDENTIALS_INVALID")
        );
        texts.insert(refused.message().to_owned());
    }
    assert_eq!(texts.len(), 1, "{texts:?}");
    let templates = templates_with_token(channel.clone(), "canary-token-of-nobody");
    let request = proto::ValidateTemplateRequest::default();
    let refused = templates.clone().validate_template(request.clone()).await.expect_err("no credentials");
    assert_eq!(refused.code(), Code::Unauthenticated);
    let known =
        templates_with_token(channel.clone(), BOB).validate_template(request).await.expect_err("no template");
    assert_eq!(known.code(), Code::InvalidArgument);
    // The scheme's case does not matter.
    let mut alice = showing(channel, Some(&format!("bearer {ALICE}")));
    assert_eq!(reason(&alice.get_deployment(get("web")).await.expect_err("absent")), "DEPLOYMENT_NOT_FOUND");
    let log = binary.whole_log();
    assert!(log.contains("CREDENTIALS_INVALID"), "{log}");
    assert!(log.contains(r#""peer":"127.0.0.1""#), "{log}");
    assert!(!log.contains("canary") && !log.contains("YWxpY2U6"), "a token is in the log");
}

#[tokio::test]
async fn what_a_caller_does_is_written_down_and_bounded_by_its_rights() {
    let folder = Folder::new("rights");
    let rights = folder.write("rights", "user:alice * shop\ngroup:team list *\nuser:bob read shop\n", 0o644);
    let tokens = folder.tokens();
    let flags =
        ["--auth", "tokens", "--tokens-file", &tokens, "--authorize", "file", "--rights-file", &rights];
    let binary = start(&flags).await;
    let channel = connect(binary.address).await;
    let (mut alice, mut bob) = (with_token(channel.clone(), ALICE), with_token(channel.clone(), BOB));
    let request = proto::DeployRequest {
        request_id: "request-7".to_owned(),
        ..deploy_into_new(
            "shop",
            &TEMPLATE.replace(
                "example/web:1'",
                "example/web:1', environment: [{variable: A, value: canary-value}]",
            ),
        )
    };
    // Whoever may not, hears the same of what is there and of what is not.
    let forbidden = bob.teardown(teardown("shop", "web")).await.expect_err("no right");
    assert_eq!((forbidden.code(), reason(&forbidden).as_str()), (Code::PermissionDenied, "CALLER_FORBIDDEN"));
    alice.deploy(request).await.expect("deployed");
    let again = bob.teardown(teardown("shop", "web")).await.expect_err("no right");
    assert_eq!((again.code(), again.message()), (forbidden.code(), forbidden.message()));
    for refused in [
        bob.deploy(deploy_at_once("shop", "web", TEMPLATE)).await.expect_err("no right"),
        bob.scale(scale("shop", "web", "web", 2)).await.expect_err("no right"),
        alice.deploy(deploy_at_once("other", "web", TEMPLATE)).await.expect_err("no right there"),
        with_token(channel.clone(), BOB)
            .list_deployments(proto::ListDeploymentsRequest {
                namespace: "-".to_owned(),
                ..Default::default()
            })
            .await
            .expect_err("not in all namespaces"),
    ] {
        assert_eq!(reason(&refused), "CALLER_FORBIDDEN", "{refused:?}");
    }
    bob.get_deployment(get("web")).await.expect("bob may look");
    let everywhere = proto::ListDeploymentsRequest { namespace: "-".to_owned(), ..Default::default() };
    alice.list_deployments(everywhere).await.expect("the team may list");
    let request = proto::ListRevisionsRequest {
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
        ..Default::default()
    };
    let revisions = bob.list_revisions(request).await.expect("revisions").into_inner().revisions;
    assert_eq!(revisions.iter().map(|one| one.created_by.as_str()).collect::<Vec<_>>(), ["alice"]);
    let log = binary.whole_log();
    let lines =
        log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("an object a line"));
    let audit: Vec<serde_json::Value> =
        lines.filter(|line| line["target"] == "audit").map(|line| line["fields"].clone()).collect();
    let of = |caller: &str, method: &str, namespace: &str| -> Vec<String> {
        let lines = audit.iter().filter(|line| {
            line["caller"] == caller && line["method"] == method && line["namespace"] == namespace
        });
        lines.map(|line| line["outcome"].as_str().expect("an outcome").to_owned()).collect()
    };
    assert_eq!(of("alice", "Deploy", "shop"), ["BEGUN", "OK"]);
    assert_eq!(of("alice", "Deploy", "other"), ["CALLER_FORBIDDEN"]);
    assert_eq!(of("bob", "Teardown", "shop"), ["CALLER_FORBIDDEN"; 2]);
    let first = audit.iter().find(|line| line["outcome"] == "OK").expect("a line");
    assert_eq!((&first["deployment"], &first["request_id"]), (&"web".into(), &"request-7".into()));
    assert!(!log.contains("canary"), "a token or a value is in the log");
    assert!(log.contains(r#""caller":"alice""#), "the span says who calls");
}

#[tokio::test]
async fn files_are_read_again_and_those_that_cannot_be_used_are_not_taken() {
    let folder = Folder::new("again");
    let tokens = folder.tokens();
    let rights = folder.write("rights", "* * shop\n", 0o644);
    let flags =
        ["--auth", "tokens", "--tokens-file", &tokens, "--authorize", "file", "--rights-file", &rights];
    let binary = start(&flags).await;
    let channel = connect(binary.address).await;
    let mut bob = with_token(channel.clone(), BOB);
    let absent = bob.get_deployment(get("web")).await.expect_err("absent");
    assert_eq!(reason(&absent), "DEPLOYMENT_NOT_FOUND");
    folder.write("tokens", &format!("bob {ALICE}\n"), 0o644);
    told(&binary, "new tokens cannot be used yet").await;
    assert_eq!(reason(&bob.get_deployment(get("web")).await.expect_err("absent")), "DEPLOYMENT_NOT_FOUND");
    folder.write("rights", "user:alice * shop\n", 0o644);
    told(&binary, "rights read again").await;
    assert_eq!(reason(&bob.get_deployment(get("web")).await.expect_err("no right")), "CALLER_FORBIDDEN");
    folder.write("tokens", &format!("alice {ALICE}\n"), 0o600);
    told(&binary, "tokens read again").await;
    assert_eq!(reason(&bob.get_deployment(get("web")).await.expect_err("unknown")), "CREDENTIALS_INVALID");
}

#[tokio::test]
async fn a_caller_has_bounds_of_its_own() {
    let folder = Folder::new("bounds");
    let tokens = folder.tokens();
    let metrics = ["--metrics-listen", "127.0.0.1:0"];
    let flags = ["--auth", "tokens", "--tokens-file", &tokens, "--max-watches-per-caller", "2"];
    let binary = start(&[flags.as_slice(), &metrics].concat()).await;
    let hits = "panamax_limit_hits_total{limit=\"watches_of_caller\"}";
    assert_eq!(measured(&binary, hits).await, 0.0);
    let channel = connect(binary.address).await;
    let (mut alice, mut bob) = (with_token(channel.clone(), ALICE), with_token(channel, BOB));
    alice.deploy(deploy_at_once("default", "web", TEMPLATE)).await.expect("deployed");
    let watch = || proto::WatchDeploymentRequest { name: "web".to_owned(), ..Default::default() };
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut one = alice.watch_deployment(watch()).await.expect("a watch").into_inner();
        assert!(matches!(
            one.message().await.expect("a message").expect("one").event,
            Some(Event::Snapshot(_))
        ));
        held.push(one);
    }
    let refused = alice.watch_deployment(watch()).await.expect_err("one too many");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "OVERLOADED"));
    becomes(&binary, hits, 1.0).await;
    bob.watch_deployment(watch()).await.expect("another caller has places of its own");
    alice
        .get_deployment(proto::GetDeploymentRequest { name: "web".to_owned(), ..Default::default() })
        .await
        .expect("a look");
    held.clear();
    let again = async {
        while alice.watch_deployment(watch()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), again).await.expect("there is room again");
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority");
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

/// A certificate with this subject, and its key.
fn issued(by: &Issuer, name: Option<&str>, organization: &str) -> (String, String) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(name) = name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.distinguished_name.push(DnType::OrganizationName, organization);
    let key = KeyPair::generate().expect("a key");
    (params.signed_by(&key, by).expect("a certificate").pem(), key.serialize_pem())
}

async fn connected(binary: &Binary, by: &Issuer, (certificate, key): (String, String)) -> Channel {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(by.pem()))
        .domain_name("localhost")
        .identity(tonic::transport::Identity::from_pem(certificate, key));
    let endpoint = Endpoint::from_shared(format!("https://{}", binary.address)).expect("an address");
    endpoint.tls_config(tls).expect("TLS").connect().await.expect("a connection")
}

#[tokio::test]
async fn a_certificate_says_who_calls() {
    let folder = Folder::new("mtls");
    let ours = authority();
    let (certificate, key) = issued(&ours, Some("server"), "servers");
    let certificate = folder.write("cert.pem", &certificate, 0o644);
    let key = folder.write("key.pem", &key, 0o600);
    let clients = folder.write("clients.pem", &ours.pem(), 0o644);
    let rights = folder.write("rights", "group:team read,deploy,create-namespace shop\n", 0o644);
    let tls = ["--tls-cert", &certificate, "--tls-key", &key, "--tls-client-ca", &clients];
    let flags = [&tls[..], &["--auth", "mtls", "--authorize", "file", "--rights-file", &rights]].concat();
    let binary = start(&flags).await;
    let mut alice = showing(connected(&binary, &ours, issued(&ours, Some("alice"), "team")).await, None);
    alice.deploy(deploy_into_new("shop", TEMPLATE)).await.expect("deployed");
    let request = proto::ListRevisionsRequest {
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
        ..Default::default()
    };
    let revisions = alice.list_revisions(request).await.expect("revisions").into_inner().revisions;
    assert_eq!(revisions[0].created_by, "alice");
    for (name, organization) in [(Some("bob"), "others"), (None, "team"), (Some("root"), "system:masters")] {
        let channel = connected(&binary, &ours, issued(&ours, name, organization)).await;
        let refused = showing(channel, None).get_deployment(get("web")).await.expect_err("no right");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "CALLER_FORBIDDEN"));
    }
}

#[tokio::test]
async fn callers_whose_authority_is_trusted_no_more_are_callers_no_more() {
    let folder = Folder::new("distrusted");
    let (ours, other) = (authority(), authority());
    let (certificate, key) = issued(&ours, Some("server"), "servers");
    let certificate = folder.write("cert.pem", &certificate, 0o644);
    let key = folder.write("key.pem", &key, 0o600);
    let both = format!("{}{}", ours.pem(), other.pem());
    let clients = folder.write("clients.pem", &both, 0o644);
    let tls = ["--tls-cert", &certificate, "--tls-key", &key, "--tls-client-ca", &clients];
    let binary = start(&[&tls[..], &["--auth", "mtls", "--metrics-listen", "127.0.0.1:0"]].concat()).await;
    let watching = async |by: &Issuer, name: &str| {
        let channel = connected(&binary, &ours, issued(by, Some(name), "team")).await;
        let mut caller = showing(channel, None);
        caller.deploy(deploy_at_once("default", "web", TEMPLATE)).await.expect("deployed");
        let watch = proto::WatchDeploymentRequest { name: "web".to_owned(), ..Default::default() };
        caller.watch_deployment(watch).await.expect("a watch").into_inner()
    };
    let (mut alice, mut bob) = (watching(&other, "alice").await, watching(&ours, "bob").await);
    folder.write("clients.pem", &ours.pem(), 0o644);
    let ended = async {
        loop {
            if let Some(Event::Complete(end)) = alice.message().await.expect("a message").expect("one").event
            {
                return end.reason();
            }
        }
    };
    let reason = tokio::time::timeout(Duration::from_secs(20), ended).await.expect("it ends soon");
    assert_eq!(reason, proto::WatchCompleteReason::AuthorizationLost);
    becomes(&binary, "panamax_connections_cut_total{reason=\"certificate\"}", 1.0).await;
    // Whoever is still trusted goes on.
    let goes_on = async { while !matches!(bob.message().await, Ok(None) | Err(_)) {} };
    assert!(tokio::time::timeout(Duration::from_secs(2), goes_on).await.is_err());
}

#[test]
fn settings_that_contradict_each_other_are_refused_at_the_start() {
    let folder = Folder::new("refused");
    let tokens = folder.tokens();
    let rights = folder.write("rights", "* * *\n", 0o644);
    let open = folder.write("open", &format!("alice {ALICE}\n"), 0o644);
    let short = folder.write("short", "alice canary\n", 0o600);
    let writable = folder.write("writable", "* * *\n", 0o666);
    let wrong = folder.write("wrong", "alice fly shop\n", 0o644);
    let known = ["--auth", "tokens", "--tokens-file", &tokens];
    let with = |flags: &[&'static str]| {
        [&known[..], flags].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let only = |flags: &[&str]| flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>();
    let rows: Vec<(Vec<String>, &str)> = vec![
        (only(&["--auth", "tokens"]), "name it with --tokens-file"),
        (only(&["--tokens-file", &tokens]), "--tokens-file is for --auth tokens"),
        (only(&["--auth", "token-review"]), "name it with --token-audience"),
        (only(&["--auth", "token-review", "--token-audience", "a,"]), "an audience without a name"),
        (with(&["--token-audience", "a"]), "--token-audience is for --auth token-review"),
        (only(&["--auth", "mtls"]), "name it with --tls-client-ca"),
        (with(&["--authorize", "file"]), "name it with --rights-file"),
        ([with(&["--rights-file"]), only(&[&rights])].concat(), "--rights-file is for --authorize file"),
        (only(&["--authorize", "file", "--rights-file", &rights]), "say how with --auth"),
        (only(&["--auth", "token-review", "--token-audience", "a"]), "--sandbox knows no callers"),
        (with(&["--authorize", "subject-access-review"]), "--sandbox knows no callers"),
        (with(&["--max-calls-per-caller", "0"]), "--max-calls-per-caller 0 serves nobody"),
        (only(&["--auth", "tokens", "--tokens-file", &open]), "can be read or written by everybody"),
        (only(&["--auth", "tokens", "--tokens-file", &short]), "is wrong in line 1"),
        (only(&["--auth", "tokens", "--tokens-file", "/nowhere"]), "cannot be read"),
        (
            [with(&["--authorize", "file", "--rights-file"]), only(&[&writable])].concat(),
            "can be written by everybody",
        ),
        ([with(&["--authorize", "file", "--rights-file"]), only(&[&wrong])].concat(), "is wrong in line 1"),
    ];
    for (flags, why) in rows {
        let flags: Vec<&str> = ["--sandbox", "--listen", "127.0.0.1:0"]
            .into_iter()
            .chain(flags.iter().map(String::as_str))
            .collect();
        let (code, told) = refused(&flags);
        assert_eq!(code, Some(78), "{why}: {told}");
        assert!(told.contains(why), "{why}: {told}");
        assert_eq!(told.trim().lines().count(), 1, "{told}");
        assert!(!told.contains("canary"), "{told}");
    }
}
