//! Whether a change that was decided on one form of a record may be made on the form that somebody has written meanwhile.

use super::{Head, Transition};

impl Transition {
    /// Whether this change, decided on `before`, still holds on `now`.
    ///
    /// Never, if an operation came or went. Else what lies between the two is a renewed lease, or what keepers note: each
    /// change says what of that it rests on.
    pub fn holds_on(&self, before: &Head, now: &Head) -> bool {
        let turn = |head: &Head| head.operation.as_ref().map(|one| (one.id.clone(), one.epoch));
        if before.generation != now.generation || turn(before) != turn(now) {
            return false;
        }
        match self {
            Transition::Begin(begin) => {
                // A dead operation is taken over only if it was not renewed; a revision that has been seen ready since is
                // put back by nobody.
                let is_renewed = before.operation.is_some() && before.operation != now.operation;
                let rests_on_pledge = begin.work.takes_back().is_some() && before.operation.is_none();
                !is_renewed && (!rests_on_pledge || before.pledge == now.pledge)
            }
            // Somebody else has seen another moment, perhaps a later one: whoever keeps it looks again.
            Transition::Settled { seen: Some(_), .. } => before.recorded == now.recorded,
            Transition::NotPutBack(_) => before.pledge == now.pledge,
            Transition::Doubted(ended) => ended.holds_on(before, now),
            Transition::Settled { seen: None, .. }
            | Transition::Renew { .. }
            | Transition::TakeBack { .. }
            | Transition::Applied(_)
            | Transition::Refused { .. }
            | Transition::Scaled { .. }
            | Transition::Answered(_)
            | Transition::DeletesAnswered { .. }
            | Transition::Gone { .. }
            | Transition::DoubtsCleared { .. }
            | Transition::SameAgain { .. }
            | Transition::RevisionsDropped { .. } => true,
        }
    }
}
