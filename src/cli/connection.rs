//! The way to an adapter: its address, TLS, and the token that says who calls.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Uri};
use tonic::{Request, Status};

use super::failure::{Failure, UNREACHABLE, cause};
use super::source::unreadable;
use panamax_kubernetes_adapter_client::deployment_service_client::DeploymentServiceClient;
use panamax_kubernetes_adapter_client::template_service_client::TemplateServiceClient;

/// How long an adapter may take to accept a connection.
const CONNECTING: Duration = Duration::from_secs(5);
/// The environment variable that names an adapter.
pub const SERVER: &str = "PANAMAX_SERVER";

/// Where the adapter is, and who calls it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Adapter")]
pub struct ConnectionArgs {
    /// Address of the adapter: http://HOST:PORT, https://HOST:PORT or unix:/PATH
    #[arg(long, env = SERVER, default_value = "http://127.0.0.1:50051", value_name = "URL")]
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
}

/// What calls DeploymentService.
pub type Deployments = DeploymentServiceClient<InterceptedService<Channel, Caller>>;
/// What calls TemplateService.
pub type Templates = TemplateServiceClient<InterceptedService<Channel, Caller>>;

impl Client {
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
        let endpoint = self.endpoint()?;
        let caller = Caller(self.token_file.as_deref().map(|file| self.token(file)).transpose()?);
        let channel = endpoint.connect_timeout(CONNECTING).connect().await.map_err(|error| {
            let why = cause(&error);
            let text =
                format!("no adapter answers at {}: {why}; name one with --server or {SERVER}", self.server);
            Failure::new(UNREACHABLE, text)
        })?;
        Ok(Client { channel, caller })
    }

    fn endpoint(&self) -> Result<Endpoint, Failure> {
        let wrong = |why: &str| {
            Failure::usage(format!(
                "--server {}: {why}; write http://HOST:PORT, https://HOST:PORT or unix:/PATH",
                self.server
            ))
        };
        let has_tls = self.ca_file.is_some() || self.cert_file.is_some();
        let endpoint = Endpoint::from_shared(self.server.clone()).map_err(|_| wrong("is no address"))?;
        if self.server.starts_with("unix:") {
            return if has_tls { Err(wrong("takes no certificates")) } else { Ok(endpoint) };
        }
        let uri: Uri = self.server.parse().map_err(|_| wrong("is no address"))?;
        match uri.scheme_str() {
            Some("http") if has_tls => Err(wrong("takes no certificates: it is not https")),
            Some("http") => Ok(endpoint),
            Some("https") => endpoint
                .tls_config(self.tls()?)
                .map_err(|error| wrong(&format!("has no TLS: {}", cause(&error)))),
            _ => Err(wrong("is of another kind")),
        }
    }

    fn tls(&self) -> Result<ClientTlsConfig, Failure> {
        let tls = match &self.ca_file {
            Some(file) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem(file)?)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        Ok(match (&self.cert_file, &self.key_file) {
            (Some(certificate), Some(key)) => tls.identity(Identity::from_pem(pem(certificate)?, pem(key)?)),
            _ => tls,
        })
    }

    /// The token as a header has it. No error quotes it.
    fn token(&self, file: &Path) -> Result<MetadataValue<Ascii>, Failure> {
        if !self.is_private() {
            return Err(Failure::usage(format!(
                "--token-file: everybody between here and {} could read the token; use https",
                self.server
            )));
        }
        let shown = file.display().to_string();
        let text = fs::read_to_string(file).map_err(|error| unreadable(&shown, &error))?;
        let token = text.trim();
        let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let header =
            is_token.then(|| format!("Bearer {token}").parse::<MetadataValue<Ascii>>().ok()).flatten();
        let mut header = header
            .ok_or_else(|| Failure::usage(format!("--token-file {shown} holds no token on one line")))?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// Whether nobody else can read what is sent.
    fn is_private(&self) -> bool {
        let uri: Option<Uri> = self.server.parse().ok();
        let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
        let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        self.server.starts_with("unix:")
            || uri.as_ref().and_then(Uri::scheme_str) == Some("https")
            || host == "localhost"
            || address.is_some_and(|address| address.is_loopback())
    }
}

fn pem(file: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(file).map_err(|error| unreadable(&file.display().to_string(), &error))
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
    fn a_token_goes_nowhere_where_others_could_read_it() {
        for private in
            ["https://a.example:1", "http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "unix:/a"]
        {
            assert!(at(private).is_private(), "{private}");
        }
        for open in
            ["http://a.example:1", "http://10.0.0.1:1", "http://localhost.example:1", "http://0.0.0.0:1", ""]
        {
            assert!(!at(open).is_private(), "{open}");
            assert!(
                at(open).token(Path::new("/dev/null")).is_err_and(|failure| failure.text.contains("https"))
            );
        }
        assert!(at("unix:/a").token(Path::new("/dev/null")).is_err());
    }

    #[test]
    fn addresses_are_checked() {
        for good in ["http://a:1", "unix:/a/b"] {
            assert!(at(good).endpoint().is_ok(), "{good}");
        }
        for wrong in ["", "a:1", "ftp://a:1", "http://"] {
            assert!(at(wrong).endpoint().is_err(), "{wrong}");
        }
        let with_authority = ConnectionArgs { ca_file: Some("/none".into()), ..at("http://a:1") };
        assert!(with_authority.endpoint().is_err());
    }

    #[test]
    fn a_token_is_sent_as_a_bearer_and_never_shown() {
        let path = std::env::temp_dir().join(format!("panamax-token-{}", std::process::id()));
        fs::write(&path, "canary\n").unwrap();
        let token = at("unix:/a").token(&path).unwrap_or_else(|failure| panic!("{}", failure.text));
        let request = Caller(Some(token)).call(Request::new(())).unwrap();
        assert_eq!(request.metadata().get("authorization").unwrap().to_str().unwrap(), "Bearer canary");
        assert!(!format!("{request:?}").contains("canary"));
        fs::write(&path, "two canary\n").unwrap();
        assert!(at("unix:/a").token(&path).is_err_and(|failure| !failure.text.contains("canary")));
    }
}
