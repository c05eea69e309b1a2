//! Where callers are listened for: an address, or a socket in the file system.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What begins the name of a socket in the file system.
const UNIX: &str = "unix:";
/// The most bytes of its path: what the system has room for, without the end.
pub const MAX_SOCKET_PATH: usize = 107;

/// Where callers are listened for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address of the network.
    Tcp(SocketAddr),
    /// A socket in the file system; only its owner may open it.
    Unix(PathBuf),
}

impl Listen {
    /// Whether nobody from another machine gets there.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => super::is_loopback(address.ip()),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "{UNIX}{}", path.display()),
        }
    }
}

/// Reads `127.0.0.1:50051` or `unix:/run/panamax.sock`.
pub(super) fn listen(text: &str) -> Result<Listen, String> {
    let Some(path) = text.strip_prefix(UNIX) else {
        let address = text.parse();
        return address.map(Listen::Tcp).map_err(|_| {
            "write an address and a port, as 127.0.0.1:50051, or unix: and an absolute path".to_owned()
        });
    };
    let path = PathBuf::from(path);
    if !path.is_absolute() || path.file_name().is_none() {
        return Err("write an absolute path behind unix:, as unix:/run/panamax.sock".to_owned());
    }
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        return Err(format!("the path of a socket has {MAX_SOCKET_PATH} bytes at most; write a shorter one"));
    }
    Ok(Listen::Unix(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_paths_are_told_apart() {
        let address = listen("127.0.0.1:1").unwrap();
        assert!(address.is_local() && address.to_string() == "127.0.0.1:1");
        assert!(!listen("0.0.0.0:1").unwrap().is_local());
        assert!(!listen("[::]:1").unwrap().is_local());
        let path = listen("unix:/run/p.sock").unwrap();
        assert!(path.is_local() && path.to_string() == "unix:/run/p.sock");
        for text in ["", "somewhere", "unix:", "unix:p.sock", "unix:/", "127.0.0.1"] {
            assert!(listen(text).is_err(), "{text}");
        }
        let of = |length: usize| listen(&format!("unix:/{}", "p".repeat(length - 1)));
        assert!(of(MAX_SOCKET_PATH).is_ok() && of(MAX_SOCKET_PATH + 1).unwrap_err().contains("107 bytes"));
    }
}
