//! How long what holds components up was seen so: what may pass in a moment is told as a failure only after that.
//!
//! Judged as leases are: by this process's own monotonic clock, from its first sight on, and never by the times that
//! objects carry, which are another machine's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Engine, look};
use crate::artifacts::{ByName, HoldUp, ObjectRef, Observed, Target};
use crate::plan::{self, Drift};
use crate::record::{Record, Transition};

/// How long the watches may lag behind each other before the cluster is asked whether an object is really missing, or
/// really another than was deployed.
const DOUBT: Duration = Duration::from_secs(1);
/// How long a registry may fail before nobody waits for it any more.
const PULLING: Duration = Duration::from_secs(15);
/// How long a container may take to end whose image was changed: the 30 seconds that pods usually ask for, and what its
/// kubelet needs. What is shown for longer is the image itself, under another name: a runtime knows several.
const ENDING: Duration = Duration::from_secs(45);
/// Deployments that are kept in sight; more would mean that nothing of them ever starts.
const LIMIT: usize = 10_000;

/// What held each deployment up when it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Patience {
    sights: Mutex<BTreeMap<Target, BTreeMap<HoldUp, Sight>>>,
    /// What the last look has found by name where a list did not show an object.
    by_name: Mutex<BTreeMap<Target, BTreeMap<ObjectRef, ByName>>>,
}

/// Since when something is seen so.
#[derive(Clone, Copy, Debug)]
struct Sight {
    since: Instant,
    /// Whether a look at the cluster has shown it, beside the watches.
    is_proven: bool,
}

/// What has held a deployment up for too long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overdue {
    /// Those hold-ups.
    pub held_up: BTreeSet<HoldUp>,
    /// When to judge again, if nothing changes until then.
    pub again_in: Option<Duration>,
    /// What the last look has found under the names of objects that are missing.
    pub by_name: BTreeMap<ObjectRef, ByName>,
}

/// How the deployment was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// Its record was read, and then its objects: what was not among them does not exist.
    Looked,
    /// The watches have shown it; those of two kinds may lag behind each other.
    Watched,
}

/// Judges what holds a deployment up, as it was just seen.
pub async fn overdue(engine: &Engine, record: &Record, seen: &[HoldUp], sighting: Sighting) -> Overdue {
    let target = record.target();
    let is_proven = sighting == Sighting::Looked;
    let (mut overdue, doubted) = engine.judge(&target, seen, is_proven);
    if !doubted.is_empty() {
        // Rare and large: a watch at rest does not hold it.
        overdue = Box::pin(proven(engine, record, overdue, doubted)).await;
    }
    if !overdue.held_up.is_empty() {
        overdue.by_name = engine.patience.found_by_name(&target);
    }
    overdue
}

/// Asks the cluster about what the watches alone have shown.
async fn proven(engine: &Engine, record: &Record, mut overdue: Overdue, doubted: Vec<HoldUp>) -> Overdue {
    let target = record.target();
    // The record is read first: what it names was created before.
    let looked = async {
        let now = look::read(engine, &target).await?;
        let Some(now) = now.filter(|now| now.head == record.head) else { return Ok(None) };
        look::look_at(engine, &now).await.map(Some)
    };
    let looked: crate::error::Result<_> = looked.await;
    let Ok(Some(observed)) = looked else {
        overdue.again_in = Some(overdue.again_in.map_or(DOUBT, |again| again.min(DOUBT)));
        return overdue;
    };
    let mut drifted = plan::drift(record, &observed, &[]);
    if !drifted.is_empty() {
        drifted = unlike(engine, record, &observed).await.unwrap_or(drifted);
    }
    let drifted: Vec<HoldUp> = drifted.iter().map(plan::Drift::held_up).collect();
    let is_so = |hold_up: &HoldUp| match hold_up {
        HoldUp::Missing { workload, uid } => observed.has(workload.kind, uid) == Some(false),
        HoldUp::Drifted { .. } => drifted.contains(hold_up),
        HoldUp::Pulling { .. } | HoldUp::Former { .. } | HoldUp::Waiting { .. } => false,
    };
    let (proven, lagging): (Vec<HoldUp>, Vec<HoldUp>) = doubted.into_iter().partition(is_so);
    engine.patience.settle(&target, &proven, &lagging, engine.clock.elapsed());
    if !lagging.is_empty() {
        overdue.again_in = Some(overdue.again_in.map_or(DOUBT, |again| again.min(DOUBT)));
    }
    overdue.held_up.extend(proven);
    overdue
}

/// The objects that are not as they were deployed, compared field by field; those that somebody has written and that
/// are the same again are noted in the record, so that nobody has to compare them a second time.
async fn unlike(engine: &Engine, record: &Record, observed: &Observed) -> crate::error::Result<Vec<Drift>> {
    let current = record.head.current.as_ref();
    let revision = look::read_revision(engine, &record.target(), current).await?;
    let rendered = revision.as_ref().map(|revision| revision.rendered_with(record.head.controllers()));
    let rendered = rendered.unwrap_or_default();
    let objects = plan::same_again(record, observed, &rendered);
    if !objects.is_empty() {
        engine.amend(record, &Transition::SameAgain { objects }).await?;
    }
    Ok(plan::drift(record, observed, &rendered))
}

impl Engine {
    fn judge(&self, target: &Target, seen: &[HoldUp], is_proven: bool) -> (Overdue, Vec<HoldUp>) {
        let grace = self.settings.unschedulable_grace;
        self.patience.judge(target, seen, is_proven, grace, self.clock.elapsed())
    }
}

impl Patience {
    fn sights(&self) -> MutexGuard<'_, BTreeMap<Target, BTreeMap<HoldUp, Sight>>> {
        self.sights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a look has found by name.
    pub(super) fn note_by_name(&self, target: &Target, found: &BTreeMap<ObjectRef, ByName>) {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if found.is_empty() {
            by_name.remove(target);
            return;
        }
        if by_name.len() >= LIMIT {
            by_name.pop_first();
        }
        by_name.insert(target.clone(), found.clone());
    }

    fn found_by_name(&self, target: &Target) -> BTreeMap<ObjectRef, ByName> {
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        by_name.get(target).cloned().unwrap_or_default()
    }

    /// Notes what holds a deployment up, and says what has for too long, and what the watches alone have shown for long
    /// enough to ask the cluster.
    fn judge(
        &self,
        target: &Target,
        seen: &[HoldUp],
        is_proven: bool,
        grace: Duration,
        now: Instant,
    ) -> (Overdue, Vec<HoldUp>) {
        let mut sights = self.sights();
        let mut known = sights.remove(target).unwrap_or_default();
        let (mut overdue, mut doubted, mut noted) = (Overdue::default(), Vec::new(), BTreeMap::new());
        for hold_up in seen {
            let mut sight = known.remove(hold_up).unwrap_or(Sight { since: now, is_proven: false });
            sight.is_proven |= is_proven;
            let seen_for = now.saturating_duration_since(sight.since);
            let left = match hold_up {
                HoldUp::Missing { .. } | HoldUp::Drifted { .. } if sight.is_proven => Duration::ZERO,
                HoldUp::Missing { .. } | HoldUp::Drifted { .. } => DOUBT.saturating_sub(seen_for),
                HoldUp::Pulling { .. } => PULLING.saturating_sub(seen_for),
                HoldUp::Former { .. } => ENDING.saturating_sub(seen_for),
                HoldUp::Waiting { .. } => grace.saturating_sub(seen_for),
            };
            let is_doubted =
                matches!(hold_up, HoldUp::Missing { .. } | HoldUp::Drifted { .. }) && !sight.is_proven;
            if left > Duration::ZERO {
                overdue.again_in = Some(overdue.again_in.map_or(left, |again: Duration| again.min(left)));
            } else if is_doubted {
                doubted.push(hold_up.clone());
            } else {
                overdue.held_up.insert(hold_up.clone());
            }
            noted.insert(hold_up.clone(), sight);
        }
        if !noted.is_empty() {
            if sights.len() >= LIMIT {
                // Forgetting a sight makes its time begin anew: a failure is only told later.
                sights.pop_first();
            }
            sights.insert(target.clone(), noted);
        }
        (overdue, doubted)
    }

    /// Notes what a look has shown: some is so, and for the rest the watches only lagged.
    fn settle(&self, target: &Target, proven: &[HoldUp], lagging: &[HoldUp], now: Instant) {
        let mut sights = self.sights();
        let Some(noted) = sights.get_mut(target) else { return };
        for hold_up in proven {
            if let Some(sight) = noted.get_mut(hold_up) {
                sight.is_proven = true;
            }
        }
        for hold_up in lagging {
            if let Some(sight) = noted.get_mut(hold_up) {
                sight.since = now;
            }
        }
    }

    /// Forgets a deployment that is gone.
    pub(super) fn forget(&self, target: &Target) {
        self.sights().remove(target);
        self.note_by_name(target, &BTreeMap::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::{DeploymentName, Kind, Namespace, ObjectName};

    const GRACE: Duration = Duration::from_secs(120);

    fn target() -> Target {
        Target {
            namespace: Namespace::new("default").expect("a namespace"),
            name: DeploymentName::new("web").expect("a name"),
        }
    }

    fn waiting(pod: &str) -> HoldUp {
        HoldUp::Waiting { pod: pod.to_owned() }
    }

    fn again_in_grace() -> Overdue {
        Overdue { again_in: Some(GRACE), ..Overdue::default() }
    }

    fn missing() -> HoldUp {
        let name = ObjectName::new("web").expect("a name");
        HoldUp::Missing { workload: ObjectRef::new(Kind::Deployment, name), uid: "u".to_owned() }
    }

    #[tokio::test]
    async fn what_waits_is_overdue_once_this_process_has_seen_it_for_the_grace() {
        let (patience, begin) = (Patience::default(), Instant::now());
        let judge = |seen: &[HoldUp], after: u64| {
            patience.judge(&target(), seen, false, GRACE, begin + Duration::from_secs(after)).0
        };
        assert_eq!(judge(&[waiting("a")], 0), again_in_grace());
        assert_eq!(judge(&[waiting("a")], 119).again_in, Some(Duration::from_secs(1)));
        assert_eq!(judge(&[waiting("a")], 120).held_up, [waiting("a")].into());
        // Another pod begins anew, and so does one that was not seen so in between.
        assert_eq!(judge(&[waiting("a"), waiting("b")], 121).held_up, [waiting("a")].into());
        assert_eq!(judge(&[waiting("b")], 122).again_in, Some(Duration::from_secs(119)));
        assert_eq!(judge(&[waiting("a")], 123), again_in_grace());
    }

    #[tokio::test]
    async fn what_the_watches_do_not_show_is_missing_only_after_a_look() {
        let (patience, begin) = (Patience::default(), Instant::now());
        let judge = |proven: bool, after: u64| {
            patience.judge(&target(), &[missing()], proven, GRACE, begin + Duration::from_secs(after))
        };
        let (first, doubted) = judge(false, 0);
        assert_eq!((first.held_up.len(), first.again_in, doubted.len()), (0, Some(DOUBT), 0));
        let (second, doubted) = judge(false, 1);
        assert_eq!((second.held_up.len(), doubted.len()), (0, 1), "it is time to look");
        patience.settle(&target(), &[], &[missing()], begin + Duration::from_secs(1));
        assert_eq!(judge(false, 1).0.again_in, Some(DOUBT), "the watches lagged");
        patience.settle(&target(), &[missing()], &[], begin + Duration::from_secs(1));
        assert_eq!(judge(false, 2).0.held_up.len(), 1);
        patience.forget(&target());
        assert_eq!(judge(true, 3).0.held_up.len(), 1, "a look needs no time");
    }
}
