//! Looks for a serial order that explains every answer.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Instant;

/// What was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// Deploy of a template.
    Deploy(usize),
    Scale,
    Teardown,
    Get,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    Created,
    Updated,
    Unchanged,
    /// There is no deployment.
    Missing,
    /// This template stands.
    Stands(usize),
    /// Another operation came first: nothing was done.
    Refused,
    /// Done or not.
    Unknown,
}

/// What is deployed.
type State = Option<usize>;

#[derive(Clone, Debug)]
struct Entry {
    call: Call,
    answer: Answer,
    began: Instant,
    ended: Instant,
}

/// Everything that was called and answered.
#[derive(Default)]
pub struct History {
    entries: Vec<Entry>,
    counts: BTreeMap<String, usize>,
}

/// How often each effect of calls that may have been done was taken for done.
type Used = BTreeMap<State, usize>;

impl History {
    pub fn add(&mut self, call: Call, answer: Option<Answer>, began: Instant, ended: Instant) {
        let text = format!("{call:?} {answer:?}");
        *self.counts.entry(text.replace("Some(", "").replace([')', '('], "")).or_default() += 1;
        if let Some(answer) = answer {
            self.entries.push(Entry { call, answer, began, ended });
        }
    }

    /// How often each answer came.
    pub fn counts(&self) -> String {
        let each = self.counts.iter().map(|(text, count)| format!("{count} {text}"));
        each.collect::<Vec<_>>().join(", ")
    }

    /// Whether there is such an order; the error shows where the longest attempt ended.
    ///
    /// A call that may have been done may be so at any time after its beginning, and once.
    pub fn fits(&self) -> Result<(), String> {
        let mut sure: Vec<Entry> = Vec::new();
        let mut unsure: Vec<(State, Instant)> = Vec::new();
        for entry in &self.entries {
            match (entry.answer, entry.call) {
                (Answer::Refused, _) | (Answer::Unknown, Call::Scale | Call::Get) => {}
                (Answer::Unknown, Call::Deploy(edition)) => unsure.push((Some(edition), entry.began)),
                (Answer::Unknown, Call::Teardown) => unsure.push((None, entry.began)),
                _ => sure.push(entry.clone()),
            }
        }
        sure.sort_by_key(|entry| entry.began);
        let mut search = Search { sure: &sure, unsure: &unsure, dead: HashSet::new(), deepest: (0, None) };
        if search.goes_on(0, &BTreeSet::new(), None, &Used::new()) {
            return Ok(());
        }
        let (depth, state) = search.deepest;
        let first = sure.first().map(|entry| entry.began);
        let around = sure.iter().skip(depth.saturating_sub(12)).take(24).map(|entry| {
            let since = |at: Instant| first.map(|first| at.duration_since(first)).unwrap_or_default();
            format!(
                "{:.3?} to {:.3?}: {:?} {:?}",
                since(entry.began),
                since(entry.ended),
                entry.call,
                entry.answer
            )
        });
        let around: Vec<String> = around.collect();
        Err(format!("no serial order beyond {depth} of {} calls, then {state:?}: {around:#?}", sure.len()))
    }
}

struct Search<'a> {
    sure: &'a [Entry],
    unsure: &'a [(State, Instant)],
    dead: HashSet<(usize, BTreeSet<usize>, State, Used)>,
    deepest: (usize, State),
}

impl Search<'_> {
    /// Whether the calls from `base` on but these, which are done, can follow in this state.
    fn goes_on(&mut self, base: usize, done: &BTreeSet<usize>, state: State, used: &Used) -> bool {
        let (mut base, mut done) = (base, done.clone());
        while done.remove(&base) {
            base += 1;
        }
        if base == self.sure.len() {
            return true;
        }
        if base + done.len() > self.deepest.0 {
            self.deepest = (base + done.len(), state);
        }
        if !self.dead.insert((base, done.clone(), state, used.clone())) {
            return false;
        }
        let left = || (base..self.sure.len()).filter(|index| !done.contains(index));
        let Some(first_end) = left().map(|index| self.sure[index].ended).min() else { return true };
        let next: Vec<usize> = left().take_while(|index| self.sure[*index].began <= first_end).collect();
        for index in next {
            let entry = &self.sure[index];
            let mut after = done.clone();
            after.insert(index);
            for between in self.between(entry, state, used) {
                let mut used = used.clone();
                let from = match between {
                    None => state,
                    Some(effect) => {
                        *used.entry(effect).or_default() += 1;
                        effect
                    }
                };
                if let Some(to) = after_call(entry, from)
                    && self.goes_on(base, &after, to, &used)
                {
                    return true;
                }
            }
        }
        false
    }

    /// What may have been done right before a call: nothing, or one of the calls of which nobody knows.
    fn between(&self, entry: &Entry, state: State, used: &Used) -> Vec<Option<State>> {
        if after_call(entry, state).is_some() {
            return vec![None];
        }
        let effects: BTreeSet<State> = self.unsure.iter().map(|(effect, _)| *effect).collect();
        let is_left = |effect: &State| {
            let begun =
                self.unsure.iter().filter(|(one, began)| one == effect && *began <= entry.ended).count();
            begun > used.get(effect).copied().unwrap_or_default()
        };
        effects.into_iter().filter(is_left).map(Some).collect()
    }
}

/// What stands after a call that was answered so; `None`: the answer does not fit what stood before.
fn after_call(entry: &Entry, before: State) -> Option<State> {
    let fits = match (entry.call, entry.answer) {
        (_, Answer::Missing | Answer::Created) => before.is_none(),
        (Call::Deploy(edition), Answer::Unchanged) | (_, Answer::Stands(edition)) => before == Some(edition),
        // Two Teardowns may be one.
        (Call::Teardown, _) => true,
        _ => before.is_some(),
    };
    let after = match (entry.call, entry.answer) {
        (_, Answer::Missing) => before,
        (Call::Deploy(edition), _) => Some(edition),
        (Call::Teardown, _) => None,
        (Call::Scale | Call::Get, _) => before,
    };
    fits.then_some(after)
}

/// A history whose calls follow one another.
fn one_by_one(calls: &[(Call, Answer)]) -> History {
    let (start, mut history) = (Instant::now(), History::default());
    for (index, (call, answer)) in calls.iter().enumerate() {
        let at = start + std::time::Duration::from_secs(u64::try_from(index).expect("a small number"));
        history.add(*call, Some(*answer), at, at);
    }
    history
}

#[test]
fn what_no_order_explains_is_found() {
    let made = (Call::Deploy(1), Answer::Created);
    let fits = |calls: &[(Call, Answer)]| one_by_one(calls).fits().is_ok();
    assert!(fits(&[made, (Call::Get, Answer::Stands(1)), (Call::Scale, Answer::Updated)]));
    assert!(!fits(&[made, (Call::Get, Answer::Stands(2))]), "never deployed");
    assert!(!fits(&[made, (Call::Get, Answer::Missing)]), "lost");
    assert!(!fits(&[made, (Call::Deploy(2), Answer::Unchanged)]), "never written");
    assert!(!fits(&[made, (Call::Deploy(2), Answer::Created)]), "made twice");
    assert!(!fits(&[made, (Call::Teardown, Answer::Updated), (Call::Get, Answer::Stands(1))]), "came back");
    // Once done, whoever was told nothing.
    let lost = (Call::Deploy(2), Answer::Unknown);
    assert!(fits(&[made, lost, (Call::Get, Answer::Stands(1)), (Call::Get, Answer::Stands(2))]));
    let back = (Call::Deploy(1), Answer::Updated);
    assert!(
        !fits(&[made, lost, (Call::Get, Answer::Stands(2)), back, (Call::Get, Answer::Stands(2))]),
        "twice"
    );
    assert!(!fits(&[made, (Call::Deploy(2), Answer::Refused), (Call::Get, Answer::Stands(2))]), "refused");
}
