//! A contract that has grown breaks nobody: fields and values of a newer one come to this server and to these commands.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut};
use prost::Message;
use prost_reflect::{DescriptorPool, Kind, MessageDescriptor};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Body, Service, StdError, http};
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};

use crate::support::adapter::{Adapter, deploy, reason};
use panamax_kubernetes_adapter::proto;

/// Messages as bytes: the types of this contract would drop what is new, or could not hold it.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; from.remaining()];
        from.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}

/// What a newer contract has beside the fields of each message: a number, a text, and a message.
const NEW: &[u8] = &[0xa0, 0xf7, 0x36, 7, 0xaa, 0xf7, 0x36, 3, b'n', b'e', b'w', 0xb2, 0xf7, 0x36, 2, 8, 1];
/// A value that no enum has.
const UNHEARD: i32 = 99;

fn pool() -> DescriptorPool {
    DescriptorPool::decode(proto::DESCRIPTOR_SET).expect("the contract")
}

fn described(name: &str) -> MessageDescriptor {
    pool().get_message_by_name(&format!("panamax.kubernetes.v1.{name}")).expect("a message")
}

/// The same message of a newer contract: it and every message in it have fields that this one does not know.
fn grown(of: &MessageDescriptor, mut bytes: &[u8]) -> Vec<u8> {
    let mut grown = Vec::new();
    let varint = |bytes: &mut &[u8]| prost::encoding::decode_varint(bytes).expect("a number");
    while !bytes.is_empty() {
        let begin = bytes;
        let key = varint(&mut bytes);
        let field = u32::try_from(key >> 3).ok().and_then(|number| of.get_field(number)).expect("a field");
        match key & 7 {
            0 => _ = varint(&mut bytes),
            1 => bytes = &bytes[8..],
            2 => {
                let length = usize::try_from(varint(&mut bytes)).expect("a length");
                let (content, rest) = bytes.split_at(length);
                bytes = rest;
                if let Kind::Message(inner) = field.kind() {
                    let content = self::grown(&inner, content);
                    prost::encoding::encode_varint(key, &mut grown);
                    prost::encoding::encode_varint(content.len() as u64, &mut grown);
                    grown.extend(content);
                    continue;
                }
            }
            5 => bytes = &bytes[4..],
            other => panic!("wire type {other}"),
        }
        grown.extend(&begin[..begin.len() - bytes.len()]);
    }
    grown.extend(NEW);
    grown
}

fn newer(name: &str, message: &impl Message) -> Vec<u8> {
    grown(&described(name), &message.encode_to_vec())
}

const TEMPLATE: &str = "name: Shop\nimages:\n- {name: web, source: 'shop/web:1', ports: [{host_port: 80, container_port: 80}]}\n";

/// Calls a method with these bytes; the first answer of it.
async fn called(adapter: &Adapter, path: &str, bytes: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut client = tonic::client::Grpc::new(adapter.channel());
    client.ready().await.expect("a channel");
    let path = http::uri::PathAndQuery::try_from(path.to_owned()).expect("a path");
    let mut answers = client.server_streaming(Request::new(bytes), path, Raw).await?.into_inner();
    answers.message().await.map(|answer| answer.expect("an answer"))
}

/// A request for each method; the names of what they are about fit.
fn requests() -> BTreeMap<&'static str, Vec<u8>> {
    let text = proto::validate_template_request::TemplateSource::TemplateYaml(TEMPLATE.into());
    let validate = proto::ValidateTemplateRequest {
        template_source: Some(text),
        options: Some(proto::DeployOptions::default()),
        ..Default::default()
    };
    let image = proto::Image { name: "web".into(), source: "shop/web:1".into(), ..Default::default() };
    let template = proto::Template { name: "Shop".into(), images: vec![image], ..Default::default() };
    let template = proto::translate_template_request::TemplateSource::Template(template);
    let translate = proto::TranslateTemplateRequest { template_source: Some(template), ..Default::default() };
    let deploying = deploy("default", "shop", TEMPLATE);
    let plan =
        proto::PlanDeployRequest::decode(deploying.encode_to_vec().as_slice()).expect("the same fields");
    let (namespace, name) = ("default".to_owned(), "shop".to_owned());
    let get = proto::GetDeploymentRequest { namespace, name, ..Default::default() };
    // The fields of all of these begin as those of this one.
    let target = get.encode_to_vec();
    let rollback = proto::RollbackRequest {
        namespace: "default".into(),
        name: "shop".into(),
        revision: 1,
        ..Default::default()
    };
    let scale = crate::support::adapter::scale("default", "shop", "web", 2);
    [
        ("GetDeployment", newer("GetDeploymentRequest", &get)),
        ("WatchDeployment", grown(&described("WatchDeploymentRequest"), &target)),
        ("ListRevisions", grown(&described("ListRevisionsRequest"), &target)),
        ("Scale", newer("ScaleRequest", &scale)),
        ("Rollback", newer("RollbackRequest", &rollback)),
        ("ValidateTemplate", newer("ValidateTemplateRequest", &validate)),
        ("TranslateTemplate", newer("TranslateTemplateRequest", &translate)),
        ("Deploy", newer("DeployRequest", &deploying)),
        ("PlanDeploy", newer("PlanDeployRequest", &plan)),
        ("ListDeployments", newer("ListDeploymentsRequest", &proto::ListDeploymentsRequest::default())),
        ("GetServerInfo", newer("GetServerInfoRequest", &proto::GetServerInfoRequest {})),
        ("Teardown", newer("TeardownRequest", &crate::support::adapter::teardown("default", "shop"))),
    ]
    .into()
}

#[tokio::test]
async fn a_newer_caller_is_answered_as_any_other() {
    let adapter = Adapter::sandbox().await;
    let requests = requests();
    let services: Vec<_> = pool().services().collect();
    let paths = services.iter().filter(|service| service.package_name() == "panamax.kubernetes.v1");
    let paths: BTreeMap<String, String> = paths
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .map(|method| {
            let service = method.parent_service().full_name().to_owned();
            (method.name().to_owned(), format!("/{service}/{}", method.name()))
        })
        .collect();
    let names: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
    assert_eq!(names, requests.keys().copied().collect(), "a method has no request here");
    let order = ["Deploy", "Scale", "Rollback"];
    let rest = names.iter().copied().filter(|name| !order.contains(name) && *name != "Teardown");
    for name in order.into_iter().chain(rest).chain(["Teardown"]) {
        let answer = called(&adapter, &paths[name], requests[name].clone()).await;
        let answer = answer.unwrap_or_else(|status| panic!("{name}: {status:?}"));
        if name == "ValidateTemplate" {
            let answer = proto::ValidateTemplateResponse::decode(answer.as_slice()).expect("an answer");
            assert!(answer.valid, "{answer:?}");
        }
    }
    // A value that this server has never heard of would be lost, so it is refused, and its field named.
    let options = proto::DeployOptions { profile: UNHEARD, ..Default::default() };
    let unheard = proto::DeployRequest { options: Some(options), ..deploy("default", "shop", TEMPLATE) };
    let refused = called(&adapter, &paths["Deploy"], newer("DeployRequest", &unheard)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "FIELD_INVALID"));
    assert!(refused.message().contains("options.profile") && refused.message().contains("99"), "{refused:?}");
}

/// A server of a newer contract: what it answers to each method.
#[derive(Clone)]
struct Newer(Arc<BTreeMap<&'static str, Vec<Vec<u8>>>>);

/// Its answers to one call.
struct Answers(Vec<Vec<u8>>);

type Sent = futures::stream::Iter<std::vec::IntoIter<Result<Vec<u8>, Status>>>;

impl tonic::server::ServerStreamingService<Vec<u8>> for Answers {
    type Response = Vec<u8>;
    type ResponseStream = Sent;
    type Future = Ready<Result<Response<Sent>, Status>>;

    fn call(&mut self, _: Request<Vec<u8>>) -> Self::Future {
        let answers: Vec<_> = std::mem::take(&mut self.0).into_iter().map(Ok).collect();
        ready(Ok(Response::new(futures::stream::iter(answers))))
    }
}

impl tonic::server::NamedService for Newer {
    const NAME: &'static str = "panamax.kubernetes.v1.DeploymentService";
}

impl<B> Service<http::Request<B>> for Newer
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        let answers = Answers(self.0.get(method).cloned().unwrap_or_default());
        Box::pin(async move { Ok(tonic::server::Grpc::new(Raw).server_streaming(answers, request).await) })
    }
}

/// A deployment with a state, a reason and an action that are new.
fn deployment() -> proto::Deployment {
    let component = proto::Component {
        name: "web".into(),
        image: "shop/web:1".into(),
        state: UNHEARD,
        reason: UNHEARD,
        message: "hibernates".into(),
        ready_replicas: Some(1),
        desired_replicas: Some(1),
        ..Default::default()
    };
    proto::Deployment {
        namespace: "default".into(),
        name: "shop".into(),
        revision: 1,
        state: UNHEARD,
        reason: UNHEARD,
        components: vec![component],
        ..Default::default()
    }
}

fn answers() -> BTreeMap<&'static str, Vec<Vec<u8>>> {
    use proto::watch_deployment_response::Event;
    let deployment = || Some(deployment());
    let object = proto::ObjectRef { kind: "Service".into(), name: "shop-web".into(), ..Default::default() };
    let change = proto::ObjectChange { action: UNHEARD, r#ref: Some(object), ..Default::default() };
    let changes = || vec![change.clone()];
    let found = proto::Diagnostic {
        severity: UNHEARD,
        code: "UNHEARD".into(),
        message: "something new".into(),
        ..Default::default()
    };
    let revision = proto::Revision { number: 1, result: UNHEARD, ..Default::default() };
    let event = |event| {
        newer("WatchDeploymentResponse", &proto::WatchDeploymentResponse { event, ..Default::default() })
    };
    let complete = proto::WatchComplete { reason: proto::WatchCompleteReason::Ready.into() };
    let snapshot = Event::Snapshot(deployment().unwrap_or_default());
    [
        (
            "GetDeployment",
            vec![newer("GetDeploymentResponse", &proto::GetDeploymentResponse { deployment: deployment() })],
        ),
        (
            "ListDeployments",
            vec![newer(
                "ListDeploymentsResponse",
                &proto::ListDeploymentsResponse {
                    deployments: vec![deployment().unwrap_or_default()],
                    ..Default::default()
                },
            )],
        ),
        (
            "ListRevisions",
            vec![newer(
                "ListRevisionsResponse",
                &proto::ListRevisionsResponse { revisions: vec![revision], ..Default::default() },
            )],
        ),
        (
            "Deploy",
            vec![newer(
                "DeployResponse",
                &proto::DeployResponse {
                    outcome: UNHEARD,
                    deployment: deployment(),
                    changes: changes(),
                    diagnostics: vec![found.clone()],
                    ..Default::default()
                },
            )],
        ),
        (
            "PlanDeploy",
            vec![newer(
                "PlanDeployResponse",
                &proto::PlanDeployResponse {
                    changes: changes(),
                    diagnostics: vec![found],
                    ..Default::default()
                },
            )],
        ),
        (
            "Scale",
            vec![newer(
                "ScaleResponse",
                &proto::ScaleResponse { deployment: deployment(), changes: changes(), ..Default::default() },
            )],
        ),
        (
            "Teardown",
            vec![newer(
                "TeardownResponse",
                &proto::TeardownResponse { complete: true, changes: changes(), ..Default::default() },
            )],
        ),
        // An event that this contract does not have lies between the two that it has.
        ("WatchDeployment", vec![event(Some(snapshot)), event(None), event(Some(Event::Complete(complete)))]),
    ]
    .into()
}

/// A command in front of an adapter.
fn run(address: SocketAddr, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_panamax-kubernetes-adapter"));
    command.args(line.split(' ')).args(["--server", &format!("http://{address}")]);
    command.stdin(Stdio::null()).output().expect("the binary starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_understand_a_newer_server() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = tonic::transport::Server::builder().add_service(Newer(Arc::new(answers())));
    let serves = server.serve_with_incoming(TcpIncoming::from(listener));
    let asks = async {
        for (line, told) in [
            ("get shop", "shop  revision 1  UNKNOWN (UNKNOWN)"),
            ("list", "shop  UNKNOWN (UNKNOWN)"),
            ("revisions shop", "UNKNOWN"),
            ("watch shop --until ready", "shop  UNKNOWN (UNKNOWN)"),
            ("deploy examples/wordpress.pmx", "unknown"),
            ("plan examples/wordpress.pmx", "Service  shop-web"),
            ("scale shop web=1", "hibernates"),
            ("teardown shop", "gone"),
        ] {
            let text = |line: String| tokio::task::spawn_blocking(move || run(address, &line));
            let plain = text(line.to_owned()).await.expect("it ends");
            let (out, err) = (String::from_utf8_lossy(&plain.stdout), String::from_utf8_lossy(&plain.stderr));
            assert!(plain.status.success() && out.contains(told), "{line}: {:?}\n{out}\n{err}", plain.status);
            for form in ["json", "yaml"] {
                let formed = text(format!("{line} -o {form}")).await.expect("it ends");
                let (out, err) =
                    (String::from_utf8_lossy(&formed.stdout), String::from_utf8_lossy(&formed.stderr));
                assert!(formed.status.success(), "{line} -o {form}: {:?}\n{out}\n{err}", formed.status);
                let is_read = out.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok());
                assert!(form == "yaml" || is_read, "{line}: {out}");
                // A value without a name is told as its number.
                assert!(out.contains("99"), "{line} -o {form}: {out}");
            }
        }
    };
    tokio::select! {
        biased;
        () = asks => {}
        ended = serves => panic!("the server has ended: {ended:?}"),
    }
}
