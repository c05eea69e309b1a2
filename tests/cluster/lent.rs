//! No right is lent: through the adapter a caller does exactly what the API server would let it do by itself.
//!
//! Roles are drawn by lot. For each role and template the objects that the template becomes are applied as dry runs in the
//! caller's name; the adapter is asked for a plan with the caller's token. `LENT_ALL=1` runs all roles, `LENT_SEED` draws
//! others.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use panamax_kubernetes_adapter::callers::{Authentication, Authorization};
use panamax_kubernetes_adapter::clock::Clock;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::plan_deploy_request::TemplateSource;
use panamax_kubernetes_adapter::proto::translate_template_request::TemplateSource as Translated;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::refusals::GOOD;
use crate::support::adapter::{Adapter, reason};
use crate::support::bearer::with_token;
use crate::support::control_plane::{User, control_plane};
use crate::support::namespace::{Namespace, namespace};
use crate::support::templates::{WORDPRESS, chain, rich_chain, wordpress_at};

/// Roles of a whole run, and of one in `cargo test`.
const ALL: usize = 30;
const SOME: usize = 6;
/// What templates become, as resources with their groups.
const RESOURCES: [(&str, &str, &str); 6] = [
    ("", "pods", "Pod"),
    ("", "services", "Service"),
    ("", "replicationcontrollers", "ReplicationController"),
    ("", "persistentvolumeclaims", "PersistentVolumeClaim"),
    ("", "secrets", "Secret"),
    ("apps", "deployments", "Deployment"),
];
/// What somebody looks at who looks at a deployment; no answer shows a Secret.
const SHOWN: [usize; 5] = [0, 1, 2, 3, 5];

/// Twelve templates, each with its profile.
fn templates() -> Vec<(String, proto::Profile)> {
    let texts = [
        GOOD.to_owned(),
        WORDPRESS.to_owned(),
        wordpress_at(2),
        chain(3),
        rich_chain(2),
        GOOD.replace("  ports:", "  environment: [{variable: DB_PASSWORD, value: x}]\n  ports:"),
    ];
    let both = [proto::Profile::Classic, proto::Profile::Modern];
    texts.into_iter().flat_map(|text| both.map(|profile| (text.clone(), profile))).collect()
}

/// The verbs of a role, for each resource.
pub(super) type Verbs = Vec<Vec<&'static str>>;

/// The roles of a test, by their users: everything and nothing, and others by lot, of which each verb has its odds.
pub(super) fn roles(namespace: &Namespace, odds: &[(&'static str, f64)]) -> BTreeMap<String, Verbs> {
    let mut chance = StdRng::seed_from_u64(seed());
    let mut draw =
        || odds.iter().filter(|(_, odds)| chance.random_bool(*odds)).map(|(verb, _)| *verb).collect();
    let all = || odds.iter().map(|(verb, _)| *verb).collect();
    let count = if std::env::var_os("LENT_ALL").is_some() { ALL } else { SOME };
    let role = |number| {
        let verbs = RESOURCES.iter().map(|_| match number {
            0 => all(),
            1 => Vec::new(),
            _ => draw(),
        });
        (format!("lent-{}-{number}", &**namespace), verbs.collect())
    };
    (0..count).map(role).collect()
}

pub(super) fn seed() -> u64 {
    std::env::var("LENT_SEED").map_or(1, |seed| seed.parse().expect("a number"))
}

/// An adapter that knows the users of these roles by tokens and asks the API server for their rights.
pub(super) async fn adapter_for(namespace: &Namespace, roles: &BTreeMap<String, Verbs>) -> Adapter {
    let admin = namespace.plane.client(User::Admin).await;
    for (user, verbs) in roles {
        grant(namespace, &admin, user, verbs).await;
    }
    for (user, verbs) in roles {
        let learnt = until_learnt(namespace, &admin, user, verbs);
        tokio::time::timeout(Duration::from_secs(30), learnt).await.expect("learnt in time");
    }
    let users: Vec<String> = roles.keys().cloned().collect();
    let known = (Authentication::Tokens(tokens(namespace, &users)), Authorization::AccessReview);
    Adapter::to_callers(control_plane(), Clock::system(), known).await
}

/// Whether a call went through; it may fail for want of a right, and for nothing else.
pub(super) fn went_through<T: std::fmt::Debug>(answer: &Result<T, tonic::Status>) -> bool {
    match answer {
        Ok(_) => true,
        Err(error) if reason(error) == "CALLER_FORBIDDEN" => false,
        Err(error) => panic!("{error:?}"),
    }
}

/// Gives a user a role in the namespace.
async fn grant(namespace: &Namespace, admin: &Client, user: &str, verbs: &Verbs) {
    let rules: Vec<Value> = RESOURCES
        .iter()
        .zip(verbs)
        .filter(|(_, verbs)| !verbs.is_empty())
        .map(|((group, resource, _), verbs)| json!({"apiGroups": [group], "resources": [resource], "verbs": verbs}))
        .collect();
    let role: Role =
        serde_json::from_value(json!({"metadata": {"name": user}, "rules": rules})).expect("a role");
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }))
    .expect("a binding");
    let (roles, bindings) =
        (Api::namespaced(admin.clone(), namespace), Api::namespaced(admin.clone(), namespace));
    roles.create(&PostParams::default(), &role).await.expect("a role");
    bindings.create(&PostParams::default(), &binding).await.expect("a binding");
}

/// Waits until the API server knows of a user's role: all of it at once.
async fn until_learnt(namespace: &Namespace, admin: &Client, user: &str, verbs: &Verbs) {
    let mut granted =
        RESOURCES.iter().zip(verbs).flat_map(|(of, verbs)| verbs.iter().map(move |verb| (of, verb)));
    let Some(((group, resource, _), verb)) = granted.next() else { return };
    let review = json!({"metadata": {}, "spec": {"user": user, "resourceAttributes":
        {"namespace": &**namespace, "verb": verb, "group": group, "resource": resource}}});
    let review: SubjectAccessReview = serde_json::from_value(review).expect("a review");
    let reviews = Api::all(admin.clone());
    loop {
        let reviewed: SubjectAccessReview =
            reviews.create(&PostParams::default(), &review).await.expect("an answer");
        if reviewed.status.expect("a verdict").allowed {
            return;
        }
    }
}

/// The API server as a user meets it.
pub(super) async fn impersonated(user: &str) -> Client {
    let kubeconfig = Kubeconfig::read_from(control_plane().kubeconfig(User::Admin)).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let mut config = config.expect("a configuration");
    config.auth_info.impersonate = Some(user.to_owned());
    config.auth_info.impersonate_groups = Some(vec!["system:authenticated".to_owned()]);
    Client::try_from(config).expect("a client")
}

pub(super) fn resource_of(kind: &str) -> ApiResource {
    let (group, _, _) = RESOURCES.iter().find(|(_, _, known)| *known == kind).expect("a kind that is known");
    ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(group, "v1", kind))
}

/// Whether an answer says that the user may not; any other failure is none of this test's.
pub(super) fn is_forbidden<T>(answer: kube::Result<T>) -> bool {
    match answer {
        Ok(_) => false,
        Err(kube::Error::Api(status)) if status.code == 403 => true,
        Err(kube::Error::Api(status)) if status.code == 404 => false,
        Err(error) => panic!("{error}"),
    }
}

/// Whether the user may apply every object, tried as dry runs.
pub(super) async fn may_apply(client: &Client, namespace: &Namespace, objects: &[Value]) -> bool {
    for object in objects {
        let kind = object["kind"].as_str().expect("a kind");
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource_of(kind));
        let name = object["metadata"]["name"].as_str().expect("a name");
        let parameters = PatchParams { dry_run: true, ..PatchParams::apply("tests") };
        if is_forbidden(api.patch(name, &parameters, &Patch::Apply(object)).await) {
            return false;
        }
    }
    true
}

/// Whether the user may look at all that a deployment shows.
pub(super) async fn may_look(client: &Client, namespace: &Namespace) -> bool {
    for index in SHOWN {
        let api: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), namespace, &resource_of(RESOURCES[index].2));
        if is_forbidden(api.get("absent").await) || is_forbidden(api.list(&ListParams::default()).await) {
            return false;
        }
    }
    true
}

/// The objects that a template becomes.
pub(super) async fn objects(
    adapter: &Adapter,
    namespace: &Namespace,
    text: &str,
    profile: proto::Profile,
) -> Vec<Value> {
    let mut options = proto::DeployOptions::default();
    options.set_profile(profile);
    let mut request = proto::TranslateTemplateRequest {
        namespace: namespace.to_string(),
        name: "lent".to_owned(),
        template_source: Some(Translated::TemplateYaml(text.to_owned())),
        options: Some(options),
        object_manifests: true,
        ..Default::default()
    };
    request.set_format(proto::ManifestFormat::Json);
    let answer = adapter.templates().translate_template(request).await.expect("a translation").into_inner();
    answer.objects.iter().map(|object| serde_json::from_str(&object.manifest).expect("an object")).collect()
}

fn plan(namespace: &Namespace, text: &str, profile: proto::Profile) -> proto::PlanDeployRequest {
    let mut options = proto::DeployOptions::default();
    options.set_profile(profile);
    proto::PlanDeployRequest {
        namespace: namespace.to_string(),
        name: "lent".to_owned(),
        template_source: Some(TemplateSource::TemplateYaml(text.to_owned())),
        options: Some(options),
        ..Default::default()
    }
}

pub(super) fn token(user: &str) -> String {
    format!("a-long-token-of-{user}")
}

/// The file of the callers' tokens.
fn tokens(namespace: &Namespace, users: &[String]) -> std::path::PathBuf {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("lent-{}", &**namespace));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path).expect("a file");
    for user in users {
        writeln!(file, "{user} {}", token(user)).expect("a line");
    }
    path
}

#[tokio::test]
async fn through_the_adapter_nobody_does_more_or_less_than_by_himself() {
    let namespace = namespace("callers-lent").await;
    let roles = roles(&namespace, &[("get", 0.9), ("list", 0.9), ("create", 0.85), ("patch", 0.85)]);
    let adapter = adapter_for(&namespace, &roles).await;
    let translator = Adapter::sandbox().await;
    let (mut allowed, mut forbidden) = (0, 0);
    let mut wanted = Vec::new();
    for (text, profile) in templates() {
        wanted.push((objects(&translator, &namespace, &text, profile).await, text, profile));
    }
    for (user, verbs) in &roles {
        let client = impersonated(user).await;
        let mut caller = with_token(adapter.channel(), &token(user));
        for (objects, text, profile) in &wanted {
            let by_himself =
                may_look(&client, &namespace).await && may_apply(&client, &namespace, objects).await;
            let answer = caller.plan_deploy(plan(&namespace, text, *profile)).await;
            let through_us = went_through(&answer);
            assert_eq!(
                through_us,
                by_himself,
                "seed {}, {user} {verbs:?} {profile:?} {text}: {answer:?}",
                seed()
            );
            if through_us { allowed += 1 } else { forbidden += 1 }
        }
        let get = proto::GetDeploymentRequest {
            namespace: namespace.to_string(),
            name: "lent".to_owned(),
            view: 0,
        };
        let looks =
            reason(&caller.get_deployment(get).await.expect_err("it is absent")) == "DEPLOYMENT_NOT_FOUND";
        assert_eq!(looks, may_look(&client, &namespace).await, "seed {}, {user} {verbs:?}", seed());
    }
    assert!(allowed > 0 && forbidden > 0, "{allowed} allowed, {forbidden} forbidden");
}
