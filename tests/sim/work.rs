//! Runs many schedules on every core, and tells the story of those that fail.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::road::lock;

/// How many failures are told of by name, and how many of those with their calls.
const NAMED: usize = 400;
const TOLD: usize = 3;
/// After how many schedules a long run says how far it is.
const STEP: usize = 5_000;

/// What a schedule came to.
pub struct Verdict {
    /// What must not be so; empty if all is well.
    pub faults: Vec<String>,
    /// Every call.
    pub trace: Vec<String>,
}

/// The calls, one a line; what comes again and again is counted.
fn told(trace: &[String]) -> String {
    let mut lines: Vec<(&String, usize)> = Vec::new();
    for line in trace {
        match lines.last_mut() {
            Some((last, count)) if *last == line => *count += 1,
            _ => lines.push((line, 1)),
        }
    }
    let line = |(line, count): &(&String, usize)| {
        if *count > 1 { format!("{line} ({count} times)") } else { (*line).clone() }
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n  ")
}

/// How many seeds are to be tried: those of the fixed set, or as many as the environment says.
pub fn seeds(fixed: usize) -> usize {
    let asked = std::env::var("SIM_SEEDS").ok();
    asked.map_or(fixed, |count| count.parse().expect("SIM_SEEDS is a number"))
}

/// So many of these, drawn by one seed; all of them if the environment asks for other seeds than the fixed set's.
pub fn some<S>(mut all: Vec<S>, count: usize) -> Vec<S> {
    if std::env::var_os("SIM_SEEDS").is_some() {
        return all;
    }
    let mut draw = draw(7);
    while all.len() > count {
        all.swap_remove(draw(all.len()));
    }
    all
}

/// Draws numbers below a bound.
pub fn draw(seed: u64) -> impl FnMut(usize) -> usize {
    let mut chance = StdRng::seed_from_u64(seed);
    move |bound| chance.random_range(0..bound)
}

/// Does the same for each of these, on every core.
pub fn each<S: Sync, T: Send>(all: &[S], make: impl Fn(&S) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let made = Mutex::new(Vec::new());
    on_every_core(|| {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(one) = all.get(number) else { return false };
        let result = make(one);
        lock(&made).push((number, result));
        true
    });
    let mut made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
    made.sort_by_key(|(number, _)| *number);
    made.into_iter().map(|(_, result)| result).collect()
}

/// Works on every core until there is no more work.
fn on_every_core(work: impl Fn() -> bool + Sync) {
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| while work() {});
        }
    });
}

/// Runs every schedule; fails with the story of those that do not end well.
///
/// `again` is what to put before the command that runs one of them alone.
pub fn check<S: Sync>(
    name: &str,
    schedules: &[S],
    verdict: impl Fn(&S) -> Verdict + Sync,
    again: impl Fn(&S) -> String + Sync,
) {
    let played = AtomicUsize::new(0);
    let judged = each(schedules, |schedule| {
        let judged = catch_unwind(AssertUnwindSafe(|| verdict(schedule)));
        let judged =
            judged.unwrap_or_else(|_| Verdict { faults: vec!["it panics".to_owned()], trace: Vec::new() });
        let count = 1 + played.fetch_add(1, Ordering::Relaxed);
        if count.is_multiple_of(STEP) {
            eprintln!("sim: {count} of {} {name}", schedules.len());
        }
        // At once, since a long run may be ended early.
        (!judged.faults.is_empty()).then(|| {
            let again = again(schedule);
            eprintln!("sim: {again}: {}", judged.faults.join("; "));
            (again, judged)
        })
    });
    let mut failures: Vec<_> = judged.into_iter().flatten().collect();
    if failures.is_empty() {
        return;
    }
    // The shortest story is the easiest to read.
    failures.sort_by_key(|(again, judged)| (judged.trace.len(), again.clone()));
    let mut story = String::new();
    for (again, judged) in failures.iter().take(NAMED) {
        story.push_str(&format!("{again}: {}\n", judged.faults.join("; ")));
    }
    for (again, judged) in failures.iter().take(TOLD) {
        story.push_str(&format!("\n{again} cargo test --test main sim::\n  {}\n", told(&judged.trace)));
    }
    panic!("{} of {} {name} do not end well:\n{story}", failures.len(), schedules.len());
}
