//! The way to an adapter: its address, TLS, and the token that says who calls.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustls::sign::CertifiedKey;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use super::address::{Address, SERVER};
use super::certificates;
use super::failure::{Failure, both, cause};
use super::findings::Texts;
use super::source::{read, unreadable};
use super::unanswered::{self, Told};
use panamax_kubernetes_adapter_client::deployment_service_client::DeploymentServiceClient;
use panamax_kubernetes_adapter_client::template_service_client::TemplateServiceClient;

/// The adapter that is called where nobody names one.
const LOCAL: &str = "http://127.0.0.1:50051";
/// How long an adapter may take to accept a connection.
const CONNECTING: Duration = Duration::from_secs(5);

/// Where the adapter is, and who calls it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Adapter")]
pub struct ConnectionArgs {
    /// Address of the adapter: http://HOST:PORT, https://HOST:PORT or unix:/PATH
    #[arg(long, env = SERVER, hide_env_values = true, default_value = LOCAL, value_name = "URL")]
    server: String,

    /// Authority of the adapter's certificate, in PEM form [default: the system's authorities]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// Certificate of the caller, in PEM form
    #[arg(long, value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,

    /// Private key of the caller's certificate, in PEM form
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,

    /// File with the caller's token; it is sent over TLS, a socket of this machine, or loopback, and nowhere else
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Says with every call who calls.
#[derive(Clone)]
pub struct Caller(Option<MetadataValue<Ascii>>);

impl Interceptor for Caller {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// A connection to an adapter.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    caller: Caller,
    address: Address,
    /// The certificate that the caller shows.
    own: Option<Arc<CertifiedKey>>,
    /// The flags that lead another command to the same adapter.
    pub flags: String,
}

/// What a connection needs, read and checked.
pub struct Ready {
    endpoint: Endpoint,
    caller: Caller,
    address: Address,
    own: Option<Arc<CertifiedKey>>,
    flags: String,
}

impl Ready {
    /// Connects.
    pub async fn connect(self) -> Result<Client, Failure> {
        let Self { endpoint, caller, address, own, flags } = self;
        let channel = endpoint.connect_timeout(CONNECTING).connect().await;
        let channel = channel.map_err(|error| unanswered::unreachable(&address, &error))?;
        Ok(Client { channel, caller, address, own, flags })
    }
}

/// What calls DeploymentService.
pub type Deployments = DeploymentServiceClient<InterceptedService<Channel, Caller>>;
/// What calls TemplateService.
pub type Templates = TemplateServiceClient<InterceptedService<Channel, Caller>>;

impl Client {
    /// Why a call has failed that was given so much time.
    pub async fn refused(&self, status: &Status, texts: &Texts<'_>, within: Duration) -> Told {
        unanswered::refused(&self.address, self.own.clone(), status, texts, within).await
    }

    /// Calls DeploymentService.
    pub fn deployments(&self) -> Deployments {
        DeploymentServiceClient::with_interceptor(self.channel.clone(), self.caller.clone())
    }

    /// Calls TemplateService.
    pub fn templates(&self) -> Templates {
        TemplateServiceClient::with_interceptor(self.channel.clone(), self.caller.clone())
    }
}

impl ConnectionArgs {
    /// Connects, after every check that needs no adapter.
    pub async fn connect(&self) -> Result<Client, Failure> {
        self.ready()?.connect().await
    }

    /// Makes every check that needs no adapter, and tells all that is wrong.
    pub fn ready(&self) -> Result<Ready, Failure> {
        let address = Address::read(&self.server)?;
        let token = self.token_file.as_deref().map(|file| token(&address, file)).transpose();
        let ((endpoint, own), token) = both(self.endpoint(&address), token)?;
        Ok(Ready { endpoint, caller: Caller(token), address, own, flags: self.flags() })
    }

    /// The flags that another command needs to get to the same adapter, each behind a blank.
    fn flags(&self) -> String {
        let usual = std::env::var(SERVER).unwrap_or_else(|_| LOCAL.to_owned());
        let files = [
            ("ca-file", &self.ca_file),
            ("cert-file", &self.cert_file),
            ("key-file", &self.key_file),
            ("token-file", &self.token_file),
        ];
        let named =
            files.into_iter().filter_map(|(flag, file)| Some((flag, file.as_ref()?.display().to_string())));
        let server = Some(("server", self.server.clone())).filter(|(_, server)| *server != usual);
        server.into_iter().chain(named).map(|(flag, value)| format!(" --{flag} {}", quoted(&value))).collect()
    }

    fn endpoint(&self, address: &Address) -> Result<(Endpoint, Option<Arc<CertifiedKey>>), Failure> {
        let wrong = |why: &str| Failure::usage(format!("--server {address} {why}"));
        let endpoint = Endpoint::from_shared(address.to_string());
        let endpoint = endpoint.map_err(|error| wrong(&format!("cannot be called: {}", cause(&error))))?;
        if address.is_https() {
            let (tls, own) = self.tls()?;
            let with_tls = endpoint.tls_config(tls);
            let with_tls = with_tls.map_err(|error| wrong(&format!("has no TLS: {}", cause(&error))))?;
            return Ok((with_tls, own));
        }
        if self.ca_file.is_some() || self.cert_file.is_some() {
            return Err(wrong("takes no certificates: it is not https"));
        }
        Ok((endpoint, None))
    }

    fn tls(&self) -> Result<(ClientTlsConfig, Option<Arc<CertifiedKey>>), Failure> {
        let tls = ClientTlsConfig::new();
        let authority = self.ca_file.as_deref().map(certificates::authority).transpose();
        let own = self.cert_file.as_deref().zip(self.key_file.as_deref());
        let own = own.map(|(certificate, key)| certificates::identity(certificate, key)).transpose();
        let (authority, own) = both(authority, own)?;
        let tls = match authority {
            Some(authority) => tls.ca_certificate(authority),
            None => tls.with_native_roots(),
        };
        Ok(match own {
            Some((identity, own)) => (tls.identity(identity), Some(Arc::new(own))),
            None => (tls, None),
        })
    }
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/:.,_-@%+=".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The token as a header has it. No error quotes it.
fn token(address: &Address, file: &Path) -> Result<MetadataValue<Ascii>, Failure> {
    if !address.is_private() {
        return Err(Failure::usage(format!(
            "--token-file: everybody between here and {address} could read the token; use https"
        )));
    }
    let shown = file.display().to_string();
    let bytes = File::open(file).and_then(read).map_err(|error| unreadable(&shown, &error))?;
    let text = String::from_utf8_lossy(&bytes);
    let token = text.trim();
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let header = is_token.then(|| format!("Bearer {token}").parse::<MetadataValue<Ascii>>().ok()).flatten();
    let mut header =
        header.ok_or_else(|| Failure::usage(format!("--token-file {shown} holds no token on one line")))?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(server: &str) -> ConnectionArgs {
        ConnectionArgs {
            server: server.into(),
            ca_file: None,
            cert_file: None,
            key_file: None,
            token_file: None,
        }
    }

    #[test]
    fn an_advised_command_goes_to_the_same_adapter() {
        let usual = std::env::var(SERVER).unwrap_or_else(|_| LOCAL.to_owned());
        assert_eq!(at(&usual).flags(), "");
        let named = ConnectionArgs { token_file: Some("/a b/it's".into()), ..at("https://a:1") };
        assert_eq!(named.flags(), " --server https://a:1 --token-file '/a b/it'\\''s'");
    }

    fn address(text: &str) -> Address {
        Address::read(text).unwrap_or_else(|failure| panic!("{}", failure.text))
    }

    #[test]
    fn a_token_goes_nowhere_where_others_could_read_it() {
        let open = token(&address("http://a.example:1"), Path::new("/dev/null"));
        assert!(open.is_err_and(|failure| failure.text.contains("https")));
        assert!(token(&address("unix:/a"), Path::new("/dev/null")).is_err());
    }

    #[test]
    fn certificates_go_to_https_alone() {
        for plain in ["http://a:1", "unix:/a/b"] {
            assert!(at(plain).endpoint(&address(plain)).is_ok(), "{plain}");
            let with_authority = ConnectionArgs { ca_file: Some("/none".into()), ..at(plain) };
            assert!(with_authority.endpoint(&address(plain)).is_err(), "{plain}");
        }
    }

    #[test]
    fn a_token_is_sent_as_a_bearer_and_never_shown() {
        let path = std::env::temp_dir().join(format!("panamax-token-{}", std::process::id()));
        std::fs::write(&path, "canary\n").unwrap();
        let socket = address("unix:/a");
        let read = token(&socket, &path).unwrap_or_else(|failure| panic!("{}", failure.text));
        let request = Caller(Some(read)).call(Request::new(())).unwrap();
        assert_eq!(request.metadata().get("authorization").unwrap().to_str().unwrap(), "Bearer canary");
        assert!(!format!("{request:?}").contains("canary"));
        std::fs::write(&path, "two canary\n").unwrap();
        assert!(token(&socket, &path).is_err_and(|failure| !failure.text.contains("canary")));
    }
}
