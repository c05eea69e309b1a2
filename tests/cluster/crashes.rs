//! The process dies at seeded moments; the next one finishes what it was told, and nothing is left over.

mod modern;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{ResourceQuota, Secret};
use kube::ResourceExt;
use kube::api::PostParams;
use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use serde_json::json;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::support::adapter::{Adapter, Binary, connect, deploy, deploy_at_once, reason, teardown};
use crate::support::calls::Recorder;
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::{eventually, recorded, remove, until};
use crate::support::namespace::{Namespace, namespace};
use crate::support::patience::{Seeded, retried};
use crate::support::survey::{Survey, translated};
use crate::support::templates::chain;

type Client = DeploymentServiceClient<Channel>;

/// Components of the deployments that are interrupted.
const COMPONENTS: usize = 20;
/// Scenarios that run at once.
const AT_ONCE: usize = 3;
/// How long the process may live on after the call that its moment is about.
const LINGER: Duration = Duration::from_millis(15);
/// How often the API server's log is read for that call.
const LOOK: Duration = Duration::from_millis(1);

/// The binary with a lease that is over soon, and a client of it.
async fn start() -> (Binary, Client) {
    let start = || Binary::start(&control_plane().kubeconfig(User::Adapter), &["--lease", "3s"]);
    // Starting blocks; the moments of other scenarios must not wait for it.
    let binary = tokio::task::spawn_blocking(start).await.expect("the binary starts");
    let client = DeploymentServiceClient::new(connect(binary.address).await);
    (binary, client)
}

/// A moment in an operation, by what the cluster has seen of it: that holds on a slow machine and on a fast one.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct Moment {
    /// Calls to the API server that have been made.
    calls: usize,
    /// Time since the last of them.
    then: Duration,
}

/// Moments of an operation, one in each equal part of its calls.
fn moments(seed: u64, count: usize, calls: usize) -> Vec<Moment> {
    let mut seeded = Seeded::new(seed);
    let number = |number: usize| u32::try_from(number).map_or(f64::MAX, f64::from);
    let part = number(calls) / number(count);
    let mut moment = |index| Moment {
        calls: (0..=calls)
            .rev()
            .find(|calls| number(*calls) <= (number(index) + seeded.next()) * part)
            .unwrap_or(0),
        then: LINGER.mul_f64(seeded.next()),
    };
    (0..count).map(&mut moment).collect()
}

/// Kills the process at a moment of a call, or when the call is answered; returns whether it was.
async fn kill_within<T>(
    mut binary: Binary,
    moment: Moment,
    mut calls: Recorder,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> bool {
    let come = async {
        while calls.requests().len() < moment.calls {
            tokio::time::sleep(LOOK).await;
        }
        tokio::time::sleep(moment.then).await;
    };
    let mut call = pin!(call);
    let answer = tokio::select! {
        answer = &mut call => Some(answer),
        () = come => None,
    };
    binary.kill();
    let answer = match answer {
        Some(answer) => answer,
        None => call.await,
    };
    match answer {
        Ok(_) => true,
        Err(status) => {
            let broken = [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::Internal];
            assert!(broken.contains(&status.code()), "{status:?}");
            false
        }
    }
}

/// What a crash left behind, in a few words.
async fn left(namespace: &Namespace) -> String {
    let survey = Survey::of(&namespace.client, namespace).await;
    let Some(head) = survey.head("app") else { return format!("{} objects, no head", survey.objects.len()) };
    let held =
        head.operation.as_ref().map_or_else(String::new, |operation| format!(" by {:?}", operation.kind));
    let members = survey.objects.keys().filter(|name| !name.contains("panamax-deployment"));
    format!("{}{held}, {} of {} members", head.phase.as_str(), members.count(), head.inventory.len())
}

/// Everything that these objects are, ready; returns what stands there.
async fn is_whole(namespace: &Namespace, members: &BTreeSet<String>) -> Survey {
    let survey = Survey::of(&namespace.client, namespace).await;
    assert_eq!(survey.faults("app"), Vec::<String>::new(), "{:#?}", survey.names());
    assert_eq!(survey.members("app"), *members);
    survey
}

/// Tears down with the process that came after the crash; nothing may be left.
async fn leaves_nothing(namespace: &Namespace, client: &mut Client) {
    let torn_down = client.teardown(teardown(namespace, "app")).await.expect("torn down");
    assert!(torn_down.into_inner().complete);
    let survey = Survey::of(&namespace.client, namespace).await;
    assert_eq!(survey.names(), Vec::<&str>::new());
}

/// How one scenario went: the calls of the undisturbed operation, or what was left and how long recovery took.
struct Run {
    calls: usize,
    time: Duration,
    left: String,
}

/// Counts an operation's calls, then interrupts it at that many moments, each in a namespace of its own.
async fn interrupt<F, Fut>(what: &str, seed: u64, count: usize, scenario: F)
where
    F: Fn(Option<Moment>) -> Fut,
    Fut: Future<Output = Run>,
{
    let undisturbed = scenario(None).await;
    eprintln!(
        "crashes: {what} makes {} calls in {:.1?}; killed at {count} moments of seed {seed}",
        undisturbed.calls, undisturbed.time
    );
    let runs = moments(seed, count, undisturbed.calls).into_iter().map(|moment| {
        let run = scenario(Some(moment));
        async move { (moment, run.await) }
    });
    let runs: Vec<_> = stream::iter(runs).buffered(AT_ONCE).collect().await;
    for (Moment { calls, then }, Run { time, left, .. }) in runs {
        eprintln!(
            "crashes: {what}, killed {then:>6.1?} after call {calls:>2}: {left}; recovered in {time:.1?}"
        );
    }
}

/// Makes a call undisturbed, or interrupts it and lets the next process make it again until nobody is in the way.
///
/// Returns how that went, and the process that lives then with a client of it.
async fn made<T, F, Fut>(namespace: &Namespace, moment: Option<Moment>, call: F) -> (Run, Client, Binary)
where
    F: Fn(Client) -> Fut,
    Fut: Future<Output = Result<Response<T>, Status>>,
{
    let (binary, client) = start().await;
    let mut recorder = Recorder::start(control_plane()).namespace(namespace).user(User::Adapter);
    let Some(moment) = moment else {
        let began = Instant::now();
        call(client.clone()).await.expect("undisturbed");
        let run = Run { calls: recorder.requests().len(), time: began.elapsed(), left: String::new() };
        return (run, client, binary);
    };
    let answered = kill_within(binary, moment, recorder, call(client)).await;
    let mut left = left(namespace).await;
    if answered {
        left.push_str(", answered");
    }
    let (binary, client) = start().await;
    let began = Instant::now();
    let (again, calls) = retried(|| call(client.clone())).await;
    if let Err(status) = again {
        // What a Teardown has removed already is a good end too.
        let end = (status.code(), reason(&status));
        assert_eq!(end, (Code::NotFound, "DEPLOYMENT_NOT_FOUND".to_owned()), "{status:?}");
        left.push_str(", then gone");
    }
    left.push_str(&format!("; {calls} tries"));
    (Run { calls, time: began.elapsed(), left }, client, binary)
}

/// Deploys what a scenario begins with.
async fn prepared(prefix: &str, template: &str) -> (Namespace, Adapter) {
    let namespace = namespace(prefix).await;
    // Another user, so that its calls are not taken for those of the process.
    let adapter = Adapter::real(control_plane(), User::Admin).await;
    adapter.deployments().deploy(deploy(&namespace, "app", template)).await.expect("deployed");
    (namespace, adapter)
}

/// Waits until the template runs, with a call that changes nothing more.
async fn is_ready(namespace: &Namespace, client: &Client, template: &str) {
    let (ready, _) = retried(|| {
        let mut client = client.clone();
        let request = deploy(namespace, "app", template);
        async move { client.deploy(request).await }
    })
    .await;
    let deployment = ready.expect("ready").deployment.expect("a deployment");
    assert_eq!(deployment.state(), proto::DeploymentState::Active);
    assert_eq!(deployment.components.len(), template.matches("- name: ").count());
}

#[tokio::test]
async fn a_deploy_that_dies_is_finished_by_the_same_call() {
    let template = chain(COMPONENTS);
    let scenario = |moment| {
        let template = template.clone();
        async move {
            let namespace = namespace("crash-deploy").await;
            let adapter = Adapter::real(control_plane(), User::Admin).await;
            let request = deploy_at_once(&namespace, "app", &template);
            let call = |mut client: Client| {
                let request = request.clone();
                async move { client.deploy(request).await }
            };
            let (run, mut client, _binary) = made(&namespace, moment, call).await;
            is_ready(&namespace, &client, &template).await;
            is_whole(&namespace, &translated(&adapter, "app", &template).await).await;
            leaves_nothing(&namespace, &mut client).await;
            run
        }
    };
    interrupt("a Deploy", 1, 20, scenario).await;
}

#[tokio::test]
async fn an_update_that_dies_is_finished_by_the_same_call() {
    // Another image for all, and one component fewer.
    let template = chain(COMPONENTS - 1).replace("example/component", "example/other");
    let scenario = |moment| {
        let template = template.clone();
        async move {
            let (namespace, adapter) = prepared("crash-update", &chain(COMPONENTS)).await;
            let request = deploy_at_once(&namespace, "app", &template);
            let call = |mut client: Client| {
                let request = request.clone();
                async move { client.deploy(request).await }
            };
            let (run, mut client, _binary) = made(&namespace, moment, call).await;
            is_ready(&namespace, &client, &template).await;
            let survey = is_whole(&namespace, &translated(&adapter, "app", &template).await).await;
            for (name, pod) in survey.of_kind("Pod") {
                let image = pod.data.pointer("/spec/containers/0/image").and_then(|image| image.as_str());
                assert!(
                    image.is_some_and(|image| image.starts_with("example/other")),
                    "{name} runs {image:?}"
                );
            }
            leaves_nothing(&namespace, &mut client).await;
            run
        }
    };
    interrupt("an update", 2, 8, scenario).await;
}

#[tokio::test]
async fn a_teardown_that_dies_is_finished_by_the_next() {
    let scenario = |moment| async move {
        let (namespace, _adapter) = prepared("crash-teardown", &chain(COMPONENTS)).await;
        let call = |mut client: Client| {
            let request = teardown(&namespace, "app");
            async move { client.teardown(request).await }
        };
        let (run, _client, _binary) = made(&namespace, moment, call).await;
        let survey = Survey::of(&namespace.client, &namespace).await;
        assert_eq!(survey.names(), Vec::<&str>::new());
        run
    };
    interrupt("a Teardown", 3, 8, scenario).await;
}

#[tokio::test]
async fn a_scale_that_dies_is_finished_by_the_same_call() {
    let scenario = |moment| async move {
        let (namespace, adapter) = prepared("crash-scale", &chain(COMPONENTS)).await;
        let before = Survey::of(&namespace.client, &namespace).await;
        // Five Pods become controllers.
        let request = proto::ScaleRequest {
            namespace: namespace.to_string(),
            name: "app".to_owned(),
            replicas: (0..5).map(|index| (format!("C{index}"), 2)).collect(),
            ..proto::ScaleRequest::default()
        };
        let call = |mut client: Client| {
            let request = request.clone();
            async move { client.scale(request).await }
        };
        let (run, mut client, _binary) = made(&namespace, moment, call).await;
        let waiting = proto::ScaleRequest { wait: proto::WaitMode::Ready.into(), ..request.clone() };
        let ready =
            client.scale(waiting).await.expect("ready").into_inner().deployment.expect("a deployment");
        assert!(ready.components[..5].iter().all(|component| component.ready_replicas() == 2));
        // Scaling makes a controller of each Pod, and the Service that its replicas share.
        let mut members = translated(&adapter, "app", &chain(COMPONENTS)).await;
        for index in 0..5 {
            members.remove(&format!("Pod c{index}-pod"));
            members.insert(format!("ReplicationController c{index}-replication-controller"));
            members.insert(format!("Service c{index}"));
        }
        let after = is_whole(&namespace, &members).await;
        for index in 0..COMPONENTS {
            let pod = format!("Pod c{index}-pod");
            assert_eq!(after.uid(&pod), before.uid(&pod), "{pod} was lost");
        }
        leaves_nothing(&namespace, &mut client).await;
        run
    };
    interrupt("a Scale", 4, 8, scenario).await;
}

#[tokio::test]
async fn a_teardown_after_a_crash_needs_no_other_call_first() {
    let scenario = |moment| async move {
        let namespace = namespace("crash-straight").await;
        let (binary, client) = start().await;
        let request = deploy_at_once(&namespace, "app", &chain(COMPONENTS));
        let mut deploying = client.clone();
        let calls = Recorder::start(control_plane()).namespace(&namespace).user(User::Adapter);
        kill_within(binary, moment, calls, deploying.deploy(request)).await;
        let (_binary, client) = start().await;
        let (torn_down, _) = retried(|| {
            let mut client = client.clone();
            let request = proto::TeardownRequest { allow_missing: true, ..teardown(&namespace, "app") };
            async move { client.teardown(request).await }
        })
        .await;
        assert!(torn_down.expect("torn down").complete);
        let survey = Survey::of(&namespace.client, &namespace).await;
        assert_eq!(survey.names(), Vec::<&str>::new());
    };
    // As many calls as a Deploy of so many components makes.
    let calls = 2 * COMPONENTS + 3;
    stream::iter(moments(5, 6, calls)).map(scenario).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

/// Updates until a holder has died with its revision stored; returns the image's tag.
async fn died_with_a_stored_revision(namespace: &Namespace) -> String {
    for number in 2.. {
        let (mut binary, mut client) = start().await;
        let tag = format!("later-{number}");
        let request =
            deploy_at_once(namespace, "app", &chain(COMPONENTS).replace("component:", &format!("{tag}:")));
        let call = async { client.deploy(request).await };
        let prefix = format!("panamax-deployment-app-r{number}-");
        let is_stored = async {
            let stored =
                async || namespace.api::<Secret>().list_metadata(&Default::default()).await.expect("a list");
            while !stored().await.items.iter().any(|secret| secret.name_any().starts_with(&prefix)) {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            _ = call => {}
            () = is_stored => {}
        }
        binary.kill();
        let survey = Survey::of(&namespace.client, namespace).await;
        if survey.head("app").is_some_and(|head| head.operation.is_some()) {
            return tag;
        }
    }
    unreachable!("it is tried until it does")
}

#[tokio::test]
async fn a_take_over_that_is_refused_for_now_keeps_what_is_stored_and_goes_on() {
    let (namespace, _) = prepared("crash-quota", &chain(COMPONENTS)).await;
    let tag = died_with_a_stored_revision(&namespace).await;
    let secrets = namespace.api::<Secret>().list(&Default::default()).await.expect("Secrets").items.len();
    let quota =
        json!({"metadata": {"name": "few"}, "spec": {"hard": {"count/secrets": secrets.to_string()}}});
    let quota: ResourceQuota = serde_json::from_value(quota).expect("a quota");
    namespace.api().create(&PostParams::default(), &quota).await.expect("it can be made");
    let counts = |quota: Option<&ResourceQuota>| {
        quota.and_then(|quota| quota.status.as_ref()?.used.as_ref()).is_some_and(|used| !used.is_empty())
    };
    until(&namespace, "few", counts).await;
    let (_binary, mut client) = start().await;
    let get = || proto::GetDeploymentRequest {
        namespace: namespace.to_string(),
        name: "app".to_owned(),
        ..Default::default()
    };
    let told = eventually(async || {
        let answer = client.clone().get_deployment(get()).await.expect("an answer").into_inner();
        match answer.deployment.expect("a deployment").message {
            message if message.contains("could not be put in force yet, and is tried again") => Ok(message),
            message => Err(message),
        }
    });
    let told = told.await;
    assert!(told.contains("ResourceQuota few") && !told.contains("was not written"), "{told}");
    remove::<ResourceQuota>(&namespace, "few").await;
    // Nobody calls for it.
    recorded(&namespace, "app", "ACTIVE").await;
    let later = chain(COMPONENTS).replace("component:", &format!("{tag}:"));
    let same = client.deploy(deploy(&namespace, "app", &later)).await.expect("ready").into_inner();
    assert_eq!(same.outcome(), proto::DeployOutcome::Unchanged);
    leaves_nothing(&namespace, &mut client).await;
}
