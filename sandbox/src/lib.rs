//! A small Kubernetes API server in memory, for people who have no cluster at hand, and for simulation.
//!
//! It speaks real HTTP on loopback and behaves like a real server in what the deploy engine uses: server-side apply
//! with field ownership, guarded writes, optimistic concurrency, lists, watches, garbage collection, namespaces, and
//! controllers that make, adopt and ready pods. It is never the proof that something works on a cluster.
//!
//! Simulation enters by a door without a socket, [`Sandbox::in_memory`]: seed and clock are arguments, delays go by the
//! runtime's time, and the same requests in the same order always get the same answers.
//!
//! Known differences from a real API server:
//! - It serves Namespaces, ConfigMaps, Secrets, PersistentVolumeClaims, Services, ReplicationControllers, Pods, apps
//!   Deployments, ReplicaSets and Events of the core group: get, list, watch, create, replace, apply, delete. No other patches, subresources,
//!   collection deletes, discovery or OpenAPI, so that `curl` and this project can use it and most of `kubectl`
//!   cannot. It speaks JSON only; paths are not percent-decoded.
//! - No authentication, RBAC, quota, Pod Security, webhooks or reviews; no service accounts, no token volumes, no
//!   `kube-root-ca.crt`, no Endpoints, no nodes; every pod runs on one node, whatever its host ports and resources.
//!   Its own controllers create no Events, and the last 1,000 of a namespace stay, however old they are. Every namespace stays as it was made: it has no finalizers of its own.
//! - Fields are those of the oldest schema this project supports; quantities must be text and stay as they were
//!   written; `stringData` is stored as it is; init containers, probes and volumes other than host paths get no
//!   defaults, pods no tolerations, priority or service account.
//! - Validation covers names, labels, ports, counts, images, variables, volumes, mounts, sizes, strategies and
//!   selectors, and what may not change; its messages name the kind of a fault alone. Unknown fields are refused in
//!   applies and dropped elsewhere, whatever `fieldValidation` says. Services are no ExternalNames, a node port that
//!   is asked for by number is not checked, and one number under two protocols gets two of them.
//! - Selectors of Deployments and ReplicaSets are their `matchLabels`. A rollout is never late, `minReadySeconds` and
//!   `revisionHistoryLimit` are not heeded, ReplicaSets without an owner are not adopted, and the controllers' own
//!   annotations and `terminatingReplicas` are missing.
//! - There is one storage class, `standard`, whose volumes cannot grow; claims of another stay pending. There are no
//!   PersistentVolumes: a claim is bound to a name, nothing checks who mounts it where, and a pod that waits for its
//!   claims does not say so.
//! - Lists of maps that no translation writes are one value to server-side apply; `managedFields` of a body are
//!   ignored, and controllers and kubelets write under the name `sandbox` or leave no entry.
//! - Field selectors know `metadata.name` alone.
//! - Controllers and kubelets do everything at once: a pod runs 50 ms after its creation and ends 50 ms after its
//!   deletion, whatever its grace period, and whether or not its Secrets are there; a pod that loses its labels keeps
//!   its controller.
//! - Addresses are given out in order; one that is asked for by name is not checked against others.
//! - Pages of a list show the present, not the moment of the first page, and do not say how much is left; a list
//!   never waits for a revision; a watch sends no bookmarks and reaches back 10,000 changes.
//! - A deletion without a policy is Background, also of a ReplicationController, and `Orphan` is read so too; every
//!   dependent holds back the foreground deletion of its owner, whatever `blockOwnerDeletion` says.
mod call;
mod chance;
mod clock;
mod controllers;
mod defaults;
mod failure;
mod fields;
mod http;
mod kinds;
mod labels;
mod object;
mod ownership;
mod removal;
mod rollout;
mod selection;
mod store;
mod stored;
mod validate;
mod volumes;
mod watch;
mod writes;

use axum::serve::ListenerExt;
use serde_json::{Value, json};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A running API server; its tasks end when it is dropped.
#[derive(Debug)]
pub struct Sandbox {
    /// Where it listens; `None` without a socket.
    address: Option<SocketAddr>,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What a sandbox held at one moment; others can begin with it.
#[derive(Clone)]
pub struct Image(store::Image);

impl fmt::Debug for Image {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Image").finish_non_exhaustive()
    }
}

impl Image {
    /// The objects of a namespace, each with its kind and its name.
    pub fn objects(&self, namespace: &str) -> impl Iterator<Item = (&'static str, &str, &Value)> {
        let all = self.0.objects().filter(move |(key, _)| key.namespace == namespace);
        all.map(|(key, object)| (key.kind.name(), key.name.as_str(), &***object))
    }
}

/// What requests and controllers share.
struct Shared {
    store: Mutex<store::Store>,
    stop: CancellationToken,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
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
        let (mut sandbox, service) = Self::in_memory(rand::random(), jiff::Timestamp::now)?;
        sandbox.address = Some(address);
        // Without this every second answer on a connection waits for the other side's acknowledgement.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let ended = sandbox.stop.clone().cancelled_owned();
        let serving = async move { axum::serve(listener, service).with_graceful_shutdown(ended).await };
        sandbox.tasks.spawn(serving);
        Ok(sandbox)
    }

    /// The same cluster without a socket: whoever has the service makes the requests.
    ///
    /// `now` is the wall time that objects carry; delays go by the runtime's time, so a paused one skips them. All
    /// chance comes from `seed`: the same requests in the same order get the same answers.
    ///
    /// Call it inside a tokio runtime, which runs the controllers.
    pub fn in_memory(
        seed: u64,
        now: impl Fn() -> jiff::Timestamp + Send + Sync + 'static,
    ) -> io::Result<(Self, axum::Router)> {
        let mut store = store::Store::new(seed, clock::Clock::new(now));
        let first = call::Call::own(store::Key::new(kinds::Kind::Namespace, "", ""));
        writes::create(&mut store, first, &json!({ "metadata": { "name": "default" } }))
            .map_err(|failure| io::Error::other(format!("{failure:?}")))?;
        Ok(Self::over(store))
    }

    /// A cluster without a socket that begins with what another one held when nothing was under way in it.
    ///
    /// Its history begins anew, and its chance with the seed, which must be another than the other one's: else it gives
    /// out the same uids again.
    pub fn of_image(
        image: Image,
        seed: u64,
        now: impl Fn() -> jiff::Timestamp + Send + Sync + 'static,
    ) -> (Self, axum::Router) {
        Self::over(store::Store::of(image.0, seed, clock::Clock::new(now)))
    }

    fn over(store: store::Store) -> (Self, axum::Router) {
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared { store: Mutex::new(store), stop: stop.clone() });
        let tasks = TaskTracker::new();
        tasks.spawn(controllers::run(shared.clone()));
        let service = axum::Router::new().fallback(http::serve).with_state(shared.clone());
        (Self { address: None, shared, stop, tasks }, service)
    }

    /// What it holds now.
    pub fn image(&self) -> Image {
        Image(self.shared.store().image())
    }

    /// Where clients find it; empty without a socket.
    pub fn url(&self) -> String {
        self.address.map(|address| format!("http://{address}")).unwrap_or_default()
    }

    /// Ends all tasks and waits for them; open watches end at once.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
