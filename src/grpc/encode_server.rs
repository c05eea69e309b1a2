//! What the server tells about itself, and what it tells requests not to go beyond.

use std::time::Duration;

use super::decode::{MAX_PAGE_SIZE, PAGE_SIZE};
use super::serving::Serving;
use crate::operations::{Scope, Settings};
use crate::proto;

/// The answer to GetServerInfo; `version` is the cluster's, if it answered.
pub(super) fn server_info(
    settings: &Settings,
    kept: Option<&Scope>,
    version: Option<String>,
    serving: &Serving,
) -> proto::GetServerInfoResponse {
    let number = |limit: usize| i32::try_from(limit).unwrap_or(i32::MAX);
    let time = |duration: Duration| prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    };
    proto::GetServerInfoResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: Some(proto::ClusterInfo {
            reachable: version.is_some(),
            version: version.unwrap_or_default(),
            sandbox: serving.sandbox,
        }),
        defaults: Some(proto::ServerDefaults {
            namespace: settings.namespace.to_string(),
            options: Some(super::options::defaults()),
            deadline: Some(time(settings.requests.default_deadline)),
            page_size: i32::try_from(PAGE_SIZE).unwrap_or(i32::MAX),
        }),
        limits: Some(proto::ServerLimits {
            max_message_bytes: number(serving.message),
            max_replicas: i32::try_from(settings.requests.max_replicas).unwrap_or(i32::MAX),
            max_page_size: i32::try_from(MAX_PAGE_SIZE).unwrap_or(i32::MAX),
            max_deadline: Some(time(settings.requests.max_deadline)),
            max_metadata_bytes: number(serving.metadata),
            max_connections: number(serving.connections),
            max_streams_per_connection: i32::try_from(serving.streams).unwrap_or(i32::MAX),
            max_calls: number(serving.calls),
            max_watches: number(serving.watches),
            max_calls_per_caller: number(serving.each.calls),
            max_watches_per_caller: number(serving.each.watches),
            max_rest_connections: serving.rest.map_or(0, |(connections, _)| number(connections)),
            max_rest_body_bytes: serving.rest.map_or(0, |(_, bytes)| number(bytes)),
            connection_idle: Some(time(serving.idle)),
            connection_age: Some(time(serving.age)),
            max_watches_per_connection: number(serving.watches_of_connection),
            max_request_memory_bytes: i64::try_from(serving.memory).unwrap_or(i64::MAX),
            request_timeout: Some(time(serving.coming)),
            max_handshakes: number(serving.handshakes),
            handshake_timeout: Some(time(serving.handshake)),
            reader_timeout: Some(time(serving.taking)),
            max_reads_per_caller: number(serving.each.reads),
            max_api_calls: number(serving.api_calls),
            ..super::encode_template::limits()
        }),
        keeper: Some(keeper(kept)),
    }
}

fn keeper(kept: Option<&Scope>) -> proto::ServerKeeper {
    match kept {
        Some(Scope::All) => proto::ServerKeeper { all_namespaces: true, namespaces: Vec::new() },
        Some(Scope::Namespaces(namespaces)) => proto::ServerKeeper {
            all_namespaces: false,
            namespaces: namespaces.iter().map(ToString::to_string).collect(),
        },
        None => proto::ServerKeeper::default(),
    }
}
