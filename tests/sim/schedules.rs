//! The schedules with chosen faults: every single one at every call of every operation, and pairs of them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Instant;

use serde_json::Value;

use super::judge;
use super::known;
use super::replica::{Answer, Ask, Replica};
use super::road::{Call, Fault, Faults};
use super::templates::{
    CURSED, MANY, MANY_CHANGED, MANY_CRASHING, MANY_CURSED, MANY_KEPT, OTHER, PODS, PODS_CHANGED,
};
use super::work::{self, Verdict};
use super::world::{self, Stage, World};

/// How many single faults and how many pairs the fixed set has: 5,000 schedules with the histories, which an unoptimised
/// build plays in 160 s of one core.
const SINGLES: usize = 4_600;
const PAIRS: usize = 384;
/// Calls that may come beyond the undisturbed ones and one for each fault: three of the operation, and as many of each
/// replica's keeper, which see the same events.
const SPARE_CALLS: usize = 9;

/// What was asked before, and what is asked under a fault.
pub struct Scenario {
    pub name: &'static str,
    before: &'static [Ask],
    asked: Ask,
}

/// How many there are.
const COUNT: usize = 17;

pub static SCENARIOS: [Scenario; COUNT] = [
    Scenario { name: "first", before: &[], asked: Ask::Deploy(PODS) },
    Scenario { name: "unchanged", before: &[Ask::Deploy(PODS)], asked: Ask::Deploy(PODS) },
    Scenario { name: "update", before: &[Ask::Deploy(PODS)], asked: Ask::Deploy(PODS_CHANGED) },
    Scenario { name: "named-first", before: &[], asked: Ask::Named(PODS) },
    Scenario { name: "named", before: &[Ask::Deploy(PODS)], asked: Ask::Named(PODS_CHANGED) },
    Scenario { name: "rollout", before: &[Ask::Deploy(MANY)], asked: Ask::Deploy(MANY_CHANGED) },
    Scenario { name: "scale", before: &[Ask::Deploy(MANY)], asked: Ask::Scale("WEB", 4) },
    Scenario { name: "convert", before: &[Ask::Deploy(PODS)], asked: Ask::Scale("WEB", 2) },
    Scenario { name: "teardown", before: &[Ask::Deploy(MANY)], asked: Ask::Teardown },
    Scenario { name: "get", before: &[Ask::Deploy(MANY)], asked: Ask::Get },
    Scenario {
        name: "rollback",
        before: &[Ask::Deploy(PODS), Ask::Deploy(PODS_CHANGED)],
        asked: Ask::Rollback(1),
    },
    Scenario {
        name: "rollback-many",
        before: &[Ask::Deploy(MANY), Ask::Deploy(OTHER)],
        asked: Ask::Rollback(1),
    },
    Scenario { name: "on-failure", before: &[Ask::Deploy(PODS)], asked: Ask::OrBack(CURSED) },
    Scenario { name: "on-failure-many", before: &[Ask::Deploy(MANY)], asked: Ask::OrBack(MANY_CURSED) },
    Scenario {
        name: "on-failure-ready",
        before: &[Ask::Deploy(MANY)],
        asked: Ask::ReadyOrBack(MANY_CRASHING),
    },
    Scenario { name: "kept", before: &[Ask::Deploy(MANY_KEPT)], asked: Ask::Deploy(MANY_CHANGED) },
    Scenario { name: "watch", before: &[Ask::Deploy(MANY)], asked: Ask::Watch },
];

/// What is asked when a fault has struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sequel {
    /// The same request again.
    Again,
    /// Another template.
    Other,
    /// A count.
    Scale,
    /// The end of everything.
    Teardown,
    /// Nothing: whoever is left sees to it.
    Nobody,
}

impl Sequel {
    const ALL: [Self; 5] = [Self::Again, Self::Other, Self::Scale, Self::Teardown, Self::Nobody];

    fn ask(self, scenario: &Scenario) -> Option<Ask> {
        match self {
            Self::Again => Some(scenario.asked.clone()),
            Self::Other => Some(Ask::Deploy(OTHER)),
            Self::Scale => Some(Ask::Scale("WEB", 3)),
            Self::Teardown => Some(Ask::Teardown),
            Self::Nobody => None,
        }
    }
}

/// One scenario, its faults by the number of the call, and what is asked then.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Schedule {
    pub scenario: usize,
    pub faults: BTreeMap<usize, Fault>,
    pub sequel: Sequel,
}

impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self.faults.iter().map(|(at, fault)| format!("{at}:{fault:?}")).collect();
        write!(formatter, "{}/{}/{:?}", SCENARIOS[self.scenario].name, faults.join("+"), self.sequel)
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no schedule, as update/7:LoseAnswer/Again is");
        let [scenario, faults, sequel] = text.split('/').collect::<Vec<_>>()[..] else { return Err(wrong()) };
        let fault = |text: &str| {
            let (at, fault) = text.split_once(':')?;
            let fault = Fault::ALL.into_iter().find(|known| format!("{known:?}") == fault)?;
            Some((at.parse().ok()?, fault))
        };
        let faults = faults.split('+').map(fault).collect::<Option<_>>();
        Ok(Self {
            scenario: SCENARIOS.iter().position(|known| known.name == scenario).ok_or_else(wrong)?,
            faults: faults.ok_or_else(wrong)?,
            sequel: Sequel::ALL.into_iter().find(|known| format!("{known:?}") == sequel).ok_or_else(wrong)?,
        })
    }
}

/// What came of one run.
struct Played {
    /// `None` if nothing was asked.
    answer: Option<Answer>,
    /// The calls from the question on, and how many of those that count came before the answer.
    calls: Vec<Call>,
    counted: usize,
    /// `None` if nothing was asked.
    sequel: Option<Answer>,
    state: BTreeMap<String, Value>,
    faults: Vec<String>,
    trace: Vec<String>,
}

/// What every schedule of a scenario begins with, brought about once; `None` for an empty world.
fn stage(scenario: &Scenario) -> Option<Stage> {
    if scenario.before.is_empty() {
        return None;
    }
    Some(world::run(1, async |world| {
        let replicas = (world.replica('c'), world.replica('d'));
        for ask in scenario.before {
            assert_eq!(replicas.0.ask(ask).await, Answer::Done, "what was before");
            world.settle().await.expect("rest before the question");
        }
        world.stage()
    }))
}

/// Plays a scenario on its stage; `faults` is `None` if the question itself is left out.
fn play(
    scenario: &Scenario,
    stage: Option<&Stage>,
    faults: Option<&BTreeMap<usize, Fault>>,
    sequel: Sequel,
) -> Played {
    world::run_on(stage, 1, async |world| {
        let replicas = [world.replica('a'), world.replica('b')];
        if stage.is_some() {
            world.settle().await.expect("rest before the question");
        }
        played(world, &replicas, scenario, faults, sequel).await
    })
}

async fn played(
    world: &World,
    [first, spare]: &[Replica; 2],
    scenario: &Scenario,
    faults: Option<&BTreeMap<usize, Fault>>,
    sequel: Sequel,
) -> Played {
    let mut found = Vec::new();
    world.tell("the question");
    let begin = world.calls().len();
    let (mut answer, mut counted) = (None, 0);
    if let Some(faults) = faults {
        first.road.arm(Faults::At(faults.clone()));
        let given = first.ask(&scenario.asked).await;
        world.tell(format!("{given:?}"));
        counted = world.calls()[begin..].iter().filter(|(_, call)| call.counts()).count();
        answer = Some(given);
        // A fault that waits for a call behind the answer strikes while nobody asks for anything.
        if world.struck() == 0 {
            found.extend(world.settle().await.err());
        }
    }
    // Faults strike on the first replica's road alone.
    let calls = world.calls().into_iter().skip(begin);
    let calls = calls.filter_map(|(name, call)| (name == 'a').then_some(call)).collect();
    let second = if first.road.is_dead() { spare } else { first };
    let mut sequel_answer = None;
    if let Some(ask) = sequel.ask(scenario) {
        let mut given = second.insist(&ask).await;
        // A fault behind the answer may strike now: who asked asks the other replica.
        if given == Answer::Died {
            given = spare.insist(&ask).await;
        }
        world.tell(format!("{given:?}"));
        sequel_answer = Some(given);
    }
    found.extend(world.settle().await.err());
    let objects = world.objects();
    found.extend(judge::faults(&objects));
    found.extend(world.misdeeds());
    if spare.is_active().await {
        found.extend(judge::outdated(&objects).into_iter().map(|what| format!("it is ready with {what}")));
    }
    let state = judge::state(&objects);
    Played { answer, calls, counted, sequel: sequel_answer, state, faults: found, trace: world.trace() }
}

/// How the sequel was answered, and what stands in the end.
type End = (Option<Answer>, BTreeMap<String, Value>);

/// What a scenario comes to without a fault.
struct Undisturbed {
    scenario: &'static Scenario,
    stage: Option<Stage>,
    /// Every call, in order: the faults' numbers.
    calls: Vec<Call>,
    counted: usize,
    /// The end, with the question and without it, for each sequel; played when it is first asked for.
    ends: BTreeMap<Sequel, OnceLock<[End; 2]>>,
}

impl Undisturbed {
    fn of(scenario: &'static Scenario) -> Self {
        let stage = stage(scenario);
        let Played { calls, counted, .. } =
            play(scenario, stage.as_ref(), Some(&BTreeMap::new()), Sequel::Nobody);
        let ends = Sequel::ALL.map(|sequel| (sequel, OnceLock::new())).into();
        Self { scenario, stage, calls, counted, ends }
    }

    fn ends(&self, sequel: Sequel) -> &[End; 2] {
        self.ends[&sequel].get_or_init(|| {
            let scenario = self.scenario;
            let with = self.play(Some(&BTreeMap::new()), sequel);
            let without = self.play(None, sequel);
            assert_eq!(with.answer, Some(Answer::Done), "{}: {:#?}", scenario.name, with.trace);
            for played in [&with, &without] {
                assert_eq!(played.faults, [""; 0], "{} undisturbed: {:#?}", scenario.name, played.trace);
            }
            [(with.sequel, with.state), (without.sequel, without.state)]
        })
    }

    fn play(&self, faults: Option<&BTreeMap<usize, Fault>>, sequel: Sequel) -> Played {
        play(self.scenario, self.stage.as_ref(), faults, sequel)
    }
}

/// What is wrong with a schedule's end.
fn verdict(schedule: &Schedule) -> Verdict {
    let undisturbed = undisturbed(schedule.scenario);
    let played = undisturbed.play(Some(&schedule.faults), schedule.sequel);
    let mut faults = played.faults;
    let answer = played.answer.unwrap_or(Answer::Stuck);
    let is_single = schedule.faults.len() == 1;
    let dies = schedule.faults.values().any(|fault| fault.kills());
    if answer == Answer::Stuck || played.sequel == Some(Answer::Stuck) {
        faults.push("an answer never came".to_owned());
    }
    if is_single && !dies && answer != Answer::Done {
        faults.push(format!("one fault that passes became {answer:?}"));
    }
    // What is refused, each keeper tries again and notes once.
    let refused = if undisturbed.scenario.name == "kept" { 4 } else { 0 };
    let budget = undisturbed.counted + schedule.faults.len() + SPARE_CALLS + refused;
    if answer == Answer::Done && played.counted > budget {
        faults.push(format!("{} calls, where {budget} are enough", played.counted));
    }
    // What was answered has happened; of what was not, either may be.
    let ends = undisturbed.ends(schedule.sequel);
    let ends = if answer == Answer::Done { &ends[..1] } else { &ends[..] };
    let differences = ends.iter().map(|(sequel, state)| {
        let mut found = judge::difference(state, &played.state);
        if *sequel != played.sequel {
            found.push(format!("the sequel was answered {:?}, not {sequel:?}", played.sequel));
        }
        found
    });
    faults.extend(differences.min_by_key(Vec::len).unwrap_or_default());
    Verdict { faults, trace: played.trace }
}

/// Every single fault at every call, with every sequel.
fn singles() -> Vec<Schedule> {
    let each: Vec<usize> = (0..COUNT).filter(|scenario| is_chosen(SCENARIOS[*scenario].name)).collect();
    work::each(&each, |scenario| singles_of(*scenario)).into_iter().flatten().collect()
}

/// Whether the environment asks for this scenario, by the beginning of its name; it need not ask for any.
fn is_chosen(name: &str) -> bool {
    let asked = std::env::var("SIM_SCENARIOS").ok();
    asked.is_none_or(|asked| asked.split(',').any(|begin| name.starts_with(begin)))
}

fn singles_of(scenario: usize) -> Vec<Schedule> {
    let is_read = matches!(SCENARIOS[scenario].asked, Ask::Get | Ask::Watch);
    let sequels = if is_read { &[Sequel::Again][..] } else { &Sequel::ALL };
    let mut schedules = Vec::new();
    for (number, call) in undisturbed(scenario).calls.iter().enumerate() {
        for fault in Fault::ALL.into_iter().filter(|fault| fault.fits(call)) {
            let single =
                |sequel: &Sequel| Schedule { scenario, faults: [(number, fault)].into(), sequel: *sequel };
            schedules.extend(sequels.iter().map(single));
        }
    }
    schedules
}

/// Pairs of faults, drawn by a seed each.
fn pairs(count: usize) -> Vec<Schedule> {
    let singles = singles();
    let of: Vec<Vec<&Schedule>> = (0..COUNT)
        .map(|scenario| singles.iter().filter(|single| single.scenario == scenario).collect())
        .collect();
    (0..count)
        .map(|seed| {
            let mut draw = work::draw(seed as u64);
            let first = &singles[draw(singles.len())];
            let others = &of[first.scenario];
            let mut pair = first.clone();
            pair.faults.extend(&others[draw(others.len())].faults);
            pair
        })
        .collect()
}

/// What a scenario comes to without a fault: played once for all tests.
fn undisturbed(scenario: usize) -> &'static Undisturbed {
    static PLAYED: [OnceLock<Undisturbed>; COUNT] = [const { OnceLock::new() }; COUNT];
    PLAYED[scenario].get_or_init(|| Undisturbed::of(&SCENARIOS[scenario]))
}

fn check(name: &str, mut schedules: Vec<Schedule>) {
    let begin = Instant::now();
    let all = schedules.len();
    let calls = |schedule: &Schedule| &undisturbed(schedule.scenario).calls;
    schedules.retain(|schedule| known::reason(schedule, calls(schedule)).is_none());
    let left_out = all - schedules.len();
    work::check(name, &schedules, verdict, |schedule| format!("SIM_ONLY={schedule}"));
    let seconds = begin.elapsed().as_secs_f32();
    eprintln!("sim: {} {name} in {seconds:.1} s ({left_out} left out as known)", schedules.len());
}

/// The one schedule that the environment names, for whoever looks into a failure.
fn only() -> Option<Schedule> {
    std::env::var("SIM_ONLY").ok().map(|text| text.parse().expect("a schedule"))
}

#[test]
fn every_single_fault_is_overcome() {
    let schedules = match only() {
        Some(only) => vec![only],
        None => work::some(singles(), SINGLES),
    };
    check("single faults", schedules);
}

#[test]
fn pairs_of_faults_are_overcome() {
    check("pairs of faults", pairs(work::seeds(PAIRS)));
}

#[test]
fn one_schedule_has_one_trace() {
    for text in
        ["first/5:LoseAnswer/Again", "rollout/9:DieAfter/Other", "convert/4:Late/Scale", "watch/1:Cut/Again"]
    {
        let schedule: Schedule = text.parse().expect("a schedule");
        assert_eq!(schedule.to_string(), text);
        let undisturbed = undisturbed(schedule.scenario);
        let trace = || undisturbed.play(Some(&schedule.faults), schedule.sequel).trace;
        assert_eq!(trace(), trace(), "{text}");
    }
}

/// Schedules that once did not end well, each with the rule that was missing.
const REMEMBERED: [&str; 4] = [
    // Whoever dies while he puts a revision back, before his own is stored, was going there and not to the failed one.
    "on-failure-ready/32:DieAfter/Nobody",
    "on-failure-ready/33:DieBefore/Nobody",
    // A count that was set and not recorded is Scale's, as its object says.
    "scale/2:DieAfter/Nobody",
    "scale/3:DieBefore/Nobody",
];

#[test]
fn what_once_failed_is_overcome() {
    let schedules = REMEMBERED.map(|text| text.parse().expect("a schedule"));
    check("remembered schedules", schedules.into());
}
