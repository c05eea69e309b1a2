//! Replicas are killed behind faulty roads while callers do what they like: every answer fits a serial order.
//!
//! In the end one whole deployment stands, or none.
//! `CHAOS_SECONDS` says for how long; `CHAOS_SEED` which chances are taken.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use panamax_kubernetes_adapter::proto;
use panamax_kubernetes_adapter::proto::deployment_service_client::DeploymentServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use crate::support::adapter::{Adapter, Binary, deploy_at_once, reason, scale, teardown};
use crate::support::control_plane::{User, control_plane};
use crate::support::looking::Refusal;
use crate::support::namespace::{Namespace, namespace};
use crate::support::order::{Answer, Call, History};
use crate::support::patience::Seeded;
use crate::support::proxy::Proxy;
use crate::support::survey::Survey;

const REPLICAS: usize = 3;
const CALLERS: u64 = 8;
/// How probable it is that a call to the API server meets a fault.
const FAULTS: f64 = 0.04;
const LEASE: Duration = Duration::from_secs(2);
/// A caller's own deadline.
const DEADLINE: Duration = Duration::from_secs(8);
/// How long the keepers may take in the end.
const REST: Duration = Duration::from_secs(40);

/// Templates that share some objects and not others.
fn template(edition: usize) -> String {
    let more = [
        "{name: a, source: 'example/a:1'}",
        "{name: b, source: 'example/b:1', expose: [80]}",
        "{name: a, source: 'example/a:2'}",
    ];
    format!(
        "name: App\nimages:\n- {{name: web, source: 'example/web:{edition}', deployment: {{count: 2}}, \
         environment: [{{variable: A_PASSWORD, value: 'v{edition}'}}]}}\n- {}\n",
        more[edition]
    )
}

fn deployed(namespace: &str, edition: usize) -> proto::DeployRequest {
    let request = deploy_at_once(namespace, "app", &template(edition));
    let mut options = request.options.clone().unwrap_or_default();
    options.set_secrets(proto::SecretHandling::Secret);
    proto::DeployRequest { options: Some(options), ..request }
}

/// Where each replica listens now.
type Addresses = Arc<Mutex<Vec<SocketAddr>>>;

fn client(address: SocketAddr) -> DeploymentServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    DeploymentServiceClient::new(endpoint.connect_lazy())
}

fn number(chance: f64, of: u32) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 up to a small number"
    )]
    let number = (chance * f64::from(of)) as u32;
    number.min(of - 1)
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

/// What an answer says of the order; `None`: nothing.
fn answer<T>(
    call: &Call,
    result: Result<Response<T>, Status>,
    good: impl FnOnce(T) -> Option<Answer>,
) -> Option<Answer> {
    let status = match result {
        Ok(answer) => return good(answer.into_inner()),
        Err(status) => status,
    };
    match (status.code(), reason(&status).as_str()) {
        // A Scale may find the record and then no controller any more: a Teardown came between.
        (Code::NotFound, "DEPLOYMENT_NOT_FOUND" | "COMPONENT_NOT_FOUND") => Some(Answer::Missing),
        // It had begun to write when it met the other.
        (Code::Aborted, "OPERATION_IN_PROGRESS") if !Refusal::of(&status).fact("applied").is_empty() => {
            Some(Answer::Unknown)
        }
        (Code::Aborted, "OPERATION_IN_PROGRESS") => Some(Answer::Refused),
        // Its process was killed, its road was bad, or it took too long: done or not.
        (
            Code::Unavailable | Code::DeadlineExceeded | Code::Unknown | Code::Cancelled | Code::Internal,
            _,
        )
        | (_, "APPLY_INCOMPLETE") => {
            let is_ours = !matches!(status.code(), Code::Unknown | Code::Cancelled | Code::Internal)
                || reason(&status).is_empty()
                || reason(&status) == "APPLY_INCOMPLETE";
            assert!(is_ours, "{call:?}: {status:?}");
            Some(Answer::Unknown)
        }
        _ => panic!("{call:?}: {status:?}"),
    }
}

/// One call of a caller; returns what it was and what came back.
async fn called(
    mut client: DeploymentServiceClient<Channel>,
    namespace: &str,
    seeded: &mut Seeded,
) -> (Call, Option<Answer>) {
    let edition = usize::try_from(number(seeded.next(), 3)).expect("a small number");
    let kind = seeded.next();
    if kind < 0.4 {
        let call = Call::Deploy(edition);
        let result = client.deploy(timed(deployed(namespace, edition))).await;
        let answer = answer(&call, result, |answer| {
            Some(match answer.outcome() {
                proto::DeployOutcome::Created => Answer::Created,
                proto::DeployOutcome::Unchanged => Answer::Unchanged,
                _ => Answer::Updated,
            })
        });
        (call, answer)
    } else if kind < 0.55 {
        let replicas = 1 + i32::try_from(number(seeded.next(), 4)).expect("a small number");
        let request = proto::ScaleRequest { wait: 0, ..scale(namespace, "app", "web", replicas) };
        let result = client.scale(timed(request)).await;
        (Call::Scale, answer(&Call::Scale, result, |_| Some(Answer::Updated)))
    } else if kind < 0.65 {
        let result = client.teardown(timed(teardown(namespace, "app"))).await;
        let answer = answer(&Call::Teardown, result, |answer| {
            Some(if answer.complete { Answer::Updated } else { Answer::Unknown })
        });
        (Call::Teardown, answer)
    } else {
        (Call::Get, got(client, namespace).await)
    }
}

/// What GetDeployment says: an edition that is deployed and rests, or that there is none.
async fn got(mut client: DeploymentServiceClient<Channel>, namespace: &str) -> Option<Answer> {
    let request = proto::GetDeploymentRequest {
        namespace: namespace.to_owned(),
        name: "app".to_owned(),
        ..Default::default()
    };
    let result = client.get_deployment(timed(request)).await;
    answer(&Call::Get, result, |answer| {
        let deployment = answer.deployment.expect("a deployment");
        if deployment.state() != proto::DeploymentState::Active {
            return None;
        }
        let image = &deployment.components.iter().find(|one| one.image_name == "web")?.image;
        let edition = image.rsplit(':').next()?.parse().expect("an edition");
        Some(Answer::Stands(edition))
    })
}

/// Starts a replica on its road.
async fn replica(namespace: &Namespace, road: &Proxy) -> Binary {
    let (kubeconfig, name) = (road.kubeconfig(), namespace.to_string());
    let lease = format!("{}s", LEASE.as_secs());
    let start = move || Binary::start(&kubeconfig, &["--lease", &lease, "--namespaces", &name]);
    tokio::task::spawn_blocking(start).await.expect("the binary starts")
}

/// Kills a replica every other second, and starts it anew.
async fn kills(
    namespace: &Namespace,
    seed: u64,
    until: Instant,
    roads: &[Proxy],
    replicas: &mut [Binary],
    addresses: &Addresses,
) -> usize {
    let mut seeded = Seeded::new(seed);
    let mut kills = 0;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_secs_f64(0.5 + 2.5 * seeded.next())).await;
        let which = usize::try_from(number(seeded.next(), 3)).expect("a small number");
        replicas[which].kill();
        replicas[which] = replica(namespace, &roads[which]).await;
        addresses.lock().expect("no panic")[which] = replicas[which].address;
        kills += 1;
    }
    kills
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_fits_a_serial_order() {
    let (seconds, seed) = (setting("CHAOS_SECONDS", 10), setting("CHAOS_SEED", 1));
    let namespace = namespace("chaos").await;
    let (mut roads, mut replicas) = (Vec::new(), Vec::new());
    for index in 0..REPLICAS {
        let road = Proxy::start(control_plane().client(User::Adapter).await, Duration::ZERO).await;
        road.weather(seed * 100 + u64::try_from(index).expect("a small number"), FAULTS);
        replicas.push(replica(&namespace, &road).await);
        roads.push(road);
    }
    let addresses: Addresses = Arc::new(Mutex::new(replicas.iter().map(|one| one.address).collect()));
    let history = Mutex::new(History::default());
    let until = Instant::now() + Duration::from_secs(seconds);
    let callers = (0..CALLERS).map(|caller| {
        let (addresses, history, namespace) = (&addresses, &history, &namespace);
        async move {
            let mut seeded = Seeded::new(seed * 1000 + caller);
            while Instant::now() < until {
                let which = usize::try_from(number(seeded.next(), 3)).expect("a small number");
                let address = addresses.lock().expect("no panic")[which];
                let began = Instant::now();
                let (call, answer) = called(client(address), namespace, &mut seeded).await;
                history.lock().expect("no panic").add(call, answer, began, Instant::now());
                tokio::time::sleep(Duration::from_secs_f64(0.3 * seeded.next())).await;
            }
        }
    });
    let callers = futures::future::join_all(callers);
    let (_, kills) = tokio::join!(callers, kills(&namespace, seed, until, &roads, &mut replicas, &addresses));
    // The weather clears, and nobody calls.
    roads.iter().for_each(|road| road.weather(0, 0.0));
    let quiet = Instant::now();
    loop {
        let survey = Survey::of(&namespace.client, &namespace).await;
        let unrest = if survey.objects.is_empty() { Vec::new() } else { survey.unrest("app") };
        if unrest.is_empty() {
            break;
        }
        assert!(quiet.elapsed() < REST, "seed {seed}: {unrest:#?}\nof {:#?}", survey.names());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut history = history.into_inner().expect("no panic");
    let judge = Adapter::real(control_plane(), User::Admin).await;
    let began = Instant::now();
    let last = got(judge.deployments(), &namespace).await;
    history.add(Call::Get, last, began, Instant::now());
    eprintln!(
        "chaos: seed {seed}, {kills} kills, at rest after {:.1?}; {}",
        quiet.elapsed(),
        history.counts()
    );
    if let Err(text) = history.fits() {
        panic!("seed {seed}: {text}");
    }
}
