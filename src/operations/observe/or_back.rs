//! A wait for READY whose caller asked for the revision before if the update fails: it hears of both.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::view::DeploymentView;
use super::super::{Operations, Target};
use super::{GOES_ON, TO_BE_PUT_BACK};
use crate::engine;
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Cause, Head, HeadRef, Outcome, Record};

/// How long what the watches show is waited for when the wait itself is over.
const GLANCE: Duration = Duration::from_millis(50);

/// The failure as whoever takes the update back has seen it: this wait may have seen another, or none.
fn caused(failure: Error, cause: Option<&Cause>) -> Error {
    let Some(cause) = cause else { return failure };
    let component = cause.component.as_ref().map(ToString::to_string);
    if component.is_some() && failure.metadata().get("component") == component.as_ref() {
        return failure;
    }
    let error =
        Error::new(failure.kind(), cause.why.clone()).because(failure.message()).with("applied", "true");
    match component {
        Some(component) => error.with("component", component),
        None => error,
    }
}

impl Operations {
    /// Waits until every component is ready, or until one has failed and the revision before is in force again.
    ///
    /// The keeper takes the update back, as the record says: this only looks. Fails with APPLY_INCOMPLETE then.
    pub(in super::super) async fn ready_or_back(
        &self,
        target: &Target,
        until: Instant,
        record: &Record,
        number: u32,
    ) -> Result<DeploymentView> {
        let ours = record.head.current.as_ref();
        let waited = self.wait_ready(record, until).await;
        let is_ours = |view: &DeploymentView| Some(view.revision) == ours.map(|ours| ours.number);
        let (view, failure) = match waited {
            Ok(view) if is_ours(&view) => return Ok(view),
            // What was put back may be ready before the failure was seen.
            Ok(view) => (Some(view), Error::new(ErrorKind::WaitTimeout, "a component failed for good")),
            Err(error) if error.kind() == ErrorKind::WaitTimeout => (None, error),
            Err(error) => return Err(error),
        };
        let now = self.taken_back(target, until, ours).await;
        let unkept = now.as_ref().filter(|now| now.head.current.as_ref() == ours);
        if let (Some(why), None) = (unkept.and_then(|now| now.head.not_put_back.as_ref()), &view) {
            return Err(failure.prefixed(&format!("{why}; ")));
        }
        let is_marked = |head: &Head| {
            let mut entries = head.revisions.iter();
            entries.any(|entry| Some(&entry.revision) == ours && entry.seen == Some(Outcome::RolledBack))
        };
        let now = now.filter(|now| is_marked(&now.head));
        let cause = now.as_ref().and_then(|now| ours.and_then(|ours| now.head.cause_of(ours)));
        let failure = caused(failure, cause);
        match (now, view) {
            (Some(now), _) if now.head.operation.is_none() => {
                Err(Error::rolled_back(failure.without(TO_BE_PUT_BACK), String::new(), number))
            }
            (Some(_), _) => {
                let failure = failure.without(TO_BE_PUT_BACK);
                let prefix = format!("the update failed, and revision {number} is being put back: ");
                Err(failure.prefixed(&prefix).with(GOES_ON, "false"))
            }
            // Another operation came, and what it has written is ready.
            (None, Some(view)) => Ok(view),
            (None, None) => Err(failure.with("rolls_back_to", number.to_string())),
        }
    }

    /// The record once the promise to put the revision before back is kept or void, or as last shown when the wait ends.
    async fn taken_back(
        &self,
        target: &Target,
        until: Instant,
        ours: Option<&HeadRef>,
    ) -> Option<Arc<Record>> {
        let until = until.max(Instant::now() + GLANCE);
        let mut subscription = engine::subscribe(&self.engine, target, None);
        let mut last = None;
        loop {
            let snapshot = tokio::select! {
                biased;
                snapshot = subscription.next(until) => snapshot,
                () = self.shutting_down() => return last,
            };
            let Ok(Some(snapshot)) = snapshot else { return last };
            let Some(record) = &snapshot.head else { continue };
            let head = &record.head;
            let is_kept = head.pledge.is_none() || head.current.as_ref() != ours;
            let is_over = head.operation.is_none() && is_kept;
            last = Some(Arc::clone(record));
            if is_over {
                return last;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::ComponentName;

    #[test]
    fn whoever_waits_hears_which_component_failed_also_if_only_the_keeper_has_seen_it() {
        let web = ComponentName::new("web").ok();
        let cause = Cause::new(web, "component web: it crashes with code 1");
        let unseen = Error::new(ErrorKind::WaitTimeout, "a component failed for good");
        let told = Error::rolled_back(caused(unseen, Some(&cause)), String::new(), 1);
        assert_eq!(told.metadata()["component"], "web");
        assert!(!told.metadata().contains_key("objects"), "every object was written");
        assert!(told.message().ends_with("rolled back to revision 1: component web: it crashes with code 1"));
        // What the wait itself has seen of the same component says more.
        let seen = Error::new(ErrorKind::WaitTimeout, "it does not become ready").with("component", "web");
        assert_eq!(caused(seen, Some(&cause)).message(), "it does not become ready");
    }
}
