//! What must hold on any cluster: run on the real control plane and on the sandbox.

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace as CoreNamespace};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::watch_deployment_response::Event;
use tonic::Code;

use crate::support::adapter::{Adapter, deploy, modern, reason, scale, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::shown;
use crate::support::namespace::{Namespace, namespace};
use crate::support::survey::{Survey, translated};
use crate::support::templates::{WORDPRESS, chain, rich_chain, wordpress_at};

/// An adapter, a namespace of its own, and a client to look at it.
struct Place {
    adapter: Adapter,
    client: Client,
    namespace: String,
    real: Option<Namespace>,
}

impl Place {
    async fn real() -> Self {
        let real = namespace("portable").await;
        let adapter = Adapter::real(control_plane(), User::Adapter).await;
        Self { adapter, client: real.client.clone(), namespace: real.to_string(), real: Some(real) }
    }

    async fn sandbox() -> Self {
        let adapter = Adapter::sandbox().await;
        let client = adapter.sandbox_client();
        let name = "portable".to_owned();
        let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let object = CoreNamespace { metadata, ..CoreNamespace::default() };
        Api::all(client.clone()).create(&PostParams::default(), &object).await.expect("a namespace");
        Self { adapter, client, namespace: name, real: None }
    }

    async fn survey(&self) -> Survey {
        Survey::of(&self.client, &self.namespace).await
    }

    /// Everything of the deployment is there, and is what the template says.
    async fn is_whole(&self, name: &str, template: &str) -> Survey {
        let survey = self.survey().await;
        assert_eq!(survey.faults(name), Vec::<String>::new(), "{:#?}", survey.names());
        assert_eq!(survey.members(name), translated(&self.adapter, name, template).await);
        survey
    }

    async fn deploy(&self, name: &str, template: &str) -> proto::DeployResponse {
        self.send(deploy(&self.namespace, name, template)).await
    }

    /// Deploys with profile MODERN.
    async fn deploy_modern(&self, name: &str, template: &str) -> proto::DeployResponse {
        self.send(modern(deploy(&self.namespace, name, template))).await
    }

    async fn send(&self, request: proto::DeployRequest) -> proto::DeployResponse {
        self.adapter.deployments().deploy(request).await.expect("deployed").into_inner()
    }

    async fn get(&self, name: &str) -> proto::Deployment {
        shown(&self.adapter, &self.namespace, name, proto::DeploymentView::Full).await
    }

    /// Scales WP and returns how many of it are wanted and ready then.
    async fn scale(&self, replicas: i32) -> (i32, i32) {
        let request = scale(&self.namespace, "wp", "WP", replicas);
        let answer = self.adapter.deployments().scale(request).await.expect("scaled").into_inner();
        let component = &answer.deployment.as_ref().expect("a deployment").components[0];
        (component.desired_replicas(), component.ready_replicas())
    }

    async fn teardown(&self, name: &str) {
        let request = teardown(&self.namespace, name);
        assert!(self.adapter.deployments().teardown(request).await.expect("torn down").into_inner().complete);
    }
}

async fn a_template_runs_is_told_about_and_goes(place: Place) {
    let answer = place.deploy("wp", WORDPRESS).await;
    assert_eq!(answer.outcome(), proto::DeployOutcome::Created);
    assert!(answer.changes.iter().all(|change| change.action() == proto::ObjectAction::Create));
    place.is_whole("wp", WORDPRESS).await;
    let deployment = place.get("wp").await;
    assert_eq!(deployment.state(), proto::DeploymentState::Active);
    assert_eq!(deployment.template_name, "Wordpress with MySQL");
    assert_eq!(deployment.components.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["wp", "db"]);
    assert!(deployment.components.iter().all(|one| one.ready_replicas() == 1));
    place.teardown("wp").await;
    assert_eq!(place.survey().await.names(), Vec::<&str>::new());
    let request = proto::GetDeploymentRequest {
        namespace: place.namespace.clone(),
        name: "wp".to_owned(),
        ..proto::GetDeploymentRequest::default()
    };
    let missing = place.adapter.deployments().get_deployment(request).await.expect_err("it is gone");
    assert_eq!((missing.code(), reason(&missing).as_str()), (Code::NotFound, "DEPLOYMENT_NOT_FOUND"));
}

async fn a_list_shows_all_deployments_page_by_page(place: Place) {
    for name in ["one", "two", "three"] {
        let template = WORDPRESS
            .replace("WP", name)
            .replace("DB", &format!("{name}-db"))
            .replace("host_port", "hostPort");
        place.deploy(name, &template).await;
    }
    let mut names = Vec::new();
    let mut token = String::new();
    loop {
        let request = proto::ListDeploymentsRequest {
            namespace: place.namespace.clone(),
            page_size: 2,
            page_token: token,
            ..proto::ListDeploymentsRequest::default()
        };
        let page = place.adapter.deployments().list_deployments(request).await.expect("a page").into_inner();
        assert!(page.deployments.len() <= 2);
        names.extend(page.deployments.into_iter().map(|deployment| deployment.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["one", "three", "two"]);
}

async fn a_watch_shows_every_step_until_ready_and_until_gone(place: Place) {
    let request = deploy(&place.namespace, "wp", WORDPRESS);
    is_watched(place, request).await;
}

async fn a_watch_shows_every_step_of_modern_too(place: Place) {
    let request = modern(deploy(&place.namespace, "wp", WORDPRESS));
    is_watched(place, request).await;
}

async fn is_watched(place: Place, request: proto::DeployRequest) {
    let request = proto::DeployRequest { wait: 0, ..request };
    place.adapter.deployments().deploy(request).await.expect("deployed");
    let watch = |until: proto::WatchUntil| proto::WatchDeploymentRequest {
        namespace: place.namespace.clone(),
        name: "wp".to_owned(),
        until: until.into(),
        ..proto::WatchDeploymentRequest::default()
    };
    let mut client = place.adapter.deployments();
    let ready = client.watch_deployment(watch(proto::WatchUntil::Ready)).await.expect("a watch").into_inner();
    let (states, end) = watched(ready).await;
    assert_eq!(end, proto::WatchCompleteReason::Ready);
    assert_eq!(states.last(), Some(&proto::DeploymentState::Active));
    let gone = client.watch_deployment(watch(proto::WatchUntil::Gone)).await.expect("a watch").into_inner();
    let ((_, end), ()) = tokio::join!(watched(gone), place.teardown("wp"));
    assert_eq!(end, proto::WatchCompleteReason::Gone);
}

/// Reads a watch to its end: the states it showed, and why it ended.
async fn watched(
    stream: tonic::Streaming<proto::WatchDeploymentResponse>,
) -> (Vec<proto::DeploymentState>, proto::WatchCompleteReason) {
    let messages = tokio::time::timeout(std::time::Duration::from_secs(30), stream.collect::<Vec<_>>()).await;
    let mut states = Vec::new();
    let mut end = None;
    for message in messages.expect("the watch ends in time") {
        assert!(end.is_none(), "a message after the last");
        match message.expect("a message").event.expect("an event") {
            Event::Snapshot(deployment) => states.push(deployment.state()),
            Event::Heartbeat(_) => {}
            Event::Complete(complete) => end = Some(complete.reason()),
        }
    }
    (states, end.expect("a reason"))
}

async fn scaling_up_down_to_nothing_and_back(place: Place) {
    place.deploy("wp", WORDPRESS).await;
    let first = place.survey().await.uid("Pod wp-pod").expect("a pod");
    assert_eq!(place.scale(3).await, (3, 3));
    let scaled = place.survey().await;
    assert_eq!(scaled.uid("Pod wp-pod").as_ref(), Some(&first), "the pod is kept");
    assert_eq!(scaled.faults("wp"), Vec::<String>::new());
    assert!(scaled.objects.contains_key("Service wp"));
    assert_eq!(place.scale(0).await, (0, 0));
    let pods: Vec<String> = place.survey().await.of_kind("Pod").map(|(name, _)| name.to_owned()).collect();
    assert_eq!(pods, ["db-pod"]);
    assert_eq!(place.scale(1).await, (1, 1));
    place.teardown("wp").await;
    assert_eq!(place.survey().await.names(), Vec::<&str>::new());
}

async fn deploying_the_same_again_writes_nothing(place: Place) {
    place.deploy("wp", &wordpress_at(2)).await;
    let versions = |survey: &Survey| {
        let version =
            |(name, object): (&String, &kube::api::DynamicObject)| (name.clone(), object.resource_version());
        // The head records the outcome a moment later.
        survey
            .objects
            .iter()
            .map(version)
            .filter(|(name, _)| !name.starts_with("ConfigMap"))
            .collect::<Vec<_>>()
    };
    let before = versions(&place.survey().await);
    let again = place.deploy("wp", &wordpress_at(2)).await;
    assert_eq!(again.outcome(), proto::DeployOutcome::Unchanged);
    assert_eq!(versions(&place.survey().await), before);
}

async fn an_update_changes_makes_and_removes(place: Place) {
    place.deploy("app", &chain(3)).await;
    let before = place.survey().await;
    // Another image for all, one component more; then two fewer.
    let larger = chain(4).replace("example/component", "example/other");
    let answer = place.deploy("app", &larger).await;
    assert_eq!(answer.outcome(), proto::DeployOutcome::Updated);
    let after = place.is_whole("app", &larger).await;
    assert_eq!(after.uid("Pod c0-pod"), before.uid("Pod c0-pod"), "an image changes in place");
    for (name, pod) in after.of_kind("Pod") {
        let image = pod.data.pointer("/spec/containers/0/image").and_then(|image| image.as_str());
        assert!(image.is_some_and(|image| image.starts_with("example/other")), "{name} runs {image:?}");
    }
    let smaller = chain(2);
    place.deploy("app", &smaller).await;
    let last = place.is_whole("app", &smaller).await;
    assert_eq!(last.of_kind("Pod").count(), 2);
}

async fn what_belongs_to_others_is_refused_and_untouched(place: Place) {
    place.deploy("one", WORDPRESS).await;
    let before = place.survey().await;
    let request = deploy(&place.namespace, "two", WORDPRESS);
    let refused = place.adapter.deployments().deploy(request).await.expect_err("the names are taken");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::AlreadyExists, "OBJECT_NOT_OWNED"));
    assert!(refused.message().contains("one"), "{}", refused.message());
    let after = place.survey().await;
    assert_eq!(after.names(), before.names(), "nothing of the second is left");
    for name in ["Pod wp-pod", "Pod db-pod", "Service db-1"] {
        assert_eq!(after.uid(name), before.uid(name));
    }
    // A person's object is as safe as another deployment's.
    let api: Api<ConfigMap> = Api::namespaced(place.client.clone(), &place.namespace);
    let metadata = ObjectMeta { name: Some("panamax-deployment-mine".to_owned()), ..ObjectMeta::default() };
    let mine = api.create(&PostParams::default(), &ConfigMap { metadata, ..ConfigMap::default() }).await;
    let request = deploy(&place.namespace, "mine", &chain(1));
    let refused = place.adapter.deployments().deploy(request).await.expect_err("the record's name is taken");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::AlreadyExists, "OBJECT_NOT_OWNED"));
    let kept = api.get("panamax-deployment-mine").await.expect("it is still there");
    assert_eq!(kept.resource_version(), mine.expect("a ConfigMap").resource_version());
}

async fn a_teardown_without_grace_or_twice_sees_every_object_go(place: Place) {
    place.deploy("wp", &wordpress_at(2)).await;
    // What is removed before the delete is answered is as gone as what goes later.
    let request = proto::TeardownRequest {
        grace_period: Some(prost_types::Duration::default()),
        allow_missing: true,
        ..teardown(&place.namespace, "wp")
    };
    let (mut first, mut second) = (place.adapter.deployments(), place.adapter.deployments());
    let (first, second) = tokio::join!(first.teardown(request.clone()), second.teardown(request));
    for torn_down in [first, second] {
        assert!(torn_down.expect("torn down").into_inner().complete);
    }
    assert_eq!(place.survey().await.names(), Vec::<&str>::new());
}

async fn modern_runs_is_told_about_and_goes(place: Place) {
    let template = rich_chain(2);
    let answer = place.deploy_modern("rich", &template).await;
    assert_eq!(answer.outcome(), proto::DeployOutcome::Created);
    let first = place.survey().await;
    assert_eq!(first.faults("rich"), Vec::<String>::new(), "{:#?}", first.names());
    for kind in ["Deployment", "PersistentVolumeClaim", "ReplicaSet", "Pod", "Service"] {
        assert_eq!(first.of_kind(kind).count(), 2, "{kind} among {:#?}", first.names());
    }
    for name in ["Deployment c0", "Deployment c1", "Secret c0-environment", "Secret c1-environment"] {
        assert!(first.objects.contains_key(name), "{name} among {:#?}", first.names());
    }
    let deployment = place.get("rich").await;
    assert_eq!(deployment.state(), proto::DeploymentState::Active);
    for component in &deployment.components {
        assert_eq!((component.ready_replicas(), component.updated_replicas()), (1, 1), "{component:?}");
    }
    let again = place.deploy_modern("rich", &template).await;
    assert_eq!(again.outcome(), proto::DeployOutcome::Unchanged, "{:#?}", again.changes);
    let request = proto::TeardownRequest {
        volumes: proto::VolumePolicy::Delete.into(),
        ..teardown(&place.namespace, "rich")
    };
    let torn_down = place.adapter.deployments().teardown(request).await.expect("torn down").into_inner();
    assert!(torn_down.complete);
    assert_eq!(place.survey().await.names(), Vec::<&str>::new());
}

async fn modern_scales_up_down_to_nothing_and_back(place: Place) {
    place.deploy_modern("wp", WORDPRESS).await;
    for count in [3, 0, 1] {
        assert_eq!(place.scale(count).await, (count, count));
    }
    assert_eq!(place.survey().await.faults("wp"), Vec::<String>::new());
    place.teardown("wp").await;
    assert_eq!(place.survey().await.names(), Vec::<&str>::new());
}

async fn modern_rolls_and_keeps_its_volumes(place: Place) {
    let claims = |survey: &Survey| -> Vec<_> {
        survey.of_kind("PersistentVolumeClaim").map(|(name, claim)| (name.to_owned(), claim.uid())).collect()
    };
    place.deploy_modern("rich", &rich_chain(2)).await;
    let before = place.survey().await;
    // One component mounts a claim and is made anew; a Secret alone renews the pods as well.
    let newer = rich_chain(2).replace("example/component", "example/other");
    for newer in [newer.clone(), newer.replace("value: s0", "value: changed")] {
        let answer = place.deploy_modern("rich", &newer).await;
        assert_eq!(answer.outcome(), proto::DeployOutcome::Updated);
    }
    let after = place.survey().await;
    assert_eq!(after.faults("rich"), Vec::<String>::new(), "{:#?}", after.names());
    assert_eq!(claims(&after), claims(&before));
    let mut staying: Vec<_> = after.of_kind("Pod").map(|(_, pod)| pod).collect();
    staying.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    assert_eq!(staying.len(), 2);
    for pod in staying {
        let image = pod.data.pointer("/spec/containers/0/image").and_then(|image| image.as_str());
        assert!(image.is_some_and(|image| image.starts_with("example/other")), "{image:?}");
    }
    place.teardown("rich").await;
    let left = place.survey().await;
    assert_eq!((claims(&left), left.names().len()), (claims(&before), 2), "{:?}", left.names());
}

async fn the_server_tells_about_itself_until_it_shuts_down(mut place: Place) {
    let request = proto::GetServerInfoRequest {};
    let info = place.adapter.server().get_server_info(request).await.expect("an answer").into_inner();
    let cluster = info.cluster.expect("a cluster");
    assert!(cluster.reachable && cluster.version.starts_with('v'), "{cluster:?}");
    assert_eq!(cluster.sandbox, place.real.is_none());
    let mut health = tonic_health::pb::health_client::HealthClient::new(place.adapter.channel());
    let request = tonic_health::pb::HealthCheckRequest::default();
    let mut changes = health.watch(request).await.expect("a watch").into_inner();
    changes.next().await.expect("a message").expect("a health");
    place.adapter.shut_down();
    let told = async {
        let not_serving = tonic_health::ServingStatus::NotServing.into();
        while changes.next().await.expect("it goes on until told").expect("a health").status() != not_serving
        {
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), told).await.expect("health tells first");
}

/// Makes two tests of each function.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod real {
            $(#[tokio::test] async fn $test() { super::$test(super::Place::real().await).await; })+
        }
        mod sandbox {
            $(#[tokio::test] async fn $test() { super::$test(super::Place::sandbox().await).await; })+
        }
    };
}

on_both! {
    a_template_runs_is_told_about_and_goes,
    a_list_shows_all_deployments_page_by_page,
    a_watch_shows_every_step_until_ready_and_until_gone,
    scaling_up_down_to_nothing_and_back,
    deploying_the_same_again_writes_nothing,
    an_update_changes_makes_and_removes,
    a_teardown_without_grace_or_twice_sees_every_object_go,
    what_belongs_to_others_is_refused_and_untouched,
    modern_runs_is_told_about_and_goes,
    modern_scales_up_down_to_nothing_and_back,
    modern_rolls_and_keeps_its_volumes,
    a_watch_shows_every_step_of_modern_too,
    the_server_tells_about_itself_until_it_shuts_down,
}
