//! Random histories: several replicas on faulty roads, several callers at once, all from one seed.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use panamax_kubernetes_adapter::error::ErrorKind;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::judge::{self, Objects};
use super::outside::Deed;
use super::replica::{Answer, Ask, Replica, Told};
use super::road::{Fault, Faults, lock};
use super::templates::{CURSED, MANY, MANY_CHANGED, MANY_CURSED, OTHER, PODS, PODS_CHANGED};
use super::work::{self, Verdict};
use super::world::{self, World};
use crate::support::order::{self, History};

/// How many histories the fixed set has.
const HISTORIES: usize = 16;
const REPLICAS: usize = 3;
const CALLERS: usize = 8;
/// How many requests a caller makes.
const REQUESTS: usize = 3;
/// So many of a thousand calls meet a fault.
const FAULTY: u32 = 30;

const TEMPLATES: [&str; 5] = [PODS, PODS_CHANGED, MANY, MANY_CHANGED, OTHER];

/// Every other history goes back to earlier revisions, too: then no answer tells which template stands.
fn goes_back(seed: u64) -> bool {
    seed % 2 == 1
}

/// In every other one of those, somebody else changes and deletes members, too.
fn is_meddled_with(seed: u64) -> bool {
    seed % 4 == 3
}

fn ask(goes_back: bool, draw: &mut impl FnMut(usize) -> usize) -> Ask {
    match draw(if goes_back { 17 } else { 10 }) {
        10 => Ask::Rollback(0),
        11 => Ask::Rollback(u32::try_from(draw(5)).expect("a small number")),
        12 => Ask::OrBack([CURSED, MANY_CURSED][draw(2)]),
        13 => Ask::OrBack(TEMPLATES[draw(TEMPLATES.len())]),
        14 => Ask::Forced(TEMPLATES[draw(TEMPLATES.len())]),
        15 => Ask::Yielded(TEMPLATES[draw(TEMPLATES.len())]),
        16 => Ask::Planned(TEMPLATES[draw(TEMPLATES.len())]),
        0..5 => Ask::Deploy(TEMPLATES[draw(TEMPLATES.len())]),
        5..7 => Ask::Scale("WEB", i32::try_from(draw(4)).expect("a small number")),
        7 => Ask::Teardown,
        8 => Ask::Get,
        _ => Ask::Deploy(TEMPLATES[0]),
    }
}

/// How a clock goes wrong: not at all, an hour ahead of the others, or set forward by an hour while it runs.
fn skew(seed: u64) -> impl Fn(Duration) -> Duration + Send + Sync + 'static {
    const HOUR: Duration = Duration::from_secs(3_600);
    move |passed| match seed % 3 {
        0 => Duration::ZERO,
        1 => HOUR,
        _ if passed < Duration::from_secs(6) => Duration::ZERO,
        _ => HOUR,
    }
}

/// The replicas as they come and go, and what was asked and answered.
struct Crowd<'a> {
    world: &'a World,
    seed: u64,
    running: Mutex<Vec<Arc<Replica>>>,
    told: Mutex<History>,
}

impl<'a> Crowd<'a> {
    fn new(world: &'a World, seed: u64) -> Self {
        let crowd = Self { world, seed, running: Mutex::default(), told: Mutex::default() };
        (0..REPLICAS).for_each(|place| lock(&crowd.running).push(crowd.start(place, 0)));
        crowd
    }

    fn start(&self, place: usize, turn: u64) -> Arc<Replica> {
        let name = char::from(b'a' + u8::try_from(place).expect("few replicas"));
        let replica = self.world.replica_ahead(name, skew(self.seed + place as u64));
        let chance = self.seed.wrapping_mul(1_000).wrapping_add(turn * 10 + place as u64);
        replica.road.arm(Faults::sometimes(chance, FAULTY, Fault::ALL.to_vec()));
        Arc::new(replica)
    }

    fn any(&self, draw: &mut impl FnMut(usize) -> usize) -> Arc<Replica> {
        Arc::clone(&lock(&self.running)[draw(REPLICAS)])
    }

    /// Starts what has died again, a while later.
    async fn keep_alive(&self) {
        for turn in 1.. {
            sleep(Duration::from_secs(7)).await;
            for place in 0..REPLICAS {
                let dead = lock(&self.running)[place].road.is_dead();
                if dead {
                    let replica = self.start(place, turn);
                    lock(&self.running)[place] = replica;
                }
            }
        }
    }

    /// Changes and deletes what is there, without the adapter.
    async fn meddle(&self) {
        let deeds = [Deed::Edit, Deed::Delete, Deed::Kill, Deed::Scale];
        let mut draw = work::draw(self.seed.wrapping_mul(101));
        while is_meddled_with(self.seed) {
            sleep(Duration::from_millis(draw(3_000) as u64)).await;
            let deed = deeds[draw(deeds.len())];
            let is_done = self.world.outsider().does(deed).await;
            self.world.tell(format!("somebody: {deed:?} {is_done}"));
        }
        pending::<()>().await;
    }

    async fn call(&self, number: usize) -> Vec<String> {
        let mut draw = work::draw(self.seed.wrapping_mul(31).wrapping_add(number as u64));
        let mut found = Vec::new();
        for _ in 0..REQUESTS {
            sleep(Duration::from_millis(draw(4_000) as u64)).await;
            let (ask, replica) = (ask(goes_back(self.seed), &mut draw), self.any(&mut draw));
            let began = Instant::now().into_std();
            let (answer, told) = replica.ask_told(&ask).await;
            let ended = Instant::now().into_std();
            self.world.tell(format!("caller {number}: {} {answer:?}", ask.name()));
            match (answer, order_of(&ask)) {
                (Answer::Stuck, _) => found.push(format!("{} was never answered", ask.name())),
                (_, None) => {}
                (answer, Some(call)) => match said(&answer, told) {
                    Ok(said) => lock(&self.told).add(call, said, began, ended),
                    // Somebody who sets counts is taken for an autoscaler.
                    Err(ErrorKind::FieldConflict | ErrorKind::ReplicasOwned)
                        if is_meddled_with(self.seed) => {}
                    Err(kind) => found.push(format!("{} was answered {kind:?}", ask.name())),
                },
            }
        }
        found
    }
}

/// The request as the serial order knows it.
fn order_of(ask: &Ask) -> Option<order::Call> {
    match ask {
        Ask::Deploy(text) => {
            let edition = TEMPLATES.iter().position(|template| template == text);
            edition.map(order::Call::Deploy)
        }
        Ask::Scale(..) => Some(order::Call::Scale),
        Ask::Teardown => Some(order::Call::Teardown),
        Ask::Get => Some(order::Call::Get),
        Ask::Named(_) | Ask::Forced(_) | Ask::Yielded(_) | Ask::Planned(_) => None,
        Ask::OrBack(_) | Ask::ReadyOrBack(_) | Ask::Rollback(_) => None,
        Ask::Plan(_) | Ask::PlanForced(_) | Ask::Watch => None,
    }
}

/// What an answer says of the order; the kind of failure if nobody should ever be answered so.
fn said(answer: &Answer, told: Option<Told>) -> Result<Option<order::Answer>, ErrorKind> {
    Ok(Some(match (answer, told) {
        (Answer::Done, None) => return Ok(None),
        (Answer::Done, Some(Told::Created)) => order::Answer::Created,
        (Answer::Done, Some(Told::Updated)) => order::Answer::Updated,
        (Answer::Done, Some(Told::Unchanged)) => order::Answer::Unchanged,
        (Answer::Done, Some(Told::Stands(name))) => {
            let is_named = |template: &&str| template.starts_with(&format!("name: {name}\n"));
            order::Answer::Stands(TEMPLATES.iter().position(is_named).unwrap_or(usize::MAX))
        }
        // A Scale may find the record and then no controller any more: a Teardown came between.
        (Answer::Failed(ErrorKind::DeploymentNotFound | ErrorKind::ComponentNotFound, _), _) => {
            order::Answer::Missing
        }
        (Answer::Failed(ErrorKind::OperationInProgress, _), _) => order::Answer::Refused,
        (Answer::Failed(kind, _), _) if !is_passing(*kind) => return Err(*kind),
        (Answer::Failed(..) | Answer::Died | Answer::Stuck, _) => order::Answer::Unknown,
    }))
}

/// Whether a bad road, or a death, may be answered so: done or not.
fn is_passing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ApplyIncomplete
            | ErrorKind::ClusterUnreachable
            | ErrorKind::ClusterThrottled
            | ErrorKind::ClusterTimeout
            | ErrorKind::WaitTimeout
    )
}

async fn history(world: &World, seed: u64) -> Vec<String> {
    let crowd = Crowd::new(world, seed);
    let callers = join_all((0..CALLERS).map(|number| crowd.call(number)));
    let mut found: Vec<String> = tokio::select! {
        biased;
        found = callers => found.into_iter().flatten().collect(),
        () = crowd.keep_alive() => Vec::new(),
        () = crowd.meddle() => Vec::new(),
    };
    for replica in lock(&crowd.running).iter() {
        replica.road.arm(Faults::none());
    }
    if !goes_back(seed) {
        found.extend(lock(&crowd.told).fits().err());
    }
    found.extend(world.settle().await.err());
    // Whatever has happened, the next request finds a deployment that it can change, and one that it can tear down.
    let last = world.replica('z');
    let template = TEMPLATES[usize::try_from(seed % 5).expect("a small number")];
    // What others have written is taken back; who conflicts with nobody does the same without that.
    let ask = if is_meddled_with(seed) { Ask::Forced(template) } else { Ask::Deploy(template) };
    let answer = last.insist(&ask).await;
    world.tell(format!("the last Deploy: {answer:?}"));
    if answer != Answer::Done {
        found.push(format!("the last Deploy was answered {answer:?}"));
    }
    found.extend(world.settle().await.err());
    let objects = world.objects();
    found.extend(judge::faults(&objects));
    found.extend(is_exactly(&objects, template));
    if last.is_active().await {
        found.extend(judge::outdated(&objects).into_iter().map(|what| format!("it is ready with {what}")));
    }
    let answer = last.insist(&Ask::Teardown).await;
    world.tell(format!("the last Teardown: {answer:?}"));
    if answer != Answer::Done {
        found.push(format!("the last Teardown was answered {answer:?}"));
    }
    found.extend(world.settle().await.err());
    found.extend(world.objects().into_keys().map(|name| format!("{name} is left")));
    found
}

/// What keeps the objects from being those of one template, which kind of workload it may be left aside.
fn is_exactly(objects: &Objects, template: &'static str) -> Vec<String> {
    let fresh = world::run(1, async |world| {
        assert_eq!(world.replica('a').ask(&Ask::Deploy(template)).await, Answer::Done);
        world.settle().await.expect("rest");
        world.objects()
    });
    let controllers = objects.iter().filter(|(name, _)| name.starts_with("ReplicationController "));
    let controlled = controllers.map(|(_, object)| component(object).to_owned()).collect();
    let (wanted, found) = (outline(&fresh, &controlled), outline(objects, &controlled));
    let missing = wanted.difference(&found).map(|what| format!("{what} is missing"));
    let surplus = found.difference(&wanted).map(|what| format!("{what} is there"));
    missing.chain(surplus).collect()
}

fn component(object: &Value) -> &str {
    object.pointer("/metadata/labels/app.kubernetes.io~1name").and_then(Value::as_str).unwrap_or_default()
}

/// What a template makes, whatever the workloads' kinds and counts.
fn outline(objects: &Objects, controlled: &BTreeSet<String>) -> BTreeSet<String> {
    let mut outline = BTreeSet::new();
    for (name, object) in objects {
        let (kind, _) = name.split_once(' ').expect("kind and name");
        let at = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let pod = if kind == "Pod" { "" } else { "/spec/template" };
        let of_pod = format!("{pod}/spec/containers/0/image");
        outline.extend(match kind {
            "Pod" if object.pointer("/metadata/ownerReferences").is_some() => None,
            "Pod" | "ReplicationController" => Some(format!("{} {}", component(object), at(&of_pod))),
            // A controller has a Service of its own, and a component that became one stays one.
            "Service" if !controlled.contains(component(object)) => {
                Some(format!("{name} {}", object["spec"]["ports"]))
            }
            _ => None,
        });
    }
    outline
}

fn verdict(seed: &u64) -> Verdict {
    world::run(*seed, async |world| {
        let faults = history(world, *seed).await;
        Verdict { faults, trace: world.trace() }
    })
}

#[test]
fn histories_end_in_order() {
    let begin = std::time::Instant::now();
    let one: Option<u64> = std::env::var("SIM_SEED").ok().map(|seed| seed.parse().expect("a seed"));
    let seeds: Vec<u64> = match one {
        Some(seed) => vec![seed],
        // Each takes as long as a dozen schedules.
        None => (0..(work::seeds(10 * HISTORIES) / 10) as u64).collect(),
    };
    work::check("histories", &seeds, verdict, |seed| format!("SIM_SEED={seed}"));
    eprintln!("sim: {} histories in {:.1} s", seeds.len(), begin.elapsed().as_secs_f32());
}

#[test]
fn one_seed_has_one_history() {
    for seed in 0..3 {
        let [one, other] = [seed, seed].map(|seed| verdict(&seed).trace);
        assert_eq!(one, other, "seed {seed}");
    }
}
