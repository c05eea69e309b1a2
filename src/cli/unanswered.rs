//! Calls that no adapter has answered: at which address, what is known, and what to try.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use rustls::sign::CertifiedKey;
use tonic::{Status, TimeoutExpired};

use super::address::{Address, SERVER};
use super::failure::{Failure, UNREACHABLE, cause, reason, unanswered};
use super::findings::Texts;
use super::probing::{self, Found};

/// What TLS says first of a certificate that it does not believe.
const CERTIFICATE: &str = "invalid peer certificate: ";

/// What the libraries say of bytes that are no gRPC: of HTTP/1, of SSH, of TLS where there should be none and the other
/// way round, and of web pages.
const FOREIGN: [&str; 7] = [
    "frame with invalid size",
    "unspecific protocol error detected",
    "received corrupt message",
    "HTTP/2 was not negotiated",
    "grpc-status header missing",
    "missing grpc-status trailer",
    "invalid compression flag",
];

/// A call that has failed.
pub struct Told {
    /// What is said of it.
    pub failure: Failure,
    /// Whether nobody here knows what has become of the request: it was sent, and no answer has come.
    pub is_open: bool,
}

/// Why a call has failed that was given so much time; `own` is the certificate that its caller shows.
pub async fn refused(
    address: &Address,
    own: Option<Arc<CertifiedKey>>,
    status: &Status,
    texts: &Texts<'_>,
    within: Duration,
) -> Told {
    let Some(error) = unanswered(status) else {
        return Told { failure: answered(address, status, texts), is_open: false };
    };
    let why = cause(error);
    if is_foreign(&why) {
        return Told { failure: foreign(address, &why), is_open: false };
    }
    if has_run_out(error) {
        let text = format!("no answer from {address} within {} s", within.as_secs());
        return Told { failure: Failure::new(UNREACHABLE, text), is_open: true };
    }
    // What refuses a caller, or speaks something else, may close the connection before it can be heard what it says.
    let found = probing::look(address, own).await;
    let failure = match found {
        Some(Found::Tls) => foreign(address, "it speaks TLS"),
        // No TLS is spoken there either: the look has tried.
        Some(Found::Older) => Failure::new(
            UNREACHABLE,
            format!(
                "{address} does not speak gRPC (it speaks HTTP/1 alone): is it the adapter's address, and not another port of it?"
            ),
        ),
        Some(Found::MustShow) => Failure::usage(format!(
            "{address} serves nobody without a certificate; name yours with --cert-file and --key-file"
        )),
        Some(Found::NotTaken) => Failure::usage(format!(
            "{address} does not take the certificate of --cert-file: it has ended, or another authority has issued it"
        )),
        None => Failure::new(UNREACHABLE, format!("the connection to {address} was lost: {why}")),
    };
    Told { failure, is_open: found.is_none() }
}

/// A refusal of whoever has answered.
fn answered(address: &Address, status: &Status, texts: &Texts<'_>) -> Failure {
    let failure = Failure::call(status, texts);
    // A proxy that answers for an adapter that is away stands at the right address.
    let is_away = failure.code == UNREACHABLE;
    match is_foreign(status.message()) && !is_away && reason(status).is_empty() {
        true => foreign(address, status.message()),
        false => failure,
    }
}

/// Why nobody can be called.
pub fn unreachable(address: &Address, error: &(dyn Error + 'static)) -> Failure {
    let why = cause(error);
    if is_foreign(&why) {
        return foreign(address, &why);
    }
    if let Some(fault) = why.strip_prefix(CERTIFICATE) {
        return untrusted(address, fault);
    }
    let text = format!("no adapter answers at {address}: {why}; name one with --server or {SERVER}");
    Failure::new(UNREACHABLE, text)
}

/// Why the certificate of an adapter is not believed: there is one, and the same command fails again.
fn untrusted(address: &Address, fault: &str) -> Failure {
    let remedy = if fault.starts_with("UnknownIssuer") {
        "its authority is not known here: name the file of its authority with --ca-file"
    } else if fault.starts_with("certificate not valid for name") || fault.starts_with("NotValidForName") {
        "it is another host's: call the adapter by a name that the certificate has"
    } else if fault.contains("xpired") || fault.contains("not valid yet") || fault.contains("NotValidYet") {
        "it has ended, or has not begun: whoever runs the adapter must renew it"
    } else {
        "whoever runs the adapter must replace it, or --ca-file names another authority"
    };
    Failure::usage(format!("the certificate of {address} is not trusted ({fault}); {remedy}"))
}

/// Whether an error says that the time of a call is over.
fn has_run_out(error: &(dyn Error + 'static)) -> bool {
    let mut chain = std::iter::successors(Some(error), |&error| error.source());
    chain.any(|error| error.is::<TimeoutExpired>())
}

fn is_foreign(why: &str) -> bool {
    FOREIGN.iter().any(|words| why.contains(words))
}

fn foreign(address: &Address, why: &str) -> Failure {
    let hint = address.other().map(|other| format!(" try {other}")).unwrap_or_default();
    let text = format!("{address} does not speak gRPC ({why}): is it the adapter's address?{hint}");
    Failure::new(UNREACHABLE, text)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use panamax_kubernetes_adapter_client::GetServerInfoRequest;
    use panamax_kubernetes_adapter_client::server_service_client::ServerServiceClient;

    /// Whether the frame that begins a request has come.
    fn has_begun(bytes: &[u8]) -> bool {
        let mut rest = bytes.get(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len()..).unwrap_or_default();
        while let [high, middle, low, kind, ..] = *rest {
            if kind == 1 {
                return true;
            }
            let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            rest = rest.get(9 + length..).unwrap_or_default();
        }
        false
    }

    /// Reads until a request has come, or, over TLS, anything at all.
    async fn hear(stream: &mut TcpStream, is_https: bool) {
        let mut bytes = Vec::new();
        while bytes.is_empty() || !(is_https || has_begun(&bytes)) {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "the caller has left");
        }
    }

    /// What is told of a server that says these bytes to whoever calls, or nothing.
    async fn told(scheme: &str, says: Option<&'static [u8]>) -> (Address, Failure) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::read(&format!("{scheme}://{}", listener.local_addr().unwrap()));
        let address = address.unwrap_or_else(|failure| panic!("{}", failure.text));
        let serves = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            hear(&mut stream, address.is_https()).await;
            if let Some(says) = says {
                stream.write_all(says).await.unwrap();
            }
            // Until the caller leaves.
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            std::future::pending::<()>().await;
        };
        let calls = async {
            let endpoint = tonic::transport::Endpoint::from_shared(address.to_string()).unwrap();
            let endpoint = match address.is_https() {
                true => endpoint.tls_config(tonic::transport::ClientTlsConfig::new()).unwrap(),
                false => endpoint,
            };
            let channel = match endpoint.connect().await {
                Ok(channel) => channel,
                Err(error) => return unreachable(&address, &error),
            };
            let mut request = tonic::Request::new(GetServerInfoRequest::default());
            let within = Duration::from_secs(1);
            request.set_timeout(if says.is_some() { Duration::from_secs(60) } else { within });
            let status = ServerServiceClient::new(channel).get_server_info(request).await.unwrap_err();
            refused(&address, None, &status, &Texts::default(), within).await.failure
        };
        let failure = tokio::select! {
            biased;
            failure = calls => failure,
            () = serves => unreachable!(),
        };
        (address, failure)
    }

    #[tokio::test]
    async fn what_speaks_something_else_is_told_as_such() {
        let http: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
        let ssh: &[u8] = b"SSH-2.0-OpenSSH_9.6\r\n";
        let alert: &[u8] = &[0x15, 3, 3, 0, 2, 2, 10];
        for (scheme, says) in
            [("http", http), ("http", ssh), ("http", alert), ("https", http), ("https", ssh)]
        {
            let (address, failure) = told(scheme, Some(says)).await;
            let other = address.other().unwrap();
            assert_eq!(failure.code, UNREACHABLE);
            assert!(
                failure.text.starts_with(&format!("error: {address} does not speak gRPC ("))
                    && failure.text.ends_with(&format!(" try {other}\n")),
                "{}",
                failure.text
            );
        }
    }

    #[test]
    fn a_page_of_the_web_is_no_answer_and_a_gateway_without_its_adapter_is() {
        let address = Address::read("http://a:1").unwrap_or_else(|failure| panic!("{}", failure.text));
        let told = |status: Status| answered(&address, &status, &Texts::default()).text;
        let page =
            "protocol error: received message with invalid compression flag: 60 (valid flags are 0 and 1)";
        assert!(told(Status::internal(page)).contains("http://a:1 does not speak gRPC"));
        let nowhere = "grpc-status header missing, mapped from HTTP status code 404";
        assert!(told(Status::unimplemented(nowhere)).contains("does not speak gRPC"));
        let away = "grpc-status header missing, mapped from HTTP status code 503";
        assert!(!told(Status::unavailable(away)).contains("does not speak gRPC"));
    }

    #[tokio::test]
    async fn who_is_silent_is_named_with_the_time_that_was_waited() {
        let (address, failure) = told("http", None).await;
        assert_eq!(failure.text, format!("error: no answer from {address} within 1 s\n"));
        assert_eq!(failure.code, UNREACHABLE);
    }
}
