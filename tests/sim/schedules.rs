//! The schedules with chosen faults: every single one at every call of every operation, and pairs of them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Instant;

use panamax_kubernetes_adapter::error::ErrorKind;
use serde_json::Value;

use super::judge;
use super::outside::Deed;
use super::replica::{Answer, Ask, Replica};
use super::road::{Call, Fault, Faults};
use super::scenarios::{COUNT, SCENARIOS, Scenario, Sequel};
use super::work::{self, Verdict};
use super::world::{self, Stage, World};

/// How many single faults and how many pairs the fixed set has: 5,000 schedules with the histories, which an unoptimised
/// build plays in 160 to 200 s of one core.
const SINGLES: usize = 4_600;
const PAIRS: usize = 384;
/// Calls that may come beyond the undisturbed ones and one for each fault: three of the operation, and as many of each
/// replica's keeper, which see the same events.
const SPARE_CALLS: usize = 9;

/// One scenario, its faults by the number of the call, and what is asked then.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Schedule {
    pub scenario: usize,
    pub faults: BTreeMap<usize, Fault>,
    pub sequel: Sequel,
}

impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> =
            self.faults.iter().map(|(at, fault)| format!("{at}:{}", fault.name())).collect();
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
            Some((at.parse().ok()?, Fault::named(fault)?))
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
    /// Whether somebody has written beside the adapter.
    is_done: bool,
    faults: Vec<String>,
    trace: Vec<String>,
}

/// What happens in a run, beside what every run of its scenario begins with.
enum Course<'f> {
    /// The question, with these faults.
    Asked(&'f BTreeMap<usize, Fault>),
    /// No question.
    Unasked,
    /// Somebody else writes, and then comes the question.
    Behind(Deed),
    /// The question, and then somebody else writes.
    Before(Deed),
    /// Somebody else writes, and there is no question.
    Alone(Deed),
}

/// Plays a scenario on its stage.
fn play(scenario: &Scenario, stage: Option<&Stage>, course: &Course<'_>, sequel: Sequel) -> Played {
    world::run_on(stage, 1, async |world| {
        let replicas = [world.replica('a'), world.replica('b')];
        if stage.is_some() {
            world.settle().await.expect("rest before the question");
        }
        played(world, &replicas, scenario, course, sequel).await
    })
}

/// Lets somebody else write.
async fn write_outside(world: &World, deed: Deed) {
    assert!(world.outsider().does(deed).await, "{deed:?} has something to be done to");
}

async fn played(
    world: &World,
    [first, spare]: &[Replica; 2],
    scenario: &Scenario,
    course: &Course<'_>,
    sequel: Sequel,
) -> Played {
    let mut found = Vec::new();
    let before = judge::versions(&world.objects());
    world.tell("the question");
    let (mut answer, mut counted) = (None, 0);
    if let Course::Behind(deed) | Course::Alone(deed) = course {
        write_outside(world, *deed).await;
        found.extend(world.settle().await.err());
    }
    let begin = world.calls().len();
    if let Course::Asked(_) | Course::Behind(_) | Course::Before(_) = course {
        if let Course::Asked(faults) = course {
            first.road.arm(Faults::At((*faults).clone()));
        }
        let given = first.ask(&scenario.asked).await;
        world.tell(format!("{given:?}"));
        counted = world.calls()[begin..].iter().filter(|(_, call)| call.counts()).count();
        answer = Some(given);
        // A fault that waits for a call behind the answer strikes while nobody asks for anything.
        if !world.has_struck() || scenario.meanwhile.is_some() {
            found.extend(world.settle().await.err());
        }
    }
    if let Course::Before(deed) = course {
        write_outside(world, *deed).await;
        found.extend(world.settle().await.err());
    }
    // Faults strike on the first replica's road alone.
    let calls = world.calls().into_iter().skip(begin);
    let calls = calls.filter_map(|(name, call)| (name == 'a').then_some(call)).collect();
    let is_done =
        world.is_done() || matches!(course, Course::Behind(_) | Course::Before(_) | Course::Alone(_));
    if scenario.meanwhile.is_some() {
        first.road.arm(Faults::none());
    }
    if is_done && scenario.meanwhile.is_some_and(Deed::creates) {
        found.extend(theirs_stands(world, sequel).await);
    }
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
    if scenario.only_looks() && judge::versions(&objects) != before {
        found.push("who only looked has changed something".to_owned());
    }
    if is_done && scenario.meanwhile.is_some_and(Deed::creates) && sequel == Sequel::Teardown {
        let is_gone = !world.outsider().takes_away().await;
        found.extend(is_gone.then(|| "what somebody else has created is gone".to_owned()));
    }
    if spare.is_active().await {
        found.extend(judge::outdated(&objects).into_iter().map(|what| format!("it is ready with {what}")));
    }
    let state = judge::state(&objects);
    // Who was asked to yield has left it to the other, and says so by each Deploy.
    let is_yielded = matches!(scenario.asked, Ask::Yielded(_));
    if !is_yielded && world.outsider().is_in_force() && spare.finds_nothing(scenario.asked.template()).await {
        found.push("what somebody has written is in force, and nobody says so".to_owned());
    }
    let trace = world.trace();
    Played { answer, calls, counted, sequel: sequel_answer, state, is_done, faults: found, trace }
}

/// What somebody else has created stays until its creator takes it away, which happens before a Deploy comes again.
async fn theirs_stands(world: &World, sequel: Sequel) -> Option<String> {
    if sequel == Sequel::Teardown {
        return None;
    }
    let stands = world.outsider().takes_away().await;
    (!stands).then(|| "what somebody else has created is gone".to_owned())
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
    /// The end, with the question, without it, and with a promise that was not kept yet, for each sequel; played when it
    /// is first asked for.
    ends: BTreeMap<Sequel, OnceLock<Vec<End>>>,
    /// The same where somebody else writes, too: before the question, after it, and without a question.
    disturbed: BTreeMap<Sequel, OnceLock<[End; 3]>>,
}

impl Undisturbed {
    fn of(scenario: &'static Scenario) -> Self {
        let stage = scenario.stage();
        let course = Course::Asked(&BTreeMap::new());
        let Played { calls, counted, .. } = play(scenario, stage.as_ref(), &course, Sequel::Nobody);
        let ends = Sequel::ALL.map(|sequel| (sequel, OnceLock::new())).into();
        let disturbed = Sequel::ALL.map(|sequel| (sequel, OnceLock::new())).into();
        Self { scenario, stage, calls, counted, ends, disturbed }
    }

    fn ends(&self, sequel: Sequel) -> &[End] {
        self.ends[&sequel].get_or_init(|| {
            let scenario = self.scenario;
            let asked = Course::Asked(&BTreeMap::new());
            let mut all = vec![self.play(&asked, sequel), self.play(&Course::Unasked, sequel)];
            // Whoever comes before a promise is kept finds the failed update in force, and makes the promise void.
            if let Some(unkept) = scenario.without_promise() {
                all.push(play(&unkept, self.stage.as_ref(), &asked, sequel));
            }
            assert_eq!(all[0].answer, Some(Answer::Done), "{}: {:#?}", scenario.name, all[0].trace);
            let ends = all.into_iter().map(|played| {
                assert_eq!(played.faults, [""; 0], "{} undisturbed: {:#?}", scenario.name, played.trace);
                (played.sequel, played.state)
            });
            ends.collect()
        })
    }

    fn disturbed(&self, deed: Deed, sequel: Sequel) -> &[End; 3] {
        self.disturbed[&sequel].get_or_init(|| {
            [Course::Behind(deed), Course::Before(deed), Course::Alone(deed)].map(|course| {
                let played = self.play(&course, sequel);
                assert_eq!(played.faults, [""; 0], "{} {deed:?}: {:#?}", self.scenario.name, played.trace);
                (played.sequel, played.state)
            })
        })
    }

    /// What a run may come to in which somebody else has written, or has not.
    ///
    /// What was answered has happened; of what was not, either may be.
    fn allowed(&self, sequel: Sequel, is_done: bool, answer: &Answer) -> &[End] {
        match self.scenario.meanwhile {
            Some(deed) if is_done => match (self.disturbed(deed, sequel), answer) {
                (ends, Answer::Done) => &ends[..2],
                // A plan that does not hold any more changes nothing.
                (ends, Answer::Failed(ErrorKind::PlanStale, _)) => &ends[2..],
                (ends, _) => ends,
            },
            _ if *answer == Answer::Done => &self.ends(sequel)[..1],
            _ => self.ends(sequel),
        }
    }

    fn play(&self, course: &Course<'_>, sequel: Sequel) -> Played {
        play(self.scenario, self.stage.as_ref(), course, sequel)
    }
}

/// What is wrong with a schedule's end.
fn verdict(schedule: &Schedule) -> Verdict {
    let undisturbed = undisturbed(schedule.scenario);
    let played = undisturbed.play(&Course::Asked(&schedule.faults), schedule.sequel);
    let mut faults = played.faults;
    let answer = played.answer.unwrap_or(Answer::Stuck);
    let is_single = schedule.faults.len() == 1;
    let dies = schedule.faults.values().any(|fault| fault.kills());
    if answer == Answer::Stuck || played.sequel == Some(Answer::Stuck) {
        faults.push("an answer never came".to_owned());
    }
    if is_single && !dies && answer != Answer::Done && !is_told(undisturbed.scenario, &answer) {
        faults.push(format!("one fault that passes became {answer:?}"));
    }
    // What is refused, each keeper tries again and notes once, and again where the other has noted meanwhile or where
    // it does not see that it is gone.
    let refused = if undisturbed.scenario.name == "kept" { 8 } else { 0 };
    let budget = undisturbed.counted + schedule.faults.len() + SPARE_CALLS + refused;
    if answer == Answer::Done && played.counted > budget {
        faults.push(format!("{} calls, where {budget} are enough", played.counted));
    }
    let ends = undisturbed.allowed(schedule.sequel, played.is_done, &answer);
    // Which pods were made from the other's form depends on when he wrote; who yields leaves them.
    let is_left = undisturbed.scenario.meanwhile == Some(Deed::Image)
        && matches!(undisturbed.scenario.asked, Ask::Yielded(_))
        && schedule.sequel == Sequel::Again;
    let differences = ends.iter().map(|(sequel, state)| {
        let mut found = judge::difference(state, &played.state);
        found.retain(|found| !(is_left && is_of_image(found)));
        if *sequel != played.sequel {
            found.push(format!("the sequel was answered {:?}, not {sequel:?}", played.sequel));
        }
        found
    });
    faults.extend(differences.min_by_key(Vec::len).unwrap_or_default());
    Verdict { faults, trace: played.trace }
}

/// Whether this is how somebody who has written beside the adapter is told of.
fn is_told(scenario: &Scenario, answer: &Answer) -> bool {
    let Answer::Failed(kind, _) = answer else { return false };
    match (scenario.meanwhile, kind) {
        (None, _) => false,
        // Something of the update was written already.
        (Some(_), ErrorKind::ApplyIncomplete) => true,
        (Some(_), ErrorKind::PlanStale) => matches!(scenario.asked, Ask::Planned(_)),
        (Some(Deed::Edit | Deed::Image), ErrorKind::FieldConflict) => {
            matches!(scenario.asked, Ask::Deploy(_) | Ask::Planned(_))
        }
        (Some(Deed::Select), ErrorKind::FieldConflict) => !matches!(scenario.asked, Ask::Forced(_)),
        (Some(deed), ErrorKind::ObjectNotOwned) => deed.creates(),
        (Some(_), _) => false,
    }
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
    with_each(scenario, &SCENARIOS[scenario].faults())
}

/// Each of these faults at every call of a scenario, with every sequel.
fn with_each(scenario: usize, faults: &[Fault]) -> Vec<Schedule> {
    let mut schedules = Vec::new();
    for (number, call) in undisturbed(scenario).calls.iter().enumerate() {
        for fault in faults.iter().filter(|fault| fault.fits(call)) {
            let single =
                |sequel: &Sequel| Schedule { scenario, faults: [(number, *fault)].into(), sequel: *sequel };
            schedules.extend(SCENARIOS[scenario].sequels().iter().map(single));
        }
    }
    schedules
}

/// Pairs of faults, drawn by a seed each: where somebody else writes, that and a fault.
fn pairs(count: usize) -> Vec<Schedule> {
    let singles = singles();
    let of: Vec<Vec<Schedule>> = (0..COUNT)
        .map(|scenario| match SCENARIOS[scenario].meanwhile {
            Some(_) if singles.iter().any(|single| single.scenario == scenario) => {
                with_each(scenario, &Fault::ALL)
            }
            _ => singles.iter().filter(|single| single.scenario == scenario).cloned().collect(),
        })
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

fn check(name: &str, schedules: &[Schedule]) {
    let begin = Instant::now();
    work::check(name, schedules, verdict, |schedule| format!("SIM_ONLY={schedule}"));
    eprintln!("sim: {} {name} in {:.1} s", schedules.len(), begin.elapsed().as_secs_f32());
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
    check("single faults", &schedules);
}

#[test]
fn pairs_of_faults_are_overcome() {
    check("pairs of faults", &pairs(work::seeds(PAIRS)));
}

#[test]
fn one_schedule_has_one_trace() {
    for text in [
        "first/5:LoseAnswer/Again",
        "rollout/9:DieAfter/Other",
        "convert/4:Late/Scale",
        "watch/1:Cut/Again",
        "edit-forced/5:Edit+9:DieAfter/Again",
    ] {
        let schedule: Schedule = text.parse().expect("a schedule");
        assert_eq!(schedule.to_string(), text);
        let undisturbed = undisturbed(schedule.scenario);
        let trace = || undisturbed.play(&Course::Asked(&schedule.faults), schedule.sequel).trace;
        assert_eq!(trace(), trace(), "{text}");
    }
}

/// Schedules that once did not end well, each with the rule that was missing.
const REMEMBERED: [&str; 11] = [
    // Whoever dies while he puts a revision back, before his own is stored, was going there and not to the failed one.
    "on-failure-ready/32:DieAfter/Nobody",
    "on-failure-ready/33:DieBefore/Nobody",
    // What arrives when its record is gone is looked out for by whoever has seen the record go.
    "first/7:Late/Teardown",
    "first/7:Overtime/Teardown",
    "first/7:Late+9:DieBefore/Nobody",
    "named-first/6:Late+26:DieBefore/Other",
    "rollout/12:Late/Teardown",
    // A count that was set and not recorded is Scale's, as its object says.
    "scale/2:DieAfter/Nobody",
    "scale/3:DieBefore/Nobody",
    // Who takes the form of pods back says so in the record: once it is done nobody can see that it was another's.
    "image-taken-back/22:DieAfter/Nobody",
    "image-taken-back/23:DieBefore/Again",
];

#[test]
fn what_once_failed_is_overcome() {
    check("remembered schedules", &REMEMBERED.map(|text| text.parse().expect("a schedule")));
}

/// Whatever the order in which somebody else and a Deploy write: who takes fields ends with the template, and who yields
/// leaves exactly what the other has written.
#[test]
fn what_stands_beside_somebody_else_is_as_the_policy_says() {
    let chosen: Vec<usize> = (0..COUNT).filter(|scenario| is_chosen(SCENARIOS[*scenario].name)).collect();
    for scenario in chosen {
        let Some(deed) = SCENARIOS[scenario].meanwhile else { continue };
        let undisturbed = undisturbed(scenario);
        for sequel in SCENARIOS[scenario].sequels() {
            let template = &undisturbed.ends(*sequel)[0].1;
            for (_, state) in undisturbed.disturbed(deed, *sequel) {
                let found = judge::difference(template, state);
                let is_theirs = |found: &String| match (deed, &SCENARIOS[scenario].asked, sequel) {
                    (_, _, Sequel::Teardown) => deed.creates() && found.starts_with("Service db"),
                    (Deed::Edit, Ask::Yielded(_), Sequel::Again) => {
                        found.starts_with("Service db")
                            && (found.contains("ports") || found.contains("fields"))
                    }
                    (Deed::Image, Ask::Yielded(_), Sequel::Again) => is_of_image(found),
                    (Deed::Scale, ..) => is_counted(found),
                    _ => false,
                };
                let wrong: Vec<&String> = found.iter().filter(|found| !is_theirs(found)).collect();
                let name = SCENARIOS[scenario].name;
                assert!(wrong.is_empty(), "{name}/{sequel:?}: {wrong:#?}");
                let is_kept = matches!(
                    (deed, &SCENARIOS[scenario].asked, sequel),
                    (Deed::Edit | Deed::Image, Ask::Yielded(_), Sequel::Again)
                        | (Deed::Scale, _, Sequel::Again)
                );
                assert_eq!(is_kept, !found.is_empty() && *sequel != Sequel::Teardown, "{name}/{sequel:?}");
            }
        }
    }
}

/// Whether a difference is that of the image which somebody else has set for the web servers.
fn is_of_image(found: &str) -> bool {
    let of_controller = found.starts_with("ReplicationController web-replication-controller");
    let of_pods = found.starts_with("Pod of ReplicationController web-replication-controller");
    of_pods || of_controller && ["containers", "fields"].iter().any(|part| found.contains(part))
}

/// Whether a difference is that of a count which somebody else has set.
fn is_counted(found: &str) -> bool {
    let of_controller = found.starts_with("ReplicationController web-replication-controller");
    let of_pods = found.starts_with("Pod of ReplicationController web-replication-controller");
    of_pods || of_controller && ["replicas", "fields", "ready"].iter().any(|part| found.contains(part))
}
