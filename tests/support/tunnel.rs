//! A proxy as networks have them: it opens the way to a server for whoever names it, by HTTP or SOCKS.

use std::io::{Error, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::certificates::Issuer;
use super::front::acceptor;

/// Who may pass a proxy that knows who may.
pub const USER: &str = "some body";
pub const PASSWORD: &str = "p@ss:w0rd";
/// The same in an address.
pub const CREDENTIALS: &str = "some%20body:p%40ss:w0rd";

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speaks {
    Http,
    Https,
    Socks,
}

/// A running proxy; its connections break when it is dropped.
pub struct Tunnel {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Tunnel {
    /// Leads to one server, wherever its callers want to go; `known` lets only those pass who say who they are. Over
    /// TLS it has a certificate of this authority for `localhost`.
    pub async fn to(server: SocketAddr, speaks: Speaks, known: bool, authority: &Issuer) -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address"), server, speaks, known, authority).await
    }

    /// The same at an address.
    pub async fn at(
        address: SocketAddr,
        server: SocketAddr,
        speaks: Speaks,
        known: bool,
        authority: &Issuer,
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect("the port is free");
        let address = listener.local_addr().expect("an address");
        let (asked, mut tasks) = (Arc::<Mutex<Vec<String>>>::default(), JoinSet::new());
        let heard = Arc::clone(&asked);
        let tls: Option<TlsAcceptor> = (speaks == Speaks::Https).then(|| acceptor(authority));
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((here, _)) = listener.accept().await {
                let (heard, tls) = (Arc::clone(&heard), tls.clone());
                open.spawn(async move {
                    // Whoever breaks off hears of it at his end.
                    let _ = match tls {
                        Some(tls) => match tls.accept(here).await {
                            Ok(here) => pass(here, server, speaks, known, &heard).await,
                            Err(error) => Err(error),
                        },
                        None => pass(here, server, speaks, known, &heard).await,
                    };
                });
            }
        });
        Self { address, asked, _tasks: tasks }
    }

    /// Where its callers wanted to go, each time that one was let pass.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic while asking").clone()
    }
}

async fn pass<S: AsyncRead + AsyncWrite + Unpin>(
    mut here: S,
    server: SocketAddr,
    speaks: Speaks,
    known: bool,
    heard: &Mutex<Vec<String>>,
) -> Result<()> {
    let target = match speaks {
        Speaks::Socks => socks(&mut here, known).await?,
        Speaks::Http | Speaks::Https => http(&mut here, known).await?,
    };
    heard.lock().expect("no panic while asking").push(target);
    let mut there = TcpStream::connect(server).await?;
    copy_bidirectional(&mut here, &mut there).await.map(|_| ())
}

async fn http<S: AsyncRead + AsyncWrite + Unpin>(here: &mut S, known: bool) -> Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(here.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let is_welcome = head.lines().any(|line| {
        let (name, value) = line.split_once(": ").unwrap_or_default();
        let pair = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
        name.eq_ignore_ascii_case("proxy-authorization") && value == format!("Basic {pair}")
    });
    if known && !is_welcome {
        here.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n").await?;
        return Err(Error::other("nobody known"));
    }
    here.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split_once(' '));
    Ok(target.ok_or_else(|| Error::other("no CONNECT"))?.0.to_owned())
}

/// As RFC 1928 and RFC 1929 have it.
async fn socks<S: AsyncRead + AsyncWrite + Unpin>(here: &mut S, known: bool) -> Result<String> {
    let _version = here.read_u8().await?;
    text(here).await?;
    here.write_all(&[5, if known { 2 } else { 0 }]).await?;
    if known {
        let _version = here.read_u8().await?;
        let is_welcome = (text(here).await?, text(here).await?) == (USER.to_owned(), PASSWORD.to_owned());
        here.write_all(&[1, u8::from(!is_welcome)]).await?;
        if !is_welcome {
            return Err(Error::other("nobody known"));
        }
    }
    let mut asked = [0; 4];
    here.read_exact(&mut asked).await?;
    let host = match asked {
        [5, 1, 0, 1] => Ipv4Addr::from(here.read_u32().await?).to_string(),
        // A name, which is looked up on this side.
        [5, 1, 0, 3] => text(here).await?,
        _ => return Err(Error::other("no CONNECT")),
    };
    let target = format!("{host}:{}", here.read_u16().await?);
    here.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    Ok(target)
}

/// What comes behind its length.
async fn text<S: AsyncRead + Unpin>(here: &mut S) -> Result<String> {
    let mut text = vec![0; usize::from(here.read_u8().await?)];
    here.read_exact(&mut text).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
