//! A relay to the API server: at an address of one's own, and as far away as asked for.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::control_plane::{User, control_plane};

/// A running relay; its connections break when it is dropped.
pub struct Relay {
    opened: Arc<AtomicUsize>,
    frozen: watch::Sender<()>,
    _tasks: JoinSet<()>,
}

impl Relay {
    /// Passes every connection at an address on to the API server, whose answers take this much longer.
    pub async fn start(address: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind(address).await.expect("the port is free");
        let mut tasks = JoinSet::new();
        let opened = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&opened);
        let (frozen, ice) = watch::channel(());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((here, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                // What freezes later freezes this one, too.
                let mut ice = ice.clone();
                ice.mark_unchanged();
                connections.spawn(async move { relay(here, delay, &mut ice).await });
            }
        });
        Self { opened, frozen, _tasks: tasks }
    }

    /// Lets every connection that is open now fall silent, as a peer that lost its power: nothing passes any more, and
    /// nothing is closed. New ones pass.
    pub fn freeze(&self) {
        self.frozen.send_replace(());
    }

    /// How many connections have been opened so far.
    pub fn connections(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }
}

async fn relay(here: TcpStream, delay: Duration, frozen: &mut watch::Receiver<()>) {
    let server = control_plane().server.trim_start_matches("https://");
    let there = TcpStream::connect(server).await.expect("the API server");
    let (_, _) = (here.set_nodelay(true), there.set_nodelay(true));
    let ((mut from_here, mut to_here), (mut from_there, mut to_there)) =
        (here.into_split(), there.into_split());
    let (send, mut answers) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let asking = async { tokio::io::copy(&mut from_here, &mut to_there).await.map(|_| ()) };
    let answering = async move {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = from_there.read(&mut buffer).await?;
            if length == 0 || send.send((Instant::now() + delay, buffer[..length].to_vec())).is_err() {
                return Ok(());
            }
        }
    };
    let telling = async {
        while let Some((due, bytes)) = answers.recv().await {
            tokio::time::sleep_until(due).await;
            to_here.write_all(&bytes).await?;
        }
        Ok(())
    };
    // A connection that breaks is the business of those at its ends.
    let passing = async { tokio::try_join!(asking, answering, telling).map(|_| ()) };
    tokio::pin!(passing);
    tokio::select! {
        _ = &mut passing => {}
        // The sockets stay open.
        _ = frozen.changed() => std::future::pending().await,
    }
}

/// An address that nobody listens on.
pub async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address")
}

/// The adapter's kubeconfig, for an API server at another address than the real one's.
pub fn kubeconfig_at(address: SocketAddr) -> PathBuf {
    let plane = control_plane();
    let text = std::fs::read_to_string(plane.kubeconfig(User::Adapter)).expect("a kubeconfig");
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("at-{}.kubeconfig", address.port()));
    std::fs::write(&path, text.replace(&plane.server, &format!("https://{address}"))).expect("a file");
    path
}
