//! What a collector is sent: the spans of calls, within those of their callers, and no value.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use prost::Message;
use tokio_util::task::TaskTracker;

use crate::support::adapter::{Binary, connect, deploy, teardown};
use crate::support::relay::free_address;

/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const SECRET: &str = "canary-of-a-value";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";
const UNWANTED: &str = "1af7651916cd43dd8448eb211c80319c";

/// The parts of OTLP's messages that are looked at.
mod otlp {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Export {
        #[prost(message, repeated, tag = "1")]
        pub resources: Vec<OfResource>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct OfResource {
        #[prost(message, optional, tag = "1")]
        pub resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub scopes: Vec<OfScope>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub attributes: Vec<Attribute>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct OfScope {
        #[prost(message, repeated, tag = "2")]
        pub spans: Vec<Span>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Span {
        #[prost(bytes = "vec", tag = "1")]
        pub trace: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub id: Vec<u8>,
        #[prost(bytes = "vec", tag = "4")]
        pub parent: Vec<u8>,
        #[prost(string, tag = "5")]
        pub name: String,
        #[prost(message, repeated, tag = "9")]
        pub attributes: Vec<Attribute>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Attribute {
        #[prost(string, tag = "1")]
        pub key: String,
        #[prost(message, optional, tag = "2")]
        pub value: Option<AnyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct AnyValue {
        #[prost(string, tag = "1")]
        pub text: String,
    }

    impl Span {
        pub fn attribute(&self, key: &str) -> &str {
            of(&self.attributes, key)
        }
    }

    pub fn of<'a>(attributes: &'a [Attribute], key: &str) -> &'a str {
        let found = attributes.iter().find(|attribute| attribute.key == key);
        found.and_then(|attribute| attribute.value.as_ref()).map_or("", |value| &value.text)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A collector, and every message that it was sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Bytes>>>, TaskTracker);

impl Collector {
    async fn start(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let own = self.clone();
        self.1.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let taking = own.clone();
                let service = service_fn(move |request| taking.clone().taken(request));
                own.1.spawn(async move {
                    // Whoever ends the connection has sent all of it.
                    let _ = Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        address
    }

    /// Keeps a message and answers with an empty one.
    async fn taken(
        self,
        request: Request<Incoming>,
    ) -> Result<
        Response<StreamBody<impl futures::Stream<Item = Result<Frame<Bytes>, Infallible>>>>,
        hyper::Error,
    > {
        assert_eq!(request.uri().path(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
        let framed = request.into_body().collect().await?.to_bytes();
        self.0.lock().expect("no panic").push(framed.slice(5..));
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let frames = [Ok(Frame::data(Bytes::from_static(&[0; 5]))), Ok(Frame::trailers(trailers))];
        let mut answer = Response::new(StreamBody::new(futures::stream::iter(frames)));
        answer.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        Ok(answer)
    }

    fn messages(&self) -> Vec<Bytes> {
        self.0.lock().expect("no panic").clone()
    }
}

fn start(collector: SocketAddr) -> Binary {
    let endpoint = format!("http://{collector}");
    Binary::start_with(&["--sandbox", "--log", "trace", "--otlp-endpoint", &endpoint])
}

async fn ended(mut binary: Binary) -> String {
    let end = move || {
        assert_eq!(binary.signal("TERM", PATIENCE), Some(0));
        binary.whole_log()
    };
    tokio::task::spawn_blocking(end).await.expect("the binary ends")
}

#[tokio::test]
async fn a_call_continues_its_callers_trace_and_sends_no_value() {
    let collector = Collector::default();
    let binary = start(collector.start().await);
    let mut client = DeploymentServiceClient::new(connect(binary.address).await);
    let template = format!(
        "images: [{{name: web, source: 'nginx:1', environment: [{{variable: A, value: {SECRET}}}]}}]"
    );
    let mut request = tonic::Request::new(deploy("default", "spans", &template));
    let parent = format!("00-{TRACE}-{SPAN}-01").parse().expect("a header");
    request.metadata_mut().insert("traceparent", parent);
    client.deploy(request).await.expect("deployed");
    // Whoever is not traced wants no spans.
    let mut request = tonic::Request::new(teardown("default", "spans"));
    let parent = format!("00-{UNWANTED}-{SPAN}-00").parse().expect("a header");
    request.metadata_mut().insert("traceparent", parent);
    client.teardown(request).await.expect("torn down");
    ended(binary).await;

    let messages = collector.messages();
    let has = |needle: &str| {
        messages.iter().any(|message| message.windows(needle.len()).any(|part| part == needle.as_bytes()))
    };
    assert!(has("Deploy") && !has(SECRET), "{} messages", messages.len());
    let exports = messages.iter().map(|message| otlp::Export::decode(message.clone()).expect("OTLP"));
    let resources: Vec<_> = exports.flat_map(|export| export.resources).collect();
    for resource in &resources {
        let attributes = &resource.resource.as_ref().expect("a resource").attributes;
        assert_eq!(otlp::of(attributes, "service.name"), "panamax-kubernetes-adapter");
        assert_eq!(otlp::of(attributes, "service.version"), env!("CARGO_PKG_VERSION"));
    }
    let spans: Vec<_> = resources.into_iter().flat_map(|one| one.scopes).flat_map(|one| one.spans).collect();
    let call = spans.iter().find(|span| span.name == "call" && span.attribute("method") == "Deploy");
    let call = call.expect("the span of the call");
    assert_eq!((hex(&call.trace).as_str(), hex(&call.parent).as_str()), (TRACE, SPAN));
    assert_eq!(call.attribute("deployment"), "spans");
    let object = spans.iter().find(|span| span.name == "object" && span.attribute("kind") == "Pod");
    let object = object.expect("the span of an object");
    assert_eq!((&object.trace, &object.parent), (&call.trace, &call.id));
    assert!(spans.iter().all(|span| hex(&span.trace) != UNWANTED));
}

#[tokio::test]
async fn a_collector_that_is_not_there_is_in_nobodys_way() {
    let address = free_address().await;
    let binary = start(address);
    let mut client = DeploymentServiceClient::new(connect(binary.address).await);
    client
        .deploy(deploy("default", "spans", "images: [{name: web, source: 'nginx:1'}]"))
        .await
        .expect("deployed");
    let log = ended(binary).await;
    // By the library, or by us if its connection does not even fail in time.
    assert!(log.contains("ExportError") || log.contains("the last spans were not sent"), "{log}");
}
