//! Who may do what through the façade for the old agents: tokens, passwords, certificates, rights; and where it is served.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use panamax_kubernetes_adapter::proto;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::rest::{agent, start};
use crate::support::adapter::{Binary, connect, refused};
use crate::support::agent::{Agent, recorded};
use crate::support::bearer::{templates_with_token, with_token};
use crate::support::certificates::{Folder, Issuer, authority};

const ALICE: &str = "canary-token-of-alice";
const BOB: &str = "canary-token-of-bob";

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn password(token: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("agent:{token}")))
}

/// The binary with two callers; alice may do everything in the default namespace, bob only look.
async fn with_callers(folder: &Folder) -> Binary {
    let tokens = folder.write("tokens", &format!("alice {ALICE}\nbob {BOB}\n"), 0o600);
    let rights = folder.write("rights", "user:alice * default\nuser:bob read default\n", 0o644);
    let known =
        ["--auth", "tokens", "--tokens-file", &tokens, "--authorize", "file", "--rights-file", &rights];
    start(&[&known[..], &["--log", "trace"]].concat()).await
}

#[tokio::test]
async fn nobody_is_served_who_is_not_known() {
    let folder = Folder::new("rest-known");
    let binary = with_callers(&folder).await;
    let mut stranger = agent(&binary).await;
    // What tells about the adapter is for everybody.
    assert_eq!(stranger.call("GET", "/v1/metadata", None).await.status, 200);
    assert_eq!(stranger.call("GET", "/healthcheck", None).await.status, 200);
    for (method, path, content) in [
        ("POST", "/v1/services", Some(recorded("go"))),
        ("GET", "/v1/services", None),
        ("GET", "/v1/services/a.agent-a-ca978112.00000000", None),
        ("PUT", "/v1/services/a", None),
        ("GET", "/nowhere", None),
    ] {
        let answer = stranger.call(method, path, content.as_deref()).await;
        assert_eq!(answer.refusal(), (401, "CREDENTIALS_MISSING".to_owned()), "{method} {path}");
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge.as_deref(), Some("bearer, basic realm=\"panamax\""));
    }
    assert_eq!(stranger.delete("a.agent-a-ca978112.00000000").await, 401);
    // Its body is not asked for either.
    let mut waiting = agent(&binary).await;
    let expects =
        "POST /v1/services HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    waiting.raw(expects.as_bytes()).await;
    let answer = waiting.answer("POST").await.expect("an answer");
    assert_eq!((answer.status, answer.header("connection").as_deref()), (401, Some("close")));
    for value in [
        bearer("canary-of-nobody"),
        password("canary-of-nobody"),
        "Basic canary".to_owned(),
        "canary".to_owned(),
    ] {
        let mut wrong = agent(&binary).await.showing(&value);
        let answer = wrong.post(&recorded("go")).await;
        assert_eq!(answer.refusal(), (401, "CREDENTIALS_INVALID".to_owned()), "{value}");
        assert!(!answer.body.contains("canary"), "{answer:?}");
    }
    let mut alice = agent(&binary).await.showing(&password(ALICE));
    let ids = alice.post(&recorded("go")).await.ids();
    alice.until(&ids[0], "running 2/2").await;
    let mut again = agent(&binary).await.showing(&bearer(ALICE));
    assert_eq!(again.post(&recorded("go")).await.ids(), ids);
    let log = binary.whole_log();
    assert!(!log.contains("canary") && !log.contains(&password(ALICE)), "a token or a value is in the log");
    let lines =
        log.lines().filter(|line| line.contains("\"audit\"") && line.contains("\"caller\":\"alice\""));
    let lines: Vec<&str> = lines.collect();
    let deploys = lines.iter().filter(|line| line.contains("\"method\":\"Deploy\""));
    assert!(deploys.clone().any(|line| line.contains("\"outcome\":\"BEGUN\"")), "{lines:#?}");
    assert!(deploys.clone().any(|line| line.contains("\"outcome\":\"OK\"")), "{lines:#?}");
}

#[tokio::test]
async fn a_refusal_outside_of_every_service_says_whose_call_it_was_if_that_is_known() {
    let folder = Folder::new("rest-whose");
    let binary = with_callers(&folder).await;
    let sent = |path: &str, more: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n{more}", bearer(ALICE))
    };
    let (services, broken) = ("/v1/services", "Transfer-Encoding: chunked\r\n\r\nno size\r\n");
    let large = format!("Content-Length: 300000\r\n\r\n{}", " ".repeat(300_000));
    for (path, more, status) in [
        (services, broken, 400),
        (services, large.as_str(), 413),
        ("/nowhere", "Content-Length: 0\r\n\r\n", 404),
        ("/v1/services/a", "Content-Length: 0\r\n\r\n", 405),
    ] {
        let mut alice = agent(&binary).await;
        alice.raw(sent(path, more).as_bytes()).await;
        assert_eq!(alice.answer("POST").await.expect("an answer").status, status, "{path}");
    }
    let request = proto::ValidateTemplateRequest { name: "x".repeat(2_000_000), ..Default::default() };
    let mut alice = templates_with_token(connect(binary.address).await, ALICE);
    alice.validate_template(request).await.expect_err("it is too large");
    // What a caller calls a namespace is shown as far as anything of a caller's is.
    let mut stranger = agent(&binary).await.showing(&bearer(BOB));
    let path = format!("/namespaces/{}\u{202e}/v1/services", "n".repeat(20_000));
    assert_eq!(stranger.call("GET", &path, None).await.status, 400);
    let mut bob = with_token(connect(binary.address).await, BOB);
    let named = "\u{9b}31m".to_owned() + &"n".repeat(500_000);
    let request = proto::GetDeploymentRequest { name: named.clone(), namespace: named, ..Default::default() };
    bob.get_deployment(request).await.expect_err("it is no name");
    let log = binary.whole_log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("call refused")).collect();
    let of = |caller: &str| {
        let caller = format!("\"caller\":\"{caller}\"");
        lines.iter().filter(|line| line.contains(&caller)).count()
    };
    assert_eq!((of("alice"), of("bob"), lines.len()), (5, 2, 7), "{lines:#?}");
    for line in lines {
        assert!(line.len() < 4_000 && !line.contains(['\u{9b}', '\u{202e}']), "{line}");
    }
}

#[tokio::test]
async fn without_the_right_nobody_learns_what_is_there() {
    let folder = Folder::new("rest-rights");
    let binary = with_callers(&folder).await;
    let mut alice = agent(&binary).await.showing(&bearer(ALICE));
    let mut bob = agent(&binary).await.showing(&bearer(BOB));
    let before = bob.post(&recorded("go")).await;
    assert_eq!(before.refusal(), (403, "CALLER_FORBIDDEN".to_owned()));
    let ids = alice.post(&recorded("go")).await.ids();
    // There or not, the same or another: it makes no difference to whoever may not.
    let other = recorded("go").replace("\"count\":2", "\"count\":3");
    for content in [recorded("go"), other] {
        assert_eq!(bob.post(&content).await.body, before.body);
    }
    assert_eq!(bob.delete(&ids[0]).await, 403);
    let elsewhere = |id: &str| format!("/namespaces/elsewhere/v1/services/{id}");
    let known = bob.call("GET", &elsewhere(&ids[0]), None).await;
    let absent = bob.call("GET", &elsewhere("a.agent-a-ca978112.00000000"), None).await;
    assert_eq!(known.refusal(), (403, "CALLER_FORBIDDEN".to_owned()));
    assert_eq!(known.body, absent.body);
    // Whoever may look does.
    bob.until(&ids[0], "running 2/2").await;
    assert_eq!(bob.call("GET", "/v1/services", None).await.status, 200);
    // The revision says who made it, as over gRPC.
    let request = proto::ListRevisionsRequest {
        name: ids[0].split('.').nth(1).expect("a name").to_owned(),
        ..proto::ListRevisionsRequest::default()
    };
    let mut client = with_token(connect(binary.address).await, ALICE);
    let revisions = client.list_revisions(request).await.expect("revisions").into_inner().revisions;
    assert_eq!(revisions.iter().map(|one| one.created_by.as_str()).collect::<Vec<_>>(), ["alice"]);
    assert_eq!(alice.delete(&ids[0]).await, 204);
}

/// A connection with TLS, as a client that trusts an authority opens it.
async fn encrypted(
    binary: &Binary,
    trusted: &Issuer,
    own: Option<(String, String)>,
    protocols: &[&[u8]],
) -> std::io::Result<(Agent, Option<Vec<u8>>)> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der().clone()).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("TLS").with_root_certificates(roots);
    let mut config = match own {
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate")];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
            builder.with_client_auth_cert(chain, key).expect("a certificate of its own")
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(binary.rest.expect("the façade")).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let spoken = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    Ok((Agent::over(Box::new(stream), "localhost"), spoken))
}

#[tokio::test]
async fn tls_is_that_of_the_main_listener_and_speaks_http_1() {
    let folder = Folder::new("rest-tls");
    let (ours, later) = (authority("ours"), authority("later"));
    let (certificate, key) = folder.server(&ours);
    let binary = start(&["--tls-cert", &certificate, "--tls-key", &key]).await;
    // Go offers both; a Ruby agent offers nothing.
    for (offered, spoken) in [(&[&b"h2"[..], b"http/1.1"][..], Some(b"http/1.1".to_vec())), (&[], None)] {
        let (mut agent, found) = encrypted(&binary, &ours, None, offered).await.expect("TLS");
        assert_eq!(found, spoken);
        assert_eq!(agent.call("GET", "/v1/metadata", None).await.status, 200);
    }
    let mut plain = agent(&binary).await;
    plain.send("GET", "/v1/metadata", None).await;
    assert_eq!(plain.answer("GET").await, None, "without TLS");
    folder.server(&later);
    let taken = async {
        while encrypted(&binary, &later, None, &[]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), taken).await.expect("the certificate is read again");
}

#[tokio::test]
async fn certificates_of_callers_are_asked_for_and_say_who_calls() {
    let folder = Folder::new("rest-mtls");
    let ours = authority("ours");
    let (certificate, key) = folder.server(&ours);
    let clients = folder.write("clients.pem", &ours.pem(), 0o644);
    let tls = ["--tls-cert", &certificate, "--tls-key", &key, "--tls-client-ca", &clients];
    let binary = start(&[&tls[..], &["--auth", "mtls"]].concat()).await;
    let unknown = encrypted(&binary, &ours, None, &[]).await;
    let is_served = match unknown {
        Ok((mut agent, _)) => {
            agent.send("GET", "/v1/metadata", None).await;
            agent.answer("GET").await.is_some()
        }
        Err(_) => false,
    };
    assert!(!is_served, "without a certificate");
    let (mut known, _) = encrypted(&binary, &ours, Some(of_alice(&ours)), &[]).await.expect("TLS");
    assert_eq!(known.post(&recorded("go")).await.status, 201);
    assert!(binary.whole_log().contains("\"caller\":\"alice\""), "the audit says who it was");
}

/// Certificate and key of a caller whose name is alice.
fn of_alice(by: &Issuer) -> (String, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "alice");
    let key = KeyPair::generate().expect("a key");
    (params.signed_by(&key, by).expect("a certificate").pem(), key.serialize_pem())
}

#[test]
fn it_is_refused_where_the_main_listener_is() {
    let folder = Folder::new("rest-start");
    let (certificate, key) = folder.server(&authority("ours"));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = taken.local_addr().expect("an address").to_string();
    let tls = ["--tls-cert", &certificate, "--tls-key", &key];
    for (code, flags, part) in [
        (64, vec!["--sandbox", "--rest-listen", "8001"], "--rest-listen"),
        (69, vec!["--sandbox", "--rest-listen", &at], "choose another with --rest-listen"),
        (78, vec!["--sandbox", "--rest-listen", "0.0.0.0:0"], "loopback"),
        (78, vec!["--sandbox", "--rest-listen", "0.0.0.0:0", "--allow-plaintext"], "loopback"),
        (78, vec!["--rest-listen", "0.0.0.0:0"], "--allow-plaintext"),
        (78, [&["--rest-listen", "[::]:0"][..], &tls].concat(), "--tls-client-ca"),
        (78, vec!["--sandbox", "--listen", &at, "--rest-listen", &at], "--listen and --rest-listen are both"),
        (
            78,
            vec!["--sandbox", "--metrics-listen", &at, "--rest-listen", &at],
            "--metrics-listen and --rest-listen are both",
        ),
    ] {
        let listens = flags.contains(&"--listen");
        let more: &[&str] = if listens { &[] } else { &["--listen", "127.0.0.1:0"] };
        let flags = [&flags[..], more].concat();
        let (ended, told) = refused(&flags);
        assert_eq!(ended, Some(code), "{flags:?}: {told}");
        assert!(told.lines().count() == 1 && told.contains(part), "{flags:?}: {told}");
    }
}
