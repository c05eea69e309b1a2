//! Operations that meet on one deployment: one of them wins, and nothing is ever left between them.

use std::time::Duration;

use futures::future::join_all;
use panamax_kubernetes_adapter::proto;
use tonic::{Code, Response, Status};

use crate::support::adapter::{Adapter, deploy_at_once, reason, scale, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::namespace::{Namespace, namespace};
use crate::support::patience::{Seeded, in_progress, retried};
use crate::support::survey::{Survey, translated};
use crate::support::templates::chain;

/// Deploys and Teardowns that race, over all workers.
const ROUNDS: usize = 100;
const WORKERS: usize = 4;
/// How far apart two calls of a race may start.
const APART: f64 = 0.120;
/// How long the record may take to follow the cluster.
const PATIENCE: Duration = Duration::from_secs(20);

/// Two templates that share some objects and not others.
fn templates() -> [String; 2] {
    [chain(4), chain(6).replace("example/component", "example/other")]
}

/// How a call in a race ended; panics when it is none of the legitimate ways.
fn ended<T>(result: Result<Response<T>, Status>, what: &str) -> Option<T> {
    match result {
        Ok(answer) => Some(answer.into_inner()),
        Err(status) if in_progress(&status).is_some() => None,
        Err(status) if status.code() == Code::NotFound && reason(&status) == "DEPLOYMENT_NOT_FOUND" => None,
        Err(status) => panic!("{what}: {status:?}"),
    }
}

/// Starts a call some time into a race.
async fn after<T>(seconds: f64, call: impl Future<Output = T>) -> T {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    call.await
}

/// Everything of one of the templates, or nothing; returns which one.
async fn one_or_nothing(adapter: &Adapter, namespace: &Namespace, templates: &[String]) -> Option<usize> {
    let survey = Survey::of(&namespace.client, namespace).await;
    if survey.objects.is_empty() {
        return None;
    }
    let faults = survey.faults("app");
    assert!(faults.is_empty(), "{faults:#?}\nof {:#?}", survey.names());
    let members = survey.members("app");
    for (index, template) in templates.iter().enumerate() {
        if members == translated(adapter, "app", template).await {
            return Some(index);
        }
    }
    panic!("a mixture: {members:#?}");
}

/// Races in one namespace: returns how often nothing was left, and how often each template.
async fn deploys_and_teardowns(worker: usize) -> [usize; 3] {
    let namespace = namespace("races-teardown").await;
    // Every second worker has two adapters that know nothing of each other.
    let first = Adapter::real(control_plane(), User::Adapter).await;
    let second =
        if worker % 2 == 1 { Some(Adapter::real(control_plane(), User::Adapter).await) } else { None };
    let other = second.as_ref().unwrap_or(&first);
    let templates = templates();
    let mut seeded = Seeded::new(u64::try_from(worker).expect("a small number"));
    let mut counts = [0; 3];
    for round in 0..ROUNDS / WORKERS {
        let template = &templates[round % 2];
        let (mut deploys, mut teardowns) = (first.deployments(), other.deployments());
        let deploy = deploys.deploy(deploy_at_once(&namespace, "app", template));
        let teardown = teardowns.teardown(teardown(&namespace, "app"));
        let (deployed, torn_down) =
            tokio::join!(after(seeded.next() * APART, deploy), after(seeded.next() * APART, teardown));
        let deployed = ended(deployed, "Deploy").is_some();
        let torn_down = ended(torn_down, "Teardown").is_some();
        let left = one_or_nothing(&first, &namespace, &templates).await;
        assert!(deployed || torn_down || left.is_none(), "both lost, and {left:?} is there");
        if deployed && !torn_down {
            assert_eq!(left, Some(round % 2), "the Deploy won alone");
        }
        counts[left.map_or(0, |index| index + 1)] += 1;
    }
    counts
}

#[tokio::test]
async fn a_deploy_racing_a_teardown_leaves_everything_or_nothing() {
    let counts = join_all((0..WORKERS).map(deploys_and_teardowns)).await;
    let sum = |index: usize| counts.iter().map(|counts| counts[index]).sum::<usize>();
    eprintln!(
        "races: {ROUNDS} Deploys against Teardowns left nothing {} times, one template {} times, the other {} times",
        sum(0),
        sum(1),
        sum(2)
    );
    assert_eq!(sum(0) + sum(1) + sum(2), ROUNDS);
    // Otherwise the race was none.
    assert!(sum(0) > 0 && sum(1) + sum(2) > 0);
}

#[tokio::test]
async fn of_two_deploys_under_one_name_one_wins_or_they_follow_each_other() {
    let race = |worker: usize| async move {
        let namespace = namespace("races-deploys").await;
        let plane = control_plane();
        let adapters = [Adapter::real(plane, User::Adapter).await, Adapter::real(plane, User::Adapter).await];
        let templates = templates();
        let mut seeded = Seeded::new(100 + u64::try_from(worker).expect("a small number"));
        let mut both = 0;
        for _ in 0..8 {
            let calls = [0, 1].map(|index| {
                let mut client = adapters[index].deployments();
                let request = deploy_at_once(&namespace, "app", &templates[index]);
                let pause = seeded.next() * APART;
                async move { ended(after(pause, client.deploy(request)).await, "Deploy").is_some() }
            });
            let won = join_all(calls).await;
            assert!(won.contains(&true), "both lost");
            both += usize::from(won == [true, true]);
            let left = one_or_nothing(&adapters[0], &namespace, &templates).await.expect("one of them");
            assert!(won[left], "the one that lost is there");
        }
        let gone = adapters[1].deployments().teardown(teardown(&namespace, "app")).await.expect("torn down");
        assert!(gone.into_inner().complete);
        assert_eq!(one_or_nothing(&adapters[0], &namespace, &templates).await, None);
        both
    };
    let both = join_all((0..2).map(race)).await.iter().sum::<usize>();
    eprintln!("races: of 16 pairs of Deploys {both} followed each other, in {} one lost", 16 - both);
}

#[tokio::test]
async fn a_scale_racing_a_deploy_leaves_one_deployment() {
    let race = |worker: usize| async move {
        let namespace = namespace("races-scale").await;
        let plane = control_plane();
        let adapters = [Adapter::real(plane, User::Adapter).await, Adapter::real(plane, User::Adapter).await];
        let templates = templates();
        let mut seeded = Seeded::new(200 + u64::try_from(worker).expect("a small number"));
        let first = deploy_at_once(&namespace, "app", &templates[0]);
        adapters[0].deployments().deploy(first).await.expect("deployed");
        let (mut scaled, mut deployed) = (0, 0);
        for round in 0..8_i32 {
            // A Pod becomes a controller in the first two rounds; later only counts change.
            let component = format!("C{}", round % 2);
            let (mut scales, mut deploys) = (adapters[0].deployments(), adapters[1].deployments());
            let wanted =
                proto::ScaleRequest { wait: 0, ..scale(&namespace, "app", &component, 2 + round % 3) };
            let template = &templates[usize::try_from((round + 1) % 2).expect("0 or 1")];
            let (scale, deploy) = tokio::join!(
                after(seeded.next() * APART, scales.scale(wanted)),
                after(seeded.next() * APART, deploys.deploy(deploy_at_once(&namespace, "app", template))),
            );
            let (scale, deploy) = (ended(scale, "Scale"), ended(deploy, "Deploy"));
            assert!(scale.is_some() || deploy.is_some(), "both lost");
            scaled += usize::from(scale.is_some());
            deployed += usize::from(deploy.is_some());
            // What was deleted leaves the record a moment after the cluster.
            let whole = async {
                loop {
                    let survey = Survey::of(&namespace.client, &namespace).await;
                    let faults = survey.faults("app");
                    if faults.iter().all(|fault| !fault.contains("is Deleting and not there")) {
                        return (faults, survey);
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let (faults, survey) = tokio::time::timeout(PATIENCE, whole).await.expect("the record follows");
            assert_eq!(faults, Vec::<String>::new(), "{:#?}", survey.names());
        }
        let ready = || {
            let mut client = adapters[0].deployments();
            let request = proto::DeployRequest {
                wait: proto::WaitMode::Ready.into(),
                ..deploy_at_once(&namespace, "app", &templates[1])
            };
            async move { client.deploy(request).await }
        };
        let (ready, _) = retried(ready).await;
        assert_eq!(
            ready.expect("ready").deployment.expect("a deployment").state(),
            proto::DeploymentState::Active
        );
        (scaled, deployed)
    };
    let sums = join_all((0..2).map(race)).await;
    let (scaled, deployed) = sums.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    eprintln!("races: of 16 Scales against Deploys {scaled} Scales and {deployed} Deploys succeeded");
}

#[tokio::test]
async fn two_teardowns_at_once_both_end_well() {
    let race = |worker: usize| async move {
        let namespace = namespace("races-teardowns").await;
        let plane = control_plane();
        let adapters = [Adapter::real(plane, User::Adapter).await, Adapter::real(plane, User::Adapter).await];
        let mut seeded = Seeded::new(300 + u64::try_from(worker).expect("a small number"));
        for round in 0..6 {
            let request = deploy_at_once(&namespace, "app", &chain(4));
            adapters[0].deployments().deploy(request).await.expect("deployed");
            let calls = [0, round % 2].map(|index| {
                let mut client = adapters[index].deployments();
                let request = proto::TeardownRequest { allow_missing: true, ..teardown(&namespace, "app") };
                let pause = seeded.next() * APART / 2.0;
                async move { after(pause, client.teardown(request)).await }
            });
            for torn_down in join_all(calls).await {
                assert!(torn_down.expect("torn down").into_inner().complete);
            }
            let survey = Survey::of(&namespace.client, &namespace).await;
            assert_eq!(survey.names(), Vec::<&str>::new());
        }
    };
    join_all((0..2).map(race)).await;
}

#[tokio::test]
async fn a_teardown_right_after_a_scale_leaves_no_pod() {
    // The controller may not have adopted the pod yet that was there before it.
    let race = |_| async move {
        let namespace = namespace("races-adoption").await;
        let adapter = Adapter::real(control_plane(), User::Adapter).await;
        let mut client = adapter.deployments();
        for _ in 0..3 {
            client.deploy(deploy_at_once(&namespace, "app", &chain(20))).await.expect("deployed");
            let scale = proto::ScaleRequest {
                replicas: (0..20).map(|index| (format!("C{index}"), 2)).collect(),
                wait: 0,
                ..scale(&namespace, "app", "C0", 2)
            };
            client.scale(scale).await.expect("scaled");
            client.teardown(teardown(&namespace, "app")).await.expect("torn down");
            let survey = Survey::of(&namespace.client, &namespace).await;
            assert_eq!(survey.names(), Vec::<&str>::new());
        }
    };
    join_all((0..2).map(race)).await;
}
