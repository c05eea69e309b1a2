//! The address of an adapter, which is all that a command line says of it: there is no place in it for a secret.

use std::fmt;
use std::net::IpAddr;

use super::failure::Failure;
use crate::config::{MAX_SOCKET_PATH, host_and_port, is_loopback};

/// The environment variable that names an adapter.
pub const SERVER: &str = "PANAMAX_SERVER";

/// An address that was read; it is shown as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A socket of this machine, as it was written.
    Socket(String),
    /// A host and a port, if one was named.
    Host {
        /// Whether it is reached over TLS.
        is_https: bool,
        /// The host as a URI has it.
        host: String,
        /// The port.
        port: Option<u16>,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(text) => formatter.write_str(text),
            Self::Host { is_https, host, port } => {
                write!(formatter, "{}://{host}", if *is_https { "https" } else { "http" })?;
                port.map_or(Ok(()), |port| write!(formatter, ":{port}"))
            }
        }
    }
}

/// Why a text is no address. It is never quoted: what nobody can read may hold a password.
fn wrong(why: &str) -> Failure {
    Failure::usage(format!(
        "--server (or {SERVER}): {why}; write http://HOST:PORT, https://HOST:PORT or unix:/PATH"
    ))
}

impl Address {
    /// Reads an address.
    pub fn read(text: &str) -> Result<Self, Failure> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.trim_start_matches('/').is_empty() {
                return Err(wrong("it names no path"));
            }
            if path.len() > MAX_SOCKET_PATH {
                return Err(wrong(&format!("its path has more than {MAX_SOCKET_PATH} bytes")));
            }
            let is_whole = path.starts_with('/');
            return if is_whole {
                Ok(Self::Socket(text.to_owned()))
            } else {
                Err(wrong("its path is not absolute"))
            };
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(wrong("its scheme is none of these")),
        };
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(wrong("a user and a password have no place in it, a token goes with --token-file"));
        }
        if !matches!(tail, "" | "/") {
            let why = "a path, a query and a fragment have no place in it, a token goes with --token-file";
            return Err(wrong(why));
        }
        let (host, port) = host_and_port(authority).ok_or_else(|| wrong("its port is none (1 to 65535)"))?;
        let address = Self::Host { is_https, host: host.to_owned(), port };
        // One that nobody can call is refused before anything else happens.
        let is_host = !host.is_empty() && address.to_string().parse::<tonic::transport::Uri>().is_ok();
        if is_host { Ok(address) } else { Err(wrong("it names no host")) }
    }

    /// Whether it is reached over TLS.
    pub fn is_https(&self) -> bool {
        matches!(self, Self::Host { is_https: true, .. })
    }

    /// Whether nobody else can read what is sent.
    pub fn is_private(&self) -> bool {
        match self {
            Self::Socket(_) | Self::Host { is_https: true, .. } => true,
            Self::Host { host, .. } => {
                let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
                host == "localhost" || address.is_some_and(is_loopback)
            }
        }
    }

    /// The same host and port, over TLS where this is not, and the other way round.
    pub fn other(&self) -> Option<Self> {
        match self.clone() {
            Self::Socket(_) => None,
            Self::Host { is_https, host, port } => Some(Self::Host { is_https: !is_https, host, port }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for good in ["http://a:1", "https://a.example", "http://[::1]:1", "unix:/a/b", "unix:///a"] {
            assert_eq!(Address::read(good).map(|read| read.to_string()).ok().as_deref(), Some(good));
        }
        let shown = Address::read("HTTP://127.0.0.1:65535/").map(|read| read.to_string());
        assert_eq!(shown.ok().as_deref(), Some("http://127.0.0.1:65535"));
        let other = Address::read("http://a:1").ok().and_then(|read| read.other());
        assert_eq!(other, Address::read("https://a:1").ok());
    }

    /// Why a text is refused, which holds no piece of it.
    fn refused(text: &str) -> String {
        let failure = Address::read(text).err().unwrap_or_else(|| panic!("{text} is read"));
        assert_eq!(failure.code, super::super::failure::USAGE);
        assert!(failure.text.contains("--server"), "{}", failure.text);
        assert!(!failure.text.contains("canary"), "{text}: {}", failure.text);
        failure.text
    }

    #[test]
    fn a_port_is_a_number_that_can_be_called() {
        for port in ["99999", "61051x", "", "0", "-1", "+80", "80 ", "canary"] {
            assert!(refused(&format!("http://127.0.0.1:{port}")).contains("its port is none"), "{port}");
            assert!(refused(&format!("https://[::1]:{port}")).contains("its port is none"), "{port}");
        }
    }

    #[test]
    fn there_is_no_place_for_a_secret() {
        for text in [
            "http://user:canary@a:1",
            "https://canary@a",
            "http://a:1/canary",
            "http://a:1/?token=canary",
            "http://a:1?token=canary",
            "http://a:1#canary",
            "https://a/v1?token=canary@b",
        ] {
            assert!(refused(text).contains("--token-file"), "{text}");
        }
        let long = format!("unix:/{}", "p".repeat(MAX_SOCKET_PATH));
        for text in [
            "",
            "a:1",
            "user:canary@a:1",
            "canary://a:1",
            "http://",
            "http://:1",
            "http://a canary:1",
            "unix:",
            "unix:canary",
            &long,
            "unix://",
        ] {
            refused(text);
        }
    }

    #[test]
    fn nobody_else_reads_what_goes_to_this_machine_or_over_tls() {
        let is_private = |text: &str| Address::read(text).is_ok_and(|address| address.is_private());
        for private in
            ["https://a.example:1", "http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "unix:/a"]
        {
            assert!(is_private(private), "{private}");
        }
        for open in
            ["http://a.example:1", "http://10.0.0.1:1", "http://localhost.example:1", "http://0.0.0.0:1"]
        {
            assert!(!is_private(open), "{open}");
        }
    }
}
