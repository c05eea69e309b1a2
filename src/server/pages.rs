//! What web pages ask for over HTTP/1.1 is refused.
//!
//! A browser carries requests of pages to ports of its own machine and network, and nobody there has asked for them. A page
//! of another site may send a POST without asking, and one whose name leads to this address (DNS rebinding) may read the
//! answers as well. No agent is a browser. gRPC needs none of this: browsers send its content type to no other site without
//! asking (OPTIONS, which is refused), and HTTP/2 only over TLS, to a name of the certificate.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue};

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whose names a Host may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hosts {
    /// Anybody's: callers are known, or the address is not this machine's alone.
    Any,
    /// This machine's. Nobody is known here, so a name that somebody else has given to this address would be enough.
    Own,
}

/// Why a request is refused that a page of others makes.
pub(super) fn refused(headers: &HeaderMap, hosts: Hosts) -> Result<(), &'static str> {
    let is_of_others = headers.get_all(ORIGIN).iter().any(|origin| !is_of(origin, headers.get(HOST)))
        || headers.get_all(SITE).iter().any(|site| site != "same-origin" && site != "none");
    if is_of_others {
        return Err(
            "a web page of another site asks for this (Origin, Sec-Fetch-Site); only agents are served",
        );
    }
    if hosts == Hosts::Own && !headers.get_all(HOST).iter().all(is_own) {
        return Err(
            "nobody is known here, so the Host must be localhost or an address, as 127.0.0.1; with --auth, which says \
             how callers are known, it may be any name",
        );
    }
    Ok(())
}

/// Whether an origin is that of the server itself, by the name that it is called here.
fn is_of(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, rest)| rest);
    let host = host.and_then(|host| host.to_str().ok());
    origin.zip(host).is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host))
}

/// Whether a Host is this machine's whatever a name server says: an address leads nowhere else.
fn is_own(host: &HeaderValue) -> bool {
    let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let name = authority.host();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    address.parse::<IpAddr>().is_ok()
        || name.strip_suffix('.').unwrap_or(name).eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let of = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(of).collect()
    }

    #[test]
    fn a_page_of_another_site_is_refused_whoever_is_known() {
        for (more, passes) in [
            (&[][..], true),
            (&[("origin", "http://localhost:8001")], true),
            (&[("origin", "HTTPS://LOCALHOST:8001")], true),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("origin", "https://evil.example")], false),
            (&[("origin", "http://localhost:8002")], false),
            (&[("origin", "http://localhost")], false),
            (&[("origin", "null")], false),
            (&[("origin", "")], false),
            (&[("origin", "localhost:8001")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("origin", "http://localhost:8001"), ("sec-fetch-site", "cross-site")], false),
        ] {
            let headers = head(&[&[("host", "localhost:8001")], more].concat());
            for hosts in [Hosts::Any, Hosts::Own] {
                assert_eq!(refused(&headers, hosts).is_ok(), passes, "{more:?}");
            }
        }
        let mut both = head(&[("host", "localhost:8001"), ("origin", "http://localhost:8001")]);
        both.append(ORIGIN, HeaderValue::from_static("https://evil.example"));
        assert!(refused(&both, Hosts::Any).is_err(), "one of two is not believed alone");
    }

    #[test]
    fn a_name_that_somebody_else_gives_is_refused_where_nobody_is_known() {
        for host in [
            "localhost",
            "LocalHost:8001",
            "localhost.:1",
            "127.0.0.1:8001",
            "172.17.0.5",
            "[::1]:8001",
            "[::1]",
        ] {
            assert!(refused(&head(&[("host", host)]), Hosts::Own).is_ok(), "{host}");
        }
        for host in [
            "rebind.evil.example:8001",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "adapter:8001",
            "",
            "local host",
            "evil@localhost/",
        ] {
            let headers = head(&[("host", host)]);
            assert!(refused(&headers, Hosts::Own).is_err(), "{host}");
            assert!(refused(&headers, Hosts::Any).is_ok(), "{host}");
        }
    }
}
