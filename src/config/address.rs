//! What addresses say, however they are written: whether they are of this machine, and which port they name.

use std::net::IpAddr;

/// Whether nobody from another machine gets to an address; one of IPv4 may be written as one of IPv6.
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// The host of an address, and the port that stands behind it, if something does; `None` if that is no port. Libraries
/// take what is none for nothing, and ask the port that is usual.
pub fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    match authority.rsplit_once(':') {
        // The colons of an IPv6 address are within brackets.
        Some((host, port)) if !port.ends_with(']') => {
            let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse().ok().filter(|number| is_number && *number != 0)?;
            Some((host, Some(port)))
        }
        _ => Some((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_this_machine_is_one_however_it_is_written() {
        for text in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(is_loopback(text.parse().unwrap()), "{text}");
        }
        for text in ["10.0.0.1", "::", "::ffff:10.0.0.1", "0.0.0.0"] {
            assert!(!is_loopback(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn what_is_no_port_is_not_read_as_none() {
        for authority in ["a:99999", "a:", "a:0", "a:x1", "a:+1", "[::1]:70000"] {
            assert_eq!(host_and_port(authority), None, "{authority}");
        }
        for (authority, read) in [
            ("a", ("a", None)),
            ("a:1", ("a", Some(1))),
            ("[::1]", ("[::1]", None)),
            ("[::1]:65535", ("[::1]", Some(65535))),
        ] {
            assert_eq!(host_and_port(authority), Some(read), "{authority}");
        }
    }
}
