//! The id of a plan: a digest of what would be done, by which a Deploy is bound to it.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Decided, Plan, Step, stamp};
use crate::artifacts::{Action, Target};
use crate::error::{Error, ErrorKind, Result};

/// How often the digest is digested again.
///
/// A plan's id may be handed on to people who may not see the values that it stands for, and a first Deploy has nothing
/// secret of its own to mix in: each guess at a value shall cost them a hundredth of a second, and not a microsecond.
const ROUNDS: usize = 1 << 16;

/// The id of what was decided.
///
/// The same template finds the same id, on any replica and at any time, as long as the same would be done. Versions of
/// objects and what is random (the mark of the operation to come) are no part of it; the order of steps, uids, every
/// field that would be written, replica decisions and deletions are. The values of variables are, too: so the digest is
/// mixed with the random key that is kept in the current revision's Secret: whoever can read it can read the values
/// themselves.
pub fn id(target: &Target, decided: &Decided) -> String {
    let content = content(&decided.plan).to_string();
    let parts = [target.namespace.as_str(), target.name.as_str(), decided.mixed.as_str(), content.as_str()];
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    let mut digest = digest.finalize();
    for _ in 0..ROUNDS {
        digest = Sha256::digest(digest);
    }
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Refuses to do anything else than the plan with this id said; an empty id binds to nothing.
pub fn check_id(target: &Target, decided: &Decided, plan_id: &str) -> Result<()> {
    if plan_id.is_empty() || id(target, decided) == plan_id { Ok(()) } else { Err(stale(target)) }
}

/// The answer to a plan that is no longer what would be done.
pub fn stale(target: &Target) -> Error {
    let text =
        "what would be done is no longer what the plan said; plan again, then deploy with the new plan_id";
    Error::new(ErrorKind::PlanStale, format!("deployment {}: {text}", target.name))
}

/// Everything that would be done, in the order of doing it.
fn content(plan: &Plan) -> Value {
    let removals =
        plan.removals.iter().map(|removals| json!([removals.member.reference.to_string(), removals.uid]));
    let handed_over = plan.handed_over.iter().map(|member| json!([member.reference.to_string(), member.uid]));
    json!({
        "steps": plan.steps.iter().map(step).collect::<Vec<_>>(),
        "deleted": removals.collect::<Vec<_>>(),
        "handed_over": handed_over.collect::<Vec<_>>(),
    })
}

fn step(step: &Step) -> Value {
    let reference = step.artifact.reference.to_string();
    if step.action == Action::Unchanged {
        return json!([reference, step.uid, "unchanged"]);
    }
    let mut artifact = step.artifact.clone();
    stamp::unmark(&mut artifact);
    json!([reference, step.uid, format!("{:?}", step.action), step.take_back, artifact.manifest])
}
