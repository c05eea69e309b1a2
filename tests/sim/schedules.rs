//! The schedules with chosen faults: every single one at every call of every operation, and pairs of them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Instant;

use serde_json::Value;

use super::judge;
use super::known;
use super::road::{Call, Fault, Faults};
use super::templates::{
    CURSED, MANY, MANY_CHANGED, MANY_CRASHING, MANY_CURSED, MANY_KEPT, OTHER, PODS, PODS_CHANGED,
};
use super::work::{self, Verdict};
use super::world::{self, Answer, Ask, World};

/// How many single faults and how many pairs the fixed set has: as many as an unoptimised build plays in a minute.
const SINGLES: usize = 400;
const PAIRS: usize = 100;
/// Calls that may come beyond the undisturbed ones and one for each fault: three of the operation, and as many of each
/// replica's keeper, which see the same events.
const SPARE_CALLS: usize = 9;

/// What was asked before, and what is asked under a fault.
pub struct Scenario {
    pub name: &'static str,
    before: &'static [Ask],
    asked: Ask,
}

pub const SCENARIOS: [Scenario; 17] = [
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

/// Plays a scenario; `faults` is `None` if the question itself is left out.
fn play(scenario: &Scenario, faults: Option<&BTreeMap<usize, Fault>>, sequel: Sequel) -> Played {
    world::run(1, async |world| played(world, scenario, faults, sequel).await)
}

async fn played(
    world: &World,
    scenario: &Scenario,
    faults: Option<&BTreeMap<usize, Fault>>,
    sequel: Sequel,
) -> Played {
    let (first, spare) = (world.replica('a'), world.replica('b'));
    let mut found = Vec::new();
    for ask in scenario.before {
        let answer = first.ask(ask).await;
        assert_eq!(answer, Answer::Done, "what was before");
        world.settle().await.expect("rest before the question");
    }
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
    let calls = world.calls()[begin..].iter().map(|(_, call)| call.clone()).collect();
    let second = if first.road.is_dead() { &spare } else { &first };
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
    let objects = world.objects().await;
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
    /// Every call, in order: the faults' numbers.
    calls: Vec<Call>,
    counted: usize,
    /// The end, with the question and without it, for each sequel.
    ends: BTreeMap<Sequel, [End; 2]>,
}

impl Undisturbed {
    fn of(scenario: &Scenario) -> Self {
        let none = BTreeMap::new();
        let mut ends = BTreeMap::new();
        let (mut calls, mut counted) = (Vec::new(), 0);
        for sequel in Sequel::ALL {
            let with = play(scenario, Some(&none), sequel);
            let without = play(scenario, None, sequel);
            assert_eq!(with.answer, Some(Answer::Done), "{}: {:#?}", scenario.name, with.trace);
            for played in [&with, &without] {
                assert_eq!(played.faults, [""; 0], "{} undisturbed: {:#?}", scenario.name, played.trace);
            }
            (calls, counted) = (with.calls, with.counted);
            ends.insert(sequel, [(with.sequel, with.state), (without.sequel, without.state)]);
        }
        Self { calls, counted, ends }
    }
}

/// What is wrong with a schedule's end.
fn verdict(schedule: &Schedule, undisturbed: &Undisturbed) -> Verdict {
    let played = play(&SCENARIOS[schedule.scenario], Some(&schedule.faults), schedule.sequel);
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
    let refused = if SCENARIOS[schedule.scenario].name == "kept" { 4 } else { 0 };
    let budget = undisturbed.counted + schedule.faults.len() + SPARE_CALLS + refused;
    if answer == Answer::Done && played.counted > budget {
        faults.push(format!("{} calls, where {budget} are enough", played.counted));
    }
    // What was answered has happened; of what was not, either may be.
    let ends = &undisturbed.ends[&schedule.sequel];
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
fn singles(undisturbed: &[Undisturbed]) -> Vec<Schedule> {
    let mut schedules = Vec::new();
    for (scenario, undisturbed) in undisturbed.iter().enumerate() {
        let is_read = matches!(SCENARIOS[scenario].asked, Ask::Get | Ask::Watch);
        for (number, call) in undisturbed.calls.iter().enumerate() {
            for fault in Fault::ALL.into_iter().filter(|fault| fault.fits(call)) {
                for sequel in Sequel::ALL {
                    let counts = !is_read || sequel == Sequel::Again;
                    if counts {
                        schedules.push(Schedule { scenario, faults: [(number, fault)].into(), sequel });
                    }
                }
            }
        }
    }
    schedules
}

/// Pairs of faults, drawn by a seed each.
fn pairs(undisturbed: &[Undisturbed], count: usize) -> Vec<Schedule> {
    let singles = singles(undisturbed);
    let of: Vec<Vec<&Schedule>> = (0..SCENARIOS.len())
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

/// What every scenario comes to without a fault: played once for all tests.
fn undisturbed() -> &'static [Undisturbed] {
    static PLAYED: OnceLock<Vec<Undisturbed>> = OnceLock::new();
    PLAYED.get_or_init(|| work::each(&SCENARIOS, Undisturbed::of))
}

fn check(name: &str, choose: impl Fn(&[Undisturbed]) -> Vec<Schedule>) {
    let begin = Instant::now();
    let undisturbed = undisturbed();
    let mut schedules = choose(undisturbed);
    let all = schedules.len();
    schedules.retain(|schedule| known::reason(schedule, &undisturbed[schedule.scenario].calls).is_none());
    let left_out = all - schedules.len();
    let verdict = |schedule: &Schedule| verdict(schedule, &undisturbed[schedule.scenario]);
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
    check("single faults", |undisturbed| match only() {
        Some(only) => vec![only],
        None => work::some(singles(undisturbed), SINGLES),
    });
}

#[test]
fn pairs_of_faults_are_overcome() {
    check("pairs of faults", |undisturbed| pairs(undisturbed, work::seeds(PAIRS)));
}

#[test]
fn one_schedule_has_one_trace() {
    for text in
        ["first/5:LoseAnswer/Again", "rollout/9:DieAfter/Other", "convert/4:Late/Scale", "watch/1:Cut/Again"]
    {
        let schedule: Schedule = text.parse().expect("a schedule");
        assert_eq!(schedule.to_string(), text);
        let trace = || play(&SCENARIOS[schedule.scenario], Some(&schedule.faults), schedule.sequel).trace;
        assert_eq!(trace(), trace(), "{text}");
    }
}
