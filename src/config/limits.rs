//! The settings that say how much a request, a connection and the whole may take, and for how long.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

/// How much is served, and for how long something may be on its way.
#[derive(Args, Clone, Debug)]
pub struct LimitSettings {
    /// Most calls and watches of one connection at once, 2 at least; its client waits with one more
    #[arg(long, env = "PANAMAX_MAX_STREAMS_PER_CONNECTION", default_value = "1000", value_parser = super::number, value_name = "NUMBER")]
    pub max_streams_per_connection: usize,

    /// Most watches of one connection at once, fewer than --max-streams-per-connection and --max-watches at the most; one
    /// more is refused
    #[arg(long, env = "PANAMAX_MAX_WATCHES_PER_CONNECTION", default_value = "900", value_parser = super::number, value_name = "NUMBER")]
    pub max_watches_per_connection: usize,

    /// Largest request; 1KiB to 16MiB, a quarter of --max-request-memory at the most
    #[arg(long, env = "PANAMAX_MAX_MESSAGE", default_value = "1MiB", value_name = "SIZE")]
    pub max_message: Bytes,

    /// Largest metadata of a request; 1KiB to 128KiB
    #[arg(long, env = "PANAMAX_MAX_METADATA", default_value = "16KiB", value_name = "SIZE")]
    pub max_metadata: Bytes,

    /// Most memory of all requests that are coming, a quarter of it for those of one connection; 4KiB to 1024MiB
    #[arg(long, env = "PANAMAX_MAX_REQUEST_MEMORY", default_value = "64MiB", value_name = "SIZE")]
    pub max_request_memory: Bytes,

    /// How long a request may take to come, whole and ended; 100ms to 10m
    #[arg(long, env = "PANAMAX_REQUEST_TIMEOUT", default_value = "30s", value_parser = super::time, value_name = "TIME")]
    pub request_timeout: Duration,

    /// Most TLS handshakes at once, --max-connections at the most; one more ends the oldest
    #[arg(long, env = "PANAMAX_MAX_HANDSHAKES", default_value = "64", value_parser = super::number, value_name = "NUMBER")]
    pub max_handshakes: usize,

    /// How long a TLS handshake may take; 100ms to 1m
    #[arg(long, env = "PANAMAX_HANDSHAKE_TIMEOUT", default_value = "5s", value_parser = super::time, value_name = "TIME")]
    pub handshake_timeout: Duration,

    /// How long a reader may take nothing of what there is for it before its stream or its connection is cut; 1s to 10m
    #[arg(long, env = "PANAMAX_READER_TIMEOUT", default_value = "30s", value_parser = super::time, value_name = "TIME")]
    pub reader_timeout: Duration,

    /// How long a call may take whose caller sets no deadline; 100ms to 1h, --max-deadline at the most
    #[arg(long, env = "PANAMAX_DEFAULT_DEADLINE", default_value = "30s", value_parser = super::time, value_name = "TIME")]
    pub default_deadline: Duration,

    /// How long a call may take whatever deadline its caller sets, watches aside; 100ms to 1h
    #[arg(long, env = "PANAMAX_MAX_DEADLINE", default_value = "2m", value_parser = super::time, value_name = "TIME")]
    pub max_deadline: Duration,

    /// Most replicas of a component that a template or a Scale may ask for; 1 to 10000
    #[arg(long, env = "PANAMAX_MAX_REPLICAS", default_value = "100", value_parser = super::number, value_name = "NUMBER")]
    pub max_replicas: usize,

    /// Most calls to the API server at once, watches aside; one more waits for its turn; 1 to 10000
    #[arg(long, env = "PANAMAX_MAX_API_CALLS", default_value = "100", value_parser = super::number, value_name = "NUMBER")]
    pub max_api_calls: usize,
}

impl LimitSettings {
    /// Lowers each limit that another one never lets come true, unless `are_set` says that somebody has set both.
    pub(super) fn lower(&mut self, are_set: impl Fn([&str; 2]) -> bool, max_watches: usize) {
        if !are_set(["max_watches_per_connection", "max_watches"]) {
            super::lower(&mut self.max_watches_per_connection, max_watches);
        }
        if !are_set(["max_watches_per_connection", "max_streams_per_connection"]) {
            let most = self.most_watches_of_connection();
            super::lower(&mut self.max_watches_per_connection, most);
        }
        if !are_set(["max_message", "max_request_memory"]) {
            let most = self.most_of_connection();
            super::lower(&mut self.max_message, most);
        }
        if !are_set(["default_deadline", "max_deadline"]) {
            super::lower(&mut self.default_deadline, self.max_deadline);
        }
    }

    /// The most watches that the streams of a connection allow: one more call is told so, and does not wait in its
    /// client for a stream that never comes free.
    pub fn most_watches_of_connection(&self) -> usize {
        self.max_streams_per_connection.saturating_sub(1)
    }

    /// The most memory that the requests of one connection may hold while they are coming.
    pub fn most_of_connection(&self) -> Bytes {
        Bytes(self.max_request_memory.0 / 4)
    }
}

/// A size in bytes, written as `16KiB` or `1MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub usize);

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write a number and KiB or MiB, as 1MiB".to_owned();
        let (number, unit) =
            text.split_at(text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic()).len());
        let unit = match unit {
            "KiB" => KIB,
            "MiB" => MIB,
            _ => return Err(wrong()),
        };
        super::digits(number).map(|number| Self(number.saturating_mul(unit))).ok_or_else(wrong)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes >= MIB && bytes.is_multiple_of(MIB) => write!(formatter, "{} MiB", bytes / MIB),
            bytes if bytes >= KIB && bytes.is_multiple_of(KIB) => write!(formatter, "{} KiB", bytes / KIB),
            bytes => write!(formatter, "{bytes} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit() {
        let read = |text: &str| text.parse::<Bytes>();
        assert_eq!(
            (read("0KiB"), read("16KiB"), read("2MiB")),
            (Ok(Bytes(0)), Ok(Bytes(16 * KIB)), Ok(Bytes(2 * MIB)))
        );
        assert_eq!(read("99999999999999999999MiB"), Ok(Bytes(usize::MAX)));
        for text in ["", "1", "1K", "1 MiB", "-1KiB", "KiB", "1.5MiB"] {
            assert!(read(text).is_err(), "{text}");
        }
        let shown = [0, 1000, KIB, MIB, MIB + KIB, MIB + 1].map(|bytes| Bytes(bytes).to_string());
        assert_eq!(shown, ["0 bytes", "1000 bytes", "1 KiB", "1 MiB", "1025 KiB", "1048577 bytes"]);
    }
}
