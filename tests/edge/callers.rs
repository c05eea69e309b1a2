//! What the listener lets in: only gRPC's own requests run anything.

use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::support::adapter::Binary;

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
}
