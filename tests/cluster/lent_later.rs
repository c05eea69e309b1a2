//! No right is lent where a deployment is there already: what changes it, counts it, puts it back and deletes it.
//!
//! Every call only validates. What it would write is tried as dry runs in the caller's name: as in `lent`.

use std::collections::BTreeSet;

use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use panamax_kubernetes_adapter::proto;
use serde_json::{Value, json};
use tonic::Status;

use super::lent::{
    adapter_for, impersonated, is_forbidden, may_apply, may_look, objects, resource_of, roles, seed, token,
    went_through,
};
use crate::support::adapter::{Adapter, deploy, scale, teardown};
use crate::support::bearer::{Deployments, with_token};
use crate::support::control_plane::{User, control_plane};
use crate::support::namespace::{Namespace, namespace};

const WEB: &str = "name: Later\nimages:\n- name: web\n  source: example/web:1\n  deployment: {count: 2}\n  ports: [{container_port: 80}]\n";
const DB: &str = "- name: db\n  source: example/db:1\n  ports: [{container_port: 5432}]\n  environment: [{variable: DB_PASSWORD, value: x}]\n";

/// What is tried.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Scale,
    Count,
    Prune,
    PruneNothing,
    Back,
    Teardown,
    TeardownWithGrace,
}

const DEEDS: [Deed; 7] = [
    Deed::Scale,
    Deed::Count,
    Deed::Prune,
    Deed::PruneNothing,
    Deed::Back,
    Deed::Teardown,
    Deed::TeardownWithGrace,
];

/// A deployment of two revisions, and what is tried with it.
struct Later {
    namespace: Namespace,
    profile: proto::Profile,
    /// The objects of the current revision.
    objects: Vec<Value>,
}

impl Later {
    fn deploy(&self, text: &str) -> proto::DeployRequest {
        let mut request = deploy(&self.namespace, "lent", text);
        request.options.get_or_insert_default().set_profile(self.profile);
        request
    }

    /// Asks the adapter, which only validates.
    async fn through_us(&self, caller: &mut Deployments, deed: Deed) -> Result<(), Status> {
        let updated = WEB.replace("web:1", "web:2");
        let without_db = |prune: proto::PrunePolicy| {
            let mut request = self.deploy(&updated);
            request.options.get_or_insert_default().set_prune(prune);
            request
        };
        let validated = |request| proto::DeployRequest { validate_only: true, wait: 0, ..request };
        fn done<T>(answer: Result<T, Status>) -> Result<(), Status> {
            answer.map(|_| ())
        }
        match deed {
            Deed::Scale => {
                let request = scale(&self.namespace, "lent", "web", 3);
                done(caller.scale(proto::ScaleRequest { validate_only: true, wait: 0, ..request }).await)
            }
            Deed::Count => {
                let text = format!("{updated}{DB}").replace("count: 2", "count: 3");
                done(caller.deploy(validated(self.deploy(&text))).await)
            }
            Deed::Prune => {
                done(caller.deploy(validated(without_db(proto::PrunePolicy::DeleteRemoved))).await)
            }
            Deed::PruneNothing => done(caller.deploy(validated(without_db(proto::PrunePolicy::Keep))).await),
            Deed::Back => {
                let (namespace, name) = (self.namespace.to_string(), "lent".to_owned());
                let request = proto::RollbackRequest {
                    namespace,
                    name,
                    revision: 1,
                    validate_only: true,
                    ..Default::default()
                };
                done(caller.rollback(request).await)
            }
            Deed::Teardown | Deed::TeardownWithGrace => {
                let mut request = teardown(&self.namespace, "lent");
                request.set_wait(proto::TeardownWait::None);
                request.validate_only = true;
                if matches!(deed, Deed::TeardownWithGrace) {
                    request.grace_period = Some(prost_types::Duration { seconds: 1, nanos: 0 });
                }
                done(caller.teardown(request).await)
            }
        }
    }

    /// Whether the API server would let the caller do the same.
    async fn by_himself(&self, client: &Client, deed: Deed) -> bool {
        if !may_look(client, &self.namespace).await {
            return false;
        }
        let is_of_db = |object: &&Value| object["metadata"]["labels"]["name"] == "db";
        // A Deploy must be allowed to make all that its template becomes, before it is known what is there.
        let mut made = match deed {
            Deed::Count => self.objects.clone(),
            Deed::Prune | Deed::PruneNothing => {
                self.objects.iter().filter(|object| !is_of_db(object)).cloned().collect()
            }
            Deed::Scale | Deed::Back | Deed::Teardown | Deed::TeardownWithGrace => Vec::new(),
        };
        made.iter_mut().for_each(|object| object["metadata"]["name"] = json!("absent"));
        if !may_apply(client, &self.namespace, &made).await {
            return false;
        }
        let deletes: Vec<&Value> = match deed {
            Deed::Teardown | Deed::TeardownWithGrace => self.objects.iter().collect(),
            Deed::Prune => self.objects.iter().filter(is_of_db).collect(),
            Deed::Scale | Deed::Count | Deed::PruneNothing | Deed::Back => Vec::new(),
        };
        for object in deletes {
            if !self.may_delete(client, text(&object["kind"]), text(&object["metadata"]["name"])).await {
                return false;
            }
        }
        let patches = matches!(deed, Deed::Scale | Deed::Count | Deed::Back);
        let is_classic = self.profile == proto::Profile::Classic;
        // That controller replaces no pods by itself.
        let deletes_pods = match deed {
            Deed::TeardownWithGrace => true,
            Deed::Back => is_classic,
            _ => false,
        };
        (!patches || self.may_patch(client).await)
            && (!deletes_pods || self.may_delete(client, "Pod", "absent").await)
    }

    fn api(&self, client: &Client, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), &self.namespace, &resource_of(kind))
    }

    async fn may_delete(&self, client: &Client, kind: &str, name: &str) -> bool {
        let parameters = DeleteParams { dry_run: true, ..DeleteParams::default() };
        !is_forbidden(self.api(client, kind).delete(name, &parameters).await)
    }

    /// Whether the controller of the component that is counted may be changed.
    async fn may_patch(&self, client: &Client) -> bool {
        let is_controller = |object: &&Value| !object["spec"]["replicas"].is_null();
        let controller = self.objects.iter().find(is_controller).expect("a controller");
        let parameters = PatchParams { dry_run: true, ..PatchParams::default() };
        let patch = Patch::Merge(json!({"spec": {"replicas": 3}}));
        let api = self.api(client, text(&controller["kind"]));
        !is_forbidden(api.patch(text(&controller["metadata"]["name"]), &parameters, &patch).await)
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

async fn lends_nothing(name: &str, profile: proto::Profile) {
    let namespace = namespace(name).await;
    let verbs = [("get", 0.95), ("list", 0.95), ("create", 0.8), ("patch", 0.8), ("delete", 0.75)];
    let roles = roles(&namespace, &verbs);
    let adapter = adapter_for(&namespace, &roles).await;
    let first = format!("{WEB}{DB}");
    let second = first.replace("web:1", "web:2");
    let objects = objects(&Adapter::sandbox().await, &namespace, &second, profile).await;
    let later = Later { namespace, profile, objects };
    let own = Adapter::real(control_plane(), User::Adapter).await;
    for text in [first, second] {
        own.deployments().deploy(later.deploy(&text)).await.expect("deployed");
    }
    let mut outcomes = BTreeSet::new();
    for (user, verbs) in &roles {
        let client = impersonated(user).await;
        let mut caller = with_token(adapter.channel(), &token(user));
        for deed in DEEDS {
            let himself = later.by_himself(&client, deed).await;
            let answer = later.through_us(&mut caller, deed).await;
            let us = went_through(&answer);
            assert_eq!(us, himself, "seed {}, {deed:?} {profile:?}, {user} {verbs:?}: {answer:?}", seed());
            outcomes.insert(us);
        }
    }
    assert_eq!(outcomes.len(), 2, "some may and some may not");
}

#[tokio::test]
async fn what_is_there_is_changed_as_its_caller_could_in_classic() {
    lends_nothing("callers-lent-classic", proto::Profile::Classic).await;
}

#[tokio::test]
async fn what_is_there_is_changed_as_its_caller_could_in_modern() {
    lends_nothing("callers-lent-modern", proto::Profile::Modern).await;
}
