//! Every order of events on one small record, up to a depth: what no single run can show.

use std::collections::BTreeMap;

use super::Timestamp;
use k8s_openapi::api::core::v1::Service;

use super::super::*;
use crate::artifacts::ComponentName;
use crate::record::{Applied, Begin, Member, NotPutBack, Operation, Recorded, Work};

/// How many events follow one another.
const DEPTH: usize = 8;
/// The lease of every operation.
const LEASE: Duration = Duration::from_secs(30);

/// A record, the Services that are there by name, and how long the record was not seen renewed.
#[derive(Clone)]
struct State {
    head: Head,
    objects: BTreeMap<String, String>,
    unrenewed_for: Duration,
    uids: u32,
    /// The record before the operation under way, if it was in order.
    earlier: Option<Head>,
}

/// What may happen next; an operation is known to its process by its id alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A Deploy of one Service, or of two, begins where it may, or takes over.
    Deploy(u8),
    /// A Teardown begins where it may, or takes over.
    Teardown,
    /// Scale sets counts, without a lock.
    Scale,
    /// The holder renews its lease.
    Renew,
    /// The holder has written everything.
    Written,
    /// The holder has written nothing of an update.
    Refused,
    /// The holder has written what it could.
    Incomplete,
    /// The holder dies, and its lease passes; or a minute passes at rest.
    Silence,
    /// A keeper carries out one duty.
    Keep,
}

const EVENTS: [Event; 10] = [
    Event::Deploy(1),
    Event::Deploy(2),
    Event::Teardown,
    Event::Scale,
    Event::Renew,
    Event::Written,
    Event::Refused,
    Event::Incomplete,
    Event::Silence,
    Event::Keep,
];

impl State {
    fn new() -> Self {
        let mut head = Head::new("Shop".to_owned(), Timestamp::UNIX_EPOCH);
        head.phase = Phase::Idle;
        head.recorded.state = DeploymentState::Active;
        Self { head, objects: BTreeMap::new(), unrenewed_for: Duration::ZERO, uids: 0, earlier: None }
    }

    fn held(&self) -> Record {
        Record::of(self.head.clone())
    }

    fn observed(&self) -> Observed {
        let services = self.objects.iter().map(|(name, uid)| {
            let metadata =
                ObjectMeta { name: Some(name.clone()), uid: Some(uid.clone()), ..Default::default() };
            Service { metadata, ..Default::default() }.into()
        });
        Observed { services: services.collect(), ..Observed::default() }
    }

    fn duties(&self) -> Duties {
        duties(&self.held(), &self.observed(), self.unrenewed_for)
    }

    fn is_free(&self) -> bool {
        let operation = self.head.operation.as_ref();
        operation.is_none_or(|operation| operation.remaining(self.unrenewed_for) == Duration::ZERO)
    }

    fn take(&mut self, transition: &Transition) {
        self.head = transition.apply(&self.head);
        self.unrenewed_for = Duration::ZERO;
    }

    fn begin(&mut self, work: Work) {
        self.earlier = self.head.operation.is_none().then(|| self.head.clone());
        let epoch = self.head.operation.as_ref().map_or(1, |operation| operation.epoch + 1);
        let operation = Operation {
            id: format!("{:016}", self.head.generation + 1),
            kind: work.kind(),
            epoch,
            holder: "somebody".to_owned(),
            started: Timestamp::UNIX_EPOCH,
            lease_until: Timestamp::UNIX_EPOCH,
            lease_millis: u64::try_from(LEASE.as_millis()).expect("a short lease"),
            revision: work.revision().cloned(),
            request: None,
            back_to: None,
            rollback_of: None,
            by: None,
        };
        self.take(&Transition::Begin(Box::new(Begin { operation, work })));
    }

    fn deploy(&mut self, services: u8) {
        let names: Vec<String> = (0..services).map(|number| format!("s{number}")).collect();
        let mut inventory: Vec<Member> = names.iter().map(|name| self.member(name)).collect();
        let leaves = |member: &&Member| !names.contains(&member.reference.name.to_string());
        let removals = self
            .head
            .inventory
            .iter()
            .filter(leaves)
            .filter(|member| self.objects.values().any(|uid| Some(uid) == member.uid.as_ref()));
        inventory.extend(removals.map(|member| Member { state: MemberState::Deleting, ..member.clone() }));
        let number = self.head.next_revision();
        let revision = HeadRef { number, secret: format!("r{number}") };
        let recorded = Recorded { state: DeploymentState::Deploying, ..Recorded::default() };
        self.begin(Work::Deploy {
            revision,
            template_name: "Shop".to_owned(),
            recorded,
            inventory,
            back_to: None,
            rollback_of: None,
            takes_back: None,
            prunes: true,
        });
    }

    fn member(&self, name: &str) -> Member {
        let reference = ObjectRef::new(Kind::Service, ObjectName::new(name).expect("a name"));
        let component = ComponentName::new("web").expect("a name");
        let uid = self.objects.get(name).cloned();
        let planned = Member::late(reference, component, String::new(), "0".repeat(16));
        Member { state: MemberState::Planned, uid, ..planned }
    }

    /// Writes the planned objects, all or none, and ends the operation.
    fn end(&mut self, complete: bool) {
        let mut inventory = self.head.inventory.clone();
        for member in inventory.iter_mut().filter(|member| complete && member.state == MemberState::Planned) {
            let uids = &mut self.uids;
            let uid = self.objects.entry(member.reference.name.to_string()).or_insert_with(|| {
                *uids += 1;
                format!("uid-{uids}")
            });
            member.uid = Some(uid.clone());
            member.state = MemberState::Applied;
        }
        let revision = self.head.operation.as_ref().and_then(|operation| operation.revision.clone());
        let phase = if complete { Phase::Progressing } else { Phase::Incomplete };
        let now = Timestamp::UNIX_EPOCH;
        self.take(&Transition::Applied(Box::new(Applied {
            inventory,
            revision,
            complete,
            phase,
            refused: Vec::new(),
            untouched: Vec::new(),
            pledge: None,
            not_put_back: None,
            now,
        })));
    }

    /// Carries out the first duty, as a keeper does; `None` once the record is gone.
    fn keep(mut self) -> Option<Self> {
        match self.duties().now.into_iter().next() {
            Some(Duty::Adopt) => {
                let planned =
                    self.head.inventory.iter().filter(|member| member.state != MemberState::Deleting);
                let services = u8::try_from(planned.count()).expect("few Services");
                self.deploy(services);
                self.end(true);
            }
            Some(Duty::TearDown) => return None,
            Some(Duty::Delete(removals)) => {
                let gone: BTreeSet<String> = removals.into_iter().map(|removals| removals.uid).collect();
                self.objects.retain(|_, uid| !gone.contains(uid));
                self.take(&Transition::Settled { seen: None, gone });
            }
            Some(Duty::ClearDoubts(operations)) => self.take(&Transition::DoubtsCleared { operations }),
            Some(Duty::ForgetRefused(accepted)) => {
                self.take(&Transition::DeletesAnswered { refused: Vec::new(), accepted });
            }
            Some(Duty::ClearLeft(_)) => {}
            Some(Duty::TakeBack(..)) => {
                self.take(&Transition::NotPutBack(NotPutBack::new(1, "it cannot be")));
            }
            Some(Duty::DropRevisions(revisions)) => self.take(&Transition::RevisionsDropped { revisions }),
            Some(Duty::Settle(seen)) => {
                self.take(&Transition::Settled { seen: Some(seen), gone: BTreeSet::new() });
            }
            Some(Duty::Replace(_) | Duty::DeleteLate(_)) | None => {}
        }
        Some(self)
    }

    /// The state after an event; `None` where it cannot happen, or where it ends the deployment.
    fn after(&self, event: Event) -> Option<Self> {
        let mut next = self.clone();
        let phase = self.head.phase;
        let writes = self.head.operation.is_some() && phase == Phase::Applying;
        match event {
            Event::Deploy(services) if self.is_free() && phase != Phase::Deleting => next.deploy(services),
            Event::Teardown if self.is_free() => {
                let inventory = self.head.inventory.clone();
                next.begin(Work::Teardown { inventory, retained: Vec::new() });
            }
            Event::Scale if self.head.operation.is_none() => {
                next.take(&Transition::Scaled {
                    id: "scale".to_owned(),
                    counts: Vec::new(),
                    request: None,
                    now: Timestamp::UNIX_EPOCH,
                });
            }
            Event::Renew if !self.is_free() => {
                let until = self.head.operation.as_ref()?.lease_until.checked_add(LEASE).ok()?;
                next.take(&Transition::Renew { until });
            }
            Event::Written if writes && !self.is_free() => next.end(true),
            Event::Incomplete if writes && !self.is_free() => next.end(false),
            Event::Refused if writes && !self.is_free() => {
                let revision = self.head.operation.as_ref()?.revision.clone()?;
                let earlier = Box::new(self.earlier.clone()?);
                next.take(&Transition::Refused {
                    earlier,
                    revision: Some(revision),
                    now: Timestamp::UNIX_EPOCH,
                });
            }
            Event::Silence if self.unrenewed_for == Duration::ZERO => {
                next.unrenewed_for = Duration::from_secs(60);
            }
            Event::Keep => return next.keep(),
            _ => return None,
        }
        Some(next)
    }

    fn key(&self) -> String {
        let head = serde_json::to_string(&self.head).expect("a record");
        format!("{head}{:?}{:?}", self.objects, self.unrenewed_for)
    }
}

/// What must hold from one state to the next.
fn check(before: &State, event: Event, after: &State, story: &[Event]) {
    let (one, next) = (&before.head, &after.head);
    let begins = one.operation.as_ref().map(|operation| &operation.id)
        != next.operation.as_ref().map(|operation| &operation.id)
        && next.operation.is_some();
    let adopted = event == Event::Keep && before.duties().now.contains(&Duty::Adopt);
    let grown = u64::from(begins || adopted || event == Event::Scale);
    assert_eq!(next.generation, one.generation + grown, "an operation counts once: {story:?} {event:?}");
    let uids = |state: &State| -> BTreeSet<String> {
        state.head.inventory.iter().filter_map(|member| member.uid.clone()).collect()
    };
    let lost: Vec<String> = uids(before)
        .difference(&uids(after))
        .filter(|uid| after.objects.values().any(|one| one == *uid))
        .cloned()
        .collect();
    assert!(lost.is_empty(), "{lost:?} are there and nobody knows them: {story:?} {event:?}");
    let known: BTreeSet<String> = uids(after);
    let orphans: Vec<&String> = after.objects.values().filter(|uid| !known.contains(*uid)).collect();
    assert!(orphans.is_empty(), "orphans {orphans:?}: {story:?} {event:?}");
    let left = after.duties();
    let nothing = left.now.is_empty() && left.waits.is_empty() && left.again_in.is_none();
    assert_eq!(nothing, is_at_rest(&after.held()), "{left:?} {:?}: {story:?} {event:?}", after.head.phase);
}

/// From any state keepers alone come to rest, or to the deployment's end.
fn comes_to_rest(state: &State, story: &[Event]) {
    let mut state = state.clone();
    for _ in 0..20 {
        if is_at_rest(&state.held()) {
            return;
        }
        state.unrenewed_for = Duration::from_secs(60);
        match state.keep() {
            Some(next) => state = next,
            None => return,
        }
    }
    panic!("keepers find no end: {story:?}");
}

#[test]
fn every_order_of_events_keeps_the_record_true_and_comes_to_rest() {
    let mut open = vec![(State::new(), Vec::new())];
    let mut seen = BTreeSet::new();
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for (state, story) in &open {
            for event in EVENTS {
                let Some(after) = state.after(event) else { continue };
                check(state, event, &after, story);
                if seen.insert(after.key()) {
                    comes_to_rest(&after, story);
                    let mut story: Vec<Event> = story.clone();
                    story.push(event);
                    next.push((after, story));
                }
            }
        }
        open = next;
    }
    assert!(seen.len() > 1_000, "only {} states", seen.len());
}
