//! Spans to a collector, by OTLP over gRPC, and the spans of callers that they continue.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use futures::future::Either;
use http::{HeaderMap, Uri};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{FutureExt, TraceContextExt, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::warn;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Registry;

/// How long one message to the collector may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the last one may.
const LAST: Duration = Duration::from_secs(1);
/// What spans are said to come from.
const SERVICE: &str = env!("CARGO_PKG_NAME");

/// A collector, and what waits to be sent to it: at most 2,048 spans, those after them are lost.
pub(super) struct Collector(SdkTracerProvider);

impl fmt::Debug for Collector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Collector").finish_non_exhaustive()
    }
}

impl Collector {
    /// The collector at an address; nothing is sent to it yet.
    pub(super) fn at(address: &str) -> Result<Self, String> {
        let wrong = || "--otlp-endpoint: write an address as http://localhost:4317".to_owned();
        let uri: Uri = address.parse().map_err(|_| wrong())?;
        let exporter = match (uri.scheme_str(), uri.authority()) {
            // Nothing secret is given on a command line.
            (_, Some(authority)) if authority.as_str().contains('@') => return Err(wrong()),
            (Some("http"), Some(_)) => SpanExporter::builder().with_tonic(),
            (Some("https"), Some(_)) => SpanExporter::builder()
                .with_tonic()
                .with_tls_config(ClientTlsConfig::new().with_native_roots()),
            _ => return Err(wrong()),
        };
        let exporter = exporter.with_endpoint(address).with_timeout(PATIENCE).build();
        let exporter = exporter.map_err(|error| format!("--otlp-endpoint: {error}"))?;
        let resource = Resource::builder()
            .with_service_name(SERVICE)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider =
            SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
        Ok(Self(provider))
    }

    /// What hears of spans.
    pub(super) fn layer(&self) -> OpenTelemetryLayer<Registry, SdkTracer> {
        // A call's span begins where its caller's context is in force; those within it follow it alone.
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(SERVICE))
            .with_context_activation(false)
            .with_location(false)
            .with_threads(false)
    }

    /// Sends what has not been sent yet.
    pub(super) async fn end(self) {
        // It blocks its thread.
        let sent = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(LAST)).await;
        if !matches!(sent, Ok(Ok(()))) {
            warn!("the last spans were not sent: the collector has not taken them within a second");
        }
    }
}

/// The caller's span that a call continues, from its `traceparent`, as W3C's Trace Context has it.
#[derive(Clone, Debug)]
pub struct Parent(Option<Context>);

impl Parent {
    /// The one that a request names; one that cannot be read is none.
    pub fn of(headers: &HeaderMap) -> Self {
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers));
        Self(context.span().span_context().is_valid().then_some(context))
    }

    /// Lets it be the parent of the spans that begin in a future and are nobody else's.
    pub fn over<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        match self.0 {
            Some(context) => Either::Left(future.with_context(context)),
            None => Either::Right(future),
        }
    }
}

/// The headers of a request, for the library.
struct Headers<'h>(&'h HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_url_without_secrets() {
        for address in
            ["", "localhost", "localhost:4317", "ftp://x", "http://", "http://name:word@host", "a b"]
        {
            let refused = Collector::at(address).unwrap_err();
            assert_eq!(refused, "--otlp-endpoint: write an address as http://localhost:4317", "{address}");
        }
    }

    #[test]
    fn a_parent_is_what_trace_context_says() {
        let parent = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", http::HeaderValue::from_static(value));
            Parent::of(&headers).0.map(|context| context.span().span_context().trace_id().to_string())
        };
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let whole = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(parent(whole).as_deref(), Some(trace));
        for wrong in ["", "00", "00-0-0-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
            assert_eq!(parent(wrong), None, "{wrong}");
        }
        assert!(Parent::of(&HeaderMap::new()).0.is_none());
    }
}
