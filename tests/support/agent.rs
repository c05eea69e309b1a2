//! An old Panamax agent, as far as its adapter sees it: the bytes that Go's HTTP client sends, and what it makes of answers.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than any answer may take.
const PATIENCE: Duration = Duration::from_secs(70);

/// The bytes of a connection, whatever is around them.
pub trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// The body that an agent posts, as its code writes it: `go` or `ruby`.
pub fn recorded(agent: &str) -> String {
    std::fs::read_to_string(format!("tests/edge/rest/{agent}.json")).expect("a fixture")
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// The head as it came, in small letters.
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The value of a header; of several, all of them.
    pub fn header(&self, name: &str) -> Option<String> {
        let prefix = format!("{name}: ");
        let values: Vec<&str> =
            self.head.lines().filter_map(|line| line.strip_prefix(prefix.as_str())).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// The ids of a POST that has succeeded: the Go agent ends with anything but 201 and a list of texts.
    pub fn ids(&self) -> Vec<String> {
        assert_eq!(self.status, 201, "{self:?}");
        let Value::Array(entries) = self.json() else { panic!("{self:?}") };
        let text = |entry: &Value, key: &str| {
            entry[key].as_str().unwrap_or_else(|| panic!("{key}: {self:?}")).to_owned()
        };
        entries
            .iter()
            .map(|entry| {
                assert_eq!(entry.as_object().map(serde_json::Map::len), Some(2), "{self:?}");
                assert!(!text(entry, "actualState").is_empty());
                text(entry, "id")
            })
            .collect()
    }

    /// Status and reason of a refusal, which has a message of one line.
    pub fn refusal(&self) -> (u16, String) {
        let refusal = self.json();
        let text = |key: &str| refusal[key].as_str().unwrap_or_else(|| panic!("{key}: {self:?}"));
        assert!(!text("message").is_empty() && !text("message").contains('\n'), "{self:?}");
        assert_eq!(refusal.as_object().map(serde_json::Map::len), Some(2), "{self:?}");
        (self.status, text("reason").to_owned())
    }
}

/// One kept-alive connection, as the Go agent has it.
pub struct Agent {
    stream: Box<dyn Bytes>,
    /// What was read of the next answer.
    begun: Vec<u8>,
    host: String,
    /// What its setting has behind the port.
    prefix: String,
    authorization: Option<String>,
}

impl Agent {
    /// Connects.
    pub async fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        Self::over(Box::new(stream), &address.to_string())
    }

    /// Speaks over a connection that is there.
    pub fn over(stream: Box<dyn Bytes>, host: &str) -> Self {
        Self { stream, begun: Vec::new(), host: host.to_owned(), prefix: String::new(), authorization: None }
    }

    /// With a path behind the port.
    #[must_use]
    pub fn with_prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// With a value of `authorization`.
    #[must_use]
    pub fn showing(mut self, authorization: &str) -> Self {
        self.authorization = Some(authorization.to_owned());
        self
    }

    pub async fn post(&mut self, body: &str) -> Answer {
        self.call("POST", "/v1/services", Some(body)).await
    }

    pub async fn get(&mut self, id: &str) -> Answer {
        self.call("GET", &format!("/v1/services/{id}"), None).await
    }

    /// What no answer may have: the Go agent loses a connection with every body.
    pub async fn delete(&mut self, id: &str) -> u16 {
        let answer = self.call("DELETE", &format!("/v1/services/{id}"), None).await;
        assert_eq!(answer.body, "", "{answer:?}");
        answer.status
    }

    /// The state of a service.
    pub async fn state(&mut self, id: &str) -> String {
        let answer = self.get(id).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let service = answer.json();
        assert_eq!(service["id"], id);
        service["actualState"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }

    /// Waits until a service is in a state.
    pub async fn until(&mut self, id: &str, state: &str) {
        let begun = std::time::Instant::now();
        loop {
            let now = self.state(id).await;
            if now == state {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{id} is {now}, not {state}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until there is no such service any more.
    pub async fn until_gone(&mut self, id: &str) {
        let begun = std::time::Instant::now();
        while self.get(id).await.status != 404 {
            assert!(begun.elapsed() < PATIENCE, "{id} does not go");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A request in the order of Go's client, and its answer.
    pub async fn call(&mut self, method: &str, path: &str, body: Option<&str>) -> Answer {
        self.send(method, path, body).await;
        self.answer(method).await.expect("an answer")
    }

    /// Sends a request.
    pub async fn send(&mut self, method: &str, path: &str, body: Option<&str>) {
        let mut request = format!("{method} {}{path} HTTP/1.1\r\nHost: {}\r\n", self.prefix, self.host);
        request.push_str("User-Agent: Go-http-client/1.1\r\n");
        if let Some(body) = body {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        if let Some(authorization) = &self.authorization {
            request.push_str(&format!("Authorization: {authorization}\r\n"));
        }
        if body.is_some() {
            request.push_str("Content-Type: application/json\r\n");
        }
        request.push_str("Accept-Encoding: gzip\r\n\r\n");
        request.push_str(body.unwrap_or_default());
        self.raw(request.as_bytes()).await;
    }

    /// Sends any bytes; whoever has been cut cannot, which its answer tells.
    pub async fn raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Whether something comes within a while, or the end; it is still to be read.
    pub async fn hears(&mut self, patience: Duration) -> bool {
        let mut byte = [0];
        let read = tokio::time::timeout(patience, self.stream.read(&mut byte)).await;
        if let Ok(Ok(1)) = read {
            self.begun.push(byte[0]);
        }
        read.is_ok()
    }

    /// Reads an answer; `None` at the end of the connection.
    pub async fn answer(&mut self, method: &str) -> Option<Answer> {
        tokio::time::timeout(PATIENCE, self.read(method)).await.expect("an answer or an end in time")
    }

    async fn read(&mut self, method: &str) -> Option<Answer> {
        let mut head = std::mem::take(&mut self.begun);
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).await.ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("a head").to_ascii_lowercase().replace("\r\n", "\n");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let mut answer = Answer { status, head, body: String::new() };
        let length = answer.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        if method != "HEAD" && status != 204 {
            assert!(answer.header("transfer-encoding").is_none(), "{answer:?}");
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).await.ok()?;
            answer.body = String::from_utf8(body).expect("text");
        }
        Some(answer)
    }

    /// Whether the connection ends within a while.
    pub async fn has_ended(&mut self, patience: Duration) -> bool {
        let ended = async { while matches!(self.stream.read(&mut [0; 1024]).await, Ok(1..)) {} };
        tokio::time::timeout(patience, ended).await.is_ok()
    }
}
