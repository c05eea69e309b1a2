//! The listener: an address of the network or a socket in the file system, and the bytes of whoever connects.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixSocket, UnixStream};
use tracing::debug;

use crate::config::Listen;

/// Only the owner may connect.
const OWNER_ONLY: u32 = 0o600;
/// How many may wait to be accepted.
const BACKLOG: u32 = 1024;

/// The two directions of a connection, whatever they go over.
pub(super) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// Where callers arrive.
pub enum Listener {
    /// An address of the network.
    Tcp(TcpListener),
    /// A socket in the file system.
    Unix(Socket),
}

/// A socket in the file system; its file is removed with it.
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Which file it is: another process may have put its own in this place.
    inode: u64,
}

/// Why nothing can be listened on.
#[derive(Debug)]
pub enum BindError {
    /// Somebody else listens there.
    Taken,
    /// There is a file that is no socket.
    NoSocket,
    /// The system refuses it.
    Io(io::Error),
}

impl From<io::Error> for BindError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl Listener {
    /// Begins to listen.
    ///
    /// A socket's file that nobody listens on is replaced.
    pub async fn bind(listen: &Listen) -> Result<Self, BindError> {
        match listen {
            Listen::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await?)),
            Listen::Unix(path) => Ok(Self::Unix(Socket::bind(path).await?)),
        }
    }

    /// Where it listens, for people and tests.
    pub fn told(&self) -> io::Result<String> {
        match self {
            Self::Tcp(listener) => Ok(listener.local_addr()?.to_string()),
            Self::Unix(socket) => Ok(format!("unix:{}", socket.path.display())),
        }
    }

    /// The listener of an address.
    pub fn into_tcp(self) -> Option<TcpListener> {
        match self {
            Self::Tcp(listener) => Some(listener),
            Self::Unix(_) => None,
        }
    }

    /// The next connection, and the address at its other end; a socket of the system has none.
    pub(super) async fn accept(&self) -> io::Result<(Box<dyn Bytes>, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Box::new(at_once(stream)), Some(address.ip())))
            }
            Self::Unix(socket) => {
                let (stream, _) = socket.listener.accept().await?;
                Ok((Box::new(stream), None))
            }
        }
    }
}

/// Answers are small: held back until the one before is acknowledged, each could stall for 40 ms.
fn at_once(stream: TcpStream) -> TcpStream {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "answers may be held back");
    }
    stream
}

impl Socket {
    async fn bind(path: &Path) -> Result<Self, BindError> {
        match fs::symlink_metadata(path) {
            Ok(file) if !file.file_type().is_socket() => return Err(BindError::NoSocket),
            Ok(_) => {
                may_replace(path).await?;
                fs::remove_file(path)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        // It gets its mode before anybody can connect.
        let made = fs::set_permissions(path, fs::Permissions::from_mode(OWNER_ONLY))
            .and_then(|()| fs::symlink_metadata(path))
            .and_then(|file| Ok((socket.listen(BACKLOG)?, file.ino())));
        match made {
            Ok((listener, inode)) => Ok(Self { listener, path: path.to_owned(), inode }),
            Err(error) => {
                remove(path);
                Err(error.into())
            }
        }
    }
}

/// Whether a socket's file is one that nobody listens on. Only a refusal says so: one whose queue is full, or that is
/// another user's, is somebody's.
async fn may_replace(path: &Path) -> Result<(), BindError> {
    match UnixStream::connect(path).await {
        Ok(_) => Err(BindError::Taken),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Ok(()),
            io::ErrorKind::WouldBlock => Err(BindError::Taken),
            _ => Err(error.into()),
        },
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            remove(&self.path);
        }
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        debug!(%error, "the socket's file cannot be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MAX_SOCKET_PATH;

    #[tokio::test]
    async fn only_a_socket_that_refuses_is_stale() {
        let folder = std::env::temp_dir().join(format!("panamax-listener-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.sock");
        // Its queue is full: one fits in beside the one that is being accepted.
        let busy =
            rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None)
                .unwrap();
        rustix::net::bind(&busy, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&busy, 0).unwrap();
        let _held = UnixStream::connect(&path).await.unwrap();
        assert!(matches!(Socket::bind(&path).await, Err(BindError::Taken)));
        drop(busy);
        assert!(Socket::bind(&path).await.is_ok());
        assert!(!path.exists());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn a_path_may_have_all_the_bytes_that_there_are() {
        let folder = std::env::temp_dir().join(format!("panamax-long-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let name = "p".repeat(MAX_SOCKET_PATH - folder.as_os_str().len() - 1);
        let path = folder.join(name);
        let socket = Socket::bind(&path).await.unwrap();
        assert!(UnixStream::connect(&path).await.is_ok());
        assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, OWNER_ONLY);
        // Nothing is beside it, so nothing can be left there.
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        drop(socket);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn accepted_connections_hold_nothing_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        assert!(!stream.nodelay().unwrap());
        assert!(at_once(stream).nodelay().unwrap());
    }
}
