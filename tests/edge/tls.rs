//! TLS for callers: who is served, which files are refused at the start, and certificates that change while calls go on.

use std::fs;
use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::adapter::{Binary, refused};
use crate::support::certificates::{Folder, Issuer, authority, issued};

/// A key of a kind that rustls does not take with ring; it was made for this and opens nothing.
const P521: &str = "\
-----BEGIN PRIVATE KEY-----
MIHuAgEAMBAGByqGSM49AgEGBSuBBAAjBIHWMIHTAgEBBEIBDk1ln45MQLFghr22
PA53pY4IlM5+/3PkFdDGWun9hdSEWi9Ck9pjjbyR5eZft23D8yutgkKeSPltZ2+S
UxvxRqChgYkDgYYABAAUCz7IjGVvtGij7CYERpb68m2mZtgK4pFXT9KO5cO3Frvz
atw2NgV2l6ytqhMs1hhl8H8viAVxgN4OmHDGg3pk4QHysHkCCf3yoGO68rOAN0Ic
L8J3HU+cShkmrEcUcNYDtmppFOJreDC2yGFw4z674Oe2i33avOeyYjI8EXgty6Tf
yg==
-----END PRIVATE KEY-----
";

async fn start(flags: Vec<String>) -> Binary {
    let start = move || {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        Binary::start_with(&[&["--sandbox"], flags.as_slice()].concat())
    };
    tokio::task::spawn_blocking(start).await.expect("the binary starts")
}

fn flags(certificate: &str, key: &str) -> Vec<String> {
    ["--tls-cert", certificate, "--tls-key", key].map(str::to_owned).to_vec()
}

/// A caller that trusts an authority, with a certificate of its own or without.
async fn caller(
    binary: &Binary,
    trusted: &Issuer,
    own: Option<(String, String)>,
) -> Result<Channel, tonic::transport::Error> {
    let mut tls =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(trusted.pem())).domain_name("localhost");
    if let Some((certificate, key)) = own {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let endpoint = Endpoint::from_shared(format!("https://{}", binary.address)).expect("an address");
    endpoint.tls_config(tls).expect("TLS").connect().await
}

async fn is_served(channel: Result<Channel, tonic::transport::Error>) -> bool {
    let Ok(channel) = channel else { return false };
    HealthClient::new(channel).check(HealthCheckRequest { service: String::new() }).await.is_ok()
}

#[tokio::test]
async fn callers_are_served_over_tls_and_over_nothing_else() {
    let folder = Folder::new("served");
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    let (certificate, key) = folder.server(&ours);
    let binary = start(flags(&certificate, &key)).await;
    assert!(is_served(caller(&binary, &ours, None).await).await);
    assert!(
        !is_served(caller(&binary, &theirs, None).await).await,
        "its certificate is of another authority"
    );
    let plain =
        Endpoint::from_shared(format!("http://{}", binary.address)).expect("an address").connect().await;
    assert!(!is_served(plain).await, "without TLS");
}

#[tokio::test]
async fn with_an_authority_of_clients_nobody_is_served_without_its_certificate() {
    let folder = Folder::new("mutual");
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    let (certificate, key) = folder.server(&ours);
    let clients = folder.write("clients.pem", &ours.pem(), 0o644);
    let mut flags = flags(&certificate, &key);
    flags.extend(["--tls-client-ca".to_owned(), clients]);
    let binary = start(flags).await;
    assert!(is_served(caller(&binary, &ours, Some(issued(&ours, -1, 1))).await).await);
    for (own, why) in [
        (None, "no certificate"),
        (Some(issued(&theirs, -1, 1)), "another authority"),
        (Some(issued(&ours, -2, -1)), "expired"),
        (Some(issued(&ours, 1, 2)), "not valid yet"),
    ] {
        assert!(!is_served(caller(&binary, &ours, own).await).await, "{why}");
    }
}

#[tokio::test]
async fn new_certificates_are_taken_while_calls_go_on_and_bad_ones_are_not() {
    let folder = Folder::new("reload");
    let (old, new) = (authority("old"), authority("new"));
    let (certificate, key) = folder.server(&old);
    let binary = start(flags(&certificate, &key)).await;
    let kept = caller(&binary, &old, None).await.expect("a connection");
    let mut watch = HealthClient::new(kept.clone())
        .watch(HealthCheckRequest { service: String::new() })
        .await
        .expect("a watch")
        .into_inner();
    watch.message().await.expect("a message");
    // A key that belongs to another certificate changes nothing.
    folder.write("key.pem", &issued(&new, -1, 1).1, 0o600);
    let told = async {
        while !binary.log().contains("the ones before stay in force") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told).await.expect("it is told");
    assert!(is_served(caller(&binary, &old, None).await).await);
    folder.server(&new);
    let taken = async {
        while !is_served(caller(&binary, &new, None).await).await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), taken).await.expect("it is read again");
    assert!(is_served(Ok(kept)).await, "the connection of before goes on");
    let quiet = tokio::time::timeout(Duration::from_millis(10), watch.message()).await;
    assert!(quiet.is_err() || quiet.is_ok_and(|message| message.is_ok()), "the watch goes on");
}

#[tokio::test]
async fn silent_peers_keep_nobody_out() {
    let folder = Folder::new("silent");
    let ours = authority("ours");
    let (certificate, key) = folder.server(&ours);
    let binary = start(flags(&certificate, &key)).await;
    // They say nothing, and each that is ended comes again: the handshakes are never fewer than they may be.
    let address = binary.address;
    let hostile = async {
        let one = async || {
            loop {
                let Ok(mut peer) = tokio::net::TcpStream::connect(address).await else { continue };
                let _ = tokio::io::AsyncReadExt::read(&mut peer, &mut [0; 1]).await;
            }
        };
        futures::future::join_all((0..64).map(|_| one())).await;
    };
    let honest = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let begun = std::time::Instant::now();
        for _ in 0..3 {
            assert!(is_served(caller(&binary, &ours, None).await).await);
        }
        begun.elapsed()
    };
    let took = tokio::select! {
        _ = hostile => unreachable!("they never end"),
        took = honest => took,
    };
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn files_that_cannot_be_used_are_refused_at_the_start() {
    let folder = Folder::new("refused");
    let ours = authority("ours");
    let (certificate, key) = folder.server(&ours);
    let write = |name: &str, text: &str, mode: u32| folder.write(name, text, mode);
    let (expired, expired_key) = issued(&ours, -2, -1);
    let (future, future_key) = issued(&ours, 1, 2);
    let (own, own_key) = issued(&ours, -1, 1);
    let rows = [
        (write("expired.pem", &expired, 0o644), write("expired.key", &expired_key, 0o600), "has expired"),
        (write("future.pem", &future, 0o644), write("future.key", &future_key, 0o600), "is not valid yet"),
        (certificate.clone(), write("other.key", &issued(&ours, -1, 1).1, 0o600), "does not belong to"),
        (
            write("reversed.pem", &format!("{}{own}", ours.pem()), 0o644),
            write("reversed.key", &own_key, 0o600),
            "write the key's own certificate first",
        ),
        (
            certificate.clone(),
            write("encrypted.key", &own_key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), 0o600),
            "is encrypted",
        ),
        (certificate.clone(), write("p521.key", P521, 0o600), "of a kind that is not taken"),
        (
            certificate.clone(),
            write("open.key", &fs::read_to_string(&key).expect("a key"), 0o644),
            "can be read by everybody",
        ),
        (certificate.clone(), write("empty.key", "", 0o600), "has no private key"),
        (write("empty.pem", "", 0o644), key.clone(), "has no certificate"),
        (folder.path("absent.pem"), key, "cannot be read"),
    ];
    for (certificate, key, why) in rows {
        let (code, told) =
            refused(&["--sandbox", "--listen", "127.0.0.1:0", "--tls-cert", &certificate, "--tls-key", &key]);
        assert_eq!(code, Some(78), "{why}: {told}");
        assert!(told.contains(why), "{why}: {told}");
        assert!(!told.contains("BEGIN"), "{told}");
    }
    let (code, told) = refused(&["--sandbox", "--tls-cert", &certificate]);
    assert_eq!(code, Some(64), "{told}");
}

#[tokio::test]
async fn the_commands_call_over_tls_with_a_certificate() {
    let folder = Folder::new("commands");
    let ours = authority("ours");
    let (certificate, key) = folder.server(&ours);
    let authority = folder.write("authority.pem", &ours.pem(), 0o644);
    let mut flags = flags(&certificate, &key);
    flags.extend(["--tls-client-ca".to_owned(), authority.clone()]);
    let binary = start(flags).await;
    let server = format!("https://localhost:{}", binary.address.port());
    let (own, own_key) = issued(&ours, -1, 1);
    let (own, own_key) = (folder.write("own.pem", &own, 0o644), folder.write("own-key.pem", &own_key, 0o600));
    let token = folder.write("token", "canary", 0o600);
    let list = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter"));
        let output =
            command.args(["list", "--server", &server, "--ca-file", &authority]).args(arguments).output();
        let output = output.expect("the binary starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let known = list(&["--cert-file", &own, "--key-file", &own_key, "--token-file", &token]);
    assert_eq!(known.0, Some(0), "{}", known.1);
    // Who is refused by TLS is told what to name, and that is no passing failure.
    let unknown = list(&[]);
    assert_eq!(unknown.0, Some(2), "{}", unknown.1);
    assert!(unknown.1.contains("name yours with --cert-file and --key-file"), "{}", unknown.1);
    let stranger = issued(&crate::support::certificates::authority("another"), -1, 1);
    let stranger =
        (folder.write("of.pem", &stranger.0, 0o644), folder.write("of-key.pem", &stranger.1, 0o600));
    let stranger = list(&["--cert-file", &stranger.0, "--key-file", &stranger.1]);
    assert_eq!(stranger.0, Some(2), "{}", stranger.1);
    assert!(stranger.1.contains("does not take the certificate of --cert-file"), "{}", stranger.1);
    let half = list(&["--cert-file", &own]);
    assert_eq!(half.0, Some(2), "{}", half.1);
    // Nothing has begun that may go on.
    let deploy =
        ["deploy", "--server", &server, "--ca-file", &authority, "--name", "a", "examples/wordpress.pmx"];
    let refused = command(&deploy);
    assert_eq!(refused.0, Some(2), "{}", refused.1);
    assert!(!refused.1.contains("may go on") && refused.1.contains("--cert-file"), "{}", refused.1);
}

/// The exit code of a command, and what it says on standard error.
fn command(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter"));
    let output = command.args(arguments).env_remove("PANAMAX_SERVER").output().expect("the binary starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn what_is_wrong_with_a_way_to_an_adapter_is_told_with_what_to_change() {
    let folder = Folder::new("way");
    let ours = authority("ours");
    let (certificate, key) = folder.server(&ours);
    let trusted = folder.write("authority.pem", &ours.pem(), 0o644);
    let other = folder.write("other.pem", &authority("other").pem(), 0o644);
    let mut all = flags(&certificate, &key);
    let more = ["--rest-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
    all.extend(more.map(str::to_owned));
    let binary = start(all).await;
    let plain =
        tokio::task::spawn_blocking(move || Binary::start_with(&[&["--sandbox"][..], &more].concat()));
    let plain = plain.await.expect("the binary starts");
    let at = |scheme: &str, address: Option<std::net::SocketAddr>| {
        format!("{scheme}://localhost:{}", address.expect("an address").port())
    };
    let main = binary.address;
    for (server, authority, code, part) in [
        (at("https", Some(main)), Some(&other), 2, "name the file of its authority with --ca-file"),
        (
            format!("https://127.0.0.1:{}", main.port()),
            Some(&trusted),
            2,
            "by a name that the certificate has",
        ),
        (at("http", Some(main)), None, 3, ": is it the adapter's address? try https"),
        (at("http", binary.rest), None, 3, "does not speak gRPC"),
        (at("http", plain.rest), None, 3, "does not speak gRPC"),
        (at("http", plain.metrics), None, 3, "does not speak gRPC"),
    ] {
        let trusts: Vec<&str> = authority.iter().flat_map(|file| ["--ca-file", file.as_str()]).collect();
        let told = command(&[&["list", "--server", &server][..], &trusts].concat());
        assert_eq!(told.0, Some(code), "{server}: {}", told.1);
        assert!(told.1.contains(part) && told.1.contains(&server), "{server}: {}", told.1);
        let deploy = ["deploy", "--name", "a", "examples/wordpress.pmx", "--server", &server];
        let told = command(&[&deploy[..], &trusts].concat());
        assert!(!told.1.contains("may go on"), "{server}: {}", told.1);
    }
}
