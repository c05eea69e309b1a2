//! What is left to do for a deployment: one question, asked by the operation itself, the next call and every keeper.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Doomed, waits};
use crate::artifacts::{DeploymentState, ObjectRef, Observed};
use crate::record::{Head, HeadRef, Held, MemberState, Phase, Transition};
use crate::status::{self, expected};

/// What is left to do for a deployment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Duties {
    /// What can be done now, in this order.
    pub now: Vec<Duty>,
    /// Why the rest waits, for people.
    pub waits: Vec<String>,
    /// When to ask again, if nothing on the cluster changes until then.
    pub again_in: Option<Duration>,
}

/// One thing to do; done twice, it changes nothing the second time.
#[derive(Clone, Debug, PartialEq)]
pub enum Duty {
    /// Finish the Deploy or Scale of a holder that died: forward if its revision was stored, else back.
    Adopt,
    /// Finish the teardown of a holder that died.
    TearDown,
    /// Delete pods of an earlier revision, by uid.
    Replace(Vec<(ObjectRef, String)>),
    /// Delete objects that the template no longer has, by uid.
    Delete(Vec<Doomed>),
    /// Delete revisions that are no longer kept.
    DropRevisions(Vec<HeadRef>),
    /// Write down the state that was seen.
    Settle(DeploymentState),
}

/// What is left to do for a record, by an observer that has not seen its operation renewed for so long.
pub fn duties(held: &Held, observed: &Observed, unrenewed_for: Duration) -> Duties {
    let head = &held.head;
    if held.terminating {
        return Duties { waits: vec!["its record is being deleted".to_owned()], ..Duties::default() };
    }
    if let Some(operation) = &head.operation {
        let remaining = operation.remaining(unrenewed_for);
        if remaining > Duration::ZERO {
            let why = format!("an operation of {} holds it", operation.holder);
            return Duties { waits: vec![why], again_in: Some(remaining), ..Duties::default() };
        }
        let duty = if head.phase == Phase::Deleting { Duty::TearDown } else { Duty::Adopt };
        return Duties { now: vec![duty], ..Duties::default() };
    }
    let mut duties = Duties::default();
    let expected = expected(held);
    for rollout in status::rollouts(&expected, observed) {
        if !rollout.replace.is_empty() {
            duties.now.push(Duty::Replace(rollout.replace));
        }
        duties.waits.extend(rollout.waits);
    }
    let state = status::conclude(&expected, observed).state;
    delete(head, state, &mut duties);
    let superfluous = head.superfluous_revisions();
    if !superfluous.is_empty() {
        duties.now.push(Duty::DropRevisions(superfluous));
    }
    let is_conclusive = !matches!(state, DeploymentState::Deploying | DeploymentState::Deleting);
    let settled = Transition::Settled { state: Some(state), gone: BTreeSet::new() };
    if is_conclusive && settled.apply(head) != *head {
        duties.now.push(Duty::Settle(state));
    }
    duties
}

/// Whether nothing is left to do for a deployment whatever its objects do: then it need not be watched.
pub fn is_at_rest(held: &Held) -> bool {
    let head = &held.head;
    let is_recorded = match head.phase {
        // Scale has set a count, or an update was not written whole, which the next Deploy repairs; once its state is
        // recorded it may change, and a look at it tells.
        Phase::Idle | Phase::Incomplete => head.recorded.state != DeploymentState::Deploying,
        Phase::Applying | Phase::Progressing | Phase::Deleting => false,
    };
    let deletes = head.phase == Phase::Idle && doomed(head).next().is_some();
    let drops = !head.superfluous_revisions().is_empty();
    head.operation.is_none() && is_recorded && !deletes && !drops
}

/// The objects that an operation left to be deleted.
fn doomed(head: &Head) -> impl Iterator<Item = Doomed> {
    let deleting = head.inventory.iter().filter(|member| member.state == MemberState::Deleting);
    deleting.filter_map(|member| Some(Doomed { uid: member.uid.clone()?, member: member.clone() }))
}

/// Decides about removed objects: Secrets wait until the rollout has settled.
fn delete(head: &Head, state: DeploymentState, duties: &mut Duties) {
    // After an update that was not written whole, the former workload may be the one that serves.
    if !matches!(head.phase, Phase::Progressing | Phase::Idle) {
        return;
    }
    let (later, now): (Vec<Doomed>, Vec<Doomed>) =
        doomed(head).partition(|doomed| waits(doomed) && !state.is_ready());
    if !now.is_empty() {
        duties.now.push(Duty::Delete(now));
    }
    if let Some(first) = later.first() {
        let text = format!("{} is deleted once every component is ready", first.member.reference);
        duties.waits.push(text);
    }
}

#[cfg(test)]
mod tests;
