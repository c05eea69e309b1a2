//! Every way a record may change: nothing else is ever written into one.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    Applied, Begin, Cause, Head, HeadFields, HeadRef, Member, MemberState, NotPutBack, OperationKind,
    Outcome, Phase, RefusedObject, Refusing, RequestEntry, RequestOutcome, RevisionEntry, Seen, Work,
};
use crate::artifacts::{DeploymentState, Kind, ObjectRef, Trace};

/// Operations that are remembered because they were taken over, have not heard every answer, or have ended; more would
/// mean that they come faster than doubts end.
const REMEMBERED: usize = 8;

/// Operations whose marks are remembered: what they send arrives long before so many others have begun.
const BEGUN: usize = 32;

/// Who writes: told apart in the record's managed fields and in the API server's audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// An operation, at its beginning and its end.
    Operation,
    /// The renewal of its lease.
    Lease,
    /// Whoever follows its outcome.
    Keeper,
}

/// One named change of a record.
#[derive(Clone, Debug)]
pub enum Transition {
    /// An operation begins: lock, write-ahead inventory and record of the request in one write.
    Begin(Box<Begin>),
    /// The holder is alive: its lease is over later.
    Renew {
        /// The new end.
        until: Timestamp,
    },
    /// A first Deploy has failed: under the same lock, what it created is deleted.
    TakeBack {
        /// What is to be deleted.
        inventory: Vec<Member>,
        /// The volume claims that stay.
        retained: Vec<Member>,
        /// Whether it has not heard every answer: what it has sent may still arrive, and the record will be gone then.
        is_in_doubt: bool,
    },
    /// A Deploy or the conversion of a Scale ends; some of its objects may not be as planned.
    Applied(Box<Applied>),
    /// An update or a Scale ends that has changed nothing: the record is what it was before, with the dead operation that it
    /// has taken over.
    Refused {
        /// The record as it was.
        earlier: Box<Head>,
        /// The revision that was refused with it, if it had one; it may be stored, and is deleted afterwards.
        revision: Option<HeadRef>,
        /// When the operation ended.
        now: Timestamp,
    },
    /// An operation ends so, and has not heard every answer: what it has sent may still arrive.
    Doubted(Box<Transition>),
    /// Scale has set replica counts.
    Scaled {
        /// The id of this Scale, by which its note is found in [`HeadFields::ended`].
        id: String,
        /// The entries of the controllers, with their counts.
        counts: Vec<Member>,
        /// The request that asked for it, if its caller has named it.
        request: Option<RequestEntry>,
        /// When they were set.
        now: Timestamp,
    },
    /// A named request was carried out without any other change of the record.
    Answered(RequestEntry),
    /// The state was seen, and objects that were to be deleted were seen gone.
    Settled {
        /// What is to be recorded of it, if anything is.
        seen: Option<Seen>,
        /// The uids of objects that are gone.
        gone: BTreeSet<String>,
    },
    /// Deletes were answered: some are refused, which is remembered until it is over.
    DeletesAnswered {
        /// What could not be deleted.
        refused: Vec<RefusedObject>,
        /// What goes or is gone, by the uid that was meant.
        accepted: Vec<(ObjectRef, Option<String>)>,
    },
    /// Objects were seen gone that the inventory still lists.
    Gone {
        /// Those objects.
        objects: Vec<ObjectRef>,
    },
    /// Nothing that these operations have sent can arrive any more.
    DoubtsCleared {
        /// Those operations.
        operations: Vec<String>,
    },
    /// Objects were written by others, and are as they were deployed again.
    SameAgain {
        /// Those objects, by uid, with what they show of their writers now.
        objects: Vec<(ObjectRef, String, Trace)>,
    },
    /// The revision that was to be put in force could not be; unless it is tried again, the promise ends.
    NotPutBack(NotPutBack),
    /// Revisions that are no longer kept were deleted.
    RevisionsDropped {
        /// Those revisions.
        revisions: Vec<HeadRef>,
    },
}

impl Transition {
    /// Who makes such a change.
    pub fn writer(&self) -> Writer {
        match self {
            Transition::Begin(_)
            | Transition::TakeBack { .. }
            | Transition::Applied(_)
            | Transition::Refused { .. }
            | Transition::Scaled { .. }
            | Transition::Doubted(_)
            | Transition::Answered(_) => Writer::Operation,
            Transition::Renew { .. } => Writer::Lease,
            Transition::Settled { .. }
            | Transition::DeletesAnswered { .. }
            | Transition::SameAgain { .. }
            | Transition::NotPutBack(_)
            | Transition::Gone { .. }
            | Transition::DoubtsCleared { .. }
            | Transition::RevisionsDropped { .. } => Writer::Keeper,
        }
    }

    /// Whether the inventory that it brings names the objects as they are now, also those of a restored deployment.
    pub fn adopts(&self) -> bool {
        matches!(self, Transition::Begin(begin) if matches!(begin.work, Work::Deploy { .. }))
    }

    /// Whether this change of `before` was made already, though its answer was lost and others may have written since.
    pub fn is_made(&self, before: &Head, now: &Head) -> bool {
        let id = |head: &Head| head.operation.as_ref().map(|operation| operation.id.clone());
        match self {
            Transition::Begin(begin) => id(now).is_some_and(|id| id == begin.operation.id),
            Transition::Applied(_) | Transition::Refused { .. } | Transition::Doubted(_) => {
                id(before).is_some_and(|own| now.ended.contains(&own))
            }
            Transition::Scaled { id, .. } => now.ended.contains(id),
            Transition::Answered(entry) => now.requests.contains(entry),
            Transition::Renew { .. }
            | Transition::TakeBack { .. }
            | Transition::Settled { .. }
            | Transition::DeletesAnswered { .. }
            | Transition::SameAgain { .. }
            | Transition::NotPutBack(_)
            | Transition::Gone { .. }
            | Transition::DoubtsCleared { .. }
            | Transition::RevisionsDropped { .. } => {
                // The writer notes where the record lies.
                *now == self.apply(before).lying_in(now.uid.clone(), now.restored)
            }
        }
    }

    /// The record after this change.
    pub fn apply(&self, head: &Head) -> Head {
        let mut next = head.0.clone();
        match self {
            Transition::Begin(begin) => next.begin(begin),
            Transition::Renew { until } => {
                if let Some(operation) = next.operation.as_mut() {
                    operation.lease_until = *until;
                }
            }
            Transition::TakeBack { inventory, retained, is_in_doubt } => {
                next.inventory.clone_from(inventory);
                next.retained.clone_from(retained);
                next.phase = Phase::Deleting;
                let own = next.operation.as_ref().filter(|_| *is_in_doubt).map(|own| own.id.clone());
                next.doubted.extend(own);
                keep_newest(&mut next.doubted, REMEMBERED);
            }
            Transition::Applied(applied) => next.end(applied),
            Transition::Refused { earlier, revision, now } => {
                next = HeadFields {
                    generation: head.generation,
                    last_good: head.last_good,
                    superseded: head.superseded.clone(),
                    doubted: head.doubted.clone(),
                    ended: head.ended.clone(),
                    begun: head.begun.clone(),
                    requests: head.requests.clone(),
                    updated: *now,
                    ..earlier.0.clone()
                };
                next.superseded.retain(|id| next.operation.as_ref().is_none_or(|dead| dead.id != *id));
                next.ended.extend(head.operation.iter().map(|operation| operation.id.clone()));
                keep_newest(&mut next.ended, REMEMBERED);
                let discarded = |revision: &HeadRef| RevisionEntry::discarded(revision.clone(), *now);
                next.revisions.extend(revision.as_ref().map(discarded));
            }
            Transition::Doubted(end) => {
                let ended = next.operation.map(|operation| operation.id);
                next = end.apply(head).0;
                next.doubted.extend(ended);
                keep_newest(&mut next.doubted, REMEMBERED);
            }
            Transition::Scaled { id, counts, request, now } => {
                next.scaled(counts, *now);
                next.ended.retain(|known| known != id);
                next.ended.push(id.clone());
                keep_newest(&mut next.ended, REMEMBERED);
                request.iter().for_each(|entry| next.answer(entry.clone()));
            }
            Transition::Answered(entry) => next.answer(entry.clone()),
            Transition::Settled { seen, gone } => next.settle(seen.as_ref(), gone),
            Transition::DeletesAnswered { refused, accepted } => next.answer_deletes(refused, accepted),
            Transition::SameAgain { objects } => next.same_again(objects),
            Transition::NotPutBack(why) => {
                next.pledge = next.pledge.filter(|_| why.again);
                next.not_put_back = Some(why.clone());
            }
            Transition::Gone { objects } => {
                next.inventory.retain(|member| !objects.contains(&member.reference));
            }
            Transition::DoubtsCleared { operations } => {
                next.superseded.retain(|id| !operations.contains(id));
                next.doubted.retain(|id| !operations.contains(id));
                next.inventory.retain(|member| !member.may_still_arrive());
            }
            Transition::RevisionsDropped { revisions } => {
                next.revisions.retain(|entry| !revisions.contains(&entry.revision));
            }
        }
        next.forget_what_is_over();
        Head(next)
    }
}

/// Forgets the oldest of more operations than these.
fn keep_newest(operations: &mut Vec<String>, most: usize) {
    let forgotten = operations.len().saturating_sub(most);
    operations.drain(..forgotten);
}

impl HeadFields {
    fn begin(&mut self, begin: &Begin) {
        self.generation += 1;
        self.updated = begin.operation.started;
        if let Some(dead) = &self.operation {
            self.superseded.push(dead.id.clone());
            keep_newest(&mut self.superseded, REMEMBERED);
        }
        self.begun.push(begin.operation.id.clone());
        keep_newest(&mut self.begun, BEGUN);
        if let (None, Some(cause)) = (&self.operation, begin.work.takes_back()) {
            self.mark_taken_back(cause);
        }
        match &begin.work {
            Work::Deploy { template_name, recorded, inventory, takes_back, prunes, .. } => {
                self.prunes = *prunes;
                self.forget_writes();
                (self.pledge, self.not_put_back) = (None, None);
                // A dead operation may have stored its revision: it stays known, and goes with the others of its age.
                let begun = self.begun_revision();
                // Whose holder chose to go back, nobody goes forward to.
                let chose_back = self.operation.as_ref().is_some_and(|dead| dead.back_to.is_some());
                let goes_back = takes_back.is_some() || chose_back;
                self.revisions.extend(begun.map(|begun| RevisionEntry {
                    discarded: takes_back.is_none(),
                    cause: takes_back.clone(),
                    seen: goes_back.then_some(Outcome::RolledBack),
                    ..begun
                }));
                self.template_name.clone_from(template_name);
                self.recorded.clone_from(recorded);
                self.inventory.clone_from(inventory);
                self.phase = Phase::Applying;
            }
            Work::Scale { inventory } => {
                self.forget_writes();
                self.inventory.clone_from(inventory);
                self.phase = Phase::Applying;
            }
            Work::Teardown { inventory, retained } => {
                self.inventory.clone_from(inventory);
                self.retained.clone_from(retained);
                self.phase = Phase::Deleting;
            }
        }
        self.operation = Some(begin.operation.clone());
    }

    fn end(&mut self, applied: &Applied) {
        // What has failed in part is not done: sent again, the request is carried out again.
        let request = self.operation.as_mut().filter(|_| applied.complete);
        if let Some(operation) = request
            && let Some(request) = operation.request.take()
        {
            let outcome = match operation.kind {
                OperationKind::Scale => RequestOutcome::Scaled,
                OperationKind::Deploy | OperationKind::Teardown if self.current.is_none() => {
                    RequestOutcome::Created
                }
                OperationKind::Deploy | OperationKind::Teardown => RequestOutcome::Updated,
            };
            self.answer(RequestEntry { request, outcome, time: applied.now });
        }
        self.inventory = self.ended_inventory(applied);
        self.refused.extend(applied.refused.iter().cloned());
        let cause = (!applied.complete && !applied.refused.is_empty())
            .then(|| Cause::new(None, &Refusing(&applied.refused).to_string()));
        // A revision that was not stored is none: the one before it stays what comparisons are made with.
        if let Some(revision) = &applied.revision {
            self.revisions.push(RevisionEntry {
                revision: revision.clone(),
                time: applied.now,
                complete: applied.complete,
                discarded: false,
                seen: None,
                rollback_of: self.operation.as_ref().and_then(|operation| operation.rollback_of),
                created_by: self.operation.as_ref().and_then(|operation| operation.by.clone()),
                cause,
            });
            self.current = Some(revision.clone());
            // What was planned over the former one is compared with this one from now on.
            self.inventory.iter_mut().for_each(|member| member.pods_before = None);
            self.pledge.clone_from(&applied.pledge);
        }
        self.not_put_back.clone_from(&applied.not_put_back);
        self.recorded.state = DeploymentState::Deploying;
        self.ended.extend(self.operation.take().map(|operation| operation.id));
        keep_newest(&mut self.ended, REMEMBERED);
        self.phase = applied.phase;
        self.updated = applied.now;
    }

    fn scaled(&mut self, counts: &[Member], now: Timestamp) {
        self.generation += 1;
        self.updated = now;
        self.recorded.state = DeploymentState::Deploying;
        if self.phase == Phase::Idle {
            self.phase = Phase::Progressing;
        }
        for scaled in counts {
            // What was set is noted of the object that it was set on.
            let is_it =
                |member: &&mut Member| member.reference == scaled.reference && member.uid == scaled.uid;
            if let Some(member) = self.inventory.iter_mut().find(is_it) {
                member.scaled_replicas = scaled.scaled_replicas;
                member.found_replicas = false;
                member.generation = member.generation.max(scaled.generation);
            }
        }
    }

    fn settle(&mut self, seen: Option<&Seen>, gone: &BTreeSet<String>) {
        let is_gone = |member: &Member| member.uid.as_ref().is_some_and(|uid| gone.contains(uid));
        // Nobody may watch Secrets: what an operation in doubt has sent is looked for by name when the doubt is over.
        let is_doubted = self.doubts().next().is_some();
        self.inventory.retain_mut(|member| {
            let goes = member.state == MemberState::Deleting && is_gone(member);
            let may_come_again = is_doubted && member.reference.kind == Kind::Secret;
            if goes && may_come_again {
                member.uid = None;
            }
            !goes || may_come_again
        });
        let Some(seen) = seen else { return };
        let state = seen.state;
        self.recorded.state = state;
        self.note(seen);
        if state.is_ready() {
            // Seen ready, it is not taken back any more.
            (self.pledge, self.not_put_back) = (None, None);
        }
        if state == DeploymentState::Active {
            // Controllers that are ready have taken over what they were handed.
            let handing = self.inventory.iter_mut().filter(|member| member.adopts.is_some());
            handing.for_each(|member| member.adopted = member.adopts.take().map(|pod| pod.uid));
        }
        if self.phase == Phase::Progressing && state.is_ready() {
            self.phase = Phase::Idle;
        }
    }
}
