//! A small Kubernetes API server in memory, for people who have no cluster at hand.
//!
//! It speaks real HTTP on loopback and behaves like a real server in what the deploy engine uses: server-side apply
//! with field ownership, guarded writes, optimistic concurrency, lists, watches, garbage collection, namespaces, and
//! controllers that make, adopt and ready pods. It is never the proof that something works on a cluster.
//!
//! Known differences from a real API server:
//! - It serves Namespaces, ConfigMaps, Secrets, Events, Services, PersistentVolumeClaims, Pods,
//!   ReplicationControllers, apps Deployments and their ReplicaSets; no subresources (`status`, `scale`, `log`,
//!   `exec`), collection deletes, JSON patches or OpenAPI. A strategic merge patch is read as a merge patch.
//! - It speaks JSON only, so `kubectl create` (which sends protobuf) cannot use it, while
//!   `kubectl apply --server-side --validate=false` can. Paths are not percent-decoded.
//! - No authentication, RBAC, quota, Pod Security, webhooks or reviews; no service account objects, no
//!   `kube-root-ca.crt`, no token volumes in pods, no Endpoints, no nodes; every pod runs on one node, whatever its
//!   host ports and resources.
//! - Fields are those of the oldest schema this project supports; quantities must be text; probes, lifecycle hooks
//!   and rarer volume types get no defaults; validation covers what a deployment of containers can meet, and its
//!   messages are shorter.
//! - Controllers and kubelets leave no `managedFields`, no revision annotation and no Events, and do everything at
//!   once: a pod runs 50 ms after its creation and ends 50 ms after its deletion, whatever its grace period.
//! - `managedFields` of a body are ignored, and an apply to an object whose fields nobody owns leaves no
//!   `before-first-apply` entry.
//! - A rolling update makes all new pods before any old one goes, whatever `maxSurge` and `maxUnavailable` say, and
//!   old ReplicaSets stay.
//! - Claims are bound at once, may shrink, and vanish while a pod still mounts them. Node ports and addresses are
//!   given out in order; one that is asked for by name is not checked against others.
//! - Pages of a list show the present, not the moment of the first page; a list never waits for a revision; a watch
//!   reaches back 10,000 changes.
//! - Every dependent holds back the foreground deletion of its owner, whatever `blockOwnerDeletion` says.
mod bodies;
mod controllers;
mod defaults;
mod discovery;
mod failure;
mod fields;
mod http;
mod kinds;
mod ownership;
mod removal;
mod rollout;
mod selection;
mod store;
mod validate;
mod watch;
mod writes;

use axum::serve::ListenerExt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A running API server; its tasks end when it is dropped.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What requests and controllers share.
struct Shared {
    store: Mutex<store::Store>,
    stop: CancellationToken,
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, store::Store> {
        // A handler that panicked left at most its own object unwritten: every write is one insertion.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sandbox {
    /// Serves an empty cluster with one namespace, `default`.
    ///
    /// Fails if the listener is not on loopback, because anybody who reaches the sandbox may do anything in it.
    pub async fn start(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the sandbox listens on loopback only"));
        }
        let mut store = store::Store::new();
        http::first_namespace(&mut store).map_err(|failure| io::Error::other(format!("{failure:?}")))?;
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared { store: Mutex::new(store), stop: stop.clone() });
        let tasks = TaskTracker::new();
        tasks.spawn(controllers::run(shared.clone()));
        let service = axum::Router::new().fallback(http::serve).with_state(shared);
        // Without this every second answer on a connection waits for the other side's acknowledgement.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let ended = stop.clone().cancelled_owned();
        tasks.spawn(async move { axum::serve(listener, service).with_graceful_shutdown(ended).await });
        tasks.close();
        Ok(Self { address, stop, tasks })
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends all tasks and waits for them; open watches end at once.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
