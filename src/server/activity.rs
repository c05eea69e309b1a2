//! What a connection over HTTP/1.1 is doing, which decides how long it may go on and whether it gives way to another.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::wire::Writes;
use crate::metrics::Cut;

/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(5);

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// Nothing, between two requests.
    Nothing,
    /// The head of a request has begun to come.
    Head,
    /// Its body comes; that has a limit of its own.
    Body,
    /// A whole request is being answered.
    Answer,
}

/// What a connection is doing, and since when; cheap to clone.
#[derive(Clone)]
pub(super) struct Activity(Arc<watch::Sender<(Doing, Instant)>>);

impl Activity {
    /// A connection that has just begun.
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new((Doing::Nothing, Instant::now()))))
    }

    /// It does something else from now on.
    pub(super) fn becomes(&self, doing: Doing) {
        self.0.send_replace((doing, Instant::now()));
    }

    /// These bytes have come; none at the end of the connection.
    pub(super) fn heard(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.0.send_if_modified(|now| {
            let begins = now.0 == Doing::Nothing;
            if begins {
                *now = (Doing::Head, Instant::now());
            }
            begins
        });
    }

    /// Since when it keeps nobody waiting; `None`: it answers a request.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let (doing, since) = *self.0.borrow();
        (doing != Doing::Answer).then_some(since)
    }

    /// Resolves once it has done nothing for too long, or has begun a request and does not go on.
    pub(super) async fn is_overdue(&self, idle: Duration) -> Cut {
        let mut changes = self.0.subscribe();
        loop {
            let (doing, since) = *changes.borrow_and_update();
            let end = match doing {
                Doing::Nothing => Some((since + idle, Cut::Idle)),
                Doing::Head => Some((since + HEAD, Cut::Silent)),
                Doing::Body | Doing::Answer => None,
            };
            let over = async {
                match end {
                    Some((at, why)) => {
                        sleep_until(at).await;
                        why
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // The sender of the changes is this activity, so they do not end before it.
                _ = changes.changed() => {}
                why = over => return why,
            }
        }
    }

    /// Resolves once no request is on its way and no byte of an answer has been written for a while, which begins now at
    /// the earliest. A body that comes has a limit of its own, and its answer is on its way longer than it is being made.
    pub(super) async fn is_over(&self, time: Duration, written: &Writes) {
        let mut changes = self.0.subscribe();
        let mut quiet_at = Instant::now() + time;
        loop {
            let (doing, since) = *changes.borrow_and_update();
            let is_quiet = async {
                if matches!(doing, Doing::Body | Doing::Answer) {
                    return std::future::pending().await;
                }
                quiet_at = quiet_at.max(since + time).max(written.last() + time);
                sleep_until(quiet_at).await;
            };
            tokio::select! {
                biased;
                // The sender of the changes is this activity, so they do not end before it.
                _ = changes.changed() => {}
                () = is_quiet => if written.last() + time <= Instant::now() { return },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{sleep, timeout};

    use super::*;

    const IDLE: Duration = Duration::from_secs(300);

    #[tokio::test(start_paused = true)]
    async fn a_head_has_less_time_than_nothing_and_an_answer_has_all() {
        let activity = Activity::new();
        let begun = Instant::now();
        assert_eq!(activity.is_overdue(IDLE).await, Cut::Idle);
        assert_eq!(begun.elapsed(), IDLE);
        activity.heard(b"G");
        // More bytes of it buy no time.
        let drips = async {
            loop {
                sleep(Duration::from_secs(1)).await;
                activity.heard(b"G");
            }
        };
        let why = tokio::select! {
            why = activity.is_overdue(IDLE) => why,
            () = drips => unreachable!("it never ends"),
        };
        assert_eq!((why, begun.elapsed()), (Cut::Silent, IDLE + HEAD));
        for doing in [Doing::Body, Doing::Answer] {
            activity.becomes(doing);
            assert!(timeout(IDLE * 2, activity.is_overdue(IDLE)).await.is_err());
        }
        assert_eq!(activity.idle_since(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_begun_to_come_is_not_over_before_its_answer_is_written() {
        let (activity, written) = (Activity::new(), Writes::now());
        // It has been silent for long, but so far nobody has told it to go.
        sleep(IDLE).await;
        let begun = Instant::now();
        activity.is_over(HEAD, &written).await;
        assert_eq!(begun.elapsed(), HEAD);
        for doing in [Doing::Body, Doing::Answer] {
            activity.becomes(doing);
            sleep(IDLE).await;
            let answers = async {
                sleep(IDLE).await;
                activity.becomes(Doing::Nothing);
                for _ in 0..3 {
                    sleep(HEAD / 2).await;
                    written.note();
                }
            };
            let begun = Instant::now();
            tokio::join!(activity.is_over(HEAD, &written), answers);
            assert_eq!(begun.elapsed(), IDLE + HEAD * 5 / 2, "{doing:?}");
        }
    }
}
