//! What the listener lets in: only gRPC's own requests run anything.

use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::validate_template_request::TemplateSource;
use prost::Message;
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::adapter::{Binary, connect};
use crate::support::metrics::{get, measured};

/// TranslateTemplate with an empty message, framed as gRPC frames it.
const EMPTY: [u8; 5] = [0; 5];
const PATH: &str = "panamax.kubernetes.v1.TemplateService/TranslateTemplate";

#[tokio::test]
async fn only_grpc_in_protobuf_runs_anything() {
    let start = || Binary::start_with(&["--sandbox"]);
    let binary = tokio::task::spawn_blocking(start).await.expect("the binary starts");
    let client: Client<_, Full<bytes::Bytes>> =
        Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let ask = async |method: Method, content: &[&str]| {
        let mut request = Request::builder().method(method).uri(format!("http://{}/{PATH}", binary.address));
        for one in content {
            request = request.header(header::CONTENT_TYPE, *one);
        }
        let body = Full::from(bytes::Bytes::from_static(&EMPTY));
        let answer = client.request(request.body(body).expect("a request")).await.expect("an answer");
        (answer.status(), answer.headers().contains_key("grpc-status"))
    };
    // A call of gRPC is answered by HTTP 200, whatever comes of it; the empty template is refused in its trailers.
    for content in ["application/grpc", "application/grpc+proto", "application/grpc; charset=utf-8"] {
        assert_eq!(ask(Method::POST, &[content]).await, (StatusCode::OK, true), "{content}");
    }
    for content in [
        "application/json",
        "text/plain",
        "application/grpc+json",
        "application/grpc-web",
        "application/grpcx",
    ] {
        assert_eq!(
            ask(Method::POST, &[content]).await,
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, false),
            "{content}"
        );
    }
    assert_eq!(ask(Method::POST, &[]).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let two = ["application/grpc", "application/json"];
    assert_eq!(ask(Method::POST, &two).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(ask(Method::GET, &["application/grpc"]).await.0, StatusCode::METHOD_NOT_ALLOWED);
    let log = binary.log();
    for status in [r#""status":415"#, r#""status":405"#] {
        assert!(log.contains(status), "{status}: {log}");
    }
}

/// A client that may send what no client library sends.
struct Raw {
    client: Client<HttpConnector, Full<bytes::Bytes>>,
    binary: Binary,
}

impl Raw {
    async fn start(flags: &'static [&'static str]) -> Self {
        let flags = [&["--sandbox"], flags].concat();
        let binary =
            tokio::task::spawn_blocking(move || Binary::start_with(&flags)).await.expect("the binary starts");
        Self { client: Client::builder(TokioExecutor::new()).http2_only(true).build_http(), binary }
    }

    /// What comes of a call with these bytes: its status, and the answer's header of that name.
    async fn call(&self, path: &str, headers: &[(&str, &str)], bytes: Vec<u8>) -> (tonic::Status, HeaderMap) {
        let mut request = Request::post(format!("http://{}/{path}", self.binary.address))
            .header(header::CONTENT_TYPE, "application/grpc");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(bytes)).expect("a request");
        let answer = self.client.request(request).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        let headers = answer.headers().clone();
        if let Some(status) = tonic::Status::from_header_map(&headers) {
            return (status, headers);
        }
        let trailers = answer.into_body().collect().await.expect("an answer's body").trailers().cloned();
        let status = tonic::Status::from_header_map(&trailers.expect("trailers")).expect("a status");
        (status, headers)
    }
}

/// A message behind its prefix.
fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
    [&[flag], &length[..], message].concat()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, bytes).expect("it compresses");
    encoder.finish().expect("it compresses")
}

/// Path, headers and body of a request, and the code and reason that it gets.
type Row<'r> = (&'r str, &'r [(&'r str, &'r str)], Vec<u8>, Code, &'r str);

#[tokio::test]
async fn every_failure_has_a_code_a_message_and_a_reason() {
    let raw = Raw::start(&["--metrics-listen", "127.0.0.1:0"]).await;
    let validate = "panamax.kubernetes.v1.TemplateService/ValidateTemplate";
    let template = proto::ValidateTemplateRequest {
        template_source: Some(TemplateSource::TemplateYaml("images: [{name: a, source: 'a:1'}]".to_owned())),
        ..Default::default()
    };
    let template = template.encode_to_vec();
    let gzip = [("grpc-encoding", "gzip")];
    let bomb = gzipped(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 1 << 20);
    let check = "grpc.health.v1.Health/Check";
    let reflection = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    // 1 MiB of an unknown field, which takes 4 KiB at the most on its way.
    let small_bomb = gzipped(&[&[0x7a, 0xff, 0xff, 0x3f][..], &vec![b' '; (1 << 20) - 1]].concat());
    assert!(small_bomb.len() < 4 << 10);
    let rows: [Row; 31] = [
        (check, &gzip, framed(1, &gzipped(&[])), Code::Ok, ""),
        (check, &gzip, framed(1, &small_bomb), Code::ResourceExhausted, "LIMIT_EXCEEDED"),
        (check, &[], framed(0, &[0x0a, 0x01, b'x']), Code::NotFound, "FIELD_INVALID"),
        (check, &[], framed(0, &[0x0a, 0x05, 0xff]), Code::InvalidArgument, "FIELD_INVALID"),
        (check, &[gzip[0], gzip[0]], framed(0, &[]), Code::InvalidArgument, "FIELD_INVALID"),
        // A question that is too long, one that is none, one that is cut off; no symbol, and nothing at all.
        (reflection, &[], framed(0, &vec![0; 5_000]), Code::ResourceExhausted, "LIMIT_EXCEEDED"),
        (reflection, &[], framed(0, &[0xff, 0xff]), Code::InvalidArgument, "FIELD_INVALID"),
        (reflection, &[], framed(0, &[0x3a, 0x00])[..6].to_vec(), Code::Internal, "FRAMING_INVALID"),
        (reflection, &gzip, framed(1, &small_bomb), Code::InvalidArgument, "FIELD_INVALID"),
        (reflection, &[], framed(0, &[0x22, 0x01, b'x']), Code::NotFound, "FIELD_INVALID"),
        (reflection, &[], framed(0, &[]), Code::InvalidArgument, "FIELD_INVALID"),
        // All services, please.
        (reflection, &gzip, framed(1, &gzipped(&[0x3a, 0x00])), Code::Ok, ""),
        (reflection, &[], framed(0, &[0x3a, 0x00]), Code::Ok, ""),
        (validate, &[], framed(0, &template), Code::Ok, ""),
        (validate, &gzip, framed(1, &gzipped(&template)), Code::Ok, ""),
        (validate, &gzip, framed(0, &template), Code::Ok, ""),
        (validate, &gzip, framed(1, &bomb), Code::ResourceExhausted, "LIMIT_EXCEEDED"),
        (validate, &gzip, framed(1, &template), Code::InvalidArgument, "FIELD_INVALID"),
        (
            validate,
            &[("grpc-encoding", "zstd")],
            framed(1, &template),
            Code::Unimplemented,
            "NOT_IMPLEMENTED",
        ),
        (validate, &[], framed(1, &template), Code::Internal, "FRAMING_INVALID"),
        (validate, &[], framed(7, &template), Code::Internal, "FRAMING_INVALID"),
        (validate, &[], framed(0, &template)[..9].to_vec(), Code::Internal, "FRAMING_INVALID"),
        (
            validate,
            &[],
            [framed(0, &template), framed(0, &template)].concat(),
            Code::Unimplemented,
            "NOT_IMPLEMENTED",
        ),
        (validate, &[], Vec::new(), Code::Unimplemented, "NOT_IMPLEMENTED"),
        (validate, &[], vec![0, 255, 255, 255, 255], Code::ResourceExhausted, "LIMIT_EXCEEDED"),
        (validate, &[], framed(0, &vec![0; (1 << 20) + 1]), Code::ResourceExhausted, "LIMIT_EXCEEDED"),
        (validate, &[], framed(0, &[0x0a, 0x05, 0xff]), Code::InvalidArgument, "FIELD_INVALID"),
        (validate, &[], framed(0, &vec![0x0b; 60_000]), Code::InvalidArgument, "FIELD_INVALID"),
        (
            "panamax.kubernetes.v1.TemplateService/Nothing",
            &[],
            EMPTY.to_vec(),
            Code::Unimplemented,
            "NOT_IMPLEMENTED",
        ),
        ("nothing.Service/Method", &[], EMPTY.to_vec(), Code::Unimplemented, "NOT_IMPLEMENTED"),
        (&format!("{validate}?x=1"), &[], framed(0, &template), Code::Unimplemented, "NOT_IMPLEMENTED"),
    ];
    are_told(&raw, &rows).await;
    // Those that are too large: two are so once they are decompressed.
    assert_eq!(measured(&raw.binary, "panamax_limit_hits_total{limit=\"request\"}").await, 5.0);
    let (broken, _) = raw.call(validate, &gzip, framed(1, &template)).await;
    assert!(broken.message().contains("cannot be decompressed"), "{broken:?}");
    nothing_wakes_anybody(&raw).await;
    let log = raw.binary.whole_log();
    for line in ["NOT_IMPLEMENTED", "FRAMING_INVALID", "LIMIT_EXCEEDED", "FIELD_INVALID"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert!(!log.contains(r#""level":"ERROR""#), "nothing of it is our failure: {log}");
}

/// Metadata of a call, and what becomes of it.
type Metadata<'a> = (&'a [(&'a str, &'a str)], (Code, &'a str));

/// Row by row: each of these headers, and what comes of a call with it.
#[tokio::test]
async fn metadata_that_cannot_be_read_end_their_call() {
    let raw = Raw::start(&[]).await;
    let validate = "panamax.kubernetes.v1.TemplateService/ValidateTemplate";
    let get = "panamax.kubernetes.v1.DeploymentService/GetDeployment";
    let check = "grpc.health.v1.Health/Check";
    let (late, wrong) =
        ((Code::DeadlineExceeded, "CLUSTER_TIMEOUT"), (Code::InvalidArgument, "FIELD_INVALID"));
    let good = (Code::Ok, "");
    let timeout = "grpc-timeout";
    let hundred: Vec<String> = (0..100).map(|index| format!("x-{index}")).collect();
    let hundred: Vec<(&str, &str)> = hundred.iter().map(|name| (name.as_str(), "v")).collect();
    let rows: [Metadata<'_>; 20] = [
        (&[(timeout, "0n")], late),
        (&[(timeout, "00000000H")], late),
        (&[(timeout, "99999999H")], good),
        (&[(timeout, "10S")], good),
        (&[(timeout, "10S"), (timeout, "10S")], wrong),
        (&[(timeout, "10S"), (timeout, "0n")], wrong),
        (&[(timeout, "-1S")], wrong),
        (&[(timeout, "")], wrong),
        (&[(timeout, "S")], wrong),
        (&[(timeout, "1X")], wrong),
        (&[(timeout, "1")], wrong),
        (&[(timeout, "100000000n")], wrong),
        (&[("trace-bin", "AAE=")], good),
        (&[("trace-bin", "AAE")], good),
        (&[("trace-bin", "")], good),
        (&[("trace-bin", "AAE=, AAEC,AA")], good),
        (&[("trace-bin", "canary!")], wrong),
        (&[("trace-bin", "A")], wrong),
        (&[("trace-bin", "AAE="), ("trace-bin", "a_b-")], wrong),
        (&hundred, good),
    ];
    for (headers, (code, reason)) in rows {
        for path in [validate, get, check] {
            let (status, _) = raw.call(path, headers, EMPTY.to_vec()).await;
            let told = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
            if code == Code::Ok {
                // What the method makes of an empty message is its own business.
                assert!(!status.message().contains(headers[0].0), "{path} {headers:?}: {status:?}");
                assert_ne!(status.code(), Code::DeadlineExceeded, "{path} {headers:?}: {status:?}");
                continue;
            }
            assert_eq!((status.code(), told.as_str()), (code, reason), "{path} {headers:?}: {status:?}");
            assert!(!status.message().is_empty() && !status.message().contains("canary"), "{status:?}");
        }
    }
    let log = raw.binary.whole_log();
    assert!(log.contains("CLUSTER_TIMEOUT") && log.contains("FIELD_INVALID") && !log.contains("canary"));
}

/// Each row's request gets its code and its reason.
async fn are_told(raw: &Raw, rows: &[Row<'_>]) {
    for (index, (path, headers, bytes, code, reason)) in rows.iter().enumerate() {
        let (status, answer) = raw.call(path, headers, bytes.clone()).await;
        assert_eq!(status.code(), *code, "row {index}: {status:?}");
        if !reason.is_empty() {
            let info = status.get_details_error_info().unwrap_or_else(|| panic!("row {index}: {status:?}"));
            assert_eq!(info.reason, *reason, "row {index}: {status:?}");
            assert!(!status.message().is_empty(), "row {index}");
        }
        if *reason == "NOT_IMPLEMENTED" {
            assert!(
                answer
                    .get("grpc-accept-encoding")
                    .is_none_or(|value| value.to_str().is_ok_and(|text| text.contains("gzip")))
            );
        }
    }
}

/// What cannot be read is no failure of ours that somebody should be woken for: of no method.
async fn nothing_wakes_anybody(raw: &Raw) {
    for path in [
        "grpc.health.v1.Health/Check",
        "grpc.health.v1.Health/List",
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ] {
        for bytes in [framed(0, &[0x0a, 0x05, 0xff]), framed(0, &vec![0x0b; 4_000]), framed(7, &[])] {
            raw.call(path, &[], bytes).await;
        }
    }
    let (_, all) = get(raw.binary.metrics.expect("a port"), "/metrics").await;
    for line in all.lines().filter(|line| line.contains("code=\"INTERNAL\"")) {
        assert!(line.ends_with(" 0"), "{line}");
    }
    let rpcs =
        |code| format!("panamax_rpcs_total{{method=\"TemplateService/ValidateTemplate\",code=\"{code}\"}}");
    assert_eq!(measured(&raw.binary, &rpcs("INTERNAL")).await, 0.0);
    assert_eq!(measured(&raw.binary, &rpcs("NONE")).await, 3.0);
}

/// grpc-js leaves escapes of reserved characters as they come.
#[tokio::test]
async fn a_message_has_no_escape_that_grpc_does_not_demand() {
    let raw = Raw::start(&[]).await;
    let text =
        "images: [{name: Store, source: 'a:1'}, {name: Web, source: 'a:1', links: [{service: Stoer}]}]";
    let deploy = proto::DeployRequest {
        template_source: Some(proto::deploy_request::TemplateSource::TemplateYaml(text.to_owned())),
        ..Default::default()
    };
    let path = "panamax.kubernetes.v1.DeploymentService/Deploy";
    let (status, headers) = raw.call(path, &[], framed(0, &deploy.encode_to_vec())).await;
    assert!(status.message().contains("did you mean `Store`?"), "{status:?}");
    assert_eq!(headers["grpc-message"].as_bytes(), status.message().as_bytes());
}

#[tokio::test]
async fn http_1_is_answered_in_words() {
    let raw = Raw::start(&[]).await;
    let client: Client<_, Full<bytes::Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::get(format!("http://{}/", raw.binary.address)).body(Full::default());
    let answer = client.request(request.expect("a request")).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let text = answer.into_body().collect().await.expect("a body").to_bytes();
    assert!(String::from_utf8_lossy(&text).contains("grpcurl"), "{text:?}");
}

#[tokio::test]
async fn what_is_beyond_the_limits_is_told_at_once_and_health_answers() {
    let raw = Raw::start(&["--max-watches", "2"]).await;
    let channel = connect(raw.binary.address).await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    let request = || tonic_health::pb::HealthCheckRequest { service: String::new() };
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(health.watch(request()).await.expect("a watch"));
    }
    let refused = health.watch(request()).await.expect_err("one too many");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.get_details_error_info().expect("a reason").reason, "OVERLOADED");
    assert!(refused.get_details_retry_info().is_some());
    health.check(request()).await.expect("health answers");
    // A watch that its caller drops makes room.
    held.clear();
    let again = async {
        while health.watch(request()).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), again).await.expect("there is room again");
}

#[tokio::test]
async fn hundreds_of_watches_on_one_connection_are_served_or_told_that_they_are_too_many() {
    let raw = Raw::start(&[]).await;
    let channel = connect(raw.binary.address).await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let request = || tonic_health::pb::HealthCheckRequest { service: String::new() };
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(health.watch(request()).await.expect("a watch"));
    }
    for _ in 0..900 {
        health.watch(request()).await.expect_err("one too many");
    }
    let refused = health.watch(request()).await.expect_err("one too many");
    assert_eq!(refused.get_details_error_info().expect("a reason").reason, "OVERLOADED");
    // Calls still pass beside them, and other connections have places of their own.
    health.check(request()).await.expect("health answers");
    let mut server = proto::server_service_client::ServerServiceClient::new(channel);
    server.get_server_info(proto::GetServerInfoRequest {}).await.expect("the server tells about itself");
    let other = connect(raw.binary.address).await;
    let mut other = tonic_health::pb::health_client::HealthClient::new(other);
    other.watch(request()).await.expect("a watch");
}
