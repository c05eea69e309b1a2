//! A namespace per test, printed when the test fails and removed when it ends.

use super::control_plane::{ControlPlane, User, control_plane};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace as CoreNamespace, ServiceAccount};
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A namespace that no other test uses; dropping it deletes it, and prints it first if the test is failing.
pub struct Namespace {
    pub plane: &'static ControlPlane,
    /// The harness's client; its calls are not counted.
    pub client: Client,
    name: String,
}

/// Creates a namespace of the control plane, and waits until it holds what the controllers put into each.
pub async fn namespace(prefix: &str) -> Namespace {
    namespace_of(control_plane(), prefix).await
}

/// Creates a namespace of any control plane.
pub async fn namespace_of(plane: &'static ControlPlane, prefix: &str) -> Namespace {
    static COUNT: AtomicUsize = AtomicUsize::new(1);
    let client = plane.client(User::Harness).await;
    let name = format!("{prefix}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let object = CoreNamespace {
        metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
        ..CoreNamespace::default()
    };
    let namespaces: Api<CoreNamespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &object).await.expect("a namespace can be created");
    let namespace = Namespace { plane, client: client.clone(), name };
    let accounts: Api<ServiceAccount> = namespace.api();
    let maps: Api<ConfigMap> = namespace.api();
    let furnished = async {
        tokio::try_join!(
            await_condition(accounts, "default", |found: Option<&ServiceAccount>| found.is_some()),
            await_condition(maps, "kube-root-ca.crt", |found: Option<&ConfigMap>| found.is_some()),
        )
    };
    let furnished = tokio::time::timeout(Duration::from_secs(30), furnished).await;
    furnished.expect("a new namespace is furnished within 30 s").expect("its content can be watched");
    namespace
}

impl Namespace {
    /// A typed interface to the namespace's objects, for the harness.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// What stands in the namespace, for a person who looks for the reason of a failure.
    pub fn dump(&self) -> String {
        let mut text = format!("namespace {} as the test left it:\n", self.name);
        for arguments in [
            &["get", "all,endpointslices,configmaps,secrets"][..],
            &["get", "pods,replicationcontrollers,deployments,services,configmaps", "-o", "yaml"],
            &["get", "events", "--sort-by=.lastTimestamp"],
        ] {
            let output = self.plane.kubectl(User::Harness).args(["-n", &self.name]).args(arguments).output();
            match output {
                Ok(output) => {
                    let answer = [output.stdout, output.stderr].concat();
                    let lines = String::from_utf8_lossy(&answer).into_owned();
                    text.extend(lines.lines().take(300).flat_map(|line| [line, "\n"]));
                }
                Err(error) => text.extend(["kubectl: ", &error.to_string(), "\n"]),
            }
        }
        text
    }
}

/// A namespace stands for its name.
impl Deref for Namespace {
    type Target = str;

    fn deref(&self) -> &str {
        &self.name
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "the runner shows it beneath the failed test alone")]
            {
                eprintln!("{}", self.dump());
            }
        }
        // The test's runtime may be gone, and nobody needs to wait: the whole plane goes at the end of the run.
        let (plane, name) = (self.plane, self.name.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let namespaces: Api<CoreNamespace> = Api::all(plane.client(User::Harness).await);
                let _ = namespaces.delete(&name, &DeleteParams::default()).await;
            });
        });
    }
}
