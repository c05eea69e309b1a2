//! A cluster behind a proxy: the kinds of proxies, who is let pass, and where the environment has a say.

use std::net::SocketAddr;

use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use panamax_kubernetes_adapter::sandbox::Sandbox;
use tokio::net::TcpListener;
use tonic::Status;

use crate::support::adapter::{Binary, connect, deploy_at_once, reason, refused};
use crate::support::certificates::{Folder, Issuer, authority};
use crate::support::front::Front;
use crate::support::tunnel::{CREDENTIALS, Speaks, Tunnel};

const ONE: &str = "name: One\nimages:\n- {name: web, source: 'example/web:1'}\n";
/// Where the cluster is for the proxy alone: nobody else can look this name up.
const CLUSTER: &str = "cluster.invalid:6443";

/// A cluster over TLS, and what is needed to trust it.
struct Far {
    front: Front,
    authority: Issuer,
    folder: Folder,
    _sandbox: Sandbox,
}

impl Far {
    async fn new(name: &str) -> Self {
        let sandbox = Sandbox::start(TcpListener::bind("127.0.0.1:0").await.expect("a port")).await;
        let sandbox = sandbox.expect("a sandbox");
        let server = sandbox.url().trim_start_matches("http://").parse().expect("an address");
        let authority = authority(name);
        let front = Front::of(server, &authority).await;
        Self { front, authority, folder: Folder::new(name), _sandbox: sandbox }
    }

    async fn proxy(&self, speaks: Speaks, known: bool) -> Tunnel {
        Tunnel::to(self.front.address, speaks, known, &self.authority).await
    }

    /// A kubeconfig that names the cluster, and perhaps a proxy.
    fn kubeconfig(&self, proxy: Option<&str>) -> String {
        let ca = self.folder.write("ca.pem", &self.authority.pem(), 0o644);
        let proxy = proxy.map_or(String::new(), |proxy| format!(", proxy-url: '{proxy}'"));
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nusers: [{{name: u, user: {{}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: 'https://{CLUSTER}', tls-server-name: localhost, \
             certificate-authority: '{ca}'{proxy}}}}}]\n"
        );
        self.folder.write("kubeconfig", &text, 0o600)
    }
}

fn address(scheme: &str, credentials: &str, at: SocketAddr) -> String {
    format!("{scheme}://{credentials}localhost:{}", at.port())
}

async fn started(environment: Vec<(&'static str, String)>, kubeconfig: String) -> Binary {
    let start = move || {
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, text)| (*name, &**text)).collect();
        let flags = ["--kubeconfig", &kubeconfig, "--namespaces", "default", "--log", "trace"];
        Binary::start_in(&environment, &flags)
    };
    tokio::task::spawn_blocking(start).await.expect("the binary starts")
}

async fn deployed(binary: &Binary) -> Result<(), Status> {
    let mut client = DeploymentServiceClient::new(connect(binary.address).await);
    client.deploy(deploy_at_once("default", "one", ONE)).await.map(|_| ())
}

#[tokio::test]
async fn every_kind_of_proxy_leads_to_the_cluster() {
    let kinds = [
        ("http", Speaks::Http, false),
        ("http", Speaks::Http, true),
        ("https", Speaks::Https, true),
        ("socks5", Speaks::Socks, false),
        ("socks5", Speaks::Socks, true),
    ];
    for (index, (scheme, speaks, known)) in kinds.into_iter().enumerate() {
        let far = Far::new(&format!("proxied-{index}")).await;
        let proxy = far.proxy(speaks, known).await;
        let credentials = if known { format!("{CREDENTIALS}@") } else { String::new() };
        let url = address(scheme, &credentials, proxy.address);
        let binary = started(Vec::new(), far.kubeconfig(Some(&url))).await;
        deployed(&binary).await.unwrap_or_else(|status| panic!("{speaks:?}: {status:?}"));
        let asked = proxy.asked();
        assert!(!asked.is_empty(), "{speaks:?}");
        assert!(asked.iter().all(|asked| asked == CLUSTER), "{speaks:?}: {asked:?}");
        is_not_told(&binary.whole_log());
    }
}

/// No piece of the credentials, in any form, is in a text.
fn is_not_told(text: &str) {
    let words = [CREDENTIALS, "some%20body", "some body", "p%40ss", "w0rd", "c29tZSBib2R5"];
    for word in words {
        let at = text.find(word);
        assert!(at.is_none(), "{word}: {:?}", at.map(|at| text.get(at.saturating_sub(100)..at + 100)));
    }
}

#[tokio::test]
async fn a_proxy_that_lets_nobody_pass_is_told_without_who_asked() {
    let kinds = [
        ("http", Speaks::Http, "authorization required"),
        ("socks5", Speaks::Socks, "credentials not accepted"),
    ];
    for (index, (scheme, speaks, why)) in kinds.into_iter().enumerate() {
        let far = Far::new(&format!("proxied-refused-{index}")).await;
        let proxy = far.proxy(speaks, true).await;
        let wrong = format!("{}!@", CREDENTIALS);
        let binary = started(Vec::new(), far.kubeconfig(Some(&address(scheme, &wrong, proxy.address)))).await;
        let status = deployed(&binary).await.expect_err("nobody passes");
        assert_eq!(reason(&status), "CLUSTER_UNREACHABLE", "{status:?}");
        let log = binary.whole_log();
        assert!(log.contains(why), "{log}");
        is_not_told(&format!("{status:?}"));
        is_not_told(&log);
        assert_eq!(proxy.asked(), [""; 0]);
    }
}

#[tokio::test]
async fn the_environment_names_a_proxy_for_clusters_that_name_none() {
    let far = Far::new("proxied-environment").await;
    let proxy = far.proxy(Speaks::Http, true).await;
    let named = ("HTTPS_PROXY", address("http", &format!("{CREDENTIALS}@"), proxy.address));
    let not_there = ("NO_PROXY", "10.0.0.0/8,cluster.invalid:6443".to_owned());
    let binary = started(vec![named.clone()], far.kubeconfig(None)).await;
    deployed(&binary).await.expect("through the environment's proxy");
    drop(binary);
    let asked = proxy.asked().len();
    assert!(asked > 0);
    // The name leads nowhere by itself.
    let binary = started(vec![named.clone(), not_there.clone()], far.kubeconfig(None)).await;
    let status = deployed(&binary).await.expect_err("no way");
    assert_eq!(reason(&status), "CLUSTER_UNREACHABLE", "{status:?}");
    assert_eq!(proxy.asked().len(), asked);
    // What the kubeconfig names has nothing to do with the environment.
    let own = far.proxy(Speaks::Socks, false).await;
    let own_url = address("socks5", "", own.address);
    let binary = started(vec![named, not_there], far.kubeconfig(Some(&own_url))).await;
    deployed(&binary).await.expect("through the kubeconfig's proxy");
    assert_eq!(proxy.asked().len(), asked);
}

#[tokio::test]
async fn a_proxy_that_cannot_be_used_is_refused_at_the_start() {
    let far = Far::new("proxied-start").await;
    let told = |proxy: &str, server: &str| {
        let path = far.kubeconfig(Some(proxy));
        let text = std::fs::read_to_string(&path).expect("a kubeconfig");
        let path = far.folder.write("other", &text.replace("https://cluster.invalid:6443", server), 0o600);
        refused(&["--listen", "127.0.0.1:0", "--kubeconfig", &path])
    };
    for proxy in ["ftp://some%20body:w0rd@localhost:1", "socks4://localhost:1"] {
        let (code, told) = told(proxy, "https://cluster.invalid:6443");
        assert_eq!(code, Some(78), "{told}");
        assert!(told.contains("proxy-url") && told.contains("socks5"), "{told}");
        is_not_told(&told);
    }
    let (code, text) = told("http://some%20body:w0rd@[::", "https://cluster.invalid:6443");
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("proxy's address"), "{text}");
    is_not_told(&text);
    // Another port would be asked, with the credentials.
    for proxy in ["http://some%20body:w0rd@127.0.0.1:99999", "socks5://some%20body:w0rd@localhost:x"] {
        let (code, text) = told(proxy, "https://cluster.invalid:6443");
        assert_eq!(code, Some(78), "{text}");
        assert!(text.contains("the proxy's address names a port that is none"), "{text}");
        is_not_told(&text);
    }
    for (server, why) in [
        ("https://cluster.invalid:99999", "names a port that is none"),
        ("https://some%20body:w0rd@cluster.invalid:6443", "holds a user"),
        ("https://cluster.invalid:6443?x=w0rd", "holds a user"),
    ] {
        let (code, text) = told("http://localhost:1", server);
        assert_eq!(code, Some(78), "{text}");
        assert!(text.contains(why), "{text}");
        is_not_told(&text);
    }
    // Behind a proxy elsewhere, this machine's name means the other one.
    let (code, text) = told("http://192.0.2.1:3128", "http://localhost:1");
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("is not verified"), "{text}");
}
