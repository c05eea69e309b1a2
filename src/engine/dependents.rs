//! What controllers have made, and why it does not go with them.
//!
//! The cluster's garbage collector deletes it, and tells nobody what it was answered: so the API server is asked.

use std::pin::pin;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::time::Instant;
use tracing::debug;

use super::Engine;
use super::refusals::{Answers, why};
use crate::artifacts::{Kind, ObjectName, ObjectRef, Target};
use crate::error::Result;
use crate::plan::is_refusal;
use crate::record::{Record, controller_of};

/// The pause before the cluster is asked why something does not go: it doubles to the longest. What only takes its time,
/// its pods' grace or a busy cluster's, costs no question.
const PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(40);
/// From this pause on the garbage collector is late.
const LATE: Duration = Duration::from_secs(20);
/// How many objects the cluster is asked about at a time.
const ASKED: usize = 5;
/// What is said where the cluster would delete something, and its garbage collector has not.
const NOT_COLLECTED: &str =
    "its owner is being deleted, and the cluster's garbage collector leaves it where it is";

/// What controllers have made.
pub(super) struct Made {
    /// ReplicaSets.
    pub(super) sets: Vec<ObjectMeta>,
    /// Pods.
    pub(super) pods: Vec<ObjectMeta>,
}

/// When the cluster is asked next why something does not go that was asked to: the one rule for whoever waits for that.
pub(super) struct Question {
    pause: Duration,
    at: Instant,
}

impl Question {
    /// The first question about what was asked to go just now.
    pub(super) fn first(now: Instant) -> Self {
        Self { pause: PAUSE, at: now + PAUSE }
    }

    /// When it is asked.
    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// Whether the garbage collector has had its time by then.
    pub(super) fn is_late(&self) -> bool {
        self.pause >= LATE
    }

    /// The question after this one.
    pub(super) fn again(&self, now: Instant) -> Self {
        let pause = LONGEST_PAUSE.min(self.pause * 2);
        Self { pause, at: now + pause }
    }
}

/// Whose dependents are asked about.
#[derive(Clone, Copy)]
pub(super) enum Owners<'a> {
    /// Controllers, with their uids.
    Controllers(&'a [(ObjectRef, String)]),
    /// The record, which owns its revisions.
    Record,
}

/// Lists what these controllers have made; a person's pod with the same labels, or one of a person's controller, is not
/// among it.
pub(super) async fn made_by(
    engine: &Engine,
    target: &Target,
    controllers: &[(ObjectRef, String)],
) -> Result<Made> {
    let (namespace, name) = (&target.namespace, &target.name);
    let is_of = |object: &ObjectMeta| {
        controller_of(object).is_some_and(|owner| controllers.iter().any(|(_, uid)| uid == owner))
    };
    let mut sets = Vec::new();
    if controllers.iter().any(|(reference, _)| reference.kind == Kind::Deployment) {
        sets = engine.cluster.list_sets_left(namespace, name).await?;
        sets.retain(is_of);
    }
    let is_of_a_set = |object: &ObjectMeta| {
        controller_of(object).is_some_and(|owner| sets.iter().any(|set| set.uid.as_deref() == Some(owner)))
    };
    let mut pods = engine.cluster.list_pods_left(namespace, name).await?;
    pods.retain(|pod| is_of(pod) || is_of_a_set(pod));
    Ok(Made { sets, pods })
}

/// Waits, and meanwhile asks the cluster again and again why what these own does not go; its answers are in the record.
pub(super) async fn while_waiting<T>(
    engine: &Engine,
    record: &Record,
    owners: Owners<'_>,
    wait: impl Future<Output = T>,
) -> T {
    let mut wait = pin!(wait);
    let (mut question, mut record) = (Question::first(Instant::now()), record.clone());
    loop {
        tokio::select! {
            biased;
            done = &mut wait => return done,
            () = tokio::time::sleep_until(question.at()) => {}
        }
        let asked = tokio::select! {
            biased;
            done = &mut wait => return done,
            asked = Box::pin(ask(engine, &record, owners, question.is_late())) => asked,
        };
        match asked {
            Ok(now) => record = now,
            Err(error) => debug!(context = ?error.context(), "not known why something does not go"),
        }
        question = question.again(Instant::now());
    }
}

/// Asks the cluster why what these own does not go, and notes that in the record; what has gone is forgotten there.
pub(super) async fn ask(
    engine: &Engine,
    record: &Record,
    owners: Owners<'_>,
    is_late: bool,
) -> Result<Record> {
    let mut answers = Answers::default();
    match owners {
        Owners::Controllers(controllers) => {
            let made = made_by(engine, &record.target(), controllers).await?;
            ask_controllers(engine, record, controllers, made, is_late, &mut answers).await?;
        }
        Owners::Record => ask_record(engine, record, is_late, &mut answers).await?,
    }
    answers.note(engine, record).await
}

async fn ask_controllers(
    engine: &Engine,
    record: &Record,
    controllers: &[(ObjectRef, String)],
    made: Made,
    is_late: bool,
    answers: &mut Answers,
) -> Result<()> {
    let stays = |object: &&ObjectMeta| object.deletion_timestamp.is_none();
    let pods: Vec<(ObjectRef, String)> = made.pods.iter().filter(stays).filter_map(pod).collect();
    for one in record.head.refused_deletes().filter(|one| one.reference.kind == Kind::Pod) {
        if !pods.iter().any(|(_, uid)| Some(uid) == one.uid.as_ref()) {
            answers.accepted(one.reference.clone(), one.uid.clone());
        }
    }
    for (reference, uid) in pods.into_iter().take(ASKED) {
        let answer = engine.cluster.would_delete(&record.namespace, &reference, &uid).await;
        note(engine, answers, reference, Some(uid), answer, is_late);
    }
    for set in made.sets.iter().filter(stays).take(ASKED) {
        let (Some(name), Some(uid)) = (&set.name, &set.uid) else { continue };
        let answer = engine.cluster.would_delete_set(&record.namespace, name, uid).await;
        let Err(error) = answer else { continue };
        // The record has no word for ReplicaSets: it is the owner that stays for one, whose uid tells both apart.
        let owner = controllers.iter().find(|(_, uid)| controller_of(set) == Some(uid.as_str()));
        if let Some((owner, _)) = owner.filter(|_| is_refusal(error.kind())) {
            let why = format!("ReplicaSet {name}: {}", why(&error));
            answers.stays(engine, owner.clone(), Some(uid.clone()), &why);
        }
    }
    Ok(())
}

/// Revisions that the garbage collector is to delete with their record.
async fn ask_record(engine: &Engine, record: &Record, is_late: bool, answers: &mut Answers) -> Result<()> {
    for entry in record.head.revisions.iter().take(ASKED) {
        let Ok(name) = ObjectName::new(entry.revision.secret.clone()) else { continue };
        let secret = ObjectRef::new(Kind::Secret, name);
        let found = engine.cluster.find(&record.namespace, &record.name, &secret).await?;
        let Some(found) = found else {
            answers.accepted(secret, None);
            continue;
        };
        let answer = engine.cluster.would_delete(&record.namespace, &secret, &found.uid).await;
        note(engine, answers, secret, None, answer, is_late);
    }
    Ok(())
}

/// Notes an answer, unless it says nothing about the object: the next one may.
fn note(
    engine: &Engine,
    answers: &mut Answers,
    reference: ObjectRef,
    uid: Option<String>,
    answer: Result<()>,
    is_late: bool,
) {
    match answer {
        Err(error) if is_refusal(error.kind()) => answers.stays(engine, reference, uid, &why(&error)),
        Ok(()) if is_late => answers.stays(engine, reference, uid, NOT_COLLECTED),
        Ok(()) => answers.accepted(reference, uid),
        Err(_) => {}
    }
}

/// A pod by its name and uid.
pub(super) fn pod(pod: &ObjectMeta) -> Option<(ObjectRef, String)> {
    let name = ObjectName::new(pod.name.clone()?).ok()?;
    Some((ObjectRef::new(Kind::Pod, name), pod.uid.clone()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_only_takes_its_grace_is_not_asked_about_and_the_collector_has_its_time() {
        let begin = Instant::now();
        let (mut question, mut asked) = (Question::first(begin), Vec::new());
        for _ in 0..5 {
            asked.push(((question.at() - begin).as_secs(), question.is_late()));
            question = question.again(question.at());
        }
        assert_eq!(asked, [(10, false), (30, true), (70, true), (110, true), (150, true)]);
    }
}
